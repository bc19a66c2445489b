"""What goes wrong with disks, files, folders and numbers: a clear message, and nothing earlier is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.errors import RunError
from dgmppl.runs import checkpoints
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.folder import RunFolder
from tests.workflow.killing import require_equal, same

pytestmark = pytest.mark.usefixtures("quick_compilation")

SPECS = Path(__file__).resolve().parents[2] / "specs"
BACKENDS = ("numpyro", "pyro")
FULL, READ_ONLY = OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only file system")


def fit(out: Path, steps: int = 8, **options: Any) -> dg.fitted.Fit:
    """A small run that writes a checkpoint after every step."""
    program = dg.compile(SPECS / "gmm.yaml", backend="pyro", overrides=["train.batch_size=32"])
    return program.fit(steps=steps, out=out, checkpoint_seconds=0, **options)


class Disk:
    """Counts the files that are flushed and the metrics' lines, and fails at one of them.

    Attributes:
        writes: how many there were.
        broken: the number of the write that fails; None for none.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
        self.writes, self.broken, self._error = 0, None, error
        flush, open_file = os.fsync, Path.open

        def fsync(descriptor: int) -> None:
            self._count()
            flush(descriptor)

        def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode in ("a", "x"):
                self._count()
            return open_file(path, mode, *arguments, **options)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "open", opened)

    broken: int | None

    def _count(self) -> None:
        self.writes += 1
        if self.writes == self.broken:
            raise self._error


@pytest.mark.slow
@pytest.mark.parametrize("error", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_whichever_write_fails_the_run_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Every write of a run fails once: the message names the file, and the resumed run ends where a whole one does."""
    disk = Disk(monkeypatch, error)
    fit(tmp_path / "whole", steps=4)
    total = disk.writes
    assert total > 14
    for number in range(1, total + 1, 1 if error is FULL else 5):
        out = tmp_path / f"at-{number}"
        disk.writes, disk.broken = 0, number
        with pytest.raises(RunError, match="cannot be written: " + str(error.strerror)):
            fit(out, steps=4)
        disk.broken = None
        fit(out, steps=4, resume=True)
        require_equal(tmp_path / "whole", out)
        shutil.rmtree(out)


def test_a_failing_run_loses_nothing_of_the_finished_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    earlier = fit(out)
    disk = Disk(monkeypatch, FULL)
    disk.broken = 12
    with pytest.raises(RunError, match="No space left"):
        fit(out, seed=1)
    same(dg.load(out / "previous").parameters, earlier.parameters)
    with pytest.raises(RunError, match=r"unfinished run.*previous"):
        fit(out, seed=1)
    later = fit(out, seed=1, resume=True)
    assert not (out / "previous").exists()
    same(dg.load(out).parameters, later.parameters)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one mebibyte; skipped where nothing may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True
        ).returncode
    ):
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    finished = fit(small_disk / "first", steps=3)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(2**21))
    with pytest.raises(RunError, match=r"second.* (cannot be written|cannot be made): No space left"):
        fit(small_disk / "second", steps=3)
    same(dg.load(small_disk / "first").parameters, finished.parameters)
    filler.unlink()
    assert fit(small_disk / "second", steps=3, resume=True).records[-1]["step"] == 3


def test_a_folder_that_is_really_read_only(small_disk: Path) -> None:
    finished = fit(small_disk / "run", steps=3)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(RunError, match="cannot be written: Read-only"):
        fit(small_disk / "run", steps=5)
    with pytest.raises(RunError, match="cannot be made: Read-only"):
        fit(small_disk / "other", steps=5)
    # Reading needs no writing.
    same(dg.load(small_disk / "run").parameters, finished.parameters)


# ---- damaged and changed files --------------------------------------------------------------------------------------


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    """No damaged checkpoint is read as if it were whole."""
    arrays = {"w": np.arange(4, dtype=np.float32), "n": np.array(3)}
    path = checkpoints.save(tmp_path, Checkpoint(7, arrays, {"s": np.ones(2)}, {"backend": "pyro"}))
    content = path.read_bytes()
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        _require_noticed(path, bytes(flipped), f"bit {place}")
    for length in range(len(content)):
        _require_noticed(path, content[:length], f"cut after {length}")
    path.write_bytes(content)
    same(checkpoints.load(path).parameters, arrays)


def _require_noticed(path: Path, content: bytes, what: str) -> None:
    path.write_bytes(content)
    try:
        read = checkpoints.load(path)
    except RunError as error:
        said = str(error)
    else:
        said = f"{what} was not noticed: {read}"
    assert "is damaged" in said


@pytest.mark.parametrize(
    "damage", [lambda old: old[:-5], lambda old: old[:-1] + bytes([old[-1] ^ 1])], ids=["cut", "bit"]
)
def test_a_damaged_checkpoint_is_passed_over_with_a_word(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    fit(tmp_path / "whole")
    fit(tmp_path / "run", steps=6)
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match=r"step-00000006.*damaged.*step 5 is used"):
        fit(tmp_path / "run", resume=True)
    require_equal(tmp_path / "whole", tmp_path / "run")


def test_loading_says_which_checkpoint_it_took(tmp_path: Path) -> None:
    fit(tmp_path / "run")
    paths = sorted((tmp_path / "run" / "checkpoints").iterdir())
    before = checkpoints.load(paths[0])
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    with pytest.warns(UserWarning, match="step 7 is used") as said:
        loaded = dg.load(tmp_path / "run")
    assert any("not those that its receipt speaks of" in str(one.message) for one in said)
    same(loaded.parameters, before.parameters)
    paths[0].write_bytes(b"")
    with pytest.raises(RunError, match="damaged"):
        dg.load(tmp_path / "run")


def test_files_that_were_changed_by_hand_are_reported_and_not_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dg.load(out)
    proof = tmp_path / "it-ran"
    (out / "program.py").write_text(f"open({str(proof)!r}, 'w').close()\n")
    resolved = (out / "resolved.yaml").read_text()
    (out / "resolved.yaml").write_text(resolved + "# a word of mine\n")
    with pytest.warns(UserWarning, match="was changed after the run") as said:
        dg.load(out)
    assert {("program.py" in str(one.message), "resolved.yaml" in str(one.message)) for one in said} == {
        (True, False), (False, True),
    }  # fmt: skip
    assert not proof.exists()


def test_a_folder_from_before_there_were_hashes_says_what_to_do(tmp_path: Path) -> None:
    """A receipt without hashes is loaded with a word; a checkpoint without one is not, since nothing vouches for it."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    out = tmp_path / "run"
    kept = fit(out)
    receipt = out / "receipt.json"
    facts = json.loads(receipt.read_text())
    del facts["sha256"]
    receipt.write_text(json.dumps(facts))
    with pytest.warns(UserWarning, match="receipt.json lacks hashes.*fix: fit the spec in spec.yaml again") as said:
        same(dg.load(out).parameters, kept.parameters)
    assert len(said) == 1
    for path in (out / "checkpoints").iterdir():
        with safe_open(path, framework="numpy") as stream:
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            metadata = {key: value for key, value in stream.metadata().items() if key != "sha256"}
        save_file(arrays, path, metadata)
    readers: tuple[Callable[[], object], ...] = (lambda: dg.load(out), lambda: fit(out, resume=True))
    for read in readers:
        with pytest.raises(RunError, match=r"an earlier version of dgmppl wrote it; fix: fit the run's spec"):
            read()


def test_columns_of_an_earlier_version_say_what_to_do(tmp_path: Path) -> None:
    fit(tmp_path / "run")
    path = tmp_path / "run" / "columns.json"
    facts = json.loads(path.read_text())
    del facts["columns"][0]["fractional"]
    path.write_text(json.dumps(facts))
    with pytest.raises(
        RunError, match=r"lacks 'fractional'; .*an earlier version.*; fix: fit the run's spec\.yaml again"
    ):
        dg.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("version", "said"), [(99, "newer"), (0, "no version"), ("x", "no version"), (None, "no version")]
)
def test_a_folder_of_another_version_is_refused(tmp_path: Path, version: Any, said: str) -> None:
    fit(tmp_path / "run")
    receipt = tmp_path / "run" / "receipt.json"
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "version": version}))
    with pytest.raises(RunError, match=rf"{said}[^;]*; fix: "):
        dg.load(tmp_path / "run")


