"""RPC: Raft's messages, proposals and read barriers between nodes, over AMP.

**One command a message.** Each RPC of `txraft.core.messages` is an AMP command of the same name that asks for no answer
(`amp_commands`): a reply leaves only after a disk write, may be lost (hazard R19), and names the request that it
answers, so it is a message of its own. `Hello`, `Ping`, `Propose`, `ReadBarrier`, `Transfer`, `ChangeMembers` and the
three that carry a snapshot's data are the commands that do have answers, and go AMP's way. Messages are AMP's boxes
too, written and read by a shorter way (`message_boxes`). A command carries its message as one msgpack array, laid out
by the fields of the attrs class, in an argument that spreads over as many values of the box as it takes (`encoding`,
`memberships`; hazard R20).

**The membership is followed.** The node says who the members are, and where, whenever that changes (`IPeers.follow`):
who is new is dialled, at a new address too, and what was dialled to those who went is closed (`dialling`). Who was
removed is hung up on, and told so when it calls again (hazard M7). A member that this node has not heard of is let in
by what its own log says, since its vote may be the one that is missing (`handshake.check`; hazard E10).

**Two versions are spoken,** that of this release and that of the one before, so that the nodes of a cluster can be
upgraded one after the other: each connection speaks the newest that both sides do (`versions`). A change of the
membership is never sent to a node that would not understand it.

**Two connections a pair.** Every node dials every other (`network`, `dialling`), and a connection opens with `Hello`:
protocol versions, cluster, founders, who calls, who is meant (`handshake`, `sides`). Entries and questions travel on
the connection that this node dialled; heartbeats, votes and replies on the one that the peer dialled, on which nothing
large goes the same way (`link`). So a heartbeat never waits behind entries or proposals, which would make a follower
campaign or a leader step down (hazard R18). Where one of the two connections is missing, the other carries everything,
so nodes work that can be reached one way only. A newer connection from the same peer replaces the older: a peer that
lost power never closed its old one. Where the peer is there, at another address by now, the older stays until what was
asked by it is answered.

**A node that forgot is refused.** In the handshake, by `Hello` and `Met`, both sides say which directory they have and
which start of it this is, and ask for what was drawn at the start that they have met. They are connected when both have
written down what they met, which is once for each start of a node (`directories`; hazards S6, M7).

**A snapshot's data go in chunks** beside the entries, a few in flight, each answered when it is written. After a lost
connection they go on where they ended (`snapshot_transfer`; hazard S10). `InstallSnapshot` follows as a message.

**Nothing waits that need not.** A message goes to the socket at once; questions, and answers, of one turn of the
reactor go in one write, since they come many together (`send_queue`).

**Nothing is kept for later.** A message without a connection is dropped, and Raft sends it again if it still matters.
What may wait for a slow peer is bounded (`send_queue`). A proposal is never sent twice (hazard C8): one that was never
written fails with `NotApplied`, one whose connection was lost afterwards with `OutcomeUnknown`.

**A dead peer is noticed** by TCP_USER_TIMEOUT and keepalive where the system has them. Where much is sent, the socket's
buffer fills, and a transport that does not get rid of what it has is aborted. A connection that is dead though the
transport takes everything in, as behind some proxies, gives no answer to `Ping`, and is aborted within a minute.

**Bad input ends the connection**, with one line in the log, before it reaches the handler: a box that cannot be read,
a gap between entries (hazard R12), an unknown command, anything before `Hello`.

**Strangers cost little.** Until its handshake is over, a connection holds a few KiB (`boxes`, hazard N3) and lasts some
seconds. Where too many have not said who they are, some are hung up on, and nodes get in nevertheless (`strangers`). A
caller that is refused learns nothing of this node. A peer may send the longest command in one box, and no more; what
its messages unpack to, its questions and what it does not read are bounded. Nothing of a connection outlives it. Lines
that others cause are shortened, escaped, and limited by kind and time (`limited_log`, hazard N5). A node is known by
names and numbers alone. A stranger who knows those of a cluster and can reach its ports can pass for one of its nodes,
so these ports belong in a network of their own.
"""

from txraft.rpc.link_limits import LinkLimits
from txraft.rpc.network import Network

__all__ = ["LinkLimits", "Network"]
