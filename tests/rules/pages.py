"""How pydoctor makes the pages (`tox -e docs`), and what it looks for. What is not so is a warning, which fails.

- A name of an `__all__` is there, and its page is under the package that has it, also where the package loads it when
  it is asked for. Where two packages have it, it is under the upper one: `txraft.RaftService`.
- What stands in backticks in a docstring, and looks like a name of txraft, exists: `txraft.core.raft`, `Raft.propose`,
  `RaftOptions`. In small letters alone it may be an argument, a command or a column, so nothing is looked for.
"""

import builtins
import re
from typing import ClassVar

from pydoctor import extensions, model

IN_BACKTICKS = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)(?:\(\))?`(?!`)")
CLASS_NAME = re.compile(r"[A-Z]\w*[a-z]\w*")

OTHERS = {"Any", "Decimal", "FileDescriptor", "Literal", "LoopingCall"}
"""Classes of other packages that a docstring names, though its module does not import them."""

Classes = dict[str, list[model.Class]]
"""All classes of txraft, by their names."""


def show_exports(system: model.System) -> None:
    """Put each exported name under its package, upper packages last, since the last one has it."""
    packages = [module for module in system.objectsOfType(model.Module) if module.all]
    for package in sorted(packages, key=lambda each: -each.fullName().count(".")):
        for name in package.all or ():
            full_name = package.expandName(name)
            found = system.objForFullName(full_name)
            if found is None and ("." not in full_name or full_name.startswith("txraft.")):
                package.report(f"`{name}` is in __all__ and is not found: import it, if need be under TYPE_CHECKING")
            elif found is not None and found.parent is not package:
                found.reparent(package, name)


def exists(name: str, place: model.Documentable, classes: Classes) -> bool:
    """Whether there is such a name, as a docstring of `place` means it."""
    first, _, rest = name.partition(".")
    if first == "txraft":
        return not rest or place.system.allobjects[first].resolveName(rest) is not None
    if not CLASS_NAME.fullmatch(first) or first in OTHERS or hasattr(builtins, first):
        return True
    if first not in classes:
        return place.expandName(first) != first  # the module imports it from elsewhere
    member, _, _ = rest.partition(".")
    return not member or any(each.find(member) is not None for each in classes[first])


def check_names(system: model.System) -> None:
    """Report what docstrings have in backticks and is not there."""
    classes: Classes = {}
    for each in system.objectsOfType(model.Class):
        classes.setdefault(each.name, []).append(each)
    for place in system.allobjects.values():
        text = place.docstring or ""
        for match in IN_BACKTICKS.finditer(text):
            if not exists(match[1], place, classes):
                line = text.count("\n", 0, match.start())
                place.report(f"{match[0]} does not exist", section="docstring", lineno_offset=line)


def setup_pydoctor_extension(registrar: extensions.ExtRegistrar) -> None:
    """Have both done when all modules have been read; the higher priority is first."""
    registrar.register_post_processor(show_exports, priority=-200)
    registrar.register_post_processor(check_names, priority=-300)


class Pages(model.System):
    """What pydoctor keeps all modules in."""

    custom_extensions: ClassVar[list[str]] = [__name__]
