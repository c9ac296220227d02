"""How large a regular expression of a client would become, read in one pass. It is never compiled here."""

import re

MAX_PATTERN_LENGTH = 1024
MAX_GROUP_DEPTH = 32
# The tokens of a pattern. A class ends at the first bracket that ends it in any dialect, so that no repetition hides in
# one; a repetition that is text in some dialects counts.
TOKEN = re.compile(
    r"""
    (?P<open>\((?:\?(?:[:=!]|<[=!]|<\w+>))?) | (?P<close>\)) | (?P<or>\|)
    | (?P<class>\[\^?(?:\\.|[^\]\\])*\])
    | \{(?=,?\d)(?P<low>\d*)(?P<comma>,?)(?P<high>\d*)\}
    | (?P<quantifier>[*+?])
    | (?P<atom>\\[pPu]\{[^{}]*\} | \\. | [^\\\[])
    """,
    re.VERBOSE | re.DOTALL,
)


class PatternFault(Exception):
    """Why a pattern cannot be used; the text is for the client."""


def pattern_size(pattern: str) -> int:
    """How many characters `pattern` has when its repetitions are written out, at least. Raises PatternFault."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise PatternFault(f"a pattern is longer than {MAX_PATTERN_LENGTH} characters")
    sizes = [0]  # of each open group so far
    last = 0  # of what a repetition repeats
    at = 0
    while at < len(pattern):
        token = TOKEN.match(pattern, at)
        if token is None:
            raise PatternFault("a pattern is not a regular expression")
        at = token.end()
        match token.lastgroup:
            case "open":
                sizes.append(0)
                last = 0
                if len(sizes) > MAX_GROUP_DEPTH + 1:
                    raise PatternFault(f"a pattern has groups nested deeper than {MAX_GROUP_DEPTH}")
            case "close":
                last = max(1, sizes.pop())
                if not sizes:
                    raise PatternFault("a pattern is not a regular expression")
                sizes[-1] += last
            case "atom" | "class":
                last = 1
                sizes[-1] += last
            case "or":
                last = 0
            case "quantifier":
                pass
            case _:
                times = max(1, int(token["low"] or 0), int(token["high"] or 0))
                sizes[-1] += last * (times - 1)
                last *= times
    if len(sizes) > 1:
        raise PatternFault("a pattern is not a regular expression")
    return sizes[0]
