"""Replicated objects that many programs need, ready to use:

    Counters     counts by name
    Table        a dict, with compare-and-set
    Queue        work that is taken, and done at least once
    Locks        for `Lock`, which one program holds at a time, and `Election`, which tells it that it leads

    service = ObjectService(reactor, members, node_id, directory, Queue)
    await service.call(Queue.put, "a letter")

They are written with `ObjectService` and `command` alone, and are examples, too. Several make one object, which then
has the commands of all:

    @define(slots=False)
    class Shop(Counters, Queue, Locks):
        "What is replicated."

What each promises is in its docstring; `txraft.recipes.lock` says what a lock with a lease can promise, and what the
fencing token is for.
"""

from txraft.recipes.counters import Counters
from txraft.recipes.election import Election
from txraft.recipes.lock import Held, Lock, Loss
from txraft.recipes.locks import Holding, Locks
from txraft.recipes.queue import Item, Queue
from txraft.recipes.table import Table

__all__ = ["Counters", "Election", "Held", "Holding", "Item", "Lock", "Locks", "Loss", "Queue", "Table"]
