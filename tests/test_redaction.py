"""Redaction of addresses and text."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.errors import UsageError
from preptime.redaction import (
    has_secret,
    redact_address,
    redact_log_records,
    redact_text,
    remember_environment,
    remember_secret,
    remember_secrets,
)
from tests.secret_addresses import ADDRESSES, CONTENTS, MARKER


@pytest.mark.parametrize("form", ADDRESSES)
def test_redact_address_hides_secret(form: str) -> None:
    assert MARKER in ADDRESSES[form]
    assert MARKER not in redact_address(ADDRESSES[form])
    assert has_secret(ADDRESSES[form])


@pytest.mark.parametrize(
    ("form", "shown"),
    {
        "postgresql": "postgresql://u@127.0.0.1:1/db",
        "table": "postgresql://u@127.0.0.1:1/db?table=restaurants",
        "password parameter": "postgresql://127.0.0.1:1/db?***",
        "mysql": "mysql://***@127.0.0.1:1/db",
        "connection string": "host=127.0.0.1 port=1 user=u ***",
        "gs": "gs://***@bucket/models",
        "https token": "https://***@127.0.0.1:1/api",
        "signed azure": "https://127.0.0.1:1/b?***",
        "parameter of a path": "orders.csv?***",
        "one slash": "***@127.0.0.1:1/db",
        "unescaped slash": "postgresql://***",
        "unescaped at sign": "postgresql://u@127.0.0.1:1/db",
        "missing at sign": "postgresql://***",
        "malformed http": "http://***",
        "service account": "***",
        "private key": "***",
    }.items(),
)
def test_redact_address_keeps_the_other_parts(form: str, shown: str) -> None:
    assert redact_address(ADDRESSES[form]) == shown


@pytest.mark.parametrize(
    "address",
    [
        "",
        "models",
        "../models",
        "/data/a:b@c/orders.csv",
        "C:\\data\\a:b@c.csv",
        "data/date=2015-06-24/key=1/orders.csv",
        "orders/**/*.parquet",
        "commandes d'été.csv",
        "gs://bucket/team@company/models",
        "memory://example",
        "file:///data/orders.csv",
        "http://127.0.0.1:8000",
        "https://[::1]:8000/api",
        "postgresql://me@db/food?table=restaurants&day=2015-06-01..2015-06-07",
        "postgresql://me@/food?host=%2Ftmp%2Fsocket",
        "postgresql://a:5432,b:5433/food?target_session_attrs=read-write",
        "postgresql://me@db/food?options=-c%20search_path%3Dfood",
        "bigquery://our-project.food?table=orders&location=EU",
        "bigquery://example.com:our-project.food",
        "host=/tmp dbname=food",
        "localhost",
        "info",
    ],
)
def test_redact_address_without_secret_is_unchanged(address: str) -> None:
    assert redact_address(address) == address


PASSWORDS = st.text(st.characters(min_codepoint=32, codec="utf-8"), max_size=8).map(
    lambda text: f"{MARKER}{text}{MARKER}"
)


@pytest.mark.parametrize(
    "template",
    [
        "postgresql://u:{}@h/db",
        "postgresql://u:{}@h:5432/db?table=orders",
        "mysql://u:{}@h/db",
        "https://u:{}@h",
        "gs://u:{}@bucket",
        "u:{}@h/db",
        "postgresql://h/db?password={}",
        "https://h/b?sig={}",
        "host=h password={}",
    ],
)
@given(password=PASSWORDS)
def test_redact_address_hides_every_password(template: str, password: str) -> None:
    assert MARKER not in redact_address(template.format(password))


@given(st.text())
def test_redact_functions_accept_every_text(text: str) -> None:
    assert redact_text(redact_address(text)) is not None


@pytest.mark.parametrize("form", [form for form in ADDRESSES if form not in CONTENTS])
def test_remembered_secret_is_hidden_alone(form: str) -> None:
    remember_secrets(ADDRESSES[form])
    for text in (f"found {MARKER}.", f"'{MARKER}'", f"/{MARKER}@", f"{ADDRESSES[form]!r}", f"port={MARKER}/db"):
        assert MARKER not in redact_text(text)


@pytest.mark.parametrize("form", CONTENTS)
def test_remembered_content_is_hidden_in_parts(form: str) -> None:
    remember_secrets(ADDRESSES[form])
    for text in (ADDRESSES[form], f"{ADDRESSES[form]!r}", f"Invalid key: '{MARKER}-123456'."):
        assert MARKER not in redact_text(text)


def test_remember_secrets_ignores_other_parts() -> None:
    for address in ("postgresql://user@host/orders", "data/orders.csv", "bigquery://a.b?tabel=orders", "models"):
        remember_secrets(address)
    remember_secrets(f"postgresql://user:{MARKER}@host/orders?password={MARKER}&table=orders")
    text = "user, host, orders, models: data/orders.csv of postgresql://user@host/orders?table=orders"
    assert redact_text(text) == text


def test_short_secret_is_hidden_only_as_word() -> None:
    remember_secret("postgres")
    assert redact_text("postgres of postgresql://h and 'postgres'") == "*** of postgresql://h and '***'"
    remember_secret("abc")
    assert redact_text("abc") == "abc"


def test_percent_encoded_secret_is_hidden_decoded() -> None:
    remember_secrets("postgresql://u:p%40ss%2Fw%20rd@h/db")
    assert redact_text("p@ss/w rd p%40ss%2Fw%20rd p%40ss/w%20rd") == "*** *** ***"


def test_redact_text_hides_unknown_secrets_in_addresses() -> None:
    text = f"Can't open postgresql://u:{MARKER}@h/db, mysql://u:{MARKER}@h: password={MARKER}, token='{MARKER}'."
    assert redact_text(text) == "Can't open postgresql://u@h/db, mysql://***@h: password=*** token=***."


def test_redact_text_without_secret_is_unchanged() -> None:
    text = (
        "Use gs://BUCKET or postgresql://me@db/food. For docs, see http://127.0.0.1:8000/docs: --gate min_days=3, "
        "'postgresql://postgres@/test_1?host=%2Ftmp%2Fx&table=restaurants' and key=1."
    )
    assert redact_text(text) == text


def test_remember_environment_hides_secrets_by_name() -> None:
    remember_environment({"PGPASSWORD": MARKER, "HOME": "/home/me", "FUNCTION": "() {\n /usr/bin/long-program\n}"})
    text = f"*** /home/me /usr/bin/long-program {MARKER}"
    assert redact_text(text) == "*** /home/me /usr/bin/long-program ***"


def test_error_text_has_no_known_secret() -> None:
    remember_secrets(ADDRESSES["postgresql"])
    error = UsageError(f"{MARKER} is wrong.", f"Replace {ADDRESSES['postgresql']}.")
    assert (error.facts, error.hint) == ("*** is wrong.", "Replace postgresql://u@127.0.0.1:1/db.")
    assert MARKER not in f"{error} {error!r} {error.args}"


def test_log_records_have_no_known_secret() -> None:
    remember_secrets(ADDRESSES["mysql"])
    redact_log_records()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("another.library")
    logger.addHandler(handler)
    logger.error("Retrying %s after %d s", ADDRESSES["mysql"], 3, exc_info=RuntimeError(ADDRESSES["mysql"]))
    logger.removeHandler(handler)
    assert "Retrying mysql://***@127.0.0.1:1/db after 3 s" in stream.getvalue()
    assert "RuntimeError: mysql://***@127.0.0.1:1/db" in stream.getvalue()
    assert MARKER not in stream.getvalue()


def test_log_record_with_wrong_arguments_is_kept() -> None:
    redact_log_records()
    record = logging.getLogger("another.library").makeRecord("x", 20, "f", 1, "%d of %d", ("a",), None)
    assert record.args == ("a",)
