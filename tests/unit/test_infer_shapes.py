"""Shapes in both directions: by hand for constructs and for the specs of the zoo."""

from __future__ import annotations

from pathlib import Path

import pytest

from dgmppl.data import describe
from dgmppl.ir.densities import MixtureOf
from dgmppl.ir.program import Program, Role
from dgmppl.passes import infer, resolve
from dgmppl.spec.reader import read

ZOO = Path(__file__).parents[2] / "specs"


def program(text: str) -> Program:
    spec = read(f"dgmppl: 1\nname: test\n{text}")
    return infer(resolve(spec, describe(spec.data)))


def shape(found: Program, name: str) -> tuple[int, ...]:
    return found.by_name[name].typed.shape


def heads(found: Program, network: str) -> list[tuple[str, tuple[int, ...], str]]:
    return [(head.name, head.shape, head.support.kind) for head in found.networks[network].heads]


def inputs(found: Program, network: str) -> list[tuple[int, ...]]:
    return [part.shape for part in found.networks[network].inputs]


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("vae", {"z": (16,), "x": (64,)}),
        ("gmm", {"weights": (3,), "loc": (3, 4), "k": (), "x": (4,)}),
        ("ppca", {"W": (64, 8), "z": (8,), "x": (64,), "sigma": ()}),
        ("eight_schools", {"theta": (), "y": (), "mu": ()}),
        ("ss_vae", {"y": (), "z": (16,), "x": (64,)}),
        ("hierarchical_vae", {"z2": (8,), "z1": (16,), "x": (64,)}),
        ("vae_flow_prior", {"e": (16,), "z": (16,)}),
        ("realnvp", {"z": (64,), "x": (64,)}),
        ("pixelcnn", {"x": (8, 8)}),
        ("transformer", {"x": (128,)}),
        ("deep_markov", {"z": (40, 4), "x": (40, 3)}),
        ("hmm", {"z": (50,), "x": (50,), "move": (3, 3)}),
        ("lotka_volterra", {"theta": (4,), "path": (21, 2), "y": (21, 2)}),
        ("rbm", {"v": (64,), "h": (32,)}),
        ("radon", {"a": (), "uranium": (), "log_radon": ()}),
        ("latent_diffusion", {"z": (16,), "x": (64,)}),
        ("nce", {"u": (2,), "noise": (2,), "x": (2,)}),
    ],
)
def test_zoo(spec: str, shapes: dict[str, tuple[int, ...]]) -> None:
    written = read(ZOO / f"{spec}.yaml")
    found = infer(resolve(written, describe(written.data)))
    assert {name: shape(found, name) for name in shapes} == shapes


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_spec_of_the_zoo_is_typed(path: Path) -> None:
    written = read(path)
    found = infer(resolve(written, describe(written.data)))
    assert all(site.type is not None for site in (*found.sites, *found.guide))


def test_broadcast_parameters_give_the_shape() -> None:
    found = program(
        "data: {v: {shape: [], support: real}}\nparameters:\n  a: Normal(zeros(4), 1)\n"
        "  b: Normal(zeros(4), 1, shape=4)\n"
        "  c: Dirichlet([1, 1, 1], shape=10)\n  d: Normal(0, 1, shape=[])\nmodel:\n"
        "  v: Normal(sum(a) + sum(b) + sum(c) + d, 1)\n"
    )
    assert [shape(found, name) for name in "abcd"] == [(4,), (4,), (10, 3), ()]


def test_a_network_takes_the_shape_expected_through_broadcasting() -> None:
    found = program(
        "data: {out: {shape: [6], support: real}, ctx: {shape: [3], support: real}}\n"
        "networks: {f: 'mlp([5])'}\n"
        "parameters: {bias: learned(zeros(6))}\nmodel:\n  out: Normal(bias + 2 * f(ctx), 1)\n"
    )
    assert heads(found, "f") == [("out", (6,), "real")]
    assert inputs(found, "f") == [(3,)]


def test_contraction_fixes_a_networks_width() -> None:
    found = program(
        "data: {q: {shape: [6], support: real}, ctx: {shape: [3], support: real}}\n"
        "networks: {f: 'mlp([5])'}\n"
        "parameters: {A: 'learned(normal(6, 2))'}\nmodel:\n  q: Normal(A @ f(ctx), 1)\n"
    )
    assert heads(found, "f") == [("out", (2,), "real")]


