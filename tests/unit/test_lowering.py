"""Lowering: what is lowered and what is refused, names that collide with emitted ones, layouts of odd shapes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dgmppl.compiler import compile_spec
from dgmppl.errors import UnsupportedError
from dgmppl.ir.bijectors import ordering
from dgmppl.ir.emission.names import RESERVED
from tests.support import SPECS, both, noise_for, start

LOWERED = {
    "aae", "ar2", "avb", "bigan", "bnn", "conditional_flow", "conditional_gan", "ddpm", "deep_markov", "ebm",
    "ebm_cd", "eight_schools", "f_gan", "ffjord", "flow_matching", "gan", "garch", "gmm", "gp", "hierarchical_vae",
    "hmm", "iwae", "latent_ebm", "lotka_volterra", "made", "maf", "missing", "nce", "nsf", "pixelcnn", "ppca", "radon",
    "rbm", "realnvp", "ss_vae", "transformer", "vae", "vae_ar_decoder", "vae_flow_prior", "vae_gan", "vae_iaf",
    "wgan_gp",
}  # fmt: skip
# Refused for another reason than that nothing lowers it: the run that it reads has not been fitted.
WITHOUT_RUN = {"latent_diffusion"}
# The library's log-density of these would take noise, or is a joint energy's, which is no product of sample statements.
WITHOUT_PROGRAM = {"ddpm", "rbm"}
CANONICAL = sorted(path.stem for path in SPECS.glob("*.yaml"))


@pytest.mark.parametrize("name", CANONICAL)
def test_every_canonical_spec_is_lowered_or_refused_with_its_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    compiled = compile_spec(SPECS / f"{name}.yaml")
    if name in LOWERED:
        needed = {"sample"} if name in WITHOUT_PROGRAM else {"model", "sample"}
        assert needed <= {function.name for function in compiled.module.functions}
        return
    with pytest.raises(UnsupportedError) as caught:
        compiled.module  # noqa: B018
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == ("missing-run" if name in WITHOUT_RUN else "not-lowered")
    assert re.search(rf"\.yaml:\d+:\d+: error\[{diagnostic.code}\]", diagnostic.render())


VAE = {
    "dgmppl": 1,
    "name": "names",
    "networks": {"ENC": "mlp([4])", "DEC": "mlp([4])"},
    "model": {"LATENT": "Normal(0, 1, shape=2)", "DATA": "Bernoulli(logits=DEC(LATENT))"},
    "guide": {"LATENT": "Normal(**ENC(DATA))"},
}


def _renamed(names: dict[str, str]) -> dict[str, object]:
    def rename(value: object) -> object:
        if isinstance(value, dict):
            return {rename(key): rename(inner) for key, inner in value.items()}
        if isinstance(value, str):
            return re.sub(r"ENC|DEC|LATENT|DATA", lambda found: names[found[0]], value)
        return value

    spec = rename(VAE)
    assert isinstance(spec, dict)
    return {**spec, "data": {names["DATA"]: {"values": [[0, 1, 1], [1, 0, 1]], "support": "binary"}}}


PLAIN = {"ENC": "encoder", "DEC": "decoder", "LATENT": "z", "DATA": "x"}
HOSTILE = [
    {"ENC": "own", "DEC": "other", "LATENT": "noise", "DATA": "batch"},
    {"ENC": "torch", "DEC": "jnp", "LATENT": "state", "DATA": "parameters"},
    {"ENC": "Encoder", "DEC": "encoder", "LATENT": "loss", "DATA": "like"},
    {"ENC": "dist", "DEC": "densities", "LATENT": "kl_z", "DATA": "step"},
]


@pytest.mark.parametrize("names", HOSTILE, ids=lambda names: "-".join(names.values()))
def test_names_of_emitted_things_may_be_names_of_sites(names: dict[str, str]) -> None:
    reference, hostile = both(_renamed(PLAIN)), both(_renamed(names))
    x = np.array([[0, 1, 1], [1, 0, 1]])
    values = start(reference["numpyro"])
    back = {new: old for old, new in names.items()}
    renamed = {
        spec.name: values[spec.name.replace(spec.group, PLAIN[back[spec.group]], 1)]
        for spec in hostile["numpyro"].module.parameters
    }
    noise = noise_for(reference["numpyro"].module.function("log_weights"), 2, 3)
    expected = reference["numpyro"].executable.call("log_weights", values, {"x": x}, noise=noise, particles=3)["value"]
    for compiled in hostile.values():
        moved = {names["LATENT"]: noise["z"]}
        batch = {names["DATA"]: x}
        found = compiled.executable.call("log_weights", renamed, batch, noise=moved, particles=3)["value"]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert compiled.executable.library_model(renamed) is not None


def test_reserved_names_cover_what_both_backends_emit() -> None:
    for compiled in both(_renamed(PLAIN)).values():
        imported = re.findall(r"^(?:import|from) .*?(?:import |as |^import )([\w, ]+)$", compiled.source, re.MULTILINE)
        names = {name.strip() for line in imported for name in line.split(",")}
        assert names <= RESERVED, names - RESERVED


def test_scalars_vectors_and_matrices_broadcast_per_datum() -> None:
    """y[B] beside m[B, 3] and t[B, 2, 3]: event ranks are aligned where batch axes stand left of them."""
    generator = np.random.default_rng(0)
    scalar, matrix = generator.normal(size=4), generator.normal(size=(4, 2, 3))
    spec = {
        "dgmppl": 1,
        "name": "ranks",
        "data": {"y": {"values": scalar.tolist()}, "t": {"values": matrix.tolist()}},
        "parameters": {"w": "learned(normal(3))", "s": "learned(positive)"},
        "model": {"t": "Normal(y * w + square(y), s * exp(y))"},
    }
    values = {"w": np.array([0.3, -1.0, 2.0]), "s": np.array(0.7)}
    mean = scalar[:, None, None] * values["w"] + scalar[:, None, None] ** 2
    expected = stats.norm(mean, 0.7 * np.exp(scalar)[:, None, None]).logpdf(matrix).sum((1, 2))
    for compiled in both(spec).values():
        found = compiled.executable.call("log_prob", values, {"y": scalar, "t": matrix})["value"]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_partly_observed_classes_without_a_guide_are_summed_only_where_they_lack() -> None:
    x = np.array([0.3, -1.2, 2.2, 0.1])
    spec = {
        "dgmppl": 1,
        "name": "partly",
        "data": {"x": {"values": x.tolist()}, "k": {"values": [0, None, 1, None], "support": "integer(2)"}},
        "parameters": {"m": "learned(normal(2))"},
        "model": {"k": "Categorical(probs=[0.3, 0.7])", "x": "Normal(m[k], 0.5)"},
    }
    means = np.array([-0.4, 1.1])
    joint = np.log([0.3, 0.7]) + stats.norm(means, 0.5).logpdf(x[:, None])
    expected = np.array([joint[0, 0], np.logaddexp(*joint[1]), joint[2, 1], np.logaddexp(*joint[3])])
    batch = {"x": x, "k": np.array([0, 0, 1, 0]), "k.observed": np.array([True, False, True, False])}
    for compiled in both(spec).values():
        found = compiled.executable.call("log_prob", {"m": means}, batch)["value"]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_missing_entries_of_independent_elements_do_not_count() -> None:
    rows = [[0.3, None], [None, -1.0], [0.5, 0.6]]
    spec = {
        "dgmppl": 1,
        "name": "holes",
        "data": {"x": {"values": rows}},
        "parameters": {"m": "learned(normal(2))"},
        "model": {"x": "Normal(m, 0.5)"},
    }
    means, present = np.array([0.2, -0.3]), np.array([[1, 0], [0, 1], [1, 1]], bool)
    x = np.array([[value or 0.0 for value in row] for row in rows])
    expected = (stats.norm(means, 0.5).logpdf(x) * present).sum(1)
    for compiled in both(spec).values():
        found = compiled.executable.call("log_prob", {"m": means}, {"x": x, "x.observed": present})["value"]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_report_holds_divergences_and_nothing_that_is_merely_named_like_one() -> None:
    names = {"ENC": "encoder", "DEC": "decoder", "LATENT": "kl_code", "DATA": "x"}
    for compiled in both(_renamed(names)).values():
        values, function = start(compiled), compiled.module.function("loss_model")
        noise = noise_for(function, 2)
        _, _, report = compiled.executable.loss("model", values, {"x": np.array([[0, 1, 1], [1, 0, 1]])}, noise=noise)
        assert set(report) == {"loss", "kl_kl_code"}


def test_a_guide_may_draw_the_base_of_an_image() -> None:
    """z = e in another order is read by the decoder: as if the decoder's columns stood in the order of e."""
    plain = {
        **VAE,
        "networks": {"ENC": "mlp([4])", "DEC": "mlp([4])"},
        "data": {"DATA": {"shape": [3], "support": "binary"}},
    }
    plain["model"] = {"e": "Normal(0, 1, shape=5)", "DATA": "Bernoulli(logits=DEC(e))"}
    plain["guide"] = {"e": "Normal(**ENC(DATA))"}
    image = {**plain, "bijectors": {"flow": "[permute()]"}}
    image["model"] = {"e": "Normal(0, 1, shape=5)", "z": "flow(e)", "DATA": "Bernoulli(logits=DEC(z))"}
    order = np.asarray(ordering("flow.0", 5))
    batch = {"DATA": np.random.default_rng(1).integers(0, 2, (4, 3))}
    for backend, compiled in both(image).items():
        values, other = start(compiled), both(plain)[backend]
        columns = {"DEC.layers.0.weight": values["DEC.layers.0.weight"][:, np.argsort(order)]}
        function = other.module.function("log_weights")
        assert function is not None
        arguments = {"noise": noise_for(function, 4, 2), "particles": 2, "rows": 4}
        found = compiled.executable.call("log_weights", values, batch, **arguments)["value"]
        wanted = other.executable.call("log_weights", values | columns, batch, **arguments)["value"]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
