"""The trials of `preptime tune` in a file, with Optuna, so that a later run continues.

The trials are a journal of Optuna: one JSON line per change, only appended. Each trial draws from its own seed, so an
interrupted and continued search has the same trials as an uninterrupted one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from preptime.errors import OperationError, PreptimeError, UsageError
from preptime.training.search_spaces import Choices, NumberRange, Parameters, ParameterValue, SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import Trial
    from optuna.trial import TrialState as OptunaState

_STUDY_NAME = "preptime tune"
_SETTINGS, _RESULT = "settings", "result"
"""Keys of the study's and the trials' attributes."""
STARTUP_TRIALS = 10
"""Random trials before the sampler learns from trials: Optuna's default."""
PRUNING_STARTUP_TRIALS = 5
"""Complete trials before a trial can be stopped early: Optuna's default."""


class StudySettings(msgspec.Struct, frozen=True):
    """What must be equal for the trials of a study to be comparable."""

    model: str
    first_day: dt.date
    last_day: dt.date
    retrain_every: int
    seed: int
    data_fingerprint: str
    fixed: Parameters
    """The model's hyperparameters that aren't searched."""
    space: SearchSpace
    code: str = ""
    """A hash of a custom model's file."""


Objective = Literal["pinball", "mae"]
"""`pinball`: the mean pinball loss of all quantiles. `mae`: the mean absolute error."""


class DailyLosses(msgspec.Struct, frozen=True):
    """The losses of one trial on the evaluated days: the sums over the orders of each day, in seconds."""

    objective: Objective
    day: tuple[int, ...]
    """Local day numbers."""
    orders: tuple[int, ...]
    losses: tuple[float, ...]
    """What the search minimizes."""
    errors: tuple[float, ...]
    """Absolute errors: of p50, for quantiles."""

    @property
    def mean_loss(self) -> float:
        """The mean loss of an order, in seconds."""
        return sum(self.losses) / sum(self.orders)


TrialState = Literal["complete", "stopped", "failed"]


class TrialRecord(msgspec.Struct, frozen=True):
    """One finished trial."""

    number: int
    """Counted from 0, in the order in which trials finished."""
    parameters: Parameters
    state: TrialState
    """`stopped`: early, because it was worse than the median of the earlier trials. `failed`: with an error."""
    daily: DailyLosses | None = None
    """None unless the trial is complete."""
    error: str = ""

    @property
    def loss(self) -> float | None:
        """The mean loss of an order, in seconds. None unless the trial is complete."""
        return None if self.daily is None else self.daily.mean_loss


class StoppedEarlyError(Exception):
    """A trial is worse than the median of the earlier trials on its first days."""


Report = Callable[[int, float], None]
"""Called with the number of a finished block of days and the mean loss so far. It raises `StoppedEarlyError`."""
Evaluate = Callable[[Parameters, Report], DailyLosses]


@dataclass(frozen=True)
class TuningStudy:
    """A study in a file. Only one process can use it at a time."""

    study: Study
    path: Path
    settings: StudySettings
    given: tuple[Parameters, ...]
    """The parameters of the first trials: those that training uses, and the defaults."""

    def records(self) -> list[TrialRecord]:
        """Return the finished trials, oldest first."""
        attributes = (trial.user_attrs for trial in self.study.get_trials(deepcopy=False))
        return [msgspec.convert(found[_RESULT], TrialRecord) for found in attributes if _RESULT in found]

    def run_trial(self, evaluate: Evaluate) -> TrialRecord:
        """Evaluate the next trial, record it, and return it.

        An interruption leaves no record. Neither does an error with the first parameters, which is raised. An error
        with later ones is recorded as a failed trial.
        """
        number = len(self.records())
        trial = self._ask(number)
        parameters = self._suggest(trial, number)
        try:
            record = _evaluate_trial(trial, number, parameters, evaluate)
        except BaseException:
            self.study.tell(trial.number, state=_optuna_state(None), skip_if_finished=True)
            raise
        try:
            trial.set_user_attr(_RESULT, msgspec.to_builtins(record))
            _tell(self.study, trial.number, record)
        except _update_error() as error:
            raise OperationError(
                f"Another process used {self.path} at the same time.", "Use another file (--study), or wait for it."
            ) from error
        return record

    def importance(self) -> dict[str, float]:
        """Return how much each hyperparameter explains of the losses, as shares, largest first.

        Empty if there are too few complete trials.
        """
        from optuna.importance import get_param_importances

        losses = {record.loss for record in self.records() if record.loss is not None}
        if len(losses) < STARTUP_TRIALS:
            return {}
        return get_param_importances(self.study)

    def _ask(self, number: int) -> Trial:
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState as OptunaState

        seed = int(np.random.SeedSequence((self.settings.seed, number)).generate_state(1)[0])
        self.study.sampler = TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        waiting = self.study.get_trials(deepcopy=False, states=(OptunaState.WAITING,))
        if number < len(self.given) and not waiting:
            self.study.enqueue_trial(dict(self.given[number]))
        return self.study.ask({name: _distribution(self._limits(name)) for name in self.settings.space})

    def _limits(self, name: str) -> NumberRange | Choices:
        """Return the range of a hyperparameter, extended to the given values."""
        limits = self.settings.space[name]
        for parameters in self.given:
            limits = limits.including(parameters[name])
        return limits

    def _suggest(self, trial: Trial, number: int) -> Parameters:
        """Return the parameters of a trial: the given ones, or drawn ones. Numbers of a range are rounded."""
        if number < len(self.given):
            return dict(self.given[number])
        return {name: _suggested(value, self._limits(name)) for name, value in trial.params.items()}


