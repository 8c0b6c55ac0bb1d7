"""Release a revision on Cloud Run: without traffic, smoke test, 10%, then 100% of the traffic. Or roll back.

    python scripts/cloud_run.py release --service preptime-api --region R --image IMAGE@sha256:…
    python scripts/cloud_run.py smoke URL                # SMOKE_KEY: an API key
    python scripts/cloud_run.py shift --service preptime-api --region R --percent 10
    python scripts/cloud_run.py rollback --service preptime-api --region R
    python scripts/cloud_run.py restart --service preptime-api --region R
    python scripts/cloud_run.py jobs --region R --image IMAGE@sha256:… JOB …

With 100%, the traffic follows the latest revision, so that later changes of settings and keys get it too. Only the
candidate of a release has a tag. A revision without traffic and tag has no URL and no instances. `restart` makes a
revision with the image that has the traffic, and with the current settings and secrets.

The script needs the standard library and `gcloud` only, which provides the access token and the project. It uses the
Cloud Run Admin API, because `gcloud run deploy` can name the new revision, and the next change by Terraform would use
the name again. The workflows in .github/workflows call this script, and you can too. For the requests that a
candidate gets with 10%, see canary.py. The exit status is 1 on failure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

CANDIDATE_TAG = "candidate"
"""The tag of the new revision while it is tested. The tag gives it a URL; it has no traffic."""
PREVIOUS_ANNOTATION = "preptime-previous-revision"
"""The service's annotation with the revision that had the traffic before. `rollback` sends all traffic to it."""
RESTARTED_ANNOTATION = "preptime-restarted"
"""The revision's annotation with the time of a restart. A changed annotation makes a new revision."""
LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
NAMED = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
API_URL_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"
"""gcloud's variable for another address of the Cloud Run Admin API."""
MONITORING_URL_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"
"""gcloud's variable for another address of the Cloud Monitoring API."""
CANDIDATE_URL_VARIABLE = "CANDIDATE_URL"
"""The variable with the URL of the API's candidate, if Cloud Run's own URL is disabled."""
POLL_SECONDS = 2.0
"""Time between two requests for the state of an operation."""
OPERATION_TIMEOUT_SECONDS = 900.0
SMOKE_ORDER = {
    "order_id": "smoke",
    "order_acknowledged_at": "2015-07-01T19:00:00+01:00",
    "order_value_gbp": 24.5,
    "restaurant_id": 1,
    "number_of_items": 3,
}
"""The API predicts any valid order, including one of an unknown restaurant."""
REQUEST_TIMEOUT_SECONDS = 30.0
"""Timeout of a request, including a cold start."""
TEMPORARY_STATUSES = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors that a repeated request may not get. Cloud Run returns 429 while it has no free instance."""
CHAMPION_WAITS = 45
"""How often the smoke test waits for `POLL_SECONDS` until all workers have loaded a new champion. That's 90 seconds:
three times the interval in which a worker reads the champion log (deploy/terraform)."""


class ReleaseError(Exception):
    """The release failed. The message is for the user."""


class RequestError(ReleaseError):
    """A request failed: it got no response, another status than 200, or no JSON."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Keep the status of the response, or None without a valid response."""
        super().__init__(message)
        self.status = status

    @property
    def is_temporary(self) -> bool:
        """Whether the same request can succeed later. A wrong key, address, or body stays wrong."""
        return self.status is None or self.status in TEMPORARY_STATUSES or self.status >= 500


def gcloud(*arguments: str) -> str:
    """Run gcloud, and return its standard output. Raises `ReleaseError`."""
    program = shutil.which("gcloud")
    if program is None:
        raise ReleaseError("gcloud is not installed. Install the Google Cloud CLI.")
    completed = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if completed.returncode:
        raise ReleaseError(f"gcloud {' '.join(arguments[:4])} failed:\n{completed.stderr.strip()}")
    return completed.stdout


def access_token() -> str:
    """Return an access token of gcloud's account."""
    return gcloud("auth", "print-access-token").strip()


def current_project() -> str:
    """Return gcloud's project. Raises `ReleaseError` if it isn't set."""
    project = gcloud("config", "get-value", "project").strip()
    if not project:
        raise ReleaseError("gcloud has no project. Run gcloud config set project PROJECT.")
    return project


Document = dict[str, Any]
"""A JSON object of the Cloud Run Admin API."""