def test_an_unfinished_run_is_not_loaded(tmp_path: Path) -> None:
    fit(tmp_path / "run")
    (tmp_path / "run" / "receipt.json").unlink()
    with pytest.raises(RunError, match="--resume"):
        dg.load(tmp_path / "run")


def test_a_resumed_run_must_be_the_same_one(tmp_path: Path) -> None:
    fit(tmp_path / "run")
    for options, said in (({"seed": 5}, "another spec, seed"), ({"precision": "float64"}, "seed or precision")):
        with pytest.raises(RunError, match=said):
            fit(tmp_path / "run", resume=True, **options)
    rows = np.random.default_rng(0).normal(size=(150, 4))
    program = dg.compile(SPECS / "gmm.yaml", backend="pyro", overrides=["train.batch_size=32"])
    with pytest.raises(RunError, match="other data"):
        program.fit(rows, steps=9, out=tmp_path / "run", resume=True)


# ---- two at once ----------------------------------------------------------------------------------------------------

_HOLDER = """
import sys, time
from pathlib import Path
from dgmppl.errors import RunError
from dgmppl.runs.folder import RunFolder
log = Path(sys.argv[2])
try:
    with RunFolder(Path(sys.argv[1])).locked():
        for word in ("in", "out"):
            with log.open("a") as stream:
                stream.write(word + "\\n")
            time.sleep(float(sys.argv[3]))
except RunError as error:
    sys.exit(str(error))
"""


def holder(folder: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(folder), str(log), str(seconds)], stderr=subprocess.PIPE, text=True
    )


def test_a_second_run_into_the_folder_is_refused(tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    finished = fit(out)
    process = holder(out, log, 60)
    while not log.exists():
        time.sleep(0.01)
    with pytest.raises(RunError, match=rf"{process.pid}: host, process.*choose another --out"):
        fit(out)
    same(dg.load(out).parameters, finished.parameters)
    process.kill()
    process.communicate()
    fit(out)


def test_of_many_that_find_a_dead_one_s_lock_one_gets_in_at_a_time(tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    dead = holder(out, log, 60)
    while not log.exists():
        time.sleep(0.01)
    dead.kill()
    dead.communicate()
    log.write_text("")
    processes = [holder(out, log, 0.3) for _ in range(6)]
    said = [process.communicate(timeout=60)[1] for process in processes]
    words = log.read_text().split()
    assert words, said
    assert words == ["in", "out"] * (len(words) // 2)
    assert all("another run" in text for text in said if text)
    assert not RunFolder(out).path.joinpath(".lock").exists()
