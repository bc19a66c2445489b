"""Training: blocks of steps inside one compiled scan, on device-resident data.

Where the data do not fit the device, a block is a few scans, each on the rows of its own steps (`dgmppl.feeding`).

In a step each player moves in turn (every `every`-th step, from the `every`-th on), with fresh noise, on the same
batch. Noise is a function of the seed, the step and the player alone, so that how steps are grouped into blocks does
not change them.

A step with a non-finite loss or gradient is undone, and none is taken after it. To look at every gradient would cost a
tenth of a step; but what is once not finite stays in parameters or optimizer states, so a block is looked at when it
ends, and taken again with checks in every step if it went wrong. For this its start is kept, not donated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from dgmppl.backend import Array, Arrays, Device
from dgmppl.errors import RunError
from dgmppl.feeding import Feed, budget
from dgmppl.ir.kernel import Function
from dgmppl.ir.settings import Train
from dgmppl_numpyro import devices
from dgmppl_numpyro.optimizers import clip_by_norm, norm, optimizer
from dgmppl_numpyro.parameters import Flat, to_host
from dgmppl_numpyro.program import Program, key


class Carry(NamedTuple):
    """What a step changes.

    Attributes:
        parameters: trainable arrays, raw, by canonical name.
        averages: their moving averages; empty without `ema`.
        optimizers: player -> group with an optimizer of its own, or "" -> optimizer state.
        state: persistent chains and the like.
        step: steps taken.
        finite: no loss or gradient has been other than finite.
    """

    parameters: Flat
    averages: Flat
    optimizers: dict[str, dict[str, Any]]
    state: Any
    step: Any
    finite: Any

    def after(self, player: Player, own: Flat, states: dict[str, Any], state: Any) -> Carry:
        """The carry after a player's move: its arrays, its optimizers' states, the persistent state."""
        parameters, optimizers = {**self.parameters, **own}, {**self.optimizers, player.name: states}
        return self._replace(parameters=parameters, optimizers=optimizers, state=state)


@dataclass(frozen=True)
class Player:
    """A player with its optimizers.

    Attributes:
        name: its name.
        number: its place in the order of moves.
        every: it moves in every `every`-th step.
        function: its loss.
        names: the arrays that it moves.
        optimizers: group with an optimizer of its own, or "" -> the optimizer and the arrays that it moves.
    """

    name: str
    number: int
    every: int
    function: Function
    names: tuple[str, ...]
    optimizers: Mapping[str, tuple[optax.GradientTransformation, tuple[str, ...]]]

    def initial(self, parameters: Flat) -> dict[str, Any]:
        """The optimizers' states before the first step."""
        return {
            group: transformation.init({name: parameters[name] for name in names})
            for group, (transformation, names) in self.optimizers.items()
        }

    def update(self, gradients: Flat, states: dict[str, Any], own: Flat) -> tuple[Flat, dict[str, Any]]:
        """The player's arrays and optimizer states after a step along its gradients."""
        moved, new_states = dict(own), {}
        for group, (transformation, names) in self.optimizers.items():
            before = {name: own[name] for name in names}
            updates, new_states[group] = transformation.update({n: gradients[n] for n in names}, states[group], before)
            moved |= optax.apply_updates(before, updates)
        moved |= {name: jnp.clip(moved[name], -bound, bound) for name, bound in self.function.clamp}
        return moved, new_states


