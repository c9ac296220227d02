"""Grammars of custom tools in Lark's language, and what Lark itself takes their texts for."""

import re
from typing import Any

# That of Codex for its tool `apply_patch`.
PATCHES = """\
start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?

hunk: add_hunk | delete_hunk | update_hunk
add_hunk: "*** Add File: " filename LF add_line+
delete_hunk: "*** Delete File: " filename LF
update_hunk: "*** Update File: " filename LF change_move? change?

filename: /(.+)/
add_line: "+" /(.*)/ LF -> line

change_move: "*** Move to: " filename LF
change: (change_context | change_line)+ eof_line?
change_context: ("@@" | "@@ " /(.+)/) LF
change_line: ("+" | "-" | " ") /(.*)/ LF
eof_line: "*** End of File" LF

%import common.LF
"""
# The same by hand: Lark itself refuses the terminals of that grammar that may be empty.
IS_PATCH = re.compile(
    r"""
    \*{3}\ Begin\ Patch\n
    (?: \*{3}\ Add\ File:\ .+\n (?:\+.*\n)+
      | \*{3}\ Delete\ File:\ .+\n
      | \*{3}\ Update\ File:\ .+\n (?:\*{3}\ Move\ to:\ .+\n)?
        (?: (?: @@(?:\ .+)?\n | [-+\ ].*\n )+ (?:\*{3}\ End\ of\ File\n)? )?
    )+
    \*{3}\ End\ Patch\n?
    """,
    re.VERBOSE,
)
PATCH = '*** Begin Patch\n*** Update File: a "b".txt\n@@ def\n-a\\n\tq\n+b é\n*** Add File: x\n+\n*** End Patch\n'
# Random text of it ends soon, and has what JSON escapes.
PAIRS = r"""
start: pair~2..3 "!" [LF]
pair: KEY "=" value ("," | ";" LF)
?value: "(" value ")" | /"[a-c"\\]{1,4}"/ -> text | "0".."3"
KEY.2: LETTER~1..3 | "é"i
LETTER: /[x-z]/
%import common (LF)
"""


def is_of(definition: str, text: str) -> bool:
    """Whether Lark reads a text by a grammar."""
    from lark import Lark
    from lark.exceptions import UnexpectedInput

    parser = Lark(definition, parser="earley", lexer="dynamic_complete")
    try:
        parser.parse(text)
    except UnexpectedInput:
        return False
    return True


def lark_format(definition: str) -> dict[str, Any]:
    """Of a custom tool of a response."""
    return {"type": "grammar", "syntax": "lark", "definition": definition}
