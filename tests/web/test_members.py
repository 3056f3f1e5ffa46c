"""`/members`, as the outside sees it."""

import json
from collections.abc import Sequence

from attrs import asdict
from twisted.internet.defer import Deferred, fail

from tests.web.test_application import ApiTestCase
from tests.web.wire import MEMBERS
from txraft.core.changes import Change, ChangeKind
from txraft.errors import ChangeRefused, ChangeUnderWay, NotApplied, OutcomeUnknown

ADDRESSES = "address=e:8080&kvaddr=e:27004"
CHANGES = (
    ("POST", f"/members?id=4&{ADDRESSES}"),
    ("DELETE", "/members?id=1"),
    ("POST", "/members/promote?id=3"),
    ("POST", f"/members/replace?id=1&by=4&{ADDRESSES}"),
    ("POST", f"/members/update?id=1&{ADDRESSES}"),
)


class ReadTests(ApiTestCase):
    def test_membership(self) -> None:
        """JSON, with the names of the fields as they are; the latest, unless less is asked for."""
        response = self.wire.get("/members")
        self.assertEqual((response.code, response.headers["content-type"]), (200, "application/json"))
        body, members = json.loads(response.body), json.loads(json.dumps(asdict(MEMBERS)))
        for member in members["members"]:
            member["address"], member["kvaddr"] = member.pop("addresses")
        self.assertEqual(body, members)
        self.assertEqual(self.replica.barriers, 1)
        self.replica.failure = NotApplied("no leader")
        self.check(self.wire.get("/members"), 503, "no leader")
        self.assertEqual(self.wire.get("/members?consistency=stale").code, 200)
        self.check(self.wire.get("/members?consistency=x"), 400, "linearizable")

    def test_fields(self) -> None:
        """They are what programs go by."""
        members = json.loads(self.wire.get("/members").body)
        self.assertEqual([*members], ["cluster", "founders", "index", "leader_id", "joint", "removed", "members"])
        self.assertEqual(
            [*members["members"][0]],
            [
                *("id", "address", "kvaddr", "voter", "learner", "joining"),
                *("replaces", "leaving", "match_index", "last_contact", "problem"),
            ],
        )

    def test_not_known(self) -> None:
        """A new node that has received nothing says so at once, also where what it has would do."""
        self.replica.unknown = NotApplied("node 3 has not received the members yet")
        for target in ("/members", "/members?consistency=stale"):
            response = self.wire.get(target)
            self.check(response, 503, "^node 3 has not received the members yet$")
            self.assertEqual(response.headers["x-txraft-outcome"], "not-applied")
        self.assertEqual(self.replica.barriers, 0)

    def test_methods(self) -> None:
        """The membership is read by GET; its changes are never made by following a link."""
        self.assertEqual(self.wire.ask("PUT", "/members").headers["allow"], "DELETE, GET, HEAD, POST")
        for method, target in CHANGES[2:]:
            self.check(self.wire.get(target), 405, f"^this path takes {method}$")
        self.check(self.wire.get("/members?id=1"), 400, "no parameter 'id'")
        self.assertEqual(self.replica.changes, [])


