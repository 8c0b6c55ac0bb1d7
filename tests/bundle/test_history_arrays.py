"""Values of a bundle's arrays: every invariant is checked when a bundle is verified, promoted, or served."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntryDraft
from preptime.bundle.history_arrays import INVARIANTS, array_file, check_history
from preptime.bundle.manifest import BUNDLE_FORMAT, MANIFEST_FILE, decode_manifest
from preptime.bundle.store import Store
from preptime.domain.orders import FALLBACK_LEVELS
from preptime.errors import BundleVerificationError
from preptime.features.spec import HISTORY_FEATURES
from tests.api.processes import SERVE_COMMAND, running_server
from tests.bundle.factories import (
    DAY,
    TEXT_IDS,
    custom_history,
    put_bundle,
    put_custom_bundle,
    replace_files,
    some_history,
    write_manifest,
)
from tests.bundle.test_format_page import section
from tests.cli.run_command import preptime

Forge = Callable[[NDArray[np.generic]], None]
COLUMN = {feature.name: number for number, feature in enumerate(HISTORY_FEATURES)}
TEXT_BYTES = "".join(TEXT_IDS).encode()
RESTAURANT_WITHOUT_ORDERS = 2
"""Position of restaurant 30."""


def put(value: float, *position: int | slice) -> Forge:
    """Return a function that sets one value, by default the first one."""

    def forge(array: NDArray[np.generic]) -> None:
        array[position or (0,) * array.ndim] = value

    return forge


FORGERIES: dict[tuple[str, str], list[Forge]] = {
    ("restaurant_id", "ascending and without duplicates"): [put(20), put(30), put(5, 2), put(2**63 - 1, 1)],
    ("restaurant_id", "0 or more, or the key of a name"): [put(-1), put(np.iinfo(np.int64).min)],
    ("restaurant_name_ends", "ascending ends of the names of all restaurants with a negative key"): [
        put(-1),
        put(0),
        put(10**6),
        put(10**6, 1),
        put(1, 1),
    ],
    (
        "restaurant_name_ends",
        "ends of names in UTF-8, with 1 to 200 characters, that have the keys of their restaurants",
    ): [put(1), put(TEXT_BYTES.index(0xA9))],
    ("restaurant_categories", "positions in the custom vocabularies, or -1"): [put(-2), put(2, 1), put(10**9, 4)],
    **{
        (name, "a position in the vocabulary, or -1"): [put(-2), put(-7, 1), put(3, 2), put(10**9), put(-(2**31))]
        for name in ("country", "city", "type_of_food")
    },
    ("time_zone", "a position in the vocabulary"): [put(-1), put(2), put(-5, 1), put(10**6, slice(None))],
    ("rows", "finite"): [put(np.nan), put(np.inf, -1, -1), put(-np.inf, 1, 3)],
    ("rows", "0 or more, except custom numbers"): [put(-1.0, 1, column) for column in range(len(HISTORY_FEATURES))],
    ("rows", "indicators of missing custom numbers that are 0 or 1"): [put(0.5, 0, -1), put(-1.0, -1, -1)],
    ("rows", "quantiles that ascend from p10 to p90"): [
        put(1e6, 0, COLUMN["restaurant_p10_seconds"]),
        put(0.0, -1, COLUMN["restaurant_p90_seconds"]),
        put(1.0, 1, COLUMN["restaurant_p50_seconds"]),
    ],
    ("rows", "a lunch share of at most 1"): [put(1.01, 0, COLUMN["restaurant_lunch_share"])],
    ("rows", "times of day of at most 86,400 s"): [
        put(86_401, 0, COLUMN["restaurant_first_lunch_second"]),
        put(1e30, -1, COLUMN["restaurant_first_dinner_second"]),
    ],
    ("rows", "no orders in the rows of groups"): [
        put(1.0, -1, COLUMN["restaurant_orders"]),
        put(0.1, 3, COLUMN["restaurant_orders_per_day"]),
    ],
    ("category_means", "finite"): [put(np.nan), put(np.inf, -1)],
    ("category_means", "0 or more"): [put(-0.5, 1)],
    ("category_orders", "finite"): [put(np.nan, 2), put(-np.inf)],
    ("category_orders", "0 or more"): [put(-1.0, -1)],
    ("slots", "finite"): [put(np.nan, 2, 3), put(np.inf)],
    ("slots", "0 or more"): [put(-0.5, 0, 6)],
    ("fallback_level", "from 0 to 4"): [put(5), put(-1, -1), put(127, 3)],
    ("fallback_level", "0 exactly for restaurants with orders"): [
        put(1),
        put(0, RESTAURANT_WITHOUT_ORDERS),
        put(0, -1),
    ],
    ("fallback_level", "that of its group for a restaurant without orders"): [put(2, RESTAURANT_WITHOUT_ORDERS)],
    ("global_median_seconds", "the p50 of the last row"): [put(1.0), put(np.nan)],
}
CUSTOM_ARRAYS = {"restaurant_name_ends", "restaurant_categories", "category_means", "category_orders"}
"""Arrays that only the bundle with custom features and texts as identifiers has."""
CASES = [(*key, forge) for key, forges in FORGERIES.items() for forge in forges]


def forge_array(folder: Path, name: str, forge: Forge) -> Path:
    """Change an array of a bundle, with correct hashes and a correct id. Return the bundle's new folder."""
    array = np.load(folder / array_file(name))
    forge(array)
    file = io.BytesIO()
    np.save(file, array)
    replace_files(folder, {array_file(name): file.getvalue()})
    return folder.rename(folder.with_name(decode_manifest((folder / MANIFEST_FILE).read_bytes()).id))


