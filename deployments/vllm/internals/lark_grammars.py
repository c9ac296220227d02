"""Grammars in Lark's language, which llguidance holds beside xgrammar, in the engine's process.

vLLM 0.32 has one of them for a whole engine: with xgrammar, an ambiguous grammar can hold the engine for minutes at one
token, and nothing ends that. llguidance has limits. Both write the same masks of tokens.
"""

import json
import logging
from functools import cache
from threading import Lock
from time import thread_time
from typing import Any

from deployments.vllm.structural_tags import has_lark, is_lark, llguidance_grammar

logger = logging.getLogger("portico.vllm")

# Of one token: how many items its row of the parser may have, and all rows that are tried for its mask.
MAX_ITEMS_IN_ROW = 1000
MAX_ITEMS_IN_STEP = 200_000
# Of one answer: seconds of a CPU. An engine serves all of its requests between two such calls.
MAX_SECONDS = 1.0
MAX_SECONDS_EACH = 0.01  # more for every token
MAX_FAULT = 500  # characters of what llguidance says of a grammar; it may repeat all of it
WORD = 32  # bits of a mask's
LOCK = Lock()


def hold_lark_grammars() -> None:
    """Give grammars of Lark, and structural tags with one, to llguidance where the engine's backend is xgrammar."""
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.structured_output import backend_guidance, backend_xgrammar

    validate = backend_xgrammar.validate_xgrammar_grammar
    if holds_lark():
        return

    def validate_each(sampling_params: Any) -> None:
        asked = sampling_params.structured_outputs
        try:
            if asked and asked.grammar and is_lark(asked.grammar):
                _check(asked.grammar)
                return
            if asked and asked.structural_tag and has_lark(tag := json.loads(asked.structural_tag)):
                llguidance_grammar(tag)
                return
        except ValueError as error:
            raise VLLMValidationError(f"Invalid grammar specification: {error}") from error
        validate(sampling_params)

    for backend in (backend_xgrammar.XgrammarBackend, backend_guidance.GuidanceBackend):  # `auto` may take either
        backend.compile_grammar = _compiling_lark(backend.compile_grammar)
    backend_xgrammar.validate_xgrammar_grammar = validate_each


def _compiling_lark(compile_grammar: Any) -> Any:
    """`compile_grammar` of a backend for all but grammars of Lark, and structural tags with one."""
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    def compile_each(self: Any, request_type: Any, grammar_spec: str, *args: Any, **kwargs: Any) -> Any:
        text = None
        if request_type is StructuredOutputOptions.GRAMMAR and is_lark(grammar_spec):
            text = grammar_spec
        elif request_type is StructuredOutputOptions.STRUCTURAL_TAG and has_lark(tag := json.loads(grammar_spec)):
            text = llguidance_grammar(tag, frozenset(self.tokenizer.all_special_tokens))
        return compile_grammar(self, request_type, grammar_spec, *args, **kwargs) if text is None else _held(self, text)

    compile_each.holds_lark = True  # type: ignore[attr-defined]
    return compile_each


def holds_lark() -> bool:
    """Whether `hold_lark_grammars` has run in this process."""
    from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

    return hasattr(XgrammarBackend.compile_grammar, "holds_lark")


def _limits() -> Any:
    from llguidance import LLParserLimits

    return LLParserLimits(max_items_in_row=MAX_ITEMS_IN_ROW, step_max_items=MAX_ITEMS_IN_STEP, verbose_errors=False)


def _check(grammar: str) -> None:
    """Raises ValueError for what llguidance does not read."""
    from llguidance import LLMatcher

    if fault := LLMatcher.validate_grammar(grammar, None, limits=_limits()):
        raise ValueError(fault[:MAX_FAULT])


def _held(backend: Any, grammar: str) -> Any:
    """A matcher of llguidance in the place of one of xgrammar's. Raises ValueError where there is none."""
    from llguidance import LLMatcher

    with LOCK:
        if not hasattr(backend, "llguidance_tokenizer"):
            backend.llguidance_tokenizer = tokenizer_of(backend.tokenizer, backend.vocab_size)
    tokenizer = backend.llguidance_tokenizer
    try:
        matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_limits())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as panic:  # of Rust, which vLLM would not take for a request's failure
        raise ValueError("llguidance failed on a grammar") from panic
    if matcher.is_error():
        raise ValueError(matcher.get_error()[:MAX_FAULT])
    return _guidance_grammar_class()(ll_matcher=matcher, ll_tokenizer=tokenizer, vocab_size=backend.vocab_size)


def tokenizer_of(tokenizer: Any, vocabulary: int) -> Any:
    """An engine's tokenizer for llguidance: seconds to make. Raises ValueError where it has none that fits."""
    from vllm.v1.structured_output.backend_guidance import GuidanceBackend

    try:
        found = GuidanceBackend._build_ll_tokenizer(tokenizer, vocabulary)
    except Exception as error:  # of tokenizers that are not fast, each its own
        raise ValueError("llguidance cannot read the model's tokenizer") from error
    if -(-found.vocab_size // WORD) != -(-vocabulary // WORD):
        raise ValueError("the tokenizer has another vocabulary than the model: their masks of tokens differ")
    return found


@cache
def _guidance_grammar_class() -> Any:
    from vllm.v1.structured_output.backend_guidance import GuidanceGrammar

    class LimitedGrammar(GuidanceGrammar):  # type: ignore[misc]
        """Fails its request where it comes to a limit; llguidance would end the answer there as if it were whole."""

        spent = 0.0
        accepted = 0
        has_failed = False

        def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
            """False leaves the matcher as it was: the engine takes nothing back of a draft that was refused."""
            is_slow = self.spent > MAX_SECONDS + MAX_SECONDS_EACH * self.accepted
            if is_slow or self.has_failed or self.ll_matcher.is_error():
                return False
            began = thread_time()
            is_accepted = super().accept_tokens(request_id, tokens)
            self.spent += thread_time() - began
            self.accepted += len(tokens) if is_accepted else 0
            return bool(is_accepted)

        def rollback(self, num_tokens: int) -> None:
            super().rollback(num_tokens)
            self.accepted -= num_tokens

        def fill_bitmask(self, bitmask: Any, idx: int) -> None:
            """Never raises, which would end the engine: after a fault any token may come, and none is accepted."""
            began = thread_time()
            try:
                super().fill_bitmask(bitmask, idx)
            except Exception:
                logger.exception("no mask of tokens by a grammar")
                self.has_failed = True
                bitmask[idx].fill_(-1)
            self.spent += thread_time() - began

    return LimitedGrammar
