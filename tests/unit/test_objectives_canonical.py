"""The derivations of the canonical specs: what is known of log p, what is trained, and who owns what."""

from __future__ import annotations

from pathlib import Path

import pytest

from dgmppl.ir.program import Role
from dgmppl.objectives.algebra import KL, ContrastiveGradient, Expectation, LogMeanExp, walk
from dgmppl.objectives.contributions import all_groups
from dgmppl.objectives.derivation import Direction
from dgmppl.objectives.printers import latex, text
from tests.deriving import completed, derive, derived, objective

SPECS = Path(__file__).parents[2] / "specs"
NAMES = sorted(path.stem for path in SPECS.glob("*.yaml"))

# spec -> (status of log p, status of the objective, rules that eliminate)
EXPECTED = {
    "aae": ("bound", "mixed", {"z": "implicit_latent"}),
    "ar2": ("exact", "log_joint", {}),
    "avb": ("bound", "mixed", {"z": "implicit_latent"}),
    "bigan": ("implicit", "divergence_lower_bound", {"z": "implicit_data"}),
    "bnn": ("exact", "lower_bound", {}),
    "conditional_flow": ("exact", "exact_likelihood", {}),
    "conditional_gan": ("implicit", "divergence_lower_bound", {"z": "implicit_data"}),
    "ddpm": ("bound", "reweighted_bound", {}),
    "deep_markov": ("bound", "lower_bound", {"z": "variational"}),
    "ebm": ("unnormalized", "score_divergence", {}),
    "ebm_cd": ("unnormalized", "gradient_only", {}),
    "eight_schools": ("exact", "log_joint", {}),
    "f_gan": ("implicit", "divergence_lower_bound", {"z": "implicit_data"}),
    "ffjord": ("exact", "exact_likelihood", {}),
    "flow_matching": ("exact", "regression", {}),
    "gan": ("implicit", "divergence_lower_bound", {"z": "implicit_data"}),
    "garch": ("exact", "log_joint", {}),
    "gmm": ("exact", "exact_likelihood", {"k": "enumerate"}),
    "gp": ("exact", "log_joint", {}),
    "hierarchical_vae": ("bound", "lower_bound", {"z1": "variational", "z2": "variational"}),
    "hmm": ("exact", "exact_likelihood", {"z": "forward_algorithm"}),
    "iwae": ("bound", "lower_bound", {"z": "variational"}),
    "latent_diffusion": ("bound", "lower_bound", {"z": "variational"}),
    "latent_ebm": ("bound", "lower_bound", {"z": "variational"}),
    "lotka_volterra": ("exact", "log_joint", {}),
    "made": ("exact", "exact_likelihood", {}),
    "maf": ("exact", "exact_likelihood", {}),
    "missing": ("bound", "log_joint", {"x": "joint"}),
    "nce": ("unnormalized", "regression", {}),
    "nsf": ("exact", "exact_likelihood", {}),
    "pixelcnn": ("exact", "exact_likelihood", {}),
    "ppca": ("exact", "exact_likelihood", {"z": "gaussian_marginal"}),
    "radon": ("exact", "log_joint", {}),
    "rbm": ("unnormalized", "gradient_only", {"h": "energy_marginal"}),
    "realnvp": ("exact", "exact_likelihood", {}),
    "ss_vae": ("bound", "mixed", {"y": "variational", "z": "variational"}),
    "transformer": ("exact", "exact_likelihood", {}),
    "vae": ("bound", "lower_bound", {"z": "variational"}),
    "vae_ar_decoder": ("bound", "lower_bound", {"z": "variational"}),
    "vae_flow_prior": ("bound", "lower_bound", {"z": "variational"}),
    "vae_gan": ("bound", "mixed", {"z": "variational"}),
    "vae_iaf": ("bound", "lower_bound", {"z": "variational"}),
    "wgan_gp": ("implicit", "divergence_lower_bound", {"z": "implicit_data"}),
}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS.parent)


def test_every_canonical_spec_is_expected() -> None:
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_status(name: str) -> None:
    derivation = derived(f"specs/{name}.yaml")
    assert (derivation.status, derivation.objective.status, dict(derivation.eliminated)) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_group_has_one_owner(name: str) -> None:
    program = completed(f"specs/{name}.yaml")
    owned = [group for player in derive(program).objective.players for group in player.owns]
    assert len(owned) == len(set(owned))
    assert set(all_groups(program)) <= set(owned)


def test_model_classes_by_what_they_know_of_their_likelihood() -> None:
    classes = {"NF": "nsf", "AR": "made", "VAE": "vae", "DM": "ddpm", "GAN": "gan", "EBM": "ebm"}
    table: dict[str, set[str]] = {}
    for name, spec in classes.items():
        table.setdefault(derived(f"specs/{spec}.yaml").status, set()).add(name)
    assert table == {"exact": {"NF", "AR"}, "bound": {"VAE", "DM"}, "implicit": {"GAN"}, "unnormalized": {"EBM"}}


