"""Printing of densities: log-probabilities, divergences, draws, and distribution objects of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from dgmppl.errors import UnsupportedError
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.constants import folded
from dgmppl.ir.emission.shapes import Shapes
from dgmppl.ir.emission.tables import ATOM, DIVERGENCES, LOG_DENSITIES, PRODUCT, STATIC, SUM
from dgmppl.ir.kernel import DensityValue, Number, Op, Restriction, Value
from dgmppl.ir.types import Shape
from dgmppl.source import Diagnostic, Span


def unsupported(construct: str, span: Span | None, backend: str) -> UnsupportedError:
    """The one error for what a backend does not print."""
    return UnsupportedError([Diagnostic("not-lowered", f"the {backend} backend does not emit {construct} yet", span)])


def sequence(items: tuple[int, ...]) -> str:
    """A shape as Python text."""
    return f"({', '.join(map(str, items))}{',' * (len(items) == 1)})"


class DensityPrinter(ABC):
    """Densities of one function as expressions.

    Attributes:
        backend: its name, for messages.
        functions: elementwise function -> what is called.
        families: family -> the library's class, where it is not `dist.FAMILY`.
        shapes: event shapes of the function's variables, as far as they are known.
    """

    backend: ClassVar[str]
    functions: ClassVar[Mapping[str, str]]
    families: ClassVar[Mapping[str, str]]
    shapes: Shapes

    @abstractmethod
    def text(self, value: Value, outer: int = 0) -> str:
        """The value as Python text, in brackets where it binds less tightly than `outer`."""

    @abstractmethod
    def full(self, shape: Shape, value: float) -> str:
        """A real array of one value, on the device of `like`."""

    def parameters(self, density: DensityValue) -> list[tuple[str, Value]]:
        """The given parameters in the family's order, defaults filled in; real numbers as floats."""
        given = dict(density.parameters)
        family = DISTRIBUTIONS.get(density.family)
        if family is None:
            raise unsupported(f"the distribution {density.family}", density.span, self.backend)
        result: list[tuple[str, Value]] = []
        for parameter in family.parameters:
            value = folded(given[parameter.name]) if parameter.name in given else None
            if value is None and parameter.default is not None:
                value = Number(parameter.default)
            if isinstance(value, Number) and parameter.name not in STATIC:
                value = Number(float(value.value))
            if value is not None:
                result.append((parameter.name, value))
        return result

    def log_prob(self, density: DensityValue, at: str, elementwise: bool) -> str:
        """log p(at), summed over the event: a closed form where the runtimes have one, else the library's."""
        parameters = self.parameters(density)
        name = LOG_DENSITIES.get(density.family)
        if name is None:
            base = f"{self.instance(density, ())[:-1]}, validate_args=False).log_prob({at})"
        elif name == "normal" and _numbers(parameters) == [0.0, 1.0]:
            base = f"densities.standard_normal({at})"
        else:
            function = name + _choice(density)
            base = f"densities.{function}({', '.join([at, *self._arguments(density)])})"
        rank = density.event_rank - DISTRIBUTIONS[density.family].event_rank
        if elementwise or rank == 0:
            return base
        axes = tuple(range(-rank, 0))
        return f"{base}.sum({axes[0] if rank == 1 else sequence(axes)})"

    def _arguments(self, density: DensityValue) -> list[str]:
        """Parameters as text; a covariance or precision matrix becomes its Cholesky factor."""
        convert = {"covariance_matrix": "operations.cholesky({})", "precision_matrix": "operations.precision_root({})"}
        return [convert.get(name, "{}").format(self.text(value)) for name, value in self.parameters(density)]

    def instance(self, density: DensityValue, outer: Shape) -> str:
        """A distribution object of the library; one whose parameters are all numbers is made of shape `outer`."""
        parameters = self.parameters(density)
        texts = {name: self.text(value) for name, value in parameters}
        arrays = [name for name, _ in parameters if name not in STATIC]
        if arrays and all(isinstance(value, Number) for name, value in parameters if name in arrays):
            first = dict(parameters)[arrays[0]]
            assert isinstance(first, Number)
            texts[arrays[0]] = self.full(outer, first.value)
        names = [parameter.name for parameter in DISTRIBUTIONS[density.family].parameters]
        positional = [name for name, expected in zip(texts, names, strict=False) if name == expected]
        keyword = [name for name in texts if name not in positional or _choice_name(density, name)]
        arguments = [texts[name] for name in texts if name not in keyword]
        arguments += [f"{name}={texts[name]}" for name in keyword]
        return f"{self.families.get(density.family, f'dist.{density.family}')}({', '.join(arguments)})"

    def event(self, density: DensityValue, mask: str | None = None) -> str:
        """A distribution whose event is the site's: parameters broadcast, `to_event` explicit, entries masked."""
        own = DISTRIBUTIONS[density.family].event_rank
        outer = density.shape[: len(density.shape) - own]
        base = self.instance(density, outer)
        if outer and not self.shapes.covers(self.parameters(density), density.family, outer):
            base = f"distributions.broadcast({base}, {sequence(outer)})"
        if mask is not None:
            base += f".mask({mask})"
        rank = density.event_rank - own
        return f"{base}.to_event({rank})" if rank else base

    def draw(self, density: DensityValue, noise: str) -> tuple[str, int]:
        """A sample as a function of its noise, and how tightly the text binds."""
        arguments = [self.text(value) for _, value in self.parameters(density)]
        values = [value for _, value in self.parameters(density)]
        match density.family:
            case "Normal":
                return self._affine(values[0], values[1], noise)
            case "LogNormal":
                return f"{self.functions['exp']}({self._affine(values[0], values[1], noise)[0]})", ATOM
            case "Uniform":
                if _numbers(self.parameters(density)) == [0.0, 1.0]:
                    return noise, ATOM
                width = Op("sub", (values[1], values[0]))
                return f"{self.text(values[0], SUM)} + {self.text(width, PRODUCT)} * {noise}", SUM
            case "MultivariateNormal":
                factor = self._arguments(density)[1]
                return f"{self.text(values[0], SUM)} + operations.matvec({factor}, {noise})", SUM
            case "Bernoulli" | "Categorical" | "OneHotCategorical" as family:
                name = LOG_DENSITIES[family] + _choice(density)
                return f"draws.{name}({', '.join([*arguments, noise])})", ATOM
            case _:
                own = DISTRIBUTIONS[density.family].event_rank
                outer = sequence(density.shape[: len(density.shape) - own])
                return f"draws.library({self.instance(density, ())}, {noise}, {outer})", ATOM

    def restriction(self, value: Restriction) -> str:
        """A function of the runtimes' `restrictions`, given the distribution's tails where it needs them."""
        arguments = [self.text(operand) for operand in value.operands]
        if value.density is not None:
            arguments.append(f"tails.{value.density.family}({', '.join(self._arguments(value.density))})")
        bounds = {"low": value.low, "high": value.high}
        arguments += [f"{name}={self.text(bound)}" for name, bound in bounds.items() if bound is not None]
        return f"restrictions.{value.function}({', '.join(arguments)})"

    def _affine(self, loc: Value, scale: Value, noise: str) -> tuple[str, int]:
        unit = isinstance(scale, Number) and scale.value == 1
        scaled = noise if unit else f"{self.text(scale, PRODUCT)} * {noise}"
        if isinstance(loc, Number) and loc.value == 0:
            return scaled, ATOM if unit else PRODUCT
        return f"{self.text(loc, SUM)} + {scaled}", SUM

    def divergence(self, posterior: DensityValue, prior: DensityValue, span: Span | None) -> str:
        """KL(posterior || prior) in closed form, summed over the event.

        Raises:
            UnsupportedError: the pair has no closed form here.
        """
        name = DIVERGENCES.get((posterior.family, prior.family))
        if name is None:
            raise unsupported(f"the divergence of {posterior.family} from {prior.family}", span, self.backend)
        arguments = [*self._arguments(posterior), *self._arguments(prior)]
        if name == "kl_normal" and _numbers(self.parameters(prior)) == [0.0, 1.0]:
            name, arguments = "kl_standard_normal", self._arguments(posterior)
        if name in {"kl_bernoulli", "kl_categorical"}:
            arguments = [self._natural(density) for density in (posterior, prior)]
        own = max(DISTRIBUTIONS[density.family].event_rank for density in (posterior, prior))
        rank = posterior.event_rank - own
        axes = tuple(range(-rank, 0))
        value = f"densities.{name}({', '.join(arguments)})"
        if not rank:
            return value
        outer = posterior.shape[: len(posterior.shape) - own]
        if not any(self.shapes.spans(self.parameters(part), part.family, outer) for part in (posterior, prior)):
            value = f"operations.broadcast({value}, {sequence(outer)})"
        return f"{value}.sum({axes[0] if rank == 1 else sequence(axes)})"

    def _natural(self, density: DensityValue) -> str:
        """Logits of a Bernoulli, log-probabilities of a categorical, whichever parameter is given."""
        ((name, value),) = self.parameters(density)
        if density.family == "Bernoulli":
            return self.text(value if name == "logits" else Op("call", (value,), (("function", "logit"),)))
        if name == "logits":
            return self.text(Op("cumulative", (value,), (("function", "log_softmax"), ("axis", -1))))
        return self.text(Op("call", (value,), (("function", "log"),)))


def _numbers(parameters: list[tuple[str, Value]]) -> list[float] | None:
    values = [value.value for _, value in parameters if isinstance(value, Number)]
    return values if len(values) == len(parameters) else None


def _choice_name(density: DensityValue, name: str) -> bool:
    return any(name in choice for choice in DISTRIBUTIONS[density.family].choices)


def _choice(density: DensityValue) -> str:
    """`_logits` or `_probs` where the family takes either."""
    given = {name for name, _ in density.parameters}
    return next((f"_{name}" for name in ("logits", "probs") if name in given), "")
