"""The folder of a run: what stands where, files that are written whole or not at all, and one writer at a time."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgmppl.errors import ArgumentError, RunError

# The version of the folder's layout; it goes up when a file changes its meaning.
VERSION = 1

# Where the files of a finished run stand while a new one in the same folder is not finished.
_ASIDE = "previous"
_FILES = (
    "receipt.json", "resolved.yaml", "spec.yaml", "spec.extends-*.yaml", "program.py", "columns.json", "metrics.jsonl",
    "checkpoints", "posterior.nc", "samples.png", "report.html",
)  # fmt: skip


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk, and rename it.

    Raises:
        RunError: where the disk is full or the folder cannot be written; what stood there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> RunError:
    """What is said where a disk is full, a folder is read-only, or a path is no place for a file."""
    return RunError(f"{path} cannot be written: {error.strerror or error}; what was written before is untouched")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of a run, and what is read from and written to them.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def spec(self) -> Path:
        """The spec as given; the specs that it extends stand beside it."""
        return self.path / "spec.yaml"

    @property
    def resolved(self) -> Path:
        """The spec with `extends` merged and every default filled in: what `load` compiles."""
        return self.path / "resolved.yaml"

    @property
    def program(self) -> Path:
        """The emitted source; for reading, never imported."""
        return self.path / "program.py"

    @property
    def columns(self) -> Path:
        """What the compiler knew of the data, fitted transforms included."""
        return self.path / "columns.json"

    @property
    def checkpoints(self) -> Path:
        """Parameters and training state."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON object per line: training reports by step."""
        return self.path / "metrics.jsonl"

    @property
    def receipt(self) -> Path:
        """Versions, device, seeds, hashes, wall time, held-out numbers."""
        return self.path / "receipt.json"

    @property
    def posterior(self) -> Path:
        """Posterior draws, netCDF."""
        return self.path / "posterior.nc"

    def exists(self) -> bool:
        """Whether there is a run."""
        return self.resolved.is_file()

    def write(self, path: Path, text: str) -> None:
        """Write a text file whole."""
        write_whole(path, text.encode("utf-8"))

    def write_json(self, path: Path, data: Mapping[str, Any]) -> None:
        """Write a JSON file whole, keys in the order given."""
        self.write(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, path: Path) -> dict[str, Any]:
        """Read a JSON file of the run.

        Raises:
            RunError: where it is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ArgumentError(f"{self.path} is no finished run: {path.name} is missing") from error
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise RunError(f"{path} is damaged: it holds no JSON object")
        return content

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to the metrics.

        Raises:
            RunError: where it cannot be written; a line that was cut off is not read, and the next run drops it.
        """
        try:
            with self.metrics.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise unwritable(self.metrics, error) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """The metrics so far; a line that a crash cut off, and what follows it, is left out."""
        if not self.metrics.is_file():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(record, dict):
                break
            records.append(record)
        return records

    def keep_metrics_until(self, step: int) -> None:
        """Drop the metrics after a step, from which a resumed run repeats them."""
        kept = [record for record in self.read_metrics() if record.get("step", 0) <= step]
        self.write(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))

    def make_room(self) -> None:
        """Put a finished run aside; it is deleted when the one that replaces it has finished.

        Raises:
            RunError: an unfinished run is there.
        """
        if self.exists() and not self.receipt.exists():
            before = "" if self.aside is None else f"; the finished run before it is in {self.aside}"
            raise RunError(f"{self.path} holds an unfinished run; go on with --resume, or choose another --out{before}")
        if self.receipt.exists():
            self.drop_aside()
        self.set_aside()

    def set_aside(self) -> None:
        """Put the files of a run into `previous/`, so that a new run here loses nothing before it has finished.

        Raises:
            RunError: where they cannot be moved.
        """
        aside = self.path / _ASIDE
        try:
            # Without its receipt and its spec the folder holds no run any more, wherever this stops.
            for path in (path for pattern in _FILES for path in sorted(self.path.glob(pattern))):
                aside.mkdir(exist_ok=True)
                os.replace(path, aside / path.name)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def drop_aside(self) -> None:
        """Delete what `set_aside` put away."""
        shutil.rmtree(self.path / _ASIDE, ignore_errors=True)

    @property
    def aside(self) -> Path | None:
        """Where the run before this one stands; None where there was none, or where it has been replaced."""
        path = self.path / _ASIDE
        return path if path.is_dir() else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one writer, and clear away files that a killed one left half-written.

        Raises:
            RunError: another process that is alive writes to it, or the folder cannot be written.
        """
        lock = self.path / _LOCK
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be made: {error.strerror or error}") from error
        _acquire(lock)
        try:
            for left in (*self.path.glob(".*.tmp"), *self.checkpoints.glob(".*.tmp")):
                left.unlink(missing_ok=True)
            yield
        finally:
            with suppress(OSError):
                lock.unlink(missing_ok=True)


def other_version(receipt: Mapping[str, Any]) -> str | None:
    """What is wrong with the version of a run's folder, as a clause about the run; None where it is this one's."""
    version = receipt.get("version")
    if version == VERSION:
        return None
    newer = isinstance(version, int) and version > VERSION
    who = "a newer dgmppl" if newer else "no version of dgmppl that this one knows"
    fix = "update dgmppl" if newer else "fit the spec in spec.yaml again"
    return f"was written by {who} (folder version {version!r}, this one reads {VERSION}); fix: {fix}"


_LOCK = ".lock"
# A lock without an owner belongs to a process that is about to write its name, or was killed before it could.
_OWNERLESS_SECONDS = 0.2


def _acquire(lock: Path) -> None:
    """Make the lock; one whose owner is dead is replaced, by exactly one of those who try."""
    for _ in range(3):
        try:
            with lock.open("x", encoding="utf-8") as stream:
                stream.write(f"{socket.gethostname()} {os.getpid()}")
            return
        except FileExistsError:
            owner = _owner(lock)
            if owner is not None and _alive(owner):
                raise RunError(
                    f"{lock.parent} is being written by another run ({owner}: host, process); "
                    f"wait for it, choose another --out, or delete {lock} if that process is gone"
                ) from None
            _break(lock)
        except OSError as error:
            raise unwritable(lock.parent, error) from error
    raise RunError(f"{lock.parent} is being written by another run")


def _owner(lock: Path) -> str | None:
    """Who holds a lock; None where it is gone, or stays without a name."""
    for wait in (_OWNERLESS_SECONDS, 0.0):
        try:
            owner = lock.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        if owner:
            return owner
        time.sleep(wait)
    return None


def _break(lock: Path) -> None:
    """Remove a dead owner's lock; a rename succeeds for one process alone, so that nobody removes a new one."""
    grave = lock.with_name(f"{lock.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        os.replace(lock, grave)
        owner = grave.read_text(encoding="utf-8", errors="replace")
        if owner and _alive(owner) and not lock.exists():
            os.replace(grave, lock)
        grave.unlink(missing_ok=True)


def _alive(owner: str) -> bool:
    """Whether the lock's owner may still run; a process of another host is taken to."""
    host, _, process = owner.partition(" ")
    if host != socket.gethostname() or not process.isdigit():
        return bool(process)
    if int(process) == os.getpid():
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
