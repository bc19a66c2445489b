"""Random composites: prior x guide x likelihood x transform, names drawn anew, so that nothing can key on a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_SYLLABLES = ("ka", "lo", "mi", "ru", "te", "vo", "sha", "ni", "por", "qu", "zen", "wu")


@dataclass(frozen=True)
class Composite:
    """A drawn model.

    Attributes:
        spec: what is compiled.
        title: its choices, for the test's name.
        column: the observed variable.
        exact: no guide is needed: log p is exact.
    """

    spec: dict[str, Any]
    title: str
    column: str
    exact: bool


def _names(generator: np.random.Generator, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        name = "".join(generator.choice(_SYLLABLES, 3)) + "_" + str(generator.integers(10, 99))
        if name not in found:
            found.append(name)
    return found


def _likelihoods(net: str, arguments: str) -> dict[str, tuple[str, str]]:
    """Name -> (the observed site's expression, the kind of data that it needs)."""
    return {
        "bernoulli": (f"Bernoulli(logits={net}({arguments}))", "binary"),
        "normal": (f"Normal({net}({arguments}), 0.7)", "real"),
        "normal-heads": (f"Normal(**{net}({arguments}))", "real"),
        "laplace": (f"Laplace({net}({arguments}), 1.3)", "real"),
        "student": (f"StudentT(4.0, {net}({arguments}), 0.9)", "real"),
        "poisson": (f"Poisson({net}({arguments}))", "count"),
        "gamma": (f"Gamma(**{net}({arguments}))", "positive"),
        "categorical": (f"Categorical(logits={net}({arguments}))", "classes"),
    }


def _data(generator: np.random.Generator, kind: str, transform: str) -> dict[str, Any]:
    rows, width = 12, 4
    match kind:
        case "binary":
            values: Any = generator.integers(0, 2, (rows, width)).tolist()
            return {"values": values, "support": "binary"}
        case "count":
            return {"values": generator.poisson(2.0, (rows, width)).tolist(), "support": "count"}
        case "classes":
            return {"values": generator.integers(0, 3, (rows, width)).tolist(), "support": "integer(3)"}
        case "positive":
            return {
                "values": (generator.gamma(2.0, 1.0, (rows, width)) + 0.01).round(4).tolist(),
                "support": "positive",
            }
    entry: dict[str, Any] = {"values": (generator.normal(size=(rows, width)) + 0.3).round(4).tolist()}
    if transform != "none":
        entry["transform"] = "standardize()"
    return entry


def _priors(a: str, b: str, top: str) -> dict[str, tuple[dict[str, str], tuple[str, ...], str]]:
    """Name -> (model sites, continuous latents that need a guide, what the decoder reads)."""
    return {
        "normal": ({a: "Normal(0, 1, shape=3)"}, (a,), a),
        "shifted": ({a: "Normal(0.4, 1.7, shape=3)"}, (a,), a),
        "laplace": ({a: "Laplace(0, 1, shape=3)"}, (a,), a),
        "hierarchy": ({b: "Normal(0, 1, shape=2)", a: f"Normal(**{top}({b}), shape=3)"}, (b, a), a),
        "mixture": (
            {b: "Categorical(probs=[0.2, 0.5, 0.3])", a: f"Normal({top}(one_hot({b}, 3)), 0.8, shape=3)"},
            (a,),
            a,
        ),
        "pair": ({a: "Normal(0, 1, shape=3)", b: "Normal(0, 2)"}, (a, b), f"{a}, {b}"),
        "discrete": ({b: "Categorical(logits=[0.1, -0.4, 0.7, 0.0])"}, (), f"one_hot({b}, 4)"),
        "bits": ({b: "Bernoulli(0.3)", a: "Normal(0, 1, shape=3)"}, (a,), f"{a}, {b}"),
    }


def draw(seed: int) -> Composite:
    """The composite of a seed."""
    generator = np.random.default_rng(seed)
    x, a, b, net, top, first, second = _names(generator, 7)
    prior_name = list(_priors(a, b, top))[seed % 8]
    sites, guided, reads = _priors(a, b, top)[prior_name]
    table = _likelihoods(net, reads)
    likelihood_name = str(generator.choice(list(table)))
    expression, kind = table[likelihood_name]
    transform = str(generator.choice(["none", "standardize"])) if kind == "real" else "none"
    guide_name = str(generator.choice(["independent", "structured", "left out"])) if guided else "none"
    networks = {net: "mlp([7], activation=tanh)"}
    if any(f"{top}(" in value for value in sites.values()):
        networks[top] = "mlp([5], activation=silu)"
    data = _data(generator, kind, transform)
    spec: dict[str, Any] = {
        "dgmppl": 1,
        "name": "composite",
        "data": {x: data},
        "networks": networks,
        "model": {**sites, x: expression},
    }
    if guide_name in {"independent", "structured"}:
        spec["guide"] = {}
        for place, (name, network) in enumerate(zip(guided, (first, second), strict=False)):
            networks[network] = "mlp([6], activation=elu)"
            given = [x, *guided[:place]] if guide_name == "structured" else [x]
            spec["guide"][name] = f"Normal(**{network}({', '.join(given)}))"
    return Composite(spec, f"{seed}-{prior_name}-{guide_name}-{likelihood_name}-{transform}", x, not guided)
