"""Draws docs/images/dispatch.svg: the waiting costs by dispatch time, for three ratios of the costs.

    python -m scripts.dispatch_plot

The ready times are the preparation times of synthetic orders, so every run draws the same plot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import vl_convert

from preptime.domain.dispatch import dispatch_level
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.evaluation.charts import LIGHT
from preptime.synthetic import SynthesisPlan, synthesize_frames
from preptime.ui.prediction_charts import waiting_cost_chart
from tests.requirements import ROOT

IMAGE = ROOT / "docs" / "images" / "dispatch.svg"
PLAN = SynthesisPlan(orders=5_000, restaurants=60, days=14)
COSTS = ((2, 1), (1, 1), (1, 2))
"""Costs of a minute of courier and food."""
TRAVEL_SECONDS = 420.0
_X_TITLE = "minutes after acknowledgement"
_PANEL_PARTS = {"data", "height", "layer", "title", "width"}


def main() -> None:
    """Draw the plot."""
    orders, _, _ = synthesize_frames(PLAN)
    quantiles = np.quantile(orders["prep_time_seconds"].drop_nulls().to_numpy(), QUANTILE_LEVELS).tolist()
    panels = [_panel(quantiles, *costs) for costs in COSTS]
    datasets = {name: rows for panel in panels for name, rows in panel.pop("datasets").items()}
    plot = {
        "$schema": panels[0].pop("$schema"),
        "background": LIGHT.background,
        "config": panels[0]["config"],
        "datasets": datasets,
        "hconcat": [{name: part for name, part in panel.items() if name in _PANEL_PARTS} for panel in panels],
        "resolve": {"scale": {"y": "shared"}},
    }
    IMAGE.write_text(vl_convert.vegalite_to_svg(plot) + "\n", encoding="utf-8")
    print(IMAGE)


def _panel(quantiles: list[float], courier_cost: float, food_cost: float) -> dict[str, Any]:
    """Return the specification of one chart."""
    chart = waiting_cost_chart(quantiles, TRAVEL_SECONDS, dispatch_level(courier_cost, food_cost), LIGHT)
    title = f"courier : food = {courier_cost} : {food_cost}"
    panel: dict[str, Any] = chart.to_dict() | {"width": 210, "height": 190, "title": title}
    for layer in panel["layer"]:
        if "title" in layer["encoding"]["x"]:  # the title of the dashboard's chart is wider than a panel
            layer["encoding"]["x"]["title"] = _X_TITLE
    return panel


if __name__ == "__main__":
    main()
