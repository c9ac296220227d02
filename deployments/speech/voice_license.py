"""The licence of a voice, as its card names it, and whether the configuration has to accept it by name."""

import re
from collections.abc import Collection
from pathlib import Path

CARD = "MODEL_CARD"
UNKNOWN = "unknown"
NAMED = re.compile(r"^\W*licen[cs]e\W*:[^\S\n]*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
# Those that permit any use. Compared without case, blanks and punctuation.
FREE = re.compile(
    r"(creativecommons)?(cc0|publicdomain|mit|apache|bsd|unlicense|ccby(sa)?\d|ccattribution|attribution)"
    r"(v|version|\d|license|licence|clause|international|universal|unported|generic|publicdomaindedication)*"
)


class LicenseError(ValueError):
    """A voice's licence is not free, or nobody says which it has, and the configuration does not accept it."""


def license_of(voice: Path, *, alone: bool) -> str:
    """What the card beside the file `voice` names; UNKNOWN without one. `alone`: no other voice is in its folder."""
    cards = [voice.with_name(f"{voice.stem}.{CARD}"), *([voice.with_name(CARD)] if alone else [])]
    card = next((card for card in cards if card.is_file()), None)
    named = NAMED.findall(card.read_text(encoding="utf-8", errors="replace")) if card else []
    # A card may name several, such as that of the recordings: the first that is not free decides.
    return next((one for one in named if not is_free(one)), named[0] if named else UNKNOWN)


def is_free(license: str) -> bool:
    """Whether it is one of those that permit any use, commerce included."""
    return FREE.fullmatch(re.sub(r"[\W_]", "", license.lower())) is not None


def check_accepted(voice: str, license: str, accepted: Collection[str]) -> None:
    """Raises LicenseError."""
    if is_free(license) or license.casefold() in {one.casefold() for one in accepted}:
        return
    says = f"no {CARD} beside it names a licence" if license == UNKNOWN else f"its {CARD} names the licence {license!r}"
    raise LicenseError(
        f"voices: {voice}: {says}, which is not known to permit every use. Read it, and where it permits yours write "
        f"`accept_license: {license}` in engine_kwargs"
    )
