"""Takes a request through its route's table: refuses, drops, clamps, ignores; says what it did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.parameters.adjustments import MAX_NAME_LENGTH
from app.parameters.kinds import UNKNOWN, Flag
from app.parameters.row import Dropped, Parameter, Table, Treatment, missing
from contract.adjustments import Adjustment, refuse_changes
from contract.errors import ApiError
from contract.profile import Profile

RESERVED_PREFIX = "runinfra"
STRICT = "strict_params"


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A request that is legal for its model."""

    kept: dict[str, Any]  # what goes to the engine or is read by the gateway; legal values
    accepted: dict[str, Any]  # checked, without effect on the answer: user, metadata, ...
    adjustments: tuple[Adjustment, ...]  # in body order

    def clamped_further(self, clamps: Sequence[tuple[str, float, float]], request: Iterable[str]) -> "Adjusted":
        """With what the engine clamped: (parameter, from, to). `request` has the parameters in body order."""
        if not clamps:
            return self
        place = {name: index for index, name in enumerate(request)}
        every = [*self.adjustments, *(Adjustment(name, "clamp", before, after) for name, before, after in clamps)]
        every.sort(key=lambda one: place.get(one.name, len(place)))
        return replace(self, adjustments=tuple(every))


def adjust(table: Table, request: dict[str, Any], profile: Profile) -> Adjusted:
    """`request` made legal for the model of `profile`. Null fields must be gone already.

    Raises ApiError for what cannot be made legal, and under `strict_params` for everything that would be changed. The
    cost does not grow with the length of texts. Doing it again changes nothing.
    """
    strict = Flag().read(request.get(STRICT, False), STRICT, profile).value
    kept: dict[str, Any] = {}
    accepted: dict[str, Any] = {}
    made: dict[str, list[Adjustment]] = {}  # by the parameter they belong to
    for name, value in request.items():
        if name == STRICT:
            continue
        row = table.by_name.get(name)
        if row is not None and value in row.absent:
            continue
        adjustment = _unread(row, name, profile)
        if adjustment is not None:
            made[name] = [adjustment]
            continue
        assert row is not None  # noqa: S101 - `_unread` answers for every unknown name
        reading = row.kind.read(value, name, profile)
        (accepted if row.treatment is Treatment.ACCEPT else kept)[name] = reading.value
        if reading.clamped:
            made[name] = [Adjustment(name, "clamp", *reading.clamped)]
        elif reading.dropped:
            made[name] = [Adjustment(_short(f"{name}.{inner}"), "drop", reason=why) for inner, why in reading.dropped]
    for row in table.rows:
        if row.required and row.name not in kept:
            raise missing(row.name)
    for rule in table.rules:
        for change in rule(kept, profile):
            if isinstance(change, Dropped):
                del kept[change.name]
                made[change.name] = [Adjustment(change.name, "drop", reason=change.reason)]
                continue
            name, before, after = change
            kept[name] = after
            first = made[name][0].before if name in made else before
            made[name] = [Adjustment(name, "clamp", first, after)]
    adjustments = tuple(one for name in request for one in made.get(name, ()))
    if strict:
        refuse_changes(adjustments)
    return Adjusted(kept, accepted, adjustments)


def _unread(row: Parameter | None, name: str, profile: Profile) -> Adjustment | None:
    """The adjustment of a parameter whose value need not be read; raises ApiError where it is refused by name."""
    if row is None:
        if name.lower().startswith(RESERVED_PREFIX):
            raise ApiError("unsupported_parameter", f"`{_short(name)}` is reserved. Leave it out.", param=_short(name))
        return Adjustment(_short(name), "drop", reason=UNKNOWN)
    if row.treatment is Treatment.REFUSE:
        raise ApiError("unsupported_parameter", f"`{name}` is not supported: {row.note}", param=name)
    if row.treatment is Treatment.IGNORE:
        return Adjustment(name, "ignore")
    if row.engines and profile.engine not in row.engines:
        return Adjustment(name, "drop", reason=f"not supported by {profile.engine}")
    if row.feature is not None and row.feature in profile.lacks:
        return Adjustment(name, "drop", reason=profile.lacks[row.feature])
    if row.capability is not None and row.capability not in profile.capabilities:
        raise lacking(row.capability, name)
    return None


def lacking(capability: str, name: str) -> ApiError:
    """The error of a request that needs a capability which the model lacks."""
    return ApiError(
        "unsupported_capability",
        f"This model does not have the capability `{capability}`, which `{name}` needs. GET /v1/models/{{id}} shows "
        "what each model can do.",
        param=name,
    )


def _short(name: str) -> str:
    return name[:MAX_NAME_LENGTH]
