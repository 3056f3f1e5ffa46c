"""Ends a process in the middle of what it does with files."""

import os
import signal
from collections.abc import Callable
from typing import Any
from unittest import TestCase


class Steps:
    """Kills this process in place of a call of `os` that may change something, after `count` of them."""

    def __init__(self, count: int) -> None:
        self.left = count
        for name in ("fsync", "mkdir", "open", "rename", "rmdir", "unlink", "write"):
            setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return function(*args, **kwargs)

        return call


def is_killed(test: TestCase, steps: int, function: Callable[[], object]) -> bool:
    """Call `function` in another process. Whether that was killed before it was done; fails where `function` did."""
    child = os.fork()
    if child == 0:
        try:
            Steps(steps)
            function()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    test.assertTrue(os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0)
    return os.WIFSIGNALED(status)
