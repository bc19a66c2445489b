# ruff: noqa: C408 -- sections as keyword arguments are the form that is tested
"""The Python form of the language gives what the YAML form gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import text as show
from dgmppl.source import Source, Span
from dgmppl.spec import builder as dg
from dgmppl.spec.expression import parse
from dgmppl.spec.reader import read
from dgmppl.spec.terms import Term

SPECS = Path(__file__).parents[2] / "specs"
DIGITS = dict(transform=[dg.flatten(), dg.binarize(8)], split=dict(test=0.1, seed=0))


def vae(**changes: object) -> dg.Spec:
    sections = dict(
        name="vae",
        data=dict(x=dg.data("digits.images", **DIGITS)),
        networks=dict(
            encoder=dg.mlp([256, 256], activation="silu"), decoder=dg.mlp([256, 256], activation=dg.var.silu)
        ),
        model=dict(z=dg.Normal(0, 1, shape=16), x=dg.Bernoulli(logits=dg.net.decoder(dg.var.z))),
        guide=dict(z=dg.Normal(**dg.net.encoder(dg.var.x))),
        train=dict(optimizer=dg.adam(1e-3), batch_size=128, epochs=60),
    )
    return dg.Spec(**{**sections, **changes})  # type: ignore[arg-type]


def eight_schools() -> dg.Spec:
    return dg.Spec(
        "eight-schools",
        data=dict(
            y=dg.data([28, 8, -3, 7, -1, 1, 18, 12]),
            sigma=[15, 10, 16, 11, 9, 11, 10, 18],
            school=["A", "B", "C", "D", "E", "F", "G", "H"],
        ),
        parameters={
            "mu": dg.Normal(0, 5),
            "tau": dg.HalfCauchy(5),
            "theta[school]": dg.Normal(dg.var.mu, dg.var.tau),
        },
        model=dict(y=dg.Normal(dg.var.theta[dg.var.school], "sigma")),
        infer=dg.nuts(warmup=1000, draws=1000, chains=4, reparameterize=["theta"]),
    )


def rbm() -> dg.Spec:
    v, h, W, b, c = dg.var.v, dg.var.h, dg.var.W, dg.var.b, dg.var.c
    energy = -(dg.dot(b, v) + dg.dot(c, h) + dg.dot(v, W @ h))
    return dg.Spec(
        "rbm",
        data=dict(v=dg.data("digits.images", transform=DIGITS["transform"])),
        parameters=dict(
            W=dg.learned(dg.normal(64, 32, scale=0.01)),
            b=dg.learned(dg.zeros(64)),
            c=dg.learned(dg.zeros(32)),
        ),
        model={("v", "h"): dg.Energy(energy, support=dict(v="binary", h=dg.var.binary(32)))},
        objective=dg.contrastive_divergence(steps=1, sampler=dg.gibbs()),
    )


def made() -> dg.Spec:
    return dg.Spec(
        "made",
        data=dict(x=dg.data("digits.images", **DIGITS)),
        networks=dict(net=dg.made([512, 512], order="raster")),
        model={"x[i]": dg.Bernoulli(logits=dg.net.net(dg.var.x[: dg.var.i]))},
        train=dict(optimizer="adam(1e-3)", batch_size=128, epochs=60),
    )


def garch() -> dg.Spec:
    mu, y, s, t = dg.var.mu, dg.var.y, dg.var.s, dg.var.t
    return dg.Spec(
        "garch",
        data=dict(
            y=dg.data(file="returns.csv", column="y", whole=True),
            sigma0=dg.data(shape=[], support="positive", whole=True),
        ),
        parameters=dict(mu="Flat(real)", a0="Flat(positive)", a1=dg.Flat(0, 1), b1=dg.Flat(0, 1 - dg.var.a1)),
        model={
            "s[0]": "sigma0",
            "s[t]": dg.sqrt(dg.var.a0 + dg.var.a1 * dg.square(y[t - 1] - mu) + dg.var.b1 * dg.square(s[t - 1])),
            "y[t]": dg.Normal(mu, s[t]),
        },
        infer=dg.nuts(warmup=1000, draws=1000, chains=4),
    )


def latent_diffusion() -> dg.Spec:
    return dg.Spec(
        "latent-diffusion",
        data=dict(x=dg.data("digits.images", **DIGITS)),
        networks=dict(denoiser=dg.mlp([128, 128], activation="silu", time=dg.embedding(32))),
        model=dict(
            z=dg.Diffusion(dg.net.denoiser, schedule=dg.cosine(), steps=200, predict="noise", shape=16),
            x=dg.Trained("runs/vae", given=dg.var.z),
        ),
    )


def bigan() -> dg.Spec:
    x, z = dg.var.x, dg.var.z
    return dg.Spec(
        "bigan",
        data=dict(x=dg.data("eight_gaussians", size=8192)),
        networks=dict(
            generator=dg.mlp([128, 128], activation="relu"),
            encoder=dg.mlp([128, 128], activation="relu"),
            discriminator=dg.mlp([128, 128], activation="leaky_relu"),
        ),
        model=dict(z=dg.Normal(0, 1, shape=2), x=dg.net.generator(z)),
        guide=dict(z=dg.net.encoder(x)),
        critics={("x", "z"): dg.net.discriminator(x, z)},
    )


@pytest.mark.parametrize(
    "form", [vae, eight_schools, rbm, made, garch, latent_diffusion, bigan], ids=lambda form: form.__name__
)
def test_both_forms_give_the_same(form: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS)
    assert read(form()) == read(f"{form.__name__}.yaml")  # type: ignore[operator, attr-defined]


def test_extends_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS)
    spec = dg.Spec("iwae", extends="vae.yaml", objective=dg.iwae(particles=8))
    assert read(spec) == read("iwae.yaml")


def test_bad_specs_point_into_the_printed_text() -> None:
    with pytest.raises(SpecError) as caught:
        read(vae(train=dict(steps=-1)))
    assert "<python>:" in str(caught.value)
    assert "steps: -1" in str(caught.value)


def test_terms() -> None:
    x, k = dg.var.x, dg.var["k"]
    cases = {
        "x + 1": x + 1,
        "1 - x": 1 - x,
        "x ** 2 / 3": x**2 / 3,
        "-x[0, 1:]": -x[0, 1:],
        "x @ k": x @ k,
        "x == k": x == k,
        "x[k][-1]": x[k][-1],
        "2 ** (-x)": 2**-x,
        "(x + 1) * k": (x + 1) * k,
        "x < 0.5": x < 0.5,
        "exp(x, axis=-1)": dg.exp(x, axis=-1),
        "f(**g(x), shape=2)": dg.var.f(**dg.net.g(x), shape=2),
        "f([1, true])": dg.var.f([1, True]),
        "inverse(flow)": dg.inverse(dg.bij.flow),
    }
    for text, term in cases.items():
        assert show(term.expression) == show(parse(text, Span(Source("t", text), 1, 1, 1, len(text) + 1)))


def test_numpy_scalars_are_numbers() -> None:
    assert show(dg.Normal(np.float64(0.5), np.int64(2)).expression) == "Normal(0.5, 2)"


@pytest.mark.parametrize("make", [lambda: bool(dg.var.x), lambda: dg.Normal(object()), lambda: dg.Normal(0, 1)(2)])
def test_misuse_is_a_diagnostic(make: object) -> None:
    with pytest.raises(SpecError):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("content", [{"x": object()}, {1: "moons"}, {"x": np.zeros(3)}])
def test_foreign_objects_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(SpecError) as caught:
        dg.Spec("t", data=content)
    assert caught.value.diagnostics[0].code == "python-value"


def test_what_holds_itself_is_refused() -> None:
    rows: list[object] = []
    rows.append(rows)
    with pytest.raises(SpecError):
        read({"dgmppl": 1, "data": {"x": rows}})


def test_terms_do_not_iterate() -> None:
    with pytest.raises(TypeError):
        list(dg.var.x)


def test_unknown_words_are_no_attributes() -> None:
    with pytest.raises(AttributeError):
        dg.Norml  # noqa: B018


@settings(deadline=None, max_examples=100)
@given(
    st.recursive(
        st.sampled_from([dg.var.x, dg.var.y, Term(dg.var.z.expression)]) | st.integers(-9, 9) | st.booleans(),
        lambda inner: st.one_of(
            st.builds(lambda left, right: dg.var.a + left * right, inner, inner),
            st.builds(lambda part: dg.exp(part), inner),
            st.builds(lambda part: -dg.var.b[part], inner),
        ),
        max_leaves=6,
    )
)
def test_built_terms_parse_back(term: object) -> None:
    built = dg.exp(term)  # type: ignore[arg-type]
    text = show(built.expression)
    assert parse(text, Span(Source("t", text), 1, 1, 1, len(text) + 1)) == built.expression
