"""Composites: what is eliminated exactly, what stays under the guide, and how the pieces nest."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from dgmppl.errors import NoObjectiveError, SpecError
from dgmppl.objectives.algebra import KL, Expectation, LogDensity, LogIntegral, LogSum, Term, walk
from dgmppl.objectives.printers import objective_text
from tests.deriving import completed, derive, derived, objective

MIXTURE_PRIOR = """
data: {x: {shape: [64], support: binary}}
parameters: {w: learned(simplex(5)), m: "learned(normal(5, 8))"}
networks: {encoder: "mlp([32])", decoder: "mlp([32])"}
model:
  k: Categorical(probs=w)
  z: Normal(m[k], 1)
  x: Bernoulli(logits=decoder(z))
"""
GUIDE = """
guide:
  z: Normal(**encoder(x))
"""
FACTOR_ANALYSERS = """
data: {x: {shape: [6], support: real}}
parameters: {w: learned(simplex(3)), W: "learned(normal(3, 6, 2))", mu: "learned(normal(3, 6))", s: learned(positive())}
model:
  k: Categorical(probs=w)
  z: Normal(0, 1, shape=2)
  x: Normal(mu[k] + W[k] @ z, s)
"""
PPCA = """
data: {x: {shape: [20], support: real}}
networks: {encoder: "mlp([8])"}
parameters: {W: "learned(normal(20, 3))", s: learned(positive())}
model:
  z: Normal(0, 1, shape=3)
  h: W @ z
  x: Normal(h, s)
"""
FLOW_PRIOR = """
data: {x: {shape: [20], support: binary}}
networks: {encoder: "mlp([8])", decoder: "mlp([8])"}
bijectors: {flow: "repeat(2, [coupling(mlp([8]), affine()), reverse()])"}
model:
  u: Normal(0, 1, shape=4)
  z: flow(u)
  x: Bernoulli(logits=decoder(z))
"""


def terms(text: str) -> list[Term]:
    return list(walk(derived(text).objective.players[0].terms[0].expression))


def only(found: list[Term], kind: type) -> Term:
    (term,) = [term for term in found if isinstance(term, kind)]
    return term


def test_discrete_prior_is_summed_inside_the_expectation() -> None:
    assert objective(MIXTURE_PRIOR + GUIDE) == (
        "E_{q(z|x)}[log p(x|z) + log ∑_{k} exp[log p(k) + log p(z|k)] − log q(z|x)]"
    )


def test_discrete_prior_without_a_guide() -> None:
    program = completed(MIXTURE_PRIOR.replace('encoder: "mlp([32])", ', ""))
    assert [(site.name, site.parents) for site in program.guide] == [("z", ("x",))]
    assert dict(derive(program).eliminated) == {"k": "enumerate", "z": "variational"}


def test_mixture_of_factor_analysers_is_exact() -> None:
    derivation = derived(FACTOR_ANALYSERS)
    assert derivation.status == "exact"
    found = terms(FACTOR_ANALYSERS)
    outer, inner = only(found, LogSum), only(found, LogIntegral)
    assert any(term is inner for term in walk(outer))
    assert [term.site for term in walk(inner) if isinstance(term, LogDensity)] == ["x", "z"]


def test_linear_gaussian_through_a_deterministic_site() -> None:
    text = PPCA.replace('networks: {encoder: "mlp([8])"}', "")
    assert derived(text).eliminated == {"z": "gaussian_marginal"}


def test_a_nonlinear_likelihood_is_not_integrated() -> None:
    text = PPCA.replace('networks: {encoder: "mlp([8])"}', "").replace("W @ z", "tanh(W @ z)")
    assert derived(text).eliminated == {"z": "variational"}


def test_declared_guide_switches_the_exact_rule_off() -> None:
    derivation = derived(PPCA + GUIDE)
    assert derivation.eliminated == {"z": "variational"}
    assert any(entry.rule == "gaussian_marginal" and "switches it off" in entry.why for entry in derivation.refusals)


def test_linear_chain_is_a_kalman_filter() -> None:
    text = """
data: {x: {shape: [30, 2], support: real}}
parameters: {A: "learned(normal(3, 3))", C: "learned(normal(2, 3))", q: learned(positive()), r: learned(positive())}
model:
  z[0]: Normal(0, 1, shape=3)
  z[t]: Normal(A @ z[t-1], q)
  x[t]: Normal(C @ z[t], r)
