"""Two bundles on the same orders, neither fitted on any of them: for `train`, and for a person who asks."""

from __future__ import annotations

import datetime as dt

from preptime.bundle.bundle import Bundle
from preptime.domain.fence import upper_fence
from preptime.evaluation.evaluated import EvaluatedOrders
from preptime.features.directory import Directory
from preptime.tables.audit import audit
from preptime.tables.table import Table
from preptime.training.backtest import evaluate
from preptime.training.corpus import Corpus
from preptime.training.mornings import matrix
from preptime.training.promote import Comparison, compare, incomparable

ONE_DAY = dt.timedelta(days=1)


def compare_bundles(corpus: Corpus, challenger: Bundle, champion: Bundle, last: dt.date) -> Comparison:
    """Both bundles' models on the days after both were fitted, up to `last`, each day with that morning's history."""
    mine, theirs = challenger.manifest, champion.manifest
    seen = max(mine.window.fitted_through, theirs.window.fitted_through)
    first = seen + ONE_DAY
    if first > last:
        return incomparable(mine.id, theirs.id, seen)
    return compare(
        evaluate_bundle(corpus, challenger, first, last),
        evaluate_bundle(corpus, champion, first, last),
        names=(mine.id, theirs.id),
        days=(first, last),
    )


def compare_on(
    orders: Table, directory: Directory, challenger: Bundle, champion: Bundle, last: dt.date | None = None
) -> Comparison:
    """The same from tables; up to `last`, or the last day that has orders. Promotes nothing.

    Raises `DataError` for orders that cannot be read or used.
    """
    corpus = Corpus.of(audit(orders.frame(), directory, need_label=True), directory)
    return compare_bundles(corpus, challenger, champion, min(last or corpus.last_day, corpus.last_day))


def evaluate_bundle(corpus: Corpus, bundle: Bundle, first: dt.date, last: dt.date) -> EvaluatedOrders:
    """What the bundle's models answer from `first` to `last`, with categories as they were when it was fitted."""
    vocabularies = bundle.manifest.vocabularies
    own = corpus.recoded(corpus.directory.named(vocabularies))
    return evaluate(matrix(own, first, last), bundle.graph, upper_fence(corpus.label))
