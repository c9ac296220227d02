"""The format of a custom tool's input: free text, or text that matches a regular expression or a grammar of Lark."""

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

SYNTAXES = ("regex", "lark")
MAX_WRITTEN = 131_072  # characters of what the engine gets for the formats of a request
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
        return {"regex" if self.syntax == "regex" else "grammar": _written(self).whole}

    def in_json(self) -> str:
        """The grammar of a JSON string's inside, for the engine."""
        return _written(self).in_json

    def size(self) -> int:
        """How many characters the engine gets, at most. Raises GrammarFault, PatternFault where it cannot be kept."""
        return max(map(len, _written(self)))


class Written(NamedTuple):
    """A format as engines read it."""

    whole: str
    in_json: str


@lru_cache(maxsize=32)  # agents send the same format with every request; these are 10 MB at most
def _written(form: InputFormat) -> Written:
    if form.syntax == "regex":
        grammar = Grammar({START: regex_tree(form.definition)})
        found = Written(plain_regex(form.definition), escaped_lark_text(grammar))
    else:
        grammar = lark_grammar(form.definition)
        found = Written(lark_text(grammar), escaped_lark_text(grammar))
    if max(map(len, found)) > MAX_WRITTEN:
        raise GrammarFault(
            f"it is longer than {MAX_WRITTEN} characters as the engine reads it; use fewer sets of characters, "
            "and fewer terminals within terminals"
        )
    return found


def check_format(tool: dict[str, Any], place: str, nested: bool) -> InputFormat | None:
    """Raises ApiError where the format in `tool`, which stands at `place`, is none that can be kept.

    `nested`: a grammar stands under `grammar`, as in chat completions. Returns it; none: free text.
    """
    form, place = tool.get("format"), f"{place}.format"
    if not isinstance(form, dict | None):
        raise wrong_type(place, "an object")
    if form is None or form.get("type") == "text":
        return None
    if form.get("type") != "grammar":
        raise wrong_value(f"{place}.type", '"text" or "grammar"')
    holder, place = (form.get("grammar"), f"{place}.grammar") if nested else (form, place)
    if not isinstance(holder, dict):
        raise missing(place) if holder is None else wrong_type(place, "an object")
    if holder.get("syntax") not in SYNTAXES:
        raise wrong_value(f"{place}.syntax", " or ".join(f'"{syntax}"' for syntax in SYNTAXES))
    definition, place = holder.get("definition"), f"{place}.definition"
    if definition is None:
        raise missing(place)
    if not isinstance(definition, str):
        raise wrong_type(place, "a string")
    try:
        found = InputFormat(holder["syntax"], definition)
        found.size()
    except (PatternFault, GrammarFault) as fault:
        raise ApiError("invalid_value", f"`{place}` cannot be used: {fault}.", param=place) from None
    return found


def format_schema(nested: bool) -> dict[str, Any]:
    """JSON Schema of the format of a custom tool's input."""
    grammar = {"syntax": {"enum": list(SYNTAXES)}, "definition": {"type": "string"}}
    inner = {"grammar": {"type": "object", "properties": grammar, "required": list(grammar)}} if nested else grammar
    return {"type": "object", "properties": {"type": {"enum": ["text", "grammar"]}, **inner}, "required": ["type"]}


def format_of(tool: dict[str, Any], nested: bool) -> InputFormat | None:
    """The format in a legal custom tool's fields; none: its input is free text."""
    form = tool.get("format") or {}
    if form.get("type") != "grammar":
        return None
    holder = form["grammar"] if nested else form
    return InputFormat(holder["syntax"], holder["definition"])
