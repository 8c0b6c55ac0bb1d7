"""The schemas of Google's APIs: discovery documents in the package google-api-python-client."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tests.requirements import ROOT, requires

Document = dict[str, Any]


@cache
def schemas(api: str) -> Document:
    """Return the messages of an API, for example `monitoring.v1`, by name."""
    documents = "lib/python3*/site-packages/googleapiclient/discovery_cache/documents"
    paths = list((ROOT / ".venv-airflow").glob(f"{documents}/{api}.json"))
    requires(paths, "google-api-python-client is not installed; run: python dev.py setup airflow")
    messages: Document = json.loads(paths[0].read_text(encoding="utf-8"))["schemas"]
    return messages


def unknown_names(value: object, api: str, message: str) -> list[str]:
    """Return the names and values of a document that a message of the API doesn't allow."""
    return list(_errors(value, {"$ref": message}, schemas(api), message))


def _errors(value: object, schema: Document, messages: Document, where: str) -> list[str]:
    if "$ref" in schema:
        schema = messages[schema["$ref"]]
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        others = schema.get("additionalProperties")
        return [
            error
            for name, inner in value.items()
            for error in (
                _errors(inner, fields.get(name, others), messages, f"{where}.{name}")
                if name in fields or others
                else [f"{where}.{name}"]
            )
        ]
    if isinstance(value, list):
        return [error for item in value for error in _errors(item, schema["items"], messages, where)]
    return [f"{where}: {value}"] if value not in schema.get("enum", [value]) else []
