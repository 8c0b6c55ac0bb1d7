"""Request bytes as orders. What is wrong with one order never hides the others; what is wrong with all is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar

import msgspec
from msgspec import UNSET

from preptime.api.order import DemoRequest, Order, Parameters, PredictionRequest, VertexRequest
from preptime.api.orders import shown
from preptime.api.problems import RefusedRequestError
from preptime.domain.dictionary import ORDERS, required

_T = TypeVar("_T")


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a request asks for."""

    orders: Sequence[Order]
    models: Sequence[str]


def decode_request(body: bytes) -> Asked:
    """The orders of `POST /v1/predictions`. Raises `RefusedRequestError`."""
    request = _decoded(body, _REQUEST.decode, _salvaged_request)
    return Asked([request] if request.orders is UNSET else request.orders, request.models or ())


def decode_vertex(body: bytes) -> Asked:
    """The orders of a request as Vertex AI passes it on. Raises `RefusedRequestError`."""
    request = _decoded(body, _VERTEX.decode, _salvaged_vertex)
    return Asked(request.instances, (request.parameters and request.parameters.models) or ())


def decode_demo(body: bytes) -> Asked:
    """The orders of the demo's request: JSON within JSON. Raises `RefusedRequestError`, 400 as the demo did."""
    bad = HTTPStatus.BAD_REQUEST
    text = _decoded(body, _DEMO.decode, _DEMO.decode, status=bad).json_data.encode()
    if text.lstrip()[:1] == b"[":
        return Asked(_decoded(text, _RECORDS.decode, _salvaged_list, "json_data", bad), ())
    return Asked(_by_row(_decoded(text, _TABLE.decode, _salvaged_table, "json_data", bad)), ())


class _Models(msgspec.Struct):
    models: list[str] | None = None


class _Parameters(msgspec.Struct):
    parameters: Parameters | None = None


_Table = dict[str, dict[str, object]]

_REQUEST = msgspec.json.Decoder(PredictionRequest)
_VERTEX = msgspec.json.Decoder(VertexRequest)
_DEMO = msgspec.json.Decoder(DemoRequest)
_RECORDS = msgspec.json.Decoder(list[Order])
_TABLE = msgspec.json.Decoder(_Table)
_MODELS = msgspec.json.Decoder(_Models)
_PARAMETERS = msgspec.json.Decoder(_Parameters)
_FIELDS = Order.__struct_fields__
_PATH = re.compile(r" - at `\$(.*)`$")
_ROW = re.compile(r"^(?:orders|instances)?\[(\d+)\]")


def _decoded(
    body: bytes,
    decode: Callable[[bytes], _T],
    salvage: Callable[[bytes], _T],
    inside: str = "",
    status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY,
) -> _T:
    """`decode`, or `salvage` where a value does not fit its type; what is no JSON at all is refused."""
    where = f"the text in {inside}" if inside else "the body"
    try:
        try:
            return decode(body)
        except msgspec.ValidationError:
            return salvage(body)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error), inside, status) from error
    except UnicodeDecodeError as error:
        raise _malformed(where, "it is not UTF-8", "Encode it as UTF-8.") from error
    except RecursionError as error:
        raise _malformed(where, "it is nested too deeply", "An order is an object of plain values.") from error
    except msgspec.DecodeError as error:
        raise _malformed(where, str(error), "NaN and Infinity are no JSON; null says that there is nothing.") from error


def _malformed(where: str, why: str, hint: str) -> RefusedRequestError:
    return RefusedRequestError(HTTPStatus.BAD_REQUEST, f"{where.capitalize()} is not JSON: {why}.", hint)


def _misshapen(message: str, inside: str, status: HTTPStatus) -> RefusedRequestError:
    """What msgspec says of a value in the wrong place, as facts: row, field, expected."""
    found = _PATH.search(message)
    path = (found[1] if found else "").removeprefix(".")
    row = _ROW.match(path)
    expected, _, value = _PATH.sub("", message).removeprefix("Expected ").replace("`", "").partition(", got ")
    name = f"{inside}.{path}" if inside and path else inside or path or "the body"
    return RefusedRequestError(
        status,
        f"In {name}: {_PATH.sub('', message).replace('`', '')}.",
        "/docs describes what is taken.",
        row=int(row[1]) if row else None,
        field=name,
        value=value or None,
        expected=expected,
    )


def _salvaged_request(body: bytes) -> PredictionRequest:
    """The request, with infinity for every number that is too large for one."""
    fields = _raw_fields(body)
    models = _MODELS.decode(body).models
    orders = fields.pop("orders", None)
    request = PredictionRequest(models=models, orders=UNSET if orders is None else _salvaged_list(orders, ".orders"))
    for name, value in _salvaged_values(fields).items():
        setattr(request, name, value)
    return request


def _salvaged_vertex(body: bytes) -> VertexRequest:
    fields = _raw_fields(body)
    if "instances" not in fields:
        return _VERTEX.decode(body)
    return VertexRequest(_salvaged_list(fields["instances"], ".instances"), _PARAMETERS.decode(body).parameters)


def _salvaged_list(raw: msgspec.Raw | bytes, path: str = "") -> list[Order]:
    return [
        Order(**_salvaged_values(_raw_fields(one, f"{path}[{place}]")))
        for place, one in enumerate(_at(raw, list[msgspec.Raw], path))
    ]


def _salvaged_table(body: bytes) -> _Table:
    columns = msgspec.json.decode(body, type=dict[str, dict[str, msgspec.Raw]])
    return {
        name: {label: _salvaged(cell) for label, cell in cells.items()}
        for name, cells in columns.items()
        if name in _FIELDS
    }


def _raw_fields(raw: msgspec.Raw | bytes, path: str = "") -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"Expected `object`, got `{shown(_salvaged(raw))}` - at `${path}`") from error


def _at(raw: msgspec.Raw | bytes, kind: type[_T], path: str) -> _T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{_PATH.sub('', str(error))} - at `${path}`") from error


def _salvaged_values(fields: Mapping[str, msgspec.Raw]) -> dict[str, object]:
    return {name: _salvaged(fields[name]) for name in _FIELDS if name in fields}


def _salvaged(raw: msgspec.Raw | bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:
        return -math.inf if bytes(raw).lstrip().startswith(b"-") else math.inf


def _by_row(columns: _Table) -> list[Order]:
    """A table by column as orders. Rows are those of the first column, as pandas writes every column's."""
    missing = [name for name in required(ORDERS, "scoring") if name not in columns]
    if missing:
        raise RefusedRequestError(
            HTTPStatus.BAD_REQUEST,
            f"json_data has no column {', '.join(missing)}; it has {shown(', '.join(columns))}.",
            "Send DataFrame.to_json() of the orders.",
        )
    known = {name: columns[name] for name in _FIELDS if name in columns}
    labels = list(next(iter(columns.values())))
    return [Order(**{name: cells.get(label) for name, cells in known.items()}) for label in labels]
