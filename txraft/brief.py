"""Anybody's value in a line."""

import reprlib


def brief(value: object) -> str:
    """What Python's `repr` says, cut short, in one line; the class alone where that raises."""
    try:
        return " ".join(reprlib.repr(value).split())
    except Exception:  # a whole number of more digits than Python writes, or a class that is somebody else's
        return f"<{type(value).__name__}>"
