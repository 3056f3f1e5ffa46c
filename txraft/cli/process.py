"""What a node's process is beside the node: garbage collection, signals, the user, and the end.

A process that `twistd` or `twist` runs is the node's own, so all of this is the node's to set. An embedder's is not.
"""

import atexit
import gc
import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from txraft.errors import MemberRemoved, SettingsError, TxraftError
from txraft.storage.directory import name_of_user

log = Logger()

STOP_WITHIN = 10.0
"""Seconds in which a node must have stopped, after an election timeout in which a leader hands over."""
LAST_WORDS = 1.0
"""Seconds for the line that says why a process ends by force. The log may be on the disk that hangs."""


@contextmanager
def sparing_what_stays() -> Iterator[None]:
    """Make in here what stays: modules, and the log. It is never looked through for garbage, meanwhile nor later.

    The log is hundreds of thousands of objects that stay and form no cycles. To look through a million of them for
    some stops the reactor for 0.2 to 0.5 s, and a leader of 5,000 writes a second was deposed for it every 200 s.

    So what comes later is looked through twice, soon after it is made, in portions of ten and twenty thousand, which
    takes 3 ms; and never again, for the third threshold is out of reach.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
        gc.set_threshold(10_000, 1, 10_000)
    finally:
        gc.enable()


@contextmanager
def acting_as(uid: int | None, gid: int | None) -> Iterator[None]:
    """Be the user and the groups that the process becomes later, so that what is made meanwhile is theirs.

    None means the present ones. Raises SettingsError where the process may not become them.
    """
    before = os.geteuid(), os.getegid(), os.getgroups()
    try:
        _become(uid, gid)
        yield
    finally:
        if os.geteuid() != before[0]:
            os.seteuid(before[0])
        if (os.getegid(), os.getgroups()) != before[1:]:
            os.setgroups(before[2])
            os.setegid(before[1])


def _become(uid: int | None, gid: int | None) -> None:
    try:
        if gid is not None:
            os.setegid(gid)
        if uid is not None and uid != os.geteuid():
            os.initgroups(pwd.getpwuid(uid).pw_name, os.getegid())
            os.seteuid(uid)
    except OSError as error:
        line = f"cannot run as user {uid}, group {gid}: {error.strerror}; only root can choose"
        raise SettingsError(line) from error
    except OverflowError as error:
        raise SettingsError(f"cannot run as user {uid}, group {gid}: no id is so large") from error


class FilesOfUser(Service):
    """The log and the pid file, which twistd makes as root, of a node that goes on as another user.

    They are given to that user, because twistd rotates only a log that the process owns, and is silent where it cannot.
    """

    def __init__(self, uid: int | None, gid: int | None, files: Mapping[Path, str]) -> None:
        """`files` says of each what becomes of it where the user may not write in its directory."""
        self._uid, self._gid, self._files = uid, gid, files

    def warn(self) -> None:
        """Say at the start, in one line, what the user will not be able to do. Raises SettingsError as `acting_as`."""
        with acting_as(self._uid, self._gid):
            stuck = [
                f"{path} {consequence}"
                for path, consequence in self._files.items()
                if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True)
            ]
        if stuck:
            who = name_of_user(os.geteuid() if self._uid is None else self._uid)
            line = (
                f"{' and '.join(stuck)}, because {who} may not write in its directory; name a file in a directory of"
                " theirs with twistd's --logfile and --pidfile"
            )
            print(f"txraft: {line}", file=sys.stderr, flush=True)
            log.warn("{line}", line=line)

    def privilegedStartService(self) -> None:
        """Give them away, as root, now that they are there."""
        for path in self._files:
            with suppress(OSError):  # then it is as without
                give_away(path, -1 if self._uid is None else self._uid, -1 if self._gid is None else self._gid)


def give_away(path: Path, uid: int, gid: int) -> None:
    """Give a file away, and nothing else: neither a device nor what the user linked there. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            os.fchown(descriptor, uid, gid)
    finally:
        os.close(descriptor)


REMOVED = 3
"""The exit status of a node that was removed from its cluster. The systemd unit does not start it again."""


@define(eq=False)
class Ending:
    """How the process ends. Its exit status is 0 after a clean stop, at SIGTERM too; after a failure 1, or REMOVED."""

    reactor: Any
    patience: float
    """Seconds in which a stop must be done. Then the process ends by force: a disk may hang for ever."""
    _failed: bool = field(default=False, init=False)

    def prepare(self) -> None:
        """Before the reactor runs."""
        self.reactor.callWhenRunning(self._take_signals)
        self.reactor.addSystemEventTrigger("before", "shutdown", self._limit_the_stop)

    def fail(self, error: TxraftError) -> None:
        """The node cannot go on: say why in one line, and stop."""
        if self._failed:  # a disk that fails one file fails the other too
            return
        self._failed = True
        with suppress(OSError):  # the disk may be full
            print(f"txraft: {error}", file=sys.__stderr__, flush=True)
        log.critical("txraft ends: {error}", error=error)
        status = REMOVED if isinstance(error, MemberRemoved) else 1
        atexit.register(os._exit, status)  # twistd knows no status but 0 for a reactor that stops
        self.reactor.callWhenRunning(self._stop)

    def _take_signals(self) -> None:
        """Twisted would end by the signal that it was sent, once it has stopped; here a clean stop has status 0.

        SIGHUP on a terminal says that it is gone. Anywhere else it asks for the configuration to be read again.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            if getattr(signal.getsignal(number), "__self__", None) is self.reactor:  # neither ignored nor a debugger's
                self._heed(number, self._asked_to_stop)
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            self._heed(signal.SIGHUP, self._asked_to_stop if os.isatty(1) else self._asked_to_reload)

    def _heed(self, number: signal.Signals, function: Callable[[str], None]) -> None:
        signal.signal(number, lambda *_: self.reactor.callFromThread(function, number.name))

    def _asked_to_stop(self, name: str) -> None:
        log.info("received {name}: the node stops", name=name)
        self._stop()

    def _asked_to_reload(self, name: str) -> None:
        log.info("received {name}, which changes nothing: the configuration is read when the node starts", name=name)

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):  # it is being stopped already
            self.reactor.stop()

    def _limit_the_stop(self) -> None:
        """By a thread of its own: the reactor's may hang too, where the log is on the same disk."""
        _start_timer(self.patience, self._end_by_force)

    def _end_by_force(self) -> None:
        _start_timer(LAST_WORDS, os._exit, 1)
        log.critical(
            "the node did not stop within {patience:g} s and is ended: its disk may hang; what it acknowledged"
            " is on a majority of disks",
            patience=self.patience,
        )
        os._exit(1)


def _start_timer(seconds: float, function: Any, *arguments: Any) -> None:
    timer = Timer(seconds, function, arguments)
    timer.daemon = True  # a process that is done does not wait for it
    timer.start()
