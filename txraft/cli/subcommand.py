"""What the subcommands have in common."""

import sys
from abc import abstractmethod
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from twisted.python.usage import Options


class VersionedOptions(Options):
    """Options whose `--version` is txraft's, and whose methods have types."""

    def __init__(self) -> None:
        Options.__init__(self)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line, by default that of the process. Raises UsageError."""
        Options.parseOptions(self, options)

    opt_h = Options.opt_help

    def opt_version(self) -> NoReturn:
        """Display txraft's version and exit."""
        try:
            version = metadata.version("txraft")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"txraft {version}")
        sys.exit(0)


class Subcommand(VersionedOptions):
    """A subcommand: its options, and what it does."""

    @abstractmethod
    def run(self) -> int:
        """Do it, after the options have been parsed. Gives the exit status; may raise TxraftError."""
