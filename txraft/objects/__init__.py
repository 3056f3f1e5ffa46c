"""A Python object, replicated. Its methods that are marked as commands change it, on every server in the same order;
all others read it:

    @define
    class Counter:
        counts: dict[str, int] = field(factory=dict)

        @command
        def add(self, name: str, more: int = 1) -> int:
            self.counts[name] = self.counts.get(name, 0) + more
            return self.counts[name]

        def count(self, name: str) -> int:
            return self.counts.get(name, 0)

    service = ObjectService(reactor, members, node_id, directory, Counter)
    service.call(Counter.add, "apples")          # a Deferred of an int, which is on a majority of disks when it fires
    service.query(Counter.count, "apples")       # a Deferred, too: the latest, whichever server is asked

**The object** is of an attrs class, and what is kept of it are its fields. It lives in memory, and is made by its
class, without arguments, on each server. Now and then it is copied, between two commands, to be kept and sent to a
new server. That is to take less than a heartbeat: a dict of 100,000 numbers or texts takes 20 milliseconds, and a list
of them 5; 10,000 objects take 15, and a set of 20,000, which is sorted, takes 10. A field holds what its annotation
says: an object that could not be loaded as it is, a defaultdict in a `dict[str, int]` say, is not kept, and the log
grows. What the class makes is the same each time: an object that begins with a time or a random number is refused. A
list, a dict or an object that is at two places is not kept either: a server that is given a snapshot would have two of
it, and others one. Keep such things once, and their keys elsewhere. What a query returns is copied, so that nobody
changes the object on one server alone.

**Commands are deterministic**: what one returns, raises and changes follows from the commands before it, and is the
same on every server. So it asks no clock, no random numbers and no files, and does not depend on the order of a set.
What it needs of these the caller gives it, as an argument. What it raises is its result: the caller gets a
CommandFailed, all goes on, and what it had changed stays changed, so it raises before it changes anything.

**Fields, arguments and results** have annotations, and are what these say:

- `int` of any length, `float`, `bool`, `str`, `bytes`, None, enumerations of these, and `Literal`,
- `date`, `time`, `datetime`, `timedelta`, `UUID`, `Decimal`; a time may say how far from UTC it is, and not of which
  place it is, for the rules of places change,
- `list[...]`, `tuple[...]`, `dict[..., ...]`, `set[...]` and `frozenset[...]` of any of this, and attrs classes of it;
  the keys of a dict are no lists, sets, dicts or attrs classes, and have none in them; in a set is only what can be
  hashed: no lists, sets or dicts, and of attrs classes those that are frozen,
- unions of numbers, texts, bytes, None, and one other of this, or attrs classes. They differ when they are written: not
  `date | str`, for a date is written as a text.

Anything else (`Any`, functions, named tuples, a `list` that does not say of what) is a TypeError where the service is
made. They travel as msgpack (`writing`, `encoding`), and are checked where a command is called: one that is not as its
annotation says, or has something in it that is not, is a BadCommand there, and never comes into the log. An instance of
a subclass is not as the annotation says: it would arrive as the class. A whole number for a `float` is. What is nested
more than 100 deep is a BadCommand, too, for not every server might be able to read it.

**A command that is changed is another command.** The log has commands of earlier days, and while servers are upgraded
one after the other, some run the code of before. If they did different things for one command, they would hold
different data for good. So a command that does something else gets a higher version, and the earlier one stays for as
long as it may be in a log:

    @command(name="add", version=1)
    def add_as_before(self, name: str, more: int = 1) -> int: ...

    @command(version=2)
    def add(self, name: str, more: int = 1, *, at: float) -> int: ...

A server that does not know a version refuses to take it into the log, and ends where the log has it, until it is
upgraded. So install first what knows both and calls the earlier one; when it runs everywhere, what calls the new one.
New fields need a default; a field that goes ends what was written with it, so empty it first.
"""

from txraft.objects.commands import command
from txraft.objects.service import ObjectService

__all__ = ["ObjectService", "command"]
