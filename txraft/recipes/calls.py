"""What the recipes need of a service."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred

T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")
P = ParamSpec("P")


class Calls(Protocol[T_co]):
    """Calls the commands of a replicated object that has what `T_co` has, and reads it: an `ObjectService`."""

    def call(self, method: Callable[Concatenate[T_co, P], R], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[R]":
        """As ObjectService."""

    def query(self, method: Callable[Concatenate[T_co, P], R], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[R]":
        """As ObjectService."""
