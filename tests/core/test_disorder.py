"""hazard R19: any message lost, doubled, late or reordered, any write late, any server crashing, in any order.

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
from txraft.core.messages import Entry, Message, NodeId
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

    def collect(self) -> None:
        for server in self.cluster:
            self.under_way += [(server.id, sent.to, sent.message) for sent in self.cluster.take_messages(server.id)]
        del self.under_way[:-OLD_ENOUGH]

    # What must always hold

    def check(self, case: SynchronousTestCase) -> None:
        for server in self.cluster:
            self.check_server(case, server)
        for leader in self.cluster.leaders():
            case.assertEqual(self.leaders.setdefault(leader.view.current_term, leader.id), leader.id, "Election Safety")
            known = zip(self.committed, self.committed_in, strict=True)
            kept = [entry for entry, term in known if term <= leader.view.current_term]
            case.assertEqual(log_of(leader)[: len(kept)], kept, "Leader Completeness")
        for one, other in combinations(self.cluster, 2):
            case.assertTrue(is_matching(log_of(one), log_of(other)), "Log Matching")
        if self.committed:
            on_disks = [server for server in self.cluster if self.committed[-1] in server.disk_log]
            case.assertGreaterEqual(len(on_disks), 2, "committed is what a majority of disks has")

    def check_server(self, case: SynchronousTestCase, server: Server) -> None:
        """State Machine Safety, and that what is called durable is so."""
        view, log = server.view, log_of(server)
        news = log[len(self.committed) : view.commit_index]
        self.committed += news
        self.committed_in += [view.current_term] * len(news)
        case.assertEqual(log[: view.commit_index], self.committed[: view.commit_index], "State Machine Safety")
        case.assertEqual(server.applied, self.committed[: view.last_applied], "State Machine Safety")
        case.assertEqual(server.disk_log[: view.durable_index], log[: view.durable_index], "durable is on the disk")

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
            case.assertEqual(server.disk_log, leader.disk_log)
            case.assertEqual(server.applied, leader.disk_log)
            case.assertEqual(server.applied[: len(self.committed)], self.committed)
            case.assertEqual(server.applied[-1], entry)


def log_of(server: Server) -> list[Entry]:
    return list(server.raft.log.between(1, server.view.last_index))


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
