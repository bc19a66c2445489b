"""Bijectors from the spec to emitted classes: paths, shapes, layouts, orders, text, and what is refused."""

from __future__ import annotations

import ast
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dgmppl.compiler import compile_spec
from dgmppl.data import describe
from dgmppl.errors import SpecError
from dgmppl.ir.bijectors import Bijector, ordering
from dgmppl.ir.emission.layout import WIDTH
from dgmppl.ir.parameters import initial_values
from dgmppl.passes import infer, resolve
from dgmppl.spec.reader import read
from dgmppl_numpyro import parameters as numpyro_parameters
from dgmppl_pyro import parameters as pyro_parameters
from tests.flows import source, typed
from tests.support import BACKENDS


def declared(written: str, shape: tuple[int, ...] = (4,), context: int = 0) -> Bijector:
    return typed(written, shape, context).bijectors["f"]


def layout(bijector: Bijector) -> dict[str, tuple[int, ...]]:
    return {spec.name: spec.shape for spec in bijector.parameters}


def refused(written: str, shape: tuple[int, ...] = (4,)) -> list[str]:
    with pytest.raises(SpecError) as caught:
        typed(written, shape)
    return [f"{found.code}: {found.message}" for found in caught.value.diagnostics]


# ---- the IR ---------------------------------------------------------------------------------------------------------


def test_layouts_of_steps_with_parameters_of_their_own() -> None:
    assert layout(declared("[actnorm(), spline(bins=3), lu_linear(), planar()]")) == {
        "f.0.shift": (4,), "f.0.log_scale": (4,),
        "f.1.widths": (4, 3), "f.1.heights": (4, 3), "f.1.derivatives": (4, 2),
        "f.2.lower": (4, 4), "f.2.upper": (4, 4), "f.2.log_diagonal": (4,), "f.2.bias": (4,),
        "f.3.weight": (4,), "f.3.direction": (4,), "f.3.bias": (),
    }  # fmt: skip


def test_an_inverse_turns_the_order_and_keeps_the_paths() -> None:
    found = declared("[affine(), inverse([planar(), inverse(spline()), reverse()])]")
    assert [(step.path, step.kind, step.inverted) for step in found.steps] == [
        ("f.0", "affine", False), ("f.1.2", "reverse", True), ("f.1.1", "spline", False), ("f.1.0", "planar", True),
    ]  # fmt: skip


def test_a_named_bijector_inside_another_is_a_copy_of_its_steps() -> None:
    spec = read(
        "dgmppl: 1\nname: t\ndata: {x: {shape: [3], support: real}}\n"
        "bijectors: {f: affine(), g: '[f, reverse(), repeat(2, f)]'}\nmodel:\n  z: Normal(0, 1)\n  x: g(z)\n"
    )
    found = infer(resolve(spec, describe(spec.data))).bijectors["g"]
    assert [step.path for step in found.steps] == ["g.0.0", "g.1", "g.2.0.0.0", "g.2.1.0.0"]


def test_shapes_along_a_chain_of_an_image() -> None:
    found = declared("[squeeze(), multiscale([affine(), reverse()]), lu_linear(), inverse(squeeze())]", (1, 4, 6))
    assert [step.event for step in found.walk()] == [(1, 4, 6), (4, 2, 3), (2, 2, 3), (2, 2, 3), (4, 2, 3), (1, 4, 6)]
    assert layout(found)["f.1.0.shift"] == (2, 2, 3)
    assert layout(found)["f.2.lower"] == (24, 24)
    flat = declared("[squeeze(), inverse(squeeze())]", (4, 6))
    assert [step.event for step in flat.steps] == [(4, 6), (4, 6)]


def test_conditioners_read_the_context_and_end_at_zero() -> None:
    found = declared("coupling(mlp([5]), spline(bins=3))", (5,), context=3)
    assert layout(found) == {
        "f.0.conditioner.layers.0.weight": (5, 5), "f.0.conditioner.layers.0.bias": (5,),
        "f.0.conditioner.layers.1.weight": (24, 5), "f.0.conditioner.layers.1.bias": (24,),
    }  # fmt: skip
    assert [(spec.init.kind, spec.init.value) for spec in found.parameters[-2:]] == [("constant", 0.0)] * 2


@pytest.mark.parametrize(
    ("written", "shape", "expected"),
    [
        ("squeeze()", (3, 4), "shape-mismatch: 'f' has a `squeeze` where an event has the shape [3, 4]"),
        ("squeeze()", (4, 4), "shape-mismatch: the steps of 'f' end with another shape than they begin with"),
        ("inverse(squeeze())", (3, 4, 4), "shape-mismatch: 'f' has a `squeeze` where an event has the shape [3, 4, 4]"),
        ("multiscale(affine())", (3,), "shape-mismatch: 'f' has a `multiscale` where an event has the shape [3]"),
        ("coupling(mlp([4]), affine())", (1,), "too-few-elements: a coupling of 'f' splits an event of 1 element"),
        ("logit()", (4,), "unprovable-support: the step `logit` of 'f' maps values in `unit`, and may be given others"),
        ("[exp(), inverse(sigmoid())]", (4,), "unprovable-support: the step `sigmoid` of 'f' maps values in `unit`"),
        ("inverse()", (4,), "wrong-arguments: `inverse` takes the steps that run backwards"),
        ("multiscale()", (4,), "wrong-arguments: `multiscale` takes the steps inside of it"),
        ("[]", (4,), "not-a-bijector: the bijector 'f' has no steps"),
        ("autoregressive(mlp([4]), affine())", (4,), "not-causal: `autoregressive` needs a causal network"),
    ],
)  # fmt: skip
def test_refusals(written: str, shape: tuple[int, ...], expected: str) -> None:
    assert any(found.startswith(expected) for found in refused(written, shape))


