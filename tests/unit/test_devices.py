"""Devices, precisions and threads: emitted functions stay on the device of their inputs, and what is not there is said.

No accelerator is needed to find an array that is made in the wrong place: torch's `meta` device holds no numbers and
refuses to meet another device, and JAX's transfer guard refuses arrays that come from the host unasked.

Differential equations are solved in steps of a fixed length here: an adaptive solver reads its error to choose the next
one, which a tensor without numbers has not, and diffrax brings scalars of its own from the host while it is traced.
Annealed chains take two steps: the others are the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import torch

import dgmppl as dg
import dgmppl_numpyro.devices as jax_devices
import dgmppl_numpyro.odes as jax_odes
import dgmppl_pyro.annealing as torch_annealing
import dgmppl_pyro.devices as torch_devices
import dgmppl_pyro.odes as torch_odes
from dgmppl.api.inputs import of_part
from dgmppl.backend import Device
from dgmppl.compiler import Compilation
from dgmppl.errors import RunError
from dgmppl.ir.kernel import Function
from tests.support import SPECS, start
from tests.zoo import data_for, lowered

pytestmark = pytest.mark.usefixtures("quick_compilation")

BACKENDS = {"pyro": torch_devices, "numpyro": jax_devices}
ROWS, PARTICLES = 8, 2


def compiled_for(name: str, backend: str) -> tuple[Compilation, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A spec's program, parameters in float32, and a few rows of its data."""
    program = dg.compile(SPECS / f"{name}.yaml", backend=backend, bindings=data_for(name, 4 * ROWS))
    compiled, data = program.compiled, program.load_data()
    batch = of_part(compiled.program, data, data.train).take(compiled.program, slice(0, ROWS))
    return compiled, {key: value.astype(np.float32) for key, value in start(compiled).items()}, batch.arrays


