"""What happened in a run, a line an event, for a person to read: the same bytes from the same seed."""

import traceback

from attrs import define, field
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

from txraft.core.invariants import View
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    RequestVote,
    RequestVoteReply,
)
from txraft.testing.schedule import Schedule

QUIET = Logger(observer=LogPublisher())
"""A log that goes to nobody: the transcript says the same."""


@define(eq=False)
class Transcript:
    """The lines so far. Off, it costs nothing: `on` is asked before a line is made."""

    schedule: Schedule
    on: bool = False
    lines: list[str] = field(factory=list)

    def add(self, who: str, what: str) -> None:
        """Add a line."""
        self.lines.append(f"{self.schedule.now:10.6f}  {who:>4}  {what}")


def traceback_of(failure: Failure) -> str:
    """Of the exception, and before it of the one that it was raised from."""
    cause = failure.value.__cause__ if failure.value is not None else None
    before = "" if cause is None else "".join(traceback.format_exception(cause)) + "\nand from that:\n\n"
    return before + failure.getTraceback().rstrip()


def in_words(message: Message) -> str:  # noqa: PLR0911 - one for each kind of message
    """A message on a line."""
    match message:
        case RequestVote():
            kind = "PreVote" if message.pre_vote else "RequestVote"
            return f"{kind} term {message.term}, log ends {message.last_log_index}/{message.last_log_term}"
        case RequestVoteReply():
            kind = "PreVote" if message.pre_vote else "Vote"
            return f"{kind} {'granted' if message.vote_granted else 'refused'}, term {message.term}"
        case AppendEntries():
            previous = f"{message.prev_log_index}/{message.prev_log_term}"
            entries = " ".join(f"{entry.index}/{entry.term}" for entry in message.entries)
            return (
                f"AppendEntries #{message.request_id} term {message.term}, after {previous}: [{entries}],"
                f" commit {message.leader_commit}"
            )
        case AppendEntriesReply():
            said = "success" if message.success else f"no, try {message.match_term} at"
            return f"AppendEntriesReply #{message.request_id} term {message.term}, {said} {message.match_index}"
        case Heartbeat():
            commit = f"{message.leader_commit}/{message.commit_term}"
            return f"Heartbeat term {message.term}, commit {commit}, round {message.read_round}"
        case InstallSnapshot():
            snapshot = message.snapshot
            return f"InstallSnapshot #{message.request_id} term {message.term}, {snapshot.index}/{snapshot.term}"
        case HeartbeatReply():
            return f"HeartbeatReply term {message.term}, round {message.read_round}"
        case _:
            return str(message)


def what_changed(before: View | None, after: View, added: int, removed: int) -> str:
    """What is new of a node; nothing, where nothing is."""
    if before is None:
        return (
            f"starts in term {after.current_term}, log begins {after.first_index},"
            f" ends {after.last_index}/{after.last_term}"
        )
    words = []
    if (before.role, before.current_term) != (after.role, after.current_term):
        words.append(f"{before.role.value} of term {before.current_term} -> {after.role.value} of {after.current_term}")
    if after.voted_for not in (None, before.voted_for):
        words.append(f"votes for {after.voted_for}")
    if after.leader_id not in (None, before.leader_id):
        words.append(f"leader {after.leader_id}")
    if before.first_index != after.first_index:
        words.append(f"log begins {after.first_index}")
    if removed:
        words.append(f"removes {removed}")
    if added:
        words.append(f"appends {added}: log ends {after.last_index}/{after.last_term}")
    if after.commit_index != before.commit_index:
        words.append(f"commits {after.commit_index}")
    return ", ".join(words)
