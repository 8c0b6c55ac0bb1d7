"""A fake of BigQuery's REST service for the real client library.

These tests use the real client library with its requests, paging, retries, and types. They also use the real
statements, which are translated by sqlglot and run on PostgreSQL. They don't test Google's service, its limits, prices,
and permissions, or any differences that the translation hides.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import polars as pl
import psycopg
from psycopg import sql
from sqlglot.errors import SqlglotError

from tests.sources.bigquery.sql_translation import translate_to_postgres

Document = dict[str, object]

_POSTGRES_TYPES = {
    "STRING": "text",
    "INT64": "bigint",
    "INTEGER": "bigint",
    "FLOAT64": "double precision",
    "FLOAT": "double precision",
    "DATE": "date",
    "TIMESTAMP": "timestamptz",
    "DATETIME": "timestamp",
}
_TYPE_NAMES = {
    25: "STRING",
    20: "INTEGER",
    23: "INTEGER",
    701: "FLOAT",
    1082: "DATE",
    1184: "TIMESTAMP",
    1114: "DATETIME",
    3802: "JSON",
}


@dataclass
class Job:
    """A finished query or load."""

    kind: str
    schema: list[Document] = field(default_factory=list)
    rows: list[Document] = field(default_factory=list)
    inserted: int = 0
    updated: int = 0


@dataclass
class FakeBigQuery:
    """One project with one dataset, in a PostgreSQL database."""

    database: str
    page_rows: int = 1_000_000
    """The maximum number of rows in a page, whatever is requested. The service limits pages by bytes."""
    fail: list[tuple[int, str, str]] = field(default_factory=list)
    """Errors to return instead of running a job, each once: status, reason, message."""
    statements: list[str] = field(default_factory=list)
    """All statements that were run."""
    snapshot_times: list[dt.datetime] = field(default_factory=list)
    """The times as of which tables were read. The fake reads the current rows, but it refuses a time in the future."""
    pages: list[int] = field(default_factory=list)
    """The number of rows of each page."""
    jobs: dict[str, Job] = field(default_factory=dict)

    def query(self, request: Document) -> Job:
        """Run a statement."""
        text = str(request["query"])
        self.statements.append(text)
        parameters = _parameters(request)
        if "as_of" in parameters:
            self._check_snapshot_time(parameters["as_of"][1])
        with psycopg.connect(self.database) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            connection.execute("SET search_path TO pg_catalog")
            views = _drop_views(connection) if text.startswith("CREATE OR REPLACE TABLE") else {}
            cursor = connection.execute(translate_to_postgres(text, parameters).encode())
            for name, definition in views.items():
                connection.execute(f"CREATE VIEW {name} AS {definition}".encode())
            job = Job("query")
            if cursor.description is None:
                return job
            rows = cursor.fetchall()
            if text.startswith("MERGE"):
                actions = [str(row[0]) for row in rows]
                job.inserted, job.updated = actions.count("INSERT"), actions.count("UPDATE")
                return job
            job.schema = [{"name": column.name, "type": _TYPE_NAMES[column.type_code]} for column in cursor.description]
            job.rows = [{"f": [{"v": _encode_cell(value)} for value in row]} for row in rows]
            return job

    def _check_snapshot_time(self, text: str) -> None:
        time = dt.datetime.fromisoformat(text)
        if time > dt.datetime.now(dt.UTC):
            message = f"Invalid snapshot time {text}: it's in the future"
            raise _ServiceError(400, _error_document(400, "invalidQuery", message))
        self.snapshot_times.append(time)

    def load(self, config: Document, content: bytes) -> Job:
        """Append a Parquet file to a table."""
        target = _dict(config, "destinationTable")
        rows = pl.read_parquet(io.BytesIO(content))
        with psycopg.connect(self.database) as connection:
            table = sql.Identifier(str(target["datasetId"]), str(target["tableId"]))
            names = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
            command = sql.SQL("COPY {} ({}) FROM STDIN").format(table, names)
            with connection.cursor() as cursor, cursor.copy(command) as copy:
                for row in rows.iter_rows():
                    copy.write_row(row)
        return Job("load")

    def create(self, dataset: str, request: Document) -> Document:
        """Create a table."""
        name = str(_dict(request, "tableReference")["tableId"])
        fields = _dict(request, "schema")["fields"]
        assert isinstance(fields, list)
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(column["name"]), sql.SQL(_POSTGRES_TYPES[column["type"]]))
            for column in fields
        ]
        with psycopg.connect(self.database) as connection:
            text = sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(dataset, name), sql.SQL(", ").join(columns))
            connection.execute(text)
        return request

    def drop(self, dataset: str, name: str) -> Document:
        """Delete a table."""
        with psycopg.connect(self.database) as connection:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(dataset, name)))
        return {}

    def tables(self, dataset: str) -> Document:
        """List the tables and views of a dataset."""
        with psycopg.connect(self.database) as connection:
            query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
            names = [str(name) for (name,) in connection.execute(query, [dataset]).fetchall()]
        reference = {"projectId": "our-project", "datasetId": dataset}
        return {"tables": [{"tableReference": reference | {"tableId": name}} for name in names]}

    def table(self, dataset: str, name: str) -> Document:
        """Return the metadata of a table."""
        query = "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        with psycopg.connect(self.database) as connection:
            columns = connection.execute(f"{query} AND NOT attisdropped ORDER BY attnum", [f"{dataset}.{name}"])
            fields = [{"name": column, "type": _TYPE_NAMES[type_code]} for column, type_code in columns.fetchall()]
        reference = {"projectId": "our-project", "datasetId": dataset, "tableId": name}
        return {"tableReference": reference, "schema": {"fields": fields}}

    def page(self, job_id: str, max_rows: int, start: int) -> Document:
        """Return one page of the rows of a query."""
        job = self.jobs[job_id]
        rows = job.rows[start : start + min(max_rows, self.page_rows)]
        self.pages.append(len(rows))
        end = start + len(rows)
        document: Document = {
            "jobReference": {"projectId": "our-project", "jobId": job_id, "location": "EU"},
            "jobComplete": True,
            "schema": {"fields": job.schema},
            "totalRows": str(len(job.rows)),
            "rows": rows,
        }
        return document | ({"pageToken": str(end)} if end < len(job.rows) else {})


def _drop_views(connection: psycopg.Connection) -> dict[str, str]:
    """Drop all views and return their definitions: PostgreSQL doesn't drop a table that has a view."""
    query = "SELECT 'food.' || viewname, definition FROM pg_views WHERE schemaname = 'food'"
    views = {str(name): str(definition) for name, definition in connection.execute(query).fetchall()}
    for name in views:
        connection.execute(f"DROP VIEW {name}".encode())
    return views