def evaluated(compiled: Compilation, batch: Any) -> list[Function]:
    """The functions of these columns; without those that draw by a library's own sampler, on a generator's device."""
    return [
        function for function in compiled.module.functions
        if function.kind not in ("program", "state")
        and all(entry.kind != "library" for entry in function.noise)
        and all(column in batch for column, _ in function.columns)
    ]  # fmt: skip


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every differential equation and every annealed chain of torch in two steps."""
    for odes in (torch_odes, jax_odes):
        monkeypatch.setattr(odes, "_solution", partial(_solution_in_two_steps, odes))
    monkeypatch.setattr(torch_annealing, "_annealed", partial(_annealed_in_two_steps, torch_annealing._annealed))


def _solution_in_two_steps(odes: Any, rate: Any, state: Any, times: Any, *_: Any) -> Any:
    return odes._classical(rate, state, times, 2)


def _annealed_in_two_steps(annealed: Any, move: Any, ratio: Any, start: Any, steps: Any, reverse: bool) -> Any:
    return annealed(move, ratio, start, tuple(entry[:2] for entry in steps), reverse)


# ---- torch: the meta device -----------------------------------------------------------------------------------------


_HOST = torch.device("cpu")


def on_meta(noise: Any, generator: torch.Generator, function: Function) -> dict[str, torch.Tensor]:
    drawn = noise(generator, function.name, ROWS, function.particles or PARTICLES, torch.float32)
    return {name: entry.to("meta") for name, entry in drawn.items()}


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", lowered())
def test_torch_functions_make_every_tensor_on_the_device_of_their_inputs(name: str) -> None:
    compiled, values, batch = compiled_for(name, "pyro")
    program = compiled.executable._program  # type: ignore[attr-defined]
    place = torch.device("meta")
    groups = program.tree.load(values, torch.float32, place)
    columns = program.columns(batch, torch.float32, place)
    state = {key: entry.to(place) for key, entry in program.initial_state(0, ROWS, torch.float32, _HOST).items()}
    for function in evaluated(compiled, batch):
        noise = on_meta(program.namespace.noise, torch.Generator(), function) if function.noise else {}
        if function.kind == "loss":
            own = {group: value for group, value in groups.items() if group in function.owns}
            other = {group: value for group, value in groups.items() if group not in function.owns}
            loss, _, report = program.run(function)(own, other, state, columns, noise, 0)
            result = [loss, *report.values()]
            leaves = [leaf for key, leaf in program.tree.flat(own).items() if key in program.tree.trainable(own)]
            result += [slope for slope in torch.autograd.grad(loss, leaves, allow_unused=True) if slope is not None]
        else:
            found = program.density(function, groups, columns, noise)
            result = list(found.values()) if isinstance(found, dict) else [found]
        tensors = [one for one in result if isinstance(one, torch.Tensor)]
        assert tensors, function.name
        assert {one.device.type for one in tensors} == {"meta"}, function.name


def test_a_tensor_in_the_wrong_place_would_be_found() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(3, device="meta") + torch.ones(3)


# ---- JAX: the transfer guard ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", lowered())
def test_jax_functions_take_nothing_from_the_host(name: str) -> None:
    """While they are traced; `test_a_jax_block_of_steps_runs_on_the_device_alone` runs what comes of it."""
    compiled, values, batch = compiled_for(name, "numpyro")
    program = compiled.executable._program  # type: ignore[attr-defined]
    flat, columns = jax.device_put(program.tree.load(values)), jax.device_put(program.columns(batch))
    key = jax.device_put(jax.random.key(0))
    for function in evaluated(compiled, batch):
        with jax.transfer_guard("disallow"):
            traced = jax.jit(_call(program, function)).trace(flat, columns, key)
        assert traced.jaxpr.out_avals, function.name


@pytest.mark.parametrize("name", ["gmm", "ppca"])
def test_a_jax_block_of_steps_runs_on_the_device_alone(name: str) -> None:
    compiled, values, batch = compiled_for(name, "numpyro")
    settings = replace(compiled.program.train, batch_size=4)
    trainer: Any = compiled.executable.trainer(values, batch, settings, steps=2, seed=0, device=Device("cpu"))
    rows = jax.device_put(np.arange(ROWS, dtype=np.int32).reshape(2, 4))
    with jax.transfer_guard("disallow"):
        ((data, _),) = trainer._feed.pieces(rows)
        carry, report, _ = trainer._block(trainer._carry, rows, data, trainer._frozen, trainer._key)
        jax.block_until_ready(report)
    assert int(carry.step) == 2
    assert np.isfinite(report["loss"]).all()


def _call(program: Any, function: Function) -> Callable[..., Any]:
    def run(flat: Any, columns: Any, key: Any) -> Any:
        noise = program.random(function, key, ROWS, function.particles or PARTICLES)
        if function.kind == "loss":
            return program.loss(function, flat, flat, program.initial_state(key, ROWS), columns, noise, 0)[0]
        return program.density(function, flat, columns, noise)

    return run


def test_the_guard_would_find_an_array_of_the_host() -> None:
    double = jax.jit(lambda x: 2 * x)
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match=r"[Dd]isallowed host-to-device"):
        double(np.ones(3))


# ---- what is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_device_that_is_not_there_is_refused(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKENDS[backend], "kinds", lambda: ("cpu",))
    with pytest.raises(RunError, match="there is no device 'cuda'; available: cpu, or auto"):
        dg.compile(SPECS / "gmm.yaml", backend=backend).fit(steps=1, device="cuda")
    with pytest.raises(RunError, match="'tpu' is none of auto, cpu, cuda"):
        dg.compile(SPECS / "gmm.yaml", backend=backend).fit(steps=1, device="tpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_precision_is_what_was_asked_for(backend: str) -> None:
    program = dg.compile(SPECS / "ppca.yaml", backend=backend, overrides=["train.batch_size=64"])
    fits = {name: program.fit(steps=3, precision=name) for name in ("float32", "float64", "bfloat16")}
    for name, dtype in (("float32", np.float32), ("float64", np.float64), ("bfloat16", np.float32)):
        assert {value.dtype for value in fits[name].parameters.values()} == {np.dtype(dtype)}, name
    exact = fits["float64"].records[-1]["loss"]
    # 24 bits of mantissa over a few thousand terms; 8 bits where factors of products are rounded.
    np.testing.assert_allclose(fits["float32"].records[-1]["loss"], exact, rtol=1e-4)
    np.testing.assert_allclose(fits["bfloat16"].records[-1]["loss"], exact, rtol=2e-2)
    with pytest.raises(RunError, match="'float16' is none of"):
        program.fit(steps=1, precision="float16")


def test_torch_computes_on_so_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before, asked = torch.get_num_threads(), []
    with torch_devices.scope(Device("cpu", threads=3)):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    dg.compile(SPECS / "gmm.yaml", backend="pyro").fit(steps=1, threads=3)
    assert 3 in asked
    assert asked[-1] == before


_THREADS = """
import os, sys
import dgmppl as dg
dg.compile(sys.argv[1], backend="numpyro").fit(steps=1, threads=3)
names = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(sum("Eigen" in name for name in names))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_jax_starts_so_many_threads() -> None:
    """In a process of its own: the number is fixed when JAX starts, and another than any default here."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "NPROC")}
    command = [sys.executable, "-c", _THREADS, str(SPECS / "gmm.yaml")]
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert int(said.stdout.split()[-1]) == 3


def test_no_threads_at_all_are_refused() -> None:
    with pytest.raises(RunError, match="at least one thread"):
        dg.compile(SPECS / "gmm.yaml").fit(steps=1, threads=0)


def test_device_asks_for_all_threads_by_default() -> None:
    assert Device().threads is None


# ---- with an accelerator --------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", lowered())
def test_training_on_the_accelerator_starts_as_on_the_processor(name: str, backend: str) -> None:
    if "cuda" not in BACKENDS[backend].kinds():
        pytest.skip("there is no CUDA device")
    program = dg.compile(SPECS / f"{name}.yaml", backend=backend, bindings=data_for(name))
    if program.compiled.derivation.engine is not None:
        pytest.skip("inferred by an engine, not trained")
    losses = [
        program.fit(steps=1, device=device, precision="float64").records[-1]["loss"] for device in ("cpu", "cuda")
    ]
    # Torch's generators differ between devices, so the first loss of a stochastic objective does too.
    losses_of = [one for one in program.compiled.module.functions if one.kind == "loss"]
    noisy = backend == "pyro" and any(one.noise for one in losses_of)
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.2 if noisy else 1e-9)
