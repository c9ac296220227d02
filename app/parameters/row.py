"""One row of the parameter table, an endpoint's table of them, and the rows that most endpoints share."""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from app.parameters.kinds import Anything, File, Flag, Kind, Text
from contract.errors import ApiError
from contract.profile import Profile


class Treatment(StrEnum):
    """What becomes of a parameter whose value is legal."""

    FORWARD = "forward"  # goes to the engine
    GATEWAY = "gateway"  # stays in the gateway, which acts on it
    ACCEPT = "accept"  # checked, without effect, not reported
    IGNORE = "ignore"  # not even checked, without effect, reported as ignored
    REFUSE = "refuse"  # a 400


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of one endpoint."""

    name: str
    kind: Kind
    note: str  # one line of documentation
    treatment: Treatment = Treatment.FORWARD
    required: bool = False
    capability: str | None = None  # the model must have it, else the request is refused
    feature: str | None = None  # the engine must have it here, else the parameter is dropped
    absent: tuple[Any, ...] = ()  # values that equal leaving it out
    needless: tuple[Any, ...] = ()  # values that equal it where the model lacks the capability or the feature
    engines: tuple[str, ...] = ()  # the engines that have it; none named: every engine of the endpoint
    also: tuple[str, ...] = ()  # other names that clients have for it


def refused(name: str, note: str, absent: tuple[Any, ...] = ()) -> Parameter:
    """A parameter that is a 400 with any value but those that say what is so anyhow; `note` ends the message."""
    return Parameter(name, Anything(), note, Treatment.REFUSE, absent=absent)


def ignored(name: str, note: str) -> Parameter:
    return Parameter(name, Anything(), note, Treatment.IGNORE)


class Dropped(NamedTuple):
    """A parameter that means nothing beside the others, and why."""

    name: str
    reason: str


class Replaced(NamedTuple):
    """A parameter whose value loses a part that cannot be kept beside the others, and why."""

    name: str
    value: Any  # without the part
    part: str  # the place of what is dropped
    reason: str


# A rule over several parameters: gets all that are legal, whatever their treatment, and the model's profile. Raises
# ApiError, or yields the changes: clamps as (parameter, from, to), and what to drop.
Rule = Callable[[dict[str, Any], Profile], Iterable[tuple[str, float, float] | Dropped | Replaced]]


@dataclass(frozen=True)
class Table:
    """All parameters of one endpoint."""

    rows: tuple[Parameter, ...]
    rules: tuple[Rule, ...] = ()
    by_name: dict[str, Parameter] = field(init=False)  # other names included
    required: tuple[str, ...] = field(init=False)
    file: str | None = field(init=False)  # the parameter that is a file; a request with one is a multipart form

    def __post_init__(self) -> None:
        by_name = {name: row for row in self.rows for name in (row.name, *row.also)}
        if len(by_name) != sum(1 + len(row.also) for row in self.rows):
            raise ValueError("a parameter stands in the table twice")
        object.__setattr__(self, "by_name", by_name)
        object.__setattr__(self, "required", tuple(row.name for row in self.rows if row.required))
        object.__setattr__(self, "file", next((row.name for row in self.rows if isinstance(row.kind, File)), None))

    def name_as_sent(self, error: ApiError, request: Container[str]) -> None:
        """Let `error` call parameters by those of their names that are in `request`."""
        for row in self.rows:
            sent = next((name for name in (row.name, *row.also) if name in request), row.name)
            if sent != row.name:
                error.rename(row.name, sent)


def missing(name: str) -> ApiError:
    return ApiError("missing_required_parameter", f"`{name}` is missing.", param=name)


MODEL = Parameter("model", Text(), "ID of the model to use. May be left out under /v1/{pipeline}/.", Treatment.GATEWAY)
STREAM = Parameter("stream", Flag(), "Whether to stream the response as server-sent events.")
USER = Parameter("user", Text(), "Identifier of your end user. Written to the log.", Treatment.ACCEPT)
