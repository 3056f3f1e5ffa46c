"""`twistd txraft`, and `twist txraft`: the options, and a node made of them (`txraft.cli.node`).

What is wrong with a start (the configuration, the data directory, the ports) is found out in `makeService`, before
twistd goes into the background, so that it reaches the terminal: one line on stderr, and exit status 1.
"""

import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.python import usage

from txraft.cli.process import REMOVED, acting_as, sparing_what_stays
from txraft.cli.subcommand import VersionedOptions
from txraft.errors import MemberRemoved, SettingsError, TxraftError
from txraft.storage.directory import DirectoryLock


class Options(VersionedOptions):
    """The command line of `twistd txraft`."""

    meant = "id"
    synopsis = "--id N [options]"
    longdesc = (
        "Run one node of a txraft cluster: a replicated, linearizable key-value store that is asked over HTTP. Without"
        " --config it is node 0, 1 or 2 of the built-in cluster on this machine. With --single it begins a cluster"
        " alone, with --join it becomes a member of one that runs; either counts at its first start, and is ignored"
        " later. In the background its process id and its log go to txraft-N.pid and txraft-N.log, unless twistd's"
        " --pidfile and --logfile name others; twistd -n keeps it in the foreground."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["id", None, None, "This node's id in the configuration; required."],
        ["kvaddr", None, None, "host:port to serve the HTTP API on [default: the configuration's kvaddr of this id]."],
        [
            "address",
            None,
            None,
            "host:port, or an endpoint as Twisted writes them, to listen on for the other nodes [default: the"
            " configuration's bind or address of this id, or where the cluster has this node].",
        ],
        ["config", None, None, "The cluster's configuration, a TOML file [default: the built-in three nodes]."],
        [
            "join",
            None,
            None,
            "Become a member of a cluster that runs: the HTTP host:port of any member. The node waits until"
            " `txraft member add` has added it.",
        ],
        ["data-dir", None, "data", "The directory in which node N keeps all that it has, in N/."],
    ]

    optFlags: ClassVar[list[list[Any]]] = [
        ["single", None, "Begin a cluster of this node alone, which serves at once; others may join it later."],
    ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse; what is wrong ends the program with one line, not with the whole of --help."""
        try:
            VersionedOptions.parseOptions(self, options)
        except usage.UsageError as error:
            program = "twistd" if "nodaemon" in self.runner else "twist"
            _refuse(f"{error}; {program} txraft --help lists the options")

    def postOptions(self) -> None:
        """Check the id, and give twistd file names that nodes in one directory do not share."""
        if self["id"] is None:
            raise usage.UsageError("--id is missing: which node of the cluster this is")
        self.to_whole_number("id")
        self.refuse_empty("kvaddr", "address", "config", "join", "data-dir")
        if self["single"] and self["join"] is not None:
            raise usage.UsageError("--single begins a cluster, and --join joins one: give one")
        runner = self.runner
        if runner.get("pidfile") == "twistd.pid":
            runner["pidfile"] = f"txraft-{self['id']}.pid"
            self._forget_dead_process(Path(runner["pidfile"]))
        if "nodaemon" in runner and runner["logfile"] is None and not (runner["nodaemon"] or runner["debug"]):
            runner["logfile"] = f"txraft-{self['id']}.log"

    @property
    def runner(self) -> usage.Options:
        """The options of `twistd`, or of `twist`, which has none for files, users and the background."""
        assert self.parent is not None
        return self.parent

    @property
    def directory(self) -> Path:
        """The node's own. twistd goes to its --rundir only later."""
        return Path(self.runner.get("rundir", "."), self["data-dir"], str(self["id"])).absolute()

    @property
    def user(self) -> tuple[int | None, int | None]:
        """The ids of the user and the group that twistd goes on as, once this node is made. Raises SettingsError."""
        uid, gid = self.runner.get("uid"), self.runner.get("gid")
        if uid is None:
            return uid, gid
        try:
            own = pwd.getpwuid(uid).pw_gid
        except KeyError:  # twistd needs the user's name, to find the groups
            raise SettingsError(f"this machine knows no user {uid}; give twistd one that it knows (--uid)") from None
        return uid, own if gid is None else gid

    @property
    def files(self) -> dict[Path, str]:
        """The files that twistd writes, and what becomes of each where the user may not write in its directory."""
        files = {}
        runner = self.runner
        if runner["logfile"] not in (None, "-") and not (runner["syslog"] or runner["logger"]):
            files[Path(runner["logfile"]).absolute()] = "will not be rotated"
        if runner["pidfile"]:
            files[Path(runner["pidfile"])] = "will not be removed"
        return files

    def _forget_dead_process(self, pid_file: Path) -> None:
        """Remove the pid file of a node that was killed, and refuse to start one that runs: twistd does so too, in
        several lines, and by whether a process has that id. The lock knows.
        """
        if not pid_file.exists():
            return
        if self.directory.is_dir():
            lock = DirectoryLock(self.directory)
            try:
                with acting_as(*self.user):
                    lock.acquire()
            except TxraftError as error:
                _refuse(str(error))
            lock.release()
        pid_file.unlink(missing_ok=True)


def makeService(options: Options) -> IService:
    """One node as a service, ready to start."""
    with sparing_what_stays():
        from txraft.cli.node import make_node  # noqa: PLC0415 - many modules, which stay, and which --help needs not

        try:
            return make_node(options)
        except MemberRemoved as error:
            print(f"txraft: {error}", file=sys.stderr)
            raise SystemExit(REMOVED) from None
        except TxraftError as error:
            _refuse(str(error))


def _refuse(line: str) -> NoReturn:
    """Do not start."""
    raise SystemExit(f"txraft: {line}")
