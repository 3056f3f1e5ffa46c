"""The backups that a node has made and still keeps, so that a client who was cut off goes on where it was.

Each is one file, the snapshot itself, under a name that the next start removes. It is told from every other by its
SHA-256. A worker of its own describes, sums up, reads and removes them, in steps that are short, so that neither the
log nor the data wait, nor one client for what is done for another (hazard S11).

They never take the last of the disk, which the log and the data need. One is made only where another copy of the data
still fits beside it: a follower's snapshot comes first. While any is kept, the free space is looked at every few
seconds, and where it is less than KEEP_FREE they go one after the other: those that nobody reads first, then those that
somebody does, who is cut off.
"""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from io import FileIO
from math import inf
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from txraft.errors import NotApplied, Overloaded, SnapshotFailed, WorkerStopped
from txraft.interfaces import IWorker
from txraft.kv.backup import Origin, describe
from txraft.kv.data_snapshot import CHUNK_SIZE, DataSnapshot
from txraft.kv.kept_backup import KeptBackup

MOST = 2
"""So many are kept, or being made, at once: each may take as much of the disk as the data."""
KEEP_FREE = 256 << 20
"""Bytes of the disk. Eight times what a snapshot leaves (`snapshot_writing.RESERVE`): between two looks a disk that
takes 100 MB a second takes 200 MB."""
LOOK_SECONDS = 2.0
STEP = 8 << 20
"""Bytes that are summed up without a pause: a few hundredths of a second."""
SILENCE = 60.0
"""Seconds in which there is one line in the log about backups that cannot be made: anybody can ask for them."""

_log = Logger()


class Backups:
    """Makes and keeps them. `snapshot` makes one of the data, whose file is `path`, and `origin` says what it is of."""

    def __init__(
        self,
        path: Path,
        snapshot: "Callable[[], Deferred[DataSnapshot]]",
        origin: Callable[[], Origin],
        worker: IWorker,
        clock: IReactorTime,
    ) -> None:
        self._path = path
        self._snapshot = snapshot
        self._origin = origin
        self._worker = worker
        self._clock = clock
        self._kept: list[KeptBackup] = []
        self._being_made = 0
        self._watch: Deferred[None] | None = None
        self._said = -inf
        """When a line was logged last about one that cannot be made."""
        self._stopping = False

    def make(self) -> "Deferred[KeptBackup]":
        """Everything that was applied before this call, and perhaps more.

        Fails with Overloaded where as many as may be are read or made, and with SnapshotFailed, where the disk is too
        full above all, whose reason is in the log; with NotApplied where the node stops."""
        return Deferred.fromCoroutine(self._make())

    def kept(self, digest: str) -> KeptBackup | None:
        """The one with this SHA-256, if it is kept."""
        return next((each for each in self._kept if each.digest == digest), None)

    def drop(self, backup: KeptBackup) -> "Deferred[None]":
        """Keep it no longer."""
        self._kept.remove(backup)
        return backup.drop()

    def stop(self) -> "Deferred[None]":
        """Keep none any longer. Fires when their files are gone, and waits for none that is being made."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        return gatherResults([self.drop(each) for each in list(self._kept)]).addCallback(lambda _: None)

    # How one is made

    async def _make(self) -> KeptBackup:
        self._being_made += 1
        try:
            await self._make_room()
            await self._worker.run(_require_room, self._path)
            snapshot = await self._snapshot()
            try:
                backup = await self._keep(snapshot)
            except BaseException:
                await snapshot.close()
                raise
        except (SnapshotFailed, WorkerStopped, sqlite3.Error, OSError) as error:
            if self._stopping:
                raise NotApplied("this node stops; ask another node") from error
            self._say(error)
            raise SnapshotFailed("this node cannot make a backup, and its log says why; ask another node") from error
        finally:
            self._being_made -= 1
        self._kept.append(backup)
        if self._watch is None:
            self._watch = Deferred.fromCoroutine(self._look_after())
        return backup

    async def _make_room(self) -> None:
        """Drop one, if there are as many as may be: the one whose time would be over first. Raises Overloaded."""
        if len(self._kept) + self._being_made > MOST:
            unread = [each for each in self._kept if not each.readers]
            if not unread:
                raise Overloaded(
                    f"{MOST} backups are being taken of this node, which is as many as may be; try again later"
                )
            await self.drop(min(unread, key=lambda each: each.goes_at))

    async def _keep(self, snapshot: DataSnapshot) -> KeptBackup:
        """Make a backup of the snapshot."""
        file: FileIO = await self._worker.run(_described, snapshot.path, self._origin())
        digest = hashlib.sha256()
        more = True
        try:
            while more:
                more = await self._worker.run(_sum_up, file, digest)
                if self._stopping:
                    raise WorkerStopped("the node stops")
        except BaseException:
            file.close()
            raise
        return KeptBackup(snapshot, file, digest.hexdigest(), file.tell(), self._worker, self._clock, self.drop)

    def _say(self, error: Exception) -> None:
        if self._clock.seconds() >= self._said + SILENCE:
            self._said = self._clock.seconds()
            _log.warn("cannot make a backup: {reason}", reason=str(error))

    # How room is kept on the disk

    async def _look_after(self) -> None:
        """While any is kept, drop those for which there is no room any more."""
        try:
            while self._kept:
                await deferLater(self._clock, LOOK_SECONDS)
                while self._kept and (free := await self._worker.run(_free, self._path)) < KEEP_FREE:
                    await self._drop_first(free)
        except CancelledError:
            pass
        finally:
            self._watch = None

    async def _drop_first(self, free: int) -> None:
        if self._kept:
            backup = min(self._kept, key=lambda each: each.goes_at)
            _log.warn(
                "a backup of {size} bytes is not kept, because the disk of {path} has {free} bytes left; make room. A"
                " client that has not read all of it has to take another",
                size=backup.size,
                path=self._path,
                free=free,
            )
            await self.drop(backup)


def _described(path: Path, origin: Origin) -> FileIO:
    """Make a backup of the snapshot at `path`, and open it. Blocks. Raises sqlite3.Error or OSError."""
    describe(path, origin)
    return FileIO(path)


def _sum_up(file: FileIO, digest: "hashlib._Hash") -> bool:
    """Read the next STEP bytes. Gives whether there were any. Blocks. Raises OSError."""
    end = file.tell() + STEP
    while file.tell() < end:
        chunk = file.read(CHUNK_SIZE)
        if not chunk:
            return False
        digest.update(chunk)
    return True


def _require_room(path: Path) -> None:
    """Raise OSError where two copies of the data leave less than KEEP_FREE bytes of their disk. Blocks."""
    size = sum(each.stat().st_size for each in (path, Path(f"{path}-wal")))
    free = shutil.disk_usage(path.parent).free
    if free < 2 * size + KEEP_FREE:
        raise OSError(
            f"it may take {size:,} bytes, and a snapshot for another node as many; {KEEP_FREE:,} more have to stay free"
            f" on the disk of {path.parent}, which has {free:,}; make room"
        )


def _free(path: Path) -> int:
    """Bytes that the disk of the file at `path` has left; 0 where nobody can tell. Blocks."""
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0
