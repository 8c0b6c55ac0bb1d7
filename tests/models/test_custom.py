"""Custom models of `[models]` in a schema: loading, hyperparameters, the check on few rows, and the messages."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from preptime.errors import OperationError, PreptimeError, UsageError
from preptime.models.catalogue import CATALOGUE, hyperparameters, left_out, models_of
from preptime.models.custom import CustomPointModel, CustomQuantileModel
from preptime.models.fitting import fit_all
from preptime.models.model import Model
from preptime.models.model_check import check_models
from preptime.models.onnx_export import check_parity, merge_to_onnx
from preptime.models.quantile import QuantileModel
from preptime.models.user_code import UserCode
from preptime.schema.schema import ModelSettings, Schema
from preptime.schema.toml_file import read_schema
from tests.models.graphs import run
from tests.models.rows import SEED, training_rows

CLASSES = Path(__file__).with_name("custom_models.py")
X, Y = training_rows(300, 12)
X = np.abs(X) + np.float32(0.1)


def write_schema(folder: Path, text: str) -> Schema:
    """Write `[models]` to schema.toml, next to a copy of the classes, and read it."""
    (folder / "mine.py").write_bytes(CLASSES.read_bytes())
    (folder / "schema.toml").write_text(f"[models]\n{text}\n", encoding="utf-8")
    return read_schema(folder / "schema.toml")


def custom(folder: Path, text: str, name: str = "mine") -> Model:
    """Return the model `name` of `[models]`."""
    return models_of(write_schema(folder, text).models, names=[name])[name]


def test_models_of_default_are_the_catalogue() -> None:
    assert models_of({}) == dict(CATALOGUE)


def test_models_of_applies_hyperparameters_and_order(tmp_path: Path) -> None:
    schema = write_schema(
        tmp_path, 'mine = "mine.py:Scaled"\n[models.quantile]\ndepth = 5\n[models.cat]\nlearning_rate = 1'
    )
    models = models_of(schema.models)
    assert list(models) == [*(name for name in CATALOGUE if name != "quantile"), "mine", "quantile"]
    assert models["quantile"] == QuantileModel(depth=5)
    assert hyperparameters(models["cat"])["learning_rate"] == 1.0
    assert models["cat"] in models["stacking"].models, "stacking has the same base models"  # type: ignore[attr-defined]
    fitted = {name: model.fit(X[:40], Y[:40], threads=1, seed=SEED) for name, model in models.items() if name == "mine"}
    check_parity(merge_to_onnx(fitted, X.shape[1]), fitted, X)


def test_models_of_names_adds_quantile_and_loads_only_these(tmp_path: Path) -> None:
    schema = write_schema(tmp_path, 'broken = "missing.py:A"\nmine = "mine.py:Scaled"')
    assert list(models_of(schema.models, names=["mine", "rf"])) == ["rf", "mine", "quantile"]
    assert left_out(schema.models, ["mine", "rf"]) == (
        *(name for name in CATALOGUE if name not in {"rf", "quantile"}),
        "broken",
    )
    assert left_out(schema.models, None) == ()
    with pytest.raises(UsageError, match=r"There is no model 'mime'\. Did you mean mine\?"):
        models_of(schema.models, names=["mime"])


def test_stacking_without_its_bases_has_their_hyperparameters() -> None:
    settings = {"xgb": ModelSettings(parameters={"depth": 2})}
    (stacking, _) = models_of(settings, names=["stacking"]).values()
    assert [hyperparameters(base).get("depth") for base in stacking.models] == [None, 3, 6, 2]  # type: ignore[attr-defined]


def test_custom_point_model_fits_exports_and_reports(tmp_path: Path) -> None:
    model = custom(tmp_path, 'mine = { class = "mine.py:Scaled", factor = 2 }')
    assert isinstance(model, CustomPointModel)
    assert dict(model.parameters) == {"factor": 2, "column": 0}
    fitted = model.fit(X, Y, threads=1, seed=SEED)
    seconds = fitted.predict(X)
    assert seconds.mean() == pytest.approx(2 * Y.mean(), rel=1e-3)
    graph = merge_to_onnx({"mine": fitted}, X.shape[1])
    assert check_parity(graph, {"mine": fitted}, X)["mine"] < 0.01
    np.testing.assert_array_equal(run(graph, X)["mine"], seconds)
    importance = fitted.importance()
    assert importance.sum() == pytest.approx(1)
    assert np.argmax(importance) == 0, "the permutation of the only column that is read"


def test_custom_quantiles_are_calibrated_and_ordered(tmp_path: Path) -> None:
    model = custom(tmp_path, 'quantile = "mine.py:Levels"', "quantile")
    assert isinstance(model, CustomQuantileModel)
    fitted = model.fit(X, Y, threads=1, seed=SEED)
    calibrated = fitted.calibrated(np.array([0.0, 0.1, -0.5, 0.2]))
    predicted = calibrated.predict(X)
    assert (np.diff(predicted, axis=1) >= 0).all()
    np.testing.assert_allclose(predicted[:, 1], fitted.predict_raw(X)[:, 1] * 1.1, rtol=0.2)
    graph = merge_to_onnx({"quantile": calibrated}, X.shape[1])
    assert check_parity(graph, {"quantile": calibrated}, X)["quantile"] < 0.01
    check_models({"quantile": model}, X, Y, seed=SEED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('mine = "other.py:A"', r"other\.py of the model mine can't be read: No such file.*schema\.toml, line 2\)"),
        ('mine = "mine.py:Scales"', r"mine\.py:Scales .*line 2\): the file has no such class"),
        ('mine = "mine.py:WithoutFit"', r"the class has no method fit\. A class has fit\(X, y"),
        ('mine = "mine.py:np"', r"the file has no such class"),
        (
            '[models.mine]\nclass = "mine.py:Scaled"\nfacto = 2',
            r"schema\.toml, line 4: Scaled has no hyperparameter 'facto'\. Did you mean factor\?",
        ),
        (
            '[models.mine]\nclass = "mine.py:Scaled"\ncolumn = 2.5',
            r"line 4: column is 2\.5; expected a whole number such as 0\. Write column as a whole number",
        ),
    ],
)
def test_load_class_reports_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        custom(tmp_path, text)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class A:\n  def fit(self:\n", r"loading the file failed with SyntaxError: .*mine\.py, line 2\)"),
        ("x = 1\ny = x / 0\n", r"loading the file failed with ZeroDivisionError: division by zero .*line 2\)"),
        ("import a_missing_library\n", r"ModuleNotFoundError: No module named 'a_missing_library' .*line 1\)"),
        ("class A:\n  def __init__(self, n): ...\n  def fit(self): ...\n", r"the hyperparameter n has no value"),
        (
            "class A:\n  def __init__(self):\n    raise ValueError('no')\n  def fit(self): ...\n",
            r"ValueError: no .*line 3",
        ),
    ],
)
def test_load_class_reports_the_line_of_the_file(
    tmp_path: Path, code: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both with the absolute path of the schema and with `schema.toml` in the working directory."""
    schema = write_schema(tmp_path, 'mine = "mine.py:A"')
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for models in (schema.models, read_schema(Path("schema.toml")).models):
        with pytest.raises(UsageError, match=message):
            models_of(models, names=["mine"])


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("fit", UsageError, r"fit failed with RuntimeError: the library failed \(.*mine\.py, line \d+\)"),
        ("seed", UsageError, r"'second fit with the same seed'\. The two fits predict different seconds.*Pass seed"),
        ("finite", UsageError, r"the step 'predict'\. Expected finite seconds, found nan in row 59"),
        ("shape", UsageError, r"predict returned float32 of shape \(60, 2\) for 60 rows; expected .* \(60,\)"),
        ("quantiles", UsageError, r'shape \(60, 4\).*\[models\] quantile = "mine\.py:Broken"'),
        ("batch", UsageError, r"the step 'predict'\. Row 0 is .* in a batch, and .* alone\. Expected the same bits"),
        ("importance", UsageError, r"the step 'importance'\. .* importance has shape \(3,\); expected \(12,\)"),
        ("export", UsageError, r"to_onnx returned str; expected an onnx\.ModelProto or bytes"),
        ("parity", OperationError, r"the step 'parity of the ONNX graph'\. mine, row 0: ONNX predicts"),
        ("random", UsageError, r"requirement on operators: expected only allowed .*, found RandomNormalLike"),
        ("cast", OperationError, r"the step 'parity of the ONNX graph'\. mine, row \d+: ONNX predicts \d+\.0000 s"),
    ],
)
def test_check_names_model_step_and_requirement(
    tmp_path: Path, what: str, error: type[PreptimeError], message: str
) -> None:
    model = custom(tmp_path, f'mine = {{ class = "mine.py:Broken", factor = 3.7, what = "{what}" }}')
    with pytest.raises(error, match=message) as raised:
        check_models({"mine": model}, X, Y, seed=SEED)
    assert str(raised.value).startswith("The model mine failed its check on 60 rows, at the step")


