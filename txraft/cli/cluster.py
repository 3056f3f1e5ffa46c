"""The nodes of a cluster as child processes of this one: started, watched and ended together."""

import errno
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import Signals
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent

from txraft.answer_body import body_of
from txraft.cli.earlier import WITHOUT
from txraft.cli.growing import Growing
from txraft.cli.process import REMOVED, STOP_WITHIN
from txraft.settings import Member, Settings

STARTING = 10.0
"""A node that exits within as many seconds could not start: its configuration is wrong, or its port is taken. One that
was removed from its cluster is no such node."""
POLL = 0.25
"""Seconds between two questions for who leads, until one does."""
PATIENCE = STOP_WITHIN + 5.0
"""Seconds that a node has to end in after SIGTERM, and an election timeout; SIGKILL follows. Before that it ends by
force itself."""
REMEDIES = {
    errno.EMFILE: "; raise the limit of open files (ulimit -n), or start fewer nodes",
    errno.EAGAIN: "; raise the limit of processes (ulimit -u), or start fewer nodes",
}
"""What to do where the system refuses another process."""


class NodeProcess(ProcessProtocol):
    """One node's process: hands on the lines that it writes and, at its end, a text that says how it ended.

    `on_end` is given that text, and the exit status, None where it was ended by a signal.
    """

    transport: IProcessTransport
    complaint: str | None = None
    """What it wrote to stderr last: why it could not start."""

    def __init__(self, on_line: Callable[[str], None], on_end: Callable[[str, int | None], None]) -> None:
        self._on_line = on_line
        self._on_end = on_end
        self._partial = {1: b"", 2: b""}

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._partial[childFD] = (self._partial[childFD] + data).split(b"\n")
        for line in lines:
            self._has_written(childFD, line)

    def processEnded(self, reason: Failure) -> None:
        for descriptor, line in self._partial.items():
            if line:
                self._has_written(descriptor, line)
        number = getattr(reason.value, "signal", None)
        if number is None:
            status = getattr(reason.value, "exitCode", 0)
            self._on_end(f"ended with status {status}", status)
        else:
            self._on_end(f"was ended by {Signals(number).name}", None)

    def _has_written(self, descriptor: int, line: bytes) -> None:
        text = line.decode(errors="replace")
        if descriptor == 2:
            self.complaint = text.removeprefix("txraft: ")
        self._on_line(text)

    def signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)


