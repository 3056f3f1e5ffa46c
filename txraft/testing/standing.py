"""Where the nodes of a simulated cluster stand, several of them together."""

from collections.abc import Iterable, Sequence, Set

from txraft.core.configuration import Configuration
from txraft.core.messages import NodeId
from txraft.core.roles import Role
from txraft.testing.machine import Machine, state_of


def states_of(machines: Iterable[Machine]) -> str:
    """Each in short."""
    return "; ".join(f"node {machine.id}: {state_of(machine)}" for machine in machines)


def leaders_of(machines: Iterable[Machine]) -> set[tuple[NodeId | None, int]]:
    """Who leads, and in which term, as each of them sees it."""
    return {(machine.node.view.leader_id, machine.node.view.current_term) for machine in machines}


def leaderless(machines: Sequence[Machine]) -> str:
    """Why they do not all follow one leader, which is one of them; empty where they do."""
    views = [machine.node.view for machine in machines]
    leaders = [view for view in views if view.role is Role.LEADER]
    if len(leaders) != 1:
        return f"there are {len(leaders)} leaders: {states_of(machines)}"
    lead = leaders[0]
    for machine, view in zip(machines, views, strict=True):
        if not machine.knows_who_lives():
            return f"node {machine.id} has connections to dead processes"
        if (view.leader_id, view.current_term) != (lead.node_id, lead.current_term):
            return f"node {machine.id} does not follow node {lead.node_id}: {states_of(machines)}"
    return ""


def behind(machines: Sequence[Machine]) -> str:
    """Which of them does not have, committed and applied, all that the one leader has; empty where all do."""
    views = [machine.node.view for machine in machines]
    lead = next(view for view in views if view.role is Role.LEADER)
    for machine, view in zip(machines, views, strict=True):
        reached = {view.last_index, view.commit_index, view.last_applied, machine.node.applied.index}
        if reached != {lead.last_index}:
            return f"node {machine.id} has not caught up: {states_of(machines)}"
    return ""


def changing(members: Sequence[Machine], latest: Configuration, strays: Set[NodeId]) -> str:
    """Why the membership may yet change; empty where it may not. `latest` is the last one that is committed, and
    `strays` cannot be members, whatever it says."""
    for machine in members:
        if machine.process is None or machine.node.configuration != latest:
            return f"node {machine.id} has not come to have the members {latest}"
    if latest.is_joint:
        return f"the membership is joint: {latest}"
    if leads := [each.id for each in members if each.node.view.role is Role.LEADER and each.id not in latest.voters]:
        return f"nodes {leads} lead, and have no vote"
    if joining := [each for each, _ in latest.joining if each not in strays]:
        return f"nodes {joining} have not been given a vote"
    return ""


def lingering(members: Sequence[Machine], removed: Set[NodeId]) -> str:
    """Who of the removed still has to do with a member; empty where nobody has (hazard E9)."""
    for machine in members:
        if still := removed & machine.wiring.peers.versions().keys():
            return f"node {machine.id} is connected to nodes {set(still)}, which were removed"
    return ""
