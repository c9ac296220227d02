"""What was changed in a request to make it legal for its model, and the refusal of that under `strict_params`."""

from collections.abc import Sequence
from dataclasses import dataclass

from contract.errors import ApiError

Changed = float | str  # a number, or a text that holds numbers, such as a size


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One changed parameter."""

    name: str
    action: str  # clamp, drop, ignore
    before: Changed | None = None  # for a clamp
    after: Changed | None = None
    reason: str | None = None  # for a drop

    def description(self) -> str:
        """For a person."""
        if self.action == "clamp":
            after = f"{self.after:g}" if isinstance(self.after, (int, float)) else self.after
            return f"`{self.name}` would become {after}"
        return f"`{self.name}` would be dropped ({self.reason})"


def refuse_changes(adjustments: Sequence[Adjustment]) -> None:
    """Under strict_params: one 400 that names all clamps and drops. What is ignored by contract is no fault."""
    changed = [one for one in adjustments if one.action != "ignore"]
    if changed:
        message = "; ".join(one.description() for one in changed)
        code = "invalid_value" if changed[0].action == "clamp" else "unsupported_parameter"
        raise ApiError(code, f"`strict_params` is set, and {message}.", param=changed[0].name)
