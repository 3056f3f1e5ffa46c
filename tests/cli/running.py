"""Runs a command as the console script does."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from txraft.cli import main


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = main(list(map(str, arguments)))
    return status, out.getvalue(), err.getvalue()
