"""GET /openapi.json: the routes that are served, their requests from the parameter table, and the error envelope."""

import re
from typing import Any

from app.endpoints.routes import ALL, TABLES_BY_ROUTE, Route
from app.parameters.adjust import STRICT
from app.parameters.adjustments import HEADER as ADJUSTMENTS_HEADER
from app.parameters.row import Table, Treatment
from contract.errors import CODES
from contract.project import VERSION

ERROR = {"$ref": "#/components/responses/Error"}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    for route in ALL:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Portico",
            "version": VERSION,
            "description": "OpenAI's HTTP API on your own models. Every route under /v1 also answers under "
            "/v1/{pipeline}, where `pipeline` is a model's id and `model` may be left out.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _error_schema()},
            "responses": {
                "Error": {
                    "description": "Every failure has this body.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "security": [{"key": []}] if route.needs_key else [],
        "responses": {"200": _success(route), "default": ERROR},
    }
    if names := re.findall(r"{(\w+)}", route.path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if table := TABLES_BY_ROUTE.get(route):
        operation["requestBody"] = {
            "required": True,
            "content": {route.takes: {"schema": _request_schema(table)}},
        }
    return operation


def _success(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {media_type: {} for media_type in route.media_types}
    success: dict[str, Any] = {"description": route.answer, "content": content}
    if route in TABLES_BY_ROUTE:
        message = "What was changed in the request; absent where nothing was."
        success["headers"] = {ADJUSTMENTS_HEADER: {"description": message, "schema": {"type": "string"}}}
    return success


def _request_schema(table: Table) -> dict[str, Any]:
    properties = {
        row.name: row.kind.schema() | {"description": row.note}
        for row in table.rows
        if row.treatment is not Treatment.REFUSE
    }
    properties[STRICT] = {"type": "boolean", "description": "Refuse the request where anything would be changed."}
    return {"type": "object", "properties": properties, "required": [r.name for r in table.rows if r.required]}


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    fields = {
        "message": text,
        "type": {"type": "string", "enum": sorted({kind for _, kind in CODES.values()})},
        "code": {"type": "string", "enum": sorted(CODES)},
        "param": {"type": ["string", "null"]},
    }
    error = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}
