"""The canonical parameters of a program, and the groups that its functions take.

An emitted function takes `{group: module or raw tensor}`: a network or bijector as an `nn.Module` of the class that the
emitted table `NETWORKS` names, any other parameter as an unconstrained tensor. Outside, parameters are one flat
dictionary of constrained NumPy arrays by canonical name: a module's state, prefixed by the group's name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from dgmppl.backend import Array, Arrays
from dgmppl.errors import InternalError, RunError
from dgmppl.ir.kernel import Group, Module
from dgmppl.ir.parameters import ParameterSpec
from dgmppl_pyro import constraints
from dgmppl_pyro.linear import accelerate

Groups: TypeAlias = "dict[str, nn.Module | Tensor]"
Flat: TypeAlias = dict[str, Tensor]


class Tree:
    """The parameters of one program.

    Attributes:
        specs: every array by canonical name.
        groups_by_name: every group.
    """

    def __init__(self, module: Module, namespace: ModuleType) -> None:
        self.specs: dict[str, ParameterSpec] = {spec.name: spec for spec in module.parameters}
        self.groups_by_name: dict[str, Group] = {group.name: group for group in module.groups}
        self._networks: Mapping[str, Any] = {
            group.name: namespace.NETWORKS[group.name]
            for group in module.groups
            if group.kind in {"network", "bijector"}
        }
        self._supports: dict[str, Callable[..., constraints.Bijection]] = {
            group.name: getattr(namespace, group.bounds.name) for group in module.groups if group.bounds is not None
        }
        self._templates: dict[str, nn.Module] = {}

    def trainable(self, groups: Iterable[str]) -> tuple[str, ...]:
        """The names of the arrays of some groups that are learned or inferred, in canonical order."""
        chosen = frozenset(groups)
        return tuple(name for name, spec in self.specs.items() if spec.trainable and spec.group in chosen)

    def load(self, values: Arrays, dtype: torch.dtype, device: torch.device) -> Groups:
        """The emitted functions' argument from canonical values; trainable tensors require gradients.

        Raises:
            RunError: a parameter is missing or has another shape than the program's.
        """
        tensors = {spec.name: self._tensor(spec, values, dtype, device) for spec in self.specs.values()}
        return {
            name: self._network(group, tensors).to(device)
            if name in self._networks
            else self._raw(group.parameters[0], tensors)
            for name, group in self.groups_by_name.items()
        }

    def _tensor(self, spec: ParameterSpec, values: Arrays, dtype: torch.dtype, device: torch.device) -> Tensor:
        if spec.name not in values:
            raise RunError(f"there is no value for the parameter {spec.name!r} {list(spec.shape)}")
        value = np.asarray(values[spec.name])
        if value.shape != spec.shape:
            raise RunError(
                f"parameter {spec.name!r} has shape {list(value.shape)}; the program's is {list(spec.shape)}"
            )
        return to_device(value, dtype, device)

    def _raw(self, spec: ParameterSpec, tensors: Flat) -> Tensor:
        bijection, value = self._bijection(spec.name, tensors), tensors[spec.name]
        raw = value if bijection is None else bijection.inverse(value)
        return raw.detach().clone().requires_grad_(spec.trainable)

    def _network(self, group: Group, tensors: Flat) -> nn.Module:
        prefix = f"{group.name}."
        state = {spec.name.removeprefix(prefix): tensors[spec.name] for spec in group.parameters}
        network = self._unfilled(group.name)
        unknown = state.keys() ^ network.state_dict().keys()
        if unknown:
            raise InternalError(f"the emitted class of {group.name!r} disagrees on {', '.join(sorted(unknown))}")
        network.load_state_dict(state, assign=True)
        leaves = network.state_dict(keep_vars=True)
        for spec in group.parameters:
            leaves[spec.name.removeprefix(prefix)].requires_grad_(spec.trainable)
        return accelerate(network)

    def _unfilled(self, name: str) -> nn.Module:
        """A module of an emitted class, whose parameters are to be assigned.

        It is a copy of one that is built once, because masks and random numbers take longer than many a call.
        """
        if name not in self._templates:
            # The fork keeps the class's own initialization from moving torch's global generator.
            with torch.random.fork_rng(devices=[]):
                built = self._networks[name]()
            built.load_state_dict({key: entry.to("meta") for key, entry in built.state_dict().items()}, assign=True)
            self._templates[name] = built
        template = self._templates[name]
        shared = {id(tensor): tensor for tensor in (*template.parameters(), *template.buffers())}
        return copy.deepcopy(template, shared)

    def flat(self, groups: Mapping[str, nn.Module | Tensor]) -> Flat:
        """The raw tensors of groups by canonical name, those that are trained themselves: no copies."""
        tensors: Flat = {}
        for name, value in groups.items():
            if isinstance(value, nn.Module):
                tensors.update({f"{name}.{key}": leaf for key, leaf in value.state_dict(keep_vars=True).items()})
            else:
                tensors[self.groups_by_name[name].parameters[0].name] = value
        return tensors

    def constrain(self, flat: Mapping[str, Tensor]) -> Flat:
        """Constrained values of the raw tensors that are given; what bounds read is among them."""
        values: Flat = {}
        for name in (name for name in self.specs if name in flat):
            bijection = self._bijection(name, values)
            values[name] = flat[name] if bijection is None else bijection.forward(flat[name])
        return values

    def log_abs_det(self, flat: Mapping[str, Tensor]) -> Tensor | float:
        """The sum of log |det d value / d raw| of the raw tensors that are given, in nats."""
        values = self.constrain(flat) if self._supports else {}
        bijections = {name: self._bijection(name, values) for name in flat}
        terms = (bijection.log_det(flat[name]).sum() for name, bijection in bijections.items() if bijection is not None)
        return sum(terms, start=0.0)

    def canonical(self, flat: Mapping[str, Tensor]) -> dict[str, Array]:
        """Constrained values as NumPy arrays."""
        with torch.no_grad():
            return to_host(self.constrain(flat))

    def _bijection(self, name: str, values: Flat) -> constraints.Bijection | None:
        """From a raw tensor to its value, None where that is the same. Bounds may read other values."""
        spec = self.specs[name]
        group = self.groups_by_name[spec.group]
        if group.bounds is not None:
            return self._supports[name](*(values[parent] for parent, _ in group.bounds.groups))
        bijected = group.kind in {"learned", "prior"} and spec.support.kind != "real"
        return constraints.of(spec.support) if bijected else None


def to_device(value: Any, dtype: torch.dtype, device: torch.device, *, real: bool = False) -> Tensor:
    """A tensor of its own: what is `real` in the given type, integers as int64, truth values as they are."""
    array = np.asarray(value)
    target = dtype if real else {"f": dtype, "b": torch.bool}.get(array.dtype.kind, torch.int64)
    return torch.tensor(array, dtype=target, device=device)


def to_host(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """NumPy copies by name; NumPy has no bfloat16, so such numbers come as float32."""
    known = {name: tensor.float() if tensor.dtype is torch.bfloat16 else tensor for name, tensor in tensors.items()}
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in known.items()}
