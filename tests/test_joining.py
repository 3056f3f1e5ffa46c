"""What a new node asks, what it waits for, and what it begins with."""

import json
from typing import Any, cast

from attrs import define, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tests.clock import Clock
from txraft.addresses import Address
from txraft.answer_body import LONGEST
from txraft.core.configuration import Configuration
from txraft.errors import JoinRefused, MemberRemoved
from txraft.joining import INTERVAL, PATIENCE, Admission, Joiner, Joining
from txraft.statuses import WAITS_TO_JOIN

MEMBER = Address("h", 1)
ABSURD: tuple[Any, ...] = (None, 2**70, -1, 1.5, True, "no\nname", [[]], [None], ["text"], {"text": 1})
"""What is neither a name, nor an id, nor an address, nor a list of them."""


def member(id: int) -> dict[str, Any]:
    """One of `/members`."""
    return {"id": id, "address": f"h{id}:1", "kvaddr": f"h{id}:2", "voter": True}


def members(*ids: int, **others: Any) -> dict[str, Any]:
    """What a member answers."""
    return {"cluster": "c", "founders": [0, 1], "removed": [], "members": [member(id) for id in ids], **others}


@define(eq=False)
class Member(Resource):
    """Answers `/members`, with what the test says."""

    isLeaf = True
    status: int = 200
    body: bytes | None = b""
    """None for no answer at all."""
    waits: bytes | None = None
    """Which node it is, of one that is no member."""
    asked: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def render_GET(self, request: Request) -> bytes | int:
        assert (request.path, request.getHeader("host")) == (b"/members", str(MEMBER))
        self.asked += 1
        request.setResponseCode(self.status)
        if self.waits is not None:
            request.setHeader(WAITS_TO_JOIN, self.waits)
        return NOT_DONE_YET if self.body is None else self.body


class JoiningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.member = Member()
        self.agent: Any = RequestTraversalAgent(self.member)

    def start(self, joiner: Joiner) -> "Deferred[Admission | None]":
        self.joining = Joining(joiner, cast(IAgent, self.agent), self.clock)
        return self.joining.admitted()

    def answer(self, what: Any) -> None:
        """From now on."""
        self.member.status, self.member.body = 200, json.dumps(what).encode()

    def ask(self) -> None:
        """It is time for the next question."""
        self.clock.advance(INTERVAL)
        self.agent.flush()

    def test_admitted(self) -> None:
        """It begins with the cluster's identity and the founders, of whom one has gone, and knows where it listens."""
        self.answer(members(1, 3, 5, removed=[0]))
        addresses = {1: ("h1:1", "h1:2"), 3: ("h3:1", "h3:2")}
        self.assertEqual(
            self.successResultOf(self.start(Joiner(3, MEMBER, Address("h3", 2), "c"))),
            Admission("c", Configuration({0, 1}, addresses=addresses), Address("h3", 1), Address("h3", 2)),
        )

    def test_of_a_restored_cluster(self) -> None:
        """Its name is that of the one before, and something else."""
        self.answer(members(3, cluster=f"c (restored {'0' * 16})"))
        self.successResultOf(self.start(Joiner(3, MEMBER, name="c")))

    def test_waits(self) -> None:
        """It asks once a second, and says in one line what it waits for, where that is another thing than before."""
        answers: list[tuple[Any, str]] = [
            (members(0, 1), "it is no member yet; to add it: txraft member add 3 h:7 h:8 --node h:1"),
            ([], "h:1 answers as no member does, with status 200 ([]): --join takes the HTTP address of a member"),
            (members(0, founders="01"), "h:1 answers as no member does, with status 200 ("),
            (members(0, members=[{**member(0), "address": "nowhere"}]), "h:1 answers as no member does"),
            (members(0, cluster=None), "h:1 answers as no member does"),
            (members(0, 1), "it is no member yet; to add it: txraft member add 3 h:7 h:8 --node h:1"),
        ]
        self.answer(answers[0][0])
        with capturedLogs() as logged:
            admitted = self.start(Joiner(3, MEMBER, addresses="h:7 h:8"))
            for number, (what, _) in enumerate(answers):
                self.answer(what)
                for _ in range(3):
                    self.ask()
                self.assertEqual(self.member.asked, 1 + 3 * (number + 1))
        self.assertNoResult(admitted)
        self.assertEqual(len(logged), 6)
        for event, (_, line) in zip(logged, answers, strict=True):
            self.assertIn(f"node 3 waits to join the cluster: {line}", str(formatEvent(event)))
        self.assertEqual(self.joining.waits_for, answers[-1][1])
        self.answer(members(3))
        self.ask()
        self.successResultOf(admitted)

    def waits_for(self) -> str:
        """What it does after one question."""
        admitted = self.start(Joiner(3, MEMBER))
        admitted.addErrback(lambda _: None)
        self.agent.flush()
        self.assertNoResult(admitted)
        return self.joining.waits_for

    def test_no_leader(self) -> None:
        self.member.status, self.member.body = 503, b"no leader\nis known"
        self.assertEqual(self.waits_for(), "h:1 cannot say who the members are: no leader is known")

    def test_not_reached(self) -> None:
        self.patch(self.agent, "request", lambda *_: fail(ConnectionRefusedError("no\nway")))
        self.assertIn("h:1 cannot be reached: ", self.waits_for())
        self.assertTrue(self.waits_for().isprintable())

    def test_no_http(self) -> None:
        """What has no text for a person is given one: somebody else listens there, or the answer breaks off."""
        done = Failure(ConnectionDone())
        for error in (ResponseNeverReceived([done]), ResponseFailed([done]), RequestTransmissionFailed([done])):
            self.patch(self.agent, "request", lambda *_, error=error: fail(error))
            self.assertEqual(
                self.waits_for(),
                "h:1 does not answer over HTTP, or ended while it did: --join takes the HTTP address of a member, its"
                " KVADDR",
            )

    def test_who_waits_itself(self) -> None:
        """This node, or one that is no member either: what that one waits for is not said again."""
        self.member.status, self.member.body, self.member.waits = 503, b"node 3 waits to join the cluster: so", b"3"
        self.assertEqual(
            self.waits_for(),
            "h:1 is this node itself, or one with its id: --join takes the HTTP address of a member, its KVADDR",
        )
        self.member.waits = b"4"
        self.assertEqual(
            self.waits_for(),
            "h:1 is node 4, which waits to join, too: --join takes the HTTP address of a member, its KVADDR",
        )

    def test_no_answer(self) -> None:
        """It is not waited for for ever."""
        self.member.body = None
        admitted = self.start(Joiner(3, MEMBER))
        self.clock.advance(PATIENCE)
        self.assertEqual(self.joining.waits_for, "h:1 does not answer")
        self.answer(members(3))
        self.ask()
        self.successResultOf(admitted)

    def test_absurd(self) -> None:
        """An answer is a stranger's: it is no membership, and no bug either."""
        lone = "\ud800"
        for absurd in (
            *(members(3, **{key: value}) for key in ("cluster", "founders", "removed", "members") for value in ABSURD),
            *(members(3, members=[{**member(3), key: value}]) for key in ("id", "address") for value in ABSURD),
            *(members(3, members=[{**member(3), "kvaddr": value}]) for value in (*ABSURD, 5, f"{lone}:1", "h:0")),
            *(members(3, members=[value]) for value in ABSURD),
            *(members(3, cluster=name) for name in ("", lone, "two\nlines", "c" * 301)),
            *(members(3, founders=ids) for ids in ([2**63], [-1], [True], [0.0], [], [*range(101)])),
        ):
            self.answer(absurd)
            self.assertIn("h:1 answers as no member does, with status 200 (", self.waits_for(), absurd)
        for text in (b"[" * 200_000, b'{"cluster": ', b"1" * 5000, b"\xff", b"[NaN, Infinity]"):
            self.member.body = text
            self.assertIn("h:1 answers as no member does, with status 200 (", self.waits_for(), text)

    def test_as_large_as_may_be(self) -> None:
        """What is no more than unusual."""
        self.answer(members(3, 2**63 - 1, cluster="\N{SNOWMAN}" * 300, founders=[*range(4, 104)], removed=[2**63 - 1]))
        self.successResultOf(self.start(Joiner(3, MEMBER)))

    def test_very_long(self) -> None:
        """What has no end is not read to it."""

        class Endless(Member):
            def render_GET(self, request: Request) -> int:
                request.write(b"a" * (LONGEST + 1))
                return NOT_DONE_YET

        self.agent = RequestTraversalAgent(Endless())
        self.assertIn(f"answers as no member does, with status 200 ({'a' * 100}): ", self.waits_for())

    def test_stopped(self) -> None:
        """While it waits, and while it asks."""
        self.answer(members(0))
        for body in (self.member.body, None):  # one that has come halfway: test_answer_body
            self.member.body = body
            admitted = self.start(Joiner(3, MEMBER))
            waits_for = self.joining.waits_for
            self.joining.stop()
            self.assertIsNone(self.successResultOf(admitted))
            self.assertEqual((self.clock.getDelayedCalls(), self.joining.waits_for), ([], waits_for))

    # What no waiting helps against

    def refused(self, joiner: Joiner, what: Any) -> str:
        self.answer(what)
        return self.failureResultOf(self.start(joiner), JoinRefused).getErrorMessage()

    def test_removed(self) -> None:
        """(hazard M7)"""
        self.answer(members(0, removed=[3]))
        self.failureResultOf(self.start(Joiner(3, MEMBER)), MemberRemoved)

    def test_removed_founder(self) -> None:
        self.answer(members(0, removed=[1]))
        self.failureResultOf(self.start(Joiner(1, MEMBER)), MemberRemoved)

    def test_founder(self) -> None:
        """It had a directory, and has lost it (hazard S6)."""
        line = self.refused(Joiner(1, MEMBER), members(0, 1))
        self.assertIn("replace it by a node whose id was never used, txraft member replace 1 NEW", line)

    def test_other_kvaddr(self) -> None:
        line = self.refused(Joiner(3, MEMBER, Address("h3", 9)), members(3))
        self.assertIn("at h3:2, as it was added, and --kvaddr is h3:9: start it with --kvaddr h3:2, or", line)

    def test_other_addresses(self) -> None:
        """Where both are others, as where they were given in the wrong order, both are changed at once: one by itself
        is refused."""
        for joiner, both in (
            (Joiner(3, MEMBER, Address("h3", 1)), "--address h3:2 --kvaddr h3:1"),
            (Joiner(3, MEMBER, Address("h3", 1), address=Address("h3", 7)), "--address h3:7 --kvaddr h3:1"),
            (Joiner(3, MEMBER, Address("h3", 9), address=Address("h3", 8)), "--address h3:8 --kvaddr h3:9"),
            (Joiner(3, MEMBER, Address("h3", 9), address=Address("h3", 1)), "--kvaddr h3:9"),
        ):
            self.assertIn(f": txraft member update 3 {both} --node h:1", self.refused(joiner, members(3)))

    def test_other_name(self) -> None:
        line = self.refused(Joiner(3, MEMBER, name="mine"), members(3))
        self.assertIn('h:1 is in cluster "c", and the configuration is that of "mine"', line)

    def test_other_cluster(self) -> None:
        """The one that answers later is not the one that answered first."""
        for other in (members(3, cluster="d"), members(3, founders=[0])):
            self.answer(members(0))
            admitted = self.start(Joiner(3, MEMBER))
            self.answer(other)
            self.ask()
            line = self.failureResultOf(admitted, JoinRefused).getErrorMessage()
            self.assertIn("find out which of the two node 3 is to join", line)
