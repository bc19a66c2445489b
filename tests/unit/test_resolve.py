"""Names, roles and density nodes; no result may depend on how anything is called."""

from __future__ import annotations

import pytest

from dgmppl.data import describe
from dgmppl.errors import SpecError
from dgmppl.ir.densities import (
    Density,
    Deterministic,
    DiffusionChain,
    Elementary,
    Factorized,
    FlatPrior,
    Implicit,
    Learned,
    MarkovChain,
    MixtureOf,
    Pushforward,
    Restricted,
    TrainedDensity,
    Unnormalized,
)
from dgmppl.ir.expressions import Apply, Literal, Name, text
from dgmppl.ir.program import IndexKind, Program, Role
from dgmppl.passes import resolve
from dgmppl.spec.reader import read

DATA = "data: {obs: {shape: [6], support: real}, ctx: {shape: [3], support: real}, grp: [a, b, b]}\n"
NETS = "networks: {f: 'mlp([5])', g: 'mlp([5])', m: 'made([5])'}\nbijectors: {b: 'affine()'}\n"


def program(body: str, data: str = DATA) -> Program:
    spec = read(f"dgmppl: 1\nname: test\n{data}{NETS}{body}")
    return resolve(spec, describe(spec.data))


def model(line: str, before: str = "") -> Density:
    found = program(f"model:\n  e: Normal(0, 1, shape=6)\n{before}  {line}\n")
    density = found.by_name["obs"].density
    assert density is not None
    return density


def codes(body: str, data: str = DATA) -> list[str]:
    with pytest.raises(SpecError) as raised:
        program(body, data)
    return [problem.code for problem in raised.value.diagnostics]


def test_roles() -> None:
    found = program(
        "parameters:\n  p: Normal(0, 1)\n  q: learned(positive())\n  r: 2 * p\nmodel:\n  e: Normal(0, 1, shape=6)\n"
        "  h: p + e\n  obs: Normal(h, q)\nguide:\n  n: Normal(0, 1)\n  e: f(obs, n)\n"
    )
    assert {site.name: site.role for site in found.sites} == {
        "ctx": Role.COVARIATE,
        "grp": Role.COVARIATE,
        "p": Role.PARAMETER,
        "q": Role.LEARNED,
        "r": Role.DETERMINISTIC,
        "e": Role.LATENT,
        "h": Role.DETERMINISTIC,
        "obs": Role.OBSERVED,
    }
    assert [(site.name, site.role) for site in found.guide] == [("n", Role.GUIDE), ("e", Role.GUIDE)]
    assert isinstance(found.guide_by_name["e"].density, Implicit)


def test_parents_are_in_order_of_appearance() -> None:
    found = program(
        "parameters: {p: 'Normal(0, 1)'}\nmodel:\n  e: Normal(0, 1, shape=6)\n  obs: Normal(f(ctx, e) + p, 1)\n"
    )
    assert found.by_name["obs"].parents == ("ctx", "e", "p")


def test_parameters_are_matched_by_position_and_name() -> None:
    density = model("obs: Normal(scale=2, loc=e)")
    assert isinstance(density, Elementary)
    assert [(name, text(value)) for name, value in density.parameters] == [("loc", "e"), ("scale", "2")]


def test_defaults_are_filled_in() -> None:
    density = model("obs: StudentT(4)")
    assert isinstance(density, Elementary)
    assert density.parameter("scale") == Literal(1.0)


def test_heads_fill_what_is_not_given() -> None:
    density = model("obs: StudentT(df=4, **f(e))")
    assert isinstance(density, Elementary)
    assert density.parameter("loc") == Apply("f", (Name("e"),), head="loc")
    assert density.parameter("df") == Literal(4)


def test_a_bare_network_has_a_single_output() -> None:
    density = model("obs: Normal(f(e), 1)")
    assert isinstance(density, Elementary)
    assert density.parameter("loc") == Apply("f", (Name("e"),))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("obs: b(e)", Pushforward),
        ("obs: exp(e)", Pushforward),
        ("obs: f(e)", Implicit),
        ("obs[i]: Normal(m(obs[:i]), 1)", Factorized),
        ("obs[t]: Normal(0.5 * obs[t-1], 1)", MarkovChain),
        ("obs: Energy(f)", Unnormalized),
        ("obs: Energy(sum(square(obs)))", Unnormalized),
        ("obs: Positive(f, link=square)", Unnormalized),
        ("obs: Diffusion(f, ctx, steps=10)", DiffusionChain),
        ('obs: Trained("runs/other", given=e)', TrainedDensity),
        ("obs: Truncated(Normal(e, 1), low=-1)", Restricted),
        ("obs: Mixture(Normal, components=3, **f(e))", MixtureOf),
        ("obs: ZeroInflated(Poisson(exp(e)), gate=0.5)", MixtureOf),
    ],
)
def test_right_hand_sides(line: str, kind: type[Density]) -> None:
    assert isinstance(model(line), kind)


