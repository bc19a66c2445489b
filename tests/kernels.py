"""Kernel modules written by hand: what lowering would make of a VAE and of a Gaussian mixture."""

from __future__ import annotations

import itertools
import sys
from types import ModuleType
from typing import Any

from dgmppl.ir.data import Column
from dgmppl.ir.densities import Elementary, Learned
from dgmppl.ir.expressions import Literal, Name
from dgmppl.ir.kernel import (
    Assign,
    DensityValue,
    Divergence,
    Draw,
    Function,
    Group,
    LogProb,
    Module,
    NetworkCall,
    Noise,
    NoiseEntry,
    Number,
    Op,
    Plate,
    Return,
    ReturnLoss,
    Sample,
    Value,
    Var,
)
from dgmppl.ir.networks import Head, Network
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.program import Program, Role, Site
from dgmppl.ir.types import BINARY, POSITIVE, REAL, Dtype, Support, TensorType

_NUMBERS = itertools.count()


def load(text: str) -> dict[str, Any]:
    """The names that emitted text defines."""
    module = ModuleType(f"emitted_{next(_NUMBERS)}")
    sys.modules[module.__name__] = module
    exec(compile(text, f"<{module.__name__}>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def op(name: str, *operands: Value, **options: object) -> Op:
    return Op(name, operands, tuple(options.items()))


def normal(loc: Value, scale: Value, *shape: int) -> DensityValue:
    return DensityValue("Normal", (("loc", loc), ("scale", scale)), len(shape), shape)


def network(
    name: str, inputs: tuple[int, ...], *heads: Head, hidden: tuple[int, ...] = (8,), **options: object
) -> Network:
    settings = {"hidden": hidden, "activation": "silu", **options}
    kinds = tuple(TensorType((size,), plate="data") for size in inputs)
    return Network(name, "mlp", settings, kinds, heads)  # type: ignore[arg-type]


def vae(
    x: str = "x", z: str = "z", encoder: str = "encoder", decoder: str = "decoder", particles: int | None = None
) -> Module:
    """x [6] | z [2]: an ELBO with a closed-form KL, densities, a sampler and both programs."""
    nets = {
        encoder: network(encoder, (6,), Head("loc", (2,), REAL), Head("scale", (2,), POSITIVE)),
        decoder: network(decoder, (2,), Head("logits", (6,), REAL)),
    }
    column = Column(x, (6,), Dtype.INTEGER, BINARY, rows=20)
    pixels = TensorType((6,), Dtype.INTEGER, BINARY, "data")
    sites = (
        Site(
            z,
            "model",
            Role.LATENT,
            Elementary("Normal", (("loc", Literal(0)), ("scale", Literal(1)))),
            TensorType((2,), plate="data"),
        ),
        Site(x, "model", Role.OBSERVED, Elementary("Bernoulli", (("logits", Name(decoder)),)), pixels, parents=(z,)),
    )
    guide = (
        Site(
            z,
            "guide",
            Role.GUIDE,
            Elementary("Normal", (("loc", Name("loc")), ("scale", Name("scale")))),
            TensorType((2,), plate="data"),
        ),
    )
    program = Program("vae", "", sites, guide, networks=nets, columns={x: column}, rows=20)
    prior, q = normal(Number(0), Number(1), 2), normal(Var("loc"), Var("scale"), 2)
    likelihood = DensityValue("Bernoulli", (("logits", Var("logits")),), 1, (6,))
    encode = Assign(("loc", "scale"), NetworkCall(encoder, (op("cast", Var(x), dtype="real"),)), "[B, 2], [B, 2]")
    decode = Assign(("logits",), NetworkCall(decoder, (Var(z),)), "[B, 6]")
    draw = Assign((z,), Draw(q, NoiseEntry(z)), "[B, 2]")
    score = Assign((f"log_p_{x}",), LogProb(likelihood, Var(x)), "[B]")
    divergence = Assign((f"kl_{z}",), Divergence(q, prior), "[B]")
    both, data = ((encoder, encoder), (decoder, decoder)), ((x, x),)
    noise = (Noise(z, "normal", (2,), particles is not None),)
    body = (encode, draw, decode, score, divergence)
    loss = op("mean_all", op("sub", Var(f"kl_{z}"), Var(f"log_p_{x}")))
    functions = (
        Function(
            "model",
            "program",
            (Plate("data", 20, (Sample(z, prior), decode, Sample(x, likelihood, x))),),
            f"p({x}, {z}) = p({z}) p({x} | {z}).",
            ((decoder, decoder),),
            data,
        ),
        Function(
            "guide",
            "program",
            (Plate("data", 20, (encode, Sample(z, q))),),
            f"q({z} | {x}).",
            ((encoder, encoder),),
            data,
        ),
        Function(
            "loss_model",
            "loss",
            (*body, ReturnLoss(loss, (("loss", loss), (f"kl_{z}", op("mean_all", Var(f"kl_{z}")))))),
            f"-ELBO: KL(q({z} | {x}) || p({z})) - E_q[log p({x} | {z})]    (nats per datum)",
            both,
            data,
            noise,
            particles,
            (encoder, decoder),
        ),
        Function(
            "log_weights",
            "density",
            (*body[:4], Return((op("sub", op("add", LogProb(prior, Var(z)), Var(f"log_p_{x}")), LogProb(q, Var(z))),))),
            f"log p({x}, {z}) - log q({z} | {x}), one per draw: [K, B], nats.",
            both,
            data,
            (Noise(z, "normal", (2,), True),),
            0,
        ),
        Function(
            "sample",
            "sample",
            (
                Assign((z,), Draw(prior, NoiseEntry(z)), "[B, 2]"),
                decode,
                Assign((x,), Draw(likelihood, NoiseEntry(x)), "[B, 6]"),
                Return((Var(z), Var(x)), (z, x)),
            ),
            "one ancestral draw per row.",
            ((decoder, decoder),),
            (),
            (Noise(z, "normal", (2,)), Noise(x, "uniform", (6,))),
        ),
    )
    groups = tuple(Group(name, "network", net.parameters) for name, net in nets.items())
    heading = (f"p({x}, {z}) = p({z}) p({x} | {z})", "maximize  the ELBO, a lower bound on log p in nats per datum")
    return Module(program, heading, groups, (("model", (encoder, decoder), 1),), functions)


def mixture() -> Module:
    """x [4] | k in {0, 1, 2}: the exact likelihood by enumeration, learned parameters."""
    supports = {"weights": Support("simplex", size=3), "loc": REAL, "scale": POSITIVE}
    specs = {
        "weights": ParameterSpec("weights", "weights", (3,), Initializer("constant", 1 / 3), supports["weights"]),
        "loc": ParameterSpec("loc", "loc", (3, 4), Initializer("normal", 1.0)),
        "scale": ParameterSpec("scale", "scale", (3, 4), Initializer("constant", 1.0), POSITIVE),
    }
    groups = tuple(Group(name, "learned", (spec,), supports[name]) for name, spec in specs.items())
    learned = tuple(
        Site(name, "parameters", Role.LEARNED, Learned("normal"), TensorType(spec.shape, support=supports[name]))
        for name, spec in specs.items()
    )
    sites = (
        *learned,
        Site(
            "k",
            "model",
            Role.LATENT,
            Elementary("Categorical", (("probs", Name("weights")),)),
            TensorType((), Dtype.INTEGER, Support("integer", size=3), "data"),
        ),
        Site("x", "model", Role.OBSERVED, Elementary("Normal", ()), TensorType((4,), plate="data"), parents=("k",)),
    )
    program = Program("gmm", "", sites, columns={"x": Column("x", (4,), rows=15)}, rows=15)
    everything, data = tuple((name, name) for name in specs), (("x", "x"),)
    prior = DensityValue("Categorical", (("probs", Var("weights")),), 0, ())
    given = normal(op("gather", Var("loc"), Var("k")), op("gather", Var("scale"), Var("k")), 4)
    states = Assign(("k",), op("arange", size=3, trailing=1), "[k, 1]")
    joint = Assign(("log_joint",), op("add", LogProb(prior, Var("k")), LogProb(given, Var("x"))), "[k, B]")
    total = op("reduce_leading", Var("log_joint"), function="logsumexp")
    loss = op("neg", op("mean_all", Var("log_p")))
    posterior = op("cumulative", op("moveaxis", Var("log_joint"), source=0, target=-1), function="softmax", axis=-1)
    functions = (
        Function(
            "model",
            "program",
            (Plate("data", 15, (Sample("k", prior), Sample("x", given, "x"))),),
            "p(k) p(x | k).",
            everything,
            data,
        ),
        Function(
            "loss_model",
            "loss",
            (
                states,
                joint,
                Assign(("log_p",), total, "[B]"),
                Assign(("loss",), loss),
                ReturnLoss(Var("loss"), (("loss", Var("loss")),)),
            ),
            "-log p(x)    (nats per datum)",
            everything,
            data,
            (),
            None,
            tuple(specs),
        ),
        Function(
            "log_prob", "density", (states, joint, Return((total,))), "log p(x): [B], nats, exact.", everything, data
        ),
        Function(
            "posterior",
            "density",
            (states, joint, Return((posterior,), ("k.probs",))),
            "p(k | x): [B, 3].",
            everything,
            data,
        ),
        Function(
            "sample",
            "sample",
            (
                Assign(("k",), Draw(prior, NoiseEntry("k")), "[B]"),
                Assign(("x",), Draw(given, NoiseEntry("x")), "[B, 4]"),
                Return((Var("k"), Var("x")), ("k", "x")),
            ),
            "one ancestral draw per row.",
            everything,
            (),
            (Noise("k", "gumbel", (3,)), Noise("x", "normal", (4,))),
        ),
    )
    return Module(
        program, ("p(x) = sum_k p(k) p(x | k)", "maximize  log p(x)"), groups, (("model", tuple(specs), 1),), functions
    )
