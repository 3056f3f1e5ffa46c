"""What may be set of a server. Most of it is to be the same on all servers of a cluster."""

from typing import Any, Final

from attrs import Attribute, field, frozen

from txraft.core.state import RaftOptions
from txraft.errors import SettingsError
from txraft.node.compaction import Keep
from txraft.settings import LogLimits, SizeLimits, Timing
from txraft.texts import brief


def _of_its_class(_: object, attribute: "Attribute[Any]", value: object) -> None:
    kind: Any = attribute.type
    if not isinstance(value, kind):
        raise SettingsError(f"{attribute.name}: is a `{kind.__name__}`, of txraft, not {brief(value)}")


@frozen
class Options:
    """Times, and how much is kept."""

    timing: Timing = field(factory=Timing, validator=_of_its_class)
    log: LogLimits = field(factory=LogLimits, validator=_of_its_class)
    """Of this server. What follows is to be the same on all."""
    limits: SizeLimits = field(factory=SizeLimits, validator=_of_its_class)
    """Of which only what may wait to be committed counts here."""

    @property
    def raft(self) -> RaftOptions:
        """What the core is told."""
        return RaftOptions(
            election_timeout=self.timing.election_seconds,
            heartbeat_interval=self.timing.heartbeat_seconds,
            max_uncommitted_size=self.limits.uncommitted_size,
            max_uncommitted_entries=self.limits.uncommitted_entries,
        )

    @property
    def keep(self) -> Keep:
        """What compaction is told."""
        return Keep(self.log.keep_entries, self.log.keep_size)


DEFAULTS: Final = Options()
