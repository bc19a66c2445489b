"""Event shapes of kernel values, as far as they show in the kernel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.tables import BINARY, STATIC
from dgmppl.ir.kernel import (
    Assign,
    Define,
    DensityValue,
    Draw,
    Function,
    Module,
    NetworkCall,
    Number,
    Op,
    Plate,
    Sample,
    Scan,
    Statement,
    Value,
    Var,
)
from dgmppl.ir.types import Dtype, Shape

_KEEPS = frozenset({"neg", "stop", "scale_gradient", "cast", "checked", "softmax_leading"})


class Shapes:
    """What is known of the event shapes of one function's variables."""

    def __init__(self, module: Module, function: Function) -> None:
        """Reads them off the function's columns, groups, samples and network calls."""
        program = module.program
        self._networks = {
            local: program.networks[group] for group, local in function.groups if group in program.networks
        }
        self._networks |= program.networks
        self._known: dict[str, Shape] = {
            local: program.columns[column].shape for column, local in function.columns if column in program.columns
        }
        local = dict(function.groups)
        for group in module.groups:
            if group.kind != "network" and group.name in local and group.levels in {None, "data"} and group.parameters:
                self._known[local[group.name]] = group.parameters[0].shape[group.levels is not None :]
        self._integers = {
            local for column, local in function.columns
            if column in program.columns and program.columns[column].dtype is Dtype.INTEGER
        }  # fmt: skip
        for statement in function.body:
            self._read(statement)

    def integral(self, value: Value) -> bool:
        """Whether a value is an array of integers already, so that it can index."""
        return isinstance(value, Var) and value.name in self._integers

    def _read(self, statement: Statement) -> None:
        match statement:
            case Plate(name=name, body=body):
                for inner in body:
                    self._read(inner)
                    if isinstance(inner, Sample) and name != "data":
                        self._known.pop(inner.variable or inner.site, None)
            case Sample(site=site, density=density):
                self._known[site] = density.shape
                if isinstance(density, DensityValue) and density.family == "Categorical":
                    self._integers.add(site)
            case Scan(body=body) | Define(body=body):
                for inner in body:
                    self._read(inner)
            case Assign(targets=targets, value=NetworkCall(network=network)) if network in self._networks:
                heads = self._networks[network].heads
                self._known |= {target: head.shape for target, head in zip(targets, heads, strict=False)}
            case Assign(targets=(target,), value=value):
                if _integers(value):
                    self._integers.add(target)
                shape = self.of(value)
                if shape is not None:
                    self._known[target] = shape
            case _:
                pass

    def of(self, value: Value) -> Shape | None:
        """The event shape of a value, or None where it does not show."""
        match value:
            case Var(name=name):
                return self._known.get(name)
            case Number():
                return ()
            case NetworkCall(network=network) if network in self._networks and len(self._networks[network].heads) == 1:
                return self._networks[network].heads[0].shape
            case Op(name=name, operands=operands) if (
                (name in BINARY and name != "matmul") or name in _KEEPS or name == "call"
            ):
                shapes = [self.of(operand) for operand in operands]
                known = [shape for shape in shapes if shape is not None]
                return np.broadcast_shapes(*known) if len(known) == len(shapes) else None
            case Op(name="expand", operands=(operand,)):
                inner, count = self.of(operand), value.option("count")
                return None if inner is None or not isinstance(count, int) else (1,) * count + inner
            case Op(name="filled", operands=(column, *_)):
                return self.of(column)
            case Op(name="gather", operands=(table, index)):
                rows, place = self.of(table), self.of(index)
                return None if rows is None or place is None else place + rows[1:]
            case Op(name="matvec" | "vecmat" | "matmul", operands=(left, right)):
                first, second = self.of(left), self.of(right)
                return None if first is None or second is None else (*first[:-1], *second[1:])
            case Op(name="fill" | "broadcast"):
                shape = value.option("shape")
                return shape if isinstance(shape, tuple) else None
            case _:
                return None if value.type is None else value.type.shape

    def covers(self, parameters: list[tuple[str, Value]], family: str, outer: Shape) -> bool:
        """Whether a distribution object has the batch axes `outer`: one of numbers alone is made with them."""
        arrays = [value for name, value in parameters if name not in STATIC]
        return all(isinstance(value, Number) for value in arrays) or self.spans(parameters, family, outer)

    def spans(self, parameters: list[tuple[str, Value]], family: str, outer: Shape) -> bool:
        """Whether the parameters, broadcast against each other, show the axes `outer` (right-aligned)."""
        ranks: Mapping[str, int] = {parameter.name: parameter.rank for parameter in DISTRIBUTIONS[family].parameters}
        shapes = [(self.of(value), ranks[name]) for name, value in parameters if name not in STATIC]
        known = [shape[: len(shape) - rank] for shape, rank in shapes if shape is not None and len(shape) >= rank]
        try:
            return np.broadcast_shapes(*known)[-len(outer) :] == outer
        except ValueError:
            return False


def _integers(value: Value) -> bool:
    """Whether an expression makes integers."""
    match value:
        case Op(name="arange" | "states" | "joint_states"):
            return True
        case Draw(density=density):
            return density.family == "Categorical"
        case _:
            return False
