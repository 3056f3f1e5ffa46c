"""One connection to a peer: messages, questions and answers over AMP, whoever dialled.

    connected ──Hello, Met──> up: messages and questions, both ways ──> closed
        └──────refused, late, anything else but these─────────────────────^

`Caller` dialled and says `Hello`, `Callee` answers it, and `Caller` ends the handshake (`txraft.rpc.sides`); after that
the two are the same. What is closed is closed for good: its owner does not use it any more, and what still comes in on
it is not looked at.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from txraft.core.changes import Change
from txraft.core.configuration import Configuration
from txraft.core.messages import MAX_COMMAND_SIZE, AppendEntries, Message, NodeId
from txraft.errors import (
    ChangeRefused,
    CommandFailed,
    CommandTooLong,
    MalformedMessage,
    NoSuchVoter,
    NotApplied,
    OutcomeUnknown,
    Overloaded,
    Undecided,
    Unreachable,
)
from txraft.interfaces import CHANGES_MEMBERS, Incarnation
from txraft.rpc import amp_commands
from txraft.rpc.answering import Answering
from txraft.rpc.boxes import MALFORMED, BoxProtocol, in_words
from txraft.rpc.directories import Verdict, judge
from txraft.rpc.handshake import Greeting
from txraft.rpc.limited_log import shown
from txraft.rpc.link_limits import tune
from txraft.rpc.owner import Owner
from txraft.rpc.send_queue import SendQueue
from txraft.rpc.snapshot_transfer import SnapshotReceiver
from txraft.rpc.versions import NEWEST_VERSION, OLDEST_VERSION, OUTDATED, can_be_sent

_log = Logger()

_HANDLED_BY: Final[dict[type[amp.Command], tuple[str, str]]] = {
    amp_commands.Propose: ("passed_on", "result"),
    amp_commands.ReadBarrier: ("read_index", "read_index"),
    amp_commands.Transfer: ("transfer_leadership", "leader_id"),
    amp_commands.ChangeMembers: ("change_members", "configuration"),
}
"""The method of IPeerHandler that a question is for, and what its answer is called on the wire."""


class Link(BoxProtocol):
    """What `Caller` and `Callee` share."""

    peer: NodeId | None = None
    """Who is on the other side; None until it is known."""
    up: bool = False
    incarnation: Incarnation
    """The peer's, once the link is up."""
    version: int = OLDEST_VERSION
    """Of the protocol; the peer's, or this node's where that is the earlier one. Known once the link is up."""
    peer_leaves: bool = False
    """Whether nothing is to be asked of the peer here any more."""
    dialled = False
    """Whether this side dialled."""
    _asked_about: Incarnation | None = None
    """What was known of the peer when it was asked what it drew."""
    transport: Any
    """Several of Twisted's interfaces at once; None once the connection is lost."""

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self.owner = owner
        self.lost: Deferred[None] = Deferred()
        """Fires when the transport is gone."""
        self._send_queue: SendQueue
        """What waits for the transport, once there is one."""
        self._deadline: IDelayedCall | None = None
        self._retired = False
        self._watch: IDelayedCall | None = None
        self._heard = True
        """Whether anything has come since the last Ping."""
        self._answering = Answering(owner.reactor, owner.limits.max_questions, owner.limits.answer)
        self._receiver: SnapshotReceiver | None = None
        """Set when the link is up."""
        self._about_snapshot: dict[Deferred[Any], None] = {}
        """The answers of `_receiver` that are still to come."""

    # To the peer

    def send(self, message: Message) -> None:
        """Send a message. Where too much waits to be sent, entries are dropped: no other message is large. One that a
        peer of an earlier version cannot read ends the connection, as it would there."""
        if self.version < NEWEST_VERSION and not can_be_sent(message, self.version):
            line = f"closing the connection to {self.name}, which needs a change of the membership: it {OUTDATED}"
            self.owner.reject(self, "outdated", line)
            self.close()
        elif not (self._send_queue.full and isinstance(message, AppendEntries)):
            self._send_queue.write(self.message_boxes.write(message))

    def propose(self, command: bytes) -> Deferred[bytes]:
        """As IPeers.propose, to this link's peer. Fails with Overloaded where too much waits to be sent, and with
        CommandTooLong where the peer would close the connection over it."""
        if len(command) > MAX_COMMAND_SIZE:
            return fail(CommandTooLong(len(command), MAX_COMMAND_SIZE))
        if self._send_queue.full:
            return fail(Overloaded(f"too much waits to be sent to node {self.peer}; try again later"))
        return self._ask(amp_commands.Propose, {"command": command}, "result", OutcomeUnknown)

    def read_barrier(self) -> Deferred[int]:
        """As IPeers.read_barrier, to this link's peer. A read has no effect, so a lost one is as good as never sent."""
        return self._ask(amp_commands.ReadBarrier, {}, "read_index", Unreachable)

    def transfer_leadership(self, target: NodeId) -> Deferred[NodeId]:
        """As IPeers.transfer_leadership, by this link's peer."""
        return self._ask(amp_commands.Transfer, {"target": target}, "leader_id", OutcomeUnknown)

    def change_members(self, changes: Sequence[Change]) -> Deferred[Configuration]:
        """As IPeers.change_members, by this link's peer."""
        if self.version < CHANGES_MEMBERS:
            return fail(NotApplied(f"node {self.peer}, which is to change the membership, {OUTDATED}"))
        return self._ask(amp_commands.ChangeMembers, {"changes": changes}, "configuration", OutcomeUnknown)

    def leave(self) -> Deferred[None]:
        """This node is about to end. Fires when the peer asks nothing more of it on this link, and has all answers; or
        when the link is lost."""
        command = amp_commands.Ping if self.version < CHANGES_MEMBERS else amp_commands.Leaving
        asked, _ = self.ask(command)
        return asked.addBoth(lambda _: self._answering.none_left())

    def retire(self) -> None:
        """A newer connection has replaced this one, and nothing is asked by it any more. The side that dialled closes
        it when all is answered that was asked by it. The other side does not know whether more comes; where the peer
        does not know of it any more, having lost power perhaps, it is aborted in `limits.close` seconds. Both abort it
        in `limits.answer` seconds."""
        limits = self.owner.limits
        self._retired = True
        self._deadline = self.owner.reactor.callLater(limits.answer if self.dialled else limits.close, self.abort)
        # What the peer has asked before it answers this has come by then, and it asks nothing afterwards.
        self.call(amp_commands.Ping).addCallbacks(lambda _: self._wait_on(), lambda _: None)

    def _wait_on(self) -> None:
        if self._deadline is not None and not self.closed:
            self._deadline.reset(self.owner.limits.answer)

    def _look_whether_over(self) -> None:
        waits = self.unanswered or len(self._answering) or self._about_snapshot
        if self._retired and self.dialled and not self.closed and not waits:
            self.close()

    def ask_about_snapshot(self, command: type[amp.Command], key: str | None = None, **arguments: Any) -> Deferred[Any]:
        """Ask one of the questions of `txraft.rpc.snapshot_transfer`. Fires with what the answer has under `key`; fails
        with NotApplied, which is Unreachable where none came. Cancelling forgets the question."""
        if self._send_queue.full:
            return fail(Overloaded(f"too much waits to be sent to node {self.peer}; try again later"))
        return self._ask(command, arguments, key, Unreachable)

    def _ask(
        self, command: type[amp.Command], arguments: dict[str, Any], key: str | None, if_lost: type[Undecided]
    ) -> Deferred[Any]:
        if self.unanswered >= self.owner.limits.max_questions:
            return fail(Overloaded(f"too many questions wait for node {self.peer}; try again later"))
        asked, let_go = self.ask(command, **arguments)
        # A Deferred of its own, since AMP closes the connection over an error that the caller leaves on AMP's.
        result: Deferred[Any] = Deferred(let_go)

        def failed(failure: Failure) -> None:
            if failure.check(*MALFORMED) and not failure.check(amp.RemoteAmpError):
                self.malformed(failure.value)
            if not failure.check(NotApplied, NoSuchVoter, ChangeRefused, CommandFailed, if_lost):
                failure = Failure(if_lost(f"node {self.peer} did not answer: {in_words(failure)}"))
            if not result.called:  # where all fail with the connection, one that fails may have others cancelled
                result.errback(failure)

        asked.addCallbacks(lambda answer: result.callback(None if key is None else answer[key]), failed)
        return result

    def sendBox(self, box: amp.AmpBox) -> None:
        """Write a box, in one with those of the same turn: questions and answers come many at once. All that AMP sends
        goes through here; once the transport is gone, nowhere."""
        if self.transport is not None:
            self._send_queue.write_soon(box.serialize())
            if isinstance(box, amp.QuitBox):  # AMP closes the connection now
                self._send_queue.flush()
            self._look_whether_over()

    # From the peer

    def dataReceived(self, data: bytes) -> None:
        """Something came."""
        self._heard = True
        super().dataReceived(data)
        self._look_whether_over()

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[Any]:
        """Do as the command in `box` says. Fires with the box of the answer, if there is to be one."""
        command = amp_commands.COMMANDS.get(box[amp.COMMAND])
        later = command in amp_commands.LATER and self.version < CHANGES_MEMBERS
        if command is None or later or command.requiresAnswer != (amp.ASK in box):
            raise MalformedMessage(f"there is no such command as {box[amp.COMMAND]!r}")
        if self.up == (command in amp_commands.HANDSHAKE):
            raise MalformedMessage(f"{command.__name__} came {'again' if self.up else 'before the handshake was over'}")
        arguments = command.parseArguments(box, self)
        if command is amp_commands.Hello:
            return self.greeted(Greeting(**arguments))
        if command is amp_commands.Met:
            return self.met(**arguments)
        if command in (amp_commands.Ping, amp_commands.Leaving):
            self.peer_leaves = self.peer_leaves or command is amp_commands.Leaving
            return succeed(amp.Box())
        if command in amp_commands.TRANSFER:
            return self._answer_about_snapshot(command, arguments)
        return self._answer(command, arguments)

    def greeted(self, hello: Greeting) -> Deferred[amp.AmpBox]:
        """The other side says Hello."""
        raise MalformedMessage(f"Hello came from node {hello.from_id}, which was called")

    def met(self, drawn: bytes, verdict: Verdict) -> Deferred[amp.AmpBox]:
        """The other side says what it drew at the start that is known, and what it makes of this node's directory."""
        raise MalformedMessage(f"Met came, with {drawn!r} and {verdict.name}, and this side dialled")

    def _judge(self, peer: NodeId, incarnation: Incarnation, drawn: bytes) -> Verdict | None:
        """What to make of the peer's directory. None where that can't be said: what it was asked about was not the last
        start any more that is known."""
        if self.owner.memory.known(peer) not in (self._asked_about, incarnation):
            return None
        return judge(self._asked_about, incarnation, drawn)

    def message_received(self, message: Message) -> None:
        """The peer sent a message."""
        assert self.peer is not None
        try:
            self.owner.handler.receive(self.peer, message)
        except Exception:
            _log.failure("a message from node {peer} made the node fail", peer=self.peer)

    def _answer(self, command: type[amp.Command], arguments: dict[str, Any]) -> Deferred[amp.AmpBox]:
        if self._answering.is_full:
            refusal = Overloaded("too many questions of this node wait for their answers; try again later")
            return fail(amp_commands.on_the_wire(refusal))
        method, key = _HANDLED_BY[command]
        answer: Deferred[Any] = maybeDeferred(getattr(self.owner.handler, method), **arguments)
        self._answering.add(answer)

        def answered(result: Any) -> amp.AmpBox:
            self._answering.remove(answer)
            box: amp.AmpBox = command.makeResponse({key: result}, self)
            return box

        def failed(failure: Failure) -> Failure:
            self._answering.remove(answer)
            return _on_the_wire(failure, self.peer)

        return answer.addCallback(answered).addErrback(failed)

    def _answer_about_snapshot(self, command: type[amp.Command], arguments: dict[str, Any]) -> Deferred[amp.AmpBox]:
        """The work takes as long as a disk does, and nobody cuts it short: it would be done in part. Where the
        connection is lost meanwhile, nothing of that waits for it."""
        assert self._receiver is not None
        work = self._receiver.take(command, arguments)
        work.addCallback(lambda result: command.makeResponse({"offset": result}, None))
        answer: Deferred[Any] = Deferred()
        self._about_snapshot[answer] = None
        work.addErrback(_on_the_wire, self.peer).addCallbacks(answer.callback, answer.errback)

        def over(result: Any) -> Any:
            self._about_snapshot.pop(answer, None)
            lost = isinstance(result, Failure) and result.check(CancelledError)
            return amp.Box() if lost else result

        return answer.addBoth(over)

    # Opening and closing

    @property
    @abstractmethod
    def name(self) -> str:
        """The other side, for the log."""

    def connectionMade(self) -> None:
        """The connection is open; the handshake has a time limit."""
        limits = self.owner.limits
        tune(self.transport, limits.stuck)
        self._send_queue = SendQueue(
            self.transport, self.owner.reactor, limits.send_queue_size, limits.stuck, self._stuck
        )
        self._deadline = self.owner.reactor.callLater(limits.handshake, self._late)
        self.owner.link_made(self)

    def _become_up(self, peer: NodeId, incarnation: Incarnation) -> None:
        self._no_deadline()
        self.peer = peer
        self.incarnation = incarnation
        self.up = True
        self._receiver = SnapshotReceiver(peer, self.owner.handler)
        self.trust(self.version)
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
            self.call(amp_commands.Ping).addErrback(lambda _: None)
            return
        self.owner.complain(self, "silent", f"aborting the connection to {self.name}: silent for {silence:g} s")
        self.abort()

    def _late(self) -> None:
        if not self.closed:
            self.owner.reject(
                self, "late", f"{self.name} did not finish its handshake within {self.owner.limits.handshake:g} s"
            )
        self.abort()

    def close(self) -> None:
        """Send what is waiting, if that does not take long, and close the connection."""
        if self.closed:
            return
        self._finish()
        self._no_deadline()
        self._deadline = self.owner.reactor.callLater(self.owner.limits.close, self.abort)
        self._send_queue.flush()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection and forget what is waiting."""
        self._finish()
        if self.transport is not None:
            self._send_queue.stopProducing()
            self.transport.abortConnection()

    def _finish(self) -> None:
        if not self.closed:
            self.closed = True
            if self._watch is not None and self._watch.active():
                self._watch.cancel()
            self.owner.link_closed(self)

    def malformed(self, error: BaseException | None) -> None:
        """What came cannot be read: end the connection. What does not get as far as a handshake is no node at all."""
        if not self.closed:
            if self.up:
                line = f"closing the connection to {self.name}, which sent nonsense: {shown(error)}"
            else:
                line = f"{self.name} does not speak txraft's protocol"
            self.owner.reject(self, "nonsense", line)
            self.abort()

    def _stuck(self) -> None:
        self.owner.complain(
            self, "stuck", f"aborting the connection to {self.name}, which does not take in what it is sent"
        )
        self.abort()

    def unhandledError(self, failure: Failure) -> None:
        """Something that must not happen did, between AMP and this class."""
        _log.failure("closing the connection to node {peer}", failure, peer=self.peer)
        self.abort()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # as BoxProtocol's
        """The transport is gone. The owner hears of it before those who wait for answers: they might ask here again."""
        self._finish()
        self._no_deadline()
        self._send_queue.stopProducing()
        del self._send_queue  # it refers to this object
        super().connectionLost(reason)
        reason.cleanFailure()  # Twisted keeps it for ever, and its traceback would keep this object
        self._answering.stop()
        for answer in tuple(self._about_snapshot):  # nobody waits for it any more
            answer.cancel()
        self.lost.callback(None)

    def _no_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


def _on_the_wire(failure: Failure, peer: NodeId | None) -> Failure:
    """What the peer, which asked, is told of the handler's failure. One that is no answer is a bug."""
    if not failure.check(*amp_commands.TOLD, CancelledError):
        _log.failure("a request of node {peer} made the node fail", failure, peer=peer)
    return Failure(amp_commands.on_the_wire(failure.value))
