"""Questions about the graph, and lints."""

from __future__ import annotations

from pathlib import Path

from dgmppl.data import describe
from dgmppl.ir.expressions import Name
from dgmppl.ir.pretty import pretty
from dgmppl.ir.program import Program
from dgmppl.passes import infer, resolve
from dgmppl.passes.analyses import ancestors, has_observed_descendant, independent, is_affine
from dgmppl.passes.lints import lint
from dgmppl.spec.reader import read

ZOO = Path(__file__).parents[2] / "specs"


def program(body: str) -> Program:
    spec = read(f"dgmppl: 1\nname: test\n{body}")
    return infer(resolve(spec, describe(spec.data)))


CHAIN = (
    "data: {obs: {shape: [2], support: real}}\n"
    "model:\n  a: Normal(0, 1, shape=2)\n  b: Normal(a, 1)\n  h: 2 * b\n  obs: Normal(h, 1)\n"
)


def test_affine_through_computed_sites() -> None:
    found = program(CHAIN)
    assert is_affine(found, Name("h"), ["b"])
    squared = program(CHAIN.replace("2 * b", "b * b"))
    assert not is_affine(squared, Name("h"), ["b"])


def test_ancestors() -> None:
    assert ancestors(program(CHAIN), Name("h")) == {"h", "b", "a"}


def test_independence() -> None:
    found = program(CHAIN)
    assert independent(found, ["a"], ["obs"], ["b"])
    assert not independent(found, ["a"], ["obs"], [])
    collider = program(
        "data: {obs: {shape: [], support: real}}\nmodel:\n  u: Normal(0, 1)\n  v: Normal(0, 1)\n"
        "  obs: Normal(u + v, 1)\n"
    )
    assert independent(collider, ["u"], ["v"], [])
    assert not independent(collider, ["u"], ["v"], ["obs"])


def test_independence_where_chains_read_each_other() -> None:
    found = program(
        "data: {r: {shape: [9], support: real}}\n"
        "parameters: {k: HalfNormal(1), l: HalfNormal(1)}\nmodel:\n"
        "  v[0]: k\n  v[t]: k + square(r[t-1])\n  r[t]: Normal(l, v[t])\n"
    )
    assert independent(found, ["k"], ["l"], [])
    assert not independent(found, ["k"], ["l"], ["r"])


def test_a_potential_couples_its_variables() -> None:
    found = program(
        "data: {p: {shape: [4], support: binary}}\nparameters: {W: 'learned(normal(4, 3))'}\nmodel:\n"
        "  (p, q): 'Energy(-dot(p, W @ q), support={q: binary(3)})'\n"
    )
    assert not independent(found, ["p"], ["q"], [])
    assert has_observed_descendant(found, "q")


def codes(found: Program) -> list[str]:
    return [warning.code for warning in lint(found)]


def test_unused_names() -> None:
    found = program(
        "data: {obs: [0.5, 1.5], idle: [1.5, 2.5]}\n"
        "parameters: {m: 'Normal(0, 1)', k: 'Normal(0, 1)'}\n"
        "model:\n  d: Normal(0, 1)\n  obs: Normal(m, 1)\n"
    )
    assert sorted(codes(found)) == ["dead-site", "unused-column", "unused-parameter"]


def test_scale_can_collapse() -> None:
    mixture = (
        "data: {obs: {shape: [], support: real}}\nparameters:\n  w: learned(simplex(2))\n  m: learned(normal(2))\n"
        "  s: learned(positive(2))\nmodel:\n  k: Categorical(probs=w)\n  obs: Normal(m[k], s[k])\n"
    )
    assert codes(program(mixture)) == ["scale-can-collapse"]
    assert codes(program(mixture.replace("learned(positive(2))", "HalfNormal(1, shape=2)"))) == []


def test_lints_of_the_zoo() -> None:
    """Reviewed: each of these warnings is true of its spec, and no other spec of the zoo gets any."""
    found = {}
    for path in sorted(ZOO.glob("*.yaml")):
        written = read(path)
        warnings = codes(infer(resolve(written, describe(written.data))))
        if warnings:
            found[path.stem] = warnings
    assert found == {
        "deep_markov": ["scale-can-collapse"],
        "gmm": ["scale-can-collapse"],
        "hmm": ["scale-can-collapse"],
        "ppca": ["discrete-as-continuous"],
    }


def test_pretty_is_stable_text() -> None:
    assert pretty(program(CHAIN)) == (
        "program test\n"
        "  rows: bound at run time\n"
        "  model\n"
        "    a: [2] real in real per data latent ~ Normal(loc=0, scale=1)\n"
        "    b: [2] real in real per data latent ~ Normal(loc=a, scale=1)\n"
        "    h: [2] real in real per data deterministic = 2 * b\n"
        "    obs: [2] real in real per data observed ~ Normal(loc=h, scale=1)\n"
    )
