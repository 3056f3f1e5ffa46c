"""RPC: Raft's messages, proposals and read barriers between nodes, over AMP.

**One command a message.** Each RPC of `txraft.core.messages` is an AMP command of the same name that asks for no answer
(`commands`): a reply leaves only after a disk write, may be lost (hazard R19), and names the request that it answers,
so it is a message of its own. `Hello`, `Ping`, `Propose`, `ReadBarrier` and `Transfer` are the commands that do have
answers. A command carries its message as one msgpack array, laid out by the fields of the attrs class, in an argument
that spreads over as many values of the box as it takes (`encoding`; hazard R20).

**Two connections a pair.** Every node dials every other (`network`), and a connection opens with `Hello`: protocol
version, cluster, who calls, who is meant (`handshake`). Entries and questions travel on the connection that this node
dialled; heartbeats, votes and replies on the one that the peer dialled, on which nothing large goes the same way. So no
follower campaigns, and no leader steps down, for want of a heartbeat that waits behind entries or proposals (hazard
R18). Where one of the two connections is missing, the other carries everything, so nodes work that can be reached one
way only. A newer connection from the same peer replaces the older: a peer that lost power never closed its old one.

**Nothing is kept for later.** A message without a connection is dropped, and Raft sends it again if it still matters.
What may wait for a slow peer is bounded (`send_queue`). A proposal is never sent twice (hazard C8): one that was never
written fails with `NotApplied`, one whose connection was lost afterwards with `OutcomeUnknown`.

**A dead peer is noticed** by TCP_USER_TIMEOUT and keepalive where the system has them, and where much is sent because
the socket's buffer fills, the transport pauses, and one that stays paused is aborted. A connection that is dead though
the transport takes everything in, as behind some proxies, gives no answer to `Ping`, and is aborted within a minute.

**Bad input ends the connection**, with one line in the log, before it reaches the handler: a box that cannot be read,
a gap between entries (hazard R12), an unknown command, anything before `Hello`.
"""

from txraft.rpc.link_limits import LinkLimits
from txraft.rpc.network import Network

__all__ = ["LinkLimits", "Network"]
