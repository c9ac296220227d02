"""JSON as it was sent: its brackets, commas and strings, counted at the speed of memory, before anything parses it."""

from itertools import accumulate

QUOTE = b'"'
STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # what each changes in the depth, as signed bytes
FLAT = b'",'
OTHERS = bytes(set(range(256)) - set(b'[{]}",'))


def marks(text: bytes, most: int) -> bytes | None:
    """Brackets and commas outside of strings, two quotes for each string, in their order; None for more than `most`."""
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(QUOTE) > most:
        return None
    found = (QUOTE * 2).join(plain.split(QUOTE)[::2]).translate(None, OTHERS)
    return found if len(found) <= most else None


def depth(found: bytes) -> int:
    """How many levels the JSON has of which these are the marks, whole or cut off."""
    return max(accumulate(memoryview(found.translate(STEPS, FLAT)).cast("b")), default=0)
