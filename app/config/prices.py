"""What the use of a model costs, and what is paid for."""

from typing import Annotated, NamedTuple

from pydantic import Field

from contract.fields import Strict

MILLION = 1_000_000
Price = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Quantities(NamedTuple):
    """What a request used, or many together did."""

    input_tokens: int = 0  # with those that were cached
    cached_tokens: int = 0  # of the input, whose prefill was not computed again
    output_tokens: int = 0
    images: int = 0
    seconds: float = 0.0  # of audio that was transcribed or translated
    characters: int = 0  # of text that was spoken


class Prices(Strict):
    """What a model costs, in the currency of `usage.currency`. What is left out costs nothing."""

    million_input_tokens: Price = 0
    million_cached_tokens: Price | None = Field(
        None, description="of the input, those whose prefill was not computed again; left out: as other input"
    )
    million_output_tokens: Price = 0
    image: Price = 0
    audio_minute: Price = 0
    million_characters: Price = 0

    def millionths(self, used: Quantities) -> int:
        """The cost of `used`, in millionths of the currency, rounded."""
        cached_price = self.million_input_tokens if self.million_cached_tokens is None else self.million_cached_tokens
        return round(
            (used.input_tokens - used.cached_tokens) * self.million_input_tokens
            + used.cached_tokens * cached_price
            + used.output_tokens * self.million_output_tokens
            + used.characters * self.million_characters
            + MILLION * (used.images * self.image + used.seconds / 60 * self.audio_minute)
        )
