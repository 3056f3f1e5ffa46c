"""The signs that a command which makes, or changes, a node's directory was cut off: no start takes it for whole."""

import os
from pathlib import Path

from txraft.errors import StorageError

RESTORING = "restoring"
RECOVERING = "recovering"


def aside_of(directory: Path) -> Path:
    """Where `txraft restore` makes `directory` before that has its name."""
    return Path(f"{directory.absolute()}.{RESTORING}")


def require_restored(directory: Path) -> None:
    """Raises StorageError where `txraft restore` was cut off in `directory`, or failed."""
    aside = aside_of(directory)
    for sign, made in ((directory / RESTORING, directory), (aside, aside)):
        if os.path.lexists(sign):
            raise StorageError(
                f"{directory} is only half made: `txraft restore` was cut off, or failed; run that again, with the file"
                f" that the other nodes are made of, or remove {made} where no backup was to be restored"
            )


def require_whole(directory: Path) -> None:
    """Raises StorageError where `txraft restore`, or `txraft recover`, was cut off in `directory`, or failed."""
    require_restored(directory)
    if os.path.lexists(directory / RECOVERING):
        raise StorageError(
            f"{directory} is half of one cluster and half of another: `txraft recover` was cut off, or failed; run that"
            " again, with the same --data-dir"
        )
