"""How the Pyro runtime calls torch: linear layers, columns kept as reals, denormal numbers."""

from __future__ import annotations

from typing import Any

import pytest

from dgmppl.ir.kernel import Assign, Function, Op, Var

torch = pytest.importorskip("torch")
linear = pytest.importorskip("dgmppl_pyro.linear")


@pytest.mark.parametrize("through", [False, True], ids=["torch", "onednn"])
@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 5, 3), (0, 3)])
def test_linear_is_torch_s(through: bool, shape: tuple[int, ...], monkeypatch: Any) -> None:
    _route(monkeypatch, through)
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(size, generator=generator) for size in (shape, (4, shape[-1]), (4,)))
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    expected, found = torch.nn.functional.linear(x, weight, bias), linear.linear(x, weight, bias)
    direction = torch.randn(expected.shape, generator=generator)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, inputs, direction), torch.autograd.grad(expected, inputs, direction), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def _route(monkeypatch: Any, through: bool) -> None:
    monkeypatch.setattr(linear, "slow_mkl", lambda: through)
    monkeypatch.setattr(linear, "_WORTHWHILE", 1)


@pytest.mark.parametrize("through", [False, True], ids=["torch", "onednn"])
def test_linear_works_under_every_transformation(through: bool, monkeypatch: Any) -> None:
    _route(monkeypatch, through)
    x, weight = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(linear.linear(x, weight).pow(3).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.pow(2).sum(), weight)
    (plain,) = torch.autograd.grad(torch.nn.functional.linear(x, weight).pow(3).sum(), x, create_graph=True)
    torch.testing.assert_close(curvature, torch.autograd.grad(plain.pow(2).sum(), weight)[0])
    rows = torch.func.vmap(torch.func.grad(lambda row: linear.linear(row, weight).pow(3).sum()))(x)
    torch.testing.assert_close(rows, plain)
    _, derivative = torch.func.jvp(lambda row: linear.linear(row, weight), (x,), (torch.ones_like(x),))
    torch.testing.assert_close(derivative, torch.ones_like(x) @ weight.T)
    assert linear.linear(x.to("meta"), weight.to("meta")).shape == (5, 4)
    assert linear.linear(x.double(), weight.double()).dtype == torch.float64


@pytest.mark.parametrize("through", [False, True], ids=["torch", "onednn"])
def test_networks_are_accelerated_where_it_helps(through: bool, monkeypatch: Any) -> None:
    _route(monkeypatch, through)
    network = linear.accelerate(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()))
    assert type(network[0]) is (linear.Linear if through else torch.nn.Linear)
    x = torch.randn(6, 3)
    expected = torch.relu(torch.nn.functional.linear(x, network[0].weight, network[0].bias))
    torch.testing.assert_close(network(x), expected)


def test_a_column_is_kept_as_reals_only_where_it_is_never_an_index() -> None:
    from dgmppl_pyro.columns import arithmetic

    def function(*values: Any) -> Function:
        body = tuple(Assign((f"v{number}",), value) for number, value in enumerate(values))
        return Function("loss_model", "loss", body, "", columns=(("x", "x"),))

    cast = Op("cast", (Var("x"),), (("dtype", "real"),))
    gather = Op("gather", (Var("table"), Var("x")))
    assert arithmetic([function(cast, cast)]) == {"x"}
    assert arithmetic([function(cast, gather)]) == frozenset()
    assert arithmetic([function(cast), function(gather)]) == frozenset()
    assert arithmetic([function(Var("x"))]) == frozenset()


def test_denormal_numbers_are_flushed_inside_a_block_alone() -> None:
    from dgmppl_pyro.devices import flush_denormals

    tiny = torch.tensor(1e-39)
    with flush_denormals():
        assert tiny * 1.0 == 0.0
    assert tiny * 1.0 != 0.0
