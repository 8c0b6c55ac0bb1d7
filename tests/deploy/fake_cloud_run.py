"""A fake of the Cloud Run Admin API (v2) with one service, over HTTP: revisions, traffic, tags, operations, metrics.

It behaves as the documentation of the API says: a changed template makes a revision, whose name Cloud Run chooses if
the template has none; a name can't be used twice; a revision keeps the secrets of its start.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_server import JsonHandler, serve

LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
PATH = "/v2/projects/test-project/locations/europe-west1/services/preptime-api"

Document = dict[str, Any]


@dataclass
class FakeService:
    """The service, as Terraform creates it, with one revision."""

    secret: str = "first-key"  # noqa: S105
    """The latest version of the secret with the keys."""
    failing_image: str = ""
    """An image whose revisions don't become ready."""
    revisions: dict[str, Document] = field(default_factory=dict)
    document: Document = field(default_factory=dict)
    changes: list[list[str]] = field(default_factory=list)
    """The changed fields of each request."""
    requests_until_done: int = 1
    url_of_tags: str = "https://{}---api.example"
    observed: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """The status and the milliseconds of the requests that Cloud Monitoring knows, by revision."""
    latency_points: list[Document] | None = None
    """The points of the latency that Cloud Monitoring returns, or None for those of `observed`."""
    token: str = "a-token"  # noqa: S105
    """The access token that has not expired."""
    failing_reads: list[int] = field(default_factory=list)
    """The statuses of the next reads of Cloud Monitoring. After 0, the connection closes without a response."""

    def __post_init__(self) -> None:
        template = {"containers": [{"image": "registry/serve:first"}], "timeout": "60s"}
        # Terraform sets no traffic, and the API returns none then.
        self.document = {"template": template, "etag": "1"}
        self._create_revision()

    def _create_revision(self) -> str | None:
        """Make a revision of the template. Return an error, or None."""
        template = copy.deepcopy(self.document["template"])
        name = template.pop("revision", None) or f"preptime-api-{len(self.revisions) + 1:05}-abc"
        if name in self.revisions:
            return f"Revision named '{name}' with different configuration already exists."
        self.revisions[name] = template | {"keys": self.secret}
        self.document["latestCreatedRevision"] = f"{PATH[4:]}/revisions/{name}"
        if template["containers"][0]["image"] == self.failing_image:
            return f"Revision '{name}' is not ready."
        self.document["latestReadyRevision"] = self.document["latestCreatedRevision"]
        return None

    def change(self, fields: list[str], values: Document) -> Document:
        """Change fields, and return an operation."""
        self.changes.append(fields)
        if values.get("etag") != self.document["etag"]:
            return {"name": "operations/conflict", "done": True, "error": {"message": "The etag doesn't match."}}
        template_changed = "template" in fields and values["template"] != self.document["template"]
        self.document |= {name: values.get(name) for name in fields} | {"etag": str(len(self.changes) + 1)}
        assert sum(target.get("percent", 0) for target in self.targets()) == 100
        error = self._create_revision() if template_changed else None
        latest = str(self.document["latestCreatedRevision"])
        if error is None and latest != self.document["latestReadyRevision"]:
            error = f"Revision '{latest.rpartition('/')[2]}' is not ready."
        operation: Document = {"name": "projects/test-project/locations/europe-west1/operations/1", "done": True}
        return operation | ({"error": {"message": error}} if error else {})

    def targets(self) -> list[Document]:
        """Return the traffic. By default, all traffic goes to the latest revision that is ready."""
        return self.document.get("traffic") or [{"type": LATEST, "percent": 100}]

    def described(self) -> Document:
        """Return the service as the API does."""
        statuses = [
            target | ({"uri": self.url_of_tags.format(target["tag"])} if "tag" in target else {})
            for target in self.targets()
        ]
        return self.document | {"name": PATH[4:], "trafficStatuses": statuses}

    def resource(self, path: str) -> Document:
        """Return the service or one of its revisions."""
        return self.described() if path == PATH else self.revisions[path.rpartition("/")[2]]

    def shares(self) -> dict[str, int]:
        """Return the percentage of the traffic by revision."""
        shares: dict[str, int] = {}
        for target in self.targets():
            revision = self._revision_of(target)
            shares[revision] = shares.get(revision, 0) + target.get("percent", 0)
        return {name: percent for name, percent in shares.items() if percent}

    def reachable(self) -> dict[str, Document]:
        """Return the revisions that clients can reach: those with traffic, and those with a tag."""
        targets = [target for target in self.targets() if target.get("percent") or "tag" in target]
        return {self._revision_of(target): self.revisions[self._revision_of(target)] for target in targets}

    def read_metric(self, authorization: str, query: dict[str, list[str]]) -> tuple[Document, int]:
        """Return the body and the status of the response to a read of Cloud Monitoring."""
        status = self.failing_reads.pop(0) if self.failing_reads else 200
        if authorization != f"Bearer {self.token}":
            status = 401
        return (self.time_series(query), status) if status == 200 else ({"error": {"code": status}}, status)

    def time_series(self, query: dict[str, list[str]]) -> Document:
        """Return a metric of a revision as the Cloud Monitoring API does."""
        labels = dict(re.findall(r'([\w.]+)="([^"]*)"', query["filter"][0]))
        assert labels["resource.type"] == "cloud_run_revision"
        assert labels["resource.labels.service_name"] == "preptime-api"
        assert labels["resource.labels.location"] == "europe-west1"
        start, end = (dt.datetime.fromisoformat(query[f"interval.{name}Time"][0]) for name in ("start", "end"))
        assert query["aggregation.alignmentPeriod"] == [f"{(end - start).total_seconds():.0f}s"]
        requests = self.observed.get(labels["resource.labels.revision_name"], [])
        operations = {name: query[f"aggregation.{name}"] for name in ("perSeriesAligner", "crossSeriesReducer")}
        values: list[Document] = []
        if labels["metric.type"].endswith("/request_count"):
            assert operations == {"perSeriesAligner": ["ALIGN_SUM"], "crossSeriesReducer": ["REDUCE_SUM"]}
            assert query["aggregation.groupByFields"] == ["metric.labels.response_code_class"]
            for name, count in Counter(f"{status // 100}xx" for status, _ in requests).items():
                metric = {"labels": {"response_code_class": name}}
                values.append({"metric": metric, "points": [{"value": {"int64Value": str(count)}}]})
        elif self.latency_points is not None:
            values.append({"metric": {}, "points": self.latency_points})
        elif requests:
            assert operations["crossSeriesReducer"] == ["REDUCE_PERCENTILE_99"]
            times = sorted(milliseconds for _, milliseconds in requests)
            p99 = times[math.ceil(0.99 * len(times)) - 1]
            values.append({"metric": {}, "points": [{"value": {"doubleValue": p99}}]})
        return {"timeSeries": values} if values else {}

    def _revision_of(self, target: Document) -> str:
        latest = str(self.document["latestReadyRevision"]).rpartition("/")[2]
        return latest if target["type"] == LATEST else str(target["revision"])


@contextmanager
def running_api(service: FakeService) -> Iterator[str]:
    """Serve the API, and yield its URL."""
    operation: Document = {}
    waits = 0

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            nonlocal waits
            path = urlsplit(self.path).path
            if path == PATH or path.startswith(f"{PATH}/revisions/"):
                self.respond(service.resource(path))
            elif path == "/v3/projects/test-project/timeSeries":
                query = parse_qs(urlsplit(self.path).query)
                self.respond(*service.read_metric(self.headers["Authorization"], query))
            elif "/operations/" in path:
                waits += 1
                self.respond(operation if waits > service.requests_until_done else operation | {"done": False})
            else:
                self.send_error(404)

        def do_PATCH(self) -> None:
            nonlocal operation, waits
            parts = urlsplit(self.path)
            values = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if parts.path != PATH or self.headers["Authorization"] != f"Bearer {service.token}":
                self.send_error(403)
                return
            operation, waits = service.change(parse_qs(parts.query)["updateMask"][0].split(","), values), 0
            self.respond({"name": operation["name"], "done": False})

    with serve(Handler) as url:
        yield f"{url}/"
