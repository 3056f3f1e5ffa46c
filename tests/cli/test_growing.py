"""How `txraft up` adds nodes to a cluster that was begun with fewer."""

import json
from typing import Any, cast

from attrs import define, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import Request

from tests.clock import Clock
from txraft.addresses import Address
from txraft.cli.growing import PAUSE, Growing
from txraft.settings import BUILT_IN

ASKED = Address("h", 1)
NEW = BUILT_IN.cluster[1:]


@define(eq=False)
class Member(Resource):
    """Of a cluster that has node 0 at first."""

    isLeaf = True
    ids: list[int] = field(factory=lambda: [0])
    refusals: list[tuple[int, bytes, bool]] = field(factory=list)
    """What the next changes are answered, and whether they may be asked for again."""
    added: list[dict[str, str]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def render_GET(self, request: Request) -> bytes:
        assert (request.path, request.getHeader("host")) == (b"/members", str(ASKED))
        return json.dumps({"members": [{"id": id} for id in self.ids]}).encode()

    def render_POST(self, request: Request) -> bytes:
        assert request.path == b"/members"
        if self.refusals:
            status, line, later = self.refusals.pop(0)
            request.setResponseCode(status)
            if later:
                request.setHeader("Retry-After", "1")
            return line
        given = {name.decode(): value.decode() for name, (value,) in request.args.items()}
        self.added.append(given)
        self.ids.append(int(given["id"]))
        return b"{}"


class GrowingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.member, self.said = Clock(), Member(), list[str]()
        self.agent: Any = RequestTraversalAgent(self.member)

    def grow(self) -> "Deferred[None]":
        growing = Growing(cast(IAgent, self.agent), self.clock, self.said.append)
        return Deferred.fromCoroutine(growing.add(NEW, ASKED))

    def test_one_after_the_other(self) -> None:
        self.successResultOf(self.grow())
        self.assertEqual(
            self.member.added,
            [{"id": f"{each.id}", "address": str(each.address), "kvaddr": str(each.kvaddr)} for each in NEW],
        )
        lines = [f"node {each.id} joins the cluster, and gets its vote when it has caught up" for each in NEW]
        self.assertEqual(self.said, lines)

    def test_added_before(self) -> None:
        """By a start that was ended before the node had its directory."""
        self.member.ids += [1, 2]
        self.successResultOf(self.grow())
        self.assertEqual((self.member.added, self.said), ([], []))

    def test_another_change(self) -> None:
        """It is waited for, and a leader too."""
        self.member.refusals += [(409, b"another change", True), (503, b"no leader", True)]
        grown = self.grow()
        for _ in range(2):
            self.assertNoResult(grown)
            self.clock.advance(PAUSE)
            self.agent.flush()
        self.successResultOf(grown)
        self.assertEqual([each["id"] for each in self.member.added], ["1", "2"])

    def test_refused(self) -> None:
        """One line says so, and the next one is added."""
        self.member.refusals.append((409, b"no\nsuch", False))
        self.successResultOf(self.grow())
        line, _ = self.said
        self.assertIn("node 1 could not be added: no", line)
        self.assertTrue(line.isprintable())
        self.assertEqual([each["id"] for each in self.member.added], ["2"])
