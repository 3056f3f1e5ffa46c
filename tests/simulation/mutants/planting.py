"""What a mutant is, and how it gets into the program: its text is changed on the way from the file to the compiler."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from attrs import field, frozen


class Moved(Exception):
    """The text that a mutant changes is not in its module, or not once only: the mutant has to follow the code."""


@frozen
class Mutant:
    """One small change of the program that breaks one rule."""

    name: str
    hazard: str
    """The row of `hazards.md` that it breaks."""
    module: str
    old: str
    """Occurs in the module exactly once."""
    new: str
    what: str = field(kw_only=True)
    """What is wrong with it, in a line."""
    budget: int = field(default=60, kw_only=True)
    """Seeds within which the simulator must find it."""
    only: Mapping[str, Any] = field(factory=dict, kw_only=True)
    """What every plan has, for a bug that few plans come near: `{"streams": True}`."""

    def applied_to(self, source: str) -> str:
        """The module's text with the mutation. Raises Moved."""
        if (count := source.count(self.old)) != 1:
            raise Moved(f"{self.name}: {self.module} has {count} times what it changes:\n{self.old}")
        return source.replace(self.old, self.new)

    def source(self) -> str:
        """The mutated text of its module as it is now. Raises Moved."""
        spec = find_spec(self.module)
        assert spec is not None, self.module
        assert spec.origin is not None, self.module
        return self.applied_to(Path(spec.origin).read_text())


def plant(mutant: Mutant) -> None:
    """Change the program, for the rest of this interpreter's life. The module must not have been imported yet, nor
    anything that imports it. Raises Moved.
    """
    assert mutant.module not in sys.modules, f"{mutant.module} is imported already"
    sys.meta_path.insert(0, _Finder(mutant))
    importlib.import_module(mutant.module)


@frozen
class _Finder(MetaPathFinder):
    mutant: Mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None, fullname
        assert spec.origin is not None, fullname
        spec.loader = _Loader(fullname, spec.origin, self.mutant)
        return spec


class _Loader(SourceFileLoader):
    """Compiles the mutated text, and leaves the cache of compiled modules alone."""

    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        text = self.get_data(path).decode()
        return compile(self._mutant.applied_to(text), path, "exec", dont_inherit=True)