def _evaluate_trial(trial: Trial, number: int, parameters: Parameters, evaluate: Evaluate) -> TrialRecord:
    def report(block: int, loss: float) -> None:
        trial.report(loss, block)
        if trial.should_prune():
            raise StoppedEarlyError

    try:
        return TrialRecord(number, parameters, "complete", evaluate(parameters, report))
    except StoppedEarlyError:
        return TrialRecord(number, parameters, "stopped")
    except (PreptimeError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if number == 0:
            raise
        return TrialRecord(number, parameters, "failed", error=f"{type(error).__name__}: {error}"[:300])


@contextmanager
def open_study(
    path: Path, settings: StudySettings, given: Sequence[Parameters], *, restart: bool = False
) -> Iterator[TuningStudy]:
    """Yield the study in a file, which is created if it's missing.

    Args:
        path: The file. Its folder is created.
        settings: What the trials depend on.
        given: The parameters of the first trials. An existing study keeps its own.
        restart: Whether to discard the trials of the file.

    Raises:
        UsageError: The file isn't a study, or it's one with other settings.
        OperationError: The file can't be written.
    """
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        study = _load(path, restart=restart)
        stored = study.user_attrs.get(_SETTINGS)
        if stored is None:
            stored = {"settings": msgspec.to_builtins(settings), "given": [dict(found) for found in given]}
            study.set_user_attr(_SETTINGS, stored)
        _check_settings(path, stored["settings"], settings)
        _end_interrupted_trials(study)
        yield TuningStudy(study, path, settings, tuple(stored["given"]))
    finally:
        optuna.logging.set_verbosity(verbosity)


def _load(path: Path, *, restart: bool) -> Study:
    """Return the study in a file, new if there is none."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    try:
        _check_journal(path)
        # The other kind of lock, a symbolic link, needs a privilege on Windows.
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
        names = optuna.get_all_study_names(storage)
        if restart and _STUDY_NAME in names:
            optuna.delete_study(study_name=_STUDY_NAME, storage=storage)
            names = []
        pruner = optuna.pruners.MedianPruner(n_startup_trials=PRUNING_STARTUP_TRIALS)
        return optuna.create_study(
            storage=storage, study_name=_STUDY_NAME, pruner=pruner, load_if_exists=_STUDY_NAME in names
        )
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{path} isn't a file of preptime tune, or it's damaged.", "Use another file (--study)."
        ) from error


def _check_journal(path: Path) -> None:
    """Raise `ValueError` if a file isn't a journal, because Optuna would append to it.

    An incomplete last line, which a crash of the machine can leave, is removed.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    complete, line_feed, rest = content.rpartition(b"\n")
    if content and (not line_feed or "op_code" not in msgspec.json.decode(content.splitlines()[0], type=dict)):
        raise ValueError(path)
    if rest:
        path.write_bytes(complete + line_feed)


def _check_settings(path: Path, stored: object, settings: StudySettings) -> None:
    """Raise `UsageError` if the trials of a study aren't comparable with new ones."""
    try:
        previous = msgspec.convert(stored, StudySettings)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is of another version of preptime.", _OTHER_STUDY) from error
    for field in StudySettings.__struct_fields__:
        was, now = getattr(previous, field), getattr(settings, field)
        if was != now:
            raise UsageError(
                f"The trials in {path} have another {_MEANING[field]}: {_text(was)}. Now: {_text(now)}.", _OTHER_STUDY
            )


_OTHER_STUDY = "Use another file (--study FILE), or discard the trials (--restart)."
_MEANING = {
    "model": "model",
    "first_day": "first day",
    "last_day": "last day",
    "retrain_every": "number of days between fits",
    "seed": "seed",
    "data_fingerprint": "data fingerprint",
    "fixed": "set of other hyperparameters",
    "space": "search space",
    "code": "version of the model's file",
}


def _text(value: object) -> str:
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return str(value)[:16] or "none"


def _end_interrupted_trials(study: Study) -> None:
    """End the trials that killed processes left running, because a running trial affects the next one."""
    from optuna.trial import TrialState as OptunaState

    for trial in study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
        result = trial.user_attrs.get(_RESULT)
        _tell(study, trial.number, None if result is None else msgspec.convert(result, TrialRecord))


def _tell(study: Study, number: int, record: TrialRecord | None) -> None:
    """End a trial of Optuna. Without a record, it was interrupted."""
    study.tell(number, None if record is None else record.loss, state=_optuna_state(record))


def _optuna_state(record: TrialRecord | None) -> OptunaState:
    from optuna.trial import TrialState as OptunaState

    if record is None or record.state == "failed":
        return OptunaState.FAIL
    return OptunaState.COMPLETE if record.state == "complete" else OptunaState.PRUNED


def _update_error() -> type[Exception]:
    from optuna.exceptions import UpdateFinishedTrialError

    return UpdateFinishedTrialError


def _distribution(limits: NumberRange | Choices) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(limits, Choices):
        return CategoricalDistribution(limits.values)
    if limits.is_whole:
        return IntDistribution(int(limits.low), int(limits.high), log=limits.is_log)
    return FloatDistribution(float(limits.low), float(limits.high), log=limits.is_log)


def _suggested(value: object, limits: NumberRange | Choices) -> ParameterValue:
    """Return a drawn value. A number of a range has four significant digits, so that people can read it.

    A choice isn't rounded, and neither is a number that would leave its range.

    Example:
        >>> _suggested(0.0734128843, NumberRange(0.01, 0.3)), _suggested(0.0734128843, Choices((0.0734128843,)))
        (0.07341, 0.0734128843)
    """
    if not isinstance(value, int | float | str):
        raise TypeError(value)
    if isinstance(value, float) and isinstance(limits, NumberRange):
        rounded = float(f"{value:.4g}")
        return rounded if limits.low <= rounded <= limits.high else value
    return value
