"""Takes a request through its endpoint's table: refuses, drops, clamps, ignores; reports what it did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.parameters.adjustments import MAX_NAME_LENGTH
from app.parameters.kinds import UNKNOWN, Flag, PlacedSchema
from app.parameters.request_bounds import MAX_DROPPED, check_count
from app.parameters.row import Dropped, Parameter, Replaced, Table, Treatment, missing
from contract.adjustments import Adjustment, refuse_changes
from contract.errors import ApiError
from contract.profile import Profile

RESERVED_PREFIX = "runinfra"
STRICT = "strict_params"


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A request that is legal for its model."""

    engine: dict[str, Any]  # what the engine gets
    gateway: dict[str, Any]  # what the gateway acts on itself
    accepted: dict[str, Any]  # without effect on what is generated: user, metadata, ...
    adjustments: tuple[Adjustment, ...]  # in body order
    schemas: tuple[PlacedSchema, ...] = ()  # to be checked before the engine gets them

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
    cost does not grow with the length of texts. Doing it again changes nothing. JSON schemas are left to be checked.
    """
    strict = Flag().read(request.get(STRICT, False), STRICT, profile).value
    legal: dict[str, Any] = {}
    changes: dict[str, list[Adjustment]] = {}  # by the parameter they belong to
    schemas: list[PlacedSchema] = []
    for name, value in request.items():
        if name == STRICT:
            continue
        row = table.by_name.get(name)
        if row is not None and _is_absent(row, value, profile):
            continue
        adjustment = _unread(row, name, profile)
        if adjustment is not None:
            changes[name] = [adjustment]
            continue
        assert row is not None  # noqa: S101 - `_unread` answers for every unknown name
        if row.name in legal:
            message = f"`{name}` and `{row.name}` are names of one parameter. Send it once."
            raise ApiError("invalid_value", message, param=name)
        reading = row.kind.read(value, name, profile)
        legal[row.name] = reading.value
        schemas += reading.schemas
        if reading.clamped:
            changes[name] = [Adjustment(name, "clamp", *reading.clamped)]
        if reading.dropped:
            check_count(reading.dropped, MAX_DROPPED, "unknown fields", name)
            changes.setdefault(name, []).extend(
                Adjustment(_short(f"{name}.{inner}"), "drop", reason=why) for inner, why in reading.dropped
            )
    for name in table.required:
        if name not in legal:
            raise missing(name)
    _apply_rules(table, profile, legal, changes)
    adjustments = tuple(one for name in request for one in changes.get(name, ()))
    if strict:
        refuse_changes(adjustments)
    parts: dict[Treatment, dict[str, Any]] = {Treatment.FORWARD: {}, Treatment.GATEWAY: {}, Treatment.ACCEPT: {}}
    for name, value in legal.items():
        parts[table.by_name[name].treatment][name] = value
    return Adjusted(
        parts[Treatment.FORWARD], parts[Treatment.GATEWAY], parts[Treatment.ACCEPT], adjustments, tuple(schemas)
    )


def _apply_rules(table: Table, profile: Profile, legal: dict[str, Any], changes: dict[str, list[Adjustment]]) -> None:
    """Take `legal` through the rules over several parameters; both dicts are changed in place."""
    for rule in table.rules:
        for change in rule(legal, profile):
            if isinstance(change, Dropped):
                del legal[change.name]
                changes[change.name] = [Adjustment(change.name, "drop", reason=change.reason)]
                continue
            if isinstance(change, Replaced):
                legal[change.name] = change.value
                drop = Adjustment(change.part, "drop", reason=change.reason)
                changes.setdefault(change.name, []).append(drop)
                continue
            name, before, after = change
            legal[name] = after
            first = changes[name][0].before if name in changes else before
            changes[name] = [Adjustment(name, "clamp", first, after)]


def _is_absent(row: Parameter, value: Any, profile: Profile) -> bool:
    """Whether this value equals leaving the parameter out, with the model of `profile`."""
    if value in row.needless:
        return row.feature in profile.lacks or row.capability not in (None, *profile.capabilities)
    return value in row.absent


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
