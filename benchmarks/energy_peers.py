"""Energies and diffusions as TorchEBM and azula write them, on networks that are given.

Both are optional: `pip install --no-deps torchebm azula einops` leaves torch as it is.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

# The noise of denoising score matching; transitions of a chain and their size; the standard deviation of the base.
SIGMA, STEPS, STEP_SIZE, BASE = 0.1, 20, 0.01, 2.0


def torchebm_energy(net: torch.nn.Module) -> Any:
    """net(x) + |x|^2 / (2 BASE^2): a network that tilts a Gaussian base."""
    core = importlib.import_module("torchebm.core")

    class Energy(core.BaseModel):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            value: torch.Tensor = self.net(x) + 0.5 * x.square().sum(-1) / BASE**2
            return value

    return Energy()


def torchebm_sampler(energy: Any) -> Any:
    """Langevin dynamics of an energy."""
    return importlib.import_module("torchebm.samplers").LangevinDynamics(energy, step_size=STEP_SIZE)


def torchebm_loss(kind: str, energy: Any, rows: int) -> torch.nn.Module:
    """TorchEBM's own objective and sampler, without the energy regularizer that it adds by default."""
    losses = importlib.import_module("torchebm.losses")
    if kind == "denoising":
        return losses.DenoisingScoreMatching(energy, noise_scale=SIGMA)  # type: ignore[no-any-return]
    loss = losses.PersistentContrastiveDivergence(
        energy, torchebm_sampler(energy), k_steps=STEPS, buffer_size=rows, new_sample_ratio=0.0, init_steps=0,
        energy_reg_weight=0.0,
    )  # fmt: skip
    return _First(loss)


class _First(torch.nn.Module):
    """The loss without the samples that come along."""

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.loss(x)[0]
        return value


class AzulaDdpm(torch.nn.Module):
    """azula's denoiser on a cosine schedule, of the same network."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        denoise, noise = importlib.import_module("azula.denoise"), importlib.import_module("azula.noise")
        self.denoiser = denoise.SimpleDenoiser(net, noise.CosineSchedule())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.denoiser.loss(x, torch.rand(len(x)))
        return value

    def sample(self, shape: tuple[int, ...], steps: int) -> torch.Tensor:
        """Draws by as many ancestral steps."""
        sampler = importlib.import_module("azula.sample").DDPMSampler(self.denoiser, steps=steps, silent=True)
        drawn: torch.Tensor = sampler(sampler.init(shape))
        return drawn
