"""Printing of kernel values as Python expressions: what both backends share.

A backend's printer is a table of functions and families and the few methods that make arrays; everything else, and so
the order and the wording of what is emitted, is the same on both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from dgmppl.ir.emission.constants import MATH, folded
from dgmppl.ir.emission.densities import DensityPrinter, sequence, unsupported
from dgmppl.ir.emission.shapes import Shapes
from dgmppl.ir.emission.tables import (
    ATOM,
    BINARY,
    CALLS,
    UNARY,
)
from dgmppl.ir.kernel import (
    BijectorCall,
    Denoising,
    Divergence,
    Draw,
    Gradient,
    LogProb,
    MarkovSampler,
    NetworkCall,
    NetworkLogPrior,
    NetworkStart,
    NetworkStep,
    NoiseEntry,
    Noising,
    Number,
    Op,
    Restriction,
    SpectralNorm,
    StateEntry,
    Value,
    Var,
    Velocity,
    WarmStart,
)
from dgmppl.ir.types import Support

__all__ = ["ValuePrinter", "constraint", "sequence", "unsupported"]


class ValuePrinter(DensityPrinter):
    """Values of one function as expressions.

    Attributes:
        reductions: reduction -> template of `{X}` (or `{x}`) and `{axes}`.
        cumulatives: function -> what is called with (value, axis).
        leaves: template of the iterable over a network's arrays.
    """

    reductions: ClassVar[Mapping[str, str]]
    cumulatives: ClassVar[Mapping[str, str]]
    leaves: ClassVar[str]

    def __init__(
        self,
        shapes: Shapes,
        groups: Mapping[str, str],
        *,
        program: bool = False,
        renamed: frozenset[str] = frozenset(),
        real: frozenset[str] = frozenset(),
    ) -> None:
        """Starts one function.

        Args:
            shapes: event shapes of the variables, as far as they are known.
            groups: parameter group -> local variable.
            program: it is a program of the library.
            renamed: variables whose names the emitted text needs for itself; they get an underscore.
            real: variables of integer columns that the function's head has made real.
        """
        self.shapes = shapes
        self.groups = groups
        self.program = program
        self.renamed = renamed
        self.real = real

    # ---- arrays, which the libraries make differently -------------------------------------------------------------

    @abstractmethod
    def constant(self, values: object, integer: bool) -> str:
        """An array written out."""

    @abstractmethod
    def cast(self, text: str, dtype: str) -> str:
        """The value as `real` or `integer`; `text` stands in front of a dot."""

    @abstractmethod
    def stop(self, value: Value) -> str:
        """The value without gradient."""

    @abstractmethod
    def eye(self, size: int) -> str:
        """The identity."""

    @abstractmethod
    def moveaxis(self, text: str, source: object, target: object) -> str:
        """An axis moved."""

    @property
    def like(self) -> str:
        """An array whose dtype and device new arrays take."""
        return "like"

    # ---- values ---------------------------------------------------------------------------------------------------

    def text(self, value: Value, outer: int = 0) -> str:
        """The value as Python text, in brackets where it binds less tightly than `outer`."""
        body, level = self._leveled(value)
        return f"({body})" if level < outer else body

    def _both(self, value: Value) -> dict[str, str]:
        """The value as an argument, `x`, and in front of a dot, `X`: read once, or depth would double the work."""
        body, level = self._leveled(value)
        return {"x": body, "X": f"({body})" if level < ATOM else body}

    def variable(self, name: str) -> str:
        """A local variable."""
        return f"{name}_" if name in self.renamed else name

    def _leveled(self, value: Value) -> tuple[str, int]:
        match value:
            case Var(name=name):
                return self.variable(name), ATOM
            case Number(value=number):
                return repr(number), UNARY if number < 0 else ATOM
            case Op():
                return self._operation(value)
            case NetworkCall(network=network, inputs=inputs):
                return f"{self._group(network)}({', '.join(map(self.text, inputs))})", ATOM
            case LogProb(density=density, value=at, elementwise=elementwise):
                return self.log_prob(density, self.text(at), elementwise), ATOM
            case Draw(density=density, noise=noise):
                return self.draw(density, self.text(noise, ATOM))
            case Restriction():
                return self.restriction(value), ATOM
            case NoiseEntry(name=name):
                return f'noise["{name}"]', ATOM
            case BijectorCall():
                return self._bijector(value), ATOM
            case Velocity(bijector=name, point=point, time=time, context=context):
                return f"{self._group(name)}.velocity({', '.join(map(self.text, (point, time, *context)))})", ATOM
            case WarmStart(bijector=name, value=at, context=context):
                return f"{self._group(name)}.warm_start({', '.join(map(self.text, (at, *context)))})", ATOM
            case Gradient():
                return self._gradient(value), ATOM
            case MarkovSampler():
                return self._sampler(value), ATOM
            case Noising():
                return self._noising(value), ATOM
            case Denoising():
                return self._denoising(value), ATOM
            case SpectralNorm(network=network, directions=directions):
                pairs = ", ".join(f'"{name}": {self.text(part)}' for name, part in directions)
                return f"critics.spectral({self._group(network)}, {{{pairs}}})", ATOM
            case StateEntry(name=name):
                return f'state["{name}"]', ATOM
            case NetworkStart(network=network, context=context, like=like, rank=rank):
                batch = f"batch=draws.batch({self.text(like)}, {rank})"
                return f"{self._group(network)}.start({', '.join([*map(self.text, context), batch])})", ATOM
            case NetworkStep(network=network, cache=cache, position=position, previous=previous):
                parts = ", ".join(map(self.text, (cache, position, previous)))
                return f"{self._group(network)}.step({parts})", ATOM
            case NetworkLogPrior(network=network, density=density):
                leaves = self.leaves.format(self.groups.get(network, network))
                return f"sum({self.log_prob(density, 'leaf', False)}.sum() for leaf in {leaves})", ATOM
            case Divergence(posterior=posterior, prior=prior):
                return self.divergence(posterior, prior, value.span), ATOM

    def _group(self, name: str) -> str:
        return self.groups.get(name, name)

    def _bijector(self, value: BijectorCall) -> str:
        """A direction of a bijector, with its log-determinant where that is wanted."""
        direction = "inverse" if value.inverse else "forward"
        method = f"{direction}_and_log_det" if value.log_det else direction
        arguments = [self.text(value.value), *map(self.text, value.context)]
        probed = "" if value.probe is None else f".probed({self.text(value.probe)})"
        return f"{self._group(value.bijector)}{probed}.{method}({', '.join(arguments)})"

    def _gradient(self, value: Gradient) -> str:
        name = {"first": "gradient", "directional": "directional", "laplacian": "laplacian"}[value.order]
        direction = [] if value.direction is None else [self.text(value.direction)]
        arguments = [value.function, self.text(value.point), *direction, str(value.event_rank)]
        return f"derivatives.{name}({', '.join(arguments)})"

    def _sampler(self, value: MarkovSampler) -> str:
        noise = [self.text(entry) for entry in value.noise]
        settings = [f"{key}={setting!r}" for key, setting in value.settings]
        arguments = [*value.functions, self.text(value.start), str(value.event_rank), *noise, *settings]
        return f"{value.sampler}({', '.join(arguments)})"

    def _noising(self, value: Noising) -> str:
        given = (repr(part) if isinstance(part, int | float) else self.text(part) for part in value.arguments)
        parts = [f"schedules.{value.schedule}({', '.join(given)})", f'"{value.predict}"', str(value.event_rank)]
        parts += [] if value.steps is None else [f"steps={value.steps}"]
        parts += [] if value.variance == "posterior" else [f'variance="{value.variance}"']
        parts += [] if value.errors is None else [f"errors={self.text(value.errors)}"]
        return f"diffusion.Process({', '.join(parts)})"

    def _denoising(self, value: Denoising) -> str:
        denoiser = ", ".join(value.denoisers)
        if len(value.denoisers) > 1:
            denoiser = f"diffusion.guided({denoiser}, {value.guidance})"
        settings = [f"{key}={_literal(setting)}" for key, setting in value.settings]
        known = [f"known=({', '.join(map(self.text, value.known))})"] if value.known else []
        arguments = [self.text(value.process), denoiser, *map(self.text, value.operands), *settings, *known]
        return f"diffusion.{value.function}({', '.join(arguments)})"

    def _operation(self, value: Op) -> tuple[str, int]:
        if value.name in BINARY:
            operator, level, left, right = BINARY[value.name]
            first, second = value.operands
            return f"{self.text(first, left)} {operator} {self.text(second, right)}", level
        if value.name == "neg":
            return f"-{self.text(value.operands[0], UNARY)}", UNARY
        if value.name in CALLS:
            return self._call(CALLS[value.name], value), ATOM
        method = _METHODS.get(value.name)
        if method is None:
            raise unsupported(f"the primitive {value.name!r}", value.span, self.backend)
        return method(self, value), ATOM

    def _call(self, template: str, value: Op, **extra: str) -> str:
        fields: dict[str, object] = {
            key: sequence(option) if isinstance(option, tuple) else option for key, option in value.options
        }
        first = self._both(value.operands[0]) if value.operands else {}
        arguments = [*([first["x"]] if first else []), *map(self.text, value.operands[1:])]
        fields |= first | dict(zip("y", arguments[1:], strict=False)) | extra
        return template.format(all=", ".join(arguments), like=self.like, **fields)

    # ---- primitives with a form of their own ------------------------------------------------------------------------

    def _function(self, value: Op) -> str:
        name = str(value.option("function"))
        constant = folded(value)
        if isinstance(constant, Number):
            plain = all(isinstance(operand, Number) for operand in value.operands)
            return f"math.{name}({self.text(value.operands[0])})" if plain and name in MATH else repr(constant.value)
        if name not in self.functions:
            raise unsupported(f"the function {name!r}", value.span, self.backend)
        if name == "where" and all(isinstance(operand, Number) for operand in value.operands[1:]):
            first = value.operands[1]
            assert isinstance(first, Number)
            parts = [self.text(value.operands[0]), self.full((), first.value), self.text(value.operands[2])]
            return f"{self.functions[name]}({', '.join(parts)})"
        return f"{self.functions[name]}({', '.join(map(self.text, value.operands))})"

    def _reduction(self, value: Op) -> str:
        (operand,) = value.operands
        if isinstance(operand, Number):
            return self.text(operand, ATOM)
        axes = value.option("axes")
        assert isinstance(axes, tuple)
        name = str(value.option("function"))
        if name == "prod":
            return self.text(operand, ATOM) + "".join(f".prod({axis})" for axis in sorted(axes))
        place = str(axes[0]) if len(axes) == 1 else sequence(axes)
        return self.reductions[name].format(**self._both(operand), axes=place)

    def _leading_reduction(self, value: Op) -> str:
        (operand,) = value.operands
        template = self.reductions[str(value.option("function"))]
        return template.format(**self._both(operand), axes="0")

    def _cumulative(self, value: Op) -> str:
        call = self.cumulatives[str(value.option("function"))]
        return f"{call}({self.text(value.operands[0])}, {value.option('axis')})"

    def _softmax_leading(self, value: Op) -> str:
        return f"{self.cumulatives['softmax']}({self.text(value.operands[0])}, 0)"

    def _expand(self, value: Op) -> str:
        count, rank = value.option("count"), value.option("rank")
        assert isinstance(count, int)
        assert isinstance(rank, int)
        items = ["...", *["None"] * count, *[":"] * rank]
        return f"{self.text(value.operands[0], ATOM)}[{', '.join(items)}]"

    def _reshape(self, value: Op) -> str:
        rank, shape = value.option("rank"), value.option("shape")
        assert isinstance(shape, tuple)
        base = self.text(value.operands[0], ATOM)
        batch = f"{base}.shape[:-{rank}]" if rank else f"{base}.shape"
        return f"{base}.reshape({', '.join([f'*{batch}', *map(str, shape)])})"

    def _index(self, value: Op) -> str:
        items = value.option("items")
        assert isinstance(items, tuple)
        return f"{self.text(value.operands[0], ATOM)}[{', '.join(['...', *map(_item, items)])}]"

    def _leading(self, value: Op) -> str:
        item = value.option("item")
        return f"{self.text(value.operands[0], ATOM)}[{_item(item)}]"

    def _gather(self, value: Op) -> str:
        table, index = value.operands
        whole = self.shapes.integral(index) and not (isinstance(index, Var) and index.name in self.real)
        place = self.text(index) if whole else self.cast(self.text(index, ATOM), "integer")
        return f"{self.text(table, ATOM)}[{place}]"

    def _cast(self, value: Op) -> str:
        (operand,) = value.operands
        if isinstance(operand, Var) and operand.name in self.real and value.option("dtype") == "real":
            return self.variable(operand.name)
        return self.cast(self.text(value.operands[0], ATOM), str(value.option("dtype")))

    def _fill(self, value: Op) -> str:
        shape, number = value.option("shape"), value.option("value")
        assert isinstance(shape, tuple)
        assert isinstance(number, int | float)
        return self.full(shape, number)

    def _constant(self, value: Op) -> str:
        integer = value.type is not None and value.type.dtype.value == "integer"
        return self.constant(value.option("values"), integer)

    def _broadcast(self, value: Op) -> str:
        shape, constant = value.option("shape"), folded(value.operands[0])
        assert isinstance(shape, tuple)
        if isinstance(constant, Number):
            return self.full(shape, constant.value)
        return f"operations.broadcast({self.text(value.operands[0])}, {sequence(shape)})"

    def _eye(self, value: Op) -> str:
        size = value.option("size")
        assert isinstance(size, int)
        return self.eye(size)

    def _stop(self, value: Op) -> str:
        return self.stop(value.operands[0])

    def _moveaxis(self, value: Op) -> str:
        return self.moveaxis(self.text(value.operands[0]), value.option("source"), value.option("target"))

    def _constrain(self, value: Op) -> str:
        support, way = value.option("support"), value.option("way")
        assert isinstance(support, Support)
        method = "" if way == "forward" else f".{way}"
        return f"{constraint(support)}{method}({self.text(value.operands[0])})"

    def _checked(self, value: Op) -> str:
        support = value.option("support")
        kind = support.kind if isinstance(support, Support) else str(support)
        return f'operations.checked({self.text(value.operands[0])}, "{kind}")'


def constraint(support: Support) -> str:
    """The runtimes' bijection from the reals onto a support, as text."""
    if support.kind == "interval":
        return f"constraints.interval({support.low}, {support.high})"
    return f"constraints.{support.kind}"


