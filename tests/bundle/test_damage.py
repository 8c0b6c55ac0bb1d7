"""Every kind of damage is reported as damage: a bundle loads with the same predictions, or it's refused."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.bundle.manifest import GRAPH_FILES, MANIFEST_FILE
from preptime.errors import BundleVerificationError, UsageError
from preptime.features.kitchen import KitchenStates
from tests.bundle.factories import replace_files, some_files, some_orders
from tests.requirements import requires

FILES = sorted(some_files(is_live=True)[1])
MUTATIONS = 8
"""Random mutations of each file."""

Damage = Callable[[bytes, random.Random], bytes]


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 40))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut_at_random(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def overwrite_part(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + rng.randbytes(min(rng.randrange(1, 200), len(content) - start)) + content[start + 200 :]


def duplicate_part(content: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[:end] + content[start:]


def shuffle_digits(content: bytes, rng: random.Random) -> bytes:
    """Change a number in text: to another one, a huge one, a negative one, or another type."""
    digits = [index for index, byte in enumerate(content) if 48 <= byte <= 57]
    if not digits:
        return content[::-1]
    index = rng.choice(digits)
    replacement = rng.choice((b"9", b"1e308", b"-1", b"1" * 400, b"null", b"[]", b'"x"', b"0.5", b"1e999", b"NaN"))
    return content[:index] + replacement + content[index + 1 :]


RANDOM_DAMAGE: list[Damage] = [flip_bits, cut_at_random, overwrite_part, duplicate_part, shuffle_digits]


def npy(array: NDArray[np.generic], *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def zip_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.npy", npy(np.zeros(3)))
    return file.getvalue()


def huge_header() -> bytes:
    return b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{'descr': " + b"(" * 100_000


WHOLE_FILES: dict[str, bytes] = {
    "empty": b"",
    "text": b"a text",
    "nul": b"\0" * 5000,
    "zip": zip_archive(),
    "huge header": huge_header(),
    "header without values": npy(np.zeros(3))[:64],
    "code in the header": npy(np.zeros(3)).replace(b"'<f8'", b"__import__('os').abort()"),
    "other version": npy(np.zeros(3)).replace(b"NUMPY\x01", b"NUMPY\x03"),
    "python objects": npy(np.array([{}, {}, {}], object), allow_pickle=True),
    "Fortran order": npy(np.asfortranarray(np.zeros((16, 18), np.float32))),
    "big-endian": npy(np.zeros(3, ">i8")),
    "structured": npy(np.zeros(3, [("a", "<i4"), ("b", "<i4")])),
    "deep list": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "deep golden": b'{"orders":' + b"[" * 100_000,
    "truncated text": b'{"orders": {"acknowledged_at": [1, 2',
    "not UTF-8": b'{"orders": "\xff\xfe"}',
    "surrogate": b'{"format": 1, "id": "\\ud800"}',
    "other format": b'{"format": 2}',
    "huge format": b'{"format": 1' + b"0" * 5000 + b"}",
    "no object": b"null",
}

ALL_GOLDEN: dict[str, Callable[[dict[str, object]], object]] = {
    "ragged features": lambda golden: golden["features"][7].pop(),  # type: ignore[index]
    "ragged quantiles": lambda golden: golden["quantiles"][7].pop(),  # type: ignore[index]
    "ragged live quantiles": lambda golden: golden["live_quantiles"][7].pop(),  # type: ignore[index]
    "no live quantiles": lambda golden: golden.update(live_quantiles=[]),
    "ragged column": lambda golden: golden["orders"]["city"].pop(),  # type: ignore[index]
    "no orders": lambda golden: golden.update(
        orders={name: [] for name in golden["orders"]},  # type: ignore[attr-defined]
        features=[],
        quantiles=[],
        points={"rf": []},
        live_quantiles=[],
        fallback_level=[],
    ),
    "feature overflow": lambda golden: golden["features"][0].__setitem__(2, 1e308),  # type: ignore[index]
    "point overflow": lambda golden: golden["points"]["rf"].__setitem__(0, -1e308),  # type: ignore[index]
    "value overflow": lambda golden: golden["orders"]["order_value"].__setitem__(0, 1e308),  # type: ignore[index]
    "id overflow": lambda golden: golden["orders"]["restaurant_id"].__setitem__(0, 2**80),  # type: ignore[index]
    "code overflow": lambda golden: golden["orders"]["city"].__setitem__(0, 2**40),  # type: ignore[index]
    "code too large": lambda golden: golden["orders"]["city"].__setitem__(0, 2),  # type: ignore[index]
    "code below -1": lambda golden: golden["orders"]["type_of_food"].__setitem__(0, -3),  # type: ignore[index]
    "time overflow": lambda golden: golden["orders"]["acknowledged_at"].__setitem__(0, 2**64),  # type: ignore[index]
    "items overflow": lambda golden: golden["orders"]["number_of_items"].__setitem__(0, 2**63),  # type: ignore[index]
    "fraction as id": lambda golden: golden["orders"]["restaurant_id"].__setitem__(0, 1.5),  # type: ignore[index]
    "no points": lambda golden: golden.update(points={}),
    "more points": lambda golden: golden["points"].update(gbr=[1.0]),  # type: ignore[attr-defined]
    "level overflow": lambda golden: golden["fallback_level"].__setitem__(0, 10**30),  # type: ignore[index]
}


def damaged_contents(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield descriptions and damaged contents of a file. Deterministic for each file."""
    yield from WHOLE_FILES.items()
    for length in (1, 9, len(content) // 2, len(content) - 1):
        yield f"cut at {length}", content[:length]
    yield "doubled", content * 2
    yield "one more byte", content + b"\n"
    if name.endswith(".npy"):
        array = np.load(io.BytesIO(content))
        for dtype in ("<f8", "<i2", "|b1", "<c16", "<U3", "<M8[s]"):
            yield f"as {dtype}", npy(np.zeros(array.shape, dtype))
        yield "transposed", npy(np.zeros(array.shape[::-1] if array.ndim > 1 else (array.size, 1), array.dtype))
        yield "0-dimensional", npy(np.zeros((), array.dtype))
    rng = random.Random(name)  # noqa: S311 — reproducible damage, no secrets
    for damage in RANDOM_DAMAGE:
        for number in range(MUTATIONS):
            yield f"{damage.__name__} {number}", damage(content, rng)


@pytest.fixture(scope="module")
def intact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an intact bundle, which tests copy."""
    folder = tmp_path_factory.mktemp("intact") / "bundle"
    for name, content in some_files(is_live=True)[1].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def predict_all(bundle: Bundle) -> NDArray[np.float32]:
    """Return the quantiles of each graph of a bundle, with half of the kitchens known for the live graph."""
    orders = some_orders()
    is_live = np.arange(len(orders)) % 2 == 0
    states = KitchenStates.from_rows((number % 4, 0, 0) for number in range(int(is_live.sum())))
    predictions = (bundle.predict(orders), bundle.predict(orders, ()), bundle.predict(orders, (), (is_live, states)))
    return np.stack([prediction.quantiles for prediction in predictions])


def is_refused(folder: Path, expected: NDArray[np.float32], description: str) -> bool:
    """Load a bundle. Return whether it was refused, with one sentence that names a file of the bundle.

    A bundle that isn't refused must predict `expected`, as in `predict_all`.
    """
    try:
        quantiles = predict_all(Bundle.load(folder))
    except BundleVerificationError as refusal:
        facts = refusal.facts
    else:
        np.testing.assert_array_equal(quantiles, expected, err_msg=description)
        return False
    name = facts.removeprefix(f"{folder.name}/").partition(":")[0]
    assert name in FILES, (description, facts)
    assert ": expected " in facts, (description, facts)
    assert ", found " in facts, (description, facts)
    assert len(facts) < 3000, (description, facts)
    return True


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_with_correct_hashes_is_same_or_refused(name: str, intact_folder: Path, tmp_path: Path) -> None:
    """The hashes and the id of the damaged bundle are correct, so only the checks of the contents can find damage."""
    expected = predict_all(Bundle.load(intact_folder))
    folder, manifest = tmp_path / "bundle", (intact_folder / MANIFEST_FILE).read_bytes()
    shutil.copytree(intact_folder, folder)
    results = list[bool]()
    for description, content in damaged_contents(name, (intact_folder / name).read_bytes()):
        (folder / MANIFEST_FILE).write_bytes(manifest)
        if name == MANIFEST_FILE:
            (folder / name).write_bytes(content)
        else:
            replace_files(folder, {name: content})
        results.append(is_refused(folder, expected, f"{name}: {description}"))
    # The two files that describe the training run may have any content. Some damage of a graph doesn't change it.
    graphs = dict.fromkeys(GRAPH_FILES, 0.5)
    minimum_share = ({"report.html": 0.0, "evaluation.json": 0.0} | graphs).get(name, 0.9)
    assert sum(results) >= minimum_share * len(results), (sum(results), len(results))


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_with_old_hashes_is_refused(name: str, intact_folder: Path, tmp_path: Path) -> None:
    intact, folder = (intact_folder / name).read_bytes(), tmp_path / "bundle"
    shutil.copytree(intact_folder, folder)
    for description, content in damaged_contents(name, intact):
        (folder / name).write_bytes(content)
        if content != intact:
            with pytest.raises(BundleVerificationError) as error:
                Bundle.load(folder)
            assert error.value.facts.startswith(f"bundle/{name}: expected "), (description, error.value.facts)


@pytest.mark.parametrize("description", ALL_GOLDEN)
def test_forged_golden_orders_are_refused(description: str, intact_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(intact_folder, folder)
    golden = json.loads((folder / "golden.json").read_bytes())
    ALL_GOLDEN[description](golden)
    replace_files(folder, {"golden.json": json.dumps(golden).encode()})
    with pytest.raises(BundleVerificationError, match=r"bundle/golden\.json: expected .*, found "):
        Bundle.load(folder)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
@pytest.mark.parametrize("name", FILES)
def test_special_file_is_refused_without_reading_it(name: str, kind: str, intact_folder: Path, tmp_path: Path) -> None:
    requires(kind == "folder" or os.name == "posix", "this system has no pipes and devices in folders")
    folder = tmp_path / "bundle"
    shutil.copytree(intact_folder, folder)
    (folder / name).unlink()
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    expected = UsageError if name == MANIFEST_FILE else BundleVerificationError
    with pytest.raises(expected, match=r"expected a file, found|is not a bundle"):
        Bundle.load(folder)
