"""Bijectors of a spec as objects of both backends, with the same parameters, without a program around them."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import dgmppl_numpyro as numpyro_backend
import dgmppl_pyro as pyro_backend
from dgmppl.data import describe
from dgmppl.ir.bijectors import Bijector
from dgmppl.ir.parameters import ParameterSpec, initial_values
from dgmppl.ir.program import Program
from dgmppl.passes import infer, resolve
from dgmppl.spec.reader import read
from dgmppl_numpyro.emit.bijectors import EquinoxBijectors
from dgmppl_pyro.emit.bijectors import TorchBijectors
from tests.support import Values

_RUNTIME = ("bijectors", "causal", "networks", "operations")


@dataclass(frozen=True)
class Flow:
    """One bijector on both backends.

    Attributes:
        declared: the bijector in the IR.
        values: its parameters, in float64.
        torch, jax: the objects.
    """

    declared: Bijector
    values: Values
    torch: Any
    jax: Any

    def on(self, backend: str) -> Any:
        """The object of one backend."""
        return self.torch if backend == "pyro" else self.jax


_BASES = {"real": "Normal(0, 1", "unit": "Uniform(0, 1", "positive": "Gamma(2, 1"}


def typed(written: str, shape: tuple[int, ...], context: int = 0, domain: str = "real") -> Program:
    """A program in which the bijector `f` maps a latent of a shape, given a context of a width."""
    text = (
        f"dgmppl: 1\nname: t\n"
        f"data: {{y: {{shape: [], support: real}}, c: {{shape: [{context or 1}], support: real}}}}\n"
        f"bijectors: {{f: '{written}'}}\nmodel:\n  z: '{_BASES[domain]}, shape={list(shape)})'\n"
        f"  x: {'f(z, c)' if context else 'f(z)'}\n  y: Normal(sum(x), 1)\n"
    )
    spec = read(text)
    return infer(resolve(spec, describe(spec.data)))


def flow(
    written: str,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    domain: str = "real",
    seed: int = 0,
    jitter: float = 0.4,
) -> Flow:
    """A bijector as a spec writes it, its parameters moved off their start by Gaussian noise; call under x64."""
    declared = typed(written, shape, context, domain).bijectors["f"]
    values = parameters(declared.parameters, seed, jitter)
    return Flow(declared, values, _torch(declared, values), _jax(declared, values))


def another(made: Flow, seed: int, jitter: float = 0.4) -> Flow:
    """The same classes with other parameters."""
    values = parameters(made.declared.parameters, seed, jitter)
    module = copy.deepcopy(made.torch)
    module.load_state_dict({name.removeprefix("f."): torch.tensor(value) for name, value in values.items()})
    paths, structure = jax.tree_util.tree_flatten_with_path(made.jax)
    return Flow(made.declared, values, module, jax.tree.unflatten(structure, _leaves(paths, values)))


def _leaves(paths: Any, values: Values) -> list[Any]:
    names = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths)
    return [jnp.asarray(values[f"f.{name}"]) for name in names]


def parameters(specs: tuple[ParameterSpec, ...], seed: int, jitter: float) -> Values:
    """Start values plus noise."""
    generator = np.random.default_rng(seed)
    starts = initial_values(specs, seed)
    return {spec.name: starts[spec.name] + jitter * generator.standard_normal(spec.shape) for spec in specs}


def source(declared: Bijector, backend: str) -> str:
    """The emitted classes of a bijector; its own is called `Made`."""
    printer = TorchBijectors() if backend == "pyro" else EquinoxBijectors()
    return "\n\n\n".join("\n".join(block) for block in printer.blocks(declared, "Made", (), {}))


def _torch(declared: Bijector, values: Values) -> Any:
    names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, **_parts(pyro_backend)}
    exec(source(declared, "pyro"), names)
    made = names["Made"]().double()
    state = {name.removeprefix("f."): torch.tensor(value) for name, value in values.items()}
    made.load_state_dict(state, strict=True, assign=True)
    return made


def _jax(declared: Bijector, values: Values) -> Any:
    names: dict[str, Any] = {"jax": jax, "jnp": jnp, "eqx": eqx, "lax": jax.lax, **_parts(numpyro_backend)}
    exec(source(declared, "numpyro"), names)
    paths, structure = jax.tree_util.tree_flatten_with_path(eqx.filter_eval_shape(names["Made"]))
    assert len(paths) == len(values)
    return jax.tree.unflatten(structure, _leaves(paths, values))


def _parts(package: Any) -> Mapping[str, Any]:
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in _RUNTIME}
