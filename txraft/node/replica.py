"""A node's public face: any request, on any node. It finds the leader, passes on, waits, and tells outcomes apart.

The rule: until a command is handed to a leader, nothing has happened, and it may be tried again or be called
not-applied. From then on it is never handed over again (hazard C8); what the leader does not answer is unknown. Only
the leader's own word that it took nothing in takes a command back into the first case. Reads change nothing and are
tried again freely.

Where this node leads, which is where most requests come, there is nothing to find and nothing to pass on: the node is
asked at once, and what it gives is the very Deferred that the caller gets. Only where the node says that it does not
lead after all is a request looked after by `_of_the_leader`, as all are that come to another node.
"""

from collections.abc import Callable, Generator, Sequence, Set
from functools import partial
from typing import Any, NoReturn, TypeVar

from attrs import define
from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.core.backlog import Backlog
from txraft.core.changes import Change, changed
from txraft.core.messages import NodeId
from txraft.core.roles import Role
from txraft.errors import (
    ChangeRefused,
    NoSuchVoter,
    NotApplied,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    Undecided,
    Unreachable,
)
from txraft.interfaces import IPeers, IReplica
from txraft.node.driver import Node
from txraft.node.membership_status import are_known, members_of, not_known, since_contact, statuses_of
from txraft.node.pending_requests import SharedBarriers
from txraft.node.time_limit import TimeLimit
from txraft.statuses import FollowerStatus, Members, Status

T = TypeVar("T")

REQUEST_OVERHEAD = 6 * 1024
"""Bytes of memory that a waiting request takes beside its command, where this node passes it on: 11 KB at both ends
together, with tracemalloc, most of it Deferreds. Where this node leads it takes 1.7 KB."""


@define(eq=False)
class _Request:
    """How far a request has come, for what is to be said of it when its time is over."""

    changes: bool
    """Whether it would change anything."""
    command: bytes | None = None
    """Where it is one that counts as held."""
    handed_over: bool = False
    done: "Deferred[Any] | None" = None
    """What fires with its answer."""
    is_late: bool = False
    """Its time was over before there was one."""


class _Silence(Exception):
    """The leader takes longer than it should."""


