"""Kinds of networks: their tables, layouts and masks, and the text that makes their classes."""

from __future__ import annotations

import ast
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dgmppl.data import describe
from dgmppl.errors import SpecError
from dgmppl.ir.emission.layout import WIDTH
from dgmppl.ir.emission.networks import PRINTERS
from dgmppl.ir.networks import NETWORKS, Head, Network, OptionValue, visiting_order
from dgmppl.ir.networks.causal import masked_layers
from dgmppl.ir.parameters import count
from dgmppl.ir.program import Program
from dgmppl.ir.types import REAL, TensorType, integer
from dgmppl.passes import infer, resolve
from dgmppl.spec.reader import read
from dgmppl_numpyro import causal as jax_causal
from dgmppl_numpyro.emit import standalone as jax_standalone
from dgmppl_numpyro.emit.module import NumPyroPrinter
from dgmppl_pyro import causal as torch_causal
from dgmppl_pyro import linear
from dgmppl_pyro.emit import standalone as torch_standalone
from dgmppl_pyro.emit.module import PyroPrinter
from tests.kernels import load
from tests.networks import jax_network, moved, torch_network

PRINTER_CLASSES = {"pyro": PyroPrinter, "numpyro": NumPyroPrinter}


def program(text: str) -> Program:
    spec = read(f"dgmppl: 1\nname: test\n{text}")
    return infer(resolve(spec, describe(spec.data)))


def autoregressive(network: str, support: str = "binary", shape: str = "[6]", likelihood: str = "Bernoulli") -> Network:
    found = program(
        f"data:\n  x: {{shape: {shape}, support: {support}}}\n"
        f"networks:\n  net: {network}\n"
        f"model:\n  z: Normal(0, 1, shape=2)\n  x[i]: {likelihood}(logits=net(x[:i], z))\n"
    )
    return found.networks["net"]


def made(elements: int, *hidden: int, context: int = 0, order: OptionValue = "raster") -> Network:
    inputs = (TensorType((elements,)), *((TensorType((context,)),) if context else ()))
    options: dict[str, OptionValue] = {"hidden": hidden, "activation": "tanh", "order": order}
    return Network("net", "made", options, inputs, (Head("loc", (elements,), REAL), Head("scale", (elements,), REAL)))


# ---- the table -------------------------------------------------------------------------------------------------------


def test_every_kind_is_laid_out_and_printed() -> None:
    assert PRINTERS.keys() == NETWORKS.keys()
    for kind in NETWORKS.values():
        assert kind.doc, kind.name
        assert all(option.doc for option in kind.options), kind.name


def test_perceptrons_are_laid_out_as_in_torch() -> None:
    network = Network("f", "mlp", {"hidden": (8, 4)}, (TensorType((2, 3)), TensorType()), (Head("out", (5,), REAL),))
    shapes = {parameter.name: parameter.shape for parameter in network.parameters}
    assert shapes == {
        "f.layers.0.weight": (8, 7), "f.layers.0.bias": (8,), "f.layers.1.weight": (4, 8), "f.layers.1.bias": (4,),
        "f.layers.2.weight": (5, 4), "f.layers.2.bias": (5,),
    }  # fmt: skip


# ---- made: layout and masks ------------------------------------------------------------------------------------------


def test_made_is_laid_out_with_its_context_in_the_first_and_the_last_layer() -> None:
    shapes = {parameter.name: parameter.shape for parameter in autoregressive("made([16, 12])").parameters}
    assert shapes == {
        "net.layers.0.weight": (16, 2 + 6), "net.layers.0.bias": (16,), "net.layers.1.weight": (12, 16),
        "net.layers.1.bias": (12,), "net.layers.2.weight": (6, 2 + 12), "net.layers.2.bias": (6,),
    }  # fmt: skip


def test_integers_enter_as_indicator_vectors() -> None:
    network = autoregressive("made([16])", "integer(5)", "[2, 3]", "Categorical")
    first, _, last, _ = network.parameters
    assert first.shape == (16, 2 + 6 * 5)
    assert last.shape == (6 * 5, 2 + 16)
    assert count(network.parameters) == 16 * 32 + 16 + 30 * 18 + 30


def reach(network: Network) -> tuple[np.ndarray, list[np.ndarray]]:
    """How many paths lead from each element to each output, and the masks that they pass."""
    net = torch_network(network, moved(network))
    masks = [layer.mask[:, layer.context :].numpy() for layer in net.layers]
    paths = masks[0]
    for mask in masks[1:]:
        paths = mask @ paths
    return paths, masks


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(("elements", "hidden"), [(2, (1,)), (5, (4, 4)), (5, (9, 2, 30)), (12, (40, 40)), (7, ())])
def test_paths_lead_from_earlier_elements_only(elements: int, hidden: tuple[int, ...], context: int) -> None:
    network = made(elements, *hidden, context=context)
    paths, masks = reach(network)
    by_element = paths.reshape(elements, 2, elements)
    assert not np.triu(by_element.sum(1)).any()
    if all(width >= elements - 1 + (context > 0) for width in hidden):
        for before, after in itertools.pairwise(masks):
            assert after.any(0).all(), "a hidden unit that leads nowhere"
            assert before.any(1).all() or context, "a hidden unit that sees nothing"
        assert np.array_equal(by_element.all(1), np.tril(np.ones((elements, elements), bool), -1))


def test_one_element_reads_its_context_and_nothing_else() -> None:
    paths, _ = reach(made(1, 8, context=3))
    assert not paths.any()
    assert not reach(made(1, 8))[0].any()