@dataclass
class CloudRunService:
    """A Cloud Run service."""

    name: str
    region: str
    token: str = field(default_factory=access_token)
    project: str = field(default_factory=current_project)

    def request(self, path: str, change: Document | None = None) -> Document:
        """Request a resource of the Cloud Run Admin API, or change it. Raises `ReleaseError`."""
        base = os.environ.get(API_URL_VARIABLE, "https://run.googleapis.com/").rstrip("/")
        return self._send(f"{base}/v2/{path}", change, "GET" if change is None else "PATCH")

    def time_series(self, query: str) -> Document:
        """Request time series of the project from Cloud Monitoring. Raises `ReleaseError`."""
        base = os.environ.get(MONITORING_URL_VARIABLE, "https://monitoring.googleapis.com/").rstrip("/")
        return self._send(f"{base}/v3/projects/{self.project}/timeSeries?{query}", None, "GET")

    def _send(self, url: str, change: Document | None, method: str) -> Document:
        """Send a request to Google. After a 401, send it again with a new token, because a token expires."""
        try:
            return _request_json(url, self.headers, change, method)
        except RequestError as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
        self.token = access_token()
        return _request_json(url, self.headers, change, method)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request to Google."""
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    @property
    def path(self) -> str:
        """The full name of the service."""
        return f"projects/{self.project}/locations/{self.region}/services/{self.name}"

    def describe(self) -> Document:
        """Return the service."""
        return self.request(self.path)

    def update(self, service: Document, *fields: str) -> Document:
        """Change fields of the service, wait until the change is complete, and return the service."""
        changed = {name: service[name] for name in (*fields, "etag") if name in service}
        operation = self.request(f"{self.path}?updateMask={','.join(fields)}", changed)
        deadline = time.monotonic() + OPERATION_TIMEOUT_SECONDS
        while not operation.get("done"):
            if time.monotonic() > deadline:
                raise ReleaseError(f"{self.name} isn't ready after {OPERATION_TIMEOUT_SECONDS:g} seconds.")
            time.sleep(POLL_SECONDS)
            operation = self.request(operation["name"])
        if "error" in operation:
            raise ReleaseError(f"{self.name}: {operation['error'].get('message', operation['error'])}")
        return self.describe()

    def send_traffic(self, service: Document, *targets: Document) -> Document:
        """Distribute the traffic, and return the service. The percentages must add up to 100."""
        try:
            return self.update(service | {"traffic": list(targets)}, "traffic")
        except ReleaseError:
            # The operation can report that the latest revision isn't ready, although the traffic goes to another one.
            routed = self.describe()
            if routed_targets(routed.get("trafficStatuses", [])) != routed_targets(targets):
                raise
            return routed


def routed_targets(targets: Iterable[Document]) -> list[tuple[object, ...]]:
    """Return the targets with traffic or a tag, so that they can be compared."""
    keys = ("type", "revision", "tag")
    with_traffic = [target for target in targets if target.get("percent") or target.get("tag")]
    return sorted(
        (*(str(target.get(key, "")) for key in keys), int(target.get("percent", 0))) for target in with_traffic
    )


def revision_name(full_name: str) -> str:
    """Return the last part of a revision's full name."""
    return full_name.rpartition("/")[2]


def serving_revision(service: Document) -> str:
    """Return the revision with the most traffic."""
    targets = service.get("traffic") or [{"type": LATEST, "percent": 100}]
    busiest = max(targets, key=lambda target: int(target.get("percent", 0)))
    return str(busiest["revision"]) if busiest["type"] == NAMED else revision_name(service["latestReadyRevision"])


def previous_revision(service: Document, name: str) -> str:
    """Return the revision that had the traffic before the last release. Raises `ReleaseError` if there is none."""
    previous = service.get("annotations", {}).get(PREVIOUS_ANNOTATION)
    if previous is None:
        raise ReleaseError(f"{name} has no previous release (annotation {PREVIOUS_ANNOTATION}). Nothing has changed.")
    return str(previous)


def candidate(service: Document, name: str) -> Document:
    """Return the traffic status of the candidate. Raises `ReleaseError` if there is none."""
    for status in service.get("trafficStatuses", []):
        if status.get("tag") == CANDIDATE_TAG:
            # With a load balancer, tags have no run.app URLs (docs/deploy-gcp.md, "Network").
            return {**status, "uri": os.environ.get(CANDIDATE_URL_VARIABLE) or status.get("uri", "")}
    raise ReleaseError(f"{name} has no revision tagged {CANDIDATE_TAG!r}. Nothing has changed.")


def named_target(revision: str, percent: int, **extra: str) -> Document:
    """Return a traffic target for one revision."""
    return {"type": NAMED, "revision": revision, "percent": percent, **extra}


