"""How far long work has come: a bar on a terminal, and a line now and then in a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TextIO

from tqdm import tqdm

INTERVAL = 10.0
"""Seconds between two lines."""


@contextmanager
def progress(what: str, total: int, unit: str, stream: TextIO | None = None) -> Iterator[Callable[[int], None]]:
    """Show on `stream`, by default stderr, how much of `total` is done: the context is called with that. `unit` is one
    that comes in thousands, as `B` or ` keys`."""
    stream = stream or sys.stderr
    if stream.isatty():
        bar: tqdm[Any]
        with tqdm(desc=what, total=total, unit=unit, unit_scale=True, file=stream, leave=False) as bar:
            yield lambda done: _move(bar, done)
    else:
        said = monotonic()

        def report(done: int) -> None:
            nonlocal said
            if monotonic() - said >= INTERVAL:
                said = monotonic()
                print(f"{what}: {done:,} of {total:,}{unit if unit[0] == ' ' else ' ' + unit}", file=stream, flush=True)

        yield report


def _move(bar: "tqdm[Any]", done: int) -> None:
    bar.update(done - bar.n)