def test_a_computed_site_takes_its_readers_shape() -> None:
    found = program(
        "data: {obs: {shape: [6], support: real}}\nnetworks: {f: 'mlp([5])'}\nmodel:\n"
        "  code: Normal(0, 1, shape=2)\n  centre: f(code)\n  obs: Normal(centre, 1)\n"
    )
    assert shape(found, "centre") == (6,)


def test_a_bijector_equates_base_and_image() -> None:
    found = program(
        "data: {obs: {shape: [7], support: real}}\n"
        "bijectors: {g: 'repeat(2, [coupling(mlp([5]), spline(bins=4)), reverse()])'}\n"
        "model:\n  base: Normal(0, 1)\n  obs: g(base)\n"
    )
    assert shape(found, "base") == (7,)
    conditioner = found.bijectors["g"].steps[0].conditioner
    assert conditioner is not None
    assert conditioner.name == "g.0.0.conditioner"
    assert [part.shape for part in conditioner.inputs] == [(3,)]
    assert [(head.name, head.shape) for head in conditioner.heads] == [
        ("widths", (4, 4)),
        ("heights", (4, 4)),
        ("derivatives", (4, 3)),
    ]


def test_context_reaches_every_conditioner() -> None:
    found = program(
        "data: {obs: {shape: [4], support: real}, c: {shape: [2], support: real}}\n"
        "bijectors: {g: 'repeat(2, [autoregressive(made([5]), affine())])'}\nmodel:\n"
        "  e: Normal(0, 1)\n  obs: g(e, c)\n"
    )
    for step in found.bijectors["g"].steps:
        assert step.conditioner is not None
        assert [part.shape for part in step.conditioner.inputs] == [(4,), (2,)]


def test_element_parameters_are_appended_in_a_factorization() -> None:
    found = program(
        "data: {tok: {shape: [9], support: integer(5)}, c: {shape: [2], support: real}}\n"
        "networks: {n: 'made([8])'}\n"
        "model:\n  tok[j]: Categorical(logits=n(tok[:j], c))\n"
    )
    assert heads(found, "n") == [("logits", (9, 5), "real")]
    assert inputs(found, "n") == [(9,), (2,)]


def test_mixture_density_network_has_a_head_for_each_parameter() -> None:
    found = program(
        "data: {obs: {shape: [6], support: real}, c: {shape: [2], support: real}}\n"
        "networks: {n: 'mlp([8])'}\n"
        "model:\n  obs: Mixture(Normal, components=4, **n(c))\n"
    )
    assert heads(found, "n") == [
        ("mixture_logits", (6, 4), "real"),
        ("loc", (6, 4), "real"),
        ("scale", (6, 4), "positive"),
    ]


def test_given_mixture_counts_its_components() -> None:
    found = program(
        "data: {obs: {shape: [], support: real}}\nparameters:\n  w: learned(simplex(3))\n"
        "  m: learned(normal(3))\n"
        "model:\n  obs: Mixture(Normal, weights=w, loc=m, scale=1)\n"
    )
    density = found.by_name["obs"].density
    assert isinstance(density, MixtureOf)
    assert density.count == 3


def test_joint_mixture_has_its_components_first() -> None:
    found = program(
        "data: {obs: {shape: [2], support: real}}\nparameters:\n  w: learned(simplex(3))\n"
        "  m: learned(normal(3, 2))\n"
        "model:\n  obs: Mixture(Normal, weights=w, loc=m, scale=1, joint=true)\n"
    )
    assert shape(found, "obs") == (2,)


def test_covariance_from_a_cholesky_factor() -> None:
    found = program(
        "data: {obs: {shape: [3], support: real}}\nparameters:\n  L: LKJCholesky(3, 2)\n"
        "  tau: HalfNormal(1, shape=3)\n"
        "  S: diag(tau) @ L\nmodel:\n  obs: MultivariateNormal(zeros(3), scale_tril=S)\n"
    )
    assert shape(found, "L") == (3, 3)
    assert found.by_name["S"].typed.support.kind == "cholesky"


def test_multivariate_heads() -> None:
    found = program(
        "data: {obs: {shape: [3], support: real}}\nnetworks: {n: 'mlp([8])'}\nmodel:\n"
        "  e: Normal(0, 1, shape=2)\n"
        "  obs: MultivariateNormal(**n(e))\n"
    )
    assert heads(found, "n") == [("loc", (3,), "real"), ("scale_tril", (3, 3), "cholesky")]


