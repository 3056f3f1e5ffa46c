"""The way through the disk: what the core wants saved, and what may leave only after that, in order.

One write is under way at a time. Whatever is put in meanwhile goes into the next one, so groups form by themselves: the
slower the disk, the more one fsync covers.
"""

from collections.abc import Callable, Iterable

from twisted.python.failure import Failure

from txraft.core.messages import Envelope
from txraft.core.ready import Save
from txraft.interfaces import IStorage
from txraft.values import value_class


@value_class
class _Item:
    save: Save | None
    messages: tuple[Envelope, ...]


class SaveQueue:
    """Saves, and the messages that wait for them, first in first out."""

    def __init__(
        self,
        storage: IStorage,
        on_durable: Callable[[Iterable[Save], Iterable[Envelope]], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        """`on_durable` is called after each write with what it wrote and the messages that waited for it; `on_failure`
        when a write fails: nothing is written or called durable after that (hazard S1).
        """
        self._storage = storage
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._queue: list[_Item] = []
        self._writing = False

    def put(self, save: Save | None, messages: tuple[Envelope, ...]) -> None:
        """Queue a save, and messages that may leave once it and all before it are durable."""
        self._queue.append(_Item(save, messages))
        self._write_next()

    def _write_next(self) -> None:
        if self._writing or not self._queue:
            return
        self._writing = True
        batch, self._queue = self._queue, []
        saves = [item.save for item in batch if item.save is not None]
        messages = [message for item in batch for message in item.messages]
        if not saves:
            self._written(None, saves, messages)
            return
        self._storage.save(saves).addCallback(self._written, saves, messages).addErrback(self._on_failure)

    def _written(self, _result: None, saves: list[Save], messages: list[Envelope]) -> None:
        # What is put in from here on, in answer to this write, still finds `_writing` set and joins the next group.
        self._on_durable(saves, messages)
        self._writing = False
        self._write_next()
