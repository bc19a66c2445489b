"""Networks of the user's own: registered in Python, or named by a spec that is trusted."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.networks import NETWORKS, REQUIRED, Option, OptionValue
from dgmppl.ir.networks.registered import OWN, Own, Start
from dgmppl.ir.types import Shape

# The libraries whose classes are modules of a backend.
_LIBRARIES = {"torch": "pyro", "equinox": "numpyro"}


def register_network(name: str, *, torch: type | None = None, jax: type | None = None) -> Own:
    """Makes a module of your own a kind of network, which specs then call `name(...)`.

    Args:
        name: the kind's name, an identifier that the language does not use.
        torch: a `torch.nn.Module` class, `Name(inputs, outputs, **options)`: `inputs` are the inputs' shapes, `outputs`
            is how many numbers it returns. It maps batches, one [N, *shape] for each input, to [N, outputs].
        jax: an `equinox.Module` class, `Name(inputs, outputs, *, key, **options)`. It maps one datum, one [*shape] for
            each input, to [outputs]. With both, their arrays must have the same names and shapes.

    Returns:
        The kind. Keyword arguments of the class are its options; arrays start as the class starts them, seeded.

    Raises:
        ValueError: the name is taken, or is no name; there is no class, or one that is not at the top of a module; the
            options of the two classes differ.
    """
    taken = name in FUNCTIONS or name in DISTRIBUTIONS or (name in NETWORKS and name not in OWN)
    if not name.isidentifier() or taken:
        raise ValueError(f"{name!r} is {'a word of the language' if taken else 'no name'}; choose another")
    return register(name, {backend: one for backend, one in (("pyro", torch), ("numpyro", jax)) if one is not None})


def register(name: str, classes: Mapping[str, type]) -> Own:
    """Adds a kind of network with one class for each backend.

    Raises:
        ValueError: see `register_network`.
    """
    if not classes:
        raise ValueError(f"the network {name!r} has neither `torch=` nor `jax=`")
    options = [_options(one) for one in classes.values()]
    if any(other != options[0] for other in options):
        raise ValueError(f"the classes of {name!r} have different options")
    own = Own(name, {backend: _path(one) for backend, one in classes.items()}, options[0], _start)
    # The emission package is no part of the front end otherwise; `dgmppl check` should not wait for it.
    from dgmppl.ir.emission.networks import PRINTERS
    from dgmppl.ir.emission.networks.registered import own_class

    OWN[name], NETWORKS[name], PRINTERS[name] = own, own.kind(), own_class
    return own


def imported(path: str) -> Own:
    """The kind that `python("pkg.module:Name")` names; the module is imported, which runs its code.

    Raises:
        ValueError: it cannot be imported, or is no module class of a backend's library.
    """
    module, _, name = path.partition(":")
    try:
        with _current_folder():
            found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except Exception as error:  # code of the user's own may raise anything while it is imported
        raise ValueError(f"{path!r} cannot be imported: {type(error).__name__}: {error}") from error
    if isinstance(found, Own):
        return found
    backend = _backend(found)
    if backend is None:
        raise ValueError(f"{path!r} is neither a torch.nn.Module class nor an equinox.Module class")
    return register(f'python("{path}")', {backend: found})


@contextmanager
def _current_folder() -> Iterator[None]:
    """Modules of the current folder can be imported, as under `python -m`."""
    sys.path.append(os.getcwd())
    try:
        yield
    finally:
        sys.path.remove(os.getcwd())


def _backend(found: object) -> str | None:
    """The backend of a class, by the library that its ancestors come from."""
    ancestors = found.__mro__ if isinstance(found, type) else ()
    homes = [ancestor.__module__.partition(".")[0] for ancestor in ancestors]
    return next((_LIBRARIES[home] for home in homes if home in _LIBRARIES), None)


def _options(module: Callable[..., Any]) -> tuple[Option, ...]:
    """A class's arguments behind `inputs` and `outputs`, without JAX's key and those that no spec could write."""
    rest = list(inspect.signature(module).parameters.values())[2:]
    named = [part for part in rest if part.name != "key" and part.kind not in {part.VAR_POSITIONAL, part.VAR_KEYWORD}]
    defaults = [(part.name, _default(part.default)) for part in named]
    return tuple(
        Option(name, default, "an option of the user's own")
        for name, default in defaults
        if default is REQUIRED or isinstance(default, bool | int | float | str | tuple | None)
    )


def _default(value: object) -> OptionValue | object:
    return REQUIRED if value is inspect.Parameter.empty else tuple(value) if isinstance(value, list) else value


def _path(module: type) -> str:
    if "<locals>" in module.__qualname__:
        raise ValueError(f"{module.__qualname__} stands inside a function; emitted programs import it from a module")
    return f"{module.__module__}:{module.__qualname__}"


def _start(
    backend: str, path: str, inputs: tuple[Shape, ...], outputs: int, options: Mapping[str, OptionValue], seed: int
) -> Start:
    return _cached(backend, path, inputs, outputs, tuple(options.items()), seed)


@functools.lru_cache(maxsize=64)
def _cached(
    backend: str, path: str, inputs: tuple[Shape, ...], outputs: int, options: tuple[tuple[str, Any], ...], seed: int
) -> Start:
    from dgmppl.backend import load

    return load(backend).module_arrays(path, inputs, outputs, dict(options), seed)
