"""The canonical parameters of a program, and the groups that its functions take.

Inside the runtime parameters are one flat dictionary of raw arrays by canonical name: a pytree without classes, whose
leaves are what optimizers, gradients and checkpoints speak of. `Tree.groups` builds the emitted functions' arguments
from it while they are traced, which costs nothing when they run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dgmppl.backend import Array, Arrays
from dgmppl.errors import InternalError, RunError
from dgmppl.ir.kernel import Group, Module
from dgmppl.ir.parameters import ParameterSpec
from dgmppl_numpyro import constraints

Flat: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class _Structure:
    """How a network's arrays are put together: a tree definition, and the canonical name of each of its leaves."""

    definition: Any
    names: tuple[str, ...]

    def build(self, arrays: Mapping[str, Any]) -> Any:
        return jax.tree.unflatten(self.definition, [arrays[name] for name in self.names])


class Tree:
    """The parameters of one program.

    Attributes:
        specs: every array by canonical name.
        groups_by_name: every group.
    """

    def __init__(self, module: Module, namespace: ModuleType) -> None:
        self.specs: dict[str, ParameterSpec] = {spec.name: spec for spec in module.parameters}
        self.groups_by_name: dict[str, Group] = {group.name: group for group in module.groups}
        self._structures = {
            group.name: _structure(group, namespace) for group in module.groups if group.kind in {"network", "bijector"}
        }
        self._supports: dict[str, Callable[..., constraints.Bijection]] = {
            group.name: getattr(namespace, group.bounds.name) for group in module.groups if group.bounds is not None
        }

    def trainable(self, groups: Iterable[str]) -> tuple[str, ...]:
        """The names of the arrays of some groups that are learned or inferred, in canonical order."""
        chosen = frozenset(groups)
        return tuple(name for name, spec in self.specs.items() if spec.trainable and spec.group in chosen)

    def load(self, values: Arrays) -> Flat:
        """Raw arrays from canonical values, in JAX's present precision.

        Raises:
            RunError: a parameter is missing or has another shape than the program's.
        """
        constrained = {name: self._value(spec, values) for name, spec in self.specs.items()}
        return {name: self._bijection(name, constrained).inverse(value) for name, value in constrained.items()}

    def _value(self, spec: ParameterSpec, values: Arrays) -> Any:
        if spec.name not in values:
            raise RunError(f"there is no value for the parameter {spec.name!r} {list(spec.shape)}")
        value = np.asarray(values[spec.name])
        if value.shape != spec.shape:
            wanted = list(spec.shape)
            raise RunError(f"parameter {spec.name!r} has shape {list(value.shape)}; the program's is {wanted}")
        return to_device(value)

    def groups(self, flat: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, Any]:
        """The emitted functions' argument: a network as its module, any other parameter as its raw array."""
        chosen = self.groups_by_name if names is None else names
        return {
            name: self._structures[name].build(flat) if name in self._structures else flat[self._single(name)]
            for name in chosen
        }

    def _single(self, group: str) -> str:
        return self.groups_by_name[group].parameters[0].name

    def constrain(self, flat: Mapping[str, Any]) -> Flat:
        """Constrained values, as JAX arrays, of the raw arrays that are given; what bounds read is among them."""
        values: Flat = {}
        for name in (name for name in self.specs if name in flat):
            values[name] = self._bijection(name, values).forward(flat[name])
        return values

    def log_abs_det(self, flat: Mapping[str, Any]) -> Any:
        """log |det d value / d raw| of the raw arrays that are given, summed; in nats."""
        values = self.constrain(flat) if self._supports else {}
        terms = [jnp.sum(self._bijection(name, values).log_det(raw)) for name, raw in flat.items()]
        return sum(terms, start=jnp.zeros(()))

    def canonical(self, flat: Mapping[str, Any]) -> dict[str, Array]:
        """Constrained values as NumPy arrays."""
        return to_host(self.constrain(flat))

    def _bijection(self, name: str, values: Flat) -> constraints.Bijection:
        """From a raw array to its value; a network's arrays are their own values. Bounds may read other values."""
        group = self.groups_by_name[self.specs[name].group]
        if group.bounds is not None:
            return self._supports[name](*(values[parent] for parent, _ in group.bounds.groups))
        support = group.support
        return constraints.real if support is None else constraints.of(support)


def to_device(value: Any, *, real: bool = False) -> Any:
    """An array on JAX's present device: what is `real` in the present precision, other numbers as they are."""
    array = np.asarray(value)
    return jnp.asarray(array, jnp.result_type(float) if real or array.dtype.kind == "f" else None)


def to_host(arrays: Mapping[str, Any]) -> dict[str, Array]:
    """NumPy copies by name, fetched together."""
    return {name: np.array(array) for name, array in jax.device_get(dict(arrays)).items()}


def _structure(group: Group, namespace: ModuleType) -> _Structure:
    """Matches the leaves of an emitted network class with the group's canonical names."""
    template = eqx.filter_eval_shape(namespace.NETWORKS[group.name])
    paths, definition = jax.tree.flatten_with_path(template)
    names = tuple(f"{group.name}.{jax.tree_util.keystr(path, simple=True, separator='.')}" for path, _ in paths)
    unknown = {*names} ^ {spec.name for spec in group.parameters}
    if unknown:
        raise InternalError(f"the emitted class of {group.name!r} disagrees on {', '.join(sorted(unknown))}")
    return _Structure(definition, names)
