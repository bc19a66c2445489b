"""What a backend prints: noise, functions, parameter groups, and the module that holds them."""

from __future__ import annotations

from dataclasses import dataclass

from dgmppl.ir.kernel.statements import Statement
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.program import Program
from dgmppl.ir.types import Dtype, Support


@dataclass(frozen=True, slots=True)
class Noise:
    """One array of random numbers that a function uses.

    Attributes:
        name: the key in the noise dictionary.
        kind: `normal`, `uniform`, `gumbel`; or `library`: a key (JAX) or generator (torch) for the library's sampler.
        shape: the event's shape.
        particles: it has a particle axis left of the data axis.
        plate: the axis that it varies over: `data`, a level's name, or None.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    particles: bool = False
    plate: str | None = "data"


@dataclass(frozen=True)
class Function:
    """One emitted function.

    Its signature follows from its kind:

    - `loss`: `loss_PLAYER(own, other, state, batch, noise, step)` -> loss, state, report;
    - `density`: `NAME(parameters, batch)` or, with noise, `NAME(parameters, batch, noise)`;
    - `sample`: `sample(parameters, batch, noise)`, the batch holding covariates only;
    - `state`: `initial_state(noise)`, what the losses carry from step to step before the first one;
    - `program`: `model(...)` and `guide(...)` of the library, with data columns as keyword arguments;
    - `bounds`: `support_of_NAME(...)` of the constrained values that a parameter's bounds read -> its bijection.

    Attributes:
        name: `loss_model`, `log_prob`, `elbo`, `log_weights`, `log_joint`, `encode`, `posterior`, `sample`, `prior`,
            `decode`, `model`, `guide`.
        kind: see above.
        body: its statements.
        doc: what it computes, in mathematics, with the shape of the result.
        groups: (group, local variable) of the parameter groups that it reads; printed as the unpacking at its head:
            a network as it is, a learned or random parameter through its constraint's bijection.
        columns: (data column, local variable) that it reads from the batch; `x.observed` is the mask of `x`.
        noise: the random numbers that it takes.
        particles: how many particles its noise carries; None for no particle axis, 0 for as many as the caller wants.
        owns: for a loss: the groups found in `own`; all others are in `other`.
        clamp: for a loss: (array, bound) of what is clamped to [-bound, bound] after each of the player's updates.
    """

    name: str
    kind: str
    body: tuple[Statement, ...]
    doc: str
    groups: tuple[tuple[str, str], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    noise: tuple[Noise, ...] = ()
    particles: int | None = None
    owns: tuple[str, ...] = ()
    clamp: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A parameter group: a network, a bijector, one learned parameter, or one parameter with a prior.

    Attributes:
        name: the top-level name.
        kind: `network`, `bijector`, `learned` or `prior`, which latents that an engine samples are too.
        parameters: its arrays.
        support: for `learned` and `prior`: the set that the value lies in; the raw value is unconstrained.
        levels: the level index that it has a copy for, or `data` for a copy a row; None for one alone.
        frozen: it came with a finished run: no player owns it, and its values are that run's.
        bounds: for a parameter whose bounds depend on others: the function from these to its bijection.
    """

    name: str
    kind: str
    parameters: tuple[ParameterSpec, ...]
    support: Support | None = None
    levels: str | None = None
    frozen: bool = False
    bounds: Function | None = None


@dataclass(frozen=True)
class Module:
    """Everything that a backend prints.

    Attributes:
        program: the typed program.
        heading: the docstring's lines: name, factorization, objective, its direction.
        groups: parameter groups in order.
        players: (name, groups that it owns, every), in the order in which they move.
        functions: in the order in which they are printed.
    """

    program: Program
    heading: tuple[str, ...]
    groups: tuple[Group, ...]
    players: tuple[tuple[str, tuple[str, ...], int], ...]
    functions: tuple[Function, ...]

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Every parameter under its canonical name."""
        return tuple(parameter for group in self.groups for parameter in group.parameters)

    @property
    def real_columns(self) -> frozenset[str]:
        """Data columns that the model takes for real numbers, although a file may hold whole ones."""
        sites = (site for site in self.program.observed if site.type is not None)
        return frozenset(site.name for site in sites if site.typed.dtype is Dtype.REAL)

    def function(self, name: str) -> Function | None:
        """A function by name, or None where this model has none."""
        return next((function for function in self.functions if function.name == name), None)
