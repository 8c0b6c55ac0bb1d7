"""Runs of the real `terraform` on deploy/terraform, with a replacement for Google's provider (google_provider.py)."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.google_schema import ProviderSchema, read_schema
from tests.deploy.manifests import TOOLS
from tests.deploy.terraform import FOLDER
from tests.requirements import NOT_PACKAGED, requires

PROVIDER = Path(__file__).with_name("google_provider.py")
ALERTS = FOLDER.parent / "k8s" / "alerts"
GRAFANA = FOLDER.parent / "grafana"
"""The rules and the dashboards that modules/alerting reads."""
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Terraform's names of processors."""
NO_TERRAFORM = f"{NOT_PACKAGED} terraform, and it isn't installed"

Values = dict[str, Any]
"""The arguments of a resource, as Terraform plans them."""


def terraform_program() -> str:
    """Return the path of terraform, or skip the test."""
    program = shutil.which("terraform")
    requires(program, NO_TERRAFORM)
    return str(program)


def schema_of_files(folder: Path = FOLDER) -> ProviderSchema:
    """Return the schema of all types in the files of a folder and its modules."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.tf")))
    return read_schema(
        set(re.findall(r'^resource "(google_\w+)"', text, flags=re.MULTILINE)),
        set(re.findall(r'^data "(google_\w+)"', text, flags=re.MULTILINE)),
    )


@dataclass(frozen=True)
class Plan:
    """A plan of Terraform."""

    document: Values

    @property
    def changes(self) -> dict[str, list[str]]:
        """The actions by address, without resources that stay as they are."""
        changes = {change["address"]: change["change"]["actions"] for change in self.document["resource_changes"]}
        return {address: actions for address, actions in changes.items() if actions not in (["no-op"], ["read"])}

    @property
    def resources(self) -> dict[str, Values]:
        """The planned values by address. Values that Google computes are missing."""
        return _values_by_address(self.document["planned_values"]["root_module"])

    def of_type(self, kind: str) -> dict[str, Values]:
        """Return the planned values of one type of resource, by address."""
        types = {change["address"]: change["type"] for change in self.document["resource_changes"]}
        return {address: values for address, values in self.resources.items() if types.get(address) == kind}


def _values_by_address(module: Values) -> dict[str, Values]:
    values = {resource["address"]: resource["values"] for resource in module.get("resources", [])}
    for child in module.get("child_modules", []):
        values |= _values_by_address(child)
    return values


class Workspace:
    """A copy of deploy/terraform with local state, in which terraform finds the replacement provider."""

    def __init__(self, folder: Path, schema: ProviderSchema) -> None:
        self.folder = folder / "deploy" / "terraform"
        shutil.copytree(FOLDER, self.folder, ignore=shutil.ignore_patterns(".terraform*"))
        shutil.copytree(ALERTS, folder / "deploy" / "k8s" / "alerts")
        shutil.copytree(GRAFANA, folder / "deploy" / "grafana")
        backend = 'terraform {\n  backend "local" {}\n}\n'
        (self.folder / "backend_override.tf").write_text(backend, encoding="utf-8")
        mirror = self._install_provider(folder / "mirror", schema)
        config = folder / "terraform.rc"
        installation = f'filesystem_mirror {{\n    path = "{mirror}"\n  }}'
        config.write_text(f"provider_installation {{\n  {installation}\n}}\n", encoding="utf-8")
        self.environment = {
            **os.environ,
            "TF_CLI_CONFIG_FILE": str(config),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "GOOGLE_SCHEMA": str(schema.write(folder / "schema.json")),
        }
        self.run("init", "-input=false")

    def _install_provider(self, mirror: Path, schema: ProviderSchema) -> Path:
        machine = platform.machine()
        system = f"{platform.system().lower()}_{MACHINES.get(machine, machine)}"
        folder = mirror / "registry.terraform.io" / "hashicorp" / "google" / schema.version / system
        folder.mkdir(parents=True)
        program = folder / f"terraform-provider-google_v{schema.version}"
        program.write_text(f'#!/bin/sh\nexec "{TOOLS}/python" "{PROVIDER}"\n', encoding="utf-8")
        program.chmod(0o755)
        return mirror

    def call(self, *arguments: str, drift: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command, and return its result."""
        return subprocess.run(
            [terraform_program(), *arguments],
            cwd=self.folder,
            env={**self.environment, "GOOGLE_DRIFT": str(drift or "")},
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments: str, drift: Path | None = None) -> str:
        """Run a command that must succeed, and return its standard output."""
        completed = self.call(*arguments, drift=drift)
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout

    def plan(self, environment: str, *options: str, drift: list[Values] | None = None) -> Plan:
        """Return the plan of an environment. `drift` is what was changed outside Terraform."""
        drift_file = self.folder / "drift.json"
        drift_file.write_text(json.dumps(drift or []), encoding="utf-8")
        variables = f"-var-file=environments/{environment}.tfvars"
        out = f"-out={environment}.plan"
        self.run("plan", "-input=false", "-lock=false", out, variables, *options, drift=drift_file)
        return Plan(json.loads(self.run("show", "-json", f"{environment}.plan")))

    def apply(self, environment: str) -> None:
        """Apply the last plan of an environment."""
        self.run("apply", "-input=false", "-lock=false", f"{environment}.plan")

    def state(self) -> dict[str, Values]:
        """Return all applied values by address, including computed ones."""
        document = json.loads(self.run("show", "-json"))
        return _values_by_address(document.get("values", {}).get("root_module", {}))
