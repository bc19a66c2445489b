"""Names that emitted text uses by itself, and the names that it derives from those of a spec."""

from __future__ import annotations

import keyword
import re

_LIBRARIES = (
    "F", "dist", "eqx", "jax", "jnp", "math", "nn", "numpyro", "poutine", "pyro", "torch", "functools", "np", "numpy",
    "SimpleNamespace", "Linear",
)  # fmt: skip
_RUNTIME = ("constraints", "densities", "distributions", "draws", "networks", "operations", "programs")
_MODULE = ("NETWORKS", "NOISE", "Model", "Guide", "Program", "guide", "initial", "model", "noise")
_ARGUMENTS = (
    "batch", "dtype", "generator", "key", "keys", "like", "name", "other", "own", "parameters", "rows", "self", "size",
    "sizes", "state", "step", "device",
)  # fmt: skip
_LOCALS = ("column", "leaf")
_BUILTINS = ("bool", "dict", "float", "int", "len", "list", "print", "range", "sum", "super", "tuple", "type", "zip")

RESERVED: frozenset[str] = frozenset(
    (*_LIBRARIES, *_RUNTIME, *_MODULE, *_ARGUMENTS, *_LOCALS, *_BUILTINS, *keyword.kwlist)
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
