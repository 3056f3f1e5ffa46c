"""A server of a cluster, with any state machine, as a Twisted service. Nothing of the key-value store is in here, and
nothing of the process around it is changed.

`RaftService` wires it: `txraft.node` drives `txraft.core`, between the disk (`txraft.storage`), the other servers
(`txraft.rpc`) and the machine. `parts` are what starts and stops beside the node, and `endpoints` says where the others
are and where this server listens. `arguments` says what is wrong with what a service is made of.
"""

from txraft.raft_service.arguments import newcomer
from txraft.raft_service.service import RaftService

__all__ = ["RaftService", "newcomer"]
