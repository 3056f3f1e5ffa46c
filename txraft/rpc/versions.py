"""Which versions of the protocol a node speaks, and what one of an earlier release is not to be sent.

A caller says the oldest and the newest version that it speaks, and the connection speaks the newest that both do: so
the nodes of a cluster are upgraded one after the other, while it serves. A release speaks its own version and that of
the release before.

- 5 knows no changes of the membership. It has the members of a snapshot as three lists, says one version instead of
  two, and ends the connection when an entry comes whose kind it does not know.
- 6 has a configuration as `Configuration.to_bytes` writes it, `ChangeMembers` and `Leaving`.
"""

from typing import Final

from txraft.core.configuration import Configuration
from txraft.core.messages import AppendEntries, EntryKind, InstallSnapshot, Message
from txraft.interfaces import CHANGES_MEMBERS

OLDEST_VERSION: Final = 5
NEWEST_VERSION: Final = 6
"""Goes up whenever nodes of the old and the new version could misunderstand each other."""
OUTDATED: Final = "runs an earlier txraft that does not know changes of the membership; upgrade it first"
"""What is said of a node that speaks an earlier version."""


def agreed(oldest: int, newest: int, newest_here: int) -> int | None:
    """The version that a connection speaks whose caller speaks `oldest` to `newest`; None where there is none."""
    version = min(newest, newest_here)
    return version if version >= max(oldest, OLDEST_VERSION) else None


def can_be_sent(message: Message, version: int) -> bool:
    """Whether a node that speaks `version` would understand."""
    match message:
        case AppendEntries(entries=entries) if version < CHANGES_MEMBERS:
            return all(entry.kind is not EntryKind.CONFIGURATION for entry in entries)
        case InstallSnapshot(snapshot=snapshot) if version < CHANGES_MEMBERS:
            return fits(snapshot.configuration, version)
        case _:
            return True


def fits(configuration: Configuration, version: int) -> bool:
    """Whether a node that speaks `version` has a way to say this configuration. Addresses count for nothing: a node
    that knows no changes has them from elsewhere."""
    return version >= CHANGES_MEMBERS or configuration == Configuration(
        configuration.voters, configuration.outgoing, configuration.learners, addresses=configuration.addresses
    )
