"""xgrammar's structural tags as grammars of llguidance: for answers whose tool calls hold a grammar.

A structural tag says where in an answer a call may begin and what it then is. llguidance has the same in Lark's
language, with JSON schemas and grammars under names.
"""

import json
import re
from collections.abc import Container
from typing import Any

TEXT = r"/(.|\n)*/"
NO_TEXT: frozenset[str] = frozenset()
LISTS = {"sequence": " ", "or": " | "}
# What a JSON schema has schemas in: itself or in a list; under names; and what makes it one of objects that are known.
SCHEMAS = frozenset({"items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"})
NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
OBJECTS = frozenset({"properties", "patternProperties"})
CLIENTS = frozenset({"json_schema", "schema"})  # fields of a tag with what clients wrote
TIMES = {"optional": "?", "plus": "+", "star": "*"}


def is_lark(grammar: str) -> bool:
    """Whether a grammar is in Lark's language; else it is in xgrammar's, as are those that vLLM makes itself."""
    return "::=" not in grammar


def has_lark(tag: Any) -> bool:
    """Whether a grammar in Lark's language is somewhere in a structural tag, which is plain JSON."""
    if isinstance(tag, dict):
        if tag.get("type") == "grammar":
            return is_lark(tag["grammar"])
        return any(has_lark(inner) for name, inner in tag.items() if name not in CLIENTS)
    return isinstance(tag, list) and any(map(has_lark, tag))


def llguidance_grammar(tag: dict[str, Any], special: Container[str] = NO_TEXT) -> str:
    """The grammar of a structural tag; `special` are the texts that are one token to the model and no text.

    Raises ValueError where the tag has a format that has no such form.
    """
    return _Writer(special).write(tag["format"])


class _Writer:
    def __init__(self, special: Container[str]) -> None:
        self._special = special
        self._rules: list[str] = []
        self._inner: list[dict[str, Any]] = []  # the schemas and grammars that rules name

    def write(self, form: dict[str, Any]) -> str:
        start = self._of(form)
        rules = "\n".join(["%llguidance {}", f"start: {start}", *self._rules])
        return json.dumps({"grammars": [{"lark_grammar": rules + "\n"}, *self._inner]})

    def _of(self, form: dict[str, Any]) -> str:
        """What stands for a format in a rule."""
        match form["type"]:
            case "const_string":
                return self._constant(form["value"])
            case "any_text" if not _is_bounded(form):
                return self._text(form)
            case "regex" if not form.get("excludes"):
                return f"/{form['pattern'].replace('/', chr(92) + '/')}/"
            case "grammar":
                return self._named({"lark_grammar": form["grammar"]})
            case "json_schema" if form.get("style", "json") == "json":
                return self._named({"json_schema": _schema(form)})
            case "sequence" | "or" as kind:
                return f"({LISTS[kind].join(map(self._of, form['elements']))})"
            case "optional" | "plus" | "star" as kind:
                return f"({self._of(form['content'])}){TIMES[kind]}"
            case "tag" if isinstance(form["begin"], str):
                return self._tag(form, form["begin"])
            case "tags_with_separator":
                return self._tags(form)
            case "triggered_tags":
                return self._triggered(form)
        raise ValueError(f"a format of type {form['type']} in a structural tag cannot be written for llguidance")

    def _tag(self, form: dict[str, Any], begin: str) -> str:
        ends = form["end"] if isinstance(form["end"], list) else [form["end"]]
        if not all(isinstance(end, str) for end in ends):
            raise ValueError("a tag that ends with a token cannot be written for llguidance")
        return f"({self._constant(begin)} {self._of(form['content'])} ({' | '.join(map(self._constant, ends))}))"

    def _tags(self, form: dict[str, Any]) -> str:
        one = f"({' | '.join(map(self._of, form['tags']))})"
        more = "" if form.get("stop_after_first") else f" ({self._constant(form['separator'])} {one})*"
        return f"({one}{more})" + ("" if form.get("at_least_one") else "?")

    def _triggered(self, form: dict[str, Any]) -> str:
        """Text in which each trigger begins one of its tags."""
        options, text = [], self._text(form)
        for trigger in form["triggers"]:
            tags = [tag for tag in form["tags"] if tag["begin"].startswith(trigger)]
            rests = " | ".join(self._tag(tag, tag["begin"][len(trigger) :]) for tag in tags)
            name = f"trigger{len(self._rules)}"
            if trigger in self._special:
                self._rules.append(f"{name}: {text} {trigger}")
            else:
                self._rules.append(f"{name}[lazy]: {text} {json.dumps(trigger)}")
            options.append(f"{name} ({rests})")
        one = f"({' | '.join(options)})"
        if form.get("stop_after_first"):
            return one if form.get("at_least_one") else f"({one} | {text})"
        return f"({one}{'+' if form.get('at_least_one') else '*'} {text})"

    def _text(self, form: dict[str, Any]) -> str:
        """Any text, or what has none of those in it that are excluded."""
        if not form.get("excludes"):
            return TEXT
        name = f"TEXT{len(self._rules)}"
        none = "|".join("".join(f"\\x{{{ord(one):x}}}" for one in text) for text in form["excludes"])
        self._rules.append(f"{name}: {TEXT} & ~/(.|\\n)*({none})(.|\\n)*/")
        return name

    def _constant(self, text: str) -> str:
        """A text, in which tokens that are no text to the model stand as such."""
        parts = [part for part in re.split(r"(<[^<>\s]+>)", text) if part]
        return " ".join(part if part in self._special else json.dumps(part) for part in parts) or '""'

    def _named(self, inner: dict[str, Any]) -> str:
        name = f"inner{len(self._inner)}"
        self._inner.append({"name": name} | inner)
        return f"@{name}"


def _is_bounded(form: dict[str, Any]) -> bool:
    return form.get("max_tokens") is not None or form.get("max_chars") is not None


def _schema(form: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema with what llguidance has to know: which blanks are legal, and to read past what it lacks."""
    schema = form["json_schema"]
    plain = _closed(schema) if isinstance(schema, dict) else ({} if schema else {"not": {}})
    blanks = {"whitespace_flexible": form.get("max_whitespace_cnt") is None}
    return plain | {"x-guidance": blanks | {"lenient": True}}


def _closed(schema: Any) -> Any:
    """A schema whose objects have no properties but those that it names, as xgrammar reads it."""
    if isinstance(schema, list):
        return list(map(_closed, schema))
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(inner) if name in SCHEMAS else inner for name, inner in schema.items()}
    found |= {name: {key: _closed(one) for key, one in found[name].items()} for name in NAMED & found.keys()}
    return {"additionalProperties": False} | found if OBJECTS & found.keys() else found
