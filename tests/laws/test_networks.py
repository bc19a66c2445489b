"""Laws of the networks that are not causal, for a table of named instances and on both backends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dgmppl.compiler import check, compile_spec
from dgmppl.errors import RunError, UnsupportedError
from dgmppl.ir.emission.networks import PRINTERS
from dgmppl.ir.networks import NETWORKS, Network, OptionValue
from dgmppl.ir.networks.registered import OWN
from dgmppl.ir.parameters import initial_values
from dgmppl.ir.types import Shape
from dgmppl.passes.registering import register_network
from dgmppl_numpyro import embedding as jax_embedding
from dgmppl_pyro import embedding as torch_embedding
from tests import own_networks
from tests.networks import Values, jax_network, moved, network, torch_network
from tests.support import BACKENDS, both, noise_for, start

Array = NDArray[np.float64]
IMAGES: tuple[OptionValue, ...] = (4, 6)
BACK: tuple[OptionValue, ...] = (6, 4)
SMALL: dict[str, OptionValue] = {"layers": 2, "heads": 2, "width": 6}
TIME: tuple[OptionValue, ...] = ("embedding", 6)
NORMAL: dict[str, Shape] = {"loc": (3,), "scale": (3,)}

INSTANCES = {
    "encoder of a gray image": network("conv_encoder", ((8, 8),), NORMAL, channels=IMAGES, activation="gelu"),
    "encoder of colours, odd sides": network(
        "conv_encoder", ((3, 9, 7),), NORMAL, channels=IMAGES, kernel=3, groups=2, activation="silu"
    ),
    "encoder given a vector": network(
        "conv_encoder", ((8, 6, 2), (3,), ()), NORMAL, channels=IMAGES, activation="tanh", layout="channels_last"
    ),
    "decoder to a gray image": network(
        "conv_decoder", ((3,),), {"loc": (8, 8), "scale": (8, 8)}, channels=BACK, activation="silu"
    ),
    "decoder to colours, odd sides": network(
        "conv_decoder", ((3,), (2, 2)), {"loc": (3, 9, 7), "scale": (3, 9, 7)}, channels=BACK, kernel=3, groups=2,
        activation="elu",
    ),
    "decoder to classes of pixels": network(
        "conv_decoder", ((3,),), {"logits": (7, 8, 5)}, channels=BACK, kernel=5, activation="softplus",
        layout="channels_last",
    ),
    "unet of a gray image in time": network(
        "unet", ((6, 4), ()), {"out": (6, 4)}, channels=IMAGES, groups=2, activation="silu", heads=2, time=TIME
    ),
    "unet of colours, given a vector": network(
        "unet", ((3, 5, 2), (3,), ()), {"loc": (3, 5, 2), "scale": (3, 5)}, channels=(4,), groups=2,
        activation="gelu", layout="channels_last",
    ),
    "unet of a series alone": network(
        "unet", ((6, 2),), {"out": (6, 3)}, channels=IMAGES, blocks=2, groups=2, activation="tanh", dimensions=1,
        layout="channels_last",
    ),
    "residual": network("residual", ((2, 2), (3,)), NORMAL, width=6, activation="leaky_relu"),
    "residual in time": network("residual", ((4,), ()), {"out": (4,)}, width=6, activation="silu", time=TIME),
    "mlp in time": network("mlp", ((4,), ()), {"out": (4,)}, hidden=(6,), activation="gelu", time=TIME),
    "gru": network("gru", ((5, 3),), {"out": (5, 6)}, width=6),
    "gru backward over two series": network(
        "gru", ((5, 3), (5,)), {"loc": (5, 2), "scale": (5, 2)}, width=6, direction="backward"
    ),
    "transformer": network("transformer", ((5, 3),), {"out": (5, 6)}, **SMALL),
    "transformer of numbers": network("transformer", ((5,), (5, 2, 2)), {"loc": (5,), "scale": (5,)}, **SMALL),
}  # fmt: skip

instances = pytest.mark.parametrize("net", INSTANCES.values(), ids=INSTANCES)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def _registrations_are_forgotten() -> Iterator[None]:
    tables: list[dict[str, Any]] = [NETWORKS, PRINTERS, OWN]
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def inputs(net: Network, *batch: int, seed: int = 0) -> list[Array]:
    generator = np.random.default_rng(seed)
    return [generator.uniform(size=(*batch, *kind.shape)) for kind in net.inputs]


def on_torch(net: Network, values: Values) -> Callable[[list[Array]], list[Array]]:
    module = torch_network(net, values)
    return lambda arguments: _host(module(*map(torch.tensor, arguments)))


def on_jax(net: Network, values: Values) -> Callable[[list[Array]], list[Array]]:
    module = jax_network(net, values)
    run = jax.jit(lambda parts: module(*parts))
    return lambda arguments: _host(run(list(map(jnp.asarray, arguments))))


def _host(heads: object) -> list[Array]:
    parts = heads if isinstance(heads, tuple) else (heads,)
    return [np.asarray(part.detach() if isinstance(part, torch.Tensor) else part) for part in parts]


RUN = {"pyro": on_torch, "numpyro": on_jax}


@instances
def test_backends_agree_for_any_number_of_batch_axes(net: Network) -> None:
    first, second = (run(net, moved(net)) for run in RUN.values())
    for batch in ((), (3,), (2, 1, 3)):
        arguments = inputs(net, *batch)
        pairs = zip(first(arguments), second(arguments), net.heads, strict=True)
        for one, other, head in pairs:
            assert one.shape == other.shape == (*batch, *head.shape)
            assert one.dtype == other.dtype == np.float64
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@instances
@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_axes_are_independent_and_broadcast(net: Network, backend: str) -> None:
    run, (x, *_), (_, *others) = RUN[backend](net, moved(net)), inputs(net, 2, 3), inputs(net, 3)
    together = run([x, *others])
    for i, j in itertools.product(range(2), range(3)):
        alone = run([x[i, j], *(part[j] for part in others)])
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[i, j], other, rtol=1e-12, atol=1e-12)


@instances
def test_every_parameter_gets_a_gradient(net: Network) -> None:
    module = torch_network(net, moved(net))
    heads = module(*map(torch.tensor, inputs(net, 8)))
    parts = heads if isinstance(heads, tuple) else (heads,)
    generator = np.random.default_rng(7)
    sum((part * torch.tensor(generator.standard_normal(part.shape))).sum() for part in parts).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@instances
def test_gradients_agree(net: Network) -> None:
    values, arguments = moved(net), inputs(net, 4)
    module = torch_network(net, values)
    heads = module(*map(torch.tensor, arguments))
    sum((part**2).sum() for part in (heads if isinstance(heads, tuple) else (heads,))).backward()

    def loss(other, parts):
        return sum((part**2).sum() for part in jax.tree.leaves(other(*parts)))

    gradients = jax.jit(jax.grad(loss))(jax_network(net, values), list(map(jnp.asarray, arguments)))
    paths, _ = jax.tree.flatten_with_path(gradients)
    found = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}
    for name, parameter in module.named_parameters():
        scale = max(1.0, float(parameter.grad.abs().max()))
        np.testing.assert_allclose(parameter.grad, found[name], rtol=1e-10, atol=1e-12 * scale, err_msg=name)


@instances
def test_normalizations_start_as_identities_and_weights_within_their_bounds(net: Network) -> None:
    start_values = initial_values(net.parameters, 0)
    for spec in net.parameters:
        value = start_values[spec.name]
        if ".norm" in spec.name:
            assert (value == (1 if spec.name.endswith("weight") else 0)).all()
        elif spec.init.kind == "uniform":
            assert 0 < np.abs(value).max() <= spec.init.value


@instances
@pytest.mark.parametrize("place", [torch.float32, torch.bfloat16, torch.device("meta")], ids=str)
def test_torch_networks_follow_their_parameters(net: Network, place: torch.dtype | torch.device) -> None:
    module = torch_network(net, moved(net)).to(place)
    heads = module(*(torch.tensor(part).to(place) for part in inputs(net, 2)))
    device, dtype = (place, torch.float64) if isinstance(place, torch.device) else (torch.device("cpu"), place)
    for part in heads if isinstance(heads, tuple) else (heads,):
        assert (part.dtype, part.device) == (dtype, device)


@instances
def test_jax_networks_run_without_transfers(net: Network) -> None:
    module, arguments = jax_network(net, moved(net)), list(map(jnp.asarray, inputs(net, 2)))
    run = jax.jit(lambda module, parts: module(*parts))
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(run(module, arguments))


# ---- against the libraries' own layers -------------------------------------------------------------------------------


def test_gru_is_torchs() -> None:
    net = network("gru", ((7, 3),), {"out": (7, 4)}, width=5)
    values, (x,) = moved(net), inputs(net, 2)
    library = torch.nn.GRU(3, 5, batch_first=True, dtype=torch.float64)
    names = {f"{part}_l0": f"net.body.recurrence.{part}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    library.load_state_dict({own: torch.tensor(values[name]) for own, name in names.items()})
    states = library(torch.tensor(x))[0].detach().numpy()
    wanted = states @ values["net.last.weight"].T + values["net.last.bias"]
    for run in RUN.values():
        np.testing.assert_allclose(run(net, values)([x])[0], wanted, rtol=1e-12, atol=1e-12)


def test_a_transformer_block_is_torchs() -> None:
    from dgmppl_pyro.attention import Block

    ours = Block(8, 2).double()
    library = torch.nn.TransformerEncoderLayer(
        8, 2, 32, 0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    attention, state = ours.attention, library.self_attn
    with torch.no_grad():
        for number, layer in enumerate((attention.query, attention.key, attention.value)):
            state.in_proj_weight[8 * number : 8 * number + 8] = layer.weight
            state.in_proj_bias[8 * number : 8 * number + 8] = 0.0 if layer.bias is None else layer.bias
        library.self_attn.out_proj.load_state_dict(attention.output.state_dict())
        library.linear1.load_state_dict(ours.first.state_dict())
        library.linear2.load_state_dict(ours.second.state_dict())
    x = torch.randn(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(ours(x).detach(), library(x).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sides", [(8, 8), (7, 9), (1, 6)], ids=str)
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_a_decoder_reaches_every_side_that_an_encoder_reads(sides: tuple[int, int], kernel: int) -> None:
    net = network("conv_decoder", ((3,),), {"loc": sides}, channels=BACK, kernel=kernel, activation="tanh")
    (image,) = on_torch(net, moved(net))(inputs(net))
    assert image.shape == sides
    assert np.unique(image).size == image.size


MISFITS = {
    "output of other sides": (network("unet", ((8, 8),), {"out": (4, 4)}), "asked for something else"),
    "a vector for an image": (network("unet", ((64,),), {"out": (64,)}, dimensions=2), "its first input is none"),
    "an image for a line": (network("unet", ((8, 4, 2),), {"out": (8, 4, 2)}, dimensions=1), "goes over lines"),
    "odd sides": (network("unet", ((28, 14),), {"out": (28, 14)}, channels=(8, 8, 8)), "28 x 14 2 times"),
    "uneven groups": (network("unet", ((8, 8),), {"out": (8, 8)}, channels=(6, 8)), "do not form 8 groups"),
    "uneven heads": (network("unet", ((8, 8),), {"out": (8, 8)}, heads=3), "cannot be shared by 3"),
    "odd embedding": (network("unet", ((8, 8), ()), {"out": (8, 8)}, time=("embedding", 5)), "odd width"),
}


@pytest.mark.parametrize(("net", "message"), MISFITS.values(), ids=MISFITS)
def test_what_a_unet_does_not_go_over_is_said(net: Network, message: str) -> None:
    (misfit,) = NETWORKS["unet"].check(net)
    assert message in misfit.message


def test_times_are_told_apart() -> None:
    t = np.linspace(0, 1, 1001)
    features = jax_embedding.sinusoidal(jnp.asarray(t), 16)
    np.testing.assert_allclose(features, torch_embedding.sinusoidal(torch.tensor(t), 16), rtol=0, atol=1e-11)
    np.testing.assert_allclose(np.square(features).sum(-1), 8, rtol=1e-12)
    gaps = np.linalg.norm(np.diff(np.asarray(features), axis=0), axis=-1)
    assert gaps.min() > 0.5


# ---- in a program ----------------------------------------------------------------------------------------------------

CONVOLUTIONAL = """
dgmppl: 1
name: conv-vae
data:
  x: {dataset: digits.images, transform: binarize(8), split: {test: 0.1, seed: 0}}
