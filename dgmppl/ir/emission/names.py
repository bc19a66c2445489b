"""Names that emitted text uses by itself, and the names that it derives from those of a spec."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from itertools import count

from dgmppl.ir.emission.runtime import RUNTIME

_LIBRARIES = (
    "F", "dist", "eqx", "eqx_module", "random_eqx_module",
    "jax", "jnp", "math", "nn", "numpyro", "poutine", "pyro", "torch", "functools", "np", "numpy",
    "SimpleNamespace", "Linear",
)  # fmt: skip
_MODULE = ("NETWORKS", "NOISE", "Model", "Guide", "Program", "guide", "initial", "model", "noise")
_ARGUMENTS = (
    "batch", "dtype", "generator", "key", "keys", "like", "name", "other", "own", "parameters", "rows", "self", "size",
    "sizes", "state", "step", "device",
)  # fmt: skip
_LOCALS = ("carry", "column", "inputs", "leaf")
_BUILTINS = ("bool", "dict", "float", "int", "len", "list", "print", "range", "sum", "super", "tuple", "type", "zip")

RESERVED: frozenset[str] = frozenset(
    (*_LIBRARIES, *RUNTIME, *_MODULE, *_ARGUMENTS, *_LOCALS, *_BUILTINS, *keyword.kwlist)
)


def identifier(name: str) -> str:
    """A spec's name as a local variable of emitted text: `guide.z` is `guide_z`, a reserved name gets an underscore."""
    plain = re.sub(r"\W", "_", name)
    plain = f"_{plain}" if plain[:1].isdigit() else plain
    return f"{plain}_" if plain in RESERVED else plain


def class_name(group: str) -> str:
    """The class of a network: `decoder` is `Decoder`, `guide.z` is `GuideZ`; reserved ones get `Network` appended."""
    words = [word for word in re.split(r"\W|_", group) if word]
    name = "".join(word[:1].upper() + word[1:] for word in words)
    name = f"Network{name}" if name[:1].isdigit() else name
    return f"{name}Network" if name in RESERVED else name


def class_names(groups: Iterable[str]) -> dict[str, str]:
    """The class of each network; where two groups would share a name, the later one is numbered."""
    names: dict[str, str] = {}
    for group in groups:
        wish = class_name(group)
        taken = frozenset(names.values())
        candidates = (wish if number == 1 else f"{wish}{number}" for number in count(1))
        names[group] = next(name for name in candidates if name not in taken)
    return names
