"""The speculative methods that are tried for a model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic
import yaml

from app.config.model_entry import ModelEntry
from contract.fields import explain
from contract.speculation import Drafting, DraftModel, Method, Ngram, Word, from_wire


@dataclass(frozen=True)
class Candidate:
    """One of them."""

    name: str  # unique among those that are tried
    speculation: Word | Method


def candidates(entry: ModelEntry, drafts: Iterable[str], given: Sequence[Word | Method]) -> list[Candidate]:
    """`off`, and each draft model; between them those given, or else n-grams, `auto`, and the entry's own."""
    found: list[Word | Method] = ["off"]
    usual = (Ngram(), "auto", entry.speculation)
    for one in (*(given or usual), *(DraftModel(model=draft) for draft in drafts)):
        if one not in found:
            found.append(one)
    names = [name_of(one) for one in found]
    return [
        Candidate(name if names.count(name) == 1 else f"{name} #{index}", one)
        for index, (name, one) in enumerate(zip(names, found, strict=True), 1)
    ]


def name_of(speculation: Word | Method) -> str:
    """Short enough for a table: the method, the draft length, the draft's name."""
    if isinstance(speculation, str):
        return speculation
    tokens = getattr(speculation, "num_speculative_tokens", None)
    falls = getattr(speculation, "num_speculative_tokens_per_batch_size", None)
    parts = [speculation.method, str(tokens) if tokens else "", "falling" if falls else ""]
    if isinstance(speculation, Drafting) and speculation.model:
        parts.append(Path(speculation.model).name)
    return " ".join(part for part in parts if part)


def parse_speculation(text: str) -> Word | Method:
    """A `speculation:` block in YAML. Raises ValueError."""
    try:
        return from_wire(yaml.safe_load(text))
    except yaml.YAMLError:
        raise ValueError(f"{text!r} is not YAML") from None
    except pydantic.ValidationError as error:
        raise explain(error, "speculation") from None