class Trainer:
    """Training in progress: parameters, optimizers, averages, chains, step count, on the device."""

    def __init__(
        self, program: Program, values: Arrays, data: Arrays, settings: Train, *, steps: int, seed: int, device: Device
    ) -> None:
        """Puts parameters and data on the device.

        Args:
            program: the emitted program.
            values: start values, constrained, by canonical name.
            data: the training data, rows first.
            settings: optimizers, schedule, clipping, averaging.
            steps: all steps of the run, which the schedules run over.
            seed: of the noise.
            device: where and how precisely.

        Raises:
            RunError: the program has no loss, or a start value, a device or an optimizer's option is wrong.
        """
        self._program, self._settings, self._device = program, settings, device
        self._players = _players(program, settings, steps)
        self._batch = min(settings.batch_size or program.rows(data), program.rows(data))
        names = frozenset(name for player in self._players for name in player.names)
        with devices.scope(device) as place:
            self._key = key(seed)
            flat = program.tree.load(values)
            self._feed: Feed[Any] = Feed(
                data, self._batch, varies=program.varies, place=program.columns,
                budget=budget(device.data_bytes, devices.free_bytes(place)), real_bytes=jnp.result_type(float).itemsize,
            )  # fmt: skip
            self._frozen = {name: array for name, array in flat.items() if name not in names}
            self._carry = self._start({name: array for name, array in flat.items() if name in names})
            self._block = jax.jit(partial(_scan, self, False))
            self._careful_block = jax.jit(partial(_scan, self, True))

    def _start(self, parameters: Flat) -> Carry:
        """The carry before the first step."""
        return Carry(
            parameters=parameters,
            averages={} if self._settings.ema is None else parameters,
            optimizers={player.name: player.initial(parameters) for player in self._players},
            state=self._program.initial_state(jax.random.fold_in(self._key, 2**31 - 1), self._batch),
            step=jnp.zeros((), jnp.int32),
            finite=jnp.ones((), bool),
        )

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return int(self._carry.step)

    def advance(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        """Takes one step per line of row indices [steps, batch].

        Returns:
            Per step: `loss`, the first player's, in nats per datum; its report's entries; those of each further player
            under `PLAYER.`; `finite`. A player that did not move in a step has NaN there. From the first step that is
            not finite on, nothing changes.
        """
        with devices.scope(self._device):
            reports = [self._take(data, lines) for data, lines in self._feed.pieces(rows)]
        return {name: np.concatenate([report[name] for report in reports]) for name in reports[0]}

    def _take(self, data: Flat, lines: NDArray[np.int64]) -> dict[str, Array]:
        """Takes the steps whose rows are on the device."""
        arguments = self._carry, jnp.asarray(np.asarray(lines, np.int32)), data, self._frozen, self._key
        carry, report, finite = self._block(*arguments)
        if not bool(finite):
            carry, report, _ = self._careful_block(*arguments)
        self._carry = carry
        return to_host(report)

    def parameters(self, *, averaged: bool = True) -> dict[str, Array]:
        """Constrained values by canonical name; the moving average where there is one and it is asked for."""
        with devices.scope(self._device):
            moving = self._carry.averages if averaged and self._carry.averages else self._carry.parameters
            flat = {**self._frozen, **moving}
            return self._program.tree.canonical({name: flat[name] for name in self._program.tree.specs})

    def state(self) -> dict[str, Array]:
        """Everything that is needed to continue bit for bit, as flat arrays: `parameters/decoder.layers.0.weight`."""
        return to_host({**dict(_paths(self._carry)), "key": jax.random.key_data(self._key)})

    def restore(self, state: Arrays) -> None:
        """Continues from `state()`.

        Raises:
            RunError: an entry is missing or has another shape: the state is that of another program or other settings.
        """
        with devices.scope(self._device):
            leaves = [_entry(state, path, leaf) for path, leaf in _paths(self._carry)]
            self._carry = jax.tree.unflatten(jax.tree.structure(self._carry), leaves)
            self._key = jax.random.wrap_key_data(_entry(state, "key", jax.random.key_data(self._key)))

    def noise(self, player: str, rows: int) -> dict[str, Array]:
        """The random numbers that a player's loss takes in the next step, by name; keys are left out."""
        chosen = next(one for one in self._players if one.name == player)
        with devices.scope(self._device):
            random = jax.random.fold_in(jax.random.fold_in(self._key, self._carry.step), chosen.number)
            drawn = self._program.random(chosen.function, random, rows, chosen.function.particles or 1)
            return to_host(
                {n: entry for n, entry in drawn.items() if not jnp.issubdtype(entry.dtype, jax.dtypes.prng_key)}
            )

    def take(
        self, carry: Carry, rows: Any, data: Flat, frozen: Flat, random: Any, *, careful: bool
    ) -> tuple[Carry, dict[str, Any]]:
        """One step, traced: every player's move on one batch; if careful, undone where it is not finite."""
        size = rows.shape[0]
        batch = {name: column[rows] if self._program.varies(name) else column for name, column in data.items()}
        fresh = jax.random.fold_in(random, carry.step)
        moved, finite = carry, carry.finite
        report: dict[str, Any] = {}
        for player in self._players:
            move = partial(self._move, player, batch=batch, rows=size, frozen=frozen, random=fresh, careful=careful)
            if player.every > 1:
                move = partial(_sometimes, player, move, (carry.step + 1) % player.every == 0)
            moved, entries, good = move(moved)
            finite &= good
            prefix = "" if player.number == 0 else f"{player.name}."
            report |= {f"{prefix}{name}": entry for name, entry in entries.items()}
        moved = moved._replace(averages=self._average(moved), step=carry.step + 1)
        if careful:
            moved = jax.tree.map(partial(jnp.where, finite), moved, carry)
        return moved._replace(finite=finite), {**report, "finite": finite}

    def _move(
        self, player: Player, carry: Carry, *, batch: Flat, rows: int, frozen: Flat, random: Any, careful: bool
    ) -> tuple[Carry, dict[str, Any], Any]:
        """One player's update: the carry after it, its report, and whether loss and gradient are finite.

        In a game the report has the norm of the gradient, before it is clipped.
        """
        program, function = self._program, player.function
        random = jax.random.fold_in(random, player.number)
        noise = program.random(function, random, rows, function.particles or 1)
        own = {name: carry.parameters[name] for name in player.names}
        differentiate = jax.value_and_grad(partial(program.loss, function), has_aux=True)
        (loss, (state, entries)), gradients = differentiate(
            own, {**frozen, **carry.parameters}, carry.state, batch, noise, carry.step
        )
        finite = jnp.isfinite(loss) & _finite(gradients) if careful else jnp.isfinite(loss)
        if len(self._players) > 1:
            entries = {**entries, "parameter_gradient_norm": norm(gradients)}
        if self._settings.clip_norm is not None:
            gradients = clip_by_norm(gradients, self._settings.clip_norm)
        moved, states = player.update(gradients, carry.optimizers[player.name], own)
        return carry.after(player, moved, states, state), {"loss": loss, **entries}, finite

    def _average(self, carry: Carry) -> Flat:
        """The moving averages after a step: decay * average + (1 - decay) * parameter."""
        decay = self._settings.ema
        if decay is None:
            return {}
        return {
            name: decay * average + (1.0 - decay) * carry.parameters[name] for name, average in carry.averages.items()
        }


def _scan(
    trainer: Trainer, careful: bool, carry: Carry, lines: Any, data: Flat, frozen: Flat, random: Any
) -> tuple[Carry, dict[str, Any], Any]:
    """A block of steps, one per line of row indices; with whether everything is finite at its end."""

    def step(carry: Carry, rows: Any) -> tuple[Carry, dict[str, Any]]:
        return trainer.take(carry, rows, data, frozen, random, careful=careful)

    carry, report = jax.lax.scan(step, carry, lines)
    return carry, report, carry.finite & _finite(carry)


def _sometimes(player: Player, move: Any, due: Any, carry: Carry) -> tuple[Carry, dict[str, Any], Any]:
    """The move where it is due; else the carry as it is and a report of NaNs.

    Only what the player changes goes through the choice: whatever does is copied.
    """

    def changed(carry: Carry) -> tuple[Flat, Any, Any]:
        return {name: carry.parameters[name] for name in player.names}, carry.optimizers[player.name], carry.state

    def take(carry: Carry) -> tuple[Any, dict[str, Any], Any]:
        moved, entries, good = move(carry)
        return changed(moved), entries, good

    entries = jax.eval_shape(take, carry)[1]

    def rest(carry: Carry) -> tuple[Any, dict[str, Any], Any]:
        nothing = jax.tree.map(lambda entry: jnp.full(entry.shape, jnp.nan, entry.dtype), entries)
        return changed(carry), nothing, jnp.array(True)

    (own, states, state), report, good = jax.lax.cond(due, take, rest, carry)
    return carry.after(player, own, states, state), report, good


def _finite(tree: Any) -> Any:
    """Whether every number of a tree is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)] or [jnp.array(True)]))


def _players(program: Program, settings: Train, steps: int) -> tuple[Player, ...]:
    """The players in order of their moves, with their optimizers.

    Raises:
        RunError: the model has no player: nothing is trained by gradient.
    """
    if not program.module.players:
        raise RunError(f"{program.module.program.name} has nothing to train by gradient; it has an inference engine")
    return tuple(
        _player(program, settings, steps, number, *player) for number, player in enumerate(program.module.players)
    )


def _player(
    program: Program, settings: Train, steps: int, number: int, name: str, owns: tuple[str, ...], every: int
) -> Player:
    """A player whose groups without an optimizer of their own share the settings' one."""
    special = [group for group in owns if group in settings.optimizers]
    groups = {"": [group for group in owns if group not in special], **{group: [group] for group in special}}
    optimizers = {
        group: (
            optimizer(settings.optimizers.get(group, settings.optimizer), settings.schedule, steps // every),
            program.tree.trainable(members),
        )
        for group, members in groups.items()
        if members
    }
    return Player(name, number, every, program.function(f"loss_{name}"), program.tree.trainable(owns), optimizers)


def _paths(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree with their places: `optimizers/model//0/mu/decoder.layers.0.weight`."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _entry(state: Arrays, path: str, leaf: Any) -> Any:
    """A saved entry in the form of the present one."""
    if path not in state:
        raise RunError(f"the training state lacks {path!r}; it is that of another program or other settings")
    saved = np.asarray(state[path])
    if saved.shape != leaf.shape:
        raise RunError(f"the training state's {path!r} has shape {list(saved.shape)}, not {list(leaf.shape)}")
    return jnp.array(saved, leaf.dtype)
