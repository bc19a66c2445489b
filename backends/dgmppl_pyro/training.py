"""Training: players in turn, one step per line of row numbers, on the device from the first step to the last.

A step draws each moving player's noise, takes its derived loss's gradient with respect to its own parameters, clips it,
and updates them; then the moving average follows. The noise is a function of (seed, step, player) alone, so a run that
continues from `state()` goes on bit for bit. Nothing is read back to the host inside a block of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dgmppl.backend import Array, Arrays, Device
from dgmppl.errors import RunError
from dgmppl.feeding import Feed, budget
from dgmppl.ir.expressions import Call
from dgmppl.ir.kernel import Function
from dgmppl.ir.settings import Train
from dgmppl_pyro.columns import arithmetic
from dgmppl_pyro.devices import flush_denormals, free_bytes, scope, select
from dgmppl_pyro.losses import Arguments, Loss
from dgmppl_pyro.optimizers import Factor, optimizers, schedule_factor
from dgmppl_pyro.parameters import Flat, to_host
from dgmppl_pyro.program import Program, mix
from dgmppl_pyro.replay import Replay

# A gradient's norm costs a hundredth of a step, so that it is taken once in so many.
_WATCHED = 20


@dataclass(frozen=True)
class Player:
    """One player: it minimizes its loss in its own parameters.

    Attributes:
        function: its loss.
        name: its name.
        prefix: what the entries of its report begin with.
        every: it moves at the steps whose number, counted from 1, is a multiple of this.
        leaves: its own trainable tensors by canonical name.
        loss: its loss with the gradient in them.
        optimizers: of those tensors, one per kind.
        factor: of the learning rate as a function of its updates made before; None for a constant rate.
    """

    function: Function
    name: str
    prefix: str
    every: int
    leaves: Flat
    loss: Loss
    optimizers: tuple[torch.optim.Optimizer, ...]
    factor: Factor | None

    def memory(self, leaf: Tensor) -> Flat:
        """What the optimizer remembers of a tensor: moments, step."""
        memories = [optimizer.state[leaf] for optimizer in self.optimizers if leaf in optimizer.state]
        entries: dict[str, object] = memories[0] if memories else {}
        return {key: entry for key, entry in entries.items() if isinstance(entry, Tensor)}

    def remember(self, leaf: Tensor, memory: Flat) -> None:
        """Makes an optimizer's memory of a tensor what `memory` returned; empty: that of the start."""
        for optimizer in self.optimizers:
            if any(leaf is parameter for group in optimizer.param_groups for parameter in group["params"]):
                optimizer.state.pop(leaf, None)
                if memory:
                    optimizer.state[leaf] = {key: entry.to(leaf.device) for key, entry in memory.items()}


