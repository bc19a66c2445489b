"""The objective as a symbolic object: about two dozen frozen nodes, one tree for the screen and for the code.

Every number is in nats per datum. `text`, `latex` and `to_dict` print the tree; `lowering` turns the same tree into the
loss. Nothing else decides what is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeAlias

from dgmppl.ir.expressions import Expression

# ---- factors and draws ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogDensity:
    """log p(site | given), or log q in the guide.

    Attributes:
        site: its name (for a pushforward: the image's name; the base is substituted).
        given: what it is conditioned on, parameters left out.
        section: `model`, `guide` or `parameters`.
        rule: the expansion rule that computes it: `normalized chain_rule change_of_variables
            instantaneous_change_of_variables partition_function diffusion_bound unnormalized trained`.
        names: all names of a joint site; empty for a single one.
        at: the site whose value is scored, where it is another one (a noise density on the data); None for its own.
    """

    site: str
    given: tuple[str, ...]
    section: str
    rule: str = "normalized"
    names: tuple[str, ...] = ()
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """A random quantity under an expectation.

    Attributes:
        name: the site that is drawn.
        source: `guide`, `model` (ancestral), `data`, `noise`, or `sampler` (MCMC on an unnormalized density).
        given: what it is conditioned on.
        estimator: how gradients pass: `pathwise enumerate score_function gumbel straight_through none`.
        stop: no gradient flows through it.
        partly_observed: rows in which the data hold the value use it instead of a draw (semi-supervised).
        options: the estimator's options (`temperature`, `baseline`).
    """

    name: str
    source: str
    given: tuple[str, ...] = ()
    estimator: str = "pathwise"
    stop: bool = False
    partly_observed: bool = False
    options: tuple[tuple[str, Expression], ...] = ()


# ---- terms ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum of terms."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """factor * term; the factor is a number or a scalar schedule."""

    factor: float | Expression
    term: Term


@dataclass(frozen=True, slots=True)
class Expectation:
    """E_{draws}[body], the draws in sampling order, averaged over `particles` of them."""

    draws: tuple[Draw, ...]
    body: Term
    particles: int = 1


@dataclass(frozen=True, slots=True)
class LogMeanExp:
    """log (1/K) sum_k exp(body_k) over K particles of the enclosing draws."""

    count: int
    body: Term
    doubly_reparameterized: bool = True


@dataclass(frozen=True, slots=True)
class KL:
    """KL(q(site | q.given) || p(site | p.given)), in closed form where both sides have one."""

    posterior: LogDensity
    prior: LogDensity
    closed_form: bool


@dataclass(frozen=True, slots=True)
class LogSum:
    """log sum over the values of discrete latents of exp(body): the rules `enumerate` and `forward_algorithm`.

    The order of `names` is the elimination order. `elementwise` says that the elements are independent given the rest
    and are summed one by one; `partly_observed` that only the rows in which the data lack the value are summed, while
    the others take it from the data.
    """

    names: tuple[str, ...]
    body: Term
    rule: str = "enumerate"
    elementwise: bool = False
    states: int = 0
    partly_observed: bool = False


@dataclass(frozen=True, slots=True)
class LogIntegral:
    """log of the integral over Gaussian latents of exp(body): the rule `gaussian_marginal`.

    `names` are eliminated jointly, in generative order; `children` are the linear-Gaussian sites that read them and
    whose joint marginal density is the result. `body` holds exactly their factors.
    """

    names: tuple[str, ...]
    children: tuple[str, ...]
    body: Term


@dataclass(frozen=True, slots=True)
class FreeEnergy:
    """-F(v) = log sum_h exp(-E(v, h)), h finite units in which E is affine: the rule `energy_marginal`."""

    names: tuple[str, ...]
    visible: tuple[str, ...]
    site: str


@dataclass(frozen=True, slots=True)
class ContrastiveGradient:
    """E_{p}[d E] - E_{positive}[d E]: the gradient of -log Z minus the positive phase; the gradient of no function.

    `site` is the unnormalized density; `sampler` its chain; `positive` is what stands on the data side; `hidden` are
    the units that `energy_marginal` sums, so that E is the free energy of the rest.
    """

    site: str
    sampler: Expression | None
    positive: Draw
    negative: Draw
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoiseLadder:
    """Several smoothing noises, sigma_k = sigma (smallest / sigma)^(k / (levels - 1)), one drawn for each datum.

    Attributes:
        levels: how many; 1 for sigma alone.
        smallest: the last of them; None for one.
        power: each weighs sigma_k^power.
        level: the constant site of the model that takes sigma_k's value, so that the energy can read it.
    """

    levels: int = 1
    smallest: float | None = None
    power: float = 0.0
    level: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreMatching:
    """A Fisher-divergence objective: `kind` is `denoising sliced implicit explicit`.

    `sigma` and `ladder` are the smoothing noises of `denoising`, `projections` the number of random directions of
    `sliced`, `density` the site whose density the data have, for `explicit`.
    """

    site: str
    kind: str
    sigma: float | Expression | None = None
    projections: int = 1
    ladder: NoiseLadder | None = None
    density: str | None = None


@dataclass(frozen=True, slots=True)
class NoiseContrast:
    """Logistic discrimination of data against `ratio` draws of a normalized noise site (Gutmann and Hyvarinen 2012).

    `ranking`: which of a datum and its own draws is the datum (Ma and Collins 2018); log Z falls out of it.
    """

    site: str
    noise: str
    ratio: int = 1
    ranking: bool = False


@dataclass(frozen=True, slots=True)
class DenoisingTerm:
    """E_{t, eps} w(t) || target - network(x_t, t) ||^2: a diffusion's regression, reweighted unless `vlb`."""

    site: str
    weighting: str


@dataclass(frozen=True, slots=True)
class VelocityRegression:
    """E_{t, x0, x1} || field(x_t, t) - d x_t / dt ||^2: flow matching along a path from base to data.

    Attributes:
        site: the image of the base.
        path: `linear`: x_t = (1 - t) x0 + t x1; `variance_preserving`: cos(pi t / 2) x0 + sin(pi t / 2) x1.
        coupling: how base and data are paired: `independent` or `optimal_transport` within each batch.
    """

    site: str
    path: str
    coupling: str = "independent"


@dataclass(frozen=True, slots=True)
class Conjugate:
    """sup_T E_p[T] - E_q[f*(T)]: the variational bound of an f-divergence, or the Kantorovich dual.

    Attributes:
        divergence: a key of `dgmppl.objectives.divergences.DIVERGENCES`.
        critic: index of the critic in `Program.critics`.
        reads: the sites that are swapped.
        player: `critic` (ascends) or `model` (descends, `variant` says how: `saturating` or `non_saturating`).
        positive, negative: where the two sides' values come from: `data` (latents from the guide) and `model` (latents
            from the prior); for a density ratio `guide` and `prior`.
        options: what the term was given besides (`fake`, `source`, a `penalty` that is a constraint).
        joint: latents are swapped too, so that the model moves the positive side by its guide's draws.
    """

    divergence: str
    critic: int
    reads: tuple[str, ...]
    player: str
    variant: str = ""
    positive: str = "data"
    negative: str = "model"
    options: tuple[tuple[str, Expression], ...] = ()
    joint: bool = False


@dataclass(frozen=True, slots=True)
class DensityRatio:
    """E_q[log q(z|x) - log p(z)], estimated by a critic because a density is missing (AVB; on z alone: aggregates)."""

    critic: int
    reads: tuple[str, ...]
    aggregate: bool


@dataclass(frozen=True, slots=True)
class Penalty:
    """A regularizer of a critic: `gradient(10)`, `r1`, `r2`, as a call, at the two sides of its dual."""

    critic: int
    penalty: Expression
    dual: Conjugate | None = None


@dataclass(frozen=True, slots=True)
class Supervision:
    """log q(site | ...) on the rows in which the data hold it."""

    site: str
    given: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Squared:
    """The square of one datum's value: least where an estimate whose mean is fixed varies least."""

    term: Term


@dataclass(frozen=True, slots=True)
class LogPrior:
    """(1/N) log p(parameters): their share of the log joint, per datum; `names` in generative order."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogPosterior:
    """(1/N) log q(parameters): the variational posterior of the parameters, per datum."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogNormalizer:
    """log Z of an unnormalized density: what a value lacks."""

    site: str


Term: TypeAlias = (
    LogDensity | Sum | Scale | Expectation | LogMeanExp | KL | LogSum | LogIntegral | FreeEnergy | ContrastiveGradient
    | ScoreMatching | NoiseContrast | DenoisingTerm | VelocityRegression | Conjugate | DensityRatio | Penalty
    | Supervision | Squared | LogPrior | LogPosterior | LogNormalizer
)  # fmt: skip


def walk(term: Term) -> Iterator[Term]:
    """The term and all terms below it, outermost first."""
    yield term
    for part in fields(term):
        value = getattr(term, part.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Term.__args__):
                yield from walk(child)