def test_check_accepts_the_unbroken_class(tmp_path: Path) -> None:
    check_models({"mine": custom(tmp_path, 'mine = "mine.py:Broken"')}, X, Y, seed=SEED)


def test_check_reports_hyperparameters_that_a_library_refuses() -> None:
    models = models_of({"xgb": ModelSettings(parameters={"depth": -3})}, names=["xgb"])
    with pytest.raises(UsageError, match=r"The model xgb failed its check .* XGBoostError.*\[models\.xgb\]"):
        check_models(models, X, Y, seed=SEED)


def test_documented_class_works(tmp_path: Path) -> None:
    """The first example of docs/custom-models.md is a file that can be copied."""
    page = (Path(__file__).parents[2] / "docs" / "custom-models.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "my_models.py").write_text(code, encoding="utf-8")
    settings = {"mine": ModelSettings("my_models.py:HuberTrees")}
    check_models({"mine": models_of(settings, tmp_path)["mine"]}, *training_rows(200, 25), seed=SEED)


def test_fit_all_fits_a_custom_class_alone_with_all_threads(tmp_path: Path) -> None:
    """Its library may not allow concurrent fits, so the pool of the other models has ended."""
    (tmp_path / "alone.py").write_text(
        CLASSES.read_text(encoding="utf-8") + "\n\nimport threading\n\n\nclass Alone(Scaled):\n"
        "    def fit(self, X, y, *, threads, seed):\n"
        "        self.log.append((threading.get_ident(), threads))\n"
        "        return super().fit(X, y, threads=threads, seed=seed)\n"
        "    log = []\n",
        encoding="utf-8",
    )
    schema = write_schema(tmp_path, 'alone = "alone.py:Alone"')
    models = models_of(schema.models, names=["rf", "alone"])
    alone = models["alone"]
    assert isinstance(alone, CustomPointModel)
    reported: list[str] = []
    fit_all(models, X, Y, threads=3, seed=SEED, on_fitted=reported.append)
    assert alone.create().log == [(threading.get_ident(), 3)]
    assert sorted(reported) == ["alone", "quantile", "rf"]


@pytest.mark.parametrize("name", ["ChangesArrays", "Scaled"])
def test_custom_class_cant_change_the_callers_arrays(tmp_path: Path, name: str) -> None:
    """Libraries may need writable arrays, so a class gets its own copies, which it can change."""
    rows, labels = X.copy(), Y.copy()
    fitted = custom(tmp_path, f'mine = "mine.py:{name}"').fit(rows, labels, threads=1, seed=SEED)
    first = fitted.predict(rows)
    np.testing.assert_array_equal(fitted.predict(rows), first)
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(labels, Y)


def test_fit_all_gives_other_models_unchanged_arrays(tmp_path: Path) -> None:
    models = models_of(write_schema(tmp_path, 'mine = "mine.py:ChangesArrays"').models, names=["mine", "stacking"])
    own = {name: model for name, model in models.items() if name != "mine"}
    both = fit_all(models, X.copy(), Y.copy(), threads=1, seed=SEED)
    alone = fit_all(own, X.copy(), Y.copy(), threads=1, seed=SEED)
    for name in own:
        np.testing.assert_array_equal(both[name].predict(X), alone[name].predict(X))
    check_models(models, X, Y, seed=SEED)


def test_fit_that_returns_self_has_its_own_object(tmp_path: Path) -> None:
    model = custom(tmp_path, 'mine = "mine.py:ReturnsSelf"')
    first = model.fit(X, Y, threads=1, seed=SEED)
    predicted = first.predict(X)
    second = model.fit(X[:50, :9], Y[:50] * 2, threads=1, seed=SEED)
    np.testing.assert_array_equal(first.predict(X), predicted)
    np.testing.assert_allclose(second.predict(X), X[:, 0] * 2 * Y[:50].mean(), rtol=1e-6)
    check_models({"mine": model}, X, Y, seed=SEED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("UnseededSelf", r"'second fit with the same seed'\. The two fits predict different seconds.*Pass seed"),
        ("SharedResult", r"'second fit with the same seed'\. The second fit changed the predictions of the first one"),
    ],
)
def test_check_refuses_fits_that_differ(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_models({"mine": custom(tmp_path, f'mine = "mine.py:{name}"')}, X, Y, seed=SEED)


def test_exit_of_a_custom_class_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"The model mine: fit failed with SystemExit: 3 \(.*mine\.py, line \d+\)"):
        custom(tmp_path, 'mine = "mine.py:Exits"').fit(X, Y, threads=1, seed=SEED)
    with pytest.raises(KeyboardInterrupt):
        custom(tmp_path, 'mine = { class = "mine.py:Exits", factor = 2.0 }').fit(X, Y, threads=1, seed=SEED)


def test_prints_of_a_custom_class_go_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    custom(tmp_path, 'mine = "mine.py:Prints"').fit(X, Y, threads=1, seed=SEED)
    print("after", flush=True)
    captured = capfd.readouterr()
    assert captured.out.splitlines() == ["before", "after"]
    assert captured.err.splitlines() == ["from Python", "from a native library", "from a process"]


def test_stdout_is_restored_after_blocks_of_two_threads(capfd: pytest.CaptureFixture[str]) -> None:
    """The block that started first ends first."""
    code, started, ended = UserCode("mine", Path("mine.py"), "A", ""), threading.Event(), threading.Event()

    def run_later() -> None:
        with code.run("fit"):
            started.set()
            ended.wait(60)
            print("second")

    thread = threading.Thread(target=run_later)
    with code.run("fit"):
        thread.start()
        started.wait(60)
    print("between", flush=True)
    ended.set()
    thread.join()
    print("after", flush=True)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("after\n", "between\nsecond\n")
