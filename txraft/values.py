"""`value_class`: a value of which many are made for each request, and which is never changed.

attrs' `frozen` has each field set by `object.__setattr__`: a value of four fields takes 0.5 µs to make, and with
`define` 0.2 µs. So these classes are frozen for mypy, which refuses to assign to a field, and not at run time. All
other values are `frozen`.
"""

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as value_class
else:
    from attrs import define

    value_class = partial(define, unsafe_hash=True)

__all__ = ["value_class"]