@define(eq=False)
class LocalCluster:
    """All nodes of a cluster on this machine."""

    settings: Settings
    arguments: tuple[str, ...]
    """For `twistd txraft`, the same for each node."""
    processes: IReactorProcess
    clock: IReactorTime
    agent: IAgent
    say: Callable[[str], None]
    joining: frozenset[int] = frozenset()
    """The nodes that are not members yet, and are added once the others have a leader."""
    was_there: bool = False
    """Whether the cluster was started before. Then a node that cannot start holds up no majority of the others."""
    left_out: int = 0
    """How many other members are not started."""
    exit_status: int = field(default=0, init=False)
    """1 after nodes ended that should not have: one that could not start, or all of them."""
    _running: dict[int, NodeProcess] = field(factory=dict, init=False)
    _removed: set[int] = field(factory=set, init=False)
    _started_at: float = field(default=0.0, init=False)
    _has_led: bool = field(default=False, init=False)
    _stopping: bool = field(default=False, init=False)
    _waiting: "list[Deferred[None]]" = field(factory=list, init=False)
    _why: str | None = field(default=None, init=False)
    """Why a node could not start."""
    _poll: LoopingCall = field(init=False)
    _killer: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._poll = LoopingCall(self._look_for_leader)
        self._poll.clock = self.clock

    def start(self) -> "Deferred[None]":
        """Start every node. Fires when, for whatever reason, all have ended."""
        self._started_at = self.clock.seconds()
        for member in self.settings.cluster:
            self.say(f"node {member.id}: http://{member.kvaddr}")
        self._poll.start(POLL, now=False)
        for member in self.settings.cluster:
            try:
                self._spawn(member)
            except OSError as error:
                self._give_up(f"node {member.id} could not start: {error.strerror}{REMEDIES.get(error.errno or 0, '')}")
                break
        if not self._running:
            self._finish()
        return self._all_ended()

    def stop(self) -> "Deferred[None]":
        """Ask every node to end, and kill after a while those that have not. Fires when all have ended."""
        if not self._stopping:
            self._stopping = True
            if self._poll.running:
                self._poll.stop()
            for process in self._running.values():
                process.signal("TERM")
            if self._running:
                self._killer = self.clock.callLater(PATIENCE + self.settings.timing.election_seconds, self.kill)
        return self._all_ended()

    def kill(self) -> None:
        """Do not wait for the nodes any longer."""
        for id, process in self._running.items():
            self.say(f"node {id} has not ended; killing it")
            process.signal("KILL")

    def _spawn(self, member: Member) -> None:
        id = member.id
        process = NodeProcess(
            lambda line: self.say(f"[{id}] {line}"),
            lambda how, status: self._ended(id, how, status),
        )
        command = [sys.executable, "-m", "txraft.cli.child", "--nodaemon", "--pidfile=", "txraft", "--id", str(id)]
        if id in self.joining:
            command += ["--join", str(self._members[0].kvaddr)]
        with _interrupts_held_back():
            self.processes.spawnProcess(process, sys.executable, [*command, *self.arguments], env=None)
        self._running[id] = process

    def _ended(self, id: int, how: str, status: int | None) -> None:
        process = self._running.pop(id)
        if not self._stopping:
            starting = not self._has_led or self.clock.seconds() < self._started_at + STARTING
            why = f"node {id} could not start: {process.complaint or how}"
            if status == REMOVED:
                self._removed.add(id)
                self.say(f"node {id} {how}, because it was removed from the cluster")
            elif status is None or not starting:
                self.say(f"node {id} {how}")
            elif self.was_there and self._has_majority:
                self.say(f"{why}; {WITHOUT}")
            else:
                self.say(f"node {id} {how} while the cluster was starting; ending the others")
                self._give_up(why)
        if not self._running:
            self._finish()

    @property
    def _has_majority(self) -> bool:
        """Whether the nodes that run can decide."""
        members = {member.id for member in self._members} - self._removed
        return 2 * len(members & self._running.keys()) > len(members) + self.left_out

    def _give_up(self, why: str) -> None:
        """The cluster cannot start."""
        self._why = why
        self.exit_status = 1
        self.stop()

    def _finish(self) -> None:
        if not self._stopping:
            self.exit_status = 1
            self.stop()
        if self._killer is not None and self._killer.active():
            self._killer.cancel()
        if self._why is not None:
            self.say(self._why)  # last, below what the others wrote while they ended
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _all_ended(self) -> "Deferred[None]":
        if not self._running:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        return waiter

    @property
    def _members(self) -> list[Member]:
        """Those that need not be added."""
        return [member for member in self.settings.cluster if member.id not in self.joining]

    async def _look_for_leader(self) -> None:
        """Where a node knows a leader, say what to try, on nodes that answer: others may not have come up yet."""
        serving: list[Member] = []
        leader = None
        for member in self._members:
            status = await self._status_of(member)
            if not self._poll.running:
                return
            if status is not None:
                serving.append(member)
                leader = status["leader_id"] if isinstance(status["leader_id"], int) else leader
        if leader is not None and not self._stopping:
            self._has_led = True
            self._poll.stop()
            self._greet(leader, serving[0], serving[-1])
            new = [member for member in self.settings.cluster if member.id in self.joining]
            await Growing(self.agent, self.clock, self._say_while_it_runs).add(new, serving[0].kvaddr)

    def _say_while_it_runs(self, line: str) -> None:
        if not self._stopping:
            self.say(line)

    async def _status_of(self, member: Member) -> dict[str, Any] | None:
        """What a node says of itself; None where it does not answer, or not as itself."""
        try:
            request = self.agent.request(b"GET", f"http://{member.kvaddr}/status".encode())
            response = await request.addTimeout(1, self.clock)
            status = json.loads(await body_of(response).addTimeout(1, self.clock))
            is_itself = status["id"] == member.id and "leader_id" in status
        except Exception:  # not up yet, or something else listens there
            return None
        return status if is_itself else None

    def _greet(self, leader: int, first: Member, last: Member) -> None:
        self.say(f"node {leader} leads. To try it:")
        self.say(f"  curl 'http://{first.kvaddr}/set?key=greeting&val=hello'")
        self.say(f"  curl 'http://{last.kvaddr}/get?key=greeting'")


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Start a process with SIGINT blocked: in a terminal, Ctrl-C reaches it before it can ignore that.

    What is blocked stays so over an exec. Twisted sees to it that what is ignored does not.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
