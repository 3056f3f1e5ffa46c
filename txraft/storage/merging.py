"""Several saves made one."""

from collections.abc import Iterable

from txraft.core.messages import Entry
from txraft.core.ready import Save, TermAndVote
from txraft.errors import InvariantViolated


def merge(saves: Iterable[Save]) -> Save:
    """The one save that leaves on disk what all of `saves`, one after the other, would leave there. A gap between the
    entries of two saves stays a gap.
    """
    term_and_vote: TermAndVote | None = None
    entries: list[Entry] = []
    for save in saves:
        if save.term_and_vote is not None:
            term_and_vote = save.term_and_vote
        if save.entries:
            # What an earlier save has from this one's first index on is replaced.
            kept = max(0, save.entries[0].index - entries[0].index) if entries else 0
            del entries[kept:]
            entries.extend(save.entries)
    return Save(term_and_vote, tuple(entries))


def require_no_gap(entries: tuple[Entry, ...], last_stored: int) -> None:
    """Raises InvariantViolated where `entries`, saved after the entries 1 to `last_stored`, would leave a gap (hazard
    R12).
    """
    if entries and not 1 <= entries[0].index <= last_stored + 1:
        raise InvariantViolated(f"entry {entries[0].index} cannot be saved after entry {last_stored}")
    for index, entry in enumerate(entries, entries[0].index if entries else 0):
        if entry.index != index:
            raise InvariantViolated(f"entry {entry.index} is to be saved where entry {index} should be")
