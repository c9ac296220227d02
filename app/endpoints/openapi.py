"""GET /openapi.json: the routes, their requests from the parameter tables, the schemas of their answers, the errors."""

import re
from collections.abc import Iterable
from typing import Any

from app.endpoints.answers import STRING, Component, Schema, array
from app.endpoints.api_style import OPENAI, ApiStyle
from app.endpoints.endpoint import JSON, Endpoint, Route
from app.parameters.adjust import STRICT
from app.parameters.adjustments import HEADER as ADJUSTMENTS_HEADER
from app.parameters.kinds import File
from app.parameters.request_bounds import MAX_FIELDS
from app.parameters.row import Table, Treatment
from contract.project import VERSION
from contract.protocol import EVENT_STREAM

BEARER = "key"  # the name of what every route takes
FILE = File().schema()


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `routes`."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Schema] = {}
    styles = {OPENAI.error.name: OPENAI}
    for route in routes:
        operation = _operation(route)
        for path in route.paths:
            paths.setdefault(path, {})[route.method.lower()] = operation
        schemas |= {one.name: one.schema for one in route.content.values() if isinstance(one, Component)}
        styles[route.style.error.name] = route.style
    schemas |= {name: style.error.schema for name, style in styles.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Portico",
            "version": VERSION,
            "description": "OpenAI's HTTP API, and Anthropic's Messages API, on your own models. Every route under /v1 "
            "is also served under /v1/{pipeline}, where `pipeline` is the ID of a model and `model` may be left out.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer"}}
            | {
                style.key_header: {"type": "apiKey", "in": "header", "name": style.key_header}
                for style in styles.values()
                if style.key_header
            },
            "schemas": schemas,
            "responses": {
                name: {
                    "description": "Every error has this body.",
                    "content": {"application/json": {"schema": style.error.ref}},
                }
                for name, style in styles.items()
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "security": _security(route.style) if route.needs_key else [],
        "responses": {"200": _success(route), "default": {"$ref": f"#/components/responses/{route.style.error.name}"}},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": STRING} for name in re.findall(r"{(\w+)}", route.path)
    ] + [
        {"name": name, "in": "query", "description": meaning, "schema": array(STRING)}
        for name, meaning in route.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if isinstance(route, Endpoint):
        operation["requestBody"] = {
            "required": True,
            "content": {kind: _request(route, kind) for kind in route.request_types},
        }
    return operation


def _security(style: ApiStyle) -> list[dict[str, list[str]]]:
    """The headers that may hold the key, any one of them."""
    return [{name: []} for name in (BEARER, style.key_header) if name]


def _request(endpoint: Endpoint, kind: str) -> dict[str, Any]:
    """A request of one media type."""
    schema = _request_schema(endpoint.table)
    if kind == JSON:
        return {"schema": schema, "example": {"model": "my-model"} | endpoint.example}
    for name, most in endpoint.image_files.items():
        schema["properties"][name] = FILE if most == 1 else array(FILE) | {"maxItems": most}
    return {"schema": schema}


def _success(route: Route) -> dict[str, Any]:
    content = {
        media_type: {"schema": _answer_schema(media_type, schema)} for media_type, schema in route.content.items()
    }
    success: dict[str, Any] = {"description": route.answer, "content": content}
    if isinstance(route, Endpoint):
        message = "What was changed in the request; absent where nothing was."
        success["headers"] = {ADJUSTMENTS_HEADER: {"description": message, "schema": STRING}}
    return success


def _answer_schema(media_type: str, schema: Schema | Component) -> Schema:
    found = schema.ref if isinstance(schema, Component) else schema
    if media_type != EVENT_STREAM:
        return found
    message = "Server-sent events; `data` of each is JSON of this schema. A stream that fails ends with an error event."
    return STRING | {"description": message, "contentMediaType": EVENT_STREAM, "contentSchema": array(found)}


def _request_schema(table: Table) -> Schema:
    properties = {
        row.name: row.kind.schema() | {"description": row.note}
        for row in table.rows
        if row.treatment is not Treatment.REFUSE
    }
    properties[STRICT] = {"type": "boolean", "description": "Whether to refuse a request that would be changed."}
    fields = {"properties": properties, "required": list(table.required)}
    return {"type": "object", "maxProperties": MAX_FIELDS} | fields
