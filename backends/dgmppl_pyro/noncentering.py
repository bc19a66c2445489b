"""Non-centring: x ~ loc + scale * e with e in the place of x, so that x and its scale are independent a priori.

The prior's location and scale are evaluated from the lowered `model` program, outside any Pyro trace.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from dgmppl.errors import UnsupportedError
from dgmppl.ir.kernel import Assign, DensityValue, Module, Number, Op, Plate, Sample, Statement, Value, Var
from dgmppl.source import Diagnostic

_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow,
    "neg": operator.neg,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "square": torch.square, "abs": torch.abs,
    "softplus": torch.nn.functional.softplus, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
}  # fmt: skip


class NonCentered:
    """The change of variables x = loc + scale * e of one parameter.

    Attributes:
        name: the parameter.
    """

    def __init__(self, module: Module, name: str, device: torch.device, dtype: torch.dtype) -> None:
        """Finds the prior.

        Raises:
            UnsupportedError: the parameter has no prior with location and scale on the reals.
        """
        self.name = name
        self._device, self._dtype = device, dtype
        program, declared = module.function("model"), module.program.by_name
        self._body = list(_prior_statements(program.body)) if program else []
        # A sample statement's variable may have another name than its parameter; they share the declaration.
        places = {site.span: site.name for site in declared.values() if site.span is not None}
        samples = [line for line in self._body if isinstance(line, Sample)]
        self._variables = {line.site: places.get(line.span, line.site) if line.span else line.site for line in samples}
        sample = next((line for line in samples if self._variables[line.site] == name), None)
        density = None if sample is None else sample.density
        located = isinstance(density, DensityValue) and {"loc", "scale"} <= {name for name, _ in density.parameters}
        if sample is None or not isinstance(density, DensityValue) or not located:
            span = declared[name].span if name in declared else None
            message = f"reparameterize=[{name}] needs a prior with a location and a scale, such as Normal(loc, scale)"
            raise UnsupportedError([Diagnostic("not-lowered", message, span)])
        self._sample, self._density = sample, density

    def __call__(self, noise: Tensor, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The value x of e, and the sum of log scale over its elements (nats).

        Args:
            noise: e, in x's shape.
            values: the other parameters by name, constrained.
        """
        environment: dict[str, Any] = dict(values)
        for line in self._body[: self._body.index(self._sample)]:
            if isinstance(line, Sample) and self._variables[line.site] in values:
                environment[line.site] = values[self._variables[line.site]]
            elif isinstance(line, Assign) and len(line.targets) == 1:
                environment[line.targets[0]] = line.value
        loc, scale = (self._evaluate(self._parameter(name), environment) for name in ("loc", "scale"))
        scale = torch.as_tensor(scale, dtype=self._dtype, device=self._device)
        return loc + scale * noise, scale.log().expand_as(noise).sum()

    def _parameter(self, name: str) -> Value:
        return dict(self._density.parameters)[name]

    def _evaluate(self, value: Value, environment: Mapping[str, Any]) -> Any:
        match value:
            case Number(value=number):
                return number
            case Var(name=name) if name in environment:
                found = environment[name]
                return found if isinstance(found, Tensor) else self._evaluate(found, environment)
            case Op(name="call", operands=(operand,)) if value.option("function") in _FUNCTIONS:
                inner = torch.as_tensor(self._evaluate(operand, environment), dtype=self._dtype, device=self._device)
                return _FUNCTIONS[str(value.option("function"))](inner)
            case Op(name=name, operands=operands) if name in _OPERATORS:
                return _OPERATORS[name](*(self._evaluate(operand, environment) for operand in operands))
        message = f"the location or scale of {self.name!r} is too involved for reparameterize=[{self.name}]"
        raise UnsupportedError([Diagnostic("not-lowered", message, self._sample.span)])


def _prior_statements(body: Iterable[Statement]) -> Iterable[Statement]:
    """The statements about parameters and latents, those in plates included."""
    for line in body:
        if isinstance(line, Plate):
            yield from _prior_statements(line.body)
        else:
            yield line
