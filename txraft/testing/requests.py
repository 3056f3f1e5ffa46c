"""What clients of a run ask for, and what a read is answered with."""

from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import frozen

from txraft.testing.history import Action, Change
from txraft.testing.sequential import Call


@frozen
class Propose:
    """A command of an application that the simulation does not know."""

    command: bytes
    call: Call | None = None
    """What it is a call of, where answers are judged."""
    answer_of: Callable[[bytes], Any] = bytes
    """What the caller gets, of a result."""


@frozen
class Look:
    """A read of such an application: what it sees is compared with what other nodes have seen at the same index."""

    call: Call | None = None
    """What is asked, where answers are judged."""


@frozen
class Keyed:
    """A change that comes with an Idempotency-Key."""

    key: bytes
    change: Change


@frozen
class Both:
    """Two keys change together."""

    value: bytes


Request: TypeAlias = Action | Keyed | Both | Propose | Look


@frozen
class Read:
    """What a read was answered with."""

    value: Any
    applied: int
    """What the node had applied by then."""
