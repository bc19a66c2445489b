"""Are samples in two dimensions as near to the data as those of TorchEBM and of azula?

An energy trained by persistent contrastive divergence against TorchEBM's, a diffusion with the simple weighting against
azula's: the emitted network from the same weights, as many steps of the same size on batches of one size, the same
chains or reverse steps. 2,000 samples of each stand against 2,000 held-out points by the sliced Wasserstein distance in
standardized units, paired over seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import dgmppl as dg
from benchmarks.emitted import torch_network
from benchmarks.energy_peers import (
    BASE,
    STEP_SIZE,
    STEPS,
    AzulaDdpm,
    torchebm_energy,
    torchebm_loss,
    torchebm_sampler,
)
from benchmarks.studies.ledger import Facts, Key
from benchmarks.studies.study import Results, Study, Verdict, groups, no_worse
from dgmppl.ir.parameters import initial_values
from dgmppl.results.distances import sliced_wasserstein

Array = NDArray[Any]

SAMPLES, BATCH, RATE, TRANSITIONS, REVERSE = 2000, 256, 1e-3, 200, 100
UPDATES = {"energy": 500, "diffusion": 3000}
PEERS = {"energy": "torchebm", "diffusion": "azula"}
MODELS: dict[str, dict[str, Any]] = {
    "energy": {
        "networks": {"net": "mlp([128, 128], activation=softplus)"},
        "model": {
            "x": f"Energy(net, base=Normal(0, {BASE}), sampler=langevin(steps={TRANSITIONS}, step_size={STEP_SIZE}))"
        },
        "objective": f"contrastive_divergence(steps={STEPS}, step_size={STEP_SIZE}, persistent=True)",
    },
    "diffusion": {
        "networks": {"net": "mlp([128, 128, 128], activation=silu, time=embedding(32))"},
        "model": {"x": f"Diffusion(net, schedule=cosine(), steps={REVERSE}, predict=noise, weighting=simple)"},
    },
}


def spec(model: str, seed: int) -> dict[str, Any]:
    """A model of rings, a third of the points held out."""
    rings = {"dataset": "rings", "size": 3 * SAMPLES, "transform": ["standardize(per=all)"]}
    return {
        "dgmppl": 1,
        "name": model,
        "data": {"x": {**rings, "split": {"test": 1 / 3, "seed": seed}}},
        **MODELS[model],
        "train": {"optimizer": f"adam({RATE})", "batch_size": BATCH, "steps": UPDATES[model]},
    }


def fit(key: Key) -> Facts:
    """The distance of the samples to the held-out points, and its standard error."""
    model = next(name for name, peer in PEERS.items() if key.contender in {name, peer})
    program = dg.compile(spec(model, key.seed), backend="pyro" if key.backend == "reference" else key.backend)
    data, began = program.load_data(), time.process_time()
    if key.backend == "reference":
        samples = by_peer(model, program, data.train.arrays["x"], key.seed)
    else:
        samples = program.fit(seed=key.seed).draw(SAMPLES, {}, key.seed)["x"]
    seconds = time.process_time() - began
    assert data.held_out is not None
    found = sliced_wasserstein(data.held_out.arrays["x"], samples)
    return {"distance": found.value, "error": found.standard_error, "cpu_seconds": round(seconds, 1)}


def by_peer(model: str, program: dg.CompiledProgram, points: Array, seed: int) -> Array:
    """Samples of the peer's model, whose network starts at the emitted program's weights."""
    torch.manual_seed(seed)
    net = torch_network(program.compiled, initial_values(program.compiled.module.parameters, seed))
    loss, draw = PEER[model](net)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    rows, generator = torch.tensor(points, dtype=torch.float32), np.random.default_rng(seed)
    for _ in range(UPDATES[model]):
        value = loss(rows[torch.as_tensor(generator.integers(0, len(rows), BATCH))])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    return np.asarray(draw().detach().numpy())


def _torchebm(net: torch.nn.Module) -> tuple[torch.nn.Module, Callable[[], torch.Tensor]]:
    energy = torchebm_energy(net)
    start = BASE * torch.randn(SAMPLES, 2)
    return torchebm_loss("persistent", energy, BATCH), lambda: torchebm_sampler(energy).sample(
        x=start, n_steps=TRANSITIONS
    )


def _azula(net: torch.nn.Module) -> tuple[torch.nn.Module, Callable[[], torch.Tensor]]:
    loss = AzulaDdpm(net)
    return loss, lambda: loss.sample((SAMPLES, 2), REVERSE)


PEER = {"energy": _torchebm, "diffusion": _azula}


def judge(results: Results) -> list[Verdict]:
    """On each backend the mean difference over seeds, ours less the peer's, against two of its standard errors."""
    found = groups(results)
    return [
        no_worse(f"{name}, {backend}", PEERS[name], ours, found.get((PEERS[name], "reference"), {}))
        for (name, backend), ours in found.items()
        if name in PEERS
    ]


STUDY = Study(__doc__ or "", tuple(PEERS), tuple(range(5)), fit, judge, references=tuple(PEERS.values()))
