"""Are samples of 8x8 digits as near to held-out digits as those of a hand-written torch program?

Same networks, losses, optimizers and steps; a thousand samples of each against the same held-out rows by the sliced
Wasserstein distance in standardized units, paired over seeds.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import dgmppl as dg
from benchmarks.studies.ledger import Facts, Key
from benchmarks.studies.study import Results, Study, Verdict, groups, no_worse
from dgmppl.data import DataSet
from dgmppl.results.distances import sliced_wasserstein

Array = NDArray[Any]

SAMPLES, LATENT, HIDDEN, BATCH, STEPS, RATE = 1000, 16, 128, 128, 2000, 2e-4
_ADAM = f"adam({RATE}, beta1=0.5)"


def spec(seed: int) -> dict[str, Any]:
    """The game, its data split by the seed."""
    digits = {"dataset": "digits.images", "transform": ["flatten()", "dequantize(17)", "standardize(per=all)"]}
    return {
        "dgmppl": 1,
        "name": "digits",
        "data": {"x": {**digits, "split": {"test": 0.25, "seed": seed}}},
        "networks": {
            "generator": f"mlp([{HIDDEN}, {HIDDEN}], activation=relu)",
            "discriminator": f"mlp([{HIDDEN}, {HIDDEN}], activation=leaky_relu)",
        },
        "model": {"z": f"Normal(0, 1, shape={LATENT})", "x": "generator(z)"},
        "critics": {"x": "discriminator(x)"},
        "train": {"optimizer": _ADAM, "batch_size": BATCH, "steps": STEPS},
    }


def fit(key: Key) -> Facts:
    """The distance of a thousand samples to the held-out rows, and its standard error."""
    program = dg.compile(spec(key.seed), backend="pyro" if key.backend == "reference" else key.backend)
    data, began = program.load_data(), time.process_time()
    if key.backend == "reference":
        samples = by_hand(data, key.seed)
    else:
        fitted = program.fit(seed=key.seed)
        samples = fitted.draw(SAMPLES, {}, key.seed)["x"]
    seconds = time.process_time() - began
    assert data.held_out is not None
    found = sliced_wasserstein(data.held_out.arrays["x"], samples, directions=500)
    return {"distance": found.value, "error": found.standard_error, "cpu_seconds": round(seconds, 1)}


def by_hand(data: DataSet, seed: int) -> Array:
    """The same game as one would write it in torch: binary cross-entropy, the non-saturating generator."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    width = data.train.arrays["x"].shape[1]
    generator, critic = _network(torch.nn.ReLU(), LATENT, width), _network(torch.nn.LeakyReLU(), width, 1)
    players = [
        torch.optim.Adam(one.parameters(), lr=RATE, betas=(0.5, 0.999), fused=True) for one in (critic, generator)
    ]
    real, fake, loss_of = torch.ones(BATCH, 1), torch.zeros(BATCH, 1), torch.nn.BCEWithLogitsLoss()
    draw = np.random.default_rng(seed)
    for step in range(STEPS):
        if step % 100 == 0:  # fresh dequantization noise
            rows = torch.tensor(data.redraw(seed + step).train.arrays["x"], dtype=torch.float32)
        x = rows[torch.as_tensor(draw.integers(0, len(rows), BATCH))]
        made = generator(torch.randn(BATCH, LATENT))
        _descend(players[0], loss_of(critic(x), real) + loss_of(critic(made.detach()), fake))
        _descend(players[1], loss_of(critic(generator(torch.randn(BATCH, LATENT))), real))
    with torch.no_grad():
        return np.asarray(generator(torch.randn(SAMPLES, LATENT)).numpy())


def _network(activation: torch.nn.Module, inputs: int, outputs: int) -> torch.nn.Module:
    layer = torch.nn.Linear
    return torch.nn.Sequential(
        layer(inputs, HIDDEN), activation, layer(HIDDEN, HIDDEN), activation, layer(HIDDEN, outputs)
    )


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def judge(results: Results) -> list[Verdict]:
    """On each backend the mean difference over seeds, ours less theirs, against two of its standard errors."""
    found = groups(results)
    theirs = found.get(("torch", "reference"), {})
    return [
        no_worse(f"digits, {backend}", "by hand", ours, theirs)
        for (name, backend), ours in found.items()
        if name == "gan"
    ]


STUDY = Study(__doc__ or "", ("gan",), tuple(range(5)), fit, judge, references=("torch",))
