"""Texts or token ids, one or many: what is embedded, completed, or turned into text."""

from dataclasses import dataclass
from typing import Any

from app.parameters.kinds import Reading, Text, wrong_type, wrong_value
from contract.profile import Profile
from contract.token_limits import MAX_TOKENS, too_many_tokens

MAX_VALUES = 2**19  # in a request; each token id is one; more than MAX_TOKENS: those who send too many read why

Inputs = str | list[Any]


@dataclass(frozen=True, slots=True)
class TextsOrTokens:
    """A string, an array of strings, an array of token ids, or an array of such arrays; nothing of it empty."""

    max_items: int  # of strings, or of arrays

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if isinstance(value, str):
            return Text(1).read(value, name, profile)
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not 1 <= len(value) <= self.max_items and not _is_token(value[0] if value else None):
            raise wrong_value(name, self.description())
        if tokens_together(value) > MAX_TOKENS:  # before anybody looks at each
            raise too_many_tokens(name)
        kind = type(value[0])
        if kind is int and _are_tokens(value):
            return Reading(value)
        for index, item in enumerate(value):
            place = f"{name}.{index}"
            if type(item) is not kind:
                raise wrong_type(place, "of the same type as the first")
            if kind is int and not _is_token(item):
                raise wrong_value(place, "a token id: 0 or more")
            if kind is not int:
                self._check(item, place)
        return Reading(value)

    def description(self) -> str:
        most = self.max_items
        return f"a string, up to {most} strings, token ids, or up to {most} arrays of token ids; none empty"

    def schema(self) -> dict[str, Any]:
        tokens = {"type": "array", "minItems": 1, "items": {"type": "integer"}}
        text = {"type": "string", "minLength": 1}
        arrays = [
            {"type": "array", "minItems": 1, "maxItems": self.max_items, "items": item} for item in (text, tokens)
        ]
        return {"anyOf": [text, tokens, *arrays]}

    def _check(self, item: Any, place: str) -> None:
        if not isinstance(item, (str, list)):
            raise wrong_type(place, "a string, a token id, or an array of token ids")
        if not item:
            raise wrong_value(place, "a string or an array that is not empty")
        if isinstance(item, list) and not _are_tokens(item):
            raise wrong_type(place, "an array of token ids, each an integer that is 0 or more")


@dataclass(frozen=True, slots=True)
class TokenIds:
    """An array of token ids that the model has; it may be empty."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if len(value) > MAX_TOKENS:
            raise too_many_tokens(name)
        if value and not _are_tokens(value):
            raise wrong_type(name, self.description())
        last = profile.limit("last_token_id")
        if value and last is not None and max(value) > last:
            raise wrong_value(name, f"an array of token ids that the model has: 0 to {last}")
        return Reading(value)

    def description(self) -> str:
        return f"an array of up to {MAX_TOKENS} token ids"

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "maxItems": MAX_TOKENS, "items": {"type": "integer", "minimum": 0}}


def how_many(inputs: Inputs) -> int:
    """How many texts or arrays of token ids legal `inputs` are."""
    return 1 if isinstance(inputs, str) or _is_token(inputs[0]) else len(inputs)


def size(inputs: Inputs) -> int:
    """How many characters or token ids legal `inputs` have together."""
    return len(inputs) if isinstance(inputs, str) or _is_token(inputs[0]) else sum(map(len, inputs))


def largest_token(inputs: Inputs) -> int:
    """Of all token ids in legal `inputs`; -1 where they are texts."""
    if isinstance(inputs, str) or isinstance(inputs[0], str):
        return -1
    arrays: list[list[int]] = [inputs] if _is_token(inputs[0]) else inputs
    return max(map(max, arrays))


def tokens_together(inputs: list[Any]) -> int:
    """How many token ids are in `inputs`: in its arrays, or in itself."""
    return len(inputs) if _is_token(inputs[0]) else sum(len(one) for one in inputs if isinstance(one, list))


def _are_tokens(values: list[Any]) -> bool:
    """Quickly, for hundreds of thousands."""
    return set(map(type, values)) == {int} and min(values) >= 0


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
