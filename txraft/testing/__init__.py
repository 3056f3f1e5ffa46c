"""What an embedder can test with: a cluster in one process under faults, and a judge of what its clients saw.

**The judge.** A `History` records what each client asked for, when, and what it was told; `check` says whether the
whole is linearizable, and where it is not, shows the operations that cannot be explained. It needs nothing of txraft
but the words for what can be done to a key (`Get`, and `Set`, `Delete` and `CompareAndSet` of `txraft.kv`), so it
judges a simulated cluster, real processes and any other state machine in which something can be read, written, removed
or compared and set:

    history = History(clock.seconds)
    token = history.begin(client=1, action=Set(b"key", b"value"))
    ...                                 # and when the answer is there, one of
    history.ok(token, Result.DONE)
    history.not_applied(token)          # a promise, which is held to
    history.unknown(token)              # it may take effect at any time from its beginning on, or never

    verdict = check(history.operations())
    assert verdict.ok, str(verdict)     # a search that was given up is not ok either

`history` says what counts as one operation; `linearizability` splits a history by key and puts it into the terms of
`search`, where the algorithm is, with the proofs of what makes it short; `counterexample` makes a failure readable.

**The cluster.** `simulation` runs whole clusters of the real core and driver on one queue of events (`schedule`), with
simulated processes, links, streams and disks, and checks the rules of `invariants`, `memberships` and `durability` at
every step. In some runs an operator changes the membership (`orders`, `operating`). A run follows from its seed alone.

**Your own object.** `simulate` does so with your class, its operations, and what it promises (`objects`). For a state
machine that is no object there is `application`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txraft.testing.objects import Found, simulate
    from txraft.testing.sequential import Call

__all__ = ["Call", "Found", "simulate"]

_PLACES = {"Call": "sequential", "Found": "objects", "simulate": "objects"}


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: a bug is planted before the core is imported."""
    if name in _PLACES:
        return getattr(import_module(f"txraft.testing.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'txraft.testing' has no attribute {name!r}")
