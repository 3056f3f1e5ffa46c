"""What waits for a majority, or for an answer: how much of it there is, and how much there may be (hazards C9, R16)."""

from attrs import define


@define(eq=False)
class Backlog:
    """So many commands, of so many bytes of memory. Each counts in once, and out once."""

    max_size: int
    """Bytes."""
    max_count: int
    overhead: int
    """Bytes of memory that each takes beside its command."""
    size: int = 0
    count: int = 0

    def add(self, command: bytes) -> bool:
        """Count a command in, if there is room for it. Whether there was: for one alone there always is, or a command
        larger than the limit could never be taken (hazard R16).
        """
        size = len(command) + self.overhead
        if self.count and (self.size + size > self.max_size or self.count >= self.max_count):
            return False
        self.size += size
        self.count += 1
        return True

    def remove(self, command: bytes) -> None:
        """Count a command out."""
        self.size -= len(command) + self.overhead
        self.count -= 1
