"""One connection to a peer: messages, questions and answers over AMP, whoever dialled.

    connected ──Hello──> up: messages and questions, both ways ──> closed
        └─────refused, late, anything else but Hello─────────────────^

`Caller` dialled and says `Hello`, `Callee` answers it; after that the two are the same. A link that is closed is closed
for good: its owner does not use it any more, and what still comes in on it is not looked at.
"""

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from txraft.core.messages import AppendEntries, Message, NodeId
from txraft.errors import (
    HandshakeRefused,
    MalformedMessage,
    NoSuchVoter,
    NotApplied,
    OutcomeUnknown,
    Overloaded,
    Undecided,
    Unreachable,
)
from txraft.interfaces import Identity, IPeerHandler
from txraft.rpc import amp_commands
from txraft.rpc.handshake import Greeting, check, describe, greeting
from txraft.rpc.link_limits import LinkLimits, tune
from txraft.rpc.send_queue import SendQueue

_log = Logger()

_MALFORMED = (MalformedMessage, ValueError, KeyError, amp.AmpError)
"""What decoding raises for a box that makes no sense."""


class Owner(Protocol):
    """What a link needs of its network."""

    reactor: IReactorTime
    identity: Identity
    limits: LinkLimits
    handler: IPeerHandler

    def link_made(self, link: "Link") -> None:
        """A connection opened; the handshake is still to come."""

    def link_up(self, link: "Link", peer: NodeId) -> None:
        """The handshake succeeded."""

    def link_closed(self, link: "Link") -> None:
        """The link is of no more use. Called once; the transport may still be sending what was written."""

    def handshake_failed(self, link: "Link", peer: NodeId | None, kind: object, line: str) -> None:
        """The handshake failed for the reason in `line`; equal reasons have an equal `kind`."""


