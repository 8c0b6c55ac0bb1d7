"""Release a revision on Cloud Run: without traffic, smoke test, 10%, then 100% of the traffic. Or roll back.

    python scripts/cloud_run.py release --service preptime-api --region R --image IMAGE@sha256:… --suffix NAME
    python scripts/cloud_run.py smoke URL                # SMOKE_KEY: an API key
    python scripts/cloud_run.py shift --service preptime-api --region R --suffix NAME --percent 10
    python scripts/cloud_run.py rollback --service preptime-api --region R
    python scripts/cloud_run.py jobs --region R --image IMAGE@sha256:… JOB …

The script needs the standard library and `gcloud` only. The workflows in .github/workflows call it, and you can too.
The exit status is 1 on failure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

CANDIDATE_TAG = "candidate"
"""The tag of the new revision. The tag gives it a URL; it has no traffic."""
PREVIOUS_TAG = "previous"
"""The tag of the revision that had all traffic before. `rollback` sends all traffic to it."""
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


class ReleaseError(Exception):
    """The release failed. The message is for the user."""


@dataclass(frozen=True)
class CloudRunService:
    """A Cloud Run service."""

    name: str
    region: str

    def gcloud(self, *arguments: str) -> str:
        """Run `gcloud run services ARGUMENTS` for this service, and return its output."""
        subcommand, *remaining_arguments = arguments
        return gcloud("run", "services", subcommand, self.name, f"--region={self.region}", *remaining_arguments)

    def traffic_targets(self) -> list[dict[str, object]]:
        """Return the traffic targets: revisions with `percent`, `tag`, and `url`."""
        description = json.loads(self.gcloud("describe", "--format=json"))
        targets: list[dict[str, object]] = description["status"]["traffic"]
        return targets

    def current_revision(self) -> str:
        """Return the revision with the most traffic."""
        busiest_target = max(self.traffic_targets(), key=lambda target: int(str(target.get("percent", 0))))
        return str(busiest_target["revisionName"])

    def revision_tagged(self, tag: str) -> dict[str, object]:
        """Return the target with this tag. Raises `ReleaseError` if there is none."""
        for target in self.traffic_targets():
            if target.get("tag") == tag:
                return target
        raise ReleaseError(f"{self.name} has no revision tagged {tag!r}. Nothing has changed.")

    def set_traffic(self, *traffic_shares: str) -> None:
        """Distribute the traffic: `NAME=PERCENT` for each revision, 100 in total."""
        self.gcloud("update-traffic", f"--to-revisions={','.join(traffic_shares)}", "--quiet")


def gcloud(*arguments: str) -> str:
    """Run gcloud, and return its standard output. Raises `ReleaseError`."""
    program = shutil.which("gcloud")
    if program is None:
        raise ReleaseError("gcloud is not installed. Install the Google Cloud CLI.")
    completed = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if completed.returncode:
        raise ReleaseError(f"gcloud {' '.join(arguments[:4])} failed:\n{completed.stderr.strip()}")
    return completed.stdout


def deploy_candidate(service: CloudRunService, image: str, suffix: str) -> str:
    """Deploy an image without traffic, tag the current revision, and return the URL of the new one."""
    if "@sha256:" not in image:
        raise ReleaseError(f"{image} has no digest. Use IMAGE@sha256:….")
    current_revision = service.current_revision()
    gcloud(
        *("run", "deploy", service.name, f"--region={service.region}", f"--image={image}"),
        *("--no-traffic", f"--tag={CANDIDATE_TAG}", f"--revision-suffix={suffix}", "--quiet"),
    )
    service.gcloud("update-traffic", f"--update-tags={PREVIOUS_TAG}={current_revision}", "--quiet")
    return str(service.revision_tagged(CANDIDATE_TAG)["url"])


def shift_traffic(service: CloudRunService, suffix: str, percent: int) -> None:
    """Send `percent` of the traffic to the new revision, and the remaining traffic to the previous one."""
    candidate_revision, previous_revision = (
        f"{service.name}-{suffix}",
        str(service.revision_tagged(PREVIOUS_TAG)["revisionName"]),
    )
    if percent == 100:
        service.set_traffic(f"{candidate_revision}=100")
    else:
        service.set_traffic(f"{candidate_revision}={percent}", f"{previous_revision}={100 - percent}")


def roll_back(service: CloudRunService) -> str:
    """Send all traffic to the previous revision, and return its name."""
    previous_revision = str(service.revision_tagged(PREVIOUS_TAG)["revisionName"])
    service.set_traffic(f"{previous_revision}=100")
    return previous_revision


def smoke_test(url: str, key: str, request_count: int) -> None:
    """Check that the API is ready, then request `request_count` predictions. Raises `ReleaseError`."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ReleaseError(f"{url!r} isn't an HTTP or HTTPS URL.")
    readiness = _request_json(f"{url}/ready", {}, None)
    if readiness.get("ready") is not True or "champion_error" in readiness:
        raise ReleaseError(f"{url} isn't ready: {readiness}")
    for _ in range(request_count):
        response = _request_json(
            f"{url}/v1/predictions", {"aikey": key, "Content-Type": "application/json"}, SMOKE_ORDER
        )
        _check_prediction(response, str(readiness["bundle"]))


def _check_prediction(response: dict[str, object], bundle: str) -> None:
    predictions = response.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != 1 or response.get("bundle") != bundle:
        raise ReleaseError(f"Expected one prediction of bundle {bundle}: {response}")
    quantiles = [predictions[0].get(name) for name in ("p10", "p50", "p80", "p90")]
    if any(not isinstance(value, float) for value in quantiles) or quantiles != sorted(quantiles) or quantiles[0] <= 0:
        raise ReleaseError(f"Expected four increasing quantiles above 0: {response}")


def _request_json(url: str, headers: dict[str, str], body: object) -> dict[str, object]:
    parsed_url = urlsplit(url)
    connection_class = HTTPSConnection if parsed_url.scheme == "https" else HTTPConnection
    connection = connection_class(parsed_url.netloc, timeout=REQUEST_TIMEOUT_SECONDS)
    try:
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", parsed_url.path, content, headers)
        response = connection.getresponse()
        response_body = response.read()
        if response.status != HTTPStatus.OK:
            raise ReleaseError(f"{url}: {response.status} {response_body[:500].decode(errors='replace')}")
        document: dict[str, object] = json.loads(response_body)
    except (OSError, HTTPException, ValueError) as error:
        raise ReleaseError(f"{url}: {error}") from error
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
    subparser.add_argument("--suffix", required=True)
    subparser = subparsers.add_parser("shift", parents=[service_parser])
    subparser.add_argument("--suffix", required=True)
    subparser.add_argument("--percent", type=int, required=True, choices=range(1, 101), metavar="1-100")
    subparsers.add_parser("rollback", parents=[service_parser])
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
    service = CloudRunService(options.service, options.region)
    if options.command == "release":
        return deploy_candidate(service, options.image, options.suffix)
    if options.command == "shift":
        shift_traffic(service, options.suffix, options.percent)
        return f"{options.percent}% of the traffic goes to {service.name}-{options.suffix}."
    return f"All traffic goes to {roll_back(service)}."


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
