"""A replacement for Google's Terraform provider: its schema (google_schema.py) without a cloud behind it.

Terraform starts this program from a filesystem mirror (terraform_runs.py), with the Python of `.venv-deploy`. Terraform
itself then checks names, types, and references, and makes plans. This program answers what Google would compute, for
example the URL of a service. Environment variables:

- `GOOGLE_SCHEMA`: the file with the schema.
- `GOOGLE_DRIFT`: a file with changes that were made outside Terraform, or empty.
"""

# ruff: noqa: ARG002, N802 - the protocol defines the names and arguments of the calls

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import msgpack  # type: ignore[import-not-found]
from tf.gen import grpc_controller_pb2 as controller  # type: ignore[import-not-found]
from tf.gen import grpc_controller_pb2_grpc as controller_service
from tf.gen import grpc_stdio_pb2_grpc as stdio_service
from tf.gen import tfplugin_pb2 as plugin
from tf.gen import tfplugin_pb2_grpc as plugin_service
from tf.runner import _self_signed_cert  # type: ignore[import-not-found]

PROJECT = "preptime-test"
PROJECT_NUMBER = "123456789012"
SCHEMA = json.loads(Path(os.environ["GOOGLE_SCHEMA"]).read_text(encoding="utf-8"))
UNKNOWN = msgpack.ExtType(0, b"\x00")
NESTING = {"single": 1, "list": 2, "set": 3}

Values = dict[str, Any]


def message_of_block(block: Values) -> plugin.Schema.Block:
    """Return a block of the schema as a message."""
    message = plugin.Schema.Block(version=0)
    for name, attribute in sorted(block["attributes"].items()):
        required = attribute["required"]
        message.attributes.append(
            plugin.Schema.Attribute(
                name=name,
                type=json.dumps(attribute["type"]).encode(),
                required=required,
                optional=attribute["optional"] and not required,
                computed=attribute["computed"] and not required,
            )
        )
    for name, nested in sorted(block["blocks"].items()):
        message.block_types.append(
            plugin.Schema.NestedBlock(
                type_name=name,
                nesting=NESTING[nested["nesting"]],
                min_items=nested["min_items"],
                max_items=nested["max_items"],
                block=message_of_block(nested["block"]),
            )
        )
    return message


def schema_of(block: Values) -> plugin.Schema:
    """Return a schema as a message."""
    return plugin.Schema(version=0, block=message_of_block(block))


def decode(value: plugin.DynamicValue) -> Values | None:
    """Return the values in a message."""
    if value.msgpack:
        decoded: Values | None = msgpack.unpackb(value.msgpack, ext_hook=msgpack.ExtType, strict_map_key=False)
        return decoded
    return json.loads(value.json) if value.json else None


def encode(values: Values | None) -> plugin.DynamicValue:
    """Return values as a message."""
    return plugin.DynamicValue(msgpack=msgpack.packb(values))


def set_unknown(block: Values, values: Values) -> Values:
    """Mark the computed values of a planned resource as unknown."""
    for name, attribute in block["attributes"].items():
        if values.get(name) is None and attribute["computed"]:
            values[name] = UNKNOWN
    for name, nested in block["blocks"].items():
        for inner in as_list(values.get(name)):
            set_unknown(nested["block"], inner)
    return values


def fill(block: Values, values: Values, kind: str) -> Values:
    """Replace unknown values by what Google would compute."""
    # Other values contain the project, and the ID contains other values.
    for name in sorted(block["attributes"], key=lambda name: (name != "project", name == "id")):
        if isinstance(values.get(name), msgpack.ExtType):
            values[name] = computed_value(kind, name, values) or default_value(block["attributes"][name]["type"])
    for name, nested in block["blocks"].items():
        for inner in as_list(values.get(name)):
            fill(nested["block"], inner, "")
    return values


