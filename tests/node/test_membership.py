"""The membership is changed (§6, thesis chapter 4): whole nodes over memory, on a clock of their own."""

from twisted.internet.defer import Deferred

from tests.node.world import Machine, WorldTestCase
from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Configuration
from txraft.core.messages import Heartbeat, NodeId
from txraft.errors import ChangeRefused, ChangeUnderWay, MemberRemoved, NotApplied, OutcomeUnknown


def add(server: NodeId) -> Change:
    """A server that joins, and is to vote."""
    return Change(ChangeKind.ADD_LEARNER, server, (f"raft{server}", f"kv{server}"), joins=True)


def remove(server: NodeId) -> Change:
    """A server that goes."""
    return Change(ChangeKind.REMOVE, server)


class MembershipTests(WorldTestCase):
    """Three nodes with a leader, and others that come."""

    def setUp(self) -> None:
        self.nodes, self.leader = self.begun()

    def in_force(self, *machines: Machine) -> set[frozenset[NodeId]]:
        """Who votes, as each of them has it."""
        return {machine.node.configuration.voters for machine in machines}

    def test_a_node_joins(self) -> None:
        """Thesis §4.2.1; hazard M8: it is dialled, fed, and votes when it has caught up."""
        self.leader.node.propose(b"before")
        newcomer = self.nodes.join(4)
        changed = self.leader.node.change_members([add(4)])
        self.nodes.settle()
        self.assertEqual(self.successResultOf(changed).joining, ((4, None),))
        self.nodes.run(1)
        self.assertEqual(self.in_force(*self.nodes), {frozenset({1, 2, 3, 4})})
        self.leader.node.propose(b"after")
        self.nodes.run(0.2)
        self.assertEqual(newcomer.journal.commands, [b"before", b"after"])

    def test_what_a_new_node_knows_of_the_members(self) -> None:
        """Nothing, before the first entries come: what it begins with are the founders, and they may all be gone. It
        says so, and whom to ask."""
        newcomer = self.nodes.join(4)

        def refused(line: str) -> None:
            self.assertRaisesRegex(NotApplied, f"^node 4 has not received the members yet; {line}$", ask)
            status = newcomer.replica.status()
            self.assertEqual((status.members_known, status.members, status.role), (False, (), "learner"))
            failure = self.failureResultOf(newcomer.replica.transfer_leadership(self.leader.id), NotApplied)
            self.assertIn("has not received the members", str(failure.value))

        ask = newcomer.replica.members
        refused("ask another node")
        newcomer.disk.hold()
        newcomer.node.receive(self.leader.id, Heartbeat(self.leader.node.view.current_term, 0, 0, 1))
        self.nodes.settle()
        refused(f"ask node {self.leader.id}, which leads, at kv{self.leader.id}")
        newcomer.node.receive(9, Heartbeat(self.leader.node.view.current_term + 5, 0, 0, 1))
        self.nodes.settle()
        refused("ask node 9, which leads")
        newcomer.disk.let_go()
        self.successResultOf(self.changed(add(4)))
        self.nodes.run(2)
        self.assertEqual([member.id for member in ask().members], [1, 2, 3, 4])
        self.assertTrue(newcomer.replica.status().members_known)

    def test_who_was_never_heard(self) -> None:
        """Is not said to have been heard when it was added."""
        self.successResultOf(self.changed(add(4)))
        self.nodes.run(1)

        def contact() -> tuple[float | None, float | None]:
            status = self.leader.replica.status()
            return self.leader.replica.members().members[-1].last_contact, status.followers[-1].last_contact

        self.assertEqual(contact(), (None, None))
        self.nodes.join(4)
        self.nodes.run(2)
        self.assertNotIn(None, contact())

    def test_asked_of_any_node(self) -> None:
        """A follower passes it on."""
        follower = self.nodes.followers()[0]
        changed = follower.replica.change_members([remove(self.leader.id)])
        self.nodes.run(1)
        self.successResultOf(changed)
        self.assertNotIn(self.leader.id, follower.node.configuration.voters)

    def test_refused(self) -> None:
        """Asked of any node, and the node goes on."""
        for machine in self.nodes:
            asked = machine.replica.change_members([remove(9)])
            self.nodes.settle()
            self.assertIs(self.outcome(asked), ChangeRefused)
            self.assertEqual(machine.failures, [])

    def test_addresses_that_are_none(self) -> None:
        """Whoever asks for a change, the node that leads takes in no address that it cannot dial; nor a new member
        that has none. Others have theirs already."""
        for machine in self.nodes:
            for change in (
                Change(ChangeKind.ADD_LEARNER, 4, ("\x1b[31m\n\0:1", "kv4")),
                Change(ChangeKind.ADD_VOTER, 4),
                Change(ChangeKind.UPDATE, 2, ("nowhere",)),
            ):
                asked = machine.replica.change_members([remove(9), change])
                self.nodes.settle()
                self.assertIs(self.outcome(asked), ChangeRefused)
        self.assertEqual(self.in_force(*self.nodes), {frozenset({1, 2, 3})})
        changed = self.leader.node.change_members([Change(ChangeKind.ADD_LEARNER, self.nodes.followers()[0].id)])
        self.nodes.settle()
        self.successResultOf(changed)

    def test_an_earlier_release(self) -> None:
        """A member that could not read the change in its log is upgraded first."""
        follower = self.nodes.followers()[0]
        follower.crash()
        follower.start(newest_version=5)
        self.nodes.run(2)
        asked = self.leader.node.change_members([add(4)])
        self.assertIn(f"node {follower.id} runs an earlier", str(self.failureResultOf(asked, ChangeRefused).value))
        asked = self.leader.node.change_members([remove(follower.id)])
        self.assertIn("; upgrade it or stop it first", str(self.failureResultOf(asked, ChangeRefused).value))
        follower.crash()
        follower.start()
        self.nodes.run(2)
        asked = self.leader.node.change_members([add(4)])
        self.nodes.run(1)
        self.successResultOf(asked)

    def test_another_is_under_way(self) -> None:
        """One at a time (thesis §4.1)."""
        first, second = (self.leader.node.change_members([remove(each.id)]) for each in self.nodes.followers())
        self.nodes.settle()
        self.successResultOf(first)
        self.assertIs(self.outcome(second), ChangeUnderWay)

    def test_a_joint_change_ends_when_it_is_left(self) -> None:
        """Thesis §4.3: two voters go, and the answer comes with the last step."""
        for follower in self.nodes.followers():
            follower.disk.hold()
        changed = self.leader.node.change_members([remove(each.id) for each in self.nodes.followers()])
        self.nodes.settle()
        self.assertTrue(self.leader.node.configuration.is_joint)
        self.assertNoResult(changed)
        for follower in self.nodes.followers():
            follower.disk.let_go()
        self.nodes.run(0.2)
        self.assertEqual(self.successResultOf(changed).voters, {self.leader.id})

    def test_who_was_removed_ends(self) -> None:
        """hazard M7: with a line that says so, and only when that is committed; and it does not start again."""
        gone, other = self.nodes.followers()
        other.disk.hold()
        gone.disk.hold()
        self.leader.node.change_members([remove(gone.id)])
        self.nodes.settle()
        gone.disk.let_go()
        self.nodes.settle()
        self.assertEqual((gone.failures, self.leader.failures), ([], []))  # not committed: it may yet stay
        self.assertEqual(len(gone.replica.members().members), 2)
        other.disk.let_go()
        self.nodes.run(1)
        [failure] = gone.failures
        self.assertIsInstance(failure, MemberRemoved)
        self.assertIn(f"node {gone.id} was removed from the cluster", str(failure))
        self.assertNotIn(gone.id, self.leader.node.followers)  # its last answer has told the leader that it knows
        self.assertEqual(self.in_force(self.leader, other), {frozenset({self.leader.id, other.id})})

    def test_who_was_removed_while_away_is_told(self) -> None:
        """hazards M7, E9: it comes back, knows nothing, and is refused by those who do."""
        gone, other = self.nodes.followers()
        gone.crash()
        self.successResultOf(self.changed(remove(gone.id)))
        self.nodes.run(6)  # the leader feeds it no more
        term = self.leader.node.view.current_term
        gone.start()
        self.nodes.run(3)
        self.assertIsInstance(gone.failures[0], MemberRemoved)
        self.assertEqual(self.leader.node.view.current_term, term)
        self.assertEqual(self.in_force(self.leader, other), {frozenset({self.leader.id, other.id})})

    def changed(self, *changes: Change) -> "Deferred[Configuration]":
        """A change that has come to its end."""
        changed = self.leader.node.change_members(changes)
        self.nodes.run(0.5)
        return changed

    def test_a_leader_that_removes_itself(self) -> None:
        """hazard M4: it answers, another leads, and it ends."""
        changed = self.leader.node.change_members([remove(self.leader.id)])
        self.nodes.run(0.5)
        self.successResultOf(changed)
        self.assertIsInstance(self.leader.failures[0], MemberRemoved)
        self.assertIsNot(self.nodes.leader(), self.leader)

    def test_the_node_stops_meanwhile(self) -> None:
        """A step of a joint change is committed, and nobody knows of the last one."""
        for follower in self.nodes.followers():
            follower.disk.hold()
        changed = self.leader.node.change_members([remove(each.id) for each in self.nodes.followers()])
        self.nodes.settle()
        self.leader.crash()
        self.assertIs(self.outcome(changed), OutcomeUnknown)

    def test_nobody_leads(self) -> None:
        """Who asks waits for a leader, and is told in the end that nothing was changed."""
        alone = self.nodes.followers()[0]
        for machine in self.nodes:
            if machine is not alone:
                machine.crash()
        self.nodes.run(1)
        asked = alone.replica.change_members([remove(alone.id)])
        self.nodes.run(6)
        self.assertIs(self.outcome(asked), NotApplied)

    def test_a_restart_has_the_membership(self) -> None:
        """From the log, also where that starts later; what the node was founded with counts no more."""
        self.nodes.join(4)
        self.changed(add(4))
        self.nodes.run(1)
        for machine in self.nodes:
            machine.crash()
        for machine in self.nodes:
            machine.start()
        self.nodes.run(3)
        self.assertEqual(self.in_force(*self.nodes), {frozenset({1, 2, 3, 4})})

    def test_one_node_grows(self) -> None:
        """From one to three, while it leads."""
        world = self.world(1)
        first = world.leader()
        for server in (2, 3):
            world.join(server)
            asked = first.node.change_members([add(server)])
            world.run(1)
            self.successResultOf(asked)
        self.assertEqual(self.in_force(*world), {frozenset({1, 2, 3})})
        self.assertIs(world.leader(), first)