@pytest.mark.parametrize(("units", "degrees"), [(10, (0, 3)), (3, (1, 10)), (512, (1, 784)), (12, (0, 4)), (5, (0, 1))])
def test_units_of_a_degree_lie_next_to_each_other(units: int, degrees: tuple[int, int]) -> None:
    spread = [degrees[0] + unit * (degrees[1] - degrees[0]) // units for unit in range(units)]
    assert torch_causal.spread(units, degrees).tolist() == jax_causal.spread(units, degrees).tolist() == spread
    assert torch_causal.per_degree(units, degrees) == [spread.count(degree) for degree in range(*degrees)]
    for degree in range(-1, degrees[1] + 2):
        first = sum(own < degree for own in spread)
        assert jax_causal.first_unit(jnp.asarray(degree), units, degrees) == first
        block = int(jax_causal.block(degree, units, degrees))
        own = [unit for unit, at in enumerate(spread) if at == degree]
        assert set(own) <= set(range(block, block + jax_causal.most_units(units, degrees)))


def test_places_of_units_fit_into_32_bits() -> None:
    units, degrees = 3 * 2**20, (0, 2**12)
    assert jax_causal.first_unit(jnp.asarray(4000, jnp.int32), units, degrees) == 4000 * 768


def test_steps_compute_every_unit_once() -> None:
    network = made(9, 20, 5, context=2)
    net, layers = torch_network(network, moved(network)), masked_layers(network)
    with torch.no_grad():
        for layer, plan in zip(net.layers, layers, strict=True):
            room = layer.room((), torch.zeros(layer.context, dtype=torch.float64))
            widths = [layer.units(room, i).shape[-1] for i in range(9)]
            assert sum(widths) == plan.outputs


def test_masks_and_orders_are_no_parameters() -> None:
    network = made(4, 8, order="reverse")
    assert [parameter.name for parameter in network.parameters] == list(moved(network))
    names = {name.removeprefix("net.") for name in moved(network)}
    assert set(torch_network(network, moved(network)).state_dict()) == names
    assert len(jax.tree.leaves(jax_network(network, moved(network)))) == len(names)


# ---- orders ----------------------------------------------------------------------------------------------------------


def test_orders() -> None:
    assert visiting_order(made(4, 8)) is None
    assert visiting_order(made(4, 8, order="reverse")) == (3, 2, 1, 0)
    assert visiting_order(made(4, 8, order=(2, 0, 3, 1))) == (2, 0, 3, 1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("made([8], order=[0, 1, 2])", "the order of 'net' is a list of 3, and its first input has 6 elements"),
        ("made([8], order=[0, 1, 2, 3, 4, 4])", "'order' of network `made`"),
        ("made([8], order=spiral)", "'order' of network `made`"),
        ("made([8.5])", "'hidden' of network `made`"),
    ],
)
def test_options_that_cannot_be(network: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        autoregressive(network)


def test_a_causal_network_is_no_function_of_its_whole_input() -> None:
    text = "networks:\n  f: made([8])\nmodel:\n  z: Normal(0, 1, shape=2)\n  x: Normal(f(z), 1, shape=3)\n"
    with pytest.raises(SpecError, match="'f' is causal"):
        program(f"data:\n  x: {{shape: [3], support: real}}\n{text}")


# ---- the text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", PRINTER_CLASSES)
def test_classes_fit_the_page(backend: str) -> None:
    printer = PRINTER_CLASSES[backend].networks
    for network in (made(2000, 1024, 1024, context=300, order="reverse"), made(30, 8, order=tuple(range(30)))):
        lines = printer.lines(network, "Net")
        ast.parse("\n".join(lines))
        assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize("backend", PRINTER_CLASSES)
def test_runtime_parts_are_inlined(backend: str) -> None:
    network = made(4, 8, context=2, order=(3, 1, 0, 2))
    text = "\n".join(PRINTER_CLASSES[backend].networks.lines(network, "Net"))
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in PyroPrinter.runtime
    }
    inlined = (torch_standalone if backend == "pyro" else jax_standalone).inlined(used)
    imports = [line for line in PRINTER_CLASSES[backend].imports.values() if line]
    space = load("\n".join(["from __future__ import annotations", *imports, *inlined, text]))
    x, c = np.ones((3, 4), np.float32), np.ones((3, 2), np.float32)
    loc, scale = space["Net"]()(*map(torch.tensor if backend == "pyro" else jnp.asarray, (x, c)))
    assert loc.shape == scale.shape == (3, 4)


def test_masked_layers_are_accelerated_where_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    network = made(6, 16, context=2)
    values, x, c = moved(network), torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    plain = torch_network(network, values)(x, c)
    monkeypatch.setattr(linear, "slow_mkl", lambda: True)
    fast = linear.accelerate(torch_network(network, values))
    assert {type(layer) for layer in fast.layers} == {linear.MaskedLinear}
    for one, other in zip(plain, fast(x, c), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_context_of_integers_is_embedded() -> None:
    options: dict[str, OptionValue] = {"hidden": (8,), "activation": "relu", "order": "raster"}
    inputs = (TensorType((3,)), TensorType((2,), support=integer(4)))
    network = Network("net", "made", options, inputs, (Head("loc", (3,), REAL),))
    assert network.parameters[0].shape == (8, 2 * 4 + 3)
    net = eqx.filter_jit(jax_network(network, moved(network)))
    assert net(jnp.zeros((5, 3)), jnp.ones((5, 2), int)).shape == (5, 3)