@implementer(IReplica)
class Replica:
    """Takes any request on one node, leader or not."""

    def __init__(
        self,
        node: Node,
        peers: IPeers,
        cluster_id: str,
        founders: Set[NodeId],
        clock: IReactorTime,
        request_timeout: float,
        patience: float,
        max_held_size: int,
        max_held: int,
    ) -> None:
        """`cluster_id` and `founders`, the members that the cluster was first started with, are to be shown.

        In seconds: `request_timeout`, within which a request is answered one way or the other, and `patience`, after
        which a barrier, or a leader that took nothing in, is asked anew, about an election timeout. Of the changes that
        wait for an answer: `max_held_size`, their bytes of memory, and `max_held`, their number (hazard C9).
        """
        self._node = node
        self._peers = peers
        self._cluster_id = cluster_id
        self._founders = founders
        self._clock = clock
        self._request_timeout = request_timeout
        self._patience = patience
        self._held = Backlog(max_held_size, max_held, REQUEST_OVERHEAD)
        self._barriers = SharedBarriers(self._find_read_index, node.applied.reaches)
        self._time_limit = TimeLimit(request_timeout, clock, self._too_late)

    # IReplica

    def propose(self, command: bytes) -> "Deferred[bytes]":
        """Replicate a command; see `IReplica.propose`."""
        if not isinstance(command, bytes):  # what a disk cannot take in would end the node
            raise TypeError(f"a command is bytes, not {type(command).__name__}")
        if not self._held.add(command):
            return fail(Overloaded("too many changes wait for an answer on this node; try again later"))
        request = _Request(changes=True, command=command)
        if self._leads():
            request.handed_over = True
            return self._within_time(self._node.propose(command), request)
        return self._within_time(self._find_leader_to_propose(command, request), request)

    def read_barrier(self) -> "Deferred[None]":
        """Wait until this node may answer a linearizable read; see `IReplica.read_barrier`."""
        return self._within_time(self._barriers.join(), _Request(changes=False))

    def transfer_leadership(self, target: NodeId) -> "Deferred[None]":
        """Make another node lead; see `IReplica.transfer_leadership`."""
        try:
            self._require_members()
        except NotApplied:
            return fail()
        voters = self._node.configuration.voters
        if target not in voters:
            return fail(NoSuchVoter(f"node {target} cannot lead; the voters are {', '.join(map(str, sorted(voters)))}"))
        request = _Request(changes=True)
        done = self._of_the_leader(partial(self._ask_to_transfer, target), request)
        return self._within_time(done, request).addCallback(lambda _: None)

    def change_members(self, changes: Sequence[Change]) -> "Deferred[None]":
        """Change the membership; see `IReplica.change_members`."""
        request = _Request(changes=True)
        done = self._of_the_leader(partial(self._ask_to_change_members, changes), request)
        return self._within_time(done, request).addCallbacks(
            lambda _: None, self._see_whether_done, errbackArgs=(changes,)
        )

    def members(self) -> Members:
        """The membership in force here; see `IReplica.members`."""
        node = self._node
        self._require_members()
        return members_of(
            self._cluster_id,
            self._founders,
            node.configuration,
            node.configuration_index,
            node.view,
            node.followers,
            node.problems(),
            self._clock.seconds(),
        )

    def status(self) -> Status:
        """Where this node stands; see `IReplica.status`."""
        view, configuration, now = self._node.view, self._node.configuration, self._clock.seconds()
        known = are_known(configuration, self._node.configuration_index, view.node_id)
        role = "candidate" if view.role is Role.PRE_CANDIDATE else view.role.value
        if view.role is Role.FOLLOWER and not configuration.is_voter(view.node_id):
            role = "learner"
        return Status(
            id=view.node_id,
            cluster=self._cluster_id,
            role=role,
            term=view.current_term,
            leader_id=view.leader_id,
            commit_index=view.commit_index,
            last_applied=self._node.applied.index,
            last_log_index=view.last_index,
            first_log_index=view.first_index,
            members_known=known,
            members=tuple(statuses_of(configuration)) if known else (),
            followers=tuple(
                FollowerStatus(member, progress.match_index, since_contact(progress, now))
                for member, progress in sorted(self._node.followers.items())
            ),
        )

    # Inside

    def _require_members(self) -> None:
        """Raises NotApplied where this node does not know them yet."""
        node = self._node
        if not are_known(node.configuration, node.configuration_index, node.node_id):
            raise NotApplied(not_known(node.configuration, node.view))

    def _ask_to_propose(self, command: bytes, leader: NodeId) -> "Deferred[bytes]":
        local = leader == self._node.node_id
        return self._node.propose(command) if local else self._peers.propose(leader, command)

    def _ask_to_transfer(self, target: NodeId, leader: NodeId) -> "Deferred[NodeId]":
        local = leader == self._node.node_id
        return self._node.transfer_leadership(target) if local else self._peers.transfer_leadership(leader, target)

    def _ask_to_change_members(self, changes: Sequence[Change], leader: NodeId) -> "Deferred[Any]":
        local = leader == self._node.node_id
        return self._node.change_members(changes) if local else self._peers.change_members(leader, changes)

    @inlineCallbacks
    def _see_whether_done(self, failure: Failure, changes: Sequence[Change]) -> Generator[Deferred[None], None, None]:
        """A leader that removes itself hangs up, often before it has answered. What it did can be seen here."""
        failure.trap(OutcomeUnknown)
        try:
            yield self.read_barrier()
            is_committed = self._node.configuration_index <= self._node.view.commit_index
            if not (is_committed and changed(self._node.configuration, changes) == self._node.configuration):
                failure.raiseException()
        except (Undecided, ChangeRefused):
            failure.raiseException()

    def _ask_for_read_index(self, leader: NodeId) -> "Deferred[int]":
        local = leader == self._node.node_id
        asked = self._node.read_index() if local else self._peers.read_barrier(leader)
        # A leader that has been stopped answers nothing, and by then another one may lead. To ask again is harmless.
        return asked.addTimeout(self._patience, self._clock, _no_answer)

    def _leads(self) -> bool:
        return self._node.view.leader_id == self._node.node_id

    def _find_leader_to_propose(self, command: bytes, request: _Request) -> "Deferred[bytes]":
        return self._of_the_leader(partial(self._ask_to_propose, command), request)

    def _find_read_index(self) -> "Deferred[int]":
        if self._leads():
            return self._node.read_index().addErrback(self._find_leader_to_read)
        return self._find_leader_to_read()

    def _find_leader_to_read(self, failure: Failure | None = None) -> "Deferred[int]":
        """`failure`: why this node cannot be asked."""
        if failure is not None:
            failure.trap(NotLeader)
        return self._of_the_leader(self._ask_for_read_index, _Request(changes=False))

    @inlineCallbacks
    def _of_the_leader(
        self, ask: "Callable[[NodeId], Deferred[T]]", request: _Request
    ) -> Generator[Deferred[Any], Any, T]:
        """Ask the node that leads. Where it says that it does not, or cannot be asked, wait for news and begin again.

        News that come while it is being asked count: the answer may be slower than they are.
        """
        while True:
            known = self._node.changes
            leader = self._node.view.leader_id
            if leader is not None:
                request.handed_over = True
                try:
                    answer: T = yield ask(leader)
                    return answer
                except _Silence:
                    continue
                except (NotLeader, Unreachable):
                    request.handed_over = False
            # Not every change that matters is news to this node: the leader's connection may have room again.
            yield self._node.change_since(known).addTimeout(self._patience, self._clock, lambda *_: None)

    # From the first to the last moment of a request

    def _within_time(self, done: "Deferred[T]", request: _Request) -> "Deferred[T]":
        """Give the request an end in any case. `done` is what is to fire with its answer."""
        request.done = done
        self._time_limit.begin(request)
        return done.addCallbacks(self._end, self._failed, callbackArgs=(request,), errbackArgs=(request,))

    def _end(self, outcome: T, request: _Request) -> T:
        self._time_limit.end(request)
        if request.command is not None:
            self._held.remove(request.command)
        return outcome

    def _failed(self, failure: Failure, request: _Request) -> "Failure | Deferred[Any]":
        if request.command is not None and failure.check(NotLeader):
            # Only this node itself says so. It took nothing in, and another one leads, or will.
            request.handed_over = False
            again = self._find_leader_to_propose(request.command, request)
            return again.addCallbacks(self._end, self._failed, callbackArgs=(request,), errbackArgs=(request,))
        self._end(failure, request)
        if request.is_late:
            raise self._undecided(request)
        return failure

    def _too_late(self, request: _Request) -> None:
        request.is_late = True
        assert request.done is not None
        request.done.cancel()

    def _undecided(self, request: _Request) -> Undecided:
        """What is to be said of a request whose time is over."""
        timeout = self._request_timeout
        if request.changes and request.handed_over:
            return OutcomeUnknown(f"no answer from the leader within {timeout:g} s; it may still take effect")
        if request.changes:
            return NotApplied(f"no leader was found within {timeout:g} s")
        leader = self._node.view.leader_id
        where = "this node knows of no leader" if leader is None else f"node {leader} leads, and it did not answer"
        return NotApplied(f"no answer within {timeout:g} s: {where}, or this node is too far behind")


def _no_answer(_result: object, _timeout: float) -> NoReturn:
    raise _Silence