def deploy_candidate(cloud_run: CloudRunService, image: str) -> str:
    """Deploy an image without traffic, and return the URL of the new revision."""
    if "@sha256:" not in image:
        raise ReleaseError(f"{image} has no digest. Use IMAGE@sha256:….")
    service = cloud_run.describe()
    serving = serving_revision(service)
    set_image(service, image)
    service["traffic"] = [named_target(serving, 100)]
    annotations = service.get("annotations", {})
    # After a repeated release of the serving image, a rollback still returns to the release before it.
    if PREVIOUS_ANNOTATION not in annotations or revision_image(cloud_run, serving) != image:
        service["annotations"] = annotations | {PREVIOUS_ANNOTATION: serving}
    service = cloud_run.update(service, "annotations", "template", "traffic")
    created = revision_name(service["latestCreatedRevision"])
    tagged = named_target(created, 0, tag=CANDIDATE_TAG)
    return str(candidate(cloud_run.send_traffic(service, named_target(serving, 100), tagged), cloud_run.name)["uri"])


def revision_image(cloud_run: CloudRunService, revision: str) -> str:
    """Return the image of a revision."""
    return str(main_container(cloud_run.request(f"{cloud_run.path}/revisions/{revision}"))["image"])


def set_image(service: Document, image: str) -> None:
    """Set the image of the next revision. Cloud Run chooses the name of the revision."""
    main_container(service["template"])["image"] = image
    service["template"].pop("revision", None)


def main_container(revision: Document) -> Document:
    """Return the container that gets the requests. Another one can read its metrics."""
    containers: list[Document] = revision["containers"]
    return next((container for container in containers if container.get("ports")), containers[0])


def shift_traffic(cloud_run: CloudRunService, percent: int) -> str:
    """Send `percent` of the traffic to the candidate, and the remaining traffic to the previous revision."""
    service = cloud_run.describe()
    revision = str(candidate(service, cloud_run.name)["revision"])
    previous = previous_revision(service, cloud_run.name)
    if percent == 100:
        cloud_run.send_traffic(service, {"type": LATEST, "percent": 100})
    else:
        targets = named_target(revision, percent, tag=CANDIDATE_TAG), named_target(previous, 100 - percent)
        cloud_run.send_traffic(service, *targets)
    return revision


def roll_back(cloud_run: CloudRunService) -> str:
    """Send all traffic to the previous revision, and return its name."""
    service = cloud_run.describe()
    previous = previous_revision(service, cloud_run.name)
    cloud_run.send_traffic(service, named_target(previous, 100))
    return previous


def restart(cloud_run: CloudRunService) -> str:
    """Replace the serving revision by one with the same image and the current settings and secrets. Return its name."""
    service = cloud_run.describe()
    set_image(service, revision_image(cloud_run, serving_revision(service)))
    annotations = service["template"].get("annotations", {})
    service["template"]["annotations"] = annotations | {RESTARTED_ANNOTATION: f"{time.time():.3f}"}
    service["traffic"] = [{"type": LATEST, "percent": 100}]
    return revision_name(cloud_run.update(service, "template", "traffic")["latestReadyRevision"])


def smoke_test(url: str, key: str, request_count: int, max_error_percent: float = 0.0) -> None:
    """Check that the API is ready, and request predictions until it has answered `request_count` requests.

    Args:
        url: The address of the API, without a slash at the end.
        key: An API key.
        request_count: The number of responses. A request without a response is repeated.
        max_error_percent: How many requests can fail for a temporary reason, in percent of `request_count`.

    Raises:
        ReleaseError: More requests failed, the key or the address is wrong, or a prediction is invalid.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ReleaseError(f"{url!r} isn't an HTTP or HTTPS URL.")
    bundles: set[str] = set()
    answered = failed = 0
    while not bundles or answered < request_count:
        try:
            if not bundles:
                bundles.add(_read_bundle(url))
                continue
            response = _request_prediction(url, key, bundles)
        except RequestError as error:
            failed += 1
            answered += error.status is not None
            if not error.is_temporary:
                raise
            if failed > max_error_percent / 100 * request_count:
                limit = f"{failed} of {request_count} requests failed. The limit is {max_error_percent:g}%."
                raise ReleaseError(f"{limit} {error}") from error
        else:
            answered += 1
            _check_prediction(response, bundles)


def _read_bundle(url: str) -> str:
    """Return the bundle that the readiness route reports. Raises `ReleaseError` if the API isn't ready."""
    readiness = _request_json(f"{url}/ready", {}, None, "GET")
    if readiness.get("ready") is not True or "champion_error" in readiness:
        raise ReleaseError(f"{url} isn't ready: {readiness}")
    return str(readiness["bundle"])


