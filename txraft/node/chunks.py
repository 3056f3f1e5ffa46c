"""A large snapshot's data while they are read on a thread."""

from collections.abc import Callable, Iterable, Iterator

from txraft.errors import SnapshotFailed


def until(is_stopped: Callable[[], bool], chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, as long as the node goes on: a stop need not wait for all of them. Raises SnapshotFailed then."""
    for chunk in chunks:
        if is_stopped():
            raise SnapshotFailed("the node stops, and goes on with the snapshot when it starts again")
        yield chunk
