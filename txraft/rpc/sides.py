"""The two sides of a connection, which differ until the handshake is over: who dialled, and who was dialled."""

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.protocols import amp
from twisted.python.failure import Failure

from txraft.core.messages import NodeId
from txraft.errors import HandshakeRefused
from txraft.rpc import amp_commands
from txraft.rpc.handshake import Greeting, check, greeting
from txraft.rpc.limited_log import shown
from txraft.rpc.link import Link, Owner


class Caller(Link):
    """The side that dialled."""

    def __init__(self, owner: Owner, peer: NodeId, address: str) -> None:
        """`address` is where `peer` was dialled."""
        super().__init__(owner)
        self.peer: NodeId = peer
        self._address = address

    @property
    def name(self) -> str:
        """Until its handshake it may be anything."""
        return f"node {self.peer} at {self._address}" if self.up else f"what answers at {self._address}"

    def connectionMade(self) -> None:
        """Say Hello."""
        super().connectionMade()
        hello = attrs.asdict(greeting(self.owner.identity, self.peer))
        asked = self.call(amp_commands.Hello, **hello)
        asked.addCallbacks(lambda _: self._become_up(self.peer), self._refused)

    def _refused(self, failure: Failure) -> None:
        if not self.closed:
            reason = shown(failure.getErrorMessage(), 200)
            self.owner.reject(self, "refused", f"node {self.peer} at {self._address} refused this node: {reason}")
            self.close()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # as BoxProtocol's
        """As Link's. One that hangs up instead of answering Hello is not a node of this cluster."""
        if not self.closed and not self.up:
            self.owner.reject(self, "lost", f"{self.name} closed the connection during the handshake")
        super().connectionLost(reason)


class Callee(Link):
    """The side that was dialled."""

    def __init__(self, owner: Owner, address: str) -> None:
        """`address` is where the other side calls from."""
        super().__init__(owner)
        self._address = address

    @property
    def name(self) -> str:
        """Until its handshake it is a stranger, whatever it says."""
        return f"a stranger at {self._address}" if self.peer is None else f"node {self.peer}"

    def greeted(self, hello: Greeting) -> Deferred[amp.AmpBox]:
        """Let the caller in, or refuse it; the deadline of the handshake sees to it that a refused caller goes."""
        identity = self.owner.identity
        refusal = check(identity, hello)
        if refusal is None:
            self._become_up(hello.from_id)
            return succeed(amp.Box())
        kind = refusal, hello.from_id if hello.from_id in identity.voters else None
        self.owner.reject(self, kind, f"refused {self.name}, which {refusal.describe(identity, hello)}")
        self._finish()
        code = amp_commands.Hello.fatalErrors[HandshakeRefused]
        return fail(amp.RemoteAmpError(code, refusal.told, fatal=True))