"""
    assert derived(text).eliminated == {"z": "gaussian_marginal"}
    assert derived(text).status == "exact"


def test_two_discrete_latents_share_one_elimination() -> None:
    text = """
data: {x: {shape: [], support: real}}
parameters: {w: learned(simplex(3)), v: "learned(simplex(3, 4))", m: "learned(normal(3, 4))"}
model:
  a: Categorical(probs=w)
  b: Categorical(probs=v[a])
  x: Normal(m[a][b], 1)
"""
    assert objective(text) == "log ∑_{b, a} exp[log p(x|a, b) + log p(b|a) + log p(a)]"


@pytest.mark.parametrize(("mean", "one_by_one"), [("m[k]", True), ("sum(m[k]) + zeros(5)", False)])
def test_independent_elements_are_summed_one_by_one(mean: str, one_by_one: bool) -> None:
    text = f"""
data: {{x: {{shape: [5], support: real}}}}
parameters: {{w: learned(simplex(3)), m: learned(normal(3))}}
model:
  k: Categorical(probs=w, shape=5)
  x: Normal({mean}, 1)
"""
    total = only(terms(text), LogSum)
    assert isinstance(total, LogSum)
    assert (total.elementwise, total.states) == ((True, 3) if one_by_one else (False, 3**5))


@pytest.mark.parametrize(("guided", "expected"), [
    ("u", "E_{q(u|x)}[log p(x|u)] − KL(q(u|x) ‖ p(u))"),
    ("z", "E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]"),
])  # fmt: skip
def test_a_guide_may_name_base_or_image(guided: str, expected: str) -> None:
    assert objective(FLOW_PRIOR + GUIDE.replace("z:", f"{guided}:")) == expected


def test_a_guide_may_not_name_both() -> None:
    with pytest.raises(SpecError) as error:
        derived(FLOW_PRIOR + GUIDE + "  u: Normal(**encoder(x))\n")
    assert [problem.code for problem in error.value.diagnostics] == ["guide-names-both"]


def test_flow_posterior_is_scored_by_change_of_variables() -> None:
    text = FLOW_PRIOR.replace("  u: Normal(0, 1, shape=4)\n  z: flow(u)", "  z: Normal(0, 1, shape=4)")
    found = terms(text + "\nguide:\n  u: Normal(**encoder(x))\n  z: flow(u)\n")
    (posterior,) = [term for term in found if isinstance(term, LogDensity) and term.section == "guide"]
    assert (posterior.site, posterior.given, posterior.rule) == ("z", ("x",), "change_of_variables")
    assert not any(isinstance(term, KL) for term in found)


EXPLAINING_AWAY = """
data: {x: {shape: [5], support: real}}
networks: {decoder: "mlp([16, 8])"}
model:
  a: Normal(0, 1, shape=2)
  b: Normal(0, 1, shape=3)
  x: Normal(decoder(a, b), 1)
"""


def test_explaining_away_is_kept() -> None:
    program = completed(EXPLAINING_AWAY)
    assert [(site.name, site.parents) for site in program.guide] == [("a", ("x",)), ("b", ("a", "x"))]
    assert program.networks["guide.a"].options["hidden"] == (8, 16)
    assert objective_text(derive(program).objective) == (
        "E_{q(a|x) q(b|a, x)}[log p(x|a, b) − KL(q(b|a, x) ‖ p(b))] − KL(q(a|x) ‖ p(a))"
    )


def test_divergence_only_where_the_prior_reads_nothing_sampled_later() -> None:
    """p(a) p(b|a) under q(b|x) q(a|b): the prior of b reads a, which the guide samples after b."""
    text = """
data: {x: {shape: [5], support: real}}
networks: {decoder: "mlp([8])", first: "mlp([8])", second: "mlp([8])", top: "mlp([8])"}
model:
  a: Normal(0, 1, shape=2)
  b: Normal(top(a), 1, shape=3)
  x: Normal(decoder(b), 1)
guide:
  b: Normal(**first(x))
  a: Normal(**second(b))
