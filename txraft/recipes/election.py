"""One of many leads: a lock, held for long."""

from collections.abc import Callable
from os import urandom
from typing import Any

from twisted.internet.defer import Deferred, succeed

from txraft.recipes.calls import Calls
from txraft.recipes.lock import Held, Lock
from txraft.recipes.locks import Holding, Locks


class Election:
    """Candidates of which one leads at a time, and each is told when it does:

        election = Election(reactor, service, "scheduler", "host 1")
        while True:
            leading = await election.campaign()
            start_work(token=leading.token)
            await leading.lost
            stop_work()

    This is not who leads the cluster: candidates are programs, and it follows from what they replicate. All that
    `txraft.recipes.lock` says holds: `lost` comes before another can lead, by a clock that runs; a leader that was
    paused may act once more, and its token shows that it is an earlier one."""

    def __init__(
        self,
        reactor: Any,
        service: Calls[Locks],
        name: str,
        candidate: str,
        lease: float = 10.0,
        *,
        poll: float = 0.5,
        random_bytes: Callable[[int], bytes] = urandom,
    ) -> None:
        """`candidate` is what others are shown while this one leads. All else is as with Lock."""
        self.candidate = candidate
        self._lock = Lock(reactor, service, name, lease, who=candidate, poll=poll, random_bytes=random_bytes)
        self._campaign: Deferred[Held] | None = None
        self._leading: Held | None = None

    def campaign(self) -> "Deferred[Held]":
        """Wait to lead. Fires when this candidate does: with its token, and what tells when it does not any more. It is
        ended by cancelling it, or by `resign`, with CancelledError.

        Raises RuntimeError while this candidate campaigns or leads: it would wait for itself."""
        if self._campaign is not None or self.is_leading:
            raise RuntimeError(f"{self.candidate} campaigns or leads already; let it resign first")
        self._campaign = campaign = self._lock.acquire()
        return campaign.addBoth(self._ended)

    def resign(self) -> "Deferred[None]":
        """Neither campaign nor lead any more, from now on. Fires when others can lead, as `Held.release` does. What a
        campaign that it ends had asked for is given back later, by itself. It does not fail."""
        if self._campaign is not None:
            self._campaign.cancel()
        leading, self._leading = self._leading, None
        return succeed(None) if leading is None else leading.release()

    @property
    def is_leading(self) -> bool:
        """Whether this candidate leads now, as `Held.is_held`."""
        return self._leading is not None and self._leading.is_held

    def leader(self) -> "Deferred[str | None]":
        """Which candidate leads. One that is gone is named until another leads. Fails with NotApplied."""
        return self._lock.holder().addCallback(_candidate_of)

    def _ended(self, result: Any) -> Any:
        self._campaign = None
        if isinstance(result, Held):
            self._leading = result
        return result


def _candidate_of(holding: Holding | None) -> str | None:
    return None if holding is None else holding.who
