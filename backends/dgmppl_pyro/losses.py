"""A player's loss with its gradient: differentiated at every step, and recorded or compiled where that is faster.

Eager automatic differentiation builds a graph at every step, which for small networks costs as much as the arithmetic.
A run takes the same step thousands of times: its operations, those of the gradient among them, are recorded once. The
record takes the same operations in the same order, so that the numbers do not tell when it took over; the compiled one
fuses them, and agrees up to rounding. A record is compared with the eager step on other rows before it is relied on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from dgmppl.errors import RunError
from dgmppl_pyro.gradients import as_it_is_used, record, scripted
from dgmppl_pyro.parameters import Flat, Groups
from dgmppl_pyro.samplers import FASTER, Transition

# To record a step takes about as long as so many of them save.
WORTH = 1000

Key: TypeAlias = tuple[Any, ...]


class Step(NamedTuple):
    """What one step of a player computes, without the graph that it was computed by.

    Attributes:
        gradients: of the loss in each of the player's tensors; None where it does not depend on one.
        state: what the losses carry to the next step.
        report: the loss, nats per datum or whatever the player minimizes, and the other values that are fit to be
            shown, by name.
    """

    gradients: tuple[Tensor | None, ...]
    state: Flat
    report: Flat

    def flat(self) -> tuple[Tensor, ...]:
        """All tensors in a row."""
        present = (gradient for gradient in self.gradients if gradient is not None)
        return (*present, *self.state.values(), *self.report.values())

    def like(self, flat: Sequence[Tensor]) -> Step:
        """Other tensors in the places of these: the inverse of `flat`."""
        left = iter(flat)
        gradients = tuple(None if gradient is None else next(left) for gradient in self.gradients)
        return Step(gradients, {name: next(left) for name in self.state}, {name: next(left) for name in self.report})


class Arguments(NamedTuple):
    """What changes from step to step: carried state, rows and random numbers by name, and the number of the step."""

    state: Mapping[str, Tensor]
    batch: Mapping[str, Tensor]
    noise: Mapping[str, Any]
    step: int | Tensor

    def key(self) -> Key:
        """Names, shapes and types, which a record is made for."""
        named = (pair for group in self[:3] for pair in group.items())
        return tuple((name, getattr(entry, "shape", None), getattr(entry, "dtype", None)) for name, entry in named)

    def recordable(self) -> bool:
        """Whether all random numbers are drawn beforehand: what a generator draws is not recorded."""
        return all(isinstance(entry, Tensor) for entry in self.noise.values())

    def flat(self) -> tuple[Tensor, ...]:
        """All tensors in a row, the number of the step in double precision, as in an eager step."""
        clock = torch.as_tensor(self.step, dtype=torch.float64)
        return (clock, *(entry for group in self[:3] for entry in group.values()))

    def like(self, flat: Sequence[Tensor]) -> Arguments:
        """Other tensors in the places of these: the inverse of `flat`."""
        clock, *rest = flat
        left = iter(rest)
        state, batch, noise = ({name: next(left) for name in group} for group in self[:3])
        return Arguments(state, batch, noise, clock)


class Loss:
    """A player's loss and its gradient at each step."""

    def __init__(
        self, run: Callable[..., Any], own: Groups, other: Groups, leaves: list[Tensor], frozen: tuple[Tensor, ...],
        *, steps: int, compiled: bool,
    ) -> None:  # fmt: skip
        """Records where steps enough are left to pay for it, or compiles before the first one.

        Args:
            run: the emitted loss.
            own: the groups that it is differentiated in.
            other: all the rest.
            leaves: the trainable tensors among `own`, updated in place.
            frozen: those among `other`, which no graph is made for.
            steps: how often it will be called.
            compiled: by `torch.compile`.
        """
        self._run, self._own, self._other = run, own, other
        self._leaves, self._frozen = leaves, frozen
        self._left, self._compiled = steps, compiled
        self._seen: Counter[Key] = Counter()
        self._records: dict[Key, _Recorded | None] = {}

    def __call__(self, arguments: Arguments) -> Step:
        """The step at these arguments.

        Raises:
            RunError: it is to be compiled and cannot be.
        """
        self._left -= 1
        key = arguments.key()
        if key not in self._records:
            if not self._pays(key, arguments):
                return self._eager(arguments)
            found = self._records[key] = self._recorded(arguments)
            # What a run does from its first step on, it does from the first step after it was resumed.
            if found is None or not self._compiled:
                return self._eager(arguments)
            with as_it_is_used():
                return found.step(arguments)
        found = self._records[key]
        if found is None:
            return self._eager(arguments)
        return found.step(arguments) if found.sound else self._checked(key, found, arguments)

    def _pays(self, key: Key, arguments: Arguments) -> bool:
        """Whether this is the step to record at."""
        self._seen[key] += 1
        if self._compiled:
            return True
        if self._seen[key] <= WORTH or self._left <= WORTH:
            return False
        plain = all(leaf.device.type == "cpu" for leaf in self._leaves) and not torch.is_autocast_enabled("cpu")
        return plain and arguments.recordable()

    def _eager(self, arguments: Arguments) -> Step:
        """By automatic differentiation."""
        for leaf in self._frozen:
            leaf.requires_grad_(False)
        for leaf in self._leaves:
            leaf.requires_grad_(True)
        loss, state, report = self._run(self._own, self._other, *arguments)
        gradients = torch.autograd.grad(loss, self._leaves, allow_unused=True) if self._leaves else ()
        carried = {name: entry.detach() for name, entry in state.items()}
        return Step(gradients, carried, {name: _held(entry) for name, entry in {"loss": loss, **report}.items()})

    def _recorded(self, arguments: Arguments) -> _Recorded | None:
        """The operations of the step at these arguments; None where they depend on values.

        Raises:
            RunError: they were to be compiled.
        """
        layout: list[Step] = []

        def flat(*entries: Tensor) -> tuple[Tensor, ...]:
            step = self._eager(arguments.like(entries))
            # What the places hold is not needed, and would take the memory of another gradient.
            layout[:] = [step.like([torch.empty(0)] * len(step.flat()))]
            return step.flat()

        examples = arguments.flat()
        # A context of its own, in which no transition is replaced by a record of it.
        alone = Context()
        if not self._compiled:
            alone.run(FASTER.set, _left_alone)
        graph = alone.run(record, flat, *examples) if arguments.recordable() else None
        if self._compiled:
            if graph is None:
                raise _not_compiled("draws that it makes or values that it computes choose its operations")
            return _Recorded(layout[0], plain=graph, fast=_compiled(graph))
        fast = None if graph is None else scripted(graph, *examples)
        return None if fast is None else _Recorded(layout[0], plain=fast, fast=fast)

    def _checked(self, key: Key, found: _Recorded, arguments: Arguments) -> Step:
        """The step, and whether the record agrees with the eager one bit for bit at these other arguments too."""
        step = self._eager(arguments)
        with torch.no_grad():
            found.sound = all(map(torch.equal, found.plain(*arguments.flat()), step.flat()))
        if self._compiled and not found.sound:
            raise _not_compiled("its operations change with the values")
        if not found.sound:
            self._records[key] = None
        return found.step(arguments) if self._compiled else step


