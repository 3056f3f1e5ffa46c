"""`twistd txraft`: its options, and what it does to its process: clock, garbage collection, exit status.

What is wrong with a start (the configuration, the data directory, the ports) is found out in `makeService`, before
twistd goes into the background, so that it reaches the terminal: one line on stderr, and exit status 1.
"""

import atexit
import gc
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage

from txraft import settings
from txraft.errors import StorageError, TxraftError
from txraft.service import make_node_service
from txraft.settings import Address
from txraft.storage.directory import DirectoryLock

log = Logger()

LAST_RESORT = 5
"""Seconds after a failure in which everything may be closed, before the process ends without that."""

_failures: list[TxraftError] = []


class Options(usage.Options):
    """The command line of `twistd txraft`."""

    synopsis = "--id N [options]"
    longdesc = (
        "Run one node of a txraft cluster: a replicated, linearizable key-value store that is asked over HTTP. Without"
        " --config it is node 0, 1 or 2 of the built-in cluster on this machine. In the background its process id and"
        " its log go to txraft-N.pid and txraft-N.log, unless twistd's --pidfile and --logfile name others; twistd -n"
        " keeps it in the foreground."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["id", None, None, "This node's id in the configuration; required."],
        ["kvaddr", None, None, "host:port to serve the HTTP API on [default: the configuration's kvaddr of this id]."],
        ["config", None, None, "The cluster's configuration, a TOML file [default: the built-in three nodes]."],
        ["data-dir", None, "data", "The directory in which node N keeps all that it has, in N/."],
    ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse; what is wrong ends the program with one line, not with the whole of --help."""
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            _refuse(f"{error}; twistd txraft --help lists the options")

    def opt_version(self) -> NoReturn:
        """Show txraft's version and exit."""
        print(f"txraft {version('txraft')}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Check the id, and give twistd file names that nodes in one directory do not share."""
        if self["id"] is None:
            raise usage.UsageError("--id is missing: which node of the cluster this is")
        try:
            self["id"] = int(self["id"])
        except ValueError:
            raise usage.UsageError(f"--id takes a whole number, not {self['id']!r}") from None
        twistd = self.parent
        assert twistd is not None
        if twistd["pidfile"] == "twistd.pid":
            twistd["pidfile"] = f"txraft-{self['id']}.pid"
            _forget_dead_process(Path(twistd["rundir"], twistd["pidfile"]), self.directory())
        if twistd["logfile"] is None and not (twistd["nodaemon"] or twistd["debug"]):
            twistd["logfile"] = f"txraft-{self['id']}.log"

    def directory(self) -> Path:
        """The node's own. twistd goes to its --rundir only later."""
        assert self.parent is not None
        return Path(self.parent["rundir"], self["data-dir"], str(self["id"])).absolute()


def makeService(options: Options) -> IService:
    """One node as a service, ready to start. The process is twistd's, so its reactor is ours to set up."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

    run_on_monotonic_time(reactor)
    try:
        cluster = settings.load(options["config"]) if options["config"] else settings.BUILT_IN
        kvaddr = Address.parse(options["kvaddr"]) if options["kvaddr"] else None
        service = make_node_service(reactor, cluster, options["id"], kvaddr, options.directory(), _end_with_failure)
    except TxraftError as error:
        _refuse(str(error))
    _spare_the_log_from_collection()
    return service


def run_on_monotonic_time(reactor: Any) -> None:
    """Make the reactor's clock one that nobody can set. What is scheduled already stays as far away as it is.

    Twisted's is `time.time`, on all of its reactors, asyncio's included. Where that is set back by a minute, every
    timer is a minute late: a dead leader has no successor and no request times out. Where it is set forward, all of
    them are due at once. The new clock goes on from where the old one is, at the pace of `time.monotonic`, so it still
    counts from the epoch, as IReactorTime has it; it just does not hear of it when the wall clock is set. Nothing that
    is shown comes from it: log lines and HTTP's Date ask `time.time` themselves.

    Its limit: it stands still while the machine is suspended (on Linux), and so does the waiting in epoll. A node that
    wakes up waits for what was left of its timeouts; until then one that led believes that it leads, and one that
    followed keeps its vote from others. That costs as much time and nothing else: no answer relies on a clock.
    """
    ahead: float = reactor.seconds() - time.monotonic()

    def seconds() -> float:
        return ahead + time.monotonic()

    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        call.seconds = seconds  # by which it is put off


def _spare_the_log_from_collection() -> None:
    """The log is hundreds of thousands of objects that stay and form no cycles. To look through all of them for some,
    as often as the defaults have it, stops the reactor for 100 ms and more, and halved the writes a second.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _forget_dead_process(pid_file: Path, directory: Path) -> None:
    """Remove the pid file of a node that was killed, and refuse to start one that runs: twistd does so too, in several
    lines, and by whether a process has that id. The lock knows.
    """
    if not pid_file.exists():
        return
    if directory.is_dir():
        lock = DirectoryLock(directory)
        try:
            lock.acquire()
        except StorageError as error:
            _refuse(str(error))
        lock.release()
    pid_file.unlink(missing_ok=True)


def _refuse(line: str) -> NoReturn:
    """Do not start."""
    raise SystemExit(f"txraft: {line}")


def _end_with_failure(error: TxraftError) -> None:
    """The node cannot go on: say why in one line, and end the process with status 1."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

    if _failures:  # a disk that fails one file fails the other too
        return
    _failures.append(error)
    with suppress(OSError):  # the disk may be full
        print(f"txraft: {error}", file=sys.__stderr__, flush=True)
    log.critical("txraft ends: {error}", error=error)
    # twistd knows no exit status but 0 for a reactor that stops, so it is set when everything else is over; or when it
    # takes too long, for a thread may hang in a call to the disk.
    atexit.register(os._exit, 1)
    reactor.callLater(LAST_RESORT, os._exit, 1)
    with suppress(ReactorNotRunning):  # it is being stopped already
        reactor.stop()
