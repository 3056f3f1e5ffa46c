"""Memberships to send, good and bad."""

import json
from typing import Any

from hypothesis import strategies as st
from twisted.protocols import amp

from txraft.core.configuration import Configuration, Snapshot
from txraft.rpc.arguments import MAX_INTEGER, MAX_TERM
from txraft.rpc.memberships import MAX_CONFIGURATION

numbers = st.integers(0, MAX_INTEGER)
terms = st.integers(0, MAX_TERM)
servers = st.frozensets(numbers, max_size=9)


@st.composite
def lists(draw: st.DrawFn) -> Configuration:
    """Any configuration that version 5 can say."""
    voters, outgoing = draw(st.frozensets(numbers, min_size=1, max_size=9)), draw(servers)
    return Configuration(voters, outgoing, draw(servers) - voters - outgoing)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Any configuration."""
    some = draw(lists())
    next_ones = frozenset(draw(st.sets(st.sampled_from(sorted(some.outgoing))))) if some.outgoing else frozenset()
    learners = sorted(some.learners | next_ones)
    joins = draw(st.dictionaries(st.sampled_from(learners), st.none() | numbers)) if learners else {}
    addresses = draw(st.dictionaries(st.sampled_from(sorted(some.members)), st.lists(st.text()).map(tuple)))
    return Configuration(
        some.voters,
        some.outgoing,
        some.learners,
        next_ones,
        auto_leave=bool(some.outgoing) and draw(st.booleans()),
        joining=joins,
        addresses=addresses,
        removed=draw(servers) - some.members,
    )


@st.composite
def snapshots(draw: st.DrawFn, of: st.SearchStrategy[Configuration], last_term: int = MAX_TERM) -> Snapshot:
    """Any snapshot that a server of `last_term` could have."""
    return Snapshot(draw(st.integers(1, MAX_INTEGER)), draw(st.integers(0, last_term)), draw(of))


SNAPSHOT = (10, 1, Configuration({1, 2}).to_bytes())
"""One in msgpack's values."""


def _json(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


NO_CONFIGURATIONS = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff",
    b"[" * 100_000,
    b"9" * 10_000,
    _json(voters=[]),
    _json(voters=[], learners=[1]),
    _json(voters=[2, 1]),
    _json(voters=[1, 1]),
    _json(voters=[-1]),
    _json(voters=[MAX_INTEGER + 1]),
    _json(voters=[1.0]),
    _json(voters=[True]),
    _json(voters=["1"]),
    _json(voters=[[1]]),
    _json(voters=1),
    _json(voters={"1": 1}),
    _json(voters=[1], learners=[1]),
    _json(voters=[1], learners=[MAX_INTEGER + 1]),
    _json(voters=[1], outgoing=[MAX_INTEGER + 1]),
    _json(voters=[1], learners_next=[2]),
    _json(voters=[1], auto_leave=True),
    _json(voters=[1], auto_leave=1),
    _json(voters=[1], joining=[[2, None]]),
    _json(voters=[1], learners=[2], joining=[[2, MAX_INTEGER + 1]]),
    _json(voters=[1], addresses=[[1, [5]]]),
    _json(voters=[1], addresses=[[1, "text"]]),
    _json(voters=[1], addresses=[[MAX_INTEGER + 1, ["a"]]]),
    _json(voters=[1], removed=[MAX_INTEGER + 1]),
    _json(voters=[1], unknown=[]),
    Configuration({1}, addresses={1: ("x" * MAX_CONFIGURATION,)}).to_bytes(),
)
"""What is no configuration that a server writes."""


def over_the_wire(command: type[amp.Command], arguments: dict[str, Any]) -> Any:
    """What arrives of a command's arguments."""
    box = command.makeArguments(arguments, None)
    (parsed,) = amp.parseString(box.serialize())
    return command.parseArguments(parsed, None)
