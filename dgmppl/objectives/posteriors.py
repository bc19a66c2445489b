"""Random parameters: the log joint, or a bound on its evidence, and the one player who owns everything unknown."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.expressions import Call, Expression
from dgmppl.objectives.algebra import Draw, Expectation, LogPosterior, LogPrior, Scale, Sum, Term
from dgmppl.objectives.bounds import BoundOptions, guided_latents, likelihood, unnormalized
from dgmppl.objectives.contributions import Contribution, Share, model_groups
from dgmppl.objectives.derivation import Direction, PlayerTerm
from dgmppl.objectives.requests import problem
from dgmppl.objectives.state import State, total
from dgmppl.objectives.structure import random_parameters

_TERMS_OF_ENGINE = {
    "svi": "Stochastic VI maximizes a lower bound on the log evidence: it descends the mode-seeking KL(q ‖ posterior).",
    "laplace": "Laplace's method: a Gaussian at the posterior's mode; exact for Gaussian posteriors only.",
    "map": "The posterior's mode is a point, not a posterior, and it moves under reparametrization.",
    "sgld": "Stochastic-gradient Langevin dynamics accepts every step, on rows whose likelihood counts N/B times: "
    "the draws are approximate, too wide by a share that falls with the step size.",
    "sghmc": "Stochastic-gradient HMC accepts every step, on rows whose likelihood counts N/B times: "
    "the draws are approximate, too wide by a share that falls with the step size.",
}
_SOURCES = {"sgld": ("Welling and Teh 2011",), "sghmc": ("Chen, Fox and Guestrin 2014",)}


def joint_latents(state: State) -> tuple[str, ...]:
    """Latents that stay in the log joint."""
    return tuple(name for name, rule in state.eliminated.items() if rule == "joint")


def log_joint(state: State) -> Term:
    """The log likelihood, or its bound, with the latents that stay in it, plus the parameters' share of their prior."""
    names = random_parameters(state.structure.program)
    body = likelihood(state, BoundOptions(normalizers=True))
    return total([body, LogPrior(names)]) if names else body


def posterior(state: State, engine: Call) -> Share:
    """What an engine targets: the log joint, or under `svi` the evidence lower bound."""
    lacking = [name for name in unnormalized(state) if name not in state.structure.guided]
    if lacking or not state.factors:
        what = f"log Z of {lacking[0]} depends on the parameters" if lacking else "the data have samples, no density"
        raise problem(
            "posterior-without-density",
            f"{engine.function} needs log p(data | parameters), but {what}",
            engine.span,
            fix="make the parameters `learned(...)`, and leave `infer` out",
        )
    names = random_parameters(state.structure.program)
    owns = model_groups(state.structure) | set(names) | set(joint_latents(state))
    if engine.function == "svi":
        term = PlayerTerm(_evidence(state, names), "(1/N) log p(data)", Direction.LOWER)
    else:
        direction = Direction.LOWER if guided_latents(state) else Direction.EQUAL
        term = PlayerTerm(Scale(-1.0, log_joint(state)), "(1/N) log p(data, unknowns)", direction)
    status = "lower_bound" if engine.function == "svi" else "log_joint"
    note = _TERMS_OF_ENGINE.get(engine.function)
    sources = _SOURCES.get(engine.function, ())
    return Share(status, None, (Contribution("posterior", owns, (term,)),), (note,) if note else (), sources)


def _evidence(state: State, names: tuple[str, ...]) -> Term:
    """-E_{q(parameters)}[log p(data | parameters) + log p(parameters) - log q(parameters)], per datum."""
    body = likelihood(state, BoundOptions(normalizers=True))
    if not names:
        return Scale(-1.0, body)
    draws = tuple(Draw(name, "guide") for name in names)
    parts = Sum(
        (*(body.terms if isinstance(body, Sum) else (body,)), LogPrior(names), Scale(-1.0, LogPosterior(names)))
    )
    return Scale(-1.0, Expectation(draws, parts))


def with_prior(state: State, share: Share, engine: Expression | None) -> Share:
    """A spec's own objective, with the parameters' prior added and everything random owned by `posterior`."""
    names = random_parameters(state.structure.program)
    drawn = isinstance(engine, Call) and engine.function == "svi"
    draws = tuple(Draw(name, "guide") for name in names) if drawn else ()
    body: Term = Sum((LogPrior(names), Scale(-1.0, LogPosterior(names)))) if drawn else LogPrior(names)
    estimates = "−(1/N) KL(q ‖ p) of the parameters" if drawn else "(1/N) log p(parameters)"
    prior = PlayerTerm(Scale(-1.0, _drawn(draws, body)), estimates, Direction.EQUAL)
    owned = frozenset(names) | set(joint_latents(state))
    parts = [
        Contribution("posterior", part.owns | owned, _terms(draws, part.terms), part.every)
        if part.player == "model"
        else part
        for part in share.contributions
    ]
    parts.append(Contribution("posterior", owned, (prior,)))
    return Share(share.status, share.divergence, tuple(parts), share.notes, share.references)


def _drawn(draws: tuple[Draw, ...], body: Term) -> Term:
    return Expectation(draws, body) if draws else body


def _terms(draws: tuple[Draw, ...], terms: tuple[PlayerTerm, ...]) -> tuple[PlayerTerm, ...]:
    """The terms under draws of the parameters; a term without a value is a gradient at the present draw already."""
    return tuple(
        replace(term, expression=Scale(term.expression.factor, _drawn(draws, term.expression.term)))
        if isinstance(term.expression, Scale)
        else term
        for term in terms
    )
