"""What is done to files, in its order: syncs and names."""

import os
import sqlite3
from pathlib import Path
from typing import Any, TypeAlias

from twisted.trial.unittest import SynchronousTestCase

Events: TypeAlias = list[tuple[str, ...]]
"""What was done to which path."""


def record(case: SynchronousTestCase) -> Events:
    """From now on, until the end of the test: what comes after is added to it. SQLite's commits are in it, as a sync or
    a mere write, and its own syncs and names are not."""
    events: Events = []
    fsync, rename, replace, unlink, connect = os.fsync, os.rename, os.replace, os.unlink, sqlite3.connect

    class RecordingConnection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql == "COMMIT" or sql.startswith("UPDATE"):  # one statement is a transaction by itself
                ((_, _, path),) = super().execute("PRAGMA database_list")
                ((synchronous,),) = super().execute("PRAGMA synchronous")
                events.append(("sync" if synchronous == 2 else "write", path))
            return super().execute(sql, parameters)

    def recording_fsync(descriptor: int) -> None:
        events.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def recording_rename(old: Path, new: Path) -> None:
        events.append(("rename", str(old), str(new)))
        rename(old, new)

    def recording_replace(old: Path, new: Path) -> None:
        events.append(("rename", str(old), str(new)))
        replace(old, new)

    def recording_unlink(path: Path) -> None:
        events.append(("unlink", str(path)))
        unlink(path)

    case.patch(os, "fsync", recording_fsync)
    case.patch(os, "rename", recording_rename)
    case.patch(os, "replace", recording_replace)
    case.patch(os, "unlink", recording_unlink)
    case.patch(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=RecordingConnection, **kwargs))
    return events
