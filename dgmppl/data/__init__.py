"""The data layer: sources, transforms, splits and batches.

The language's constructor of a data entry has this package's name, and Python sets a package as an attribute of its
parent when it is imported; so the package can be called: `dg.data("digits.images")`.
"""

import sys
from types import ModuleType
from typing import Any

from dgmppl.data.batching import Batches
from dgmppl.data.describe import describe
from dgmppl.data.load import DataSet, Loader, Part, load


class _Package(ModuleType):
    """This package, callable."""

    def __call__(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        from dgmppl.spec import builder

        return builder.data(*arguments, **options)


sys.modules[__name__].__class__ = _Package

__all__ = ["Batches", "DataSet", "Loader", "Part", "describe", "load"]
