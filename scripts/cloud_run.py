"""Release a revision on Cloud Run: without traffic, tried, then 10 %, then all of it; and one command back.

    python scripts/cloud_run.py release --service preptime-api --region R --image IMAGE@sha256:… --suffix NAME
    python scripts/cloud_run.py smoke URL                # SMOKE_KEY: a key of the API's
    python scripts/cloud_run.py shift --service preptime-api --region R --suffix NAME --percent 10
    python scripts/cloud_run.py back --service preptime-api --region R
    python scripts/cloud_run.py jobs --region R --image IMAGE@sha256:… JOB …

Standard library and `gcloud` alone, so that it runs wherever there is a Python. CI calls it (.github/workflows), and a
person can. Exit status 1 when something did not go well.
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

CANDIDATE = "candidate"
"""The tag of a revision that is tried: it has an address of its own and no traffic."""
PREVIOUS = "previous"
"""The tag of the revision that had all traffic before: where `back` goes."""
ORDER = {
    "order_id": "smoke",
    "order_acknowledged_at": "2015-07-01T19:00:00+01:00",
    "order_value_gbp": 24.5,
    "restaurant_id": 1,
    "number_of_items": 3,
}
"""Any order is answered, of a restaurant nobody knows as well."""
SECONDS = 30.0
"""How long one answer may take, a cold start included."""


class ReleaseError(Exception):
    """It did not go well; the message is for whoever released."""


@dataclass(frozen=True)
class Service:
    """A Cloud Run service."""

    name: str
    region: str

    def gcloud(self, *words: str) -> str:
        """`gcloud run services WORDS` for this service."""
        verb, *rest = words
        return gcloud("run", "services", verb, self.name, f"--region={self.region}", *rest)

    def traffic(self) -> list[dict[str, object]]:
        """Where requests go: revisions with `percent`, `tag`, `url`."""
        described = json.loads(self.gcloud("describe", "--format=json"))
        found: list[dict[str, object]] = described["status"]["traffic"]
        return found

    def serving(self) -> str:
        """The revision that most requests go to."""
        most = max(self.traffic(), key=lambda one: int(str(one.get("percent", 0))))
        return str(most["revisionName"])

    def tagged(self, tag: str) -> dict[str, object]:
        """The revision with this tag."""
        for one in self.traffic():
            if one.get("tag") == tag:
                return one
        raise ReleaseError(f"{self.name} has no revision tagged {tag!r}. Nothing was changed.")

    def send(self, *shares: str) -> None:
        """Send requests to revisions: `NAME=PERCENT`, 100 together."""
        self.gcloud("update-traffic", f"--to-revisions={','.join(shares)}", "--quiet")


def gcloud(*words: str) -> str:
    """What gcloud says on standard output."""
    program = shutil.which("gcloud")
    if program is None:
        raise ReleaseError("gcloud is not installed.")
    ended = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ReleaseError(f"gcloud {' '.join(words[:4])} failed:\n{ended.stderr.strip()}")
    return ended.stdout


def release(service: Service, image: str, suffix: str) -> str:
    """Deploy an image without traffic, remember what serves, and give the new revision's own address."""
    if "@sha256:" not in image:
        raise ReleaseError(f"{image}: name the image by its digest, IMAGE@sha256:….")
    before = service.serving()
    gcloud(
        *("run", "deploy", service.name, f"--region={service.region}", f"--image={image}"),
        *("--no-traffic", f"--tag={CANDIDATE}", f"--revision-suffix={suffix}", "--quiet"),
    )
    service.gcloud("update-traffic", f"--update-tags={PREVIOUS}={before}", "--quiet")
    return str(service.tagged(CANDIDATE)["url"])


def shift(service: Service, suffix: str, percent: int) -> None:
    """Send so many of a hundred requests to the new revision, the others to the one before."""
    new, before = f"{service.name}-{suffix}", str(service.tagged(PREVIOUS)["revisionName"])
    if percent == 100:
        service.send(f"{new}=100")
    else:
        service.send(f"{new}={percent}", f"{before}={100 - percent}")