def test_a_one_way_flow_is_refused_as_a_density_and_its_inverse_is_not() -> None:
    text = (
        "dgmppl: 1\nname: t\ndata: {{x: {{shape: [2], support: real}}}}\nbijectors: {{f: '{}'}}\n"
        "model:\n  z: Normal(0, 1)\n  x: f(z)\n"
    )
    with pytest.raises(SpecError, match=r"f has no inverse"):
        compile_spec(read(text.format("[affine(), planar()]")), backend="pyro")
    assert compile_spec(read(text.format("[affine(), inverse(planar())]")), backend="pyro").derivation


# ---- the text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_conditioners_are_one_class_and_copies_one_comprehension(backend: str) -> None:
    text = source(declared("repeat(3, [coupling(mlp([4]), affine()), reverse()])"), backend)
    assert text.count("class MadeConditioner(") == 1
    assert "MadeConditioner2" not in text
    assert "for _ in range(3)" in text
    assert '"""z [4] -> x [4]: 3 x (coupling(mlp([4]), affine()), reverse())."""' in text


@pytest.mark.parametrize("backend", BACKENDS)
def test_orders_of_copies_stand_in_one_table(backend: str) -> None:
    text = source(declared("repeat(2, [coupling(mlp([4]), affine()), permute()])"), backend)
    table = next(line for line in text.splitlines() if "orders = " in line).split(" = ")[1]
    assert ast.literal_eval(table) == [list(ordering(f"f.{copy}.1", 4)) for copy in range(2)]
    assert "bijectors.Permute(order)" in text
    assert "for order in self.orders" in text


@pytest.mark.parametrize("backend", BACKENDS)
def test_different_conditioners_are_classes_of_their_own(backend: str) -> None:
    text = source(declared("[coupling(mlp([4]), affine()), coupling(mlp([5]), affine()), permute()]"), backend)
    assert "class MadeConditioner(" in text
    assert "class MadeConditioner2(" in text
    assert f"bijectors.Permute({list(ordering('f.2', 4))})" in text


def test_both_backends_print_the_same_steps() -> None:
    written = "[actnorm(), inverse([lu_linear(), spline(bins=4)]), autoregressive(made([4], order=reverse), affine())]"
    texts = [source(declared(written), backend).partition("(bijectors.Chain):")[2] for backend in BACKENDS]
    calls = (text.partition("super().__init__(")[2] for text in texts)
    first, second = ("".join(call.replace("next(keys)", "").split()) for call in calls)
    assert first == second
    assert ").inverted()" in first
    assert "order=[3,2,1,0]" in first


@pytest.mark.parametrize("backend", BACKENDS)
def test_lines_fit_and_text_parses(backend: str) -> None:
    text = source(
        declared("repeat(2, [lu_linear(), coupling(mlp([64, 64]), spline(bins=8)), permute()])", (40,)), backend
    )
    ast.parse(text)
    assert max(map(len, text.splitlines())) <= WIDTH + 60


SHARED = (
    "dgmppl: 1\nname: t\ndata: {x: {shape: [3], support: real}}\nnetworks: {net: 'mlp([4])'}\n"
    "bijectors: {f: '[coupling(net, affine()), reverse(), coupling(mlp([4]), affine())]', g: affine()}\n"
    "model:\n  z: Normal(0, 1)\n  x: f(z)\n"
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("standalone", [False, True])
def test_a_program_with_a_shared_conditioner(backend: str, standalone: bool) -> None:
    compiled = compile_spec(read(SHARED), backend=backend, standalone=standalone)
    text = str(compiled.source)
    assert 'bijectors.Shared("net")' in text
    assert 'f = f.bind({"net": net})' in text
    assert "class G(" not in text
    space: dict[str, Any] = {"__name__": __name__}
    exec(compile(text, f"<{backend}>", "exec"), space)
    classes = space["NETWORKS"]
    assert set(classes) == {"net", "f"}
    bound = classes["f"]().bind({"net": classes["net"]()})
    z = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    value = torch.tensor(z) if backend == "pyro" else jnp.asarray(z)
    x, log_det = bound.forward_and_log_det(value)
    back, _ = bound.inverse_and_log_det(x)
    assert log_det.shape == (2,)
    assert np.abs(np.array(back.tolist()) - z).max() < 1e-5
    names = {spec.name for spec in compiled.module.parameters}
    assert {name.split(".")[0] for name in names} == {"net", "f"}
    assert not any(name.startswith("f.0") for name in names)
    assert len(names) == 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_cross_the_border_under_their_names(backend: str) -> None:
    compiled = compile_spec(read(SHARED), backend=backend)
    space: dict[str, Any] = {"__name__": __name__}
    exec(compile(str(compiled.source), f"<{backend}>", "exec"), space)
    values = initial_values(compiled.module.parameters, 0)
    namespace: Any = SimpleNamespace(**space)
    if backend == "pyro":
        tree = pyro_parameters.Tree(compiled.module, namespace)
        groups = tree.load(values, torch.float64, torch.device("cpu"))
        found = tree.canonical(tree.flat(groups))
        assert next(tree.load(values, torch.float64, torch.device("meta"))["f"].parameters()).device.type == "meta"
    else:
        tree = numpyro_parameters.Tree(compiled.module, namespace)
        flat = tree.load(values)
        assert set(tree.groups(flat)) == {"net", "f"}
        found = tree.canonical(flat)
    assert set(found) == set(values)
    assert all(np.abs(found[name] - values[name]).max() <= 1e-7 for name in values)
