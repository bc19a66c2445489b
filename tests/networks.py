"""Networks built from their emitted classes, on both backends, at the same parameters."""

from __future__ import annotations

import functools
import importlib
import itertools
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from numpy.typing import NDArray

from dgmppl.ir.networks import NETWORKS, Head, Network, OptionValue
from dgmppl.ir.parameters import initial_values
from dgmppl.ir.types import POSITIVE, REAL, Shape, TensorType
from dgmppl_numpyro.emit.module import NumPyroPrinter
from dgmppl_pyro.emit.module import PyroPrinter

Values = dict[str, NDArray[np.float64]]

_NUMBERS = itertools.count()


def network(kind: str, inputs: tuple[Shape, ...], heads: dict[str, Shape], /, **options: OptionValue) -> Network:
    """A network `net` with real inputs; the head `scale` is positive."""
    given = {option.name: options.get(option.name, option.default) for option in NETWORKS[kind].options}
    outputs = tuple(Head(name, shape, POSITIVE if name == "scale" else REAL) for name, shape in heads.items())
    return Network("net", kind, given, tuple(map(TensorType, inputs)), outputs)


def moved(network: Network, scale: float = 0.1) -> Values:
    """Parameters in float64, moved off their start so that no zero hides a mistake."""
    generator = np.random.default_rng(3)
    start = initial_values(network.parameters, 0)
    return {name: value + scale * generator.standard_normal(value.shape) for name, value in start.items()}


def emitted(network: Network, printer: type[NumPyroPrinter | PyroPrinter]) -> Any:
    """The class that a backend prints for a network; equal texts are one class, so that JAX compiles it once."""
    runtime = tuple(f"{printer.package}.{name}" for name in printer.runtime)
    return _class("\n".join(printer.networks.lines(network, "Net")), runtime)


@functools.cache
def _class(text: str, runtime: tuple[str, ...]) -> Any:
    modules = [importlib.import_module(name) for name in runtime if importlib.util.find_spec(name)]
    module = ModuleType(f"emitted_network_{next(_NUMBERS)}")
    libraries = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "jax": jax, "jnp": jnp, "eqx": eqx}
    module.__dict__.update({**libraries, **{part.__name__.rpartition(".")[2]: part for part in modules}})
    exec(compile(text, f"<{module.__name__}>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__["Net"]


def torch_network(network: Network, values: Values) -> Any:
    """The emitted torch module with the given parameters, whose names and shapes must be the layout's."""
    net = emitted(network, PyroPrinter)()
    state = {name.removeprefix(f"{network.name}."): torch.tensor(value) for name, value in values.items()}
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }
    net.load_state_dict(state, assign=True)
    return net


def jax_network(network: Network, values: Values) -> Any:
    """The emitted equinox module with the given parameters, whose names and shapes must be the layout's."""
    template = eqx.filter_eval_shape(emitted(network, NumPyroPrinter))
    paths, definition = jax.tree.flatten_with_path(template)
    named = {f"{network.name}.{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf for path, leaf in paths}
    assert {name: leaf.shape for name, leaf in named.items()} == {name: value.shape for name, value in values.items()}
    return jax.tree.unflatten(definition, [jnp.asarray(values[name]) for name in named])