networks:
  encoder: conv_encoder([4, 8], groups=2, activation=silu)
  decoder: conv_decoder([8, 4], activation=silu)
model:
  z: Normal(0, 1, shape=4)
  x: Bernoulli(logits=decoder(z))
guide:
  z: Normal(**encoder(x))
"""
STANDING = [
    CONVOLUTIONAL,
    CONVOLUTIONAL.replace("conv_encoder([4, 8], groups=2, activation=silu)", "residual(16, 2, gelu)"),
    CONVOLUTIONAL.replace("encoder(x))", "encoder(summary(x)[0]))").replace(
        "conv_encoder([4, 8], groups=2, activation=silu)", "mlp([8])\n  summary: transformer(1, 2, 8)"
    ),
]


@pytest.mark.parametrize("standalone", [False, True])
@pytest.mark.parametrize("text", STANDING, ids=["convolutions", "residual", "transformer"])
def test_bounds_agree_on_both_backends(text: str, standalone: bool) -> None:
    bounds = []
    images = (np.random.default_rng(0).uniform(size=(6, 8, 8)) < 0.5).astype(np.int64)
    for backend in BACKENDS:
        compiled = compile_spec(text, backend=backend, standalone=standalone)
        assert ("import dgmppl" in compiled.source or "from dgmppl" in compiled.source) != standalone
        function = compiled.module.function("elbo")
        assert function is not None
        noise = noise_for(function, 6, 3)
        bounds.append(
            compiled.executable.call("elbo", start(compiled), {"x": images}, noise=noise, particles=3)["value"]
        )
    np.testing.assert_allclose(*bounds, rtol=1e-9)


# ---- modules of the user's own ---------------------------------------------------------------------------------------

USERS = """
dgmppl: 1
name: own
data:
  x: {dataset: digits.images, transform: binarize(8)}
