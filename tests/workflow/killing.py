"""A run in a process of its own that is killed at some moment, and what it leaves beside an undisturbed one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import dgmppl as dg
from dgmppl.runs import checkpoints
from dgmppl.runs.folder import RunFolder

SPECS = Path(__file__).resolve().parents[2] / "specs"

# A checkpoint after every block, so that many kills fall into the writing of one.
_CHILD = """
import sys
import dgmppl as dg
spec, backend, out, *overrides = sys.argv[1:]
dg.compile(spec, backend=backend, overrides=overrides).fit(out=out, resume=True, checkpoint_seconds=0)
"""


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        spec: a file of the zoo.
        overrides: as `--set`; few steps, and what makes resuming hard.
    """

    spec: str
    overrides: tuple[str, ...]

    def program(self, backend: str) -> dg.CompiledProgram:
        """The compiled program."""
        return dg.compile(SPECS / self.spec, backend=backend, overrides=self.overrides)

    def start(self, backend: str, out: Path) -> subprocess.Popen[bytes]:
        """A process that begins the run, or goes on with it."""
        command = [sys.executable, "-c", _CHILD, str(SPECS / self.spec), backend, str(out), *self.overrides]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


_SMALL = (
    "networks.encoder=mlp([32])", "networks.decoder=mlp([32])", "train.batch_size=64", "evaluate.particles=4",
)  # fmt: skip
# A game whose players have optimizers of their own kinds, and whose critic carries its weights' directions on.
_GAME = (
    "networks.generator=mlp([16])", "networks.discriminator=mlp([16])", "data.x.size=256", "train.batch_size=32",
    "objective=adversarial(x, divergence=hinge, penalty=spectral, critic_steps=2)",
    "train.optimizers.generator=adam(1e-3, beta1=0.5)", "train.optimizers.discriminator=sgd(1e-2, momentum=0.9)",
    "train.schedule=cosine(warmup=20)", "train.ema=0.99",
)  # fmt: skip
_STOPPING = "train.early_stopping=early_stopping(patience=3, every=20)"

CASES = {
    "vae": Case("vae.yaml", (*_SMALL, "train.steps=400", "train.ema=0.99", "train.schedule=cosine(warmup=50)")),
    "gmm": Case("gmm.yaml", ("train.steps=600", "train.batch_size=32", "train.optimizer=sgd(1e-2, momentum=0.9)")),
    "ss_vae": Case("ss_vae.yaml", (*_SMALL, "networks.classifier=mlp([16])", "train.steps=300", "train.clip_norm=1.0")),
    "ppca": Case(
        "ppca.yaml", ("train.steps=1000", "data.x.split={validation: 0.2, seed: 1}", _STOPPING, "train.batch_size=128")
    ),
    "game": Case("gan.yaml", (*_GAME, "train.steps=200")),
}  # fmt: skip


@dataclass
class Tally:
    """What happened to the processes of a case.

    Attributes:
        killed: at which number of steps each was killed; None where no checkpoint was there yet.
        half_written: how many left a checkpoint under its temporary name.
        finished: how many came to the end before they were killed.
    """

    killed: list[int | None] = field(default_factory=list)
    half_written: int = 0
    finished: int = 0


def kill(case: Case, backend: str, out: Path, tally: Tally, chance: random.Random) -> bool:
    """Start or resume a run and kill it at a random moment; True if it ended before that.

    One in eight is killed while it prepares the folder or compiles; the others during training, after up to six new
    checkpoints and a few milliseconds, so that many are hit while they write one.
    """
    folder, process = RunFolder(out), case.start(backend, out)
    early = chance.random() < 0.125
    began, wanted = _prepared(folder), chance.randint(1, 6)
    seen = set(_written(folder))
    while process.poll() is None and not (_prepared(folder) != began if early else len(seen) >= wanted + 2):
        seen |= _written(folder)
        time.sleep(0.0005)
    time.sleep(chance.uniform(0.0, 2.0 if early else 0.02))
    process.kill()
    _, said = process.communicate()
    if process.returncode == 0:
        tally.finished += 1
        return True
    assert process.returncode == -9, said.decode()
    tally.half_written += bool(list(folder.checkpoints.glob(".*.tmp")))
    newest = checkpoints.latest(folder.checkpoints).step if checkpoints.exist(folder.checkpoints) else None
    tally.killed.append(newest)
    return False


def _prepared(folder: RunFolder) -> int:
    """What changes as soon as a process begins to write."""
    return folder.resolved.stat().st_mtime_ns if folder.resolved.exists() else 0


def _written(folder: RunFolder) -> set[str]:
    """The checkpoints that stand there now."""
    return {path.name for path in folder.checkpoints.glob("step-*")}


def finish(case: Case, backend: str, out: Path) -> None:
    """Let the run come to its end."""
    process = case.start(backend, out)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said.decode()


def require_equal(whole: Path, broken: Path) -> None:
    """Parameters, training state, metrics and samples of two runs, bit for bit."""
    one, other = (checkpoints.latest(path / "checkpoints") for path in (whole, broken))
    assert one.step == other.step
    same(one.parameters, other.parameters)
    same(one.state, other.state)
    assert (whole / "metrics.jsonl").read_bytes() == (broken / "metrics.jsonl").read_bytes()
    first, second = (dg.load(path) for path in (whole, broken))
    drawn = [fit.draw(16, fit._covariates(16, None), 3) for fit in (first, second)]
    same(*drawn)
    ignored = {"finished", "seconds"}
    facts = [json.loads((path / "receipt.json").read_text()) for path in (whole, broken)]
    assert {k: v for k, v in facts[0].items() if k not in ignored} == {
        k: v for k, v in facts[1].items() if k not in ignored
    }
    assert not list(broken.glob(".*")), "a lock or a half-written file is left"


def same(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    """Equal names, shapes, types and bits."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        one, other = np.asarray(value), np.asarray(second[name])
        assert (one.shape, one.dtype) == (other.shape, other.dtype), name
        assert one.tobytes() == other.tobytes(), name