def test_vae_reads_as_in_the_paper() -> None:
    assert objective("specs/vae.yaml") == "E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))"


def test_vae_in_latex() -> None:
    term = derived("specs/vae.yaml").objective.players[0].terms[0].expression
    assert latex(term) == (
        r"-\left[ \mathbb{E}_{q(z \mid x)}\left[ \log p(x \mid z) \right]"
        r" - \mathrm{KL}(q(z \mid x) \,\|\, p(z)) \right]"
    )


def test_hierarchy_is_inverted_faithfully() -> None:
    program = completed("specs/hierarchical_vae.yaml")
    assert [(site.name, site.parents) for site in program.guide] == [("z1", ("x",)), ("z2", ("z1",))]
    assert all(site.role is Role.GUIDE for site in program.guide)
    assert program.networks["guide.z1"].options["hidden"] == (256,)
    assert program.networks["guide.z2"].options["hidden"] == (128,)


def test_hierarchy_keeps_the_divergence_of_the_top_only() -> None:
    terms = list(walk(derived("specs/hierarchical_vae.yaml").objective.players[0].terms[0].expression))
    (divergence,) = [term for term in terms if isinstance(term, KL)]
    assert (divergence.posterior.site, divergence.posterior.given) == ("z2", ("z1",))
    (expectation,) = [term for term in terms if isinstance(term, Expectation)]
    assert any(term is divergence for term in walk(expectation))


def test_no_divergence_under_the_importance_weighted_bound() -> None:
    terms = list(walk(derived("specs/iwae.yaml").objective.players[0].terms[0].expression))
    (mean,) = [term for term in terms if isinstance(term, LogMeanExp)]
    assert mean.count == 8
    assert mean.doubly_reparameterized
    assert not any(isinstance(term, KL) for term in terms)


def test_semi_supervised_labels_are_enumerated_where_missing() -> None:
    derivation = derived("specs/ss_vae.yaml")
    terms = walk(derivation.objective.players[0].terms[0].expression)
    (expectation,) = [term for term in terms if isinstance(term, Expectation)]
    label, code = expectation.draws
    assert (label.name, label.estimator, label.partly_observed) == ("y", "enumerate", True)
    assert (code.name, code.estimator, code.partly_observed, code.given) == ("z", "pathwise", False, ("y", "x"))
    assert any("no gradient from the rows with y" in note for note in derivation.notes)


def test_contrastive_divergence_has_no_value() -> None:
    (player,) = derived("specs/rbm.yaml").objective.players
    term = player.terms[0]
    assert isinstance(term.expression, ContrastiveGradient)
    assert (term.role, term.direction) == ("gradient", Direction.NONE)
    assert term.expression.positive.stop
    assert term.expression.negative.stop
    assert text(term.expression) == "E_{p_data(v)}[∇_θ F(v)] − E_{p(v)}[∇_θ F(v)]"


def test_chain_settings_reach_the_sampler() -> None:
    (player,) = derived("specs/ebm_cd.yaml").objective.players
    term = player.terms[0].expression
    assert isinstance(term, ContrastiveGradient)
    assert term.sampler is not None
    assert {key for key, _ in term.sampler.keywords} == {"steps", "step_size", "persistent"}  # type: ignore[union-attr]


def test_unnormalized_prior_has_a_player_of_its_own() -> None:
    energy, model = derived("specs/latent_ebm.yaml").objective.players
    assert (energy.name, energy.owns, energy.terms[0].role) == ("energy", ("tilt",), "gradient")
    assert model.owns == ("encoder", "decoder")
    assert "log Z" in model.terms[0].estimates


@pytest.mark.parametrize(("spec", "steps", "direction"), [("gan", 1, Direction.LOWER), ("wgan_gp", 5, Direction.NONE)])
def test_critic_moves_first_and_oftener(spec: str, steps: int, direction: Direction) -> None:
    critic, model = derived(f"specs/{spec}.yaml").objective.players
    assert (critic.name, critic.owns, critic.every) == ("critic", ("discriminator",), 1)
    assert (model.name, model.owns, model.every) == ("model", ("generator",), steps)
    assert critic.terms[0].direction is direction


def test_aggregate_critic_is_told_from_a_conditional_one() -> None:
    assert any("I_q(x; z)" in note for note in derived("specs/aae.yaml").notes)
    assert not any("I_q" in note for note in derived("specs/avb.yaml").notes)


def test_posterior_player_owns_parameters_and_latent_entries() -> None:
    (player,) = derived("specs/missing.yaml").objective.players
    assert player.name == "posterior"
    assert player.owns == ("m", "s", "a", "b", "sigma", "x")


def test_first_lags_are_said_to_be_conditioned_on() -> None:
    assert any("first 2 values of y" in note for note in derived("specs/ar2.yaml").notes)


def test_dequantized_data_bound_their_discrete_likelihood() -> None:
    derivation = derived("specs/realnvp.yaml")
    assert (derivation.status, derivation.discrete_log_prob) == ("exact", "bound")
