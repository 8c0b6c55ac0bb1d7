"""The servers of the benchmark: how each one starts, and the form of its requests and responses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.__main__ import ROOT
from benchmarks.api.__main__ import SERVE_COMMAND
from benchmarks.api.servers import free_port
from benchmarks.peers.environments import PeerError, locked_version
from benchmarks.peers.predictor import MAX_BATCH_ORDERS, ORDER_COLUMNS, QUANTILES, STORE_VARIABLE

PREPTIME, FASTAPI, MLSERVER, MLFLOW, BENTOML = "preptime", "fastapi", "mlserver", "mlflow", "bentoml"
PACKAGES = (FASTAPI, MLSERVER, MLFLOW, BENTOML)
"""The peers: names of their packages, locks, and environments."""
TITLES = {FASTAPI: "FastAPI", MLSERVER: "MLServer", MLFLOW: "MLflow", BENTOML: "BentoML"}
SIX_MODELS, DEFAULT_MODEL = "preptime, six models", "preptime, default model"

_TENSOR_TYPES = ("BYTES", "FP64", "INT64", "INT64")
_WITHOUT_TELEMETRY = {"BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}

Order = Mapping[str, Any]
Values = dict[str, float]
"""The quantiles and point models of one order, in seconds, by name."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the start of a server needs."""

    port: int
    store: Path
    folder: Path
    """A folder for the files of the run."""
    environment: Path | None
    """The environment of a peer. preptime runs in this one."""
    key: str
    key_setting: str

    @property
    def python(self) -> str:
        """The Python of the server."""
        return sys.executable if self.environment is None else str(self.environment / "bin" / "python")

    def environ(self) -> dict[str, str]:
        """Return the environment variables of the server."""
        settings = {
            "PREPTIME_STORE": str(self.store),
            "PREPTIME_PORT": str(self.port),
            "PREPTIME_API_KEYS": self.key_setting,
            "PREPTIME_PREDICTION_LOG_FOLDER": str(self.folder / "predictions"),
        }
        peer = {
            "AIKEY": self.key,
            STORE_VARIABLE: str(self.store),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
            "PATH": os.pathsep.join([str(Path(self.python).parent), os.environ.get("PATH", os.defpath)]),
            "BENTOML_HOME": str(self.folder / "bentoml"),
        }
        return {"OMP_NUM_THREADS": "1", **_WITHOUT_TELEMETRY} | (settings if self.environment is None else peer)


@dataclass(frozen=True, slots=True)
class PeerServer:
    """A server of the benchmark."""

    package: str
    """One of `PACKAGES`, or `PREPTIME`."""
    name: str
    command: Callable[[Start], Sequence[str]]
    path: str
    ready_path: str
    body: Callable[[Order], object]
    read: Callable[[Any], Values]
    """Returns the values of the first order in a decoded response."""
    has_models: bool = True
    """Whether a response contains the point models."""

    @property
    def title(self) -> str:
        """The name in the table, with the version of a peer."""
        if self.package == PREPTIME:
            return f"**{self.name}**"
        return f"{TITLES[self.package]} {locked_version(self.package)}, {self.name}"


def catalog(models: Sequence[str]) -> list[PeerServer]:
    """Return all servers for a bundle with these models, preptime first."""

    def preptime(name: str, body: Callable[[Order], object], *, has_models: bool) -> PeerServer:
        path = "/v1/predictions"
        return PeerServer(PREPTIME, name, _preptime, path, "/readyz", body, _read_predictions, has_models)

    def mlserver(name: str, batch_orders: int) -> PeerServer:
        ready, path = "/v2/models/preptime/ready", "/v2/models/preptime/infer"
        return PeerServer(MLSERVER, name, _mlserver(batch_orders), path, ready, _tensors, _read_tensors)

    def mlflow(name: str, kind: str, key: str) -> PeerServer:
        body = _rows_in(key)
        return PeerServer(MLFLOW, name, _mlflow(kind), "/invocations", "/ping", body, _read_predictions)

    def bentoml(name: str, service: str) -> PeerServer:
        return PeerServer(BENTOML, name, _bentoml(service), "/predict", "/readyz", _rows_in("orders"), _read_list)

    def with_models(order: Order) -> object:
        return {**order, "models": list(models)}

    return [
        preptime(SIX_MODELS, with_models, has_models=True),
        preptime(DEFAULT_MODEL, dict, has_models=False),
        PeerServer(
            FASTAPI,
            "pydantic, uvicorn with uvloop",
            _fastapi,
            "/v1/predictions",
            "/readyz",
            with_models,
            _read_predictions,
        ),
        mlserver("custom runtime", 0),
        mlserver("custom runtime, adaptive batching", MAX_BATCH_ORDERS),
        mlflow("pyfunc with type hints", "hints", "inputs"),
        mlflow("pyfunc with a signature", "frames", "dataframe_records"),
        bentoml("service", "Plain"),
        bentoml("service, adaptive batching", "Batched"),
    ]


