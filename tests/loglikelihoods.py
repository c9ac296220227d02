"""How likely a text is after another, by the weights of `pocket-chat` themselves: what services are compared with."""

from functools import cache
from typing import Any, NamedTuple

from contract.project import PROJECT_FOLDER

FOLDER = PROJECT_FOLDER / "local_models" / "pocket-chat"


class Likelihood(NamedTuple):
    """Of a continuation: the sum of its tokens' log probabilities, and whether each is the likeliest."""

    logprob: float
    is_greedy: bool


def of_text(context: str, continuation: str) -> Likelihood:
    """The context's own tokens are the beginning of those of both together."""
    tokenizer, _ = _loaded()
    length = len(tokenizer.encode(context))
    both = tokenizer.encode(context + continuation)
    return of_tokens(both[:length], both[length:])


def of_tokens(context: list[int], continuation: list[int]) -> Likelihood:
    import torch

    _, model = _loaded()
    with torch.inference_mode():
        logprobs = model(torch.tensor([context + continuation])).logits[0, len(context) - 1 : -1].log_softmax(-1)
    each = logprobs[range(len(continuation)), continuation]
    return Likelihood(float(each.sum()), bool((logprobs.argmax(-1) == torch.tensor(continuation)).all()))


def likeliest(context: list[int]) -> int:
    """The token that follows."""
    import torch

    _, model = _loaded()
    with torch.inference_mode():
        return int(model(torch.tensor([context])).logits[0, -1].argmax())


@cache
def _loaded() -> tuple[Any, Any]:
    """The tokenizer and the model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER), AutoModelForCausalLM.from_pretrained(FOLDER, dtype="float32")
