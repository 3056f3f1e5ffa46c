"""hazard R19: any message lost, doubled, late or reordered, any write late, any server crashing, any log compacted, in
any order.

Two phases, as openraft has them. First three servers are handed a random sequence of such steps, and after each of them
everything that must always hold is checked, against what was ever committed. Then all is healed, and what must follow
is checked: one leader, the same log everywhere, and in it everything that was ever committed.
"""

import contextlib
from collections.abc import Callable
from itertools import combinations

from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server
from txraft.core.messages import AppendEntriesReply, Entry, Message, NodeId
from txraft.core.state import RaftOptions
from txraft.errors import NotLeader, Overloaded

OPTIONS = RaftOptions(max_message_size=80, max_inflight_messages=3, max_uncommitted_size=400)
OLD_ENOUGH = 60
"""So many messages can be under way; the oldest is lost for another one."""


class Disorder:
    """Three servers, every message that any of them has sent, and what is known to be committed."""

    def __init__(self, seed: int) -> None:
        self.cluster = Cluster(3, options=OPTIONS, seed=seed)
        self.under_way: list[tuple[NodeId, NodeId, Message]] = []
        self.committed: list[Entry] = []
        self.committed_in: list[int] = []
        """For each of them, a term by which it was committed: all later leaders have it."""
        self.leaders: dict[int, NodeId] = {}
        self.proposed = 0
        self.cluster.elect(1)

    # Steps

    def step(self, name: str, number: int) -> None:
        """One step. The number chooses the server, a leader where one is needed, or the message, or for how long."""
        leaders = self.cluster.leaders() if name in ("propose", "beat") else []
        server = leaders[number % len(leaders)] if leaders else self.cluster[number % 3 + 1]
        actions: dict[str, Callable[[], None]] = {
            "deliver": lambda: self.deliver(number, keep=False),
            "double": lambda: self.deliver(number, keep=True),
            "lose": lambda: self.lose(number),
            "flow": lambda: self.flow(number % 15),
            "write": lambda: self.write(server),
            "propose": lambda: self.propose(server),
            "time out": lambda: self.time_out(server),
            "beat": lambda: self.beat(server),
            "reconnect": lambda: server.reconnect(number % 2 + 1),
            "crash": server.start,
            "leave behind": lambda: self.leave_behind(server),
            "compact": lambda: self.compact(server, number % 4),
            "send snapshot": lambda: self.send_snapshot(server, number),
        }
        actions[name]()
        self.collect()

    def deliver(self, number: int, keep: bool) -> None:
        """Any message arrives, not only the oldest; perhaps not for the last time."""
        if not self.under_way:
            return
        at = number % len(self.under_way)
        sender, receiver, message = self.under_way[at] if keep else self.under_way.pop(at)
        self.cluster[receiver].receive(sender, message)

    def lose(self, number: int) -> None:
        if self.under_way:
            self.under_way.pop(number % len(self.under_way))

    def write(self, server: Server) -> None:
        server.write()

    def flow(self, count: int) -> None:
        """For a while messages arrive in order and disks are quick, or little would ever be committed."""
        for _ in range(count):
            self.deliver(0, keep=False)
            for server in self.cluster:
                server.write()
            self.collect()

    def propose(self, server: Server) -> None:
        self.proposed += 1
        with contextlib.suppress(NotLeader, Overloaded):
            server.propose(b"%d" % self.proposed + bytes(self.proposed % 5 * 20))

    def time_out(self, server: Server) -> None:
        self.cluster.advance(2 * OPTIONS.election_timeout)
        server.time_out()

    def beat(self, server: Server) -> None:
        self.cluster.advance(OPTIONS.heartbeat_interval)
        server.beat()

    def leave_behind(self, server: Server) -> None:
        """For a while the others hear each other only; then they compact all that they have applied."""
        others = [other for other in self.cluster if other is not server]
        for _ in range(20):
            for leader in self.cluster.leaders():
                self.beat(leader)
                self.propose(leader)
            self.collect()
            self.under_way = [sent for sent in self.under_way if server.id not in sent[:2]]
            self.flow(5)
        for other in others:
            self.compact(other, 0)

    def compact(self, server: Server, kept: int) -> None:
        self.learn(server)
        server.raft.compact(server.view.last_applied - kept)
        server.take()

    def learn(self, server: Server) -> None:
        """Keep what it has committed."""
        news = self.log_of(server)[len(self.committed) : server.view.commit_index]
        self.committed += news
        self.committed_in += [server.view.current_term] * len(news)

    def send_snapshot(self, server: Server, number: int) -> None:
        """Any snapshot that can be made arrives, or none does."""
        if server.to_send:
            peer, raft, oldest = server.to_send.pop(0), server.raft, server.view.first_index - 1
            index = oldest + number % (server.view.last_applied + 1 - oldest)
            if number % 3:
                raft.snapshot_delivered(peer, raft.snapshot_at(index), self.cluster.now)
            else:
                raft.snapshot_failed(peer, self.cluster.now)
            server.take()

    def log_of(self, server: Server) -> list[Entry]:
        """What is compacted was committed."""
        return [
            *self.committed[: server.view.first_index - 1],
            *server.raft.log.between(server.view.first_index, server.view.last_index),
        ]

    def disk_of(self, server: Server) -> list[Entry]:
        start = server.disk_start.index if server.disk_start is not None else 0
        return [*self.committed[:start], *server.disk_log]

    def collect(self) -> None:
        for server in self.cluster:
            self.under_way += [(server.id, sent.to, sent.message) for sent in self.cluster.take_messages(server.id)]
        del self.under_way[:-OLD_ENOUGH]

    # What must always hold

    def check(self, case: SynchronousTestCase) -> None:
        for server in sorted(self.cluster, key=lambda server: server.view.first_index):  # the others know less
            self.check_server(case, server)
        for leader in self.cluster.leaders():
            case.assertEqual(self.leaders.setdefault(leader.view.current_term, leader.id), leader.id, "Election Safety")
            known = zip(self.committed, self.committed_in, strict=True)
            kept = [entry for entry, term in known if term <= leader.view.current_term]
            case.assertEqual(self.log_of(leader)[: len(kept)], kept, "Leader Completeness")
        for one, other in combinations(map(self.log_of, self.cluster), 2):
            case.assertTrue(is_matching(one, other), "Log Matching")
        if self.committed:
            on_disks = [server for server in self.cluster if self.committed[-1] in self.disk_of(server)]
            case.assertGreaterEqual(len(on_disks), 2, "committed is what a majority of disks has")

    def check_server(self, case: SynchronousTestCase, server: Server) -> None:
        """State Machine Safety, and that what is called durable is so."""
        self.learn(server)
        view, log, disk = server.view, self.log_of(server), self.disk_of(server)
        case.assertEqual(log[: view.commit_index], self.committed[: view.commit_index], "State Machine Safety")
        case.assertEqual(server.applied, [self.committed[entry.index - 1] for entry in server.applied], "the same")
        case.assertEqual(disk[: view.durable_index], log[: view.durable_index], "durable is on the disk")
        for sender, _, message in self.under_way[-9:]:
            if sender == server.id and isinstance(message, AppendEntriesReply) and message.success:
                known = self.committed[: message.match_index]
                case.assertEqual(disk[: len(known)], known, "acknowledged is on the disk")

    # What must follow

    def heal(self, case: SynchronousTestCase) -> None:
        """What is late still arrives; from then on the network, the disks and the timers are well."""
        while self.under_way:
            self.deliver(len(self.under_way) // 2, keep=False)
            self.collect()
            self.check(case)
        self.cluster.run(8)
        (leader,) = self.cluster.leaders()
        entry = leader.propose(b"after all")
        self.cluster.run(1)
        self.check(case)
        for server in self.cluster:
            case.assertEqual(self.disk_of(server), self.committed)
            case.assertEqual(server.applied[-1], entry)


def is_matching(one: list[Entry], other: list[Entry]) -> bool:
    """Log Matching (§5.3): where an index has the same term in both, all up to there is the same."""
    same_terms = [index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a.term == b.term]
    return not same_terms or one[: same_terms[-1] + 1] == other[: same_terms[-1] + 1]


WEIGHTS = {
    "flow": 6,
    "deliver": 6,
    "propose": 4,
    "write": 3,
    "time out": 2,
    "beat": 2,
    "double": 1,
    "lose": 1,
    "reconnect": 1,
    "crash": 1,
    "leave behind": 1,
    "compact": 1,
    "send snapshot": 2,
}
NAMES = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 59)), min_size=60, max_size=150)


class DisorderTests(SynchronousTestCase):
    """hazard R19: no effect but delay."""

    # Shrinking would take minutes; the steps that failed are printed, and are the same each time.
    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=120,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(STEPS, st.integers(0, 999))
    def test_any_order(self, steps: list[tuple[str, int]], seed: int) -> None:
        """Nothing that must always hold is ever broken; and when all is well again, all agree."""
        disorder = Disorder(seed)
        for name, number in steps:
            disorder.step(name, number)
            disorder.check(self)
        note(f"committed before healing: {len(disorder.committed)}, in terms {sorted(disorder.leaders)}")
        disorder.heal(self)
