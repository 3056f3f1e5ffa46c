"""Makes a cluster of one node of what it has, where the majority of its cluster is lost for good. Every call blocks.

What it has stays, also what is not known to be committed. It is another cluster: its id is new, and so are the bits by
which the directory is known, so the nodes of the old one, if any comes back, and it refuse each other; none of their
ids is ever used again (hazards E14, M7).

The cluster's id also stands in the data, which are another file. So a mark says that the directory is being changed:
(1) the mark, with the new id, is there; (2) the log is of the new cluster, in one transaction; (3) the data are, the
caller's to change; (4) the mark goes. While it is there a start is refused (`half_made`), and the same command goes on.
"""

import os
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, field, frozen

from txraft import wal
from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, EntryKind, NodeId
from txraft.core.ready import Save, TermAndVote
from txraft.errors import StorageError
from txraft.file_names import LOG
from txraft.interfaces import Identity, Stored
from txraft.storage.directory import DirectoryLock, unusable
from txraft.storage.half_made import RECOVERING, require_restored
from txraft.storage.identity import recovered
from txraft.storage.inspection import has_node
from txraft.storage.raft_file import RaftFile

_ID = re.compile(r".* \(recovered [0-9a-f]{16}\)", re.DOTALL)


@frozen
class Recovery:
    """A node that is to be the only one of a new cluster, and what it had before."""

    directory: Path
    identity: Identity
    """As it was, unless `is_begun`."""
    stored: Stored
    """As it was, without what is written here."""
    cluster_id: str
    """Of the new cluster."""
    is_begun: bool
    """Whether an earlier attempt was cut off. This one has the same id, and goes on."""
    others: Set[NodeId]
    """Every other id that ever was in the old cluster, as far as this node knows."""
    _file: RaftFile = field(repr=False)

    @property
    def last_term(self) -> int:
        """Of the last entry."""
        return self.stored.entries[-1].term if self.stored.entries else self.stored.log_start.term

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make the log that of the new cluster. What is done meanwhile is to make the rest of the directory so; where
        it fails the mark stays. Raises StorageError."""
        mark = self.directory / RECOVERING
        try:
            _write_mark(mark, self.cluster_id)
            self._change_log()
            yield
            mark.unlink()
            wal.sync_directory(self.directory)
        except OSError as error:
            raise unusable(self.directory, error) from error

    def _change_log(self) -> None:
        own = self.identity.node_id
        members = Configuration(
            voters={own},
            addresses={id: each for id, each in self.stored.configuration.addresses if id == own},
            removed=self.others,
        )
        term = self.stored.term_and_vote.current_term + 1
        entry = Entry(self.stored.last_index + 1, term, EntryKind.CONFIGURATION, members.to_bytes())
        file, failed = self._file, True
        file.open()
        try:
            if file.identity.cluster_id != self.cluster_id:
                file.refound(Identity(own, self.cluster_id, frozenset({own})), Save(TermAndVote(term, own), (entry,)))
            failed = False
        finally:
            file.close(failed)
            file.release()


@contextmanager
def recovering(directory: Path) -> Iterator[Recovery]:
    """The node of `directory`, which is locked meanwhile, and checked. Nothing is changed before `Recovery.changing`.

    Raises DirectoryLocked where the node runs, and StorageError where there is no node's directory, its files cannot be
    used, it was removed from its cluster, or has no need of another node: so it is when it is recovered."""
    require_restored(directory)
    if not has_node(directory):
        raise StorageError(f"{directory} is not the directory of a node: it has no {LOG}; give that of a node")
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        yield _look(directory)
    finally:
        lock.release()


def _look(directory: Path) -> Recovery:
    file = RaftFile(directory / LOG, None)
    stored = file.load()
    if file.is_old:
        raise StorageError(
            f"{directory} is of an earlier txraft: start the node once, which needs no other node, and stop it;"
            " then run this again"
        )
    identity, mark = file.identity, directory / RECOVERING
    begun = _id_in(mark)
    if begun == identity.cluster_id:
        stored = evolve(stored, entries=stored.entries[:-1])
    if identity.node_id in stored.configuration.removed:
        raise StorageError(
            f"{directory} is of node {identity.node_id}, which was removed from its cluster, so it does not have what"
            " came later; recover a node that was a member to the end"
        )
    voters = stored.configuration.voters | stored.configuration.outgoing
    if voters == {identity.node_id} and not os.path.lexists(mark):
        raise StorageError(
            f"{directory} is of node {identity.node_id}, which decides alone in its cluster already, so there is"
            " nothing to recover it from: start it"
        )
    others = _all_in(stored) | identity.founders | file.peers.keys()
    return Recovery(
        directory,
        identity,
        stored,
        begun or recovered(identity.cluster_id),
        os.path.lexists(mark),
        others - {identity.node_id},
        file,
    )


def _all_in(stored: Stored) -> Set[NodeId]:
    """Every id that the log has, as a member or as one that was."""
    found = [stored.log_start.configuration]
    found += (Configuration.from_bytes(each.data) for each in stored.entries if each.kind is EntryKind.CONFIGURATION)
    return frozenset().union(*(each.members | each.removed for each in found))


def _write_mark(mark: Path, cluster_id: str) -> None:
    new = mark.with_name(f"{mark.name}.new")
    with new.open("wb", buffering=0) as file:
        file.write(cluster_id.encode())
        os.fsync(file.fileno())
    new.replace(mark)
    wal.sync_directory(mark.parent)


def _id_in(mark: Path) -> str | None:
    """What the mark says. One that is damaged is not believed, and another id is drawn: the log says then once more who
    is in the cluster."""
    try:
        text = mark.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(mark.parent, error) from error
    return text if _ID.fullmatch(text) else None
