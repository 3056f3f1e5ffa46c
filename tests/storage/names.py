"""What a power cut leaves of a directory's files, at each call that changes one of them."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from attrs import Factory, define
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.power import mixture


@define
class Names:
    """What a power cut may leave of a directory's files: what is written to them until now, and what is synced."""

    directory: Path
    random: Random
    written: dict[int, bytes] = Factory(dict)
    """By inode."""
    synced: dict[int, bytes] = Factory(dict)
    names: dict[str, int] = Factory(dict)
    """Those that are synced, with their inodes."""
    changes: list[tuple[str | None, str | None, int]] = Factory(list)
    """Old name, new name, inode: what has been done to names, and is not synced."""

    def wrote(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        self.written[os.fstat(descriptor).st_ino] = os.pread(descriptor, size, 0)

    def synced_now(self, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if inode in self.written:
            self.synced[inode] = self.written[inode]
        else:
            self.names = self._changed(self.changes)
            self.changes.clear()

    def image(self) -> dict[str, bytes]:
        """The power is cut now."""
        names = self._changed([change for change in self.changes if self.random.random() < 0.5])
        return {
            name: mixture(self.synced.get(inode, b""), self.written[inode], self.random)
            for name, inode in names.items()
        }

    def _changed(self, changes: list[tuple[str | None, str | None, int]]) -> dict[str, int]:
        names = dict(self.names)
        for old, new, inode in changes:
            if old is not None and names.get(old) == inode:
                del names[old]
            if new is not None:
                names[new] = inode
        return names


def watch(test: SynchronousTestCase, disk: Names, look: Callable[[], None]) -> None:
    """Tell `disk` of each call that changes something, until the end of the test, and call `look` after it. What `look`
    changes is not for `disk`."""
    looking = False

    def watching(name: str, then: Callable[..., None]) -> None:
        function = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal looking
            if looking:
                return function(*args, **kwargs)
            inode = os.stat(args[0]).st_ino if name in ("rename", "unlink") else 0
            result = function(*args, **kwargs)
            then(*args, *([inode] if inode else []), *([result] if name == "open" else []))
            looking = True
            look()
            looking = False
            return result

        test.patch(os, name, call)

    def opened(path: Path, flags: int, *rest: int) -> None:
        if flags & os.O_CREAT:
            disk.wrote(rest[-1])
            disk.changes.append((None, Path(path).name, os.fstat(rest[-1]).st_ino))

    watching("open", opened)
    watching("write", lambda descriptor, _: disk.wrote(descriptor))
    watching("fsync", disk.synced_now)
    watching("rename", lambda old, new, inode: disk.changes.append((Path(old).name, Path(new).name, inode)))
    watching("unlink", lambda path, inode: disk.changes.append((Path(path).name, None, inode)))
