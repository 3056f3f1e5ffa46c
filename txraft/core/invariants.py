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

    @property
    def standing(self) -> tuple[object, ...]:
        """All but the log: what changes rarely, and what others wait for or read in the log."""
        return self.role, self.voted_for, self.is_overtaken, *self.leadership

    @property
    def leadership(self) -> tuple[object, ...]:
        """Who leads, in which term, and who is to lead."""
        return self.current_term, self.leader_id, self.transfer_target


def check(view: View) -> None:
    """What holds of any one state. Raises InvariantViolated."""
    if not view.first_index - 1 <= view.last_applied <= view.commit_index <= view.last_index:
        raise _broken("the compacted, applied, committed and last index are in this order", view)
    if view.durable_index > view.last_index:
        raise _broken("what is durable is in the log", view)
    if view.last_applied > max(view.durable_index, view.first_index - 1):
        raise _broken("what is applied is durable here, or in a snapshot that is", view)
    if view.last_term > view.current_term:
        raise _broken("no entry is of a term to come", view)
    if (view.role is Role.LEADER) != (view.leader_id == view.node_id):
        raise _broken("who leads knows it, and nobody else", view)
    if view.role in (Role.LEADER, Role.CANDIDATE) and view.voted_for != view.node_id:
        raise _broken("a candidate votes for itself (§5.2)", view)


def check_step(before: View, after: View) -> None:
    """What holds of two successive states of one server, restarts not between them. Raises InvariantViolated."""
    if after.current_term < before.current_term:
        raise _broken("the term never goes back (§5.1)", after)
    if after.commit_index < before.commit_index:
        raise _broken("commit_index never goes back (hazard R2)", after)
    if after.last_applied < before.last_applied:
        raise _broken("last_applied never goes back", after)
    if after.first_index < before.first_index:
        raise _broken("what is compacted stays so", after)
    if after.current_term > before.current_term:
        return
    if before.voted_for not in (None, after.voted_for):
        raise _broken("one vote a term, and it is not taken back (§5.2; hazard E2)", after)
    if before.role is after.role is Role.LEADER and after.last_index < before.last_index:
        raise _broken("Leader Append-Only (§5.3)", after)


def _broken(rule: str, view: View) -> InvariantViolated:
    return InvariantViolated(f"does not hold: {rule}; {view}")
