"""`txraft status`: how all nodes of a cluster are doing, in one table."""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from time import sleep

import attrs
from attrs import frozen

from txraft.addresses import Address
from txraft.cli.asking import AskingNodes, NoAnswer, ask
from txraft.cli.membership import NotUnderstood, ask_for_members, leader_of, members_from_leader, read
from txraft.cli.table import table
from txraft.client.http import line_of
from txraft.errors import SettingsError, Unreachable
from txraft.kv.member_addresses import kvaddr_of
from txraft.statuses import FollowerStatus, MemberDetails, Members

TIMEOUT = 2.0
"""Seconds in which a node must take the connection, and in which it must answer."""
EVERY = 2
"""Seconds between two looks, where nobody says how many."""
MOST_AT_ONCE = 16
CLEAR = "\x1b[H\x1b[2J"
"""Lets a terminal begin anew."""


@frozen
class NodeStatus:
    """What is used of a node's /status. What an earlier version does not say has a default."""

    id: int
    cluster: str
    role: str
    term: int
    leader_id: int | None
    commit_index: int
    last_applied: int
    version: str | None = None
    data_size: int | None = None
    followers: tuple[FollowerStatus, ...] = ()


@frozen
class Row:
    """One node, as it is shown."""

    id: int
    address: str
    """That of its HTTP API."""
    version: str | None = None
    role: str | None = None
    term: int | None = None
    commit: int | None = None
    applied: int | None = None
    lag: int | None = None
    """Entries that the leader knows to be committed, and that this node has not applied yet."""
    data_size: int | None = None
    """Bytes."""
    last_contact: float | None = None
    """Seconds since the leader last heard from it; None where it has not yet."""
    errors: str = ""
    """What is wrong with it; empty where nothing is."""


@frozen
class Overview:
    """All nodes."""

    cluster: str
    leader_id: int | None
    """The one that says so of itself, of the latest term."""
    healthy: bool
    """Whether all answer, and know the leader."""
    nodes: tuple[Row, ...]


class StatusOptions(AskingNodes):
    """The options of `txraft status`."""

    optFlags = [  # noqa: RUF012 - how Twisted has it
        ["json", None, "Print JSON, in one line."],
        ["watch", None, f"Look again every {EVERY} seconds, or as many as follow, as in --watch 10, until Ctrl-C."],
    ]
    longdesc = (
        "Asks one node who belongs to the cluster, and then all members at once how they are doing. Lag is how many"
        " committed changes a node has still to apply, and contact how long ago the leader last heard from it. The exit"
        " status is 0 where every node answers and all know one leader, 1 where not, and 3 where no node can tell."
    )

    def parseArgs(self, *arguments: str) -> None:
        """The seconds of --watch. Raises UsageError."""
        if not (self["watch"] and len(arguments) == 1):
            super().parseArgs(*arguments)
            arguments = (str(EVERY),)
        self["SECONDS"] = arguments[0]
        self.to_whole_number("SECONDS", 1, 86_400)

    def run(self) -> int:
        addresses, _ = self.nodes()
        status = 1
        try:
            while True:
                status = self._look_and_show(addresses)
                if not self["watch"]:
                    return status
                sleep(self["SECONDS"])
        except KeyboardInterrupt:
            if not self["watch"]:
                raise
            return status

    def _look_and_show(self, addresses: Sequence[Address]) -> int:
        """Gives the exit status that one look has."""
        try:
            with self.suggesting_config():
                overview = overview_of(addresses)
        except Unreachable as error:
            if not self["watch"]:
                raise
            print(f"txraft: {error}", file=sys.stderr)
            return 1
        if self["json"]:
            print(json.dumps(attrs.asdict(overview)), flush=True)
        else:
            self._print(shown(overview))
        return 0 if overview.healthy else 1

    def _print(self, text: str) -> None:
        if self["watch"]:
            text = f"{datetime.now().isoformat(' ', 'seconds')}\n{text}"
            if sys.stdout.isatty():
                text = CLEAR + text
        print(text, flush=True)


