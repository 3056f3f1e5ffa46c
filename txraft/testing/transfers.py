"""Snapshots on their way to a process: never mixed, and never taken for whole too early (hazard S10)."""

from attrs import define

from txraft.core.messages import NodeId
from txraft.interfaces import SnapshotFile
from txraft.testing.violation import Violation


@define(eq=False)
class Transfers:
    """What one process has let in."""

    node_id: NodeId
    _sender: NodeId = 0
    _term: int = -1
    _file: SnapshotFile | None = None
    _size: int = 0
    """How much of it the process has said to have."""

    def begun(self, offset: int, sender: NodeId, term: int, file: SnapshotFile) -> None:
        """An offer is accepted, and what follows on `offset` is asked for. A transfer gives way to a later leader's
        only."""
        if term < self._term or (term == self._term and sender != self._sender):
            what = f"lets node {sender} begin, of term {term}, after node {self._sender} of term {self._term}"
            raise Violation("Snapshot", f"node {self.node_id} {what}")
        self._sender, self._term, self._file, self._size = sender, term, file, offset

    def got_on(self, file: SnapshotFile, offset: int, size: int) -> None:
        """A piece is accepted: it follows on what was there."""
        if (file, offset) != (self._file, self._size):
            what = f"takes {size} bytes at {offset} of {file}, and has {self._size} of {self._file}"
            raise Violation("Snapshot", f"node {self.node_id} {what}")
        self._size += size

    def ended(self, file: SnapshotFile) -> None:
        """The file is said to be whole."""
        if file != self._file or self._size != file.size:
            what = f"takes {file} for whole, and has {self._size} of {self._file}"
            raise Violation("Snapshot", f"node {self.node_id} {what}")