def _literal(setting: object) -> str:
    """A static setting, words in double quotes."""
    return f'"{setting}"' if isinstance(setting, str) else repr(setting)


def _item(item: object) -> str:
    """An index: an int, or (start, stop[, step]) as a slice."""
    if not isinstance(item, tuple):
        return str(item)
    parts = ["" if part is None else str(part) for part in item]
    return ":".join(parts[:2]) + (f":{parts[2]}" if len(parts) > 2 and parts[2] else "")


_METHODS = {
    "call": ValuePrinter._function,
    "reduce": ValuePrinter._reduction,
    "reduce_leading": ValuePrinter._leading_reduction,
    "cumulative": ValuePrinter._cumulative,
    "softmax_leading": ValuePrinter._softmax_leading,
    "expand": ValuePrinter._expand,
    "reshape": ValuePrinter._reshape,
    "index": ValuePrinter._index,
    "leading": ValuePrinter._leading,
    "gather": ValuePrinter._gather,
    "cast": ValuePrinter._cast,
    "fill": ValuePrinter._fill,
    "broadcast": ValuePrinter._broadcast,
    "constant": ValuePrinter._constant,
    "eye": ValuePrinter._eye,
    "stop": ValuePrinter._stop,
    "moveaxis": ValuePrinter._moveaxis,
    "constrain": ValuePrinter._constrain,
    "checked": ValuePrinter._checked,
}