def overview_of(addresses: Sequence[Address]) -> Overview:
    """How the nodes are doing that are members by what the leader says, or else by what the first of `addresses` says
    that answers. Raises Unreachable where none does."""
    members = members_from_leader(addresses, TIMEOUT) or _members_from_any(addresses)
    with ThreadPoolExecutor(MOST_AT_ONCE) as threads:
        found = list(threads.map(_look, members.members))
    leaders = [status for status, _ in found if status is not None and status.role == "leader"]
    leader = max(leaders, key=lambda status: status.term, default=None)
    rows = tuple(
        _row(member, status, "; ".join(_errors(member, status, error, members, leader)), leader)
        for member, (status, error) in zip(members.members, found, strict=True)
    )
    healthy = not any(row.errors for row in rows)
    return Overview(members.cluster, None if leader is None else leader.id, healthy, rows)


def _members_from_any(addresses: Sequence[Address]) -> Members:
    reasons = []
    for address in addresses:
        try:
            return ask_for_members(address, TIMEOUT, stale=True)
        except (NoAnswer, NotUnderstood, Unreachable) as error:
            reasons.append(str(error))
    raise Unreachable(f"no node can tell the members: {'; '.join(reasons) or 'there are none to ask'}")


def _look(member: MemberDetails) -> tuple[NodeStatus | None, str]:
    """What a node says of itself, or why there is nothing."""
    if not (kvaddr := kvaddr_of(member)):
        return None, "its address is not known"
    try:
        status = read(ask(Address.parse(kvaddr), TIMEOUT, "/status", connect_timeout=TIMEOUT), NodeStatus)
    except Unreachable:
        return None, "cannot be reached"
    except (NoAnswer, NotUnderstood, SettingsError) as error:
        return None, str(error)
    if status.id != member.id:
        return None, f"node {status.id} answers at its address"
    return status, ""


def _errors(
    member: MemberDetails, status: NodeStatus | None, error: str, members: Members, leader: NodeStatus | None
) -> Iterator[str]:
    """What is wrong with a node, by itself and by the leader. `error` is why it has no status."""
    if wrong := error or _wrong_with(status, members.cluster, leader):
        yield wrong
        if leader_of(members) is not None and member.last_contact is None:
            yield "the leader has not heard from it yet"
    if member.problem is not None:
        yield line_of(member.problem)


def _wrong_with(status: NodeStatus | None, cluster: str, leader: NodeStatus | None) -> str:
    """What is wrong with a node that answers; empty where nothing is."""
    if status is None:
        return ""
    if status.cluster != cluster:
        return "belongs to another cluster"
    if status.leader_id is None:
        return "knows no leader"
    if leader is None or status.leader_id != leader.id:
        return f"takes node {status.leader_id} for the leader"
    return ""


def _row(member: MemberDetails, status: NodeStatus | None, errors: str, leader: NodeStatus | None) -> Row:
    followers = () if leader is None else leader.followers
    contact = next((follower.last_contact for follower in followers if follower.id == member.id), None)
    if status is None:
        return Row(member.id, kvaddr_of(member), last_contact=contact, errors=errors)
    return Row(
        id=member.id,
        address=kvaddr_of(member),
        version=status.version,
        role=status.role,
        term=status.term,
        commit=status.commit_index,
        applied=status.last_applied,
        lag=None if leader is None else max(0, leader.commit_index - status.last_applied),
        data_size=status.data_size,
        last_contact=contact,
        errors=errors,
    )


def shown(overview: Overview) -> str:
    """The table."""
    columns = ("id", "address", "version", "role", "term", "commit", "applied", "lag", "data", "contact", "errors")
    return table(columns, [_cells(row) for row in overview.nodes])


def _cells(row: Row) -> list[object]:
    size = None if row.data_size is None else f"{row.data_size / 2**20:,.1f} MiB"
    contact = None if row.last_contact is None else f"{row.last_contact:,.1f} s ago"
    return [
        *(row.id, row.address, row.version, row.role, row.term, row.commit, row.applied, row.lag),
        *(size, contact, row.errors),
    ]
