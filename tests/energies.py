"""Specs of energies that tests share, their data, and machines small enough to be summed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from dgmppl.compiler import Compilation, compile_spec

ROWS = 6


def spec(model: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {"dgmppl": 1, "name": "energy", "model": model, **sections}


def real(objective: str | None = None, **sections: Any) -> dict[str, Any]:
    """A network's energy over pairs of reals."""
    given = {} if objective is None else {"objective": objective}
    return spec(
        {"x": "Energy(potential, base=Normal(0, 2))"},
        data={"x": {"shape": [2], "support": "real"}},
        networks={"potential": "mlp([5], activation=softplus)"},
        evaluate={"log_z": "ais(temperatures=9, chains=64)"},
        **given,
        **sections,
    )


def machine(objective: str, visible: int = 4, hidden: int = 3, states: str = "binary") -> dict[str, Any]:
    """A restricted Boltzmann machine."""
    units = {"binary": "binary({})"}.get(states, states)
    support = f"{{v: {states if states != 'binary' else 'binary'}, h: {units.format(hidden)}}}"
    energy = f"Energy(-(dot(b, v) + dot(c, h) + dot(v, W @ h)), support={support})"
    return spec(
        {"(v, h)": energy},
        data={"v": {"shape": [visible], "support": "binary"}},
        parameters={
            "W": f"learned(normal({visible}, {hidden}, scale=0.5))",
            "b": f"learned(zeros({visible}))",
            "c": f"learned(zeros({hidden}))",
        },
        objective=objective,
        evaluate={"log_z": "ais(temperatures=9, chains=64)"},
    )


def lattice(objective: str) -> dict[str, Any]:
    """A quadratic energy over thirteen units of three values."""
    return spec(
        {"x": "Energy(-(dot(b, x) + dot(x, J @ x)))"},
        data={"x": {"shape": [13], "support": "integer(3)"}},
        parameters={"J": "learned(normal(13, 13, scale=0.2))", "b": "learned(zeros(13))"},
        objective=objective,
    )


def with_noise(ratio: int = 1) -> dict[str, Any]:
    return {
        **real(f"noise_contrastive(noise=noise, ratio={ratio})"),
        "bijectors": {"cover": ["affine()"]},
        "model": {"u": "Normal(0, 2, shape=2)", "noise": "cover(u)", "x": "Energy(potential, base=Normal(0, 2))"},
    }


def conditional_on_noise(objective: str) -> dict[str, Any]:
    """A network's energy that reads the noise's level, a constant of the model."""
    return {**real(objective), "model": {"tau": "0.05", "x": "Energy(potential, tau, base=Normal(0, 2))"}}


def known_density() -> dict[str, Any]:
    model = {"truth": "Normal(0.5, 1.5, shape=2)", "x": "Energy(potential, base=Normal(0, 2))"}
    return {**real("explicit_score_matching(density=truth)"), "model": model}


PAIR = "0.5 * sum(square(a)) + 0.5 * sum(square(b)) - 0.4 * a[0] * b[0] + w * sum(cos(b))"


def pair(objective: str | None = None, **sections: Any) -> dict[str, Any]:
    """One energy of two observed sites, three reals."""
    given = {} if objective is None else {"objective": objective}
    return spec(
        {"(a, b)": f"Energy({PAIR}, base=Normal(0, 1))"},
        data={"a": {"shape": [1], "support": "real"}, "b": {"shape": [2], "support": "real"}},
        parameters={"w": "learned(normal())"},
        **given,
        **sections,
    )


def binary_pair(objective: str, first: int) -> dict[str, Any]:
    """One energy of two observed sites of binary units."""
    return spec(
        {"(a, b)": f"Energy(-dot(a, W @ b), support={{a: binary({first}), b: binary(2)}})"},
        data={"a": {"shape": [first], "support": "binary"}, "b": {"shape": [2], "support": "binary"}},
        parameters={"W": f"learned(normal({first}, 2))"},
        objective=objective,
    )


def bounded(support: str, base: str | None, objective: str = "denoising_score_matching()") -> dict[str, Any]:
    """A network's energy on a bounded support."""
    return spec(
        {"x": "Energy(potential)" if base is None else f"Energy(potential, base={base})"},
        data={"x": {"shape": [2], "support": support}},
        networks={"potential": "mlp([5], activation=softplus)"},
        objective=objective,
        evaluate={"log_z": "ais(temperatures=9, chains=64)"},
    )


def latent(prior: str, networks: dict[str, str] | None = None, **sections: Any) -> dict[str, Any]:
    return spec(
        {"z": prior, "x": "Normal(**decoder(z))"},
        data={"x": {"shape": [3], "support": "real"}},
        networks={"encoder": "mlp([4])", "decoder": "mlp([4])", **(networks or {})},
        guide={"z": "Normal(**encoder(x))"},
        **sections,
    )


def rows_of(compiled: Compilation, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    generator, batch = np.random.default_rng(seed), {}
    for name, column in compiled.program.columns.items():
        states = column.support.states if column.support is not None else None
        shape = (rows, *column.shape)
        if states is None:
            real = generator.normal(size=shape)
            kind = "real" if column.support is None else column.support.kind
            batch[name] = {"positive": np.exp(real), "unit": 1.0 / (1.0 + np.exp(-real))}.get(kind, real)
        else:
            batch[name] = generator.integers(states, size=shape)
    return batch


def quadratic(objective: str) -> Compilation:
    """E(x) = x^T P x / 2 with a free matrix P."""
    return compile_spec(
        spec(
            {"x": "Energy(0.5 * dot(x, P @ x))"},
            data={"x": {"shape": [2], "support": "real"}},
            parameters={"P": "learned(normal(2, 2))"},
            objective=objective,
        )
    )


def bits(count: int) -> np.ndarray:
    return np.array(list(itertools.product(range(2), repeat=count)), float)


def joint(values: dict[str, np.ndarray], v: np.ndarray, h: np.ndarray) -> np.ndarray:
    """log p~(v, h) of every pair, [.., V, H]."""
    return (v @ values["b"])[:, None] + (h @ values["c"])[None] + v @ values["W"] @ h.T
