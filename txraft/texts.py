"""What somebody wrote, as it is shown in a line."""

import json
import reprlib
from typing import Final

LONGEST_LINE: Final = 1000
"""Characters in which everything that is wrong with a file is told."""


def shown(value: object) -> str:
    """A value as TOML would write it, near enough, in one short line."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def one_line(text: str) -> str:
    """What somebody else wrote, so that it is one line and does no harm to a terminal."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "..."


def brief(value: object) -> str:
    """Anybody's value, as Python's `repr` has it, cut short, in one line; the class alone where that raises."""
    try:
        return " ".join(reprlib.repr(value).split())
    except Exception:  # a whole number of more digits than Python writes, or a class that is somebody else's
        return f"<{type(value).__name__}>"
