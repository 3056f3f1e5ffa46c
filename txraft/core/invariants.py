"""What must always hold, of one server's state and of two successive ones (LogCabin has a class like this).

A node in production checks these after every burst, and stops rather than go on wrong: they cost a few comparisons.
"""

from txraft.core.messages import NodeId
from txraft.core.roles import Role
from txraft.errors import InvariantViolated
from txraft.values import value_class


@value_class
class View:
    """Where a server stands, at one moment."""

    node_id: NodeId
    role: Role
    current_term: int
    voted_for: NodeId | None
    leader_id: NodeId | None
    commit_index: int
    last_applied: int
    durable_index: int
    first_index: int
    last_index: int
    last_term: int
    transfer_target: NodeId | None = None
    """To whom leadership is being handed."""
    is_overtaken: bool = False
    """Whether it leads, and its disk hangs in a write that a majority of the others has had for an election timeout."""


def check(view: View) -> None:
    """What holds of any one state. Raises InvariantViolated."""
    _require(
        view.first_index - 1 <= view.last_applied <= view.commit_index <= view.last_index,
        "the compacted, applied, committed and last index are in this order",
        view,
    )
    _require(view.durable_index <= view.last_index, "what is durable is in the log", view)
    _require(view.last_applied <= view.durable_index, "what is applied is durable here", view)
    _require(view.last_term <= view.current_term, "no entry is of a term to come", view)
    _require(
        (view.role is Role.LEADER) == (view.leader_id == view.node_id), "who leads knows it, and nobody else", view
    )
    if view.role in (Role.LEADER, Role.CANDIDATE):
        _require(view.voted_for == view.node_id, "a candidate votes for itself (§5.2)", view)


def check_step(before: View, after: View) -> None:
    """What holds of two successive states of one server, restarts not between them. Raises InvariantViolated."""
    _require(after.current_term >= before.current_term, "the term never goes back (§5.1)", after)
    _require(after.commit_index >= before.commit_index, "commit_index never goes back (hazard R2)", after)
    _require(after.last_applied >= before.last_applied, "last_applied never goes back", after)
    _require(after.first_index >= before.first_index, "what is compacted stays so", after)
    if after.current_term > before.current_term:
        return
    _require(
        before.voted_for in (None, after.voted_for),
        "one vote a term, and it is not taken back (§5.2; hazard E2)",
        after,
    )
    if before.role is after.role is Role.LEADER:
        _require(after.last_index >= before.last_index, "Leader Append-Only (§5.3)", after)


def _require(holds: bool, rule: str, view: View) -> None:
    if not holds:
        raise InvariantViolated(f"does not hold: {rule}; {view}")
