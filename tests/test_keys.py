"""Keys: several at once, known by their hash, refused where they would be no secret."""

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


def test_a_new_key_opens_what_its_setting_was_given_to() -> None:
    made, other = new_key("dispatch"), new_key("dispatch")
    keys = Keys.from_setting(made.setting)
    assert made.key not in made.setting
    assert len(made.key) >= 43  # 256 bits
    assert keys.name_of(made.key) == "dispatch"
    assert keys.name_of(other.key) is None


def test_old_and_new_key_hold_together_under_one_name() -> None:
    keys = Keys.from_setting(f" {key_entry('a', 'old')} , {key_entry('a', 'new')},{key_entry('b', 'third')},")
    assert [keys.name_of(key) for key in ("old", "new", "third", "fourth")] == ["a", "a", "b", None]


@given(st.text(), st.text(min_size=1))
def test_only_the_key_itself_opens(presented: str, key: str) -> None:
    keys = Keys((("a", hashlib.sha256(key.encode()).digest()),))
    as_wsgi = key.encode().decode("latin-1")
    assert keys.name_of(as_wsgi) == "a"
    if presented.encode("latin-1", "replace") != key.encode():
        assert keys.name_of(presented) is None


def test_every_key_is_compared_even_after_one_has_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    assert Keys.from_setting(",".join(key_entry(name, name) for name in "abcd")).name_of("a") == "a"
    assert len(compared) == 4


@pytest.mark.parametrize("wrong", ["geheim", "a:geheim", ":" + "0" * 64, "a b:" + "0" * 64, "a:" + "0" * 63])
def test_an_entry_that_is_none_is_refused_without_being_repeated(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"PREPTIME_API_KEYS.*preptime keys new") as refused:
        Keys.from_setting(wrong)
    assert "geheim" not in str(refused.value)
    assert "0" * 60 not in str(refused.value)


def test_one_key_under_two_names_is_refused() -> None:
    with pytest.raises(UsageError, match="two names"):
        Keys.from_setting(f"{key_entry('a', 'x')},{key_entry('b', 'x')}")


def test_a_name_is_what_logs_can_carry() -> None:
    with pytest.raises(UsageError, match="no name"):
        new_key("a:b")


def test_the_plain_key_is_for_loopback() -> None:
    assert load_api_keys("", "plain", loopback=True).name_of("plain") == "aikey"
    with pytest.raises(UsageError, match=r"AIKEY.*preptime keys new") as refused:
        load_api_keys(key_entry("a", "x"), "plain", loopback=False)
    assert "plain'" not in str(refused.value)


@pytest.mark.parametrize("plain", ["schlüssel", "tab\tbed", " before", "after\n", "…"])
def test_a_plain_key_that_no_header_carries_is_refused_and_not_repeated(plain: str) -> None:
    with pytest.raises(UsageError, match=r"AIKEY is not visible ASCII.*preptime keys new") as refused:
        load_api_keys("", plain, loopback=True)
    assert plain not in str(refused.value)


def test_the_key_of_the_examples_is_refused_beyond_loopback() -> None:
    assert load_api_keys(key_entry("a", EXAMPLE_KEY), "", loopback=True)
    with pytest.raises(UsageError, match="key of the examples"):
        load_api_keys(key_entry("a", EXAMPLE_KEY), "", loopback=False)


def test_without_a_key_the_start_is_refused_and_says_how_to_make_one() -> None:
    with pytest.raises(UsageError, match=r"No key is configured.*preptime keys new NAME"):
        load_api_keys("", "", loopback=True)
    assert len(load_api_keys("", "", loopback=False, required=False)) == 0