networks:
  encoder: mlp([8])
  decoder: KIND
model:
  z: Normal(0, 1, shape=4)
  x: Bernoulli(logits=decoder(z))
guide:
  z: Normal(**encoder(x))
"""


def test_a_registered_network_starts_alike_and_agrees_on_both_backends() -> None:
    register_network("gate", torch=own_networks.TorchGate, jax=own_networks.JaxGate)
    compiled = both(USERS.replace("KIND", "gate(width=7)"))
    images = (np.random.default_rng(0).uniform(size=(6, 8, 8)) < 0.5).astype(np.int64)
    values = initial_values(compiled["pyro"].module.parameters, 0)
    other = initial_values(compiled["numpyro"].module.parameters, 0)
    assert values.keys() == other.keys()
    assert values["decoder.body.module.enter.weight"].shape == (7, 4)
    assert all((values[name] == other[name]).all() for name in values)
    again = initial_values(compiled["pyro"].module.parameters, 1)
    assert (values["decoder.body.module.enter.weight"] != again["decoder.body.module.enter.weight"]).all()
    bounds = []
    for one in compiled.values():
        function = one.module.function("elbo")
        assert function is not None
        noise = noise_for(function, 6, 2)
        bounds.append(one.executable.call("elbo", values, {"x": images}, noise=noise, particles=2)["value"])
    np.testing.assert_allclose(*bounds, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_registered_network_stands_alone(backend: str) -> None:
    register_network("gate", torch=own_networks.TorchGate, jax=own_networks.JaxGate)
    compiled = compile_spec(USERS.replace("KIND", "gate(width=7)"), backend=backend, standalone=True)
    assert "import dgmppl" not in compiled.source
    assert "from dgmppl" not in compiled.source
    assert compiled.executable.has("elbo")


def test_classes_with_other_arrays_are_refused() -> None:
    register_network("odd_gate", torch=own_networks.TorchGate, jax=own_networks.JaxOther)
    with pytest.raises(RunError, match=r"numpyro class of 'odd_gate' has other arrays: enter\.bias"):
        compile_spec(USERS.replace("KIND", "odd_gate()")).module  # noqa: B018


@pytest.mark.parametrize("name", ["mlp", "Normal", "exp", "two words"])
def test_words_of_the_language_cannot_be_registered(name: str) -> None:
    with pytest.raises(ValueError, match="choose another"):
        register_network(name, torch=own_networks.TorchGate)


def test_a_class_inside_a_function_cannot_be_registered() -> None:
    class Inner(own_networks.TorchGate):
        pass

    with pytest.raises(ValueError, match="inside a function"):
        register_network("inner", torch=Inner)


def test_code_is_imported_for_trusted_specs_alone() -> None:
    text = USERS.replace("KIND", 'python("tests.own_networks:TorchGate", width=3)')
    assert [problem.code for problem in check(text)] == ["untrusted-code"]
    assert check(text, trust_code=True) == []
    compiled = compile_spec(text, backend="pyro", trust_code=True)
    assert 'registered.Module("tests.own_networks:TorchGate"' in compiled.source
    assert compiled.executable.has("elbo")
    with pytest.raises(UnsupportedError, match="no class for it"):
        compile_spec(text, backend="numpyro", trust_code=True).source  # noqa: B018


@pytest.mark.parametrize(
    "path", ["tests.own_networks:NOT_A_MODULE", "tests.own_networks:Absent", "no_such_package:Net"]
)
def test_what_cannot_be_imported_is_said(path: str) -> None:
    problems = check(USERS.replace("KIND", f'python("{path}")'), trust_code=True)
    assert [problem.code for problem in problems] == ["network-import"]
    assert path in problems[0].message