"""
    divergences = [term for term in terms(text) if isinstance(term, KL)]
    assert [term.posterior.site for term in divergences] == ["a"]
    guide = text.index("  b: Normal(**first(x))")
    turned = text[:guide] + "  a: Normal(**first(x))\n  b: Normal(**second(a, x))\n"
    divergences = [term for term in terms(turned) if isinstance(term, KL)]
    assert sorted(term.posterior.site for term in divergences) == ["a", "b"]


@pytest.mark.parametrize(("prior", "posterior", "closed"), [
    ("Normal(0, 1, shape=3)", "Normal(**encoder(x))", True),
    ("Laplace(0, 1, shape=3)", "Laplace(**encoder(x))", True),
    ("Laplace(0, 1, shape=3)", "Normal(**encoder(x))", False),
    ("Gamma(1, 1, shape=3)", "Gamma(**encoder(x))", True),
    ("Gamma(1, 1, shape=3)", "LogNormal(**encoder(x))", False),
    ("Beta(1, 1, shape=3)", "Beta(**encoder(x))", True),
    ("StudentT(4, 0, 1, shape=3)", "Normal(**encoder(x))", False),
])  # fmt: skip
def test_closed_form_divergences(prior: str, posterior: str, closed: bool) -> None:
    text = f"""
data: {{x: {{shape: [5], support: real}}}}
networks: {{decoder: "mlp([8])", encoder: "mlp([8])"}}
model:
  z: {prior}
  x: Normal(decoder(z), 1)
guide:
  z: {posterior}
"""
    assert any(isinstance(term, KL) for term in terms(text)) is closed


BINARY = """
data: {{x: {{shape: [20], support: binary}}}}
networks: {{decoder: "mlp([8])", encoder: "mlp([8])"}}
model:
  h: Bernoulli(logits=zeros({size}))
  x: Bernoulli(logits=decoder(h))
guide:
  h: Bernoulli(logits=encoder(x))
"""


@pytest.mark.parametrize(("size", "estimator", "particles"), [(10, "enumerate", 1), (30, "score_function", 2)])
def test_discrete_guides_are_summed_while_their_states_are_few(size: int, estimator: str, particles: int) -> None:
    expectation = only(terms(BINARY.format(size=size)), Expectation)
    assert isinstance(expectation, Expectation)
    assert ([draw.estimator for draw in expectation.draws], expectation.particles) == ([estimator], particles)


def test_missing_labels_are_summed_without_a_guide(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("row,y\n1,0\n2,\n3,2\n4,1\n")
    text = f"""
data: {{x: {{shape: [4], support: real}}, y: {{file: {tmp_path}/d.csv, column: y, support: integer(3)}}}}
parameters: {{w: learned(simplex(3)), m: "learned(normal(3, 4))"}}
model:
  y: Categorical(probs=w)
  x: Normal(m[y], 1)
"""
    total = only(terms(text), LogSum)
    assert isinstance(total, LogSum)
    assert total.partly_observed
    assert derived(text).status == "exact"


def test_small_energies_are_normalized_by_summation() -> None:
    text = """
data: {v: {shape: [4], support: binary}}
parameters: {W: "learned(normal(4, 3))"}
model:
  (v, h): "Energy(-dot(v, W @ h), support={v: binary, h: binary(3)})"
"""
    assert derived(text).status == "exact"
    assert objective(text) == "log ∑_{h} exp[log p(v, h)]"


def test_default_engine() -> None:
    bayesian = """
data: {x: {shape: [], support: real}}
parameters: {m: Normal(0, 1), s: HalfNormal(1)}
model:
  x: Normal(m, s)
"""
    derivation = derived(bayesian)
    assert derivation.engine is not None
    assert (derivation.engine.function, derivation.objective.status) == ("nuts", "log_joint")  # type: ignore[union-attr]
    assert any("`infer` is left out" in note for note in derivation.notes)
    point = derived(bayesian.replace("HalfNormal(1)", "learned(positive())"))
    assert (point.engine.function, point.objective.status) == ("svi", "lower_bound")  # type: ignore[union-attr]


def test_chain_without_an_exact_rule_needs_a_guide() -> None:
    with pytest.raises(SpecError, match=r"auto\(markov\)"):
        derived("""
data: {x: {shape: [40, 3], support: real}}
networks: {f: "mlp([8])", g: "mlp([8])"}
model:
  z[0]: Normal(0, 1, shape=4)
  z[t]: Normal(f(z[t-1]), 1)
  x[t]: Normal(g(z[t]), 1)
