"""A dict, replicated."""

from typing import TypeAlias

from attrs import define, field

from txraft import command

Value: TypeAlias = bool | int | float | str | bytes
"""What a `Table` or a `Queue` keeps. None stands for no value."""


@define(slots=False)
class Table:
    """Values by key. To `set` and to `delete` again does no harm by itself, but what others did in between is lost; a
    `compare_and_set` of which the outcome is unknown is best followed by a `get`."""

    entries: dict[str, Value] = field(factory=dict)

    @command
    def set(self, key: str, value: Value) -> bool:
        """Set it, whatever it was. Gives whether it had a value."""
        had_one = key in self.entries
        self.entries[key] = value
        return had_one

    @command
    def delete(self, key: str) -> bool:
        """Let it have no value. Gives whether it had one."""
        return self.entries.pop(key, None) is not None

    @command
    def compare_and_set(self, key: str, old: Value | None, new: Value | None) -> bool:
        """Set it to `new`, if it is `old`. Either may be None, for no value. Gives whether it was `old`. 1, 1.0 and
        True are three values."""
        current = self.entries.get(key)
        if (type(current), current) != (type(old), old):
            return False
        if new is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = new
        return True

    def get(self, key: str) -> Value | None:
        """Its value, or None. For `query`, as `keys`."""
        return self.entries.get(key)

    def keys(self, prefix: str = "") -> list[str]:
        """Those that begin with `prefix`, sorted."""
        return sorted(key for key in self.entries if key.startswith(prefix))
