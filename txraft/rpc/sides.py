"""The two sides of a connection, which differ until the handshake is over: who dialled, and who was dialled."""

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionClosed
from twisted.protocols import amp
from twisted.python.failure import Failure

from txraft.core.messages import NodeId
from txraft.errors import HandshakeRefused, MalformedMessage
from txraft.interfaces import CHANGES_MEMBERS, Incarnation
from txraft.rpc import amp_commands
from txraft.rpc.amp_commands import RemovedThere
from txraft.rpc.boxes import MALFORMED
from txraft.rpc.directories import Verdict
from txraft.rpc.handshake import LONGEST_TOLD, Greeting, Refusal, check, greeting
from txraft.rpc.limited_log import shown
from txraft.rpc.link import Link
from txraft.rpc.owner import Owner
from txraft.rpc.versions import OLDEST_VERSION


class Caller(Link):
    """The side that dialled."""

    dialled = True

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
        self._asked_about = self.owner.memory.known(self.peer)
        known = 0 if self._asked_about is None else self._asked_about.starts
        hello = greeting(self.owner.party, self.peer, self.owner.memory.own, known)
        asked = self.call(amp_commands.Hello, **hello.arguments())
        asked.addCallbacks(lambda answer: self._answered(**answer), self._refused)

    def _answered(self, incarnation: Incarnation, drawn: bytes, known: int, version: int | None) -> None:
        """Say what is made of the other's directory: at once where it is refused, else when it is known durably."""
        if self.closed:
            return
        self.version = OLDEST_VERSION if version is None else version
        if not OLDEST_VERSION <= self.version <= self.owner.party.newest_version:
            self.malformed(MalformedMessage("a version that this node does not speak"))
            return
        memory = self.owner.memory
        verdict = self._judge(self.peer, incarnation, drawn)
        answer = {"drawn": memory.drawn_at(known), "verdict": verdict}
        if verdict is None:
            self.abort()
        elif verdict is Verdict.WELCOME:
            met = memory.meet(self.peer, incarnation)
            met.addCallbacks(lambda _: self._say_met(incarnation, answer), lambda _: self.abort())
        else:
            self.call(amp_commands.Met, **answer).addErrback(lambda _: None)
            self.owner.refuse(self, self.peer, verdict)
            self.close()

    def _say_met(self, incarnation: Incarnation, answer: dict[str, Any]) -> None:
        if not self.closed:
            asked = self.call(amp_commands.Met, **answer)
            asked.addCallbacks(lambda theirs: self._met(incarnation, **theirs), self._refused)

    def _met(self, incarnation: Incarnation, verdict: Verdict) -> None:
        if self.closed:
            return
        if verdict is Verdict.WELCOME:
            self._become_up(self.peer, incarnation)
        else:
            self.close()
            self.owner.refused(self.peer, verdict)

    def _refused(self, failure: Failure) -> None:
        if failure.check(*MALFORMED) and not failure.check(amp.RemoteAmpError):
            self.malformed(failure.value)
        elif isinstance(failure.value, RemovedThere):
            self._removed(failure.value.incarnation, failure.value.drawn)
        elif not self.closed:
            reason = shown(failure.getErrorMessage(), LONGEST_TOLD)
            self.owner.reject(self, "refused", f"node {self.peer} at {self._address} refused this node: {reason}")
            self.close()

    def _removed(self, incarnation: Incarnation, drawn: bytes) -> None:
        """Who says so has to be the peer itself, as far as this node has met it: anybody may be at its address."""
        is_peer = self._judge(self.peer, incarnation, drawn) is Verdict.WELCOME
        who = f"node {self.peer} at {self._address}" if is_peer else f"what answers at {self._address}"
        aside = "" if is_peer else f", but it is not node {self.peer} as this node knows it, so that counts for nothing"
        self.owner.reject(self, "removed", f"{who} says that this node was removed from the cluster{aside}")
        self.close()
        if is_peer:
            self.owner.removed(self.peer)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # as BoxProtocol's
        """As Link's. One that hangs up instead of answering Hello is not a node of this cluster; or one of the two does
        not trust the other's certificate."""
        if not self.closed and not self.up:
            if reason.check(ConnectionClosed):
                line = f"{self.name} closed the connection during the handshake"
            else:
                line = f"TLS with {self.name} failed: {shown(_without_codes(reason), LONGEST_TOLD)}"
            self.owner.reject(self, "lost", line)
        super().connectionLost(reason)


