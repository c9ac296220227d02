"""The colours of a model's states on a terminal."""

from app.upstream.registry import ASLEEP, FAILED, READY

STATE_COLOURS = {READY: "green", ASLEEP: "cyan", FAILED: "red"}
UNDER_WAY_COLOUR = "yellow"


def colour_of(state: str) -> str:
    return STATE_COLOURS.get(state, UNDER_WAY_COLOUR)