def forge_bundle(store: Store, name: str, forge: Forge, shift: float = 0.0, expected: str = "") -> str:
    """Write a bundle with a changed array to the store and return its id."""
    put_intact = put_custom_bundle if name in CUSTOM_ARRAYS or "custom numbers that" in expected else put_bundle
    return forge_array(store.fetch(put_intact(store, shift=shift)), name, forge).name


def promote_unchecked(store: Store, bundle_id: str) -> None:
    """Append a log entry without a check, as a person could who writes to the store directly."""
    log = ChampionLog(store)
    draft = LogEntryDraft(bundle=bundle_id, date=DAY, action="promote", reason="test", by="test", at="now")
    log.append(draft, log.current())


def test_every_invariant_is_forged() -> None:
    assert [(invariant.array, invariant.expected) for invariant in INVARIANTS] == list(FORGERIES)
    # The bytes of names are checked together with their ends.
    assert {invariant.array for invariant in INVARIANTS} == set(custom_history().arrays()) - {"restaurant_name_bytes"}
    assert {invariant.array for invariant in INVARIANTS} - set(some_history().arrays()) == CUSTOM_ARRAYS


def test_format_page_lists_every_invariant() -> None:
    arrays = section("The files of a bundle").partition("### Arrays")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", arrays, re.MULTILINE)
    assert rows == [(invariant.array, invariant.expected) for invariant in INVARIANTS]


@pytest.mark.parametrize(("name", "expected", "forge"), CASES)
def test_bundle_load_with_forged_value_raises(folder_store: Store, name: str, expected: str, forge: Forge) -> None:
    forged = folder_store.fetch(forge_bundle(folder_store, name, forge, expected=expected))
    with pytest.raises(BundleVerificationError, match=re.escape(f"{array_file(name)}: expected {expected}, found")):
        Bundle.load(forged)


def test_check_history_accepts_histories_of_other_sizes() -> None:
    check_history(some_history())
    check_history(some_history(slower_seconds=86_400 * 3))
    check_history(custom_history())


def test_bundles_verify_refuses_one_forgery_per_invariant(folder_store: Store) -> None:
    forged = {
        forge_bundle(folder_store, name, forges[0], shift=index, expected=expected): array_file(name)
        for index, ((name, expected), forges) in enumerate(FORGERIES.items())
    }
    intact = put_bundle(folder_store, shift=99)
    result = preptime("bundles", "verify", "--store", folder_store.url, "--json")
    assert result.status == 3
    errors = {row["bundle"]: row["error"] for row in json.loads(result.out)["bundles"]}
    assert errors.pop(intact) is None
    assert errors.keys() == forged.keys()
    for bundle_id, file in forged.items():
        assert errors[bundle_id].startswith(f"{bundle_id}/{file}: expected ")


@pytest.mark.parametrize("name", ["time_zone", "city", "slots"])
def test_bundles_promote_refuses_a_forgery(folder_store: Store, name: str) -> None:
    forged = forge_bundle(folder_store, name, put(-7))
    result = preptime("bundles", "promote", forged, "--store", folder_store.url, "--reason", "test", "--json")
    assert result.status == 3
    assert json.loads(result.out)["error"] == "BundleVerificationError"
    assert ChampionLog(folder_store).current() is None


def test_server_refuses_a_forgery_and_keeps_predicting(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "models"))
    champion = put_bundle(store)
    promote_unchecked(store, champion)
    with running_server(tmp_path, SERVE_COMMAND) as server:
        server.wait_until("/readyz", champion)
        forged = forge_bundle(store, "time_zone", put(10**6, slice(None)), shift=1)
        promote_unchecked(store, forged)
        readiness = json.loads(server.wait_until("/readyz", forged))
    assert readiness["bundle"] == champion
    assert "history/time_zone.npy: expected a position in the vocabulary, found 1000000" in readiness["champion_error"]


@pytest.mark.parametrize(
    ("category", "names"),
    [
        ("country", ["UK", "France"]),
        ("city", ["London", "London"]),
        ("type_of_food", ["thai", "sushi", "burgers"]),
        ("time_zone", ["Europe/London", "Europe/Nowhere"]),
        ("time_zone", ["../etc/passwd", "Europe/Paris"]),
    ],
)
def test_bundle_load_with_forged_vocabulary_raises(bundle_folder: Path, category: str, names: list[str]) -> None:
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    fields["vocabularies"][category] = names
    write_manifest(bundle_folder, fields)
    with pytest.raises(BundleVerificationError, match=r"manifest\.json: expected (a sorted vocabulary|time zones)"):
        Bundle.load(bundle_folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"models": ["rf", "rf", "quantile"]},
        {"weak_models": ["gbr"]},
        {"window": {"gated_from": None}},
        {"window": {"gated_through": None}},
        {"window": {"fitted_through": "9999-12-31"}},
        {"window": {"fitted_through": "1999-12-31"}},
    ],
)
def test_bundle_load_with_forged_manifest_raises(bundle_folder: Path, changes: dict[str, object]) -> None:
    fields = json.loads((bundle_folder / MANIFEST_FILE).read_bytes())
    for name, value in changes.items():
        fields[name] = fields[name] | value if isinstance(value, dict) else value
    (bundle_folder / MANIFEST_FILE).write_bytes(json.dumps(fields, sort_keys=True, indent=1).encode() + b"\n")
    expected = f"manifest\\.json: expected a manifest of format {BUNDLE_FORMAT}"
    with pytest.raises(BundleVerificationError, match=expected):
        Bundle.load(bundle_folder)


def test_fallback_levels_are_documented() -> None:
    assert all(f"`{level}`" in section("The files of a bundle") for level in FALLBACK_LEVELS)