def back(service: Service) -> str:
    """Send every request to the revision that had them before; its name."""
    before = str(service.tagged(PREVIOUS)["revisionName"])
    service.send(f"{before}=100")
    return before


def smoke(url: str, key: str, times: int) -> None:
    """Ask whether it is ready, and for the prediction of an order, as often as that. Raises `ReleaseError`."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ReleaseError(f"{url!r} is no address.")
    ready = _ask(f"{url}/ready", {}, None)
    if ready.get("ready") is not True or "refused" in ready:
        raise ReleaseError(f"{url} is not ready: {ready}")
    for _ in range(times):
        answer = _ask(f"{url}/v1/predictions", {"aikey": key, "Content-Type": "application/json"}, ORDER)
        _check(answer, str(ready["bundle"]))


def _check(answer: dict[str, object], bundle: str) -> None:
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != 1 or answer.get("bundle") != bundle:
        raise ReleaseError(f"Not one prediction by {bundle}: {answer}")
    numbers = [predictions[0].get(name) for name in ("p10", "p50", "p80", "p90")]
    if any(not isinstance(one, float) for one in numbers) or numbers != sorted(numbers) or numbers[0] <= 0:
        raise ReleaseError(f"No distribution: {answer}")


def _ask(url: str, headers: dict[str, str], body: object) -> dict[str, object]:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=SECONDS)
    try:
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", parts.path, content, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != HTTPStatus.OK:
            raise ReleaseError(f"{url}: {answer.status} {said[:500].decode(errors='replace')}")
        found: dict[str, object] = json.loads(said)
    except (OSError, HTTPException, ValueError) as error:
        raise ReleaseError(f"{url}: {error}") from error
    finally:
        connection.close()
    return found


def update_jobs(region: str, image: str, jobs: Sequence[str]) -> None:
    """Give jobs an image; what runs goes on with the one it has."""
    for job in jobs:
        gcloud("run", "jobs", "update", job, f"--region={region}", f"--image={image}", "--quiet")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    of_service = argparse.ArgumentParser(add_help=False)
    of_service.add_argument("--service", required=True)
    of_service.add_argument("--region", required=True)
    one = verbs.add_parser("release", parents=[of_service])
    one.add_argument("--image", required=True)
    one.add_argument("--suffix", required=True)
    one = verbs.add_parser("shift", parents=[of_service])
    one.add_argument("--suffix", required=True)
    one.add_argument("--percent", type=int, required=True, choices=range(1, 101), metavar="1-100")
    verbs.add_parser("back", parents=[of_service])
    one = verbs.add_parser("smoke")
    one.add_argument("url")
    one.add_argument("--times", type=int, default=3)
    one = verbs.add_parser("jobs")
    one.add_argument("--region", required=True)
    one.add_argument("--image", required=True)
    one.add_argument("jobs", nargs="+")
    return parser.parse_args(arguments)


def run(given: argparse.Namespace) -> str:
    """Do what was asked for; what is said about it."""
    if given.verb == "smoke":
        smoke(given.url.rstrip("/"), os.environ.get("SMOKE_KEY", ""), given.times)
        return "It is ready, and it predicts."
    if given.verb == "jobs":
        update_jobs(given.region, given.image, given.jobs)
        return f"{len(given.jobs)} jobs have the image."
    service = Service(given.service, given.region)
    if given.verb == "release":
        return release(service, given.image, given.suffix)
    if given.verb == "shift":
        shift(service, given.suffix, given.percent)
        return f"{given.percent} % of the requests go to {service.name}-{given.suffix}."
    return f"All requests go to {back(service)}."


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it went well, 1 when not."""
    try:
        sys.stdout.write(f"{run(parsed(arguments))}\n")
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