def _dict(document: Document, name: str) -> Document:
    value = document[name]
    assert isinstance(value, dict)
    return value


def _parameters(request: Document) -> dict[str, tuple[str, str]]:
    """Return (type, value) by parameter name."""
    parameters = request.get("queryParameters", [])
    assert isinstance(parameters, list)
    return {item["name"]: (item["parameterType"]["type"], item["parameterValue"]["value"]) for item in parameters}


def _encode_cell(value: object) -> object:
    """Encode a value as the service does: every value is text."""
    if value is None:
        return None
    if isinstance(value, dt.datetime):
        return str(int(value.timestamp() * 1_000_000))
    if isinstance(value, float):
        return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, repr(value))
    return str(value)


_ROUTES = (
    ("POST", re.compile(r"/bigquery/v2/projects/[^/]+/queries"), "query"),
    ("GET", re.compile(r"/bigquery/v2/projects/[^/]+/queries/(?P<job>[^/]+)"), "page"),
    ("POST", re.compile(r"/bigquery/v2/projects/[^/]+/jobs"), "insert"),
    ("GET", re.compile(r"/bigquery/v2/projects/[^/]+/jobs/(?P<job>[^/]+)"), "status"),
    ("POST", re.compile(r"/upload/bigquery/v2/projects/[^/]+/jobs"), "upload"),
    ("GET", re.compile(r"/bigquery/v2/projects/[^/]+/datasets/(?P<dataset>[^/]+)/tables"), "list"),
    ("POST", re.compile(r"/bigquery/v2/projects/[^/]+/datasets/(?P<dataset>[^/]+)/tables"), "create"),
    ("GET", re.compile(r"/bigquery/v2/projects/[^/]+/datasets/(?P<dataset>[^/]+)/tables/(?P<table>[^/]+)"), "table"),
    ("DELETE", re.compile(r"/bigquery/v2/projects/[^/]+/datasets/(?P<dataset>[^/]+)/tables/(?P<table>[^/]+)"), "drop"),
)


