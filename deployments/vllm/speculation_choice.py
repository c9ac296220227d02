"""What `speculation: auto` picks for a model, from what is known of the model and a short table of checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass

from contract.speculation import DFlash, DraftModel, Eagle3, Method, Mtp, Ngram, Tier

# The draft length falls where more requests share a batch, as a large batch has no computing power to spare. From each
# of these batch sizes on: all of it, half of it, one token, none.
BATCHES = (1, 17, 65, 129)
LARGEST_BATCH = 1024  # the last tier holds for larger ones too
MOST_MTP_TOKENS = 3


@dataclass(frozen=True)
class Facts:
    """What is known of a model before it is loaded."""

    name: str  # the last part of its hub name or folder
    hidden_size: int
    layers: int
    mtp_tokens: int = 0  # how many tokens its own heads draft; 0 where it has none that the engine can run


@dataclass(frozen=True)
class Listed:
    """A checkpoint that drafts for one model."""

    target: str  # the model's name, without its owner
    hidden_size: int
    layers: int
    method: type[Eagle3] | type[DFlash] | type[DraftModel]
    model: str
    num_speculative_tokens: int
    source: str  # who says that these two belong together
    revision: str | None = None  # the commit of `model`; none: its newest

    def fits(self, facts: Facts) -> bool:
        """Whether this is for the model: its name, or that of a quantized copy, and its shape."""
        name, target = facts.name.lower(), self.target.lower()
        rest = name.removeprefix(target)
        same = rest == "" or (rest != name and any(mark in rest for mark in QUANTIZED))
        return same and (self.hidden_size, self.layers) == (facts.hidden_size, facts.layers)


QUANTIZED = ("fp8", "awq", "gptq", "int4", "int8", "w4a16", "w8a8", "nvfp4", "mxfp4")

RED_HAT = "Red Hat's Speculators collection"
TABLE = (
    Listed("Llama-3.1-8B-Instruct", 4096, 32, Eagle3, "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3", 3,
           "vLLM's documentation of EAGLE"),
    Listed("Llama-3.3-70B-Instruct", 8192, 80, Eagle3, "RedHatAI/Llama-3.3-70B-Instruct-speculator.eagle3", 3, RED_HAT),
    Listed("Qwen3-4B", 2560, 36, DraftModel, "Qwen/Qwen3-0.6B", 3, "the vLLM pull request that added draft models"),
    Listed("Qwen3-8B", 4096, 36, Eagle3, "RedHatAI/Qwen3-8B-speculator.eagle3", 3, RED_HAT,
           "08610ffa01dd9f16731fe8f627b85905b6aa51c4"),
    Listed("Qwen3-14B", 5120, 40, Eagle3, "RedHatAI/Qwen3-14B-speculator.eagle3", 3, RED_HAT),
    Listed("Qwen3-32B", 5120, 64, Eagle3, "RedHatAI/Qwen3-32B-speculator.eagle3", 3, RED_HAT,
           "dc84fe7ff1db31efa824776f49c141fc8195eb47"),
    Listed("Qwen3-Coder-30B-A3B-Instruct", 2048, 48, DFlash, "z-lab/Qwen3-Coder-30B-A3B-DFlash", 15,
           "the authors of DFlash"),
    Listed("gpt-oss-20b", 2880, 24, Eagle3, "RedHatAI/gpt-oss-20b-speculator.eagle3", 3, RED_HAT),
    Listed("gpt-oss-120b", 2880, 36, Eagle3, "RedHatAI/gpt-oss-120b-speculator.eagle3", 3, RED_HAT),
)  # fmt: skip


@dataclass(frozen=True)
class SpeculationChoice:
    """A method, and why it was chosen."""

    method: Method
    reason: str


def choose(facts: Facts, is_there: Callable[[str], bool], table: tuple[Listed, ...] = TABLE) -> SpeculationChoice:
    """The model's own head, else a listed checkpoint that `is_there`, else n-grams; always with a falling length."""
    if facts.mtp_tokens:
        tokens = min(facts.mtp_tokens, MOST_MTP_TOKENS)
        return SpeculationChoice(
            Mtp(num_speculative_tokens=tokens, num_speculative_tokens_per_batch_size=falling(tokens)),
            "the model has a head of its own",
        )
    why = "the model has no head of its own and is not in the table"
    for one in table:
        if not one.fits(facts):
            continue
        if is_there(one.model):
            tokens = one.num_speculative_tokens
            method = one.method(
                model=one.model,
                revision=one.revision,
                num_speculative_tokens=tokens,
                num_speculative_tokens_per_batch_size=falling(tokens),
            )
            return SpeculationChoice(method, f"listed for {one.target} ({one.source})")
        why = f"{one.model}, which is listed for {one.target}, is not to be had from here"
    ngram = Ngram()
    tiers = falling(ngram.num_speculative_tokens)
    return SpeculationChoice(ngram.model_copy(update={"num_speculative_tokens_per_batch_size": tiers}), why)


def falling(tokens: int) -> list[Tier]:
    """A draft length of `tokens` that falls with the batch size, down to none."""
    ends = [*(start - 1 for start in BATCHES[1:]), LARGEST_BATCH]
    tiers: list[Tier] = []
    for start, end, length in zip(BATCHES, ends, (tokens, max(1, tokens // 2), 1, 0), strict=True):
        if tiers and tiers[-1][2] == length:
            tiers[-1] = (tiers[-1][0], end, length)
        else:
            tiers.append((start, end, length))
    return tiers
