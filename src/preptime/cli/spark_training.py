"""The commands `preptime spark state` and `preptime spark corpus`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from preptime.cli import options
from preptime.cli.output import Output, with_output
from preptime.formatting import format_count

if TYPE_CHECKING:
    from preptime.schema.schema import Schema

orders_address = click.option(
    "--orders", required=True, metavar="ADDRESS", help="Orders: an address as for preptime spark score."
)
restaurants_address = click.option(
    "--restaurants", required=True, metavar="ADDRESS", help="Restaurants: an address as for --orders, or a CSV file."
)


@click.command()
@orders_address
@restaurants_address
@options.date
@options.store
@click.option("--out", required=True, metavar="FOLDER|URL", help="Folder for the state, here or at gs://.")
@options.master
@options.spark_settings
@with_output
def state(
    output: Output,
    *,
    orders: str,
    restaurants: str,
    date: dt.date,
    store: str,
    out: str,
    master: str | None,
    conf: tuple[str, ...],
) -> None:
    """Count the history of any number of orders, for a refresh.

    The orders are read with the schema of the champion. Then `preptime refresh --state` publishes the history on one
    machine, with the same bundle as if it had read the orders.
    """
    from preptime.cli.spark import open_session, read_restaurants
    from preptime.features.feature_set import FeatureSet
    from preptime.spark.addresses import parse_address
    from preptime.spark.session import require_pyspark
    from preptime.spark.state import champion_of, save_state

    require_pyspark()
    address, settings = parse_address(orders), options.parse_spark_settings(conf)
    manifest = champion_of(options.open_store(store))
    session = open_session(output, master, settings)
    index = read_restaurants(session, restaurants, manifest.schema)
    coded = index.with_custom_features(manifest.vocabularies, FeatureSet.from_schema(manifest.schema))
    document = save_state(session, address, coded, date, schema=manifest.schema, out=out)
    output.finish(
        document,
        f"{out} has the state of {format_count(document.orders, 'completed order')} as of {date}.",
        f"To publish it: preptime refresh --state {out} --date {date}.",
    )


@click.command()
@orders_address
@restaurants_address
@options.schema
@click.option("--schema-url", metavar="URL", help="Schema at a URL, for a driver in the cloud, instead of --schema.")
@options.date
@click.option("--days", type=click.IntRange(1), default=35, show_default=True, help="Latest days to train on.")
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=200_000,
    show_default=True,
    help="Orders to fit models on: a sample by the hash of the order key. The history has all orders.",
)
@click.option("--out", required=True, metavar="FOLDER|URL", help="Folder for the corpus, here or at gs://.")
@options.master
@options.spark_settings
@with_output
def corpus(
    output: Output,
    *,
    orders: str,
    restaurants: str,
    schema: str | None,
    schema_url: str | None,
    date: dt.date,
    days: int,
    rows: int,
    out: str,
    master: str | None,
    conf: tuple[str, ...],
) -> None:
    """Select the orders of a training from a table of any kind.

    Then `preptime train --corpus` trains on one machine. If all orders fit into --days and --rows, the bundle is the
    same as from the orders. Otherwise, models are fitted on a sample.
    """
    from preptime.cli.spark import open_session, read_restaurants
    from preptime.schema.toml_file import find_schema
    from preptime.spark.addresses import parse_address
    from preptime.spark.corpus import save_corpus
    from preptime.spark.session import require_pyspark

    _check_one_schema(click.get_current_context(), schema_url)
    require_pyspark()
    address, settings = parse_address(orders), options.parse_spark_settings(conf)
    found = _fetch_schema(schema_url) if schema_url else find_schema(schema or "")[0]
    session = open_session(output, master, settings)
    index = read_restaurants(session, restaurants, found)
    document = save_corpus(session, address, index, date, schema=found, out=out, days=days, sampled_rows=rows)
    output.finish(
        document,
        f"{out} has {format_count(document.rows, 'order')} known as of {date}.",
        f"To train on them: preptime train --corpus {out} --date {date}.",
    )


def _check_one_schema(context: click.Context, schema_url: str | None) -> None:
    """Raise `click.UsageError` if both options are given. A schema from the settings has a lower priority than both."""
    if schema_url and context.get_parameter_source("schema") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--schema and --schema-url are both given. Remove one of them.", context)


def _fetch_schema(url: str) -> Schema:
    """Return the schema at a URL. Raises `UsageError` if it can't be read."""
    from preptime.bundle.store import open_backend
    from preptime.errors import UsageError
    from preptime.schema.toml_file import decode_schema, parse_schema

    folder, _, name = url.rpartition("/")
    try:
        content = open_backend(folder).read(name)
    except OSError as error:
        raise UsageError(f"The schema {url} can't be read: {error}.", "Copy it there, or use --schema FILE.") from error
    return parse_schema(decode_schema(content, url), url)
