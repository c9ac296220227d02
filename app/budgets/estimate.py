"""How many tokens a request may use, before any engine has seen it: enough to reserve, settled by the real usage."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from app.background.thread_calls import ThreadCalls

logger = logging.getLogger("portico.budgets")

BYTES_PER_TOKEN = 4
TOKENS_PER_IMAGE = 1024
LOAD_SECONDS = 60.0  # for a tokenizer; several wait for each other
MAX_TOKENIZER_BYTES = 4 * 1024 * 1024  # of tokenizer.json; larger ones take seconds and much memory to load
MAX_CHOICES = 128
# Objects that a prompt has as JSON, in calls of tools and in tools themselves: nothing in them is an image.
JSON_FIELDS = frozenset({"input", "arguments", "input_schema", "parameters"})
MAX_EXACT_BYTES = 16 * 1024  # of text that is tokenized on the event loop, about a millisecond


class CountedFields(NamedTuple):
    """The fields of a route's requests that are counted."""

    prompt: tuple[str, ...]
    limits: tuple[str, ...] = ()  # of the tokens of one choice; none: the answer is no text
    media: frozenset[str] = frozenset()  # fields of parts that hold an image or audio instead of text
    several: str | None = None  # a field whose array may hold prompts, each with a context and choices of its own
    choices: tuple[str, ...] = ("n",)  # the larger of these counts the choices of a prompt
    default_limit: int | None = None  # without a limit; none: the answer may fill the context


class Estimate(NamedTuple):
    """Tokens."""

    prompt: int = 0
    answer: int = 0  # the longest that is allowed, of all choices together

    @property
    def total(self) -> int:
        return self.prompt + self.answer


class Tokenizer(Protocol):
    """What is used of `tokenizers.Tokenizer`."""

    def encode(self, text: str, *, add_special_tokens: bool) -> Any: ...


class Estimator:
    """Estimates for every model; by the model's own tokenizer where its file is here and small."""

    def __init__(self) -> None:
        self._tokenizers: dict[str, Tokenizer] = {}
        self._loads = ThreadCalls("the tokenizers", LOAD_SECONDS)

    async def load(self, model_id: str, location: str) -> None:
        """Load the tokenizer of the model at `location`, if it is a folder with a small one."""
        try:
            if (tokenizer := await self._loads.call(_load, Path(location) / "tokenizer.json")) is not None:
                self._tokenizers[model_id] = tokenizer
        except FileNotFoundError:
            pass  # a hub name, or a folder of another machine
        except Exception:  # the library raises plain exceptions; a file system may hang
            logger.warning("the tokenizer of %s cannot be read; its tokens are estimated from bytes", model_id)

    def estimate(self, model_id: str, request: dict[str, Any], fields: CountedFields, context: int) -> Estimate:
        """Of any JSON request, legal or not. `context` bounds the prompt and one choice of the answer together.

        Where the answer is no text, the prompt is all that the request brings, in one context or many.
        """
        if not fields.limits:
            token_ids = sum(_token_ids(request.get(field)) for field in fields.prompt)
            return Estimate(token_ids or self._prompt(model_id, request, fields))
        prompts = [min(tokens, context) for tokens in self._prompts(model_id, request, fields)]
        limits = [value for field in fields.limits if (value := _count_of(request.get(field)))]
        if not limits and fields.default_limit is not None:
            limits = [fields.default_limit]
        answers = sum(min([*limits, context - tokens]) for tokens in prompts)
        return Estimate(sum(prompts), answers * _choices(request, fields, len(prompts)))

    def _prompts(self, model_id: str, request: dict[str, Any], fields: CountedFields) -> list[int]:
        """Tokens of each prompt; what is not in `several` belongs to every one."""
        common = self._prompt(model_id, request, fields)
        given = request.get(fields.several) if fields.several else None
        if not isinstance(given, list):
            return [common + self._count(model_id, [given] if isinstance(given, str) else [])]
        if not given or isinstance(given[0], int):
            return [common + len(given)]
        given = given[:MAX_CHOICES]  # more are refused
        texts = [one for one in given if isinstance(one, str)]
        exactly = sum(map(len, texts)) <= MAX_EXACT_BYTES
        return [common + self._size(model_id, one, exactly) for one in given]

    def _size(self, model_id: str, prompt: Any, exactly: bool) -> int:
        """Tokens of one prompt, of text or of token ids; 0 for anything else."""
        if isinstance(prompt, list):
            return len(prompt)
        if not isinstance(prompt, str):
            return 0
        return self._count(model_id, [prompt]) if exactly else -(-len(prompt) // BYTES_PER_TOKEN)

    def _prompt(self, model_id: str, request: dict[str, Any], fields: CountedFields) -> int:
        texts: list[str] = []
        images = 0
        for field in fields.prompt:
            for text in texts_in(request.get(field), fields.media):
                if text is None:
                    images += 1
                else:
                    texts.append(text)
        return self._count(model_id, texts) + images * TOKENS_PER_IMAGE

    def _count(self, model_id: str, texts: list[str]) -> int:
        size = sum(map(len, texts))
        tokenizer = self._tokenizers.get(model_id)
        if tokenizer is not None and size <= MAX_EXACT_BYTES:
            return len(tokenizer.encode("\n".join(texts), add_special_tokens=False).ids)
        return -(-size // BYTES_PER_TOKEN)


def _load(path: Path) -> Tokenizer | None:
    """None where the file is too large. Raises FileNotFoundError, and what the library raises."""
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        return None
    from tokenizers import Tokenizer  # noqa: PLC0415 - only where a model has a file for it

    tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    return tokenizer


def _choices(request: dict[str, Any], fields: CountedFields, prompts: int) -> int:
    """How many choices each prompt gets: as many as the rules of the routes leave of what is asked for."""
    temperature = request.get("temperature")
    if isinstance(temperature, (int, float)) and temperature <= 0:
        return 1
    most = MAX_CHOICES // prompts
    return max(min(_count_of(request.get(field)) or 1, most) for field in fields.choices)


def _count_of(value: Any) -> int | None:
    """A legal count, which may be a whole float; none for anything else and for what is not over 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _token_ids(given: Any) -> int:
    """How many token ids stand in an array of them, or in an array of such arrays; looks at the first of each only."""
    if not isinstance(given, list) or not given:
        return 0
    if isinstance(given[0], int):
        return len(given)
    return sum(len(one) for one in given if isinstance(one, list) and one and isinstance(one[0], int))


def texts_in(node: Any, media: frozenset[str]) -> Iterator[str | None]:
    """Every text inside a JSON value; None for each image or audio, which is in one of the fields `media`.

    What a prompt has as JSON is one text, with its names, numbers and marks.
    """
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            for name, value in one.items():
                if name in JSON_FIELDS and isinstance(value, dict):
                    yield json.dumps(value, ensure_ascii=False)
                elif name in media:
                    yield None
                else:
                    waiting.append(value)