class Trainer:
    """Training in progress: parameters, optimizers, averages, chains, step count, on the device."""

    def __init__(
        self, program: Program, values: Arrays, data: Arrays, settings: Train, *, steps: int, seed: int, device: Device
    ) -> None:
        self._program, self._settings, self._seed, self._device = program, settings, seed, device
        self._place, self._dtype = select(device)
        self._groups = program.tree.load(values, self._dtype, self._place)
        self._flat = program.tree.flat(self._groups)
        self._players = tuple(
            self._player(steps, f"{player[0]}." if number else "", *player)
            for number, player in enumerate(program.module.players)
        )
        self._real = arithmetic(player.function for player in self._players)
        batch = min(settings.batch_size or program.rows(data), program.rows(data))
        self._feed: Feed[Tensor] = Feed(
            data, batch, varies=program.varies, place=self._columns,
            budget=budget(device.data_bytes, free_bytes(self._place)), real_bytes=self._dtype.itemsize,
        )  # fmt: skip
        self._state = program.initial_state(mix(seed, steps), batch, self._dtype, self._place)
        self._average = {name: raw.detach().clone() for name, raw in self._trained().items()} if settings.ema else {}
        self._follow = get_ema_multi_avg_fn(settings.ema) if settings.ema else None
        self._replay = Replay()
        self._unknown = torch.tensor(torch.nan, dtype=self._dtype, device=self._place)
        self._step = 0

    def _player(self, steps: int, prefix: str, name: str, groups: tuple[str, ...], every: int) -> Player:
        tree = self._program.tree
        leaves = {key: self._flat[key] for key in tree.trainable(groups)}
        calls: dict[Call, list[Tensor]] = {}
        for key, leaf in leaves.items():
            calls.setdefault(self._settings.optimizers.get(tree.specs[key].group, self._settings.optimizer), []).append(
                leaf
            )
        function = self._program.function(f"loss_{name}")
        loss = Loss(
            self._program.run(function),
            {group: value for group, value in self._groups.items() if group in groups},
            {group: value for group, value in self._groups.items() if group not in groups},
            list(leaves.values()),
            tuple(leaf for key, leaf in self._flat.items() if key not in leaves and leaf.requires_grad),
            steps=steps // every,
            compiled=self._device.compiled,
        )
        return Player(
            function,
            name,
            prefix,
            every,
            leaves,
            loss,
            optimizers(calls.items()),
            schedule_factor(self._settings.schedule, steps // every),
        )

    def _columns(self, data: Arrays) -> dict[str, Tensor]:
        """Data on the device; integers that only enter arithmetic as real numbers."""
        columns = self._program.columns(data, self._dtype, self._place)
        return {name: column.to(self._dtype) if name in self._real else column for name, column in columns.items()}

    def _trained(self) -> Flat:
        return {name: raw for player in self._players for name, raw in player.leaves.items()}

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return self._step

    def advance(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        """Takes one step per line of row numbers.

        Where a loss or a parameter becomes infinite or NaN, the block ends there: the trainer then stands at the last
        step after which every parameter was finite. `finite` is 0 from the next one on, and later lines are NaN.

        Args:
            rows: [steps, batch].

        Returns:
            Each report entry per step, [steps]: `loss` and what goes with it are the first player's (nats per datum),
            those of another player stand under `PLAYER.loss` and so on, NaN at the steps at which it does not move;
            `finite` is 1 or 0.
        """
        kept = {name: tensor.clone() for name, tensor in self._tensors().items()}
        report = self._take(rows)
        if report["finite"].all() and self._sound():
            return report
        return self._retreat(kept, rows, report)

    def _take(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        """Takes the steps and then, once, reads their reports back to the host."""
        reports: list[dict[str, Tensor]] = []
        with scope(self._device), flush_denormals(), self._replay.active():
            for data, lines in self._feed.pieces(rows):
                for line in torch.from_numpy(np.ascontiguousarray(lines)).to(self._place):
                    batch = self._program.select(data, line)
                    reports.append(self._one_step(batch, len(line)))
                    self._step += 1
        return _table(reports, [f"{player.prefix}loss" for player in self._players])

    def _one_step(self, batch: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
        report: dict[str, Tensor] = {}
        for number, player in enumerate(self._players):
            if (self._step + 1) % player.every == 0:
                entries = self._move(player, number, batch, rows)
                report.update({f"{player.prefix}{name}": entry for name, entry in entries.items()})
        if self._follow is not None:
            self._follow(list(self._average.values()), list(self._trained().values()), self._step)
        return report

    def _move(self, player: Player, number: int, batch: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
        """One update of one player; returns its report, at times in a game with the norm of its gradient."""
        leaves = list(player.leaves.values())
        for leaf in leaves:
            # The memory of the last step's gradients serves this step's.
            leaf.grad = None
        noise = self._noise(player, number, rows)
        gradients, self._state, report = player.loss(Arguments(self._state, batch, noise, self._step))
        if not leaves:
            return report
        if len(self._players) > 1:
            watched = self._step % _WATCHED < player.every
            found = [gradient for gradient in gradients if watched and gradient is not None]
            report["parameter_gradient_norm"] = get_total_norm(found) if found else self._unknown
        self._descend(player, leaves, gradients)
        return report

    def _noise(self, player: Player, number: int, rows: int) -> dict[str, Any]:
        """A player's random numbers in the next step: a function of seed, step and player."""
        function, seed = player.function, mix(self._seed, self._step, number)
        return self._program.random(function, seed, rows, function.particles or 1, self._dtype, self._place)

    def noise(self, player: str, rows: int) -> dict[str, Array]:
        """The random numbers that a player's loss takes in the next step, by name; generators are left out."""
        number = [one.name for one in self._players].index(player)
        drawn = self._noise(self._players[number], number, rows)
        return to_host({name: entry for name, entry in drawn.items() if isinstance(entry, Tensor)})

    def _descend(self, player: Player, leaves: list[Tensor], gradients: tuple[Tensor | None, ...]) -> None:
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        if self._settings.clip_norm is not None:
            clip_grad_norm_(leaves, self._settings.clip_norm)
        for optimizer in player.optimizers:
            if player.factor is not None:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * player.factor(self._step // player.every)
            optimizer.step()
        for name, bound in player.function.clamp:
            player.leaves[name].detach().clamp_(-bound, bound)

    def _sound(self) -> bool:
        """Whether every trained parameter is finite."""
        sums = [raw.detach().sum() for raw in self._trained().values()]
        return not sums or bool(torch.isfinite(torch.stack(sums)).all())

    def _retreat(self, kept: Flat, rows: NDArray[np.int64], report: dict[str, Array]) -> dict[str, Array]:
        """Goes back to the start of the block and on to its last step after which every parameter was finite."""
        bad = np.flatnonzero(report["finite"] == 0)
        good = int(bad[0]) if bad.size else len(rows)
        # The loss before the first bad one may have been finite while its gradient was not.
        for steps in (good, good - 1):
            self._load(kept)
            if steps > 0:
                self._take(rows[:steps])
            if self._sound():
                break
        taken = self._step - int(kept["step"])
        for entry in report.values():
            entry[taken + 1 :] = np.nan
        report["finite"][taken:] = 0.0
        return report

    def parameters(self, *, averaged: bool = True) -> dict[str, Array]:
        """Constrained values by canonical name; the moving average where there is one and it is asked for."""
        return self._program.tree.canonical({**self._flat, **(self._average if averaged else {})})

    def state(self) -> dict[str, Array]:
        """Everything that is needed to continue bit for bit, as flat arrays.

        The names are `step`, `raw/NAME`, `average/NAME`, `optimizer/PLAYER/NAME/ENTRY` and `state/ENTRY`; parameters
        are unconstrained here, since a round trip through a bijection is not exact.
        """
        return to_host(self._tensors())

    def restore(self, state: Arrays) -> None:
        """Continues from `state()`.

        Raises:
            RunError: the state is another program's.
        """
        missing = self._tensors().keys() - state.keys()
        if missing:
            raise RunError(f"the training state lacks {', '.join(sorted(missing))}; it is another program's")
        for name, tensor in self._tensors().items():
            if np.shape(state[name]) != tensor.shape:
                raise RunError(
                    f"the training state's {name} has shape {list(np.shape(state[name]))}, not {list(tensor.shape)}"
                )
        self._load({name: torch.tensor(np.asarray(array)) for name, array in state.items()})

    def _tensors(self) -> Flat:
        tensors = {"step": torch.tensor(self._step)}
        tensors.update({f"raw/{name}": raw.detach() for name, raw in self._flat.items()})
        tensors.update({f"average/{name}": average for name, average in self._average.items()})
        tensors.update({f"state/{name}": value for name, value in self._state.items()})
        for player in self._players:
            for name, leaf in player.leaves.items():
                for key, entry in player.memory(leaf).items():
                    tensors[f"optimizer/{player.name}/{name}/{key}"] = entry
        return tensors

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _load(self, tensors: Flat) -> None:
        self._step = int(tensors["step"])
        for kind, targets in (("raw", self._flat), ("average", self._average)):
            for name, target in targets.items():
                target.copy_(tensors[f"{kind}/{name}"])
        self._state = {name: value.to(self._place) for name, value in _below(tensors, "state/").items()}
        for player in self._players:
            for name, leaf in player.leaves.items():
                player.remember(leaf, _below(tensors, f"optimizer/{player.name}/{name}/"))


def _below(tensors: Flat, prefix: str) -> Flat:
    """Copies of the tensors whose names begin so, under the rest of the name."""
    return {name.removeprefix(prefix): value.clone() for name, value in tensors.items() if name.startswith(prefix)}


def _table(lines: list[dict[str, Tensor]], losses: list[str]) -> dict[str, Array]:
    """Each entry per step as float64; NaN at the steps that do not have it; and whether all `losses` are finite."""
    names = dict.fromkeys(name for line in lines for name in line)
    table = {name: _column([line.get(name) for line in lines]) for name in names}
    table["finite"] = _finite(lines, {name: table[name] for name in losses if name in table}).double()
    return {name: column.cpu().numpy() for name, column in table.items()}


def _finite(lines: list[dict[str, Tensor]], losses: dict[str, Tensor]) -> Tensor:
    """Whether the losses of all players that moved are finite, at each step; looked at when the block has ended."""
    sound = torch.ones(len(lines), dtype=torch.bool)
    for name, column in losses.items():
        sound &= column.isfinite().cpu() | torch.tensor([name not in line for line in lines])
    return sound


def _column(entries: list[Tensor | None]) -> Tensor:
    """One entry at each step."""
    like = next(entry for entry in entries if entry is not None)
    absent = torch.full_like(like, torch.nan)
    return torch.stack([absent if entry is None else entry for entry in entries]).double()
