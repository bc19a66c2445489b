"""Laws of causal networks, for a table of named instances and on both backends.

Output i may depend on the elements visited before the i-th and on the context, on nothing else; a sampler that goes
element by element with a cache sees exactly the outputs of one pass over all elements.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dgmppl.ir.networks import NETWORKS, Head, Network, OptionValue, visiting_order
from dgmppl.ir.types import BINARY, COUNT, POSITIVE, REAL, Dtype, Shape, Support, TensorType, integer
from tests.networks import Values, jax_network, moved, torch_network

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Instance:
    """A causal network; `dense` where every element reaches every later output."""

    network: Network
    dense: bool = True


def causal(
    kind: str, x: TensorType, heads: dict[str, tuple[Shape, Support]], /, *context: TensorType, **options: OptionValue
) -> Network:
    """A network `net`; heads are given by what follows the shape of x."""
    given = {option.name: options.get(option.name, option.default) for option in NETWORKS[kind].options}
    shapes = tuple(Head(name, (*x.shape, *rest), support) for name, (rest, support) in heads.items())
    return Network("net", kind, given, (x, *context), shapes, causal=True)


def real(*shape: int) -> TensorType:
    return TensorType(shape)


def states(support: Support, *shape: int) -> TensorType:
    return TensorType(shape, Dtype.INTEGER, support)


LOGITS = {"logits": ((), REAL)}
NORMAL = {"loc": ((), REAL), "scale": ((), POSITIVE)}
MIXTURE = {"weights": ((3,), Support("simplex", 3)), "loc": ((3,), REAL), "scale": ((3,), POSITIVE)}
SPLINE = {"widths": ((4,), REAL), "heights": ((4,), REAL), "derivatives": ((3,), REAL)}
WIDE: tuple[OptionValue, ...] = (16, 20)
SMALL: dict[str, OptionValue] = {"layers": 2, "heads": 2, "width": 6}
WINDOWS: dict[str, OptionValue] = {"layers": 3, "width": 5, "kernel": 3, "activation": "silu"}

INSTANCES = {
    "made": Instance(causal("made", states(BINARY, 6), LOGITS, hidden=WIDE)),
    "made image of integers": Instance(
        causal("made", states(integer(4), 2, 3), {"logits": ((4,), REAL)}, hidden=WIDE, activation="tanh")
    ),
    "made counts": Instance(causal("made", states(COUNT, 4), {"rate": ((), POSITIVE)}, hidden=WIDE, activation="elu")),
    "made given a vector": Instance(causal("made", real(5), NORMAL, real(3), hidden=WIDE, activation="silu")),
    "made given a matrix and a class": Instance(
        causal("made", real(4), NORMAL, real(2, 2), states(integer(3)), hidden=WIDE, activation="tanh")
    ),
    "made in reverse": Instance(causal("made", real(5), MIXTURE, hidden=WIDE, activation="tanh", order="reverse")),
    "made in a listed order": Instance(
        causal("made", real(2, 2), SPLINE, hidden=WIDE, activation="tanh", order=(2, 0, 3, 1))
    ),
    "made of one element": Instance(causal("made", real(1), NORMAL, real(2), hidden=WIDE, activation="tanh")),
    "made of a number": Instance(causal("made", real(), NORMAL, real(2), hidden=WIDE, activation="tanh")),
    "made narrower than x": Instance(causal("made", real(9), NORMAL, hidden=(3, 20, 5), activation="tanh"), False),
    "made without hidden layers": Instance(causal("made", real(4), NORMAL, real(2), hidden=())),
    "transformer of numbers": Instance(causal("causal_transformer", real(5), NORMAL, real(3), **SMALL)),
    "transformer of tokens": Instance(
        causal("causal_transformer", states(integer(4), 2, 3), {"logits": ((4,), REAL)}, states(integer(3)), **SMALL)
    ),
    "transformer in a listed order": Instance(
        causal("causal_transformer", states(BINARY, 4), LOGITS, order=(2, 0, 3, 1), **SMALL)
    ),
    "gru of numbers": Instance(causal("gru", real(5), MIXTURE, real(3), width=6)),
    "gru of integers in reverse": Instance(
        causal("gru", states(integer(3), 2, 2), {"logits": ((3,), REAL)}, states(integer(3)), width=6, order="reverse")
    ),
    "convolutions along a line": Instance(causal("causal_conv", real(6), NORMAL, real(2), **WINDOWS), False),
    "convolutions of bits in reverse": Instance(
        causal("causal_conv", states(BINARY, 6), LOGITS, order="reverse", gated=True, **WINDOWS), False
    ),
    "convolutions of an image": Instance(
        causal("causal_conv", states(integer(4), 3, 4), {"logits": ((4,), REAL)}, states(integer(3)), **WINDOWS), False
    ),
    "gated convolutions of an image in reverse": Instance(
        causal("causal_conv", real(4, 3), SPLINE, real(2), gated=True, order="reverse", **WINDOWS), False
    ),
}

instances = pytest.mark.parametrize("instance", INSTANCES.values(), ids=INSTANCES)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def inputs(network: Network, *batch: int, seed: int = 0) -> list[NDArray[np.generic]]:
    """Random inputs in the supports of their types."""
    generator = np.random.default_rng(seed)
    values: list[NDArray[np.generic]] = []
    for kind in network.inputs:
        shape = (*batch, *kind.shape)
        if kind.dtype is Dtype.REAL:
            values.append(generator.standard_normal(shape))
        else:
            values.append(generator.integers(0, kind.support.states or 5, shape))
    return values


def on_torch(network: Network, values: Values, arguments: list[NDArray[np.generic]]) -> list[Array]:
    net = torch_network(network, values)
    return _host(net(*map(torch.tensor, arguments)))


def on_jax(network: Network, values: Values, arguments: list[NDArray[np.generic]]) -> list[Array]:
    return _host(_applied(jax_network(network, values), *map(jnp.asarray, arguments)))


@jax.jit
def _applied(net, *arguments):
    return net(*arguments)


def _host(heads: object) -> list[Array]:
    parts = heads if isinstance(heads, tuple) else (heads,)
    return [np.asarray(part.detach() if isinstance(part, torch.Tensor) else part) for part in parts]


def per_element(network: Network, heads: list[Array]) -> Array:
    """All outputs of each element, [.., D, K], in the order in which elements are visited."""
    event = network.inputs[0].shape
    parts = []
    for head, value in zip(network.heads, heads, strict=True):
        batch = value.shape[: value.ndim - len(head.shape)]
        parts.append(value.reshape(*batch, network.inputs[0].size, -1 if head.shape[len(event) :] else 1))
    joined = np.concatenate(parts, -1)
    return joined[..., list(order(network)), :]


def order(network: Network) -> tuple[int, ...]:
    return visiting_order(network) or tuple(range(network.inputs[0].size))


BACKENDS = {"pyro": on_torch, "numpyro": on_jax}
backends = pytest.mark.parametrize("backend", BACKENDS)


def dependence(network: Network, values: Values, backend: str) -> NDArray[np.bool_]:
    """[i, j]: whether any output of element i moves with element j, by finite changes; both in visiting order."""
    run, kind = BACKENDS[backend], network.inputs[0]
    moves = np.zeros((kind.size, kind.size), bool)
    for seed in range(3):
        x, *context = inputs(network, seed=seed)
        changed = np.repeat(x.reshape(1, -1), kind.size + 1, 0)
        for row, element in enumerate(order(network)):
            old = changed[row, element]
            changed[row, element] = (old + 1) % (kind.support.states or 99) if kind.dtype is Dtype.INTEGER else 0.7
        outputs = per_element(network, run(network, values, [changed.reshape(-1, *kind.shape), *context]))
        moves |= (np.abs(outputs[:-1] - outputs[-1]) > 1e-12).any(-1).T
    return moves


@instances
@backends
def test_an_output_moves_with_earlier_elements_only(instance: Instance, backend: str) -> None:
    network = instance.network
    moves = dependence(network, moved(network), backend)
    assert not np.triu(moves).any()
    if instance.dense:
        assert np.array_equal(moves, np.tril(np.ones_like(moves), -1))


@instances
def test_the_jacobian_is_strictly_triangular(instance: Instance) -> None:
    network = instance.network
    if network.inputs[0].dtype is not Dtype.REAL:
        pytest.skip("integers: see the test of finite changes")
    values, arguments, size = moved(network), inputs(network), network.inputs[0].size
    places = list(order(network))
    torch_net, jax_net = torch_network(network, values), jax_network(network, values)
    context = [torch.tensor(part) for part in arguments[1:]]
    first = torch.autograd.functional.jacobian(lambda x: torch_net(x, *context), torch.tensor(arguments[0]))
    jacobian = jax.jit(jax.jacobian(lambda x: jax_net(x, *map(jnp.asarray, arguments[1:]))))
    second = jacobian(jnp.asarray(arguments[0]))
    for head, one, other in zip(network.heads, _host(first), _host(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
        for found in (one, other):
            table = found.reshape(size, head.width // size, size)[places][..., places]
            assert not np.triu(np.abs(table).sum(1)).any()


@instances
@backends
def test_the_context_reaches_every_output(instance: Instance, backend: str) -> None:
    network = instance.network
    if len(network.inputs) == 1:
        pytest.skip("no context")
    values, arguments = moved(network), inputs(network)
    before = per_element(network, BACKENDS[backend](network, values, arguments))
    for position in range(1, len(arguments)):
        changed = [part if place != position else 1 - part for place, part in enumerate(arguments)]
        assert (before != per_element(network, BACKENDS[backend](network, values, changed))).any(-1).all()


@instances
def test_every_parameter_gets_a_gradient(instance: Instance) -> None:
    network = instance.network
    net = torch_network(network, moved(network))
    weights = np.random.default_rng(7).standard_normal((8, sum(head.width for head in network.heads)))
    heads = net(*map(torch.tensor, inputs(network, 8)))
    parts = heads if isinstance(heads, tuple) else (heads,)
    flat = torch.cat([part.reshape(8, -1) for part in parts], -1)
    (flat * torch.tensor(weights)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@instances
def test_backends_agree(instance: Instance) -> None:
    network = instance.network
    arguments = inputs(network, 2, 3)
    pairs = zip(*(run(network, moved(network), arguments) for run in BACKENDS.values()), network.heads, strict=True)
    for one, other, head in pairs:
        assert one.shape == (2, 3, *head.shape)
        assert one.dtype == other.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@instances
@backends
def test_batch_axes_are_independent_and_broadcast(instance: Instance, backend: str) -> None:
    network, run = instance.network, BACKENDS[backend]
    values, (x, *_), (_, *context) = moved(network), inputs(network, 2, 3), inputs(network, 3)
    together = run(network, values, [x, *context])
    for i, j in itertools.product(range(2), range(3)):
        alone = run(network, values, [x[i, j], *(part[j] for part in context)])
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[i, j], other, rtol=1e-12, atol=1e-13)


# ---- element by element ----------------------------------------------------------------------------------------------


def stepped_on_torch(network: Network, values: Values, arguments: list[NDArray[np.generic]]) -> list[Array]:
    """Heads collected from steps, [.., D, *rest] in visiting order."""
    net = torch_network(network, values)
    x, *context = map(torch.tensor, arguments)
    batch = x.shape[: x.ndim - len(network.inputs[0].shape)]
    sequence = x.reshape(*batch, -1)[..., list(order(network))]
    cache, previous, found = net.start(*context, batch=batch), torch.zeros_like(sequence[..., 0]), []
    for i in range(sequence.shape[-1]):
        cache, heads = net.step(cache, i, previous)
        found.append(_host(heads))
        previous = sequence[..., i]
    return _collected(found, len(batch))


def stepped_on_jax(network: Network, values: Values, arguments: list[NDArray[np.generic]]) -> list[Array]:
    """The same as one compiled scan, whose index is traced."""
    x, *context = map(jnp.asarray, arguments)
    batch = x.shape[: x.ndim - len(network.inputs[0].shape)]
    sequence = jnp.moveaxis(x.reshape(*batch, -1)[..., np.array(order(network))], -1, 0)
    before = jnp.concatenate([jnp.full_like(sequence[:1], 1), sequence[:-1]])

    heads = _host(_scanned(jax_network(network, values), before, context))
    return [np.moveaxis(head, 0, len(batch)) for head in heads]


@jax.jit
def _scanned(net, before, context):
    def body(cache, entry):
        return net.step(cache, *entry)

    start = net.start(*context, batch=before.shape[1:])
    return jax.lax.scan(body, start, (jnp.arange(len(before)), before))[1]


def _collected(found: list[list[Array]], axis: int) -> list[Array]:
    return [np.stack(parts, axis) for parts in zip(*found, strict=True)]


STEPPED = {"pyro": stepped_on_torch, "numpyro": stepped_on_jax}


@instances
@backends
def test_steps_give_what_one_pass_gives(instance: Instance, backend: str) -> None:
    network = instance.network
    values, arguments = moved(network), inputs(network, 2, 3)
    arguments = [arguments[0], *(part[0] for part in arguments[1:])]
    whole = per_element(network, BACKENDS[backend](network, values, arguments))
    steps = STEPPED[backend](network, values, arguments)
    parts = [part.reshape(*part.shape[:3], -1) for part in steps]
    np.testing.assert_allclose(np.concatenate(parts, -1), whole, rtol=1e-12, atol=1e-12)
    rest = [head.shape[len(network.inputs[0].shape) :] for head in network.heads]
    assert [part.shape[3:] for part in steps] == rest


@instances
def test_steps_run_under_jit_without_transfers(instance: Instance) -> None:
    network = instance.network
    net = jax_network(network, moved(network))
    x, *context = map(jnp.asarray, inputs(network, 2))
    previous, i = jnp.zeros(2, x.dtype), jnp.asarray(0)
    whole = jax.jit(lambda net, x, context: net(x, *context))
    step = jax.jit(lambda net, i, previous, context: net.step(net.start(*context, batch=(2,)), i, previous)[1])
    with jax.transfer_guard("disallow"):
        for heads in (whole(net, x, context), step(net, i, previous, context)):
            jax.block_until_ready(heads)


@instances
@pytest.mark.parametrize("place", [torch.float32, torch.bfloat16, torch.device("meta")], ids=str)
def test_torch_networks_follow_their_parameters(instance: Instance, place: torch.dtype | torch.device) -> None:
    network = instance.network
    net = torch_network(network, moved(network)).to(place)
    device, dtype = (place, torch.float64) if isinstance(place, torch.device) else (torch.device("cpu"), place)
    arguments = [torch.tensor(part).to(device) for part in inputs(network, 2)]
    arguments = [part.to(dtype) if part.is_floating_point() else part for part in arguments]
    x, *context = arguments
    cache, first = net.start(*context, batch=(2,)), torch.zeros(2, dtype=x.dtype, device=device)
    for heads in (net(*arguments), net.step(cache, 0, first)[1]):
        for part in heads if isinstance(heads, tuple) else (heads,):
            assert (part.dtype, part.device) == (dtype, device)


# ---- probabilities ---------------------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("ordering", ["raster", "reverse", (3, 1, 4, 0, 9, 2, 6, 5, 8, 7)], ids=str)
@pytest.mark.parametrize(
    "kind",
    [("made", {"hidden": (24,)}), ("causal_transformer", SMALL), ("gru", {"width": 6})],
    ids=lambda kind: kind[0],
)
def test_autoregressive_bernoulli_sums_to_one(
    backend: str, ordering: OptionValue, kind: tuple[str, dict[str, OptionValue]]
) -> None:
    name, options = kind
    network = causal(name, states(BINARY, 10), LOGITS, order=ordering, **options)
    x = np.array(list(itertools.product((0, 1), repeat=10)))
    (logits,) = BACKENDS[backend](network, moved(network, 0.5), [x])
    log_prob = -np.logaddexp(0, np.where(x == 1, -logits, logits)).sum(-1)
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-12)
    assert log_prob.std() > 0.05
