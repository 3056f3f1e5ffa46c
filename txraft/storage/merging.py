"""Several saves made one, and what a save has to begin with."""

from collections.abc import Iterable

from txraft.core.configuration import Snapshot
from txraft.core.messages import Entry
from txraft.core.ready import Save, TermAndVote
from txraft.errors import InvariantViolated


def merge(saves: Iterable[Save]) -> Save:
    """The one save that leaves on disk what all of `saves`, one after the other, would leave there. A gap between the
    entries of two saves stays a gap.
    """
    term_and_vote: TermAndVote | None = None
    log_start: Snapshot | None = None
    replaces_log = False
    entries: list[Entry] = []
    for save in saves:
        if save.term_and_vote is not None:
            term_and_vote = save.term_and_vote
        if save.replaces_log:
            replaces_log = True
            entries.clear()
        if save.log_start is not None:
            log_start = save.log_start
            if entries and entries[0].index <= log_start.index <= entries[-1].index:
                # The log begins within the earlier entries, and so they, or their rest, are all that is left of it.
                replaces_log = True
                del entries[: log_start.index + 1 - entries[0].index]
        if save.entries:
            # What an earlier save has from this one's first index on is replaced.
            kept = max(0, save.entries[0].index - entries[0].index) if entries else 0
            del entries[kept:]
            entries.extend(save.entries)
    return Save(term_and_vote, tuple(entries), log_start, replaces_log)


def require_no_gap(save: Save, start: int, last: int) -> None:
    """Raises InvariantViolated where `save`, done when the entries behind `start` up to `last` are stored, would leave
    a gap (hazard R12), or take the start of the log back.
    """
    if save.log_start is not None:
        index = save.log_start.index
        if index <= start or (index > last and not save.replaces_log):
            raise InvariantViolated(
                f"the log cannot begin after entry {index}: it has those from {start + 1} to {last}"
            )
        start, last = index, index if save.replaces_log else last
    elif save.replaces_log:
        raise InvariantViolated("the log cannot be replaced by one that does not say where it begins")
    entries = save.entries
    if entries and not start < entries[0].index <= last + 1:
        raise InvariantViolated(
            f"entry {entries[0].index} cannot be saved: the log begins after entry {start} and ends with entry {last}"
        )
    for index, entry in enumerate(entries, entries[0].index if entries else 0):
        if entry.index != index:
            raise InvariantViolated(f"entry {entry.index} is to be saved where entry {index} should be")


def require_stored(log_start: Snapshot, term: int) -> None:
    """Raises InvariantViolated where the entry that the log is to begin after is stored as one of another term."""
    if term != log_start.term:
        raise InvariantViolated(
            f"the log cannot begin after entry {log_start.index} of term {log_start.term}: that entry is of term {term}"
        )
