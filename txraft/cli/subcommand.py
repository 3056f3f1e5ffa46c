"""What the subcommands have in common."""

import sys
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from getopt import GetoptError, gnu_getopt
from typing import ClassVar, NoReturn

from twisted.python.usage import Options, UsageError

from txraft.settings import MAX_ID
from txraft.version import version


class VersionedOptions(Options):
    """Options whose `--version` is txraft's, and whose methods have types. Nothing stands on the command line without
    the name of an option."""

    meant: str | None = None
    """The option that a number without one is likely to be for."""

    def __init__(self) -> None:
        Options.__init__(self)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line, by default that of the process. Raises UsageError."""
        Options.parseOptions(self, options)

    def parseArgs(self, *arguments: str) -> None:
        """What belongs to no option. Raises UsageError where there is anything."""
        if arguments:
            first = arguments[0]
            hint = f": write --{self.meant} {first}" if self.meant and first.isascii() and first.isdigit() else ""
            raise UsageError(f"{first!r} belongs to no option{hint}")

    opt_h = Options.opt_help

    def to_whole_number(self, name: str, least: int = 0, most: int = MAX_ID) -> None:
        """Make the option a number, where it is given. Raises UsageError."""
        text = self[name]
        if text is None:
            return
        what = name if name.isupper() else f"--{name}"
        # The length first: to read ten thousand digits takes Python too long, and it refuses.
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            is_number = text.removeprefix("-").isdigit()
            which = f" from {least} to {most}" if most != MAX_ID or is_number else ""
            raise UsageError(f"{what} takes a whole number{which}, not {text!r}")
        self[name] = int(text)

    def refuse_empty(self, *names: str) -> None:
        """What a script gives that meant to give something. Raises UsageError."""
        for name in names:
            if self[name] == "":
                raise UsageError(f"--{name} is empty: give it a value, or leave it out")

    def opt_version(self) -> NoReturn:
        """Display txraft's version and exit."""
        print(f"txraft {version()}")
        sys.exit(0)


class Subcommand(VersionedOptions):
    """A subcommand: its options, and what it does."""

    @abstractmethod
    def run(self) -> int:
        """Do it, after the options have been parsed. Gives the exit status; may raise TxraftError."""


class SubcommandOn(Subcommand):
    """A subcommand on something, a file say, which is named without an option: before, between or behind those."""

    things: ClassVar[tuple[str, ...]]
    """What is named so, in this order, as the help calls it."""

    def getSynopsis(self) -> str:
        return " ".join([Subcommand.getSynopsis(self), *self.things])

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line. Raises UsageError."""
        words = list(options or ())
        with suppress(GetoptError):  # which is said below
            given, named = gnu_getopt(words, self.shortOpt, self.longOpt)
            words = [word for name, value in given for word in ((name, value) if self._takes_value(name) else (name,))]
            words += ["--", *named]
        Subcommand.parseOptions(self, words)

    def _takes_value(self, name: str) -> bool:
        return f"{name[2:]}=" in self.longOpt

    def parseArgs(self, *arguments: str) -> None:
        """What it is on. Raises UsageError where that is more or less than there has to be."""
        number = len(list(filter(None, arguments)))
        if number != len(self.things) or number != len(arguments):
            things = " ".join(self.things)
            what = f"one {things}" if len(self.things) == 1 else f"{len(self.things)} words, {things}"
            raise UsageError(f"give {what}, not {number or 'none'}")
        self.update(zip(self.things, arguments, strict=True))
