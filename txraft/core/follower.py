"""A follower's side of replication (§5.3). Any of these requests may be a duplicate, late, or out of order (R19)."""

from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    NodeId,
)
from txraft.core.state import State
from txraft.errors import DataLost, InvariantViolated


def on_append_entries(state: State, leader: NodeId, request: AppendEntries) -> None:
    """AppendEntries of the current term (Figure 2, "Receiver implementation", steps 2 to 5).

    The answer leaves when the entries are durable.
    """
    log = state.log
    if not _matches_at(state, request.prev_log_index, request.prev_log_term):
        # What is compacted matches any leader's log, whatever the terms are said to be (hazard R14).
        hint = max(log.match_hint(request.prev_log_index, request.prev_log_term), log.snapshot_index)
        state.answer(leader, AppendEntriesReply(state.current_term, request.request_id, False, hint, log.term_at(hint)))
        return
    _append_what_is_new(state, request.entries)
    # What lies beyond is this server's own tail, which the leader has said nothing about (hazard R4).
    verified = request.prev_log_index + len(request.entries)
    state.commit_to(min(request.leader_commit, verified))
    state.answer(leader, AppendEntriesReply(state.current_term, request.request_id, True, verified, 0))


def on_install_snapshot(state: State, leader: NodeId, request: InstallSnapshot) -> None:
    """InstallSnapshot of the current term (Figure 13, "Receiver implementation", steps 6 to 8). What it stands for is
    on the disk already; the answer leaves when the log starts there.

    Where the log has the snapshot's last entry, it has everything before it too, and perhaps more: that stays, and all
    that is new is that so much is committed (hazard S8). Otherwise it ends before that entry, or conflicts with it, and
    the snapshot takes the place of all of it (hazard S7).
    """
    snapshot = request.snapshot
    if not _matches_at(state, snapshot.index, snapshot.term):
        state.install(snapshot)
    state.commit_to(snapshot.index)
    state.answer(leader, AppendEntriesReply(state.current_term, request.request_id, True, snapshot.index, 0))


def on_heartbeat(state: State, leader: NodeId, request: Heartbeat) -> None:
    """A heartbeat of the current term. Its leader_commit is an entry that this server has acknowledged (hazard R7), and
    so has, unless it lost what is on its disk, or that is an older copy (hazard R23)."""
    if request.leader_commit > state.commit_index:
        _require_acknowledged(state, request.leader_commit, request.commit_term)
    state.commit_to(request.leader_commit)
    state.answer(leader, HeartbeatReply(state.current_term, request.read_round))


def _matches_at(state: State, index: int, term: int) -> bool:
    """Whether the log matches the leader's, which has the entry (index, term). What is committed here matches any
    leader's log (Leader Completeness), so what is compacted does (hazard R6).

    Raises DataLost where something that is committed does not: then the state machine's data are of another log.
    """
    if index < state.log.snapshot_index:
        return True
    if index <= state.commit_index:
        _require_acknowledged(state, index, term)
    return state.log.has(index, term)


def _require_acknowledged(state: State, index: int, term: int) -> None:
    """Raise DataLost where an entry that this server has acknowledged, or applied, is not in its log."""
    log = state.log
    if not log.has(index, term):
        what = f"has one of term {log.term_at(index)} there" if index <= log.last_index else f"ends at {log.last_index}"
        raise DataLost(
            f"entry {index} of term {term} is committed, but this server's log {what}: it has lost what it acknowledged"
        )


def _append_what_is_new(state: State, entries: tuple[Entry, ...]) -> None:
    """Truncate at the first conflict only, never within what is committed, and append from there (hazard R5)."""
    log = state.log
    for position, entry in enumerate(entries):
        if entry.index <= log.snapshot_index or log.has(entry.index, entry.term):
            continue
        if entry.index <= state.commit_index:
            raise InvariantViolated(f"entry {entry.index} is committed, and the leader sends another in its place")
        if entry.index <= log.last_index:
            log.truncate_from(entry.index)
        log.append(entries[position:])
        return
