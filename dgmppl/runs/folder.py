"""The folder of a run: what stands where, files that are written whole or not at all, and one writer at a time."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgmppl.errors import RunError

# The version of the folder's layout; it goes up when a file changes its meaning.
VERSION = 1


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
        temporary.unlink(missing_ok=True)
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


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
            raise RunError(f"{self.path} is no finished run: {path.name} is missing") from error
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise RunError(f"{path} is damaged: it holds no JSON object")
        return content

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to the metrics."""
        with self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The metrics so far; a line that a crash cut off is left out."""
        if not self.metrics.is_file():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def keep_metrics_until(self, step: int) -> None:
        """Drop the metrics after a step, from which a resumed run repeats them."""
        kept = [record for record in self.read_metrics() if record.get("step", 0) <= step]
        self.write(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one writer.

        Raises:
            RunError: another process that is alive writes to it.
        """
        lock = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be made: {error.strerror or error}") from error
        _acquire(lock)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _acquire(lock: Path) -> None:
    mine = f"{socket.gethostname()} {os.getpid()}"
    for _ in range(2):
        try:
            with lock.open("x", encoding="utf-8") as stream:
                stream.write(mine)
            return
        except FileExistsError:
            owner = lock.read_text(encoding="utf-8", errors="replace")
            if _alive(owner):
                raise RunError(
                    f"{lock.parent} is being written by another run ({owner}: host, process); "
                    f"wait for it, choose another --out, or delete {lock} if that process is gone"
                ) from None
            lock.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{lock.parent} cannot be written: {error.strerror or error}") from error
    raise RunError(f"{lock.parent} is being written by another run")


def _alive(owner: str) -> bool:
    """Whether the lock's owner may still run; a process of another host is taken to."""
    host, _, process = owner.partition(" ")
    if host != socket.gethostname() or not process.isdigit():
        return bool(process)
    if int(process) == os.getpid():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
