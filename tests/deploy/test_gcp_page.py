"""docs/deploy-gcp.md: its arithmetic comes out, and what it names is there."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

import pytest

from preptime.settings import Settings, iter_settings
from scripts import cloud_run
from tests.deploy.terraform import of_kind, parsed
from tests.deploy.test_terraform import ENVIRONMENTS
from tests.requirements import ROOT

PAGE = (ROOT / "docs" / "deploy-gcp.md").read_text(encoding="utf-8")
EQUATION = re.compile(r"((?:[\d.]+ [×+/-] )+[\d.]+) = ?(?:\| )?\**(-?)\$?([\d.,]+)")
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value(node: ast.expr) -> float:
    """A sum of products."""
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](value(node.left), value(node.right))
    assert isinstance(node, ast.Constant)
    return float(str(node.value))


def test_the_arithmetic_comes_out() -> None:
    equations = EQUATION.findall(PAGE)
    assert len(equations) > 20
    for left, _, right in equations:
        told = float(right.rstrip(".,").replace(",", ""))
        found = abs(value(ast.parse(left.replace("×", "*"), mode="eval").body))
        digits = len(right.rstrip(".,").partition(".")[2])
        assert abs(found - told) <= 0.51 * 10**-digits, f"{left} = {found}, not {told}"


def test_orders_a_month_are_counted() -> None:
    for minute, month in (("1 ", "43,800"), ("100 ", "4,380,000"), ("10,000 ", "438,000,000")):
        assert int(minute.replace(",", "")) * 60 * 730 == int(month.replace(",", ""))
        assert month in PAGE


def test_what_is_named_of_terraform_is_there() -> None:
    outputs = set(re.findall(r"output -raw (\w+)", PAGE))
    assert outputs
    assert outputs <= set(of_kind("output"))
    for target in re.findall(r"-target=(google_\w+\.\w+)", PAGE):
        assert target.partition(".")[2] in of_kind("resource")
    for name in re.findall(r"gcloud run jobs execute preptime-([a-z-]+)", PAGE):
        assert name in {"train", "score"}
    sizes = [parsed(path)["api"] for path in ENVIRONMENTS]
    assert all(isinstance(size, dict) and f"`concurrency = {size['concurrency']}`" in PAGE for size in sizes)


def test_settings_and_routes_named_are_the_codes() -> None:
    known = {name for setting in iter_settings() for name in setting.names}
    for page in ("deploy-gcp", "deploy-gke", "deploy-vertex"):
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        assert set(re.findall(r"\b(?:PREPTIME|AIP)_[A-Z_]+[A-Z]\b", text)) <= known, page
        assert "not been run" in text.replace("\n", " "), "what nobody has run is said so"
    assert Settings().max_concurrent_requests == 64
    assert "(`PREPTIME_MAX_CONCURRENT_REQUESTS`)" in PAGE


def test_it_is_installed_from_the_checkout_before_it_is_called() -> None:
    """It is on no index; what the pages install has to be what they call."""
    for path in (ROOT / "docs").glob("deploy-*.md"):
        assert not re.search(r"pip install '?preptime", path.read_text(encoding="utf-8")), path.name
    first = re.search(r"^preptime ", PAGE, flags=re.MULTILINE)
    assert first is not None
    assert 0 < PAGE.index("python dev.py setup run") < PAGE.index(". .venv/bin/activate") < first.start()
    assert "google-cloud-bigquery==" in (ROOT / "locks" / "run.lock").read_text(encoding="utf-8")


def test_the_command_back_is_a_command() -> None:
    (call,) = re.findall(r"python scripts/cloud_run\.py ([^`]+)`", PAGE)
    assert cloud_run.parse_arguments(call.replace('"$REGION"', "r").split()).command == "rollback"


def test_workflows_named_take_what_they_are_given() -> None:
    called = re.findall(r"gh workflow run (\w+)\.yml -f environment=(\w+)", PAGE)
    assert {name for name, _ in called} == {"deploy", "back"}
    for name, environment in called:
        text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
        assert environment in re.findall(r"environment:\n(?: {8}.*\n)*? {8}options: \[([^]]*)\]", text)[0].split(", ")


@pytest.mark.parametrize("heading", ["From an empty project", "Roll back a model", "Rotate a key", "Tear down"])
def test_it_has_what_was_asked_for(heading: str) -> None:
    assert f"\n## {heading}\n" in PAGE
