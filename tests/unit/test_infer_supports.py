"""Supports: what is provable, what data show, and what must be refused."""

from __future__ import annotations

import pytest

from dgmppl.data import describe
from dgmppl.errors import SpecError
from dgmppl.ir.program import Program
from dgmppl.ir.types import POSITIVE, UNIT, Support
from dgmppl.passes import infer, resolve
from dgmppl.spec.reader import read

HEAD = "dgmppl: 1\nname: test\ndata: {obs: [0.5, 1.5, 2.5], c: [3, 4, 5], w: [-0.5, 0.5, 0.25]}\n"
UNKNOWNS = "parameters:\n  p: Normal(0, 1)\n  q: HalfNormal(1)\n  u: Beta(1, 1)\n  s: learned(simplex(3))\n"


def program(model: str, head: str = HEAD + UNKNOWNS) -> Program:
    spec = read(f"{head}model:\n{model}")
    return infer(resolve(spec, describe(spec.data)))


def codes(model: str, head: str = HEAD + UNKNOWNS) -> list[str]:
    with pytest.raises(SpecError) as raised:
        program(model, head)
    return [problem.code for problem in raised.value.diagnostics]


@pytest.mark.parametrize(
    "scale",
    [
        "q",
        "exp(p)",
        "softplus(p)",
        "2 * q",
        "q / 3",
        "q ** 2",
        "square(p) + 0.1",
        "sqrt(q)",
        "q + u",
        "c",
        "1 + u",
        "checked(p, positive)",
        "where(p > 0, q, 2)",
        "maximum(p, 0.1)",
        "clip(p, 0.1, 4)",
        "-(-2)",
    ],
)
def test_provably_positive(scale: str) -> None:
    assert program(f"  obs: Normal(0, {scale})\n")


@pytest.mark.parametrize(
    "scale", ["p", "q - 1", "square(p)", "u - 0.5", "-q", "p * q", "w", "0", "relu(p)", "log(q)", "q / p"]
)
def test_not_provably_positive(scale: str) -> None:
    assert codes(f"  obs: Normal(0, {scale})\n") == ["unprovable-support"]


@pytest.mark.parametrize(
    "probs", ["s", "softmax(log(s))", "ones(4) / 4", "[0.5, 0.25, 0.25]", "checked(zeros(3), simplex)"]
)
def test_simplexes(probs: str) -> None:
    found = program(f"  k: Categorical(probs={probs})\n  obs: Normal(k, 1)\n")
    assert found.by_name["k"].typed.support.kind == "integer"


@pytest.mark.parametrize("probs", ["[0.5, 0.6]", "ones(3)", "s + 0.1", "s[0:2]"])
def test_not_a_simplex(probs: str) -> None:
    assert "unprovable-support" in codes(f"  k: Categorical(probs={probs})\n  obs: Normal(k, 1)\n")


def test_computed_supports() -> None:
    found = program("  a: exp(p)\n  b: sigmoid(p)\n  obs: Normal(a * b, 1)\n")
    assert (found.by_name["a"].typed.support, found.by_name["b"].typed.support) == (POSITIVE, UNIT)


def test_bounds_of_a_uniform() -> None:
    found = program("  e: Uniform(-1, 3)\n  obs: Normal(e, 1)\n")
    assert found.by_name["e"].typed.support == Support("interval", low=-1.0, high=3.0)


def test_an_image_under_a_bijector() -> None:
    found = program(
        "  e: Normal(0, 1)\n  g: push(e)\n  obs: Exponential(g)\n",
        HEAD + UNKNOWNS + "bijectors: {push: '[affine(), exp()]'}\n",
    )
    assert found.by_name["g"].typed.support == POSITIVE


def test_heads_are_constrained_by_their_parameter() -> None:
    found = program(
        "  e: Normal(0, 1)\n  obs: Gamma(f(e), g(e))\n", HEAD + "networks: {f: 'mlp([3])', g: 'linear()'}\n"
    )
    assert [found.networks[name].heads[0].support for name in "fg"] == [POSITIVE, POSITIVE]


def test_data_outside_the_support_are_named() -> None:
    with pytest.raises(SpecError) as raised:
        program("  w: Exponential(1)\n  obs: Normal(p, 1)\n")
    assert "the value -0.5 in row 1" in str(raised.value)


def test_zero_and_one_fit_bernoulli_and_two_classes() -> None:
    head = "dgmppl: 1\nname: t\ndata: {bit: [0, 1, 1], two: {shape: [], support: integer(2)}}\n"
    assert program("  bit: Bernoulli(0.5)\n  two: Bernoulli(0.5)\n", head)
    assert program("  bit: Categorical(probs=[0.5, 0.5])\n  two: Categorical(probs=[0.5, 0.5])\n", head)


def test_data_fix_the_number_of_classes() -> None:
    found = program("  c: Categorical(logits=f(w))\n", HEAD + "networks: {f: 'mlp([3])'}\n")
    assert found.networks["f"].heads[0].shape == (6,)


def test_an_implicit_guide_lies_in_its_latents_support() -> None:
    found = program(
        "  e: Gamma(1, 1)\n  obs: Normal(e, 1)\nguide:\n  n: Normal(0, 1)\n  e: f(obs, n)\n",
        HEAD + "networks: {f: 'mlp([3])'}\n",
    )
    assert found.networks["f"].heads[0].support == POSITIVE


def test_a_guide_outside_of_the_support_is_refused() -> None:
    assert codes("  e: Gamma(1, 1)\n  obs: Normal(e, 1)\nguide:\n  e: Normal(0, 1)\n") == ["guide-support"]


def test_two_signatures_are_refused() -> None:
    networks = HEAD + "networks: {f: 'mlp([3])'}\n"
    assert codes("  e: Normal(0, 1, shape=2)\n  d: Normal(0, 1)\n  obs: Normal(f(e) + f(d), 1)\n", networks) == [
        "two-signatures"
    ]


def test_a_width_that_nothing_determines() -> None:
    networks = HEAD + "networks: {f: 'mlp([3])', g: 'mlp([3])'}\n"
    assert codes("  e: Normal(0, 1)\n  h: f(e)\n  obs: Normal(g(h), 1)\n", networks) == ["undetermined-width"]
    sized = networks.replace("f: 'mlp([3])'", "f: 'mlp([3], out=7)'")
    assert program("  e: Normal(0, 1)\n  h: f(e)\n  obs: Normal(g(h), 1)\n", sized).by_name["h"].typed.shape == (7,)
