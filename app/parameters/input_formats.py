"""The format of a custom tool's input: free text, or text that matches a regular expression or a grammar of Lark."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from app.parameters.grammar_text import escaped_lark_text, lark_text
from app.parameters.grammar_tree import Grammar
from app.parameters.kinds import wrong_type, wrong_value
from app.parameters.lark_grammars import START, lark_grammar
from app.parameters.lark_reader import GrammarFault
from app.parameters.patterns import PatternFault
from app.parameters.plain_regexes import plain_regex
from app.parameters.regex_tree import regex_tree
from app.parameters.row import missing
from contract.errors import ApiError

READERS: dict[str, Callable[[str], Any]] = {"regex": plain_regex, "lark": lark_grammar}
IN_WORDS = {"regex": "The input matches this regular expression", "lark": "The input matches this grammar of Lark"}


class InputFormat(NamedTuple):
    """What the input of a tool has to match, as the client wrote it."""

    syntax: str
    definition: str

    def in_words(self) -> str:
        """For the model."""
        return f"{IN_WORDS[self.syntax]}: {self.definition}"

    def structured_outputs(self) -> dict[str, str]:
        """What holds a whole answer to it, for the engine."""
        if self.syntax == "regex":
            return {"regex": plain_regex(self.definition)}
        return {"grammar": lark_text(lark_grammar(self.definition))}

    def in_json(self) -> str:
        """The grammar of a JSON string's inside, for the engine."""
        return _in_json(self)


@lru_cache(maxsize=64)  # agents send the same format with every request
def _in_json(form: InputFormat) -> str:
    is_regex = form.syntax == "regex"
    grammar = Grammar({START: regex_tree(form.definition)}) if is_regex else lark_grammar(form.definition)
    return escaped_lark_text(grammar)


def check_format(tool: dict[str, Any], place: str, nested: bool) -> int:
    """Raises ApiError where the format in `tool`, which stands at `place`, is none that can be kept.

    `nested`: a grammar stands under `grammar`, as in chat completions. Returns the length of its definition.
    """
    form, place = tool.get("format"), f"{place}.format"
    if not isinstance(form, dict | None):
        raise wrong_type(place, "an object")
    if form is None or form.get("type") == "text":
        return 0
    if form.get("type") != "grammar":
        raise wrong_value(f"{place}.type", '"text" or "grammar"')
    holder, place = (form.get("grammar"), f"{place}.grammar") if nested else (form, place)
    if not isinstance(holder, dict):
        raise missing(place) if holder is None else wrong_type(place, "an object")
    if holder.get("syntax") not in READERS:
        raise wrong_value(f"{place}.syntax", " or ".join(f'"{syntax}"' for syntax in READERS))
    definition, place = holder.get("definition"), f"{place}.definition"
    if definition is None:
        raise missing(place)
    if not isinstance(definition, str):
        raise wrong_type(place, "a string")
    try:
        READERS[holder["syntax"]](definition)
    except (PatternFault, GrammarFault) as fault:
        raise ApiError("invalid_value", f"`{place}` cannot be used: {fault}.", param=place) from None
    return len(definition)


def format_schema(nested: bool) -> dict[str, Any]:
    """JSON Schema of the format of a custom tool's input."""
    grammar = {"syntax": {"enum": list(READERS)}, "definition": {"type": "string"}}
    inner = {"grammar": {"type": "object", "properties": grammar, "required": list(grammar)}} if nested else grammar
    return {"type": "object", "properties": {"type": {"enum": ["text", "grammar"]}, **inner}, "required": ["type"]}


def format_of(tool: dict[str, Any], nested: bool) -> InputFormat | None:
    """The format in a legal custom tool's fields; none: its input is free text."""
    form = tool.get("format") or {}
    if form.get("type") != "grammar":
        return None
    holder = form["grammar"] if nested else form
    return InputFormat(holder["syntax"], holder["definition"])