@dataclass
class _Recorded:
    """A recorded step.

    Attributes:
        layout: a step whose entries stand in the order of the record's.
        plain: the operations as they are.
        fast: what serves instead of them, the same or compiled.
        sound: it has been compared with an eager step.
    """

    layout: Step
    plain: Callable[..., Any]
    fast: Callable[..., Any]
    sound: bool = False

    def step(self, arguments: Arguments) -> Step:
        """The step at these arguments."""
        with torch.no_grad():
            return self.layout.like(self.fast(*arguments.flat()))


def _left_alone(*_: Any) -> Transition:
    """Keeps a step with a Markov chain in it from being recorded: each of its transitions already is."""
    raise NotImplementedError


def _compiled(graph: Callable[..., Any]) -> Callable[..., Any]:
    """A graph fused by `torch.compile`.

    Raises:
        RunError: there is no C++ compiler, or it refuses the graph; at the first call.
    """
    with as_it_is_used():
        fused = torch.compile(graph, dynamic=False)

    def run(*entries: Tensor) -> Any:
        try:
            with torch.autocast(entries[0].device.type, enabled=False):
                return fused(*entries)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise _not_compiled(str(error).strip().splitlines()[0]) from error

    return run


def _not_compiled(why: str) -> RunError:
    return RunError(f"this loss cannot be compiled: {why}; fit without --compile")


def _held(entry: Tensor | float) -> Tensor:
    """An entry of a report, without the graph that it was computed by."""
    return entry.detach() if isinstance(entry, Tensor) else torch.tensor(entry)
