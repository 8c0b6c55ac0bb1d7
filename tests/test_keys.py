"""API keys: several per server, stored as hashes, and rejected if they aren't secret."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.errors import UsageError
from preptime.keys import EXAMPLE_KEY, Keys, load_api_keys, new_key


def key_entry(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def test_new_key_matches_its_setting() -> None:
    created, other = new_key("dispatch"), new_key("dispatch")
    keys = Keys.from_setting(created.setting)
    assert created.key not in created.setting
    assert len(created.key) >= 43  # 256 bits
    assert keys.name_of(created.key) == "dispatch"
    assert keys.name_of(other.key) is None


def test_keys_allow_two_keys_per_name() -> None:
    keys = Keys.from_setting(f" {key_entry('a', 'old')} , {key_entry('a', 'new')},{key_entry('b', 'third')},")
    assert [keys.name_of(key) for key in ("old", "new", "third", "fourth")] == ["a", "a", "b", None]


@given(st.text(), st.text(min_size=1))
def test_name_of_matches_only_the_exact_key(presented: str, key: str) -> None:
    keys = Keys((("a", hashlib.sha256(key.encode()).digest()),))
    as_wsgi = key.encode().decode("latin-1")
    assert keys.name_of(as_wsgi) == "a"
    if presented.encode("latin-1", "replace") != key.encode():
        assert keys.name_of(presented) is None


def test_name_of_compares_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest

    def count_comparison(first: bytes, second: bytes) -> bool:
        compared.append(first)
        return compare(first, second)

    monkeypatch.setattr(hmac, "compare_digest", count_comparison)
    assert Keys.from_setting(",".join(key_entry(name, name) for name in "abcd")).name_of("a") == "a"
    assert len(compared) == 4


@pytest.mark.parametrize("entry", ["s3cret", "a:s3cret", ":" + "0" * 64, "a b:" + "0" * 64, "a:" + "0" * 63])
def test_from_setting_invalid_entry_is_not_repeated(entry: str) -> None:
    with pytest.raises(UsageError, match=r"PREPTIME_API_KEYS.*preptime keys new") as raised:
        Keys.from_setting(entry)
    assert "s3cret" not in str(raised.value)
    assert "0" * 60 not in str(raised.value)


def test_from_setting_duplicate_key_raises() -> None:
    with pytest.raises(UsageError, match="two names"):
        Keys.from_setting(f"{key_entry('a', 'x')},{key_entry('b', 'x')}")


def test_new_key_invalid_name_raises() -> None:
    with pytest.raises(UsageError, match="isn't a valid key name"):
        new_key("a:b")


def test_load_api_keys_aikey_needs_loopback() -> None:
    assert load_api_keys("", "plain", loopback=True).name_of("plain") == "aikey"
    with pytest.raises(UsageError, match=r"AIKEY.*preptime keys new") as raised:
        load_api_keys(key_entry("a", "x"), "plain", loopback=False)
    assert "plain'" not in str(raised.value)


@pytest.mark.parametrize("plain", ["schlüssel", "tab\tbed", " before", "after\n", "…"])
def test_load_api_keys_invalid_aikey_is_not_repeated(plain: str) -> None:
    with pytest.raises(UsageError, match=r"AIKEY.*visible ASCII.*preptime keys new") as raised:
        load_api_keys("", plain, loopback=True)
    assert plain not in str(raised.value)


def test_load_api_keys_example_key_needs_loopback() -> None:
    assert load_api_keys(key_entry("a", EXAMPLE_KEY), "", loopback=True)
    with pytest.raises(UsageError, match="key of the examples"):
        load_api_keys(key_entry("a", EXAMPLE_KEY), "", loopback=False)


def test_load_api_keys_without_key_raises() -> None:
    with pytest.raises(UsageError, match=r"No key is configured.*preptime keys new NAME"):
        load_api_keys("", "", loopback=True)
    assert len(load_api_keys("", "", loopback=False, required=False)) == 0
