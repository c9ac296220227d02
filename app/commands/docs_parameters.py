"""docs/parameters.md, written from the table: `python -m app docs`."""

from collections.abc import Iterable

import orjson

from app.endpoints.catalog import ENDPOINTS
from app.endpoints.endpoint import Endpoint
from app.parameters.patterns import MAX_GROUP_DEPTH, MAX_PATTERN_LENGTH
from app.parameters.request_bounds import MAX_DEPTH, MAX_DROPPED, MAX_FIELDS, MAX_MESSAGES, MAX_PARTS, MAX_VALUES
from app.parameters.row import Parameter, Treatment
from app.parameters.schemas import MAX_BYTES, MAX_NODES, MAX_OPTIONAL, MAX_PATTERN_SIZE
from app.parameters.schemas import MAX_DEPTH as MAX_SCHEMA_DEPTH
from app.parameters.texts_or_tokens import MAX_VALUES as MAX_IDS

INTRO = """# Parameters

<!-- Written by `python -m app docs` from the tables in app/endpoints/. Do not edit by hand. -->

The parameters of each endpoint, their legal values, and what happens beyond those. The rules are the same everywhere:

- A number of the right type outside its range is **clamped** to the nearest legal one.
- A parameter that this model's engine does not support is **dropped**; so is an unknown one.
- What would change the answer and is not supported is **refused** with a 400 that names what to use instead: dropped,
  the answer would look like one that had heeded it.
- A capability that the model lacks is **refused** with a 400 that names it. GET /v1/models/{id} shows, under `portico`,
  what each model can do.
- An explicit `null` means the same as leaving the parameter out. A wrong type is a 400.
- Every change is reported in the header `X-Param-Adjustments`, a Structured Field (RFC 9651), in the order of the body:
  `top_p;action=clamp;from=1.5;to=1.0, logit_bias;action=drop;reason="..."`. No header, no change.
- `"strict_params": true` turns all clamps and drops of a request into one 400 that names them.
- Keys that begin with `runinfra` are reserved, and a 400.
"""
BOUNDS = f"""
What a request in JSON may have at most:

| What | At most | Else |
|---|---|---|
| levels, also in the arguments of function calls | {MAX_DEPTH} | 400 `invalid_json` |
| fields, of the request or of an option | {MAX_FIELDS} | 400 `too_large` |
| unknown fields inside one parameter | {MAX_DROPPED} | 400 `too_large` |
| messages or input items; tool calls in them | {MAX_MESSAGES} | 400 `too_large` |
| content parts of all messages or items | {MAX_PARTS} | 400 `too_large` |
| values in all arrays and objects; of embeddings and completions | {MAX_VALUES}; {MAX_IDS} | 400 `too_large` |
| JSON schemas, all together | {MAX_BYTES} bytes | 422 `invalid_json_schema` |
| objects, arrays and items of arrays in all schemas | {MAX_NODES} | 422 `invalid_json_schema` |
| levels of a schema | {MAX_SCHEMA_DEPTH} | 422 `invalid_json_schema` |
| properties of an object in a schema that are not in `required` | {MAX_OPTIONAL} | 422 `invalid_json_schema` |
| a pattern; levels of groups in it | {MAX_PATTERN_LENGTH} characters; {MAX_GROUP_DEPTH} | 422 `invalid_json_schema` |
| all patterns with their repetitions written out | {MAX_PATTERN_SIZE} characters | 422 `invalid_json_schema` |
"""


def page(endpoints: Iterable[Endpoint] = ENDPOINTS) -> str:
    """The whole page."""
    return INTRO + BOUNDS + "".join(map(_section, endpoints))


def _section(endpoint: Endpoint) -> str:
    table = endpoint.table
    read = [row for row in table.rows if row.treatment not in (Treatment.IGNORE, Treatment.REFUSE)]
    lines = [f"\n## {endpoint.summary}: {endpoint.method} {', '.join(endpoint.paths)}\n"]
    lines += ["| Parameter | Must be | Description | Needs |", "|---|---|---|---|"]
    lines += [f"| `{row.name}` | {_cell(row.kind.description())} | {_cell(row.note)} | {_needs(row)} |" for row in read]
    ignored = [row for row in table.rows if row.treatment is Treatment.IGNORE]
    if ignored:
        lines += ["", "Ignored and reported as such, never an error: "]
        lines[-1] += " ".join(f"`{row.name}` ({row.note[0].lower()}{row.note[1:].rstrip('.')})," for row in ignored)
        lines[-1] = lines[-1].rstrip(",") + "."
    refused = [row for row in table.rows if row.treatment is Treatment.REFUSE]
    if refused:
        lines += ["", "Refused with a 400:", ""]
        lines += [f"- `{row.name}`{_unless(row)}: {row.note}" for row in refused]
    return "\n".join(lines) + "\n"


def _unless(row: Parameter) -> str:
    """The values that are none."""
    values = " or ".join(f"`{orjson.dumps(value).decode()}`" for value in row.absent)
    return values and f" other than {values}"


def _needs(row: Parameter) -> str:
    needs = ["required"] if row.required else []
    needs += [f"capability `{row.capability}`"] if row.capability else []
    needs += [f"feature `{row.feature}`"] if row.feature else []
    needs += ["engine " + ", ".join(row.engines)] if row.engines else []
    return "; ".join(needs)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
