"""What came of requests with an Idempotency-Key, so that one that is sent again is answered and not done again (hazard
C5).

They are replicated data. Any node may take the repetition, and any may lead by then: it goes through the log, and each
node finds here what came of the first. So what is dropped must depend on the log alone: the oldest, where there are
more than MAX_ANSWERS or they have more than MAX_SIZE bytes. Two nodes with other numbers here would differ; to change
one is to change the format of the commands.
"""

from collections import deque

from attrs import define, field, frozen

DIGEST_SIZE = 16
"""Of a request, in bytes: what an answer begins with."""

MAX_ANSWERS = 100_000
"""At 1,000 such requests a second, the last 100 seconds; who has no answer asks again within seconds. With keys of 36
bytes, as UUIDs are, they take 21 MB of memory."""

MAX_SIZE = 32 << 20
"""Of their keys and answers, in bytes. It counts only where many keys are long or many batches read much."""


@frozen
class KeptAnswer:
    """One more that is kept."""

    number: int
    key: bytes
    answer: bytes
    oldest: int
    """The number of the oldest that is kept beside it."""


@define
class Answers:
    """The last of them. They have numbers, from 1 on, without a gap."""

    first: int = 1
    """The number of the oldest that is kept; of the next, where none is."""
    size: int = 0
    """Of all keys and answers, in bytes."""
    _kept: dict[bytes, bytes] = field(factory=dict)
    _order: deque[bytes] = field(factory=deque)
    """Their keys, the oldest first."""

    def __len__(self) -> int:
        return len(self._order)

    def get(self, key: bytes) -> bytes | None:
        """The digest of the request that came with this key, and behind it what came of it; None where none is kept."""
        return self._kept.get(key)

    def keep(self, key: bytes, answer: bytes) -> KeptAnswer:
        """Keep one more, whose key is new, and drop what is too much."""
        number = self.first + len(self._order)
        self._kept[key] = answer
        self._order.append(key)
        self.size += len(key) + len(answer)
        while len(self._order) > MAX_ANSWERS or self.size > MAX_SIZE:
            oldest = self._order.popleft()
            self.size -= len(oldest) + len(self._kept.pop(oldest))
            self.first += 1
        return KeptAnswer(number, key, answer, self.first)
