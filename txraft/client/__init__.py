"""The client of the key-value API, for programs: `KeyValueClient` on Twisted, and `BlockingClient`, its blocking twin.

    client = BlockingClient("10.0.0.10:27004", "10.0.0.11:27004")
    client.set("greeting", "hello")
    client.get("greeting")                              # Value(b"hello", revision=2)

    client = KeyValueClient(reactor, "10.0.0.10:27004", "10.0.0.11:27004")     # wants the package treq
    await client.set("greeting", "hello")

Everything that can be got wrong is written once, without sockets and clocks:

- `requests`: what each request sends, and what each answer to it means; `operations`: what a batch is made of.
- `nodes`: which node is asked next.
- `session`: one request from its first attempt to its end: what may be sent again, when, and what is raised when the
  time is over. A coroutine, over the three methods of a `Transport`.

`asynchronous` drives that coroutine by Deferreds, over treq. `blocking` has a transport whose coroutines never wait for
anything, over http.client, so that the same coroutine has ended when it is driven for the first time.

**What is sent again.** Reads; what a node calls `not-applied`; what there was no connection for; and a change of which
nobody knows what became of it, because each change carries an Idempotency-Key of its own, the same on every attempt. So
it is done once. Nodes remember the last 100,000 such keys of the cluster, and fewer where their answers are long: a
change that is sent again after that many others would be done again. That is what bounds `timeout`, the seconds for a
request with all its attempts: at 10,000 changes a second, more than 10 are too many.

A transfer of leadership, which takes no Idempotency-Key, is sent once.

**Errors** are of `txraft.errors`: `NotApplied` (`Unreachable`, where no node answered at all) where the time was over
and nothing was done, so that the caller may send it again; `OutcomeUnknown` where it may have been done, or may yet be;
`ConditionFailed` where the caller's condition did not hold; `BadRequest` and its subclasses where the request is wrong,
with the line of the node.

**Many at once.** A client may have any number of requests under way, each on a connection that is kept for the next.
There is no pipelining of HTTP/1.1, which treq does not have and which would make each answer wait for those before it.
Many operations in one request are a `batch`.
"""

from typing import TYPE_CHECKING, Any

from txraft.client.blocking import BlockingClient
from txraft.client.operations import Cas, Delete, Get, Set
from txraft.client.requests import ANY, NodeStatus, Value
from txraft.kv.contents import KeyInfo, Listing

if TYPE_CHECKING:
    from txraft.client.asynchronous import KeyValueClient

__all__ = [
    "ANY",
    "BlockingClient",
    "Cas",
    "Delete",
    "Get",
    "KeyInfo",
    "KeyValueClient",
    "Listing",
    "NodeStatus",
    "Set",
    "Value",
]


def __getattr__(name: str) -> Any:
    """`KeyValueClient`, when it is asked for: it imports treq, which not every installation has."""
    if name == "KeyValueClient":
        try:
            from txraft.client.asynchronous import KeyValueClient  # noqa: PLC0415 - see above
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "treq":
                raise
            raise ImportError("KeyValueClient wants the package treq: pip install 'txraft[client]'") from error
        return KeyValueClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