def test_time_enters_last_and_embedded() -> None:
    found = program(
        "data: {obs: {shape: [3], support: real}, c: {shape: [2], support: real}}\n"
        "networks: {n: 'mlp([8], time=embedding(16))'}\nmodel:\n"
        "  obs: Diffusion(n, c, schedule=cosine(), steps=10)\n"
    )
    assert inputs(found, "n") == [(3,), (2,), (16,)]
    assert heads(found, "n") == [("out", (3,), "real")]


def test_chains_share_their_length() -> None:
    found = program(
        "data: {obs: {shape: [12, 3], support: real}}\nnetworks: {f: 'mlp([4])', g: 'mlp([4])'}\nmodel:\n"
        "  s[0]: Normal(0, 1, shape=2)\n  s[n]: Normal(f(s[n-1]), 0.1)\n"
        "  obs[n]: Normal(g(s[n]), 1)\n"
    )
    assert shape(found, "s") == (12, 2)
    assert heads(found, "g") == [("loc", (3,), "real")]


def test_a_computed_recursion_reads_the_series_before_its_line() -> None:
    found = program(
        "data: {r: {shape: [30], support: real}}\nparameters:\n  a: HalfNormal(1)\n"
        "  b: Beta(2, 2)\nmodel:\n"
        "  v[0]: a\n  v[t]: a + b * square(r[t-1])\n  r[t]: Normal(0, sqrt(v[t]))\n"
    )
    assert found.by_name["v"].typed.support.kind == "positive"
    assert shape(found, "v") == (30,)
    assert found.by_name["v"].role is Role.DETERMINISTIC


def test_chained_indexing_of_a_level() -> None:
    found = program(
        "data: {item: [p, p, q, q], s: [1, 0, 1, 1]}\nparameters:\n"
        "  ab[item]: Normal(0, 1, shape=2)\nmodel:\n"
        "  s: Bernoulli(logits=ab[item][0] + ab[item][1])\n"
    )
    assert shape(found, "ab") == (2,)
    assert found.by_name["ab"].typed.plate == "item"


def test_masks_enter_networks_beside_missing_inputs() -> None:
    found = program(
        "data:\n  u: [[1.5, null], [0.5, 2.5], [null, 1.5]]\n  v: [1.5, 2.5, 0.5]\n"
        "networks: {f: 'mlp([4])'}\n"
        "model:\n  v: Normal(f(u), 1)\n"
    )
    assert inputs(found, "f") == [(2,), (2,)]


def test_inline_learned_parameters_of_the_guide() -> None:
    found = program(
        "data: {obs: {shape: [3], support: real}}\nparameters: {mu: 'Normal(0, 1, shape=3)'}\n"
        "model:\n  obs: Normal(mu, 1)\n"
        "guide:\n  mu: Normal(learned(zeros(3)), learned(positive(3)))\ninfer: svi()\n"
    )
    assert {site.name: site.role for site in found.guide} == {
        "guide.mu.loc": Role.LEARNED,
        "guide.mu.scale": Role.LEARNED,
        "mu": Role.GUIDE,
    }


def test_local_functions_are_inlined_where_they_are_called() -> None:
    found = program(
        "data: {obs: {shape: [], support: real}}\nparameters: {k: 'Normal(0, 1)'}\nmodel:\n"
        "  twice(q): 2 * q\n"
        "  obs: Normal(twice(k), 1)\n"
    )
    assert found.by_name["obs"].parents == ("k",)


def test_an_ordered_prior() -> None:
    found = program(
        "data: {obs: {shape: [], support: real}}\nparameters: {c: 'Ordered(Normal(0, 1), shape=3)'}\n"
        "model:\n  obs: Normal(c[0], 1)\n"
    )
    assert shape(found, "c") == (3,)
    assert found.by_name["c"].typed.support.kind == "ordered"


def test_parameters_of_a_bijector() -> None:
    found = program(
        "data: {obs: {shape: [4], support: real}}\nbijectors: {g: '[actnorm(), coupling(mlp([5]), affine())]'}\n"
        "model:\n  e: Normal(0, 1)\n  obs: g(e)\n"
    )
    parameters = found.bijectors["g"].parameters
    assert {part.group for part in parameters} == {"g"}
    assert [(part.name, part.shape) for part in parameters] == [
        ("g.0.shift", (4,)),
        ("g.0.log_scale", (4,)),
        ("g.1.conditioner.layers.0.weight", (5, 2)),
        ("g.1.conditioner.layers.0.bias", (5,)),
        ("g.1.conditioner.layers.1.weight", (4, 5)),
        ("g.1.conditioner.layers.1.bias", (4,)),
    ]
    assert [part.init.kind for part in parameters[-2:]] == ["constant", "constant"]
