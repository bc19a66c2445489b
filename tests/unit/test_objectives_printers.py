"""What is printed: stable keys, both notations for every term, and nothing that depends on a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dgmppl.ir.expressions import Call, Literal
from dgmppl.objectives.algebra import (
    KL,
    Conjugate,
    ContrastiveGradient,
    DenoisingTerm,
    DensityRatio,
    Draw,
    Expectation,
    FreeEnergy,
    LogDensity,
    LogIntegral,
    LogMeanExp,
    LogNormalizer,
    LogPosterior,
    LogPrior,
    LogSum,
    NoiseContrast,
    Penalty,
    Scale,
    ScoreMatching,
    Squared,
    Sum,
    Supervision,
    Term,
    VelocityRegression,
)
from dgmppl.objectives.printers import explain, explain_text, latex, text, to_dict
from tests.deriving import completed, derive

SPECS = Path(__file__).parents[2] / "specs"
X, Z, Q = LogDensity("x", ("z",), "model"), LogDensity("z", (), "model"), LogDensity("z", ("x",), "guide")
DATA, CHAIN = Draw("x", "data"), Draw("x", "sampler")

# term -> its Unicode form
TERMS: tuple[tuple[Term, str], ...] = (
    (X, "log p(x|z)"),
    (LogDensity("noise", (), "model", at="x"), "log p_noise(x)"),
    (LogDensity("z", (), "model", "unnormalized"), "log p̃(z)"),
    (LogDensity("x", ("c",), "model", "diffusion_bound"), "VLB(x|c)"),
    (LogDensity("v", (), "model", names=("v", "h")), "log p(v, h)"),
    (KL(Q, Z, True), "KL(q(z|x) ‖ p(z))"),
    (Sum((X, Scale(-1.0, Q), Scale(-0.5, KL(Q, Z, True)))), "log p(x|z) − log q(z|x) − 0.5 · KL(q(z|x) ‖ p(z))"),
    (Scale(-1.0, Sum((X, Z))), "−[log p(x|z) + log p(z)]"),
    (Expectation((Draw("z", "guide", ("x",)),), X), "E_{q(z|x)}[log p(x|z)]"),
    (LogMeanExp(4, X), "log (1/4) ∑ₖ exp[log p(x|z)]"),
    (LogSum(("z",), X), "log ∑_{z} exp[log p(x|z)]"),
    (LogIntegral(("z",), ("x",), Sum((X, Z))), "log ∫ exp[log p(x|z) + log p(z)] dz"),
    (FreeEnergy(("h",), ("v",), "v"), "log ∑_{h} exp(−E(v, h))"),
    (ContrastiveGradient("x", None, DATA, CHAIN), "E_{p_data(x)}[∇_θ E(x)] − E_{p(x)}[∇_θ E(x)]"),
    (ScoreMatching("x", "denoising", 0.1), "½ E‖∇log p(x + 0.1ε) + ε/0.1‖²"),
    (ScoreMatching("x", "sliced"), "E[vᵀ∇(vᵀ∇log p(x)) + ½ (vᵀ∇log p(x))²]"),
    (ScoreMatching("x", "implicit"), "E[tr ∇∇log p(x) + ½ ‖∇log p(x)‖²]"),
    (NoiseContrast("x", "u"), "−E_{p_data}[log σ(log p(x) − log p_u(x))] − E_{u}[log σ(−(log p(x) − log p_u(x)))]"),
    (DenoisingTerm("x", "simple"), "E_{t,ε}[w_simple(t) ‖target − net(xₜ, t)‖²]"),
    (VelocityRegression("x", "linear"), "E_{t,x₀,x₁}‖field(xₜ, t) − (x₁ − x₀)‖²"),
    (Conjugate("js", 0, ("x",), "critic"), "E_{p_data}[T(x)] − E_{p}[f*(T(x))]"),
    (Conjugate("wasserstein", 0, ("x",), "critic"), "E_{p_data}[T(x)] − E_{p}[T(x)]"),
    (Conjugate("js", 1, ("x",), "model", "non_saturating"), "−E_{p}[T₁(x)]"),
    (
        Conjugate("js", 0, ("x", "z"), "model", "non_saturating", joint=True),
        "E_{p_data q}[f*(T(x, z))] − E_{p}[T(x, z)]",
    ),
    (Conjugate("least_squares", 0, ("x",), "critic"), "E_{p_data}[1 − 2 (T(x) − 1)²] − E_{p}[2 T(x)²]"),
    (Conjugate("hinge", 0, ("x",), "critic"), "E_{p_data}[min(T(x), 1)] − E_{p}[max(T(x), −1)]"),
    (Conjugate("hinge", 0, ("x",), "model", "non_saturating"), "−E_{p}[T(x)]"),
    (DensityRatio(0, ("z",), True), "log r(z)"),
    (Penalty(0, Call("gradient", (Literal(10),))), "gradient(10) on T"),
    (Supervision("y", ("x",)), "log q(y|x)"),
    (Squared(Scale(-1.0, X)), "E[(−log p(x|z))²]"),
    (LogPrior(("a", "b")), "(1/N) log p(a, b)"),
    (LogPosterior(("a",)), "(1/N) log q(a)"),
    (LogNormalizer("x"), "log Z_x"),
)


@pytest.mark.parametrize(("term", "expected"), TERMS, ids=[type(term).__name__ for term, _ in TERMS])
def test_unicode(term: Term, expected: str) -> None:
    assert text(term) == expected


@pytest.mark.parametrize("term", [term for term, _ in TERMS], ids=[type(term).__name__ for term, _ in TERMS])
def test_latex_is_ascii_and_balanced(term: Term) -> None:
    printed = latex(term)
    assert printed.isascii(), printed
    assert printed.count("{") == printed.count("}")
    assert printed.count(r"\left") == printed.count(r"\right")


@pytest.mark.parametrize("term", [term for term, _ in TERMS], ids=[type(term).__name__ for term, _ in TERMS])
def test_data_are_json(term: Term) -> None:
    data = to_dict(term)
    assert isinstance(data, dict)
    assert data["node"] == type(term).__name__
    assert json.loads(json.dumps(data)) == data


def test_explanation_has_the_promised_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS.parent)
    program = completed("specs/rbm.yaml")
    facts = explain(program, derive(program))
    promised = {
        "name", "backend_support", "factorization", "status", "divergence", "objective", "rules", "capabilities",
        "parameters", "references", "discrete_log_prob", "notes", "why_not",
    }  # fmt: skip
    assert promised <= set(facts)
    assert set(facts["capabilities"]) == {"log_prob", "sample", "posterior"}
    (player,) = facts["objective"]["players"]
    assert set(player) == {"name", "owns", "every", "terms"}
    (term,) = player["terms"]
    assert {"text", "estimates", "direction", "role", "value_unbiased", "gradient_unbiased"} <= set(term)
    assert term["value"] is None
    assert facts["parameters"] == 64 * 32 + 64 + 32


RENAMED = """
data: {{{x}: {{shape: [64], support: binary}}, {y}: {{shape: [], support: real}}}}
parameters: {{{w}: learned(simplex(5)), {m}: "learned(normal(5, 8))", {s}: HalfNormal(1)}}
networks: {{{f}: "mlp([32])", {g}: "mlp([16])"}}
model:
  {k}: Categorical(probs={w})
  {z}: Normal({m}[{k}], 1)
  {x}: Bernoulli(logits={f}({z}))
  {y}: Normal({g}({z}), {s})
infer: svi()
"""
LETTERS = "xywmsfgkz"


def explained(names: dict[str, str]) -> str:
    program = completed(RENAMED.format(**names))
    derivation = derive(program)
    return json.dumps(explain(program, derivation), ensure_ascii=False) + explain_text(program, derivation)


def test_nothing_keys_on_a_name() -> None:
    first = {letter: f"qq{letter}qq" for letter in LETTERS}
    second = {letter: f"qq{other}qq" for letter, other in zip(LETTERS, reversed(LETTERS), strict=True)}
    expected, found = explained(first), explained(second)
    for letter in LETTERS:
        expected = expected.replace(first[letter], f"<{letter}>")
        found = found.replace(second[letter], f"<{letter}>")
    assert found == expected
