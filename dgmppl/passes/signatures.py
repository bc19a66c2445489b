"""Network signatures: inputs and heads as the first use fixes them; a second use must agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dgmppl.ir.bijectors import Bijector, Step, raw_parameters, step_parameters
from dgmppl.ir.expressions import Apply
from dgmppl.ir.networks import Head, Network
from dgmppl.ir.types import REAL, Dtype, Shape, Support, TensorType
from dgmppl.passes.problems import Problems
from dgmppl.passes.shapes import show
from dgmppl.source import Span


@dataclass
class _Use:
    """The first use of a network."""

    inputs: tuple[TensorType, ...]
    span: Span | None
    heads: dict[str, Head] = field(default_factory=dict)
    single: bool = False


class Signatures:
    """The signatures of all named networks."""

    def __init__(self, networks: Mapping[str, Network]) -> None:
        self.networks = networks
        self.uses: dict[str, _Use] = {}

    def use(
        self, node: Apply, inputs: tuple[TensorType, ...], head: str, shape: Shape, support: Support, problems: Problems
    ) -> None:
        """Record one application of a network with one of its heads."""
        self.fix(node.network, inputs, Head(head, shape, support), node.head is None, node.span, problems)

    def fix(
        self, name: str, inputs: tuple[TensorType, ...], head: Head, single: bool, span: Span | None, problems: Problems
    ) -> None:
        """Record a use, or report that it differs from the first."""
        known = self.uses.setdefault(name, _Use(inputs, span, single=single))
        if [part.shape for part in known.inputs] != [part.shape for part in inputs]:
            self._clash(name, "inputs", _inputs(known.inputs), _inputs(inputs), known, span, problems)
            return
        if single != known.single:
            self._clash(name, "outputs", _kind(known.single), _kind(single), known, span, problems)
            return
        first = next(iter(known.heads.values()), None) if single else known.heads.get(head.name)
        if first is None:
            known.heads[head.name] = head
        elif first.shape != head.shape or first.support != head.support:
            before, now = (f"{show(part.shape)} in {part.support}" for part in (first, head))
            self._clash(name, "outputs", before, now, known, span, problems)

    def _clash(
        self, name: str, what: str, first: str, second: str, known: _Use, span: Span | None, problems: Problems
    ) -> None:
        problems.add(
            "two-signatures",
            f"the network {name!r} is used with two signatures: its {what} differ",
            span,
            expected=f"{first}, as in its first use" + (f" at {known.span}" if known.span else ""),
            found=second,
            fix=f"declare a second network for this use, `{name}_2: {self.networks[name].kind}(...)`",
        )

    def network(self, network: Network) -> Network:
        """A network with its signature; as it is where nothing uses it."""
        use = self.uses.get(network.name)
        if use is None:
            return network
        return replace(network, inputs=use.inputs, heads=tuple(use.heads.values()))

    # ---- networks that stand inside other constructs --------------------------------------------------------------

    def field(
        self, name: str, state: TensorType, context: tuple[TensorType, ...], span: Span | None, problems: Problems
    ) -> None:
        """A vector field or denoiser: state, context and time (embedded or plain, last) to the state's shape."""
        inputs = (state, *context, time_input(self.networks[name]))
        self.fix(name, inputs, Head("out", state.shape, REAL), True, span, problems)

    def bijector(
        self, bijector: Bijector, event: TensorType, context: tuple[TensorType, ...], problems: Problems
    ) -> Bijector:
        """A bijector whose inline conditioners have their signatures; shared networks are recorded."""
        steps = tuple(self._step(step, event, context, bijector, problems) for step in bijector.steps)
        own = (step for step in steps if step.path.startswith(f"{bijector.name}."))
        parameters = tuple(part for step in own for part in step_parameters(step, bijector.name, event.shape))
        return replace(bijector, steps=steps, parameters=parameters)

    def _step(
        self, step: Step, event: TensorType, context: tuple[TensorType, ...], bijector: Bijector, problems: Problems
    ) -> Step:
        if step.kind == "ode":
            if step.network is not None:
                self.field(step.network, event, context, step.span, problems)
                return step
            assert step.conditioner is not None
            inputs = (event, *context, time_input(step.conditioner))
            return replace(
                step, conditioner=replace(step.conditioner, inputs=inputs, heads=(Head("out", event.shape, REAL),))
            )
        if step.element is None:
            return step
        if step.kind == "coupling" and event.size < 2:
            problems.add(
                "too-few-elements",
                f"a coupling of {bijector.name!r} splits an event of {event.size} element",
                step.span,
                expected="two or more elements",
                fix="use `spline()` or `affine()` by itself for a scalar",
            )
            return step
        inputs, heads = conditioner_signature(step, event, context)
        if step.network is not None:
            for head in heads:
                self.fix(step.network, inputs, head, False, step.span, problems)
            return step
        conditioner = None if step.conditioner is None else replace(step.conditioner, inputs=inputs, heads=heads)
        return replace(step, conditioner=conditioner)


def conditioner_signature(
    step: Step, event: TensorType, context: tuple[TensorType, ...]
) -> tuple[tuple[TensorType, ...], tuple[Head, ...]]:
    """What a conditioner reads and returns: the raw parameters of the element transform, one set per element.

    `coupling` reads the first floor(D/2) elements and returns those of the rest; `autoregressive` has all of both.
    """
    assert step.element is not None
    size = event.size
    seen, moved = (size // 2, size - size // 2) if step.kind == "coupling" else (size, size)
    heads = tuple(
        Head(name, (moved,) if count is None else (moved, count), REAL) for name, count in raw_parameters(step.element)
    )
    return (TensorType((seen,), Dtype.REAL, REAL, event.plate), *context), heads


def time_input(network: Network) -> TensorType:
    """Time as a network reads it: a number, or its embedding."""
    match network.options.get("time"):
        case ("embedding", int(width)):
            return TensorType((width,))
    return TensorType(())


def _inputs(inputs: tuple[TensorType, ...]) -> str:
    return " and ".join(show(part.shape) for part in inputs) or "none"


def _kind(single: bool) -> str:
    return "a single output" if single else "the heads of a distribution"