class ChangeTests(ApiTestCase):
    def asks_for(self, method: str, target: str, *changes: Change) -> None:
        """It is done, and answered with the membership."""
        self.replica.changes.clear()
        response = self.wire.ask(method, target)
        self.assertEqual(response.code, 200, response)
        self.assertEqual(json.loads(response.body)["index"], MEMBERS.index)
        self.assertEqual(self.replica.changes, list(changes))

    def refused(self, target: str, line: str, code: int = 400, method: str = "POST") -> None:
        """And nothing is done."""
        self.check(self.wire.ask(method, target), code, line)
        self.assertEqual(self.replica.changes, [])

    def test_add(self) -> None:
        """Without a vote at first, which it gets by itself unless it is to stay a learner (hazard M8)."""
        added = Change(ChangeKind.ADD_LEARNER, 4, ("e:8080", "[::1]:27004"), joins=True)
        self.asks_for("POST", "/members?id=4&address=E:8080&kvaddr=[::1]:27004", added)
        self.asks_for("POST", f"/members?id=4&{ADDRESSES}&learner=false", evolved(added, ("e:8080", "e:27004")))
        its = "address=unix:/run/4&kvaddr=e:27004"
        self.asks_for("POST", f"/members?id=4&{its}", evolved(added, ("unix:/run/4", "e:27004")))
        stays = Change(ChangeKind.ADD_LEARNER, 4, ("e:8080", "e:27004"))
        self.asks_for("POST", f"/members?id=4&{ADDRESSES}&learner=true", stays)

    def test_others(self) -> None:
        """What is not given stays."""
        addresses = ("e:8080", "e:27004")
        self.asks_for("DELETE", "/members?id=1", Change(ChangeKind.REMOVE, 1))
        self.asks_for("POST", "/members/promote?id=3", Change(ChangeKind.ADD_LEARNER, 3, joins=True))
        self.asks_for(
            "POST",
            f"/members/replace?id=1&by=4&{ADDRESSES}",
            Change(ChangeKind.ADD_LEARNER, 4, addresses, joins=True, replaces=1),
        )
        for given, becomes in (
            (ADDRESSES, addresses),
            ("address=e:8080", ("e:8080", "b:27004")),
            ("kvaddr=e:27004", ("b:8080", "e:27004")),
        ):
            self.asks_for("POST", f"/members/update?id=1&{given}", Change(ChangeKind.UPDATE, 1, becomes))

    def test_form(self) -> None:
        """A POST takes its parameters as a form, too."""
        self.assertEqual(self.wire.post("/members/promote", b"id=3").code, 200)
        self.assertEqual([change.server for change in self.replica.changes], [3])

    def test_bad_requests(self) -> None:
        """A line that says what is wrong."""
        self.refused("/members?id=4", "address is missing; /members takes id, address, kvaddr and learner")
        self.refused("/members", "id is missing; /members takes id$", method="DELETE")
        self.refused(f"/members?id=x&{ADDRESSES}", f"id is the id of a node, a whole number up to {2**63 - 1}, not 'x'")
        self.refused(f"/members?id={2**63}&{ADDRESSES}", f"a whole number up to {2**63 - 1}, not")
        self.refused(f"/members/replace?id=1&by=-1&{ADDRESSES}", "by is the id of a node")
        self.refused("/members?id=4&address=e&kvaddr=e:27004", '^address: "e" is not host:port')
        self.refused("/members?id=4&address=e:8080&kvaddr=%FF:1", "^kvaddr: .* is not")
        self.refused("/members?id=4&address=0.0.0.0:8080&kvaddr=e:1", "^address: 0.0.0.0:8080 is no address at which")
        self.refused(f"/members?id=4&{ADDRESSES}&learner=yes", "learner is true or false .the default., not 'yes'")
        self.refused(
            "/members?id=4&address=ssl:1:x&kvaddr=e:1", '^address: "ssl:1:x" is no address at which others reach'
        )
        self.refused("/members?id=4&address=e:1&kvaddr=unix:/e", "^kvaddr: .* is an endpoint as Twisted writes them")
        self.refused("/members/update?id=1", "address and kvaddr are missing")
        for headers in ({"If_Match": "*"}, {"Idempotency_Key": "a"}):
            response = self.wire.ask("DELETE", "/members?id=1", b"", **headers)
            self.check(response, 400, "/members takes no If-Match")
        self.assertEqual(self.replica.changes, [])

    def test_refused_here(self) -> None:
        """409 for what this node knows to be senseless."""
        self.refused(f"/members?id=1&{ADDRESSES}", "^node 1 is a member already, at b:8080; give .* another id$", 409)
        for id, own, line in (
            (1, "b", "is a voter already, at just these addresses"),
            (2, "c", "takes the place of node 1 when it has caught up; to undo that, remove node 2 first"),
            (3, "d", "is added as a learner that stays one already, at just these addresses"),
        ):
            self.refused(f"/members?id={id}&address={own}:8080&kvaddr={own}:27004", f"^node {id} {line}$", 409)
        self.refused("/members/promote?id=2", "^node 2 takes the place of node 1 when it has caught up; ", 409)
        self.refused("/members?id=4&address=e:1&kvaddr=e:1", "^e:1 cannot be both", 409)
        self.refused("/members/update?id=1&address=b:27004", "^b:27004 cannot be both", 409)
        self.refused("/members/update?id=9&address=b:27004", "^node 9 is no member", 409)
        self.refused("/members?id=9", "^node 9 is no member; the members are 0, 1, 2, 3$", 409, "DELETE")
        self.refused("/members?id=7", "^node 7 has been removed already$", 409, "DELETE")
        self.refused("/members/promote?id=1", "^node 1 has a vote already$", 409)
        self.refused(f"/members/replace?id=9&by=4&{ADDRESSES}", "^node 9 is no member", 409)
        self.refused(f"/members/update?id=7&{ADDRESSES}", "^node 7 is no member", 409)

    def test_refused_by_the_leader(self) -> None:
        """409 and its line (hazards M7, M9); where it is only too early for it, when to try again (hazard M1)."""
        failures = {ChangeRefused("node 4 has been removed"): None, ChangeUnderWay("another has not ended"): "1"}
        for error, retry_after in failures.items():
            self.patch(self.replica, "change_members", failing(error))
            for method, target in CHANGES:
                response = self.wire.ask(method, target)
                self.check(response, 409, f"^{error}$")
                self.assertEqual(response.headers.get("retry-after"), retry_after)
                self.assertNotIn("x-txraft-outcome", response.headers)

    def test_undecided(self) -> None:
        """503 says whether it may have taken effect (hazard C5)."""
        for error, outcome in ((NotApplied("no leader"), "not-applied"), (OutcomeUnknown("gone"), "unknown")):
            self.patch(self.replica, "change_members", failing(error))
            for method, target in CHANGES:
                response = self.wire.ask(method, target)
                self.check(response, 503, f"^{error}$")
                self.assertEqual(response.headers["x-txraft-outcome"], outcome)

    def test_membership_is_the_latest(self) -> None:
        """A change is judged by a membership that is not an old one, and nothing is done where there is none."""
        self.replica.failure = NotApplied("no leader")
        self.refused(CHANGES[1][1], "no leader", 503, "DELETE")

    def test_this_node_hears_of_it_before_it_answers(self) -> None:
        """And where it cannot, because it has been removed say, the change is done all the same."""
        change: Deferred[None] = Deferred()
        heard: Deferred[None] = Deferred()
        self.patch(self.replica, "change_members", lambda _: change)
        self.wire.request("DELETE", "/members?id=1")
        self.patch(self.replica, "read_barrier", lambda: heard)
        change.callback(None)
        self.assertEqual(self.wire.transport.value(), b"")
        heard.errback(NotApplied("nobody leads any more"))
        self.assertEqual(self.wire.response().code, 200)

    def test_cross_site(self) -> None:
        """No page of another site changes the membership (hazard N7)."""
        for method, target in CHANGES:
            for header in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "http://evil.example"}):
                self.check(self.wire.ask(method, target, b"", **header), 403, "may not change anything")
        self.assertEqual(self.replica.changes, [])


def evolved(change: Change, addresses: tuple[str, str]) -> Change:
    return Change(change.kind, change.server, addresses, change.joins)


def failing(error: Exception) -> "object":
    def change_members(_: Sequence[Change]) -> "Deferred[None]":
        return fail(error)

    return change_members
