"""Program -> Program: names resolved, then shapes, supports and element types inferred."""

from dgmppl.passes.infer import infer
from dgmppl.passes.resolve import resolve

__all__ = ["infer", "resolve"]
