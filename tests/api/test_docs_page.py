"""The examples in docs/api.md and in the README: the API accepts the requests and returns the shown responses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

from werkzeug.test import Client

from preptime.cli.demo import _key_lines
from tests.api.factories import (
    HEADERS,
    TAKE_HOME_FIELDS,
    TAKE_HOME_TYPES,
    http_client,
    load_active_model,
    make_service,
)
from tests.explanations.bundles import release_store
from tests.requirements import ROOT

EXAMPLE = re.compile(
    r"```sh\ncurl -s http://localhost:8000(?P<path>\S+) [^`]*?-d '\n(?P<body>[^`]*?)'\n```"
    r"(?:(?:(?!```sh).)*?```json\n(?P<response>.*?)\n```)?",
    re.DOTALL,
)
"""A request. Some have no response."""


def shape(value: object) -> object:
    """Return the field names and types, without values, because these depend on the bundle."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__


def test_api_docs_examples_match_the_responses(http: Client, tmp_path: Path) -> None:
    explained_model = load_active_model(*release_store(tmp_path))
    explained_http = http_client(make_service(explained_model).service, "fast_path")
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    examples = list(EXAMPLE.finditer(page))
    assert [example["path"] for example in examples] == [
        *["/v1/predictions"] * 3,
        "/v1/dispatch",
        "/v1/explanations",
        "/predict",
    ]
    for example in examples:
        # The test bundle has two models, `rf` and `quantile`.
        body = example["body"].replace('"stacking"', '"quantile"')
        # The test bundle has no explanations.
        client = explained_http if example["path"] == "/v1/explanations" else http
        response = client.post(example["path"], data=body, headers=HEADERS, content_type="application/json")
        assert response.status_code in {200, 201}, response.text
        if example["response"] is None:
            assert "error" not in response.text, response.text
            continue
        shown = json.loads(example["response"].replace('"stacking"', '"quantile"'))
        if example["path"] == "/predict":
            shown = {name: shown[name] for name in ("rf", "quantile")}
            assert response.status_code == 201
        document = cast(dict[str, Any], response.json)
        for item in document["predictions"] if example["path"] == "/v1/explanations" else ():
            groups = item["explanation"]["groups"]
            item["explanation"]["groups"] = [group for group in groups if group["name"] == "basket"]
        assert shape(document) == shape(shown)


def test_readme_example_matches_the_response(http: Client) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"curl [^`]*?http://\S+:8000(\S+)\s.*? -d '(.*?)'\n```.*?```json\n(.*?)\n```", page, re.DOTALL)
    assert example is not None
    response = http.post(example[1], data=example[2], headers=HEADERS, content_type="application/json")
    assert response.status_code == 200, response.text
    assert shape(response.json) == shape(json.loads(example[3]))


def test_examples_use_the_key_that_the_demo_writes() -> None:
    """Each variable of an example is in the demo's `.env`, and each page loads it with the same command."""
    variables = {line.partition("=")[0] for line in _key_lines()}
    for page in ("README.md", "docs/api.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        used = set(re.findall(r"\$([A-Z_]+)", text))
        assert used == {"PREPTIME_API_KEY"} <= variables, page
        assert 'export "$(grep ^PREPTIME_API_KEY= .env)"' in text, page


def test_api_docs_list_every_path_and_status(http: Client) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    document = http.get("/openapi.json").json
    assert isinstance(document, dict)
    paths = [path for path in document["paths"] if not path.startswith("/vertex")]
    assert [path for path in paths if f"{path}`" not in page] == []
    for status in document["paths"]["/v1/predictions"]["post"]["responses"]:
        assert status == "200" or re.search(rf"^\| .*\b{status}\b", page, re.MULTILINE), status


def test_vertex_docs_have_the_order_of_arrays() -> None:
    page = (ROOT / "docs" / "deploy-vertex.md").read_text(encoding="utf-8")
    listed = re.search(r"in this order, which the server can't check:(.*?)\.", page, re.DOTALL)
    assert listed is not None
    assert tuple(re.findall(r"`(\w+)`", listed[1])) == TAKE_HOME_FIELDS
    assert TAKE_HOME_TYPES.required_fields == TAKE_HOME_FIELDS[:4]
