"""The data: a dict of bytes to bytes, changed by commands alone."""

from zope.interface import implementer

from txraft.interfaces import IStateMachine
from txraft.kv.commands import CompareAndSet, Delete, Result, Set, decode
from txraft.kv.write_behind import WriteBehind


@implementer(IStateMachine)
class KeyValueStore:
    """The state machine. `disk`, where given, is told of every change; without it the data live in memory alone."""

    def __init__(self, disk: WriteBehind | None = None) -> None:
        self.last_applied = 0
        self._values: dict[bytes, bytes] = {}
        self._disk = disk

    def load(self) -> None:
        """Take up what the disk holds. Called once, before the first `apply`; blocks.

        Raises StorageError where the file cannot be used."""
        if self._disk is not None:
            self.last_applied, self._values = self._disk.load()

    def get(self, key: bytes) -> bytes | None:
        """The value of `key` as of `last_applied`; None where there is none."""
        return self._values.get(key)

    def apply(self, index: int, command: bytes) -> bytes:
        """Apply the command of entry `index`; gives the value of a `Result`."""
        self.last_applied = index
        match decode(command):
            case Set(key, value):
                result = self._change(index, key, value)
            case Delete(key):
                result = self._change(index, key, None) if key in self._values else Result.NOT_FOUND
            case CompareAndSet(key, old, value):
                current = self._values.get(key)
                if current is None:
                    result = Result.NOT_FOUND
                else:
                    result = self._change(index, key, value) if current == old else Result.MISMATCH
            case None:
                result = Result.INVALID
        return result.value

    def _change(self, index: int, key: bytes, value: bytes | None) -> Result:
        """Give `key` its new value, or remove it where that is None."""
        if value is None:
            del self._values[key]
        else:
            self._values[key] = value
        if self._disk is not None:
            self._disk.changed(index, key, value)
        return Result.DONE
