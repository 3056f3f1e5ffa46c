"""What the tests of changes of the membership share: the changes, and three servers with a leader."""

from twisted.trial.unittest import SynchronousTestCase

from tests.core.cluster import Cluster, Server
from txraft.core.changes import Change, ChangeKind
from txraft.core.configuration import Configuration
from txraft.core.messages import EntryKind, NodeId


def add(server: NodeId, replaces: NodeId | None = None) -> Change:
    """A server that joins, and is to vote."""
    return Change(ChangeKind.ADD_LEARNER, server, joins=True, replaces=replaces)


def learner(server: NodeId) -> Change:
    """A server without a vote."""
    return Change(ChangeKind.ADD_LEARNER, server)


def remove(server: NodeId) -> Change:
    """A server that goes."""
    return Change(ChangeKind.REMOVE, server)


def configurations(server: Server) -> list[Configuration]:
    """All that a server's log has, in their order."""
    log = server.raft.log
    entries = log.between(log.first_index, log.last_index)
    return [Configuration.from_bytes(each.data) for each in entries if each.kind is EntryKind.CONFIGURATION]


class Three(SynchronousTestCase):
    """Server 1 leads three."""

    def setUp(self) -> None:
        self.cluster = Cluster()
        self.leader = self.cluster.elect(1)
        self.cluster.beat()

    def change(self, *changes: Change) -> None:
        """Ask the leader for a change, and let it come to its end."""
        self.leader.change_members(*changes)
        self.cluster.settle()

    def members(self, *servers: NodeId) -> set[Configuration]:
        """What is in force on each of the servers."""
        return {self.cluster[server].raft.configuration for server in servers}
