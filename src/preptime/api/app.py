"""The Flask application: every endpoint of the API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

import msgspec
from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from flask_swagger_ui import get_swaggerui_blueprint
from msgspec import UNSET
from werkzeug.exceptions import HTTPException

from preptime.api.answer import BundleInUse, DataDictionary, Described, Health, Readiness
from preptime.api.exchange import (
    DEMO,
    Endpoint,
    Reply,
    endpoints,
    exchange,
    logger,
    no_champion,
    refusal,
    request_id_of,
    require_key,
)
from preptime.api.openapi import document
from preptime.api.problems import JSON, RefusedRequestError, Style, as_demo_error, as_problem, fault
from preptime.api.service import Service
from preptime.domain.dictionary import ORDERS, RESTAURANTS, Column
from preptime.domain.prediction import DEFAULT_MODEL

METRICS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def create_app(service: Service) -> Flask:
    """All endpoints over these parts."""
    app = Flask("preptime.api", static_folder=None)
    app.url_map.strict_slashes = False
    predicting = endpoints(service.settings.vertex_predict_route)
    for endpoint in predicting:
        _route(app, endpoint.path, "POST", partial(_predictions, endpoint, service))
    _route(app, "/v1/bundle", "GET", partial(_keyed, partial(_bundle, service), service))
    _route(app, "/v1/data-dictionary", "GET", partial(_keyed, _data_dictionary, service))
    _route(app, "/healthz", "GET", _healthz)
    _route(app, "/readyz", "GET", partial(_readyz, service))
    _route(app, "/metrics", "GET", partial(_metrics, service))
    _route(app, "/openapi.json", "GET", partial(_openapi, service))
    health_route = service.settings.vertex_health_route
    if health_route is not None and health_route not in {"/readyz", "/healthz"}:
        _route(app, health_route, "GET", partial(_readyz, service))
    # The validator's badge would be asked of a server on the internet.
    docs = get_swaggerui_blueprint("/docs", "/openapi.json", {"app_name": "preptime", "validatorUrl": None})
    app.register_blueprint(docs)
    app.register_error_handler(HTTPException, _http_refusal)
    app.register_error_handler(RefusedRequestError, _refused)
    app.register_error_handler(Exception, _fault)
    app.after_request(_tag)
    return app


def _route(app: Flask, path: str, method: str, view: Callable[[], Response]) -> None:
    app.add_url_rule(path, endpoint=f"{method} {path}", view_func=view, methods=[method])


def _predictions(endpoint: Endpoint, service: Service) -> Response:
    return _response(exchange(endpoint, request.environ, service))


def _keyed(view: Callable[[], Response], service: Service) -> Response:
    require_key(request.environ, service)
    return view()


def _bundle(service: Service) -> Response:
    serving = service.serving()
    if serving is None:
        raise no_champion(service.refusal())
    manifest, entry = serving.bundle.manifest, serving.entry
    return _json(
        BundleInUse(
            id=manifest.id,
            champion=entry.number,
            champion_since=entry.at,
            champion_from=entry.date.isoformat(),
            loaded_at=serving.loaded_at,
            metrics=manifest.metrics,
            manifest=manifest,
            refused=service.refusal() or UNSET,
        )
    )


def _data_dictionary() -> Response:
    return _json(DataDictionary([_described(one) for one in ORDERS], [_described(one) for one in RESTAURANTS]))


def _described(column: Column) -> Described:
    return Described(
        name=column.name,
        kind=column.kind,
        meaning=column.meaning,
        unit=column.unit,
        minimum=column.minimum,
        maximum=column.maximum,
        required="scoring" in column.required,
        expected=column.expected,
        example=column.example,
    )


def _healthz() -> Response:
    return _json(Health("ok"))


def _readyz(service: Service) -> Response:
    serving, refused = service.serving(), service.refusal() or UNSET
    if serving is None:
        return _json(Readiness(ready=False, refused=refused), HTTPStatus.SERVICE_UNAVAILABLE)
    return _json(
        Readiness(
            ready=True,
            bundle=serving.bundle.manifest.id,
            champion=serving.entry.number,
            loaded_at=serving.loaded_at,
            refused=refused,
        )
    )


def _metrics(service: Service) -> Response:
    return Response(service.metrics.render(), content_type=METRICS_TEXT)


def _openapi(service: Service) -> Response:
    serving = service.serving()
    return _json(document(service.settings, (*serving.models, DEFAULT_MODEL) if serving else ()))


def _json(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(content), status.value, content_type=JSON)


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status.value, reply.headers)


def _refused(error: RefusedRequestError) -> Response:
    return _response(refusal(error, _style(), request_id_of(request.environ)))


def _http_refusal(error: HTTPException) -> ResponseReturnValue:
    """What Flask's router refuses: an unknown path, a wrong method. A redirect of its stays one."""
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response(request.environ)
    status = HTTPStatus(error.code)
    facts = f"{request.method} {request.path[:200]}: {status.phrase.lower()}."
    response = _refused(RefusedRequestError(status, facts, "/docs lists what there is."))
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _fault(error: Exception) -> Response:
    request_id = request_id_of(request.environ)
    logger.error("A request failed.", extra={"request_id": request_id}, exc_info=error)
    return _response(refusal(fault(), _style(), request_id))


def _style() -> Style:
    return as_demo_error if request.path == DEMO else as_problem


def _tag(response: Response) -> Response:
    if "X-Request-ID" not in response.headers:
        response.headers["X-Request-ID"] = request_id_of(request.environ)
    return response
