"""The window day by day, bundle by bundle, and what the audit says of its rows: from arrays to the document's parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.prediction import BASES
from preptime.domain.verdict import Purpose, Reason, mask, rule
from preptime.monitoring.answers import Answers as Read
from preptime.monitoring.document import Answers, Basis, Bundle, Day, Days, LabelAudit, LabelReason
from preptime.monitoring.figures import Grouped, Tallied
from preptime.monitoring.joined import Joined
from preptime.monitoring.outcomes import Known, date_of

BASIS_NAMES: tuple[Basis, ...] = ("restaurant", "city_food", "food", "city", "global")
"""`BASES`, as the document's type names them."""


@dataclass(frozen=True)
class Counts:
    """What is counted of each of D days from `first_day` on: [D] each, or [BASES, D]."""

    first_day: int
    orders: NDArray[np.float64]
    answered: NDArray[np.float64]
    """Open ones included, as in `basis` and `open`."""
    open: NDArray[np.float64]
    unanswered: NDArray[np.float64]
    basis: NDArray[np.float64]
    unseen: NDArray[np.float64]
    unknown_category: NDArray[np.float64]
    with_outcome: NDArray[np.float64]
    """Answered orders that have one."""
    cities: NDArray[np.float64]
    """[cities, D] orders, as the restaurants file codes them."""
    audited: NDArray[np.float64]
    bad_labels: NDArray[np.float64]

    @classmethod
    def of(cls, joined: Joined, known: Known, first_day: int, days: int) -> Counts:
        """Count."""
        day = joined.outcomes.day - first_day

        def per_day(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
            return np.bincount(day[rows], minlength=days).astype(np.float64)

        open_day = joined.open["day"].to_numpy() - first_day
        open_basis = joined.open["basis"].fill_null(-1).to_numpy()
        opened = np.bincount(open_day, minlength=days).astype(np.float64)
        with_outcome = per_day(joined.answered)
        basis = np.stack(
            [
                per_day(joined.answered & (joined.basis == place))
                + np.bincount(open_day[open_basis == place], minlength=days)
                for place in range(len(BASES))
            ]
        )
        city = joined.orders.city
        cities = np.zeros((len(joined.directory.vocabularies.city), days))
        np.add.at(cities, (city[city >= 0], day[city >= 0]), 1.0)
        dated = known.audited_days >= first_day
        audited_day = known.audited_days[dated] - first_day
        bad = (known.audited_reasons[dated] & np.uint32(_BAD_LABELS)) != 0
        unseen = (joined.outcomes.reasons & np.uint32(Reason.UNKNOWN_RESTAURANT.bit)) != 0
        everything = np.ones(len(joined), np.bool_)
        return cls(
            first_day=first_day,
            orders=per_day(everything),
            answered=with_outcome + opened,
            open=opened,
            unanswered=per_day(~joined.answered),
            basis=basis,
            unseen=per_day(unseen),
            unknown_category=per_day(joined.answered & joined.unknown_category),
            with_outcome=with_outcome,
            cities=cities,
            audited=np.bincount(audited_day, minlength=days).astype(np.float64),
            bad_labels=np.bincount(audited_day[bad], minlength=days).astype(np.float64),
        )


_BAD_LABELS = sum(
    reason.bit
    for reason in (
        Reason.READY_BEFORE_ACKNOWLEDGED,
        Reason.LABEL_CONTRADICTS_TIMES,
        Reason.LABEL_ZERO,
        Reason.LABEL_UNDER_A_MINUTE,
        Reason.LABEL_OVER_CAP,
    )
)


def day_documents(
    joined: Joined, counts: Counts, by_day: Grouped, ratio: NDArray[np.float64], window: range
) -> tuple[Day, ...]:
    """Every day of `window` (positions from the first day looked at) that has an order or an answer."""
    day = joined.outcomes.day - counts.first_day
    open_day = joined.open["day"].to_numpy() - counts.first_day
    found = []
    for place in window:
        if not counts.orders[place] and not counts.answered[place]:
            continue
        mine, open_mine = joined.answered & (day == place), open_day == place
        predicted = np.concatenate([joined.predicted[mine], joined.open["p50"].to_numpy()[open_mine]])
        bundles = {joined.bundles[code] for code in np.unique(joined.bundle[mine])}
        bundles |= set(joined.open["bundle"].filter(open_mine).to_list())
        found.append(
            Day(
                date=date_of(counts.first_day + place),
                answered=int(counts.answered[place]),
                open=int(counts.open[place]),
                orders=int(counts.orders[place]),
                bundles=tuple(sorted(bundles)),
                basis={name: int(counts.basis[level, place]) for level, name in enumerate(BASIS_NAMES)},
                unseen_restaurants=int(counts.unseen[place]),
                unknown_categories=int(counts.unknown_category[place]),
                median_predicted_seconds=float(np.median(predicted)) if len(predicted) else None,
                ratio=float(ratio[place]) if np.isfinite(ratio[place]) else None,
                figures=by_day.figures(place),
            )
        )
    return tuple(found)


def bundle_documents(joined: Joined, tallied: Tallied, window: NDArray[np.bool_]) -> tuple[Bundle, ...]:
    """Every bundle that answered an order of the window which has an outcome, by id."""
    mine = joined.answered & window
    grouped = tallied.by(np.where(mine, joined.bundle, -1), len(joined.bundles))
    days = joined.outcomes.day
    return tuple(
        Bundle(
            bundle=joined.bundles[code],
            answered=int(rows.sum()),
            days=Days(first=date_of(int(days[rows].min())), last=date_of(int(days[rows].max()))),
            figures=grouped.figures(code),
        )
        for code in range(len(joined.bundles))
        if (rows := mine & (joined.bundle == code)).any()
    )


def answer_counts(joined: Joined, read: Read, window: NDArray[np.bool_], first_day: int) -> Answers:
    """What was answered in the window, by whom, and what became of it."""
    still_open = joined.open.filter(joined.open["day"] >= first_day)
    answered = joined.answered & window
    by_api = int((answered & joined.api).sum()) + int(still_open["api"].sum())
    everything = int(answered.sum()) + len(still_open)
    return Answers(
        orders=int(window.sum()),
        answered=int(answered.sum()),
        unanswered=int((window & ~joined.answered).sum()),
        open=len(still_open),
        evaluated=int((joined.evaluated & window).sum()),
        from_batch=everything - by_api,
        from_api=by_api,
        in_both=read.in_both,
        repeated=read.repeated,
        unreadable_lines=read.unreadable_lines,
        unidentified=read.unidentified,
    )


def label_audit(known: Known, first_day: int, last_day: int) -> LabelAudit:
    """Reasons of the rows of the window, those whose time cannot be read among them."""
    within = (known.audited_days >= first_day) | (known.audited_days < 0)
    reasons, latest = known.audited_reasons[within], known.audited_days[within] == last_day
    found = []
    for reason in Reason:
        has = (reasons & np.uint32(reason.bit)) != 0
        if has.any():
            meaning = rule(reason).meaning
            found.append(
                LabelReason(
                    reason=str(reason), meaning=meaning, orders=int(has.sum()), latest=int((has & latest).sum())
                )
            )
    evaluable = (reasons & np.uint32(mask(Purpose.EVALUATION))) == 0
    return LabelAudit(rows=len(reasons), evaluable=int(evaluable.sum()), reasons=tuple(found))
