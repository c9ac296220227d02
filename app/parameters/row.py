"""One row of the parameter table, and a route's table of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from app.parameters.kinds import Anything, Kind
from contract.errors import ApiError
from contract.profile import Profile


class Treatment(StrEnum):
    """What becomes of a parameter whose value is legal."""

    FORWARD = "forward"  # goes to the engine
    GATEWAY = "gateway"  # the gateway reads it
    ACCEPT = "accept"  # checked, without effect, not reported
    IGNORE = "ignore"  # not even checked, without effect, reported as ignored
    REFUSE = "refuse"  # a 400


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of one route."""

    name: str
    kind: Kind
    note: str  # one line of documentation
    treatment: Treatment = Treatment.FORWARD
    required: bool = False
    capability: str | None = None  # the model must have it, else the request is refused
    feature: str | None = None  # the engine must have it here, else the parameter is dropped
    absent: tuple[Any, ...] = ()  # values that equal leaving it out
    engines: tuple[str, ...] = ()  # the engines that have it; none named: every engine of the route


def refused(name: str, note: str) -> Parameter:
    """A row for a parameter that is always a 400; `note` is the end of the error's message."""
    return Parameter(name, Anything(), note, Treatment.REFUSE)


def ignored(name: str, note: str) -> Parameter:
    return Parameter(name, Anything(), note, Treatment.IGNORE)


class Dropped(NamedTuple):
    """A parameter that means nothing beside the others, and why."""

    name: str
    reason: str


# A rule over several parameters: reads the kept ones and the model's profile, raises ApiError, or says what to change:
# clamps as (parameter, from, to), and what to drop.
Rule = Callable[[dict[str, Any], Profile], Iterable[tuple[str, float, float] | Dropped]]


@dataclass(frozen=True)
class Table:
    """All parameters of one route."""

    rows: tuple[Parameter, ...]
    rules: tuple[Rule, ...] = ()
    by_name: dict[str, Parameter] = field(init=False)

    def __post_init__(self) -> None:
        by_name = {row.name: row for row in self.rows}
        if len(by_name) != len(self.rows):
            raise ValueError("a parameter stands in the table twice")
        object.__setattr__(self, "by_name", by_name)


def missing(name: str) -> ApiError:
    return ApiError("missing_required_parameter", f"`{name}` is missing.", param=name)
