"""Raft itself, pure: no sockets, no files, no clock, no threads. It reads like the paper, and a test can drive it.

Theory of operation
===================

One `Raft` is one server. Everything that happens to it is a method call that carries the time: a message arrived, the
election timer fired, the heartbeat timer fired, a command was proposed, a read wants a barrier, a save is durable, a
connection opened or closed, the log may be compacted, a snapshot was sent. Each call runs to its end; none waits. What
the server wants done in return collects in an outbox and is taken, after a burst of calls, as one `Ready`: so a burst
is one write, one fsync and one message a peer.

    receive, election_timeout,          ┌──────┐          messages ──────────> peers
    heartbeat_timeout, propose,  ─────> │ Raft │ ──Ready─> save ──────────────> disk ──> saved()
    read, saved, peer_connected, _lost, └──────┘          messages_after_save > peers, once the save is durable
    compact, snapshot_delivered, _failed                  committed, reads ───> state machine
                                                          save.replaces_log ──> state machine, once the save is durable
                                                          snapshots_to_send ──> peers

The order that keeps promises across a crash: a message that says something of the server's own state (a vote, an
acknowledgement, its term) leaves only after that state is durable. The one exception is the leader's own log: it sends
entries while its disk writes them, and counts itself only when its write is done (thesis §10.2.1).

Of a snapshot (§7) the core sees what it stands for, index, term and membership, and never the data. Those go from disk
to disk before InstallSnapshot goes from core to core.

The rooms, from the bottom up; each knows only those above it in this list:

- `quorum`         majorities, of one set of voters or of two
- `configuration`  who is a member, who votes
- `changes`        from one configuration to the next, joint ones too (§6, thesis §4.3)
- `messages`       what servers say to each other
- `ready`          what a server wants done
- `membership`     the configurations in the log, and the one in force
- `log`            the entries, what is durable, what is compacted; with them the membership moves
- `roles`          follower, pre-candidate, candidate, leader, and the table of legal changes between them
- `backlog`        what waits, and how much may
- `progress`       what a leader knows of one follower
- `state`          what a server knows, durable and not (Figure 2, "State"), and its outbox
- `lateness`       timers that fire late
- `elections`      the election timer, campaigns, votes, stepping down (§5.2, §5.4.1, thesis §9.6)
- `terms`          what the term of a message means: the one place (§5.1)
- `follower`       what a follower does with entries and heartbeats (§5.3)
- `replication`    a leader's log on its way to the followers, and commitment (§5.3, §5.4.2)
- `reads`          ReadIndex: linearizable reads without a log entry (thesis §6.4)
- `transfer`       handing leadership over (thesis §3.10)
- `reconfiguration` changes of the membership, as the leader makes them (§6)
- `leader`         what a server has only while it leads: heartbeats, CheckQuorum, and the three above it
- `raft`           the door: inputs in, `Ready` out
- `invariants`     what must always hold

"Paper" is the extended version of "In Search of an Understandable Consensus Algorithm"; bare sections are its. "Thesis"
is Ongaro's "Consensus: Bridging Theory and Practice".
"""