class Handler(BaseHTTPRequestHandler):
    """Handle the requests that preptime makes."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # send head and body in one packet: two packets would wait for each other
    fake: FakeBigQuery

    def do_GET(self) -> None:  # `http.server` calls these names
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def do_DELETE(self) -> None:
        self._respond()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            status, document = 200, self._route(body)
        except _ServiceError as error:
            status, document = error.status, error.document
        except psycopg.errors.UndefinedTable as error:
            status, document = 404, _error_document(404, "notFound", f"Not found: {error.diag.message_primary}")
        except psycopg.errors.InvalidSchemaName as error:
            status, document = 404, _error_document(404, "notFound", f"Not found: Dataset {error.diag.message_primary}")
        except (LookupError, ValueError, AssertionError, psycopg.Error, SqlglotError) as error:
            # A request that the fake doesn't support must fail the test, and must not be retried.
            status, document = 400, _error_document(400, "invalid", f"the fake: {error!r}")
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _route(self, body: bytes) -> Document:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        for method, path, name in _ROUTES:
            match = path.fullmatch(parts.path)
            if method == self.command and match:
                return self._respond_to(name, match.groupdict(), query, body)
        raise AssertionError(f"the fake doesn't support {self.command} {self.path}")

    def _respond_to(self, name: str, names: dict[str, str], query: dict[str, str], body: bytes) -> Document:
        fake = self.fake
        if name in {"query", "insert", "upload"} and fake.fail:
            status, reason, message = fake.fail.pop(0)
            raise _ServiceError(status, _error_document(status, reason, message))
        if name in {"query", "insert", "upload"}:
            return self._run(name, body)
        responses: dict[str, Callable[[], Document]] = {
            "page": lambda: fake.page(
                names["job"], int(query.get("maxResults", 10**9)), int(query.get("pageToken", 0))
            ),
            "status": lambda: _status_document(names["job"], fake.jobs[names["job"]]),
            "create": lambda: fake.create(names["dataset"], json.loads(body)),
            "drop": lambda: fake.drop(names["dataset"], names["table"]),
            "table": lambda: fake.table(names["dataset"], names["table"]),
            "list": lambda: fake.tables(names["dataset"]),
        }
        return responses[name]()

    def _run(self, name: str, body: bytes) -> Document:
        fake, job_id = self.fake, str(uuid.uuid4())
        if name == "upload":
            fake.jobs[job_id] = fake.load(*_split_upload(body))
            return _status_document(job_id, fake.jobs[job_id])
        request: Document = json.loads(body)
        if name == "query":
            fake.jobs[job_id] = fake.query(request)
            return fake.page(job_id, int(str(request.get("maxResults", 10**9))), 0)
        job_id = str(_dict(request, "jobReference")["jobId"])
        fake.jobs[job_id] = fake.query(_dict(_dict(request, "configuration"), "query"))
        return _status_document(job_id, fake.jobs[job_id])


class _ServiceError(Exception):
    def __init__(self, status: int, document: Document) -> None:
        super().__init__(status)
        self.status, self.document = status, document


def _error_document(status: int, reason: str, message: str) -> Document:
    return {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}


def _status_document(job_id: str, job: Job) -> Document:
    dml_stats: Document = {"insertedRowCount": str(job.inserted), "updatedRowCount": str(job.updated)}
    return {
        "jobReference": {"projectId": "our-project", "jobId": job_id, "location": "EU"},
        "configuration": {job.kind: {}, "jobType": job.kind.upper()},
        "status": {"state": "DONE"},
        "statistics": {"query": {"dmlStats": dml_stats, "statementType": "MERGE"}} if job.kind == "query" else {},
    }


def _split_upload(body: bytes) -> tuple[Document, bytes]:
    """Return the configuration and the file of a multipart upload."""
    boundary = body[: body.index(b"\r\n")]
    first, second = body.split(boundary)[1:3]
    config = json.loads(first.partition(b"\r\n\r\n")[2])
    return config["configuration"]["load"], second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


@contextmanager
def serve_fake_bigquery(database: str) -> Iterator[tuple[str, FakeBigQuery]]:
    """Run a fake with the empty dataset `food`. Yields its address for `BIGQUERY_EMULATOR_HOST`, and the fake."""
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA food")
    fake = FakeBigQuery(database)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("FakeHandler", (Handler,), {"fake": fake}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
