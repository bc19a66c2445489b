"""Spectral normalization of critics: weights divided by their largest singular values, whose directions are state."""

from __future__ import annotations

from collections.abc import Iterable

from dgmppl.ir.kernel import Assign, Noise, NoiseEntry, SpectralNorm, StateEntry, Value, Var
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.program import Program
from dgmppl.lowering.layout import op
from dgmppl.lowering.scope import Scope
from dgmppl.objectives.algebra import Conjugate, walk
from dgmppl.objectives.contributions import critic_groups
from dgmppl.objectives.derivation import Player
from dgmppl.objectives.requests import called


def constrained(term: Conjugate) -> bool:
    """Whether a dual's critic is normalized."""
    return called(dict(term.options).get("penalty")) == "spectral"


def normalize(scope: Scope, term: Conjugate) -> None:
    """Puts normalized networks in the place of a critic's own; the critic's player carries the directions on."""
    for name in critic_networks(scope.program, term):
        if name in scope.replaced:
            continue
        own = scope.use_group(name)
        weights = _weights(scope.program, name)
        directions = tuple((weight.name.removeprefix(f"{name}."), StateEntry(_entry(weight))) for weight in weights)
        network, turned = scope.fresh(f"normalized_{name}"), scope.fresh(f"{name}_directions")
        scope.statements.append(Assign((network, turned), SpectralNorm(own, directions)))
        scope.replaced[name] = network
        if term.player != "critic":
            continue
        for weight, (key, _) in zip(weights, directions, strict=True):
            scope.updates[_entry(weight)] = op("entry", Var(turned), key=key)


def initial_directions(scope: Scope, players: Iterable[Player]) -> dict[str, Value]:
    """Where the power iterations begin, by the entry of the run's state: a random direction for each weight."""
    found: dict[str, Value] = {}
    terms = (node for player in players for part in player.terms for node in walk(part.expression))
    for term in terms:
        if not isinstance(term, Conjugate) or not constrained(term):
            continue
        for name in critic_networks(scope.program, term):
            for weight in _weights(scope.program, name):
                found[_entry(weight)] = NoiseEntry(_entry(weight))
                noise = Noise(_entry(weight), "normal", weight.shape[:1], plate=None)
                if noise not in scope.noise:
                    scope.noise.append(noise)
    return found


def critic_networks(program: Program, term: Conjugate) -> tuple[str, ...]:
    """The networks of a critic, in the order of the spec."""
    groups = critic_groups(program, term.critic)
    return tuple(name for name in program.networks if name in groups)


def _weights(program: Program, network: str) -> tuple[ParameterSpec, ...]:
    """The trained matrices and kernels of a network."""
    return tuple(spec for spec in program.networks[network].parameters if len(spec.shape) > 1 and spec.trainable)


def _entry(weight: ParameterSpec) -> str:
    """The entry of the run's state that holds a weight's direction."""
    return f"{weight.name}.direction"