class Link(amp.BinaryBoxProtocol, amp.BoxDispatcher):
    """What `Caller` and `Callee` share. It is `amp.AMP` without its table of responders and its logging."""

    peer: NodeId | None = None
    """Who is on the other side; None until it is known."""
    up: bool = False
    closed: bool = False
    transport: Any
    """Several of Twisted's interfaces at once; None once the connection is lost."""

    def __init__(self, owner: Owner) -> None:
        amp.BoxDispatcher.__init__(self, self)
        amp.BinaryBoxProtocol.__init__(self, self)
        self.owner = owner
        self.lost: Deferred[None] = Deferred()
        """Fires when the transport is gone."""
        self._send_queue: SendQueue
        """What waits for the transport, once there is one."""
        self._deadline: IDelayedCall | None = None
        self._watch: IDelayedCall | None = None
        self._heard = True
        """Whether anything has come since the last Ping."""

    # To the peer

    def send(self, message: Message) -> None:
        """Send a message. Where the send_queue is full, entries are dropped: no other message is large."""
        if not (self._send_queue.full and isinstance(message, AppendEntries)):
            self._call(amp_commands.COMMAND_OF[type(message)], message=message)

    def propose(self, command: bytes) -> Deferred[bytes]:
        """As IPeers.propose, to this link's peer. Fails with Overloaded where the send_queue is full."""
        if self._send_queue.full:
            return fail(Overloaded(f"too much waits to be sent to node {self.peer}; try again later"))
        return self._ask(amp_commands.Propose, {"command": command}, "result", OutcomeUnknown)

    def read_barrier(self) -> Deferred[int]:
        """As IPeers.read_barrier, to this link's peer. A read has no effect, so a lost one is as good as never sent."""
        return self._ask(amp_commands.ReadBarrier, {}, "read_index", Unreachable)

    def transfer_leadership(self, target: NodeId) -> Deferred[NodeId]:
        """As IPeers.transfer_leadership, by this link's peer."""
        return self._ask(amp_commands.Transfer, {"target": target}, "leader_id", OutcomeUnknown)

    def _ask(
        self, command: type[amp.Command], arguments: dict[str, Any], key: str, if_lost: type[Undecided]
    ) -> Deferred[Any]:
        # A Deferred of its own, since AMP closes the connection over an error that the caller leaves on AMP's.
        result: Deferred[Any] = Deferred()

        def failed(failure: Failure) -> None:
            if failure.check(*_MALFORMED) and not failure.check(amp.RemoteAmpError):
                self._malformed(failure.value)
            if not failure.check(NotApplied, NoSuchVoter, if_lost):
                failure = Failure(if_lost(f"node {self.peer} did not answer: {failure.getErrorMessage()}"))
            result.errback(failure)

        asked = self._call(command, **arguments)
        asked.addCallbacks(lambda answer: result.callback(answer[key]), failed)
        return result

    def _call(self, command: type[amp.Command], /, **arguments: Any) -> Any:
        return self.callRemote(command, **arguments)  # type: ignore[no-untyped-call]  # AMP has no annotations

    def sendBox(self, box: amp.AmpBox) -> None:
        """Write a box. Everything that AMP sends goes through here; once the transport is gone, nowhere."""
        if self.transport is not None:
            self._send_queue.write(box.serialize())

    # From the peer

    def dataReceived(self, data: bytes) -> None:
        """Something came."""
        self._heard = True
        super().dataReceived(data)  # type: ignore[no-untyped-call]  # AMP has no annotations

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """A whole box arrived. One that makes no sense ends the connection."""
        if self.closed:
            return
        try:
            super().ampBoxReceived(box)  # type: ignore[no-untyped-call]  # the same
        except _MALFORMED as error:
            self._malformed(error)

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[Any]:
        """Do as the command in `box` says. Fires with the box of the answer, if there is to be one."""
        command = amp_commands.COMMANDS.get(box[amp.COMMAND])
        if command is None or command.requiresAnswer != (amp.ASK in box):
            raise MalformedMessage(f"there is no such command as {box[amp.COMMAND]!r}")
        if self.up == (command is amp_commands.Hello):
            raise MalformedMessage(f"{command.__name__} came {'again' if self.up else 'before Hello'}")
        arguments = command.parseArguments(box, self)
        if not command.requiresAnswer:
            self._deliver(arguments["message"])
            return succeed(None)
        if command is amp_commands.Hello:
            return self.greeted(Greeting(**arguments))
        if command is amp_commands.Ping:
            return succeed(amp.Box())
        return self._answer(command, arguments)

    def greeted(self, hello: Greeting) -> Deferred[amp.AmpBox]:
        """The other side says Hello."""
        raise MalformedMessage(f"Hello came from node {hello.from_id}, which was called")

    def _deliver(self, message: Message) -> None:
        assert self.peer is not None
        try:
            self.owner.handler.receive(self.peer, message)
        except Exception:
            _log.failure("a message from node {peer} made the node fail", peer=self.peer)

    def _answer(self, command: type[amp.Command], arguments: dict[str, Any]) -> Deferred[amp.AmpBox]:
        def failed(failure: Failure) -> Failure:
            if not failure.check(Undecided, NoSuchVoter):
                _log.failure("a request of node {peer} made the node fail", failure, peer=self.peer)
            return Failure(amp_commands.on_the_wire(failure.value))

        handler = self.owner.handler
        handlers: dict[type[amp.Command], tuple[Callable[..., Deferred[Any]], str]] = {
            amp_commands.Propose: (handler.propose, "result"),
            amp_commands.ReadBarrier: (handler.read_index, "read_index"),
            amp_commands.Transfer: (handler.transfer_leadership, "leader_id"),
        }
        handle, key = handlers[command]
        answer: Deferred[Any] = maybeDeferred(handle, **arguments)
        return answer.addCallback(lambda value: command.makeResponse({key: value}, self)).addErrback(failed)

    # Opening and closing

    def connectionMade(self) -> None:
        """The connection is open; the handshake has a time limit."""
        limits = self.owner.limits
        tune(self.transport, limits.stuck)
        self._send_queue = SendQueue(self.transport, self.owner.reactor, limits.send_queue, limits.stuck, self._stuck)
        self._deadline = self.owner.reactor.callLater(limits.handshake, self._late)
        self.owner.link_made(self)

    def _become_up(self, peer: NodeId) -> None:
        self._no_deadline()
        self.peer = peer
        self.up = True
        self._watch = self.owner.reactor.callLater(self.owner.limits.silence, self._look_for_life)
        self.owner.link_up(self, peer)

    def _look_for_life(self) -> None:
        """Where answers go another way than what they answer, they say nothing of this connection; and where a proxy
        takes everything in, nor does the transport. So ask, and see by the next time that something has come, or that
        the question still waits behind something."""
        silence = self.owner.limits.silence
        if self._heard or self._send_queue.size:
            self._heard = False
            self._watch = self.owner.reactor.callLater(silence, self._look_for_life)
            self._call(amp_commands.Ping).addErrback(lambda _: None)
            return
        _log.warn("aborting the connection to node {peer}: silent for {silence:g} s", peer=self.peer, silence=silence)
        self.abort()

    def _late(self) -> None:
        self._deadline = None
        if not self.closed:
            limit = self.owner.limits.handshake
            self.owner.handshake_failed(self, self.peer, "late", f"no handshake within {limit:g} s")
        self.abort()

    def close(self) -> None:
        """Send what is waiting, if that does not take long, and close the connection."""
        if self.closed:
            return
        self._finish()
        self._no_deadline()
        self._deadline = self.owner.reactor.callLater(self.owner.limits.close, self.abort)
        self._send_queue.release()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection and forget what is waiting."""
        self._finish()
        if self.transport is not None:
            self.transport.abortConnection()

    def _finish(self) -> None:
        if not self.closed:
            self.closed = True
            if self._watch is not None and self._watch.active():
                self._watch.cancel()
            self.owner.link_closed(self)

    def _malformed(self, error: BaseException | None) -> None:
        if not self.closed:
            sender = self.transport.getPeer() if self.peer is None else f"node {self.peer}"
            _log.warn("closing the connection of {sender}, which sent nonsense: {error}", sender=sender, error=error)
            self.abort()

    def _stuck(self) -> None:
        _log.warn("aborting the connection to node {peer}, which takes nothing in", peer=self.peer)
        self.abort()

    def lengthLimitExceeded(self, length: int) -> None:
        """A key is longer than AMP allows: the other side does not speak AMP."""
        self._malformed(MalformedMessage(f"a key of {length} bytes"))

    def unhandledError(self, failure: Failure) -> None:
        """Something that must not happen did, between AMP and this class."""
        _log.failure("closing the connection to node {peer}", failure, peer=self.peer)
        self.abort()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default is for callers only
        """The transport is gone. The owner hears of it before those who wait for answers, lest they ask here again."""
        self._finish()
        self._no_deadline()
        self._send_queue.stopProducing()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # AMP has no annotations
        self.transport = None
        self.lost.callback(None)

    def _no_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()


class Caller(Link):
    """The side that dialled."""

    def __init__(self, owner: Owner, peer: NodeId) -> None:
        super().__init__(owner)
        self.peer: NodeId = peer

    def connectionMade(self) -> None:
        """Say Hello."""
        super().connectionMade()
        hello = attrs.asdict(greeting(self.owner.identity, self.peer))
        asked = self._call(amp_commands.Hello, **hello)
        asked.addCallbacks(lambda _: self._become_up(self.peer), self._refused)

    def _refused(self, failure: Failure) -> None:
        if not self.closed:
            line = f"refused: {failure.getErrorMessage()}"
            self.owner.handshake_failed(self, self.peer, line, line)
            self.close()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # as above
        """As Link's. Whoever hangs up instead of answering Hello is not a node of this cluster."""
        if not self.closed and not self.up:
            self.owner.handshake_failed(self, self.peer, "lost", "the connection was closed during the handshake")
        super().connectionLost(reason)


class Callee(Link):
    """The side that was dialled."""

    def greeted(self, hello: Greeting) -> Deferred[amp.AmpBox]:
        """Let the caller in, or refuse it; the deadline of the handshake sees to it that a refused caller goes."""
        identity = self.owner.identity
        refusal = check(identity, hello)
        if refusal is None:
            self._become_up(hello.from_id)
            return succeed(amp.Box())
        line = describe(refusal, identity, hello)
        self.owner.handshake_failed(self, hello.from_id if hello.from_id in identity.voters else None, refusal, line)
        self._finish()
        code = amp_commands.Hello.fatalErrors[HandshakeRefused]
        return fail(amp.RemoteAmpError(code, line, fatal=True))
