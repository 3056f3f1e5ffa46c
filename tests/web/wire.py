"""The API without a port: what would be sent to it, and what it would send."""

from collections.abc import Collection, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.clock import Clock
from tests.kv.applying import apply_command
from txraft.core.changes import Change
from txraft.interfaces import IReplica
from txraft.kv import KeyValueStore
from txraft.kv.backups import Backups
from txraft.settings import SizeLimits, Timing
from txraft.statuses import FollowerStatus, MemberDetails, Members, MemberStatus, Status
from txraft.web import site

STATUS = Status(
    id=1,
    cluster="a cluster",
    role="follower",
    term=7,
    leader_id=None,
    commit_index=5,
    last_applied=4,
    last_log_index=6,
    first_log_index=1,
    members_known=True,
    members=(MemberStatus(0, ("localhost:8080", "localhost:27004"), True, False, False),),
    followers=(FollowerStatus(0, 5, 0.25),),
)
MEMBERS = Members(
    cluster="a cluster",
    founders=(0, 1),
    index=3,
    leader_id=0,
    joint=False,
    removed=(7,),
    members=(
        MemberDetails(0, ("a:8080", "a:27004"), True, False, False, None, False, 6, 0.0),
        MemberDetails(1, ("b:8080", "b:27004"), True, False, False, None, False, 5, 0.25),
        MemberDetails(2, ("c:8080", "c:27004"), False, True, True, 1, False, 0, 1.5),
        MemberDetails(3, ("d:8080", "d:27004"), False, True, False, None, False, 4, 0.03),
    ),
)


@implementer(IReplica)
class FakeReplica:
    """A cluster of one that answers at once, or fails, or waits for the test to say what happens."""

    def __init__(self) -> None:
        self.store = KeyValueStore()
        self.failure: Exception | None = None
        self.waiting: list[Deferred[bytes]] | None = None
        self.proposals = 0
        self.barriers = 0
        self.transfers: list[int] = []
        self.unknown: Exception | None = None
        """Why it cannot tell the members."""
        self.changes: list[Change] = []

    def propose(self, command: bytes) -> "Deferred[bytes]":
        self.proposals += 1
        if self.failure is not None:
            return fail(self.failure)
        if self.waiting is not None:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        return succeed(apply_command(self.store, self.proposals, command))

    def read_barrier(self) -> "Deferred[None]":
        self.barriers += 1
        return succeed(None) if self.failure is None else fail(self.failure)

    def transfer_leadership(self, target: int) -> "Deferred[None]":
        self.transfers.append(target)
        return succeed(None) if self.failure is None else fail(self.failure)

    def change_members(self, changes: Sequence[Change]) -> "Deferred[None]":
        self.changes += changes
        return succeed(None) if self.failure is None else fail(self.failure)

    def members(self) -> Members:
        if self.unknown is not None:
            raise self.unknown
        return MEMBERS

    def status(self) -> Status:
        return STATUS


@implementer(ITCPTransport)
class HalfClosing(StringTransport):
    """A transport that can close the half that it writes to."""

    half_closed = False
    disconnected = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.disconnected = True
        super().abortConnection()

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass


@frozen
class Response:
    """What came back."""

    code: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection to the API of a node."""

    def __init__(
        self,
        replica: FakeReplica | None = None,
        limits: SizeLimits | None = None,
        transport: StringTransport | None = None,
        timing: Timing | None = None,
        allowed_hosts: Collection[str] = (),
        clock: Clock | None = None,
        backups: Backups | None = None,
    ) -> None:
        self.replica = replica or FakeReplica()
        self.clock = clock or Clock()
        self.transport = transport or StringTransport()
        self.site = site(
            self.replica, self.replica.store, self.clock, limits, timing, allowed_hosts, backups, lambda: 12_345
        )
        protocol = self.site.buildProtocol(None)
        assert protocol is not None
        self.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Bytes from the client, and all turns of the reactor that they take."""
        self.protocol.dataReceived(data)
        self.clock.advance(0)

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> None:
        """A request from the client; an `_` in the name of a header stands for a `-`."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def response(self) -> Response:
        """The oldest response that was not taken yet."""
        head, blank_line, rest = self.transport.value().partition(b"\r\n\r\n")
        assert blank_line, f"no response: {head!r}"
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        status = int(first.split()[1])
        length = 0 if status == 304 else int(headers["content-length"])
        self.transport.clear()
        self.transport.write(rest[length:])
        return Response(status, headers, rest[:length])

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Send a request; take its response."""
        self.request(method, target, body, **headers)
        return self.response()

    def get(self, target: str) -> Response:
        """GET it."""
        return self.ask("GET", target)

    def post(self, target: str, form: bytes, content_type: str = "application/x-www-form-urlencoded") -> Response:
        """POST a form to it."""
        return self.ask("POST", target, form, Content_Type=content_type)

    def disconnect(self) -> None:
        """The client goes away."""
        self.protocol.connectionLost(Failure(ConnectionLost()))
