"""Modules as Pyro / torch source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pyro.nn import PyroModule

from dgmppl.ir.emission.layout import docstring, wrap
from dgmppl.ir.emission.module import ModulePrinter
from dgmppl.ir.emission.names import identifier
from dgmppl.ir.emission.values import constraint
from dgmppl.ir.kernel import DensityValue, Function, Group
from dgmppl_pyro.emit.bijectors import TorchBijectors
from dgmppl_pyro.emit.networks import TorchNetworks
from dgmppl_pyro.emit.values import TorchValues


class PyroPrinter(ModulePrinter):
    """One kernel module as Pyro / torch source."""

    backend = "pyro"
    values = TorchValues
    networks = TorchNetworks()
    bijectors = TorchBijectors()
    library = "pyro"
    scale = "poutine.scale"
    package = "dgmppl_pyro"
    leaf = "next({}.parameters())"
    drawn_like = ("like=like",)
    constraints: ClassVar[Mapping[str, str]] = {
        "positive": "positive", "nonnegative": "positive", "unit": "unit_interval",
        "simplex": "simplex", "ordered": "ordered_vector", "positive_ordered": "positive_ordered_vector",
        "cholesky": "lower_cholesky", "correlation_cholesky": "corr_cholesky", "positive_definite": "positive_definite",
    }  # fmt: skip
    imports: ClassVar[Mapping[str, str]] = {
        "copy": "import copy",
        "functools": "import functools",
        "importlib": "import importlib",
        "math": "import math",
        "weakref": "import weakref",
        "ABC": "from abc import ABC",
        "abstractmethod": "from abc import abstractmethod",
        "Callable": "from collections.abc import Callable",
        "Mapping": "from collections.abc import Mapping",
        "Sequence": "from collections.abc import Sequence",
        "ContextVar": "from contextvars import ContextVar",
        "dataclass": "from dataclasses import dataclass",
        "accumulate": "from itertools import accumulate",
        "pairwise": "from itertools import pairwise",
        "SimpleNamespace": "from types import SimpleNamespace",
        "Any": "from typing import Any",
        "ClassVar": "from typing import ClassVar",
        "NamedTuple": "from typing import NamedTuple",
        "Protocol": "from typing import Protocol",
        "_": "",
        "np": "import numpy as np",
        "pyro": "import pyro",
        "dist": "import pyro.distributions as dist",
        "ot": "import ot",
        "torch": "import torch",
        "F": "import torch.nn.functional as F",
        "poutine": "from pyro import poutine",
        "TorchDistribution": "from pyro.distributions.torch_distribution import TorchDistribution",
        "PyroModule": "from pyro.nn import PyroModule",
        "PyroParam": "from pyro.nn import PyroParam",
        "_Context": "from pyro.nn.module import _Context",
        "nn": "from torch import nn",
        "Tensor": "from torch import Tensor",
    }

    def initial(self) -> list[str]:
        """The function `initial`: start values of every group."""
        entries = [self._start(group) for group in self.module.groups]
        doc = "Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."
        return ["def initial():", *docstring(doc, 1), *wrap(f"return {{{', '.join(entries)}}}", 1)]

    def _start(self, group: Group) -> str:
        if group.name in self.classes:
            return f'"{group.name}": {self.classes[group.name]}()'
        (parameter,) = group.parameters
        if group.bounds is not None:
            return f'"{group.name}": torch.zeros({parameter.shape})'
        shape, start = parameter.shape, parameter.init
        scale = "" if start.value == 1 else f"{start.value} * "
        ends = f"{start.value - 1.0}, {start.value + 1.0}, {shape[-1] if shape else 1}"
        text = {
            "constant": f"torch.full({shape}, {start.value})",
            "normal": f"{scale}torch.randn({shape})",
            "uniform": f"{start.value} * (2.0 * torch.rand({shape}) - 1.0)",
            "eye": f"torch.eye({shape[-1] if shape else 1}).expand({shape})",
            "ordered": f"torch.linspace({ends}).expand({shape})",
        }[start.kind]
        raw = self.raw_support(group)
        return f'"{group.name}": {constraint(raw)}.inverse({text})' if raw else f'"{group.name}": {text}'

    def noise(self) -> list[str]:
        """The function `noise`: every random number of a function."""
        doc = "The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."
        return [
            "def noise(generator, name, rows, particles=1, dtype=None, device=None):",
            *docstring(doc, 1),
            '    sizes = {"data": rows, "particles": particles}',
            "    return draws.standard(NOISE[name], generator, sizes, dtype, device)",
        ]

    def program(self, function: Function) -> list[str]:
        """A program of the library."""
        arguments = ", ".join(["self", *self.program_arguments()]).removesuffix(", *")
        body = self.program_body(function, 2)
        groups = self.program_groups(function)
        held = [line for group, _ in groups for line in wrap(self._registered(group), 2)]
        head = [line for group, local in groups for line in wrap(f"{local} = {self._read(group)}", 2)]
        head += [line for text in self.bound((group.name, local) for group, local in groups) for line in wrap(text, 2)]
        like = ["        like = self.like"] if self.reads_like([*head, *body]) else []
        return [
            f"class {function.name.capitalize()}(programs.LocalModule):",
            *docstring(function.doc, 1),
            "",
            "    def __init__(self, parameters=None):",
            "        parameters = initial() if parameters is None else parameters",
            "        super().__init__(parameters)",
            *held,
            "",
            *wrap(f"def forward({arguments}):", 1),
            *like,
            *head,
            *body,
        ]

    def _registered(self, group: Group) -> str:
        entry, attribute = f'parameters["{group.name}"]', f"self.{_attribute(group)}"
        if self.prior(group.name) is not None:
            return f"{attribute} = [{entry}]  # in a list: its arrays are drawn, not learned"
        if group.frozen:
            return f"{attribute} = [{entry}]  # in a list: it is frozen, not learned"
        if group.name in self.classes:
            return f"{attribute} = {entry}"
        raw = self.raw_support(group)
        if raw is None or not self._constrained(group):
            return f"{attribute} = nn.Parameter({entry})"
        return f"{attribute} = PyroParam({constraint(raw)}({entry}), {self.library_constraint(raw)})"

    def _read(self, group: Group) -> str:
        attribute = f"self.{_attribute(group)}"
        prior = self.prior(group.name)
        if prior is not None:
            return f'programs.random_module("{group.name}", {attribute}[0], {prior})'
        raw = self.raw_support(group)
        if group.frozen:
            return f"{attribute}[0]" if raw is None else f"{constraint(raw)}({attribute}[0])"
        return f"{constraint(raw)}({attribute})" if raw is not None and not self._constrained(group) else attribute

    def programs_block(self) -> list[str]:
        """Both programs on the same parameters."""
        names = [function.name for function in self.programs]
        if not names:
            return []
        return [
            "class Program:",
            *docstring(f"{' and '.join(f'`{name}`' for name in names)} on the same parameters.", 1),
            "",
            "    def __init__(self, parameters=None):",
            "        parameters = initial() if parameters is None else parameters",
            *(f"        self.{name} = {name.capitalize()}(parameters)" for name in names),
            *(f"        self.guide.{leaf} = self.model.{leaf}" for leaf in self._shared()),
        ]

    def _shared(self) -> list[str]:
        """The leaves that both programs read besides networks, which they share anyway."""
        if len(self.programs) < 2:
            return []
        first, second = ({group.name for group, _ in self.program_groups(program)} for program in self.programs)
        common = [group for group in self.module.groups if group.name in first & second and _is_leaf(group)]
        return [_attribute(group) + ("_unconstrained" if self._constrained(group) else "") for group in common]

    def _constrained(self, group: Group) -> bool:
        raw = self.raw_support(group)
        return raw is not None and self.library_constraint(raw) is not None

    def deterministic(self, site: str, value: str, rank: int | None) -> str:
        """A deterministic site."""
        event = "" if rank is None else f", event_dim={rank}"
        return f'pyro.deterministic("{site}", {value}{event})'

    def observed(self, density: DensityValue, column: str) -> str:
        """The data of a site; reals where torch would compute with integers as float32, or not at all."""
        if density.family not in _REAL_DATA:
            return column
        return f"None if {column} is None else {column}.to(like.dtype)"

    def placeholder(self, column: str) -> str:
        """A real tensor on a column's device, where nothing real-valued is at hand."""
        return f"torch.zeros((), device={column}.device)" if column else "torch.zeros(())"


# Families of integers with whose values the library computes; the others' values are indices.
_REAL_DATA = frozenset({"Bernoulli", "Binomial", "Geometric", "NegativeBinomial", "Poisson"})


def _is_leaf(group: Group) -> bool:
    """Whether a program holds a group as a parameter of its own."""
    return group.kind == "learned" and not group.frozen


def _attribute(group: Group) -> str:
    """The attribute that holds a group: its name, unless that is an attribute of every module."""
    name = identifier(group.name)
    return f"{name}_" if hasattr(PyroModule, name) or name == "like" else name
