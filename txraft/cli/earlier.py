"""What earlier starts of `txraft up` have left in its data directory, and which nodes are to be started because of it.

A node that cannot be started, or must not, holds up no other, as long as the others have a majority without it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import evolve, frozen

from txraft.errors import DirectoryLocked, SettingsError, StorageError
from txraft.kv.member_addresses import parse_two
from txraft.settings import Member, Settings
from txraft.storage.directory import unusable
from txraft.storage.identity import shown
from txraft.storage.inspection import FirstLook, first_look

WITHOUT = (
    'the others go on without it; where that cannot be mended, see "Replace a dead machine" and "A disk is lost" in the'
    " README"
)
"""What becomes of a node that cannot be started, and what to do."""


@frozen
class Earlier:
    """What there is."""

    data: Path
    looks: Mapping[int, FirstLook]
    """At the directories of the nodes that were started before."""
    problems: Mapping[int, StorageError]
    """Why others cannot be looked at."""

    @property
    def is_empty(self) -> bool:
        """Whether no node was ever started."""
        return not self.looks and not self.problems

    def joining(self, settings: Settings) -> frozenset[int]:
        """The nodes that were not there when the cluster began, and that have no directory yet."""
        begun = [look.identity.founders for look in self.looks.values()]
        return frozenset(
            each.id
            for each in settings.cluster
            if begun and each.id not in begun[0] and each.id not in self.looks.keys() | self.problems.keys()
        )

    @property
    def removed(self) -> frozenset[int]:
        """The nodes that are members no more."""
        return frozenset().union(*(look.configuration.removed for look in self.looks.values()))

    def cannot_start(self, settings: Settings, cluster_id: str) -> dict[int, StorageError]:
        """Why these nodes of the cluster are not to be started, those aside that were removed. A new directory would
        be one of the cluster `cluster_id`.

        Raises StorageError where the others have no majority without them, or have not begun, and SettingsError where
        there is another cluster."""
        removed, joining = self.removed, self.joining(settings)
        ids = [each.id for each in settings.cluster if each.id not in removed]
        found = {id: error for id in ids if (error := self._problem_of(id, cluster_id)) is not None}
        voters = [id for id in ids if id not in joining]
        if ids and not voters:
            raise SettingsError(
                f"{self.data} is of a cluster to which none of the nodes {shown(ids)} belongs: give another --data-dir"
            )
        if found and (not self.looks or 2 * sum(id not in found for id in voters) <= len(voters)):
            raise StorageError("; ".join(map(str, found.values())))
        return found

    def _problem_of(self, id: int, cluster_id: str) -> StorageError | None:
        if id in self.problems:
            return self.problems[id]
        others = [look for other, look in self.looks.items() if other not in self.removed]
        if id in self.looks or not others:
            return None
        directory = self.data / str(id)
        if any(id in look.peers for look in others):
            return StorageError(
                f"{directory} is missing, and the other nodes, which have met it, let in no other: put it back"
            )
        identity = others[0].identity
        if id in identity.founders and cluster_id != identity.cluster_id:
            return StorageError(
                f"{directory} is missing, and with another one it would be a node of another cluster: put it back"
            )
        return None

    def in_place(self, settings: Settings) -> Settings:
        """The same cluster, each node of which is where its own directory has it: where no file says otherwise, that is
        where it listens."""
        return evolve(settings, cluster=tuple(map(self._in_place, settings.cluster)))

    def _in_place(self, member: Member) -> Member:
        addresses = self.looks[member.id].addresses.get(member.id) if member.id in self.looks else None
        if addresses is None:
            return member
        address, kvaddr = parse_two(addresses)
        return evolve(member, address=address, kvaddr=kvaddr)

    def moved(self, settings: Settings, file: str) -> Iterator[str]:
        """The lines that say which nodes listen elsewhere, by the `file`, than the cluster looks for them."""
        latest = max(self.looks.values(), key=lambda look: look.index, default=None)
        known = {} if latest is None else dict(latest.configuration.addresses)
        for member in settings.cluster:
            has = (str(member.address), str(member.kvaddr))
            if (looked_for := known.get(member.id, has)) != has:
                address, kvaddr = looked_for
                yield (
                    f"node {member.id} listens where {file} says, and the cluster looks for it elsewhere: give it"
                    f' address = "{address}" and kvaddr = "{kvaddr}" there, and start again'
                )


def look_at(data: Path) -> Earlier:
    """Look at the directories of all nodes. Raises DirectoryLocked where one of them runs, and StorageError."""
    looks, problems = {}, {}
    try:
        directories = sorted(data.iterdir()) if data.is_dir() else []
    except OSError as error:
        raise unusable(data, error) from error
    for directory in directories:
        if not (directory.name.isascii() and directory.name.isdecimal()):
            continue
        try:
            if (look := first_look(directory)) is not None:
                looks[int(directory.name)] = look
        except DirectoryLocked:
            raise
        except StorageError as error:
            problems[int(directory.name)] = error
    return Earlier(data, looks, problems)


def without(settings: Settings, ids: frozenset[int]) -> Settings:
    """All nodes but these. Raises SettingsError where none is left."""
    members = tuple(each for each in settings.cluster if each.id not in ids)
    if not members:
        raise SettingsError(
            "every node was removed from its cluster; remove the directories, or give another --data-dir"
        )
    return evolve(settings, cluster=members)