class Callee(Link):
    """The side that was dialled."""

    def __init__(self, owner: Owner, address: str) -> None:
        """`address` is where the other side calls from, with the port."""
        super().__init__(owner)
        self._address = address
        self.host = address.rpartition(":")[0]
        self._greeted = False
        self._caller: Greeting | None = None
        """What the caller said, until it says Met."""
        self._lets_in: tuple[NodeId, Incarnation] | None = None
        """Who is let in by the answer that leaves next."""

    @property
    def name(self) -> str:
        """Until its handshake it is a stranger, whatever it says."""
        return f"a stranger at {self._address}" if self.peer is None else f"node {self.peer}"

    def greeted(self, hello: Greeting) -> Deferred[amp.AmpBox]:
        """Let the caller in, or refuse it; the deadline of the handshake sees to it that a refused caller goes."""
        if self._greeted:
            raise MalformedMessage("Hello came again")
        self._greeted = True
        party = self.owner.party
        refusal, version = check(party, hello), hello.version(party)
        if refusal is None and version is not None:
            self.version = version
            self.owner.link_greeted(self, hello.from_id)
            return succeed(self._ask_back(hello))
        assert refusal is not None
        kind = refusal, hello.from_id if party.knows(hello.from_id) else None
        self.owner.reject(self, kind, f"refused {self.name}, which {refusal.describe(party, hello)}")
        self._finish()
        says_so = refusal is Refusal.REMOVED and version is not None and version >= CHANGES_MEMBERS
        code = amp_commands.Hello.fatalErrors[RemovedThere if says_so else HandshakeRefused]
        memory = self.owner.memory
        text = RemovedThere.text(memory.own, memory.drawn_at(hello.known)) if says_so else refusal.told
        return fail(amp.RemoteAmpError(code, text, fatal=True))

    def _ask_back(self, hello: Greeting) -> amp.AmpBox:
        memory = self.owner.memory
        self._caller, self._asked_about = hello, memory.known(hello.from_id)
        known = 0 if self._asked_about is None else self._asked_about.starts
        answer = {
            "incarnation": memory.own,
            "drawn": memory.drawn_at(hello.known),
            "known": known,
            "version": self.version if self.version >= CHANGES_MEMBERS else None,
        }
        return _answer(amp_commands.Hello, answer)

    def met(self, drawn: bytes, verdict: Verdict) -> Deferred[amp.AmpBox]:
        """The caller has made up its mind. Who is refused here has no say on who is refused there
        (`txraft.rpc.directories`)."""
        hello, self._caller = self._caller, None
        if hello is None or hello.incarnation is None:
            raise MalformedMessage("Met came, and no Hello before it")
        peer, incarnation, memory = hello.from_id, hello.incarnation, self.owner.memory
        ours = self._judge(peer, incarnation, drawn)
        if ours is None:
            self.abort()
        elif ours is not Verdict.WELCOME:
            self.owner.refuse(self, peer, ours)
            self._finish()
        elif verdict is not Verdict.WELCOME:
            self.close()
            self.owner.refused(peer, verdict)
        else:
            return memory.meet(peer, incarnation).addCallbacks(self._let_in, self._give_up, (hello,))
        return succeed(_answer(amp_commands.Met, {"verdict": ours or Verdict.WELCOME}))

    def _let_in(self, _: None, hello: Greeting) -> amp.AmpBox:
        if not self.closed and hello.incarnation is not None:
            self._lets_in = hello.from_id, hello.incarnation
        return _answer(amp_commands.Met, {"verdict": Verdict.WELCOME})

    def sendBox(self, box: amp.AmpBox) -> None:
        """As Link's. The answer that lets the caller in leaves before anything that the node has waited to ask it,
        where this is the only way to it (hazard R22): the caller takes nothing else before that answer."""
        super().sendBox(box)
        if self._lets_in is not None:
            (peer, incarnation), self._lets_in = self._lets_in, None
            if not self.closed:
                self._become_up(peer, incarnation)

    def _give_up(self, _: Failure) -> amp.AmpBox:
        self.abort()
        return amp.Box()


def _without_codes(reason: Failure) -> str:
    """Why TLS failed. An error of OpenSSL has a list of library, function and reason."""
    match getattr(reason.value, "args", ()):
        case ([(_, _, problem), *_],):
            return str(problem)
    return reason.getErrorMessage()


def _answer(command: type[amp.Command], answer: dict[str, Any]) -> amp.AmpBox:
    box: amp.AmpBox = command.makeResponse(answer, None)
    return box
