"""What is written together, and what waits for it: the queue alone, before a disk that the test moves."""

from collections.abc import Sequence
from typing import Any, cast
from unittest.mock import Mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.messages import Envelope, HeartbeatReply
from txraft.core.ready import Save, TermAndVote
from txraft.errors import WriteFailed
from txraft.node.save_queue import SaveQueue


def save(term: int) -> Save:
    return Save(TermAndVote(term, None), ())


def message(term: int) -> Envelope:
    return Envelope(2, HeartbeatReply(term, 0))


class SaveQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.writes: list[tuple[list[Save], Deferred[None]]] = []
        self.durable: list[tuple[list[Save], list[Envelope]]] = []
        self.failures: list[Any] = []
        storage = Mock(save=self.write)
        self.queue = SaveQueue(
            cast(Any, storage),
            lambda saves, messages: self.durable.append((list(saves), list(messages))),
            self.failures.append,
        )

    def write(self, saves: Sequence[Save]) -> "Deferred[None]":
        done: Deferred[None] = Deferred()
        self.writes.append((list(saves), done))
        return done

    def test_group_commit(self) -> None:
        """What comes during a write is the next write; its messages leave after that."""
        self.queue.put(save(1), (message(1),))
        self.queue.put(save(2), (message(2),))
        self.queue.put(save(3), ())
        self.assertEqual((len(self.writes), self.durable), (1, []))
        self.writes[0][1].callback(None)
        self.assertEqual(self.durable, [([save(1)], [message(1)])])
        self.assertEqual(self.writes[1][0], [save(2), save(3)])
        self.writes[1][1].callback(None)
        self.assertEqual(self.durable[1:], [([save(2), save(3)], [message(2)])])

    def test_messages_alone(self) -> None:
        """They wait for the write that is under way, and for none where there is none (hazard R10)."""
        self.queue.put(save(1), ())
        self.queue.put(None, (message(1),))
        self.assertEqual(self.durable, [])
        self.writes[0][1].callback(None)
        self.assertEqual(self.durable, [([save(1)], []), ([], [message(1)])])
        self.queue.put(None, (message(2),))
        self.assertEqual(self.durable[2:], [([], [message(2)])])
        self.queue.put(save(2), ())
        self.assertEqual(len(self.writes), 2)

    def test_failed_write(self) -> None:
        """Nothing is written or leaves after it (hazard S1)."""
        self.queue.put(save(1), (message(1),))
        self.queue.put(save(2), (message(2),))
        self.writes[0][1].errback(WriteFailed("no"))
        self.queue.put(save(3), (message(3),))
        self.assertEqual((len(self.writes), self.durable, len(self.failures)), (1, [], 1))
