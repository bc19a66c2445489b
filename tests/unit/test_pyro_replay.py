"""Recorded transitions of Markov chains: the same numbers to the last bit, and only where that is certain."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dgmppl.backend import Device
from dgmppl.compiler import compile_spec
from dgmppl.ir.parameters import initial_values
from dgmppl_pyro import samplers
from dgmppl_pyro.replay import WORTH, Replay
from tests.energies import spec

CHAINS = {
    "langevin": "steps=20, step_size=0.01",
    "mala": "sampler=mala, steps=20, step_size=0.01",
    "hmc": "sampler=hmc, steps=5, step_size=0.1",
}


def trained(chain: str, activation: str, blocks: int = 4) -> tuple[dict[str, np.ndarray], int]:
    """What a run's state is after its blocks, and how many transitions it recorded."""
    compiled = compile_spec(
        spec(
            {"x": "Energy(potential, base=Normal(0, 2))"},
            data={"x": {"shape": [2], "support": "real"}},
            networks={"potential": f"mlp([8, 8], activation={activation})"},
            objective=f"contrastive_divergence({chain}, persistent=True)",
            train={"steps": 100, "batch_size": 16},
        ),
        backend="pyro",
    )
    x = np.random.default_rng(0).normal(size=(64, 2))
    trainer = compiled.executable.trainer(
        initial_values(compiled.module.parameters, 0), {"x": x}, compiled.program.train, steps=100, seed=0,
        device=Device("cpu", "float32", 1),
    )  # fmt: skip
    rows = np.random.default_rng(1).integers(64, size=(blocks, 5, 16))
    for block in rows:
        trainer.advance(block)
    return dict(trainer.state()), len(trainer._replay._recorded)  # type: ignore[attr-defined]


@pytest.mark.parametrize("activation", ["softplus", "gelu"])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_recorded_transition_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, chain: str, activation: str
) -> None:
    """Parameters move between the blocks: the record reads the present ones."""
    plain, none = trained(CHAINS[chain], activation)
    monkeypatch.setattr("dgmppl_pyro.replay.WORTH", 30)
    recorded, one = trained(CHAINS[chain], activation)
    assert (none, one) == (0, 1)
    for name, array in plain.items():
        np.testing.assert_array_equal(array, recorded[name])


def faster(log_p: samplers.LogDensity, start: torch.Tensor) -> bool:
    """Whether the second of two long chains takes a recorded transition."""
    replay = Replay()
    normal = torch.zeros(len(start), WORTH, *start.shape[1:])
    with replay.active():
        for _ in range(2):
            samplers.langevin(log_p, start, 1, normal, step_size=0.1)
    return bool(replay._recorded)


def test_what_is_not_known_for_certain_is_not_recorded() -> None:
    net, start, shift = torch.nn.Linear(2, 1), torch.zeros(3, 2), torch.ones(2)
    assert faster(lambda x: net(x)[..., 0], start)
    assert faster(lambda x: -(x * x).sum(-1), start)
    assert not faster(lambda x: -((x - shift) ** 2).sum(-1), start)  # a batch's own context


def test_a_function_of_another_number_is_another_transition() -> None:
    start, normal = torch.zeros(4, 2), torch.zeros(4, WORTH + 1, 2)

    def towards(place: float) -> samplers.LogDensity:
        return lambda x: -((x - place) ** 2).sum(-1)

    with Replay().active():
        for place in (1.0, -1.0, 1.0):
            found = samplers.langevin(towards(place), start, 1, normal, step_size=0.1)
            assert math.isclose(float(found[0, 0]), place, rel_tol=1e-5)
