"""How far long work has come: a bar on a terminal, and a line now and then in a log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any, Protocol, TextIO

from tqdm import tqdm

INTERVAL = 10.0
"""Seconds between two lines."""
TICK = 1.0
"""Seconds between two looks at the clock on a terminal."""


class Report(Protocol):
    """What is called with how much is done, and with the total, where that is another one by now."""

    def __call__(self, done: int, total: int | None = None, /) -> None: ...


@contextmanager
def progress(what: str, total: int | None, unit: str, stream: TextIO | None = None) -> Iterator[Report]:
    """Show on `stream`, by default stderr, how much of `total`, where that is known, is done: the context is called
    with that. `unit` is one that comes in thousands, as `B` or ` keys`."""
    stream = stream or sys.stderr
    if stream.isatty():
        bar: tqdm[Any]
        with tqdm(desc=what, total=total, unit=unit, unit_scale=True, file=stream, leave=False) as bar:
            yield lambda done, total=None: _move(bar, done, total)
    else:
        said = monotonic()

        def report(done: int, new_total: int | None = None, /) -> None:
            nonlocal said, total
            total = total if new_total is None else new_total
            if monotonic() - said >= INTERVAL:
                said = monotonic()
                of = "" if total is None else f" of {total:,}"
                print(f"{what}: {done:,}{of}{unit if unit[0] == ' ' else ' ' + unit}", file=stream, flush=True)

        yield report


def say(line: str) -> None:
    """Print a line on stderr, above a bar that may be there."""
    tqdm.write(line, file=sys.stderr)


@contextmanager
def waiting(what: str, stream: TextIO | None = None) -> Iterator[None]:
    """Show on `stream`, by default stderr, how long something takes already that does not say how far it is."""
    stream = stream or sys.stderr
    done = Event()
    show = Thread(target=_tick if stream.isatty() else _tell, args=(what, done, stream), daemon=True)
    show.start()
    try:
        yield
    finally:
        done.set()
        show.join()


def _tick(what: str, done: Event, stream: TextIO) -> None:
    bar: tqdm[Any]
    with tqdm(desc=what, bar_format="{desc}: {elapsed}", file=stream, leave=False) as bar:
        while not done.wait(TICK):
            bar.refresh()


def _tell(what: str, done: Event, stream: TextIO) -> None:
    began = monotonic()
    while not done.wait(INTERVAL):
        print(f"{what}: for {monotonic() - began:.0f} s", file=stream, flush=True)


def _move(bar: "tqdm[Any]", done: int, total: int | None) -> None:
    if total is None:
        bar.update(done - bar.n)
    else:  # who knows it anew each time reports seldom enough for all of it to be shown
        bar.n, bar.total = done, total
        bar.refresh()