def test_parameters_section() -> None:
    found = program(
        "parameters:\n  p: learned(normal(3, scale=0.1))\n  q: learned(-2.5)\n  r: Flat(0, 1 - exp(-1))\n"
        "  s[grp]: Normal(sum(p), 1)\nmodel:\n  e: Normal(q + r, 1)\n"
        "  obs: Normal(s[grp] + e, 1)\n"
    )
    assert found.by_name["p"].density == Learned("normal", (3,), 0.1)
    assert found.by_name["q"].density == Learned("constant", (), -2.5)
    flat = found.by_name["r"].density
    assert isinstance(flat, FlatPrior)
    assert flat.high is not None
    assert (found.by_name["s"].index, found.by_name["s"].level) == (IndexKind.LEVEL, "grp")
    assert found.levels == {"grp": ("a", "b")}


def test_a_chain_joins_its_lines() -> None:
    found = program(
        "model:\n  z[0]: Normal(0, 1)\n  z[1]: Normal(0, 1)\n  z[k]: Normal(z[k-1] - z[k-2], 1)\n"
        "  obs[k]: Normal(z[k], 1)\n"
    )
    chain = found.by_name["z"].density
    assert isinstance(chain, MarkovChain)
    assert ([position for position, _ in chain.initial], chain.index, chain.lag) == ([0, 1], "k", 2)
    emission = found.by_name["obs"].density
    assert isinstance(emission, MarkovChain)
    assert emission.lag == 0


def test_a_joint_site_is_one_density() -> None:
    found = program("model:\n  (obs, h): 'Energy(f(obs, h), support={h: binary(4)})'\n")
    assert found.by_name["obs"].density is found.by_name["h"].density
    assert found.by_name["h"].joint == ("obs", "h")
    assert found.by_name["h"].shape_hint == (4,)


def test_canonical_paths_of_steps() -> None:
    spec = read(
        "dgmppl: 1\nname: t\n" + DATA + "bijectors:\n"
        "  p: repeat(2, [coupling(mlp([4]), affine()), reverse()])\n"
        "  q: [actnorm(), repeat(2, lu_linear())]\nmodel:\n  e: Normal(0, 1)\n  h: q(e)\n"
        "  obs: p(h)\n"
    )
    found = resolve(spec, describe(spec.data))
    assert [step.path for step in found.bijectors["p"].steps] == ["p.0.0", "p.0.1", "p.1.0", "p.1.1"]
    assert [step.path for step in found.bijectors["q"].steps] == ["q.0", "q.1.0.0", "q.1.1.0"]


def test_train_settings() -> None:
    found = program(
        "model:\n  e: Normal(0, 1)\n  obs: Normal(f(e), 1)\n"
        "train: {optimizers: {f: sgd(0.1)}, batch_size: all, epochs: 3, schedule: cosine(warmup=10), seed: 4}\n"
    )
    train = found.train
    assert (train.batch_size, train.steps, train.epochs, train.seed) == (None, None, 3, 4)
    assert text(train.optimizers["f"]) == "sgd(0.1)"


def test_all_errors_at_once_in_order() -> None:
    assert codes("parameters:\n  p: Normal(zz, 1)\nmodel:\n  e: Normall(0, 1)\n  obs: Normal(e, 1, 2)\n") == [
        "unknown-name",
        "unknown-function",
        "wrong-arguments",
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("model:\n  obs: Normal(e, 1)\n  e: Normal(0, 1)\n", "use-before-definition"),
        ("model:\n  e: Normal(e, 1)\n  obs: Normal(e, 1)\n", "self-reference"),
        ("model:\n  z[t]: Normal(z[t-1], 1)\n  obs[t]: Normal(z[t], 1)\n", "chain-without-start"),
        ("model:\n  obs[i]: Normal(f(obs[:i]), 1)\n", "not-causal"),
        ("model:\n  obs: 2 * ctx\n", "observed-not-random"),
        ("model:\n  e: Normal(0, 1)\n  obs: 3 * e - 1\n", "invertible-expression"),
        ("parameters: {s[ctx]: 'Normal(0, 1)'}\nmodel:\n  obs: Normal(0, 1)\n", "not-a-level"),
        ("parameters: {s[grp]: 'Normal(0, 1)'}\nmodel:\n  obs: Normal(s, 1)\n", "level-without-index"),
        (
            "model:\n  e: Normal(0, 1)\n  obs: Normal(e, 1)\nguide:\n  e: Normal(v, 1)\n  v: Normal(0, 1)\n",
            "use-before-definition",
        ),
        ("model:\n  e: Normal(0, 1)\n  obs: Normal(e, 1)\ntrain: {optimizer: adamm(1e-3)}\n", "unknown-choice"),
        ("model:\n  e: Normal(0, 1)\n  obs: Normal(e, 1)\nobjective: elbo() + iwae(k=4)\n", "unknown-argument"),
    ],
)
def test_refusals(body: str, code: str) -> None:
    assert code in codes(body)


def test_sums_of_noise_are_implicit() -> None:
    assert isinstance(model("obs: e + w", before="  w: Gamma(1, 1, shape=6)\n"), Implicit)


def test_a_computed_latent_is_deterministic() -> None:
    found = program("model:\n  e: Normal(0, 1)\n  h: 2 * e\n  obs: Normal(h, 1)\n")
    assert isinstance(found.by_name["h"].density, Deterministic)