def _preptime(start: Start) -> list[str]:
    return [start.python, *SERVE_COMMAND]


def _fastapi(start: Start) -> list[str]:
    return [start.python, "-m", "benchmarks.references.fast", str(start.port), str(start.store)]


def _bentoml(service: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        target = f"benchmarks.peers.bentoml_service:{service}"
        return [start.python, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(start.port)]

    return command


def _mlflow(kind: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        model = start.folder / f"mlflow-{kind}"
        if not model.exists():
            _save_mlflow_model(start, kind, model)
        options = ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(start.port), "-w", "1", "-m", str(model)]
        return [start.python, "-m", "mlflow", "models", "serve", *options]

    return command


def _save_mlflow_model(start: Start, kind: str, model: Path) -> None:
    program = "import sys; from benchmarks.peers.mlflow_model import save; save(*sys.argv[1:])"
    command = [start.python, "-c", program, kind, str(model)]
    environ = dict(os.environ) | start.environ()
    done = subprocess.run(command, env=environ, cwd=start.folder, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise PeerError(f"{' '.join(command)}\n{done.stderr[-2000:]}")


def _mlserver(batch_orders: int) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        folder = start.folder / f"mlserver-{start.port}"
        folder.mkdir()
        for name, settings in mlserver_settings(start.port, folder, batch_orders).items():
            (folder / name).write_text(json.dumps(settings), encoding="utf-8")
        return [str(Path(start.python).with_name("mlserver")), "start", str(folder)]

    return command


def mlserver_settings(port: int, folder: Path, batch_orders: int) -> dict[str, dict[str, object]]:
    """Return the settings files of MLServer with one process, by name. With `batch_orders`, it batches requests."""
    server = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "metrics_dir": str(folder / "metrics"),
        "parallel_workers": 0,
        "use_structured_logging": False,
    }
    model: dict[str, object] = {"name": "preptime", "implementation": "benchmarks.peers.mlserver_runtime.PrepTime"}
    if batch_orders:
        model |= {"max_batch_size": batch_orders, "max_batch_time": 0.001}
    return {"settings.json": server, "model-settings.json": model}


def _rows_in(key: str) -> Callable[[Order], object]:
    return lambda order: {key: [{name: order[name] for name in ORDER_COLUMNS}]}


def _tensors(order: Order) -> object:
    columns = zip(ORDER_COLUMNS, _TENSOR_TYPES, strict=True)
    return {
        "inputs": [{"name": name, "shape": [1, 1], "datatype": type_, "data": [order[name]]} for name, type_ in columns]
    }


def _read_single(prediction: Mapping[str, Any]) -> Values:
    """Read a prediction. Most peers return its models in an object, others next to the quantiles."""
    models = prediction.get("models", prediction)
    return {**{name: prediction[name] for name in QUANTILES}, **models}


def _read_predictions(response: Mapping[str, Any]) -> Values:
    return _read_single(response["predictions"][0])


def _read_list(response: Sequence[Mapping[str, Any]]) -> Values:
    return _read_single(response[0])


def _read_tensors(response: Mapping[str, Any]) -> Values:
    return {tensor["name"]: tensor["data"][0] for tensor in response["outputs"]}
