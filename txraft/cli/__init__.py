"""The `txraft` console script, the same as `python -m txraft`.

Each subcommand is a module with a `Subcommand`, its options and what it does, and a line in `txraft.cli.options`, which
is the one boundary: what goes wrong is one line on stderr, and an exit status of the table there.

`twistd` is the other command line, that of `twistd txraft`: a single node. `process` is what that does to its process.

`txraft up`, from the outside in: `up` reads the options and runs the reactor, `earlier` says what earlier starts have
left, `cluster` starts and ends the processes of the nodes, and `child` is what such a process runs.
"""

import errno
import os
import signal
import sys
from collections.abc import Sequence

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What is wrong where a file cannot be written to."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments`, by default those of the process, name. Gives the exit status."""
    try:
        from txraft.cli.options import run  # noqa: PLC0415 - `child` comes by here and must start fast

        try:
            return run(arguments)
        finally:
            if sys.stdout is not None:  # which it is where it was closed
                sys.stdout.flush()
    except BrokenPipeError:  # what it was printed to, `head` say, has read enough
        _print_no_more()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:  # which the command should have answered
            raise
        _print_no_more()
        print(f"txraft: cannot print: {error.strerror}; what was printed is not whole", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was started or asked; what is under way answers Ctrl-C itself
        return 128 + signal.SIGINT


def _print_no_more() -> None:
    """The interpreter flushes once more at its end, which has to work then."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
