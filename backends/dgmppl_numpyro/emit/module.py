"""Modules as NumPyro / JAX source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dgmppl.ir.emission.layout import docstring, wrap
from dgmppl.ir.emission.module import ModulePrinter
from dgmppl.ir.emission.values import constraint
from dgmppl.ir.kernel import Function, Group
from dgmppl_numpyro.emit.bijectors import EquinoxBijectors
from dgmppl_numpyro.emit.networks import EquinoxNetworks
from dgmppl_numpyro.emit.values import JaxValues


class NumPyroPrinter(ModulePrinter):
    """One kernel module as NumPyro / JAX source."""

    backend = "numpyro"
    values = JaxValues
    networks = EquinoxNetworks()
    bijectors = EquinoxBijectors()
    library = "numpyro"
    scale = "numpyro.handlers.scale"
    package = "dgmppl_numpyro"
    leaf = "jax.tree.leaves({})[0]"
    constraints: ClassVar[Mapping[str, str]] = {
        "positive": "positive", "nonnegative": "positive", "unit": "unit_interval", "circular": "circular",
        "simplex": "simplex", "ordered": "ordered_vector", "positive_ordered": "positive_ordered_vector",
        "cholesky": "lower_cholesky", "correlation_cholesky": "corr_cholesky", "positive_definite": "positive_definite",
    }  # fmt: skip
    imports: ClassVar[Mapping[str, str]] = {
        "copy": "import copy",
        "functools": "import functools",
        "importlib": "import importlib",
        "math": "import math",
        "ABC": "from abc import ABC",
        "abstractmethod": "from abc import abstractmethod",
        "Callable": "from collections.abc import Callable",
        "Mapping": "from collections.abc import Mapping",
        "Sequence": "from collections.abc import Sequence",
        "dataclass": "from dataclasses import dataclass",
        "partial": "from functools import partial",
        "pairwise": "from itertools import pairwise",
        "SimpleNamespace": "from types import SimpleNamespace",
        "Any": "from typing import Any",
        "ClassVar": "from typing import ClassVar",
        "NamedTuple": "from typing import NamedTuple",
        "Protocol": "from typing import Protocol",
        "_": "",
        "eqx": "import equinox as eqx",
        "jax": "import jax",
        "jnp": "import jax.numpy as jnp",
        "np": "import numpy as np",
        "numpyro": "import numpyro",
        "ot": "import ot",
        "dist": "import numpyro.distributions as dist",
        "Array": "from jax import Array",
        "lax": "from jax import lax",
        "logsumexp": "from jax.nn import logsumexp",
        "cho_solve": "from jax.scipy.linalg import cho_solve",
        "solve_triangular": "from jax.scipy.linalg import solve_triangular",
        "GetAttrKey": "from jax.tree_util import GetAttrKey",
        "SequenceKey": "from jax.tree_util import SequenceKey",
        "eqx_module": "from numpyro.contrib.module import eqx_module",
        "promote_shapes": "from numpyro.distributions.util import promote_shapes",
    }

    def initial(self) -> list[str]:
        """The function `initial`: start values of every group."""
        entries = [self._start(group, f"keys[{number}]") for number, group in enumerate(self.module.groups)]
        doc = "Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."
        keys = [f"keys = jax.random.split(key, {len(entries)})"] if any("keys[" in entry for entry in entries) else []
        return [
            "def initial(key):",
            *docstring(doc, 1),
            *(f"    {line}" for line in keys),
            *wrap(f"return {{{', '.join(entries)}}}", 1),
        ]

    def _start(self, group: Group, key: str) -> str:
        if group.name in self.classes:
            return f'"{group.name}": {self.classes[group.name]}({key})'
        (parameter,) = group.parameters
        if group.bounds is not None:
            return f'"{group.name}": jnp.zeros({parameter.shape})'
        shape, start = parameter.shape, parameter.init
        scale = "" if start.value == 1 else f"{start.value} * "
        ends = f"{start.value - 1.0}, {start.value + 1.0}, {shape[-1] if shape else 1}"
        text = {
            "constant": f"jnp.full({shape}, {start.value})",
            "normal": f"{scale}jax.random.normal({key}, {shape})",
            "uniform": f"jax.random.uniform({key}, {shape}, minval={-start.value}, maxval={start.value})",
            "eye": f"jnp.broadcast_to(jnp.eye({shape[-1] if shape else 1}), {shape})",
            "ordered": f"jnp.broadcast_to(jnp.linspace({ends}), {shape})",
        }[start.kind]
        raw = self.raw_support(group)
        return f'"{group.name}": {constraint(raw)}.inverse({text})' if raw else f'"{group.name}": {text}'

    def noise(self) -> list[str]:
        """The function `noise`: every random number of a function."""
        doc = "The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."
        return [
            "def noise(key, name, rows, particles=1, dtype=None):",
            *docstring(doc, 1),
            '    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)',
        ]

    def program(self, function: Function) -> list[str]:
        """A program of the library."""
        arguments = ", ".join(["parameters", *self.program_arguments()]).removesuffix(", *")
        body = self.program_body(function, 1)
        groups = self.program_groups(function)
        head = [line for group, local in groups for line in wrap(self._registered(group, local), 1)]
        head += [line for text in self.bound((group.name, local) for group, local in groups) for line in wrap(text, 1)]
        like = ["    like = jnp.zeros(())"] if self.reads_like([*head, *body]) else []
        opening = wrap(f"def {function.name}({arguments}):")
        return [*opening, *docstring(function.doc, 1), *like, *head, *body]

    def _registered(self, group: Group, local: str) -> str:
        entry = f'parameters["{group.name}"]'
        if group.frozen:
            raw = self.raw_support(group)
            return f"{local} = {entry if raw is None else f'{constraint(raw)}({entry})'}"
        if group.name in self.classes:
            prior = self.prior(group.name)
            if prior is not None:
                return f'{local} = programs.random_module("{group.name}", {entry}, {prior})'
            return f'{local} = eqx_module("{group.name}", {entry})'
        raw = self.raw_support(group)
        if raw is None:
            return f'{local} = numpyro.param("{group.name}", {entry})'
        known = self.library_constraint(raw)
        if known is None:
            return f'{local} = {constraint(raw)}(numpyro.param("{group.name}_raw", {entry}))'
        return f'{local} = numpyro.param("{group.name}", {constraint(raw)}({entry}), constraint={known})'

    def deterministic(self, site: str, value: str, rank: int | None) -> str:
        """A deterministic site."""
        del rank
        return f'numpyro.deterministic("{site}", {value})'

    def placeholder(self, column: str) -> str:
        """A real array, where nothing real-valued is at hand."""
        del column
        return "jnp.zeros(())"
