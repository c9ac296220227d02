"""The plain routes as data, and the router: which route a path means."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from app.endpoints.answers import BINARY, INTEGER, OBJECT, STRING, Component, array, const, nullable, record
from app.endpoints.catalog import ENDPOINTS
from app.endpoints.endpoint import Endpoint, Route
from app.endpoints.usage import USAGE
from contract.errors import ApiError, shown

API_VERSION = "v1"
API_PREFIX = f"/{API_VERSION}/"
UNKNOWN = "unknown"  # the metrics' label for every path that is no route

_MODEL = {"id": STRING, "object": const("model"), "created": INTEGER, "owned_by": STRING}
_PARENT = {"parent": STRING}  # of a LoRA adapter: its model
_STATE = record({"id": STRING, "state": STRING, "error": nullable(STRING)})

KEPT_IMAGE = Route(
    path="/images/{name}",
    summary="Download image",
    answer="An image that was requested by URL. The URL holds a signature and an expiry time.",
    content=dict.fromkeys(("image/png", "image/jpeg", "image/webp"), BINARY),
    needs_key=False,
)
MODEL_LIST = Route(
    path="/v1/models",
    summary="List models",
    answer="The models that are ready and that the API key may use.",
    query={"capability": "a capability that each model has, such as chat; may be repeated"},
    content={
        "application/json": Component(
            "ModelList", record({"object": const("list"), "data": array(record(_MODEL, _PARENT))})
        )
    },
)
MODEL_CARD = Route(
    path="/v1/models/{id}",
    summary="Retrieve model",
    answer="A model. `portico` has its engine, capabilities and limits.",
    content={
        "application/json": Component(
            "Model",
            record(
                _MODEL
                | {
                    "portico": record(
                        {
                            "engine": STRING,
                            "capabilities": array(STRING),
                            "unsupported": {"type": "object", "additionalProperties": STRING},
                            "limits": {"type": "object", "additionalProperties": INTEGER},
                            "chat_template_kwargs": array(STRING),
                        },
                        {"voices": array(STRING), "languages": array(STRING), "speculation": OBJECT},
                    )
                },
                _PARENT,
            ),
        )
    },
)
HEALTH = Route(
    path="/health",
    summary="Liveness probe",
    answer="The service is alive.",
    content={"application/json": record({"status": const("ok")})},
    needs_key=False,
    is_probe=True,
)
READY = Route(
    path="/ready",
    summary="Readiness probe",
    answer="Every model is ready, or every one that the query names.",
    query={"model": "the id of a model; may be repeated"},
    content={"application/json": record({"status": const("ready"), "models": array(_STATE)})},
    needs_key=False,
    is_probe=True,
)
METRICS = Route(
    path="/metrics",
    summary="Prometheus metrics",
    answer="The metrics in Prometheus' text format; with an API key, also those of the key's own use.",
    content={"text/plain": STRING},
    needs_key=False,
    is_probe=True,
)
OPENAPI = Route(
    path="/openapi.json",
    summary="OpenAPI document",
    answer="This document.",
    content={"application/json": OBJECT},
    needs_key=False,
    is_probe=True,
)
PLAIN_ROUTES = (MODEL_LIST, MODEL_CARD, USAGE, KEPT_IMAGE, HEALTH, READY, METRICS, OPENAPI)
KEPT_IMAGE_PREFIX = KEPT_IMAGE.path.removesuffix("{name}")


@dataclass(frozen=True, slots=True)
class Match:
    """A path that is a route, with what it names."""

    route: Route
    pipeline: str | None = None
    model_id: str | None = None
    name: str | None = None  # of a kept image


class Router:
    """Finds the route of a path."""

    def __init__(self, endpoints: Sequence[Endpoint] = ENDPOINTS, disabled: Collection[str] = ()) -> None:
        """Without the routes whose paths are `disabled`."""
        self.routes = tuple[Route, ...](one for one in (*endpoints, *PLAIN_ROUTES) if one.path not in disabled)
        also = (path for one in endpoints if one.path in disabled for path in one.also)
        self._disabled = frozenset((*disabled, *also))
        self._fixed = {path: route for route in self.routes for path in route.paths if "{" not in path}

    def match(self, method: str, path: str) -> Match:
        """The route of a request. Raises ApiError `unknown_url` or `method_not_allowed`."""
        return self.require(method, path, self.find(path))

    def require(self, method: str, path: str, found: Match | None) -> Match:
        """`found`, which is what `path` names. Raises ApiError where that is nothing, or not to be had by `method`."""
        method = shown(method)
        if found is None:
            raise ApiError("unknown_url", f"{self._no_route(method, path)} /openapi.json lists all routes.")
        allow = found.route.method
        # HEAD is GET without the body; the HTTP server leaves the body out.
        if method != allow and not (method == "HEAD" and allow == "GET"):
            raise ApiError("method_not_allowed", f"{found.route.path} takes {allow}, not {method}.", allow=allow)
        return found

    def find(self, path: str) -> Match | None:
        """What a path names, whatever the method."""
        if path in self._disabled:  # and so none of a pipeline `chat`, whose completions it would else be
            return None
        if found := self._match_plain(path, pipeline=None):
            return found
        image = path.removeprefix(KEPT_IMAGE_PREFIX)
        if image and image != path and "/" not in image and API_PREFIX + path[1:] not in self._fixed:
            return Match(KEPT_IMAGE, name=image)
        first, slash, rest = path.removeprefix(API_PREFIX).partition("/")
        if path.startswith(API_PREFIX) and first and slash and first != API_VERSION:
            return self._match_plain(API_PREFIX + rest, pipeline=first)
        return None

    def _match_plain(self, path: str, pipeline: str | None) -> Match | None:
        if route := self._fixed.get(path):
            return Match(route, pipeline) if pipeline is None or route.needs_key else None
        model_id = path.removeprefix(MODEL_LIST.path + "/")
        if model_id and model_id != path and "/" not in model_id:
            return Match(MODEL_CARD, pipeline, model_id)
        return None

    def _no_route(self, method: str, path: str) -> str:
        """What is wrong with a path that is no route: where it has /v1, or else it is like another."""
        meant = API_PREFIX + "/".join(part for part in path.split("/")[1:] if part != API_VERSION)
        if meant != path and (found := self.find(meant)):
            fault = "has /v1 more than once" if path.startswith(API_PREFIX) else "lacks /v1 at its beginning"
            right = f"{found.route.method} {shown(meant)}"
            return f"{method} {shown(path)} {fault}. Send {right}: {found.route.style.base_url}."
        pipeline, _, rest = path.removeprefix(API_PREFIX).partition("/")
        if path in self._disabled or (pipeline and API_PREFIX + rest in self._disabled):
            fault = "is disabled here by the operator's configuration"
            return f"{method} {shown(path)} {fault}."
        (nearest,) = get_close_matches(shown(path), self._fixed, n=1, cutoff=0)
        return (
            f"There is no such route: {method} {shown(path)}. The nearest is {self._fixed[nearest].method} {nearest}."
        )


def needs_key(path: str, found: Match | None) -> bool:
    """Whether a path, which names what is `found`, is behind the key: everything under /v1 is, known or not."""
    return path.startswith(API_PREFIX) or (found is not None and found.route.needs_key)
