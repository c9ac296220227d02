"""Grammars in Lark's language, which llguidance holds beside xgrammar, in the engine's process.

vLLM 0.32 has one of them for a whole engine: with xgrammar, an ambiguous grammar can hold the engine for minutes at one
token, and nothing ends that. llguidance has limits. Both write the same masks of tokens.
"""

import json
from functools import cache
from threading import Lock
from time import thread_time
from typing import Any

from deployments.vllm.structural_tags import has_lark, is_lark, llguidance_grammar

# Of one token: how many items its row of the parser may have, and all rows that are tried for its mask.
MAX_ITEMS_IN_ROW = 1000
MAX_ITEMS_IN_STEP = 200_000
# Of one answer: seconds of a CPU. An engine serves all of its requests between two such calls.
MAX_SECONDS = 1.0
MAX_SECONDS_EACH = 0.01  # more for every token
LOCK = Lock()


def hold_lark_grammars() -> None:
    """Give grammars of Lark, and structural tags with one, to llguidance where the engine's backend is xgrammar."""
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.structured_output import backend_xgrammar
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    backend = backend_xgrammar.XgrammarBackend
    compile_grammar, validate = backend.compile_grammar, backend_xgrammar.validate_xgrammar_grammar
    if holds_lark():
        return

    def compile_each(self: Any, request_type: Any, grammar_spec: str, *args: Any, **kwargs: Any) -> Any:
        text = None
        if request_type is StructuredOutputOptions.GRAMMAR and is_lark(grammar_spec):
            text = grammar_spec
        elif request_type is StructuredOutputOptions.STRUCTURAL_TAG and has_lark(tag := json.loads(grammar_spec)):
            text = llguidance_grammar(tag, frozenset(self.tokenizer.all_special_tokens))
        return compile_grammar(self, request_type, grammar_spec, *args, **kwargs) if text is None else _held(self, text)

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

    compile_each.holds_lark = True  # type: ignore[attr-defined]
    backend.compile_grammar = compile_each
    backend_xgrammar.validate_xgrammar_grammar = validate_each


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
        raise ValueError(fault)


def _held(backend: Any, grammar: str) -> Any:
    """A matcher of llguidance in the place of one of xgrammar's."""
    from llguidance import LLMatcher

    tokenizer = _tokenizer(backend)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_limits())
    if matcher.is_error():
        raise ValueError(matcher.get_error())
    return _guidance_grammar_class()(ll_matcher=matcher, ll_tokenizer=tokenizer, vocab_size=backend.vocab_size)


def _tokenizer(backend: Any) -> Any:
    """The engine's tokenizer for llguidance: seconds to make, once."""
    from vllm.v1.structured_output.backend_guidance import GuidanceBackend

    with LOCK:
        if not hasattr(backend, "llguidance_tokenizer"):
            backend.llguidance_tokenizer = GuidanceBackend._build_ll_tokenizer(backend.tokenizer, backend.vocab_size)
    return backend.llguidance_tokenizer


@cache
def _guidance_grammar_class() -> Any:
    from vllm.v1.structured_output.backend_guidance import GuidanceGrammar

    class LimitedGrammar(GuidanceGrammar):  # type: ignore[misc]
        """Fails its request where it comes to a limit; llguidance would end the answer there as if it were whole."""

        spent = 0.0
        accepted = 0

        def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
            began = thread_time()
            is_accepted = super().accept_tokens(request_id, tokens)
            self.spent += thread_time() - began
            self.accepted += len(tokens)
            is_slow = self.spent > MAX_SECONDS + MAX_SECONDS_EACH * self.accepted
            return is_accepted and not is_slow and not self.ll_matcher.is_error()

        def fill_bitmask(self, bitmask: Any, idx: int) -> None:
            began = thread_time()
            super().fill_bitmask(bitmask, idx)
            self.spent += thread_time() - began

    return LimitedGrammar
