"""The posterior of a program's parameters as a density on R^D: what every inference engine works on.

All parameters with a prior are laid end to end, unconstrained, in one vector z:

    log p(z | data) = log p(parameters) + log p(data | parameters) + log |det d parameters / d z| + constant

computed by the emitted straight-line functions, without tracing a Pyro program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from dgmppl.backend import Array, Arrays, Device
from dgmppl.errors import RunError
from dgmppl.ir.parameters import initial_values
from dgmppl_pyro.devices import select
from dgmppl_pyro.noncentering import NonCentered
from dgmppl_pyro.parameters import Flat, to_host
from dgmppl_pyro.program import Program, mix

Progress: TypeAlias = Callable[[int, int, str], None]

ATTEMPTS = 100
RADIUS = 2.0


class Posterior:
    """The unnormalized posterior over z, and the way from z to named, constrained parameters.

    Attributes:
        rows: the number N of data rows.
        size: D.
        train: the program's training settings: engines that optimize use its optimizer, schedule and batch size.
        points: trainable tensors without a prior, by canonical name: engines that optimize move them along.
    """

    def __init__(
        self,
        program: Program,
        data: Arrays,
        *,
        seed: int,
        device: Device,
        everything: bool = False,
        reparameterize: tuple[str, ...] = (),
    ) -> None:
        """Puts data and start values on the device.

        Args:
            program: the emitted program.
            data: all data, rows first.
            seed: of the start values.
            device: where and how precisely.
            everything: parameters without a prior count as inferred too (a mode has them, a posterior does not).
            reparameterize: parameters whose non-centred form z holds.

        Raises:
            RunError: no parameter has a prior.
            UnsupportedError: a parameter cannot be non-centred.
        """
        self._program, (self._place, self._dtype) = program, select(device)
        self._groups = program.tree.load(initial_values(program.module.parameters, seed), self._dtype, self._place)
        self._data = program.columns(data, self._dtype, self._place)
        self.rows = program.rows(data)
        self.train = program.module.program.train
        flat = program.tree.flat(self._groups)
        groups = [group for group in program.tree.groups_by_name if everything or random(program, group)]
        self._random = {name: flat[name].detach() for name in program.tree.trainable(groups)}
        everywhere = program.tree.trainable(program.tree.groups_by_name)
        self.points: Flat = {name: flat[name] for name in everywhere if name not in self._random}
        if not self._random:
            raise RunError(f"{program.module.program.name} has no parameter with a prior: nothing to infer")
        self.size = sum(raw.numel() for raw in self._random.values())
        self._priors = nn.ModuleDict(
            {name: group for name, group in self._groups.items() if isinstance(group, nn.Module)}
        )
        self._noncentered = [NonCentered(program.module, name, self._place, self._dtype) for name in reparameterize]

    @property
    def program(self) -> Program:
        """The emitted program."""
        return self._program

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters in z, by canonical name."""
        return tuple(self._random)

    def library(self) -> Any:
        """The emitted `model` and `guide` on the tensors of this posterior."""
        return self._program.namespace.Program(self._groups)

    def arguments(self, rows: Tensor | None = None) -> dict[str, Any]:
        """The library programs' arguments for the data of some rows, scaled to all of them; None for all rows."""
        batch = self._data if rows is None else self._program.select(self._data, rows)
        return self._program.arguments(batch, self.rows)

    def start(self) -> Tensor:
        """The z at the parameters' initial values."""
        return torch.cat([raw.reshape(-1) for raw in self._random.values()])

    def start_values(self) -> Flat:
        """The parameters in z at their initial values, constrained, by canonical name."""
        return self._program.tree.constrain(self._random)

    def scattered(self, seed: int) -> Tensor:
        """A z with finite density and gradient, uniform in (-2, 2) per coordinate.

        Raises:
            RunError: 100 draws had none; it names the parameters whose gradient is not finite.
        """
        generator = torch.Generator(self._place).manual_seed(mix(seed))
        for _ in range(ATTEMPTS):
            draw = torch.rand(self.size, generator=generator, dtype=self._dtype, device=self._place)
            z = (RADIUS * (2.0 * draw - 1.0)).requires_grad_()
            density = self.log_density(z)
            (gradient,) = torch.autograd.grad(density, z)
            if torch.isfinite(density) and torch.isfinite(gradient).all():
                return z.detach()
        wrong = [name for name, slope in self.unpack(gradient).items() if not torch.isfinite(slope).all()]
        about = f"; the gradient is not finite in {', '.join(wrong)}" if wrong else ""
        raise RunError(f"no starting point in {ATTEMPTS} draws from uniform(-2, 2) has a finite log density{about}")

    def unpack(self, z: Tensor) -> Flat:
        """The pieces of z by canonical name: [D] to each parameter's raw shape."""
        pieces = z.split([raw.numel() for raw in self._random.values()])
        return {name: piece.view(raw.shape) for (name, raw), piece in zip(self._random.items(), pieces, strict=True)}

    def log_density(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """The log posterior log p(z | data) up to a constant; in nats, for the whole data set.

        Args:
            z: [D].
            rows: row numbers of a mini-batch, whose likelihood is scaled by N / B; None for all rows.
        """
        raw, correction = self._centered(self.unpack(z))
        return self._log_joint(raw, rows) + self._program.tree.log_abs_det(raw) + correction

    def log_joint(self, z: Tensor) -> Tensor:
        """The log joint log p(parameters, data) in constrained space: without the Jacobian; in nats."""
        return self._log_joint(self._centered(self.unpack(z))[0], None)

    def _centered(self, pieces: Flat) -> tuple[Flat, Tensor | float]:
        """Raw parameters, and the log-determinant of non-centring."""
        raw, correction = dict(pieces), 0.0
        for change in self._noncentered:
            raw[change.name], term = change(raw[change.name], self._program.tree.constrain(raw))
            correction = correction + term
        return raw, correction

    def _log_joint(self, raw: Flat, rows: Tensor | None) -> Tensor:
        if rows is None:
            return self._evaluate("log_joint", raw, self._data)
        none = self._program.select(self._data, rows[:0])
        batch = self._program.select(self._data, rows)
        prior = self._evaluate("log_joint", raw, none)
        likelihood = self._evaluate("log_prob", raw, batch).sum()
        return prior + self.rows / len(rows) * likelihood

    def _evaluate(self, function: str, raw: Flat, batch: Mapping[str, Tensor]) -> Tensor:
        """An emitted density with parts of z in the place of parameters, networks' weights included."""
        run = self._program.run(self._program.function(function))
        weights = {f"networks.{name}": tensor for name, tensor in raw.items() if name not in self._groups}
        groups = {**self._groups, **{name: tensor for name, tensor in raw.items() if name in self._groups}}
        if not weights:
            value: Tensor = run(groups, batch)
            return value
        result: Tensor = torch.func.functional_call(_Networks(self._priors), weights, (run, groups, batch))
        return result

    def densities(self, draws: Tensor, log_q: Tensor) -> tuple[Array, Array]:
        """Both log p and log q over constrained values of the lines of [draws, D]; `log_q` is that of z; in nats."""
        with torch.no_grad():
            joint = torch.stack([self.log_joint(z) for z in draws])
            jacobian = torch.stack([self.log_density(z) for z in draws]) - joint
            return joint.cpu().numpy(), (log_q - jacobian).cpu().numpy()

    def constrained(self, draws: Tensor) -> dict[str, Array]:
        """Constrained values [chain, draw, *shape] by name of [chain, draw, D]; points are the same in each draw."""
        chains, count = draws.shape[:2]
        with torch.no_grad():
            lines = [
                self._program.tree.constrain(self._centered(self.unpack(z))[0]) for z in draws.reshape(-1, self.size)
            ]
        posterior = {
            name: torch.stack([line[name] for line in lines])
            .cpu()
            .numpy()
            .reshape(chains, count, *lines[0][name].shape)
            for name in self._random
        }
        points = to_host(self._program.tree.constrain({name: leaf.detach() for name, leaf in self.points.items()}))
        return {
            **posterior,
            **{name: np.broadcast_to(value, (chains, count, *value.shape)) for name, value in points.items()},
        }


class _Networks(nn.Module):  # type: ignore[misc]
    """Calls a function with networks whose weights `torch.func.functional_call` has replaced."""

    def __init__(self, networks: nn.ModuleDict) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, run: Callable[..., Tensor], groups: Mapping[str, Any], batch: Mapping[str, Tensor]) -> Tensor:
        return run({**groups, **dict(self.networks.items())}, batch)


def random(program: Program, group: str) -> bool:
    """Whether a group has a prior."""
    network = program.module.program.networks.get(group)
    return program.tree.groups_by_name[group].kind == "prior" or (network is not None and network.prior is not None)


def has_joint(program: Program) -> bool:
    """Whether the joint density of parameters and data is there in closed form: no local latent stands between them."""
    return program.module.function("log_joint") is not None
