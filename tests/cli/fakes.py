"""Processes that only seem to run, and nodes that only seem to answer."""

import json
import signal
from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol, IProcessTransport, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer


@define(eq=False)
class FakeProcess:
    """What was spawned: the transport of its protocol, and the test's hold on it."""

    protocol: ProcessProtocol
    executable: str
    arguments: list[str]
    env: Mapping[Any, Any] | None
    blocked: set[int | signal.Signals]
    """The signals that do not reach it, from its start on."""
    signals: list[str] = field(factory=list)
    exited: bool = False

    def signalProcess(self, name: str) -> None:
        if self.exited:
            raise ProcessExitedAlready()
        self.signals.append(name)

    def end(self, status: int | None = None, by: signal.Signals | None = None) -> None:
        self.exited = True
        reason = ProcessDone(None) if status == 0 else ProcessTerminated(status, by)
        self.protocol.processEnded(Failure(reason))


@implementer(IReactorProcess)
class FakeProcesses:
    """Spawns FakeProcesses, and keeps them in `spawned`: at most `most`, where a `refusal` is what comes then."""

    def __init__(self, most: int = 100, refusal: OSError | None = None) -> None:
        self.spawned: list[FakeProcess] = []
        self.most = most
        self.refusal = refusal

    def spawnProcess(
        self,
        processProtocol: IProcessProtocol,
        executable: bytes | str,
        args: Sequence[bytes | str] = (),
        env: Mapping[Any, Any] | None = None,
        path: bytes | str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: bool | tuple[int, int, int] = False,
        childFDs: Mapping[int, int | str] | None = None,
    ) -> IProcessTransport:
        assert (path, uid, gid, usePTY, childFDs) == (None, None, None, False, None)
        if self.refusal is not None and len(self.spawned) == self.most:
            raise self.refusal
        protocol = cast(ProcessProtocol, processProtocol)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        process = FakeProcess(protocol, str(executable), [str(argument) for argument in args], env, blocked)
        self.spawned.append(process)
        transport = cast(IProcessTransport, process)
        protocol.makeConnection(transport)
        return transport


class FakeNodes(Resource):
    """The HTTP servers of all nodes: what each, by its port, answers to GET /status; 404 where that is not set."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, Any] = {}
        self.asked = 0

    def render_GET(self, request: Request) -> bytes:
        self.asked += 1
        port = int((request.getHeader("host") or "").rpartition(":")[2])
        if request.path != b"/status" or port not in self.answers:
            request.setResponseCode(404)
            return b"no such resource"
        return json.dumps(self.answers[port]).encode()