""")


def test_no_objective_lists_every_rule() -> None:
    with pytest.raises(NoObjectiveError) as error:
        derived("""
data: {x: {shape: [2], support: real}}
networks: {generator: "mlp([8])"}
model:
  z: Normal(0, 1, shape=2)
  x: generator(z)
""")
    message = str(error.value)
    for rule in ("normalized", "chain_rule", "change_of_variables", "partition_function", "implicit_data"):
        assert f"{rule}: " in message


def test_one_way_flow_serves_as_a_guide_only() -> None:
    text = FLOW_PRIOR.replace("  u: Normal(0, 1, shape=4)\n  z: flow(u)", "  z: Normal(0, 1, shape=4)")
    text = text.replace("repeat(2, [coupling(mlp([8]), affine()), reverse()])", "repeat(2, [planar()])")
    assert derived(text + "\nguide:\n  u: Normal(**encoder(x))\n  z: flow(u)\n").eliminated == {"z": "variational"}


CHAIN = """
data: {x: {shape: [40, 3], support: real}}
networks: {f: "mlp([8])", g: "mlp([16, 8])"}
model:
  z[0]: Normal(0, 1, shape=4)
  z[t]: Normal(f(z[t-1]), 1)
  x[t]: Normal(g(z[t]), 1)
guide: auto(markov)
"""


def test_automatic_guide_of_a_chain_summarizes_the_future() -> None:
    program = completed(CHAIN)
    assert [site.name for site in program.guide] == ["guide.z.summary.h", "z"]
    assert program.networks["guide.z.summary"].options["direction"] == "backward"
    assert program.networks["guide.z"].in_features == 4 + 64
    derivation = derive(program)
    assert objective_text(derivation.objective) == "E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]"
    (player,) = derivation.objective.players
    assert set(player.owns) == {"f", "g", "guide.z.summary", "guide.z.first", "guide.z"}


def test_hidden_units_that_interact_are_not_summed_twice() -> None:
    text = """
data: {v: {shape: [30], support: binary}}
parameters: {W: "learned(normal(30, 20))", V: "learned(normal(20, 10))"}
model:
  (v, h, g): "Energy(-dot(v, W @ h) - dot(h, V @ g), support={v: binary, h: binary(20), g: binary(10)})"
"""
    with pytest.raises(NoObjectiveError, match="free energy is not affine"):
        derived(text)


def test_inversion_asserts_no_independence_that_the_posterior_lacks() -> None:
    """Every separation in the derived guide holds in the model's graph (d-separation given what is conditioned on)."""
    text = """
data: {x: {shape: [5], support: real}, y: {shape: [2], support: real}}
networks: {f: "mlp([8])", g: "mlp([8])", h: "mlp([8])"}
model:
  a: Normal(0, 1, shape=2)
  b: Normal(f(a), 1, shape=3)
  c: Normal(0, 1, shape=2)
  x: Normal(g(b, c), 1)
  y: Normal(h(a), 1)
"""
    program = completed(text)
    graph = nx.DiGraph(program.graph.edges)
    known = {"x", "y"}
    earlier = set(known)
    for site in program.guide:
        left_out = earlier - set(site.parents)
        if left_out:
            assert nx.is_d_separator(graph, {site.name}, left_out, set(site.parents))
        earlier.add(site.name)


def test_every_observed_site_is_trained_beside_an_energy() -> None:
    text = """
data: {x: {shape: [2], support: real}, y: {shape: [], support: real}}
networks: {f: "mlp([8])", g: "mlp([8])"}
model:
  x: Energy(f, base=Normal(0, 2))
  y: Normal(g(x), 1)
"""
    (player,) = derived(text).objective.players
    assert [term.estimates for term in player.terms] == [
        "D_F(p_data ∗ N(0, σ²I) ‖ p_model) + const",
        "E_data[log p(y | x)]",
    ]
    assert derived(text).objective.status == "mixed"


def test_energy_without_a_base_is_suspicious() -> None:
    text = """
data: {x: {shape: [2], support: real}}
networks: {f: "mlp([8])"}
model:
  x: Energy(f)
"""
    (warning,) = derived(text).warnings
    assert getattr(warning, "code", None) == "energy-unbounded"
