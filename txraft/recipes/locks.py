"""Who holds which lock, replicated. What a program uses is `Lock`, which calls this."""

from attrs import define, evolve, field, frozen

from txraft import command


@frozen
class Holding:
    """That somebody holds a lock."""

    token: int
    """The fencing token: higher than that of any holder before, of any lock of the object."""
    holder: str
    """Unique to one acquire."""
    who: str
    """For people."""
    lease: float
    """Seconds. That of the holder, which who waits goes by, so that they may be different."""
    renewal: int = 0
    """How often the holder has said since that it is there."""


@define(slots=False)
class Locks:
    """Locks by name. One that nobody holds takes no memory. Each command may be called again, and may take effect late
    or twice, without harm: `txraft.recipes.lock` says why.

    There is no clock here. That a holder is gone is seen by who waits, by its own clock, and it says what it has seen:
    if the holder has renewed since, the lock stays the holder's."""

    locks: dict[str, Holding] = field(factory=dict)
    last_token: int = 0
    """One for all names, so that none is used again where a lock was free in between."""

    @command
    def acquire_lock(
        self, name: str, holder: str, who: str, lease: float, instead_of: Holding | None = None
    ) -> Holding:
        """Let `holder` have the lock if nobody has it, or if it is held exactly as `instead_of` says. Gives who holds
        it then. Where that is this holder already, it counts as a renewal: what others have seen is not so any more."""
        current = self.locks.get(name)
        if current is None or current == instead_of:
            self.last_token += 1
            current = Holding(self.last_token, holder, who, lease)
        elif current.holder == holder:
            current = evolve(current, renewal=current.renewal + 1)
        self.locks[name] = current
        return current

    @command
    def renew_lock(self, name: str, holder: str) -> bool:
        """The holder is there. False where it does not hold the lock."""
        current = self.locks.get(name)
        if current is None or current.holder != holder:
            return False
        self.locks[name] = evolve(current, renewal=current.renewal + 1)
        return True

    @command
    def release_lock(self, name: str, holder: str) -> bool:
        """Nobody holds it, if this holder did. Gives whether it did."""
        current = self.locks.get(name)
        if current is None or current.holder != holder:
            return False
        del self.locks[name]
        return True

    def lock_of(self, name: str) -> Holding | None:
        """Who holds it, or last did and has not given it back. For `query`."""
        return self.locks.get(name)
