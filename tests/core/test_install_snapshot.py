"""InstallSnapshot as a follower takes it (§7, Figure 13), and what a snapshot does to a log that is being written.

Server 1 of five is the follower, in term 5, and the test is its leader, server 2.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server, entries_of
from tests.core.test_follower import accepted, answers, append, follower_with, refused
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind, Heartbeat, InstallSnapshot, Message, RequestVote, RequestVoteReply
from txraft.core.ready import Save, TermAndVote
from txraft.core.roles import Role
from txraft.errors import DataLost, InvariantViolated

MEMBERS = Configuration(voters=range(1, 6))
LOG = entries_of(1, 1, 3, 3, 5, 5)


def snapshot(index: int, term: int, configuration: Configuration = MEMBERS) -> Snapshot:
    return Snapshot(index, term, configuration)


def install(index: int, term: int, request_id: int = 1, leader_term: int = 5) -> InstallSnapshot:
    return InstallSnapshot(leader_term, request_id, snapshot(index, term))


def indexes(server: Server) -> tuple[int, int, int, int]:
    view = server.view
    return view.first_index, view.last_index, view.commit_index, view.last_applied


class InstallTests(SynchronousTestCase):
    """A snapshot that goes beyond the log."""

    def test_it_takes_the_place_of_the_log(self) -> None:
        """Figure 13, steps 7 and 8; hazard S7: of one that ends before, and of one that conflicts with it."""
        for terms in [(), (1, 1), (1, 1, 2, 2, 2, 2)]:
            follower = follower_with(*terms)
            follower.receive(2, install(4, 3, request_id=7))
            self.assertEqual(follower.writing[0][0], Save(None, (), snapshot(4, 3), replaces_log=True))
            self.assertEqual((indexes(follower), follower.view.last_term), ((5, 4, 4, 4), 3))
            self.assertEqual(follower.installed, [snapshot(4, 3)])
            self.assertEqual(answers(follower), [], "nothing is acknowledged before the log starts there")
            follower.write()
            self.assertEqual(answers(follower), [accepted(4, request_id=7)])
            self.assertEqual((follower.disk_start, follower.disk_log), (snapshot(4, 3), []))

    def test_addresses_that_it_does_not_say(self) -> None:
        """A leader of an earlier release knows none: those that are known here stay, also on the disk, except of who is
        no member any more; those that it says count."""
        known = Configuration(voters=range(1, 6), addresses={1: ("a",), 2: ("b",), 5: ("e",)})
        said = Configuration(voters=range(1, 5), addresses={2: ("B",)}, removed={5})
        both = Configuration(voters=range(1, 5), addresses={1: ("a",), 2: ("B",)}, removed={5})
        follower = Cluster(configuration=known)[1]
        follower.receive(2, InstallSnapshot(5, 1, snapshot(4, 3, said)))
        follower.write_all()
        self.assertEqual(follower.raft.configuration, both)
        self.assertEqual(follower.disk_start, snapshot(4, 3, both))

    def test_entries_that_follow(self) -> None:
        """They are appended while the disk still writes where the log starts, and applied behind the snapshot."""
        follower = follower_with(1, 1)
        follower.receive(2, install(4, 3))
        follower.receive(2, append(4, 3, LOG[4:], leader_commit=5, request_id=2))
        self.assertEqual((answers(follower), follower.applied), ([], []))
        follower.write()
        self.assertEqual((answers(follower), follower.applied), ([accepted(4)], []))
        follower.write()
        self.assertEqual((answers(follower), follower.applied), ([accepted(6, request_id=2)], [LOG[4]]))
        self.assertEqual(tuple(follower.disk_log), LOG[4:])

    def test_a_log_that_is_being_written(self) -> None:
        """hazards R11, S9: a write from before the snapshot ends after it has come. It says nothing of the log that
        starts later, also not where it reached beyond that start."""
        follower = follower_with(1, 1)
        follower.receive(2, append(2, 1, entries_of(1, 1, 2, 2, 2, 2)[2:]))
        follower.receive(2, install(4, 3, request_id=2))
        follower.receive(2, append(4, 3, LOG[4:], leader_commit=6, request_id=3))
        self.assertEqual(
            [save.entries for save, _ in follower.writing if save], [entries_of(1, 1, 2, 2, 2, 2)[2:], (), LOG[4:]]
        )
        follower.write()
        self.assertEqual((follower.view.durable_index, follower.applied), (0, []))
        follower.write()
        self.assertEqual((follower.view.durable_index, follower.applied), (4, []))
        follower.write()
        self.assertEqual((follower.view.durable_index, follower.applied), (6, list(LOG[4:])))

    def test_a_double(self) -> None:
        """hazards R10, S9: what the first one began is still being written: the second is answered after that as well,
        and so is a request for what the snapshot covers."""
        follower = follower_with(1, 1)
        follower.receive(2, install(4, 3))
        follower.receive(2, install(4, 3, request_id=2))
        follower.receive(2, append(0, 0, LOG[:3], request_id=3))
        follower.receive(2, append(4, 3, request_id=4))
        self.assertEqual(answers(follower), [])
        follower.write_all()
        self.assertEqual(
            answers(follower),
            [accepted(4), accepted(4, request_id=2), accepted(3, request_id=3), accepted(4, request_id=4)],
        )
        self.assertEqual(len(follower.installed), 1)

    def test_two_in_a_burst(self) -> None:
        """hazard S9: the later one is installed, and all that has come by then is one save."""
        follower = follower_with(1, 1)
        messages: list[Message] = [install(3, 3), install(4, 3), append(4, 3, LOG[4:]), Heartbeat(5, 0, 0, 0)]
        for message in messages:
            follower.raft.receive(2, message, 0.0)
        follower.take()
        self.assertEqual(follower.installed, [snapshot(4, 3)])
        self.assertEqual([save for save, _ in follower.writing], [Save(None, LOG[4:], snapshot(4, 3), True)])

    def test_a_term_with_it(self) -> None:
        """hazards E1, S9: the leader of a later term sends it: term and start of the log are one save."""
        follower = follower_with(1, 1)
        follower.receive(2, install(4, 3, leader_term=7))
        self.assertEqual(follower.writing[0][0], Save(TermAndVote(7, None), (), snapshot(4, 3), True))

    def test_a_crash_before_it_is_written(self) -> None:
        """hazard S9: the old log is there again, and nothing had been promised; the same snapshot does it later."""
        follower = follower_with(1, 1)
        follower.receive(2, install(4, 3))
        follower.start()
        self.assertEqual((follower.terms, indexes(follower)), ([1, 1], (1, 2, 0, 0)))
        follower.receive(2, install(4, 3))
        follower.write_all()
        follower.start()
        self.assertEqual((indexes(follower), follower.view.durable_index), ((5, 4, 4, 4), 4))

    def test_what_it_jumps_over(self) -> None:
        """hazard C7: entries that are committed and not given out yet never are; the save says up to where."""
        follower = follower_with(1, 1)
        follower.raft.receive(2, Heartbeat(5, 1, 1, 0), 0.0)
        follower.raft.receive(2, install(4, 3), 0.0)
        follower.take()
        follower.write_all()
        self.assertEqual((follower.applied, follower.installed), ([], [snapshot(4, 3)]))

    def test_the_membership(self) -> None:
        """hazard M6: that of the snapshot is in force, the outgoing half of a joint one too, and after a restart."""
        joint = Configuration(voters={1, 2, 6}, outgoing={1, 2, 3}, learners={7})
        follower = follower_with(1, 1)
        follower.receive(2, InstallSnapshot(5, 1, snapshot(4, 3, joint)))
        self.assertEqual(follower.raft.configuration, joint)
        follower.write_all()
        follower.start()
        self.assertEqual(follower.raft.configuration, joint)
        follower.time_out()
        self.assertEqual([to for to, _ in follower.sent(RequestVote)], [2, 3, 6])

    def test_a_leader_of_this_term(self) -> None:
        """Election Safety (§5.2): nobody else can send it one."""
        leader = Cluster(3).elect(1)
        self.assertRaises(InvariantViolated, leader.receive, 2, InstallSnapshot(1, 1, snapshot(4, 1)))
        self.assertEqual(leader.terms, [1])


class NothingNewTests(SynchronousTestCase):
    """A snapshot of what the log has."""

    def test_its_last_entry_is_in_the_log(self) -> None:
        """Figure 13, step 6; hazard S8: all entries stay, also those that follow; more of them are committed by it."""
        follower = follower_with(*(entry.term for entry in LOG))
        follower.receive(2, install(4, 3))
        self.assertEqual(follower.terms, [entry.term for entry in LOG])
        self.assertEqual((indexes(follower), follower.writing), ((1, 6, 4, 4), []))
        self.assertEqual((follower.applied, follower.installed), (list(LOG[:4]), []))
        self.assertEqual(answers(follower), [accepted(4)])

    def test_its_last_entry_is_being_written(self) -> None:
        """hazard R10: it is acknowledged when it is on the disk."""
        follower = follower_with(1, 1)
        follower.receive(2, append(2, 1, LOG[2:]))
        follower.receive(2, install(4, 3, request_id=2))
        self.assertEqual(answers(follower), [])
        follower.write_all()
        self.assertEqual(answers(follower), [accepted(6), accepted(4, request_id=2)])

    def test_an_old_one(self) -> None:
        """hazard S8: what is committed, or compacted, is as the snapshot has it, and acknowledged as such; newer
        entries stay."""
        follower = follower_with(*(entry.term for entry in LOG))
        follower.receive(2, append(6, 5, leader_commit=5))
        follower.compact(4)
        answers(follower)
        for index, term in [(2, 1), (4, 3), (5, 5)]:
            follower.receive(2, install(index, term))
            self.assertEqual((indexes(follower), follower.writing), ((5, 6, 5, 5), []))
            self.assertEqual(answers(follower), [accepted(index)])
        self.assertEqual(follower.installed, [])

    def test_of_another_log(self) -> None:
        """hazard R23: it conflicts with what is committed here."""
        follower = follower_with(*(entry.term for entry in LOG))
        follower.receive(2, append(6, 5, leader_commit=5))
        self.assertRaises(DataLost, follower.receive, 2, install(4, 4))
        self.assertEqual(follower.installed, [])


class AfterwardsTests(SynchronousTestCase):
    """A server whose log starts later."""

    def test_requests_from_before_the_snapshot(self) -> None:
        """hazard R6: late ones match, and change nothing; those that reach beyond bring what is new."""
        follower = follower_with(1, 1)
        follower.receive(2, install(4, 3))
        follower.write_all()
        answers(follower)
        for prev_log_index, prev_log_term, last in [(0, 0, 2), (1, 1, 4), (2, 1, 5), (4, 3, 6)]:
            follower.receive(2, append(prev_log_index, prev_log_term, LOG[prev_log_index:last]))
            follower.write_all()
            self.assertEqual(answers(follower), [accepted(last)])
        self.assertEqual((tuple(follower.disk_log), follower.view.first_index), (LOG[4:], 5))

    def test_heartbeats(self) -> None:
        """hazards R2, R7: one that is told of less than it knows goes on."""
        follower = follower_with(1, 1)
        follower.receive(2, install(4, 3))
        for index, term in [(0, 0), (2, 1), (4, 3)]:
            follower.receive(2, Heartbeat(5, index, term, 0))
        self.assertEqual(follower.view.commit_index, 4)

    def test_a_hint_below_the_snapshot(self) -> None:
        """hazards R13, R14: whatever a leader says, the hint is an index whose term is known."""
        follower = follower_with(1, 1)
        follower.receive(2, install(4, 3))
        follower.write_all()
        answers(follower)
        follower.receive(2, append(6, 2))
        self.assertEqual(answers(follower), [refused(4, 3)])

    def test_it_leads_at_once(self) -> None:
        """hazards E1, R10: it campaigns with the log that starts later, asks for votes when that is on its disk, and
        leads from there: its first entry follows on the snapshot."""
        follower = follower_with(1, 1)
        follower.receive(2, InstallSnapshot(5, 1, snapshot(4, 3, Configuration(voters=(1, 2, 3)))))
        follower.time_out()
        asked = {message for _, message in follower.sent(RequestVote)}
        self.assertEqual([(one.pre_vote, one.last_log_index, one.last_log_term) for one in asked], [(True, 4, 3)])
        for pre_vote in (True, False):
            [round_] = {message.round for _, message in follower.sent(RequestVote)}
            answers_of_3 = RequestVoteReply(6, round_, pre_vote, vote_granted=True)
            follower.outgoing.clear()
            follower.receive(3, answers_of_3)
            self.assertEqual(follower.sent(RequestVote), [])
            follower.write_all()
        self.assertIs(follower.view.role, Role.LEADER)
        self.assertEqual(follower.raft.log.entry(5), Entry(5, 6, EntryKind.NOOP, b""))
        self.assertEqual(follower.raft.log.term_at(follower.view.commit_index), 3)
        follower.read(1)  # waits for an entry of this term (hazard C1), and asks the log for the snapshot's
        self.assertEqual(follower.reads, [])