def as_list(value: object) -> list[Values]:
    """Return the blocks under a name."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def default_value(type_text: object) -> object:
    """Return a value of a type."""
    if isinstance(type_text, list):
        return {} if type_text[0] == "map" else []
    return {"string": "computed", "number": 1, "bool": False}[str(type_text)]


def computed_value(kind: str, name: str, values: Values) -> object:
    """Return a computed value that others in deploy/terraform refer to."""
    project = f"projects/{PROJECT}"
    account, service = values.get("account_id"), values.get("name")
    pool = f"projects/{PROJECT_NUMBER}/locations/global/workloadIdentityPools/{values.get('workload_identity_pool_id')}"
    known = {
        ("google_project", "number"): PROJECT_NUMBER,
        ("google_cloud_run_v2_service", "id"): f"{project}/locations/{values.get('location')}/services/{service}",
        ("google_cloud_run_v2_service", "uri"): f"https://{service}-abcdef-ew.a.run.app",
        ("google_cloud_run_v2_job", "id"): f"{project}/locations/{values.get('location')}/jobs/{service}",
        ("google_kms_crypto_key", "id"): f"{values.get('key_ring')}/cryptoKeys/{service}",
        ("google_kms_crypto_key_version", "name"): f"{values.get('crypto_key')}/cryptoKeyVersions/1",
        ("google_kms_crypto_key_version", "public_key"): [{"algorithm": "EC_SIGN_P256_SHA256", "pem": "a key"}],
        ("google_kms_key_ring", "id"): f"{project}/locations/{values.get('location')}/keyRings/{service}",
        ("google_service_account", "email"): f"{account}@{PROJECT}.iam.gserviceaccount.com",
        ("google_service_account", "name"): f"{project}/serviceAccounts/{account}@{PROJECT}.iam.gserviceaccount.com",
        ("google_bigquery_dataset", "id"): f"{project}/datasets/{values.get('dataset_id')}",
        ("google_logging_project_sink", "writer_identity"): "serviceAccount:sink@gcp-sa-logging",
        ("google_iam_workload_identity_pool", "name"): pool,
        ("google_iam_workload_identity_pool_provider", "name"): f"{pool}/providers/github",
        ("google_artifact_registry_repository", "name"): values.get("repository_id"),
        ("google_monitoring_uptime_check_config", "uptime_check_id"): "check",
    }
    if name == "project":
        return PROJECT
    return known.get((kind, name)) or (f"{kind}/{service}" if name == "id" else None)


def drifted(kind: str, values: Values | None) -> Values | None:
    """Return a resource with the changes that were made outside Terraform."""
    path = os.environ.get("GOOGLE_DRIFT")
    for change in json.loads(Path(path).read_text(encoding="utf-8")) if path else []:
        if values and change["type"] == kind and values.get("name") == change["name"]:
            for location, value in change["set"].items():
                *parents, last = [int(part) if part.isdigit() else part for part in location.split(".")]
                target: Any = values
                for part in parents:
                    target = target[part]
                target[last] = value
    return values


class Provider(plugin_service.ProviderServicer):  # type: ignore[misc]
    """The provider's calls."""

    def GetMetadata(self, request: Any, context: Any) -> Any:
        """Return the names of all types."""
        response = plugin.GetMetadata.Response()
        response.resources.extend(plugin.GetMetadata.ResourceMetadata(type_name=name) for name in SCHEMA["resources"])
        response.data_sources.extend(
            plugin.GetMetadata.DataSourceMetadata(type_name=name) for name in SCHEMA["data_sources"]
        )
        return response

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        """Return the schema."""
        return plugin.GetProviderSchema.Response(
            provider=schema_of(SCHEMA["provider"]),
            resource_schemas={name: schema_of(block) for name, block in SCHEMA["resources"].items()},
            data_source_schemas={name: schema_of(block) for name, block in SCHEMA["data_sources"].items()},
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        """Accept the configuration, which Terraform has checked against the schema."""
        return plugin.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        """Accept the resource."""
        return plugin.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        """Accept the data source."""
        return plugin.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        """Accept the configuration."""
        return plugin.ConfigureProvider.Response()

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        """Return a data source with computed values."""
        block = SCHEMA["data_sources"][request.type_name]
        values = set_unknown(block, decode(request.config) or {})
        return plugin.ReadDataSource.Response(state=encode(fill(block, values, request.type_name)))

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        """Return the state as it is."""
        return plugin.UpgradeResourceState.Response(upgraded_state=encode(json.loads(request.raw_state.json)))

    def ReadResource(self, request: Any, context: Any) -> Any:
        """Return the state, with changes from outside Terraform."""
        values = drifted(request.type_name, decode(request.current_state))
        return plugin.ReadResource.Response(new_state=encode(values), private=request.private)

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        """Return the planned state."""
        values = decode(request.proposed_new_state)
        if values is not None and decode(request.prior_state) is None:
            values = set_unknown(SCHEMA["resources"][request.type_name], values)
        return plugin.PlanResourceChange.Response(
            planned_state=encode(values), planned_private=request.prior_private, legacy_type_system=True
        )

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        """Return the state after the change."""
        values = decode(request.planned_state)
        if values is not None:
            values = fill(SCHEMA["resources"][request.type_name], values, request.type_name)
        return plugin.ApplyResourceChange.Response(
            new_state=encode(values), private=request.planned_private, legacy_type_system=True
        )

    def GetFunctions(self, request: Any, context: Any) -> Any:
        """Return no functions."""
        return plugin.GetFunctions.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:
        """Do nothing: no call takes long."""
        return plugin.StopProvider.Response()


class Controller(controller_service.GRPCControllerServicer):  # type: ignore[misc]
    """Ends the program when Terraform asks for it."""

    def __init__(self, ended: threading.Event) -> None:
        self.ended = ended

    def Shutdown(self, request: Any, context: Any) -> Any:
        """End the program."""
        self.ended.set()
        return controller.Empty()


class StandardStreams(stdio_service.GRPCStdioServicer):  # type: ignore[misc]
    """The program's output for Terraform: none."""

    def __init__(self, ended: threading.Event) -> None:
        self.ended = ended

    def StreamStdio(self, request: Any, context: Any) -> Any:
        """Send nothing until the end."""
        self.ended.wait()
        return iter(())


def main() -> int:
    """Serve until Terraform ends the program."""
    ended = threading.Event()
    size = 64 << 20
    options = [("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", size)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=20), options=options)
    plugin_service.add_ProviderServicer_to_server(Provider(), server)
    controller_service.add_GRPCControllerServicer_to_server(Controller(ended), server)
    stdio_service.add_GRPCStdioServicer_to_server(StandardStreams(ended), server)
    with tempfile.TemporaryDirectory() as folder:
        chain, credentials = _self_signed_cert()
        address = f"{folder}/provider.sock"
        server.add_secure_port(f"unix://{address}", credentials)
        server.start()
        certificate = base64.b64encode(chain).decode().rstrip("=")
        sys.stdout.write(f"1|6|unix|{address}|grpc|{certificate}\n")
        sys.stdout.flush()
        ended.wait()
        server.stop(grace=1).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
