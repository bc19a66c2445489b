"""`Fit`: what is left of training or inference: a model that answers, and its results for other tools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.answers import Answers
from dgmppl.api.settings import require_known
from dgmppl.backend import Device

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Fit(Answers):
    """A fitted model: its densities, bounds, samples and latents (`Answers`), and its results.

    Attributes are those of `Answers`: `program`, `parameters`, `draws`, `data`, `records`, `device`.
    """

    def to(self, device: str = "auto", precision: str | None = None, threads: int | None = None) -> Fit:
        """The same fit, whose densities, samples and posteriors are computed elsewhere or in another precision.

        Args:
            device: `auto` for the fastest that is there, `cpu`, `cuda`.
            precision: `float32`, `float64`; `bfloat16` rounds the factors of matrix products, and nothing else. None
                for that of the parameters.
            threads: CPU threads; None for the library's own choice.

        Raises:
            RunError: there is no such device or precision.
        """
        require_known(device, precision, threads)
        own = "float64" if any(value.dtype == np.float64 for value in self.parameters.values()) else "float32"
        chosen = Device(device, precision or own, threads)
        self.program.compiled.executable.on(chosen)
        if precision is None:
            return replace(self, device=chosen)
        dtype = np.dtype(np.float64 if precision == "float64" else np.float32)
        draws = None if self.draws is None else replace(self.draws, posterior=_cast(self.draws.posterior, dtype))
        return replace(self, parameters=_cast(self.parameters, dtype), draws=draws, device=chosen)

    # What follows loads xarray, ArviZ or matplotlib, which most fits never need.

    def to_arviz(self, *groups: str, x: Any = None, draws: int = 100, seed: int = 0) -> Any:
        """The results as ArviZ's InferenceData (0.x) or a DataTree (1.x).

        Args:
            groups: of `dgmppl.results.arviz.GROUPS`; none for posterior, sample_stats, observed_data and constant_data.
                Log-likelihood and predictive draws are computed only when named.
            x: data; None for what the model was fitted to.
            draws: of amortized latents and of predictions.
            seed: of those draws.

        Raises:
            RunError: an unknown group, or one that this model cannot have.
        """
        from dgmppl.api.inference_data import build

        return build(self, groups, x, draws, seed)

    def evaluate(self) -> dict[str, Any]:
        """Held-out metrics: those that `evaluate: {metrics: ...}` names, else all that are legal for the model.

        Returns:
            JSON data: `split` and `rows`; `metrics`, each with its value, standard error, unit and status, densities
            and bounds in nats per datum; `warnings`.
        """
        from dgmppl.api.evaluating import held_out

        return held_out(self, self.loaded)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a run folder that `dg.load` reads on any backend.

        Raises:
            RunError: the folder cannot be written, or another run writes to it.
        """
        from dgmppl.api.saving import save

        return save(self, Path(path))

    def __repr__(self) -> str:
        count = sum(value.size for value in self.parameters.values())
        kind = f"{self.draws.sampler} posterior" if self.draws is not None else f"{count:,} parameters"
        return f"Fit({self.program.name!r}, backend={self.program.backend!r}, {kind})"


def _cast(values: Mapping[str, Array], dtype: np.dtype[Any]) -> dict[str, Array]:
    """Real numbers in another width; others as they are."""
    return {name: value.astype(dtype) if value.dtype.kind == "f" else value for name, value in values.items()}