def _request_prediction(url: str, key: str, bundles: set[str]) -> Document:
    """Return a prediction. If its bundle isn't one of `bundles`, add the one that the readiness route reports now.

    After a promotion, workers load the new champion at different times. Until the prediction and the route have the
    same bundle, the function waits and repeats both requests.
    """
    headers = {"aikey": key, "Content-Type": "application/json"}
    waits = 0
    while True:
        response = _request_json(f"{url}/v1/predictions", headers, SMOKE_ORDER, "POST")
        if response.get("bundle") in bundles:
            return response
        bundles.add(_read_bundle(url))
        if response.get("bundle") in bundles or waits == CHAMPION_WAITS:
            return response
        waits += 1
        time.sleep(POLL_SECONDS)


def _check_prediction(response: dict[str, object], bundles: set[str]) -> None:
    predictions = response.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != 1 or response.get("bundle") not in bundles:
        raise ReleaseError(f"Expected one prediction of bundle {' or '.join(sorted(bundles))}: {response}")
    quantiles = [predictions[0].get(name) for name in ("p10", "p50", "p80", "p90")]
    if any(not isinstance(value, float) for value in quantiles) or quantiles != sorted(quantiles) or quantiles[0] <= 0:
        raise ReleaseError(f"Expected four increasing quantiles above 0: {response}")


def _request_json(url: str, headers: dict[str, str], body: object, method: str) -> Document:
    parsed_url = urlsplit(url)
    connection_class = HTTPSConnection if parsed_url.scheme == "https" else HTTPConnection
    connection = connection_class(parsed_url.netloc, timeout=REQUEST_TIMEOUT_SECONDS)
    try:
        content = None if body is None else json.dumps(body)
        target = f"{parsed_url.path}?{parsed_url.query}" if parsed_url.query else parsed_url.path
        connection.request(method, target, content, headers)
        response = connection.getresponse()
        response_body = response.read()
        if response.status != HTTPStatus.OK:
            text = response_body[:500].decode(errors="replace")
            raise RequestError(f"{url}: {response.status} {text}", response.status)
        document: Document = json.loads(response_body)
    except (OSError, HTTPException, ValueError) as error:
        raise RequestError(f"{url}: {error}") from error
    finally:
        connection.close()
    return document


def update_jobs(region: str, image: str, jobs: Sequence[str]) -> None:
    """Set the image of jobs. Running executions keep their image."""
    for job in jobs:
        gcloud("run", "jobs", "update", job, f"--region={region}", f"--image={image}", "--quiet")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subparsers = parser.add_subparsers(dest="command", required=True)
    service_parser = argparse.ArgumentParser(add_help=False)
    service_parser.add_argument("--service", required=True)
    service_parser.add_argument("--region", required=True)
    subparser = subparsers.add_parser("release", parents=[service_parser])
    subparser.add_argument("--image", required=True)
    subparser = subparsers.add_parser("shift", parents=[service_parser])
    subparser.add_argument("--percent", type=int, required=True, choices=range(1, 101), metavar="1-100")
    subparsers.add_parser("rollback", parents=[service_parser])
    subparsers.add_parser("restart", parents=[service_parser])
    subparser = subparsers.add_parser("smoke")
    subparser.add_argument("url")
    subparser.add_argument("--times", type=int, default=3)
    subparser = subparsers.add_parser("jobs")
    subparser.add_argument("--region", required=True)
    subparser.add_argument("--image", required=True)
    subparser.add_argument("jobs", nargs="+")
    return parser.parse_args(arguments)


def run_command(options: argparse.Namespace) -> str:
    """Run the command, and return the line to print. Raises `ReleaseError`."""
    if options.command == "smoke":
        smoke_test(options.url.rstrip("/"), os.environ.get("SMOKE_KEY", ""), options.times)
        return "The API is ready and predicts."
    if options.command == "jobs":
        update_jobs(options.region, options.image, options.jobs)
        return f"Updated the image of {len(options.jobs)} jobs."
    cloud_run = CloudRunService(options.service, options.region)
    if options.command == "release":
        return deploy_candidate(cloud_run, options.image)
    if options.command == "shift":
        return f"{options.percent}% of the traffic goes to {shift_traffic(cloud_run, options.percent)}."
    if options.command == "restart":
        return f"All traffic goes to {restart(cloud_run)}, which has the current settings and secrets."
    return f"All traffic goes to {roll_back(cloud_run)}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 on success, or 1 on failure."""
    try:
        sys.stdout.write(f"{run_command(parse_arguments(arguments))}\n")
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
