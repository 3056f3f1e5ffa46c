"""Nodes that only seem to be a cluster: real servers on loopback, in threads, that answer what the test says."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import define, evolve, field

from tests.cli.serving import QuietHandler, serving
from txraft.addresses import Address
from txraft.kv.member_addresses import in_json
from txraft.statuses import MemberDetails, Members

NOBODY = Address("127.0.0.1", 1)
LAST = 100
"""The last entry of the leader's log."""


@define(eq=False, slots=False)
class FakeCluster:
    """The voters 0, 1 and so on, of which node 0 leads."""

    addresses: list[Address] = field(factory=list)
    members: Members = field(factory=lambda: Members("ours", (0, 1, 2), 7, 0, False, (), ()))
    before_each_look: Callable[[], None] = lambda: None
    """Called when a node is asked for the membership."""
    asked: list[tuple[int, str, str, dict[str, str]]] = field(factory=list)
    """The changes that were asked for: node, method, path and parameters."""
    refusal: tuple[int, str, str | None] | None = None
    """What a change is answered: status, line and X-Txraft-Outcome."""
    statuses: dict[int, dict[str, Any] | None] = field(factory=dict)
    """What a node's /status has that is not as usual; None where it answers something else."""
    has_leader: bool = True
    """Otherwise nobody can say which membership is the latest."""

    @property
    def node(self) -> str:
        """The address of one that does not lead."""
        return str(self.addresses[1])

    def have(self, id: int, address: str | None = None, kvaddr: str | None = None, **parts: Any) -> None:
        """Member `id` is so. What is not given stays."""
        others = [member for member in self.members.members if member.id != id]
        member = next((each for each in self.members.members if each.id == id), self._learner(id))
        addresses = tuple(
            new if new is not None else old for new, old in zip((address, kvaddr), member.addresses, strict=True)
        )
        self.members = evolve(self.members, members=(*others, evolve(member, addresses=addresses, **parts)))

    def _learner(self, id: int) -> MemberDetails:
        return MemberDetails(id, (f"raft{id}:1", f"kv{id}:1"), False, True, False, None, False, 0, 9.0)

    def answer(self, id: int, method: str, path: str, given: dict[str, str]) -> tuple[int, str, str | None]:
        """What node `id` says: status, body and X-Txraft-Outcome."""
        if path == "/status":
            parts = self.statuses.get(id, {})
            return (
                (404, "there is no such path", None)
                if parts is None
                else (200, json.dumps(self.status(id, **parts)), None)
            )
        if (method, path) == ("GET", "/members"):
            self.before_each_look()
            if not self.has_leader and given != {"consistency": "stale"}:
                return 503, "no leader was found", "not-applied"
        else:
            self.asked.append((id, method, path, given))
            if self.refusal is not None:
                return self.refusal
        return 200, json.dumps(in_json(self._as_seen_by(id))), None

    def _as_seen_by(self, id: int) -> Members:
        if id == self.members.leader_id:
            return self.members
        unknown = (evolve(member, match_index=None, last_contact=None, problem=None) for member in self.members.members)
        return evolve(self.members, members=tuple(unknown))

    def status(self, id: int, /, **parts: Any) -> dict[str, Any]:
        """As a node says it."""
        leads = id == self.members.leader_id
        followers = [
            {"id": each.id, "match_index": each.match_index, "last_contact": each.last_contact}
            for each in self.members.members
            if leads and each.id != id
        ]
        return {
            "version": "1.2.3",
            "data_size": 3 * 2**20,
            "id": id,
            "cluster": "ours",
            "role": "leader" if leads else "follower",
            "term": 4,
            "leader_id": self.members.leader_id,
            "commit_index": LAST,
            "last_applied": LAST - id,
            "last_log_index": LAST,
            "first_log_index": 1,
            "members_known": True,
            "members": [],
            "followers": followers,
            **parts,
        }


@contextmanager
def fake_cluster(size: int = 3) -> Iterator[FakeCluster]:
    """All of them run."""
    cluster = FakeCluster()
    with ExitStack() as stack:
        for id in range(size):
            address = stack.enter_context(serving(_handler(cluster, id)))
            cluster.addresses.append(address)
            voter: dict[str, Any] = {"voter": True, "learner": False, "match_index": LAST, "last_contact": 0.25 * id}
            cluster.have(id, kvaddr=str(address), **voter)
        yield cluster


def _handler(cluster: FakeCluster, id: int) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def handle_any(self) -> None:
            target = urlsplit(self.path)
            form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            given = dict(parse_qsl(target.query) + parse_qsl(form))
            status, body, outcome = cluster.answer(id, self.command, target.path, given)
            self.send_response(status)
            if outcome is not None:
                self.send_header("X-Txraft-Outcome", outcome)
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_DELETE = handle_any

    return Handler
