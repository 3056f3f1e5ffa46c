"""A log that nobody outside can fill, and how what strangers send appears in it (hazard N5)."""

from collections import deque
from collections.abc import Hashable
from typing import Any

from attrs import Factory, define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel


def shown(sent: object, length: int = 60) -> str:
    """Text that somebody else chose, fit for a line: escaped, and no longer than `length` characters."""
    text = str(sent)[: length + 1].encode("unicode_escape").decode("ascii")
    return text if len(text) <= length else text[: length - 3] + "..."


@define(eq=False)
class _Kind:
    """The lines of one kind."""

    written: deque[float] = Factory(deque)
    """When the latest were written."""
    left_out: int = 0
    """How many came since, and were not written."""
    latest: tuple[Any, str, dict[str, Any]] | None = None
    """The last one of those."""
    call: IDelayedCall | None = None
    """Will write it."""


@define(eq=False)
class LimitedLog:
    """Of each kind, at most `burst` lines in `interval` seconds are written.

    What comes beyond that is counted. As soon as there is room again, the latest of it is written with that number: so
    what the log says last is how things are, at most `interval` later. There must be a bound on the kinds: a stranger
    may not choose them.
    """

    _log: Logger
    _clock: IReactorTime
    _burst: int
    _interval: float
    _kinds: dict[Hashable, _Kind] = Factory(dict)

    def info(self, kind: Hashable, line: str, /, **values: Any) -> None:
        """Write a line at level info: a format, as Logger's, and what goes into it."""
        self._emit(LogLevel.info, kind, line, values)

    def warn(self, kind: Hashable, line: str, /, **values: Any) -> None:
        """Write a line at level warn, as `info` does."""
        self._emit(LogLevel.warn, kind, line, values)

    def forget(self, kind: Hashable) -> None:
        """Let the next line of this kind be the first one."""
        known = self._kinds.pop(kind, None)
        if known is not None and known.call is not None:
            known.call.cancel()

    def stop(self) -> None:
        """Forget everything."""
        for kind in list(self._kinds):
            self.forget(kind)

    def _emit(self, level: Any, kind: Hashable, line: str, values: dict[str, Any]) -> None:
        known, now = self._kinds.setdefault(kind, _Kind()), self._clock.seconds()
        while known.written and known.written[0] + self._interval <= now:
            known.written.popleft()
        if len(known.written) < self._burst:
            known.written.append(now)
            self._log.emit(level, line, **values)
            return
        known.left_out += 1
        known.latest = level, line, values
        if known.call is None:
            known.call = self._clock.callLater(known.written[0] + self._interval - now, self._catch_up, known)

    def _catch_up(self, known: _Kind) -> None:
        assert known.latest is not None
        level, line, values = known.latest
        more, known.call, known.latest, known.left_out = known.left_out - 1, None, None, 0
        known.written.popleft()
        known.written.append(self._clock.seconds())
        self._log.emit(level, line + " ({more} more like it were left out)" * bool(more), more=more, **values)
