"""Finished runs that a spec names by `Trained(...)`, read as programs with their parameters.

A run is read by compiling its resolved spec again; what it emitted is never executed. Its folder is looked up beside
the file that names it, then in the current folder, where `fit --out runs/NAME` puts runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from dgmppl.errors import RunError, SpecError
from dgmppl.ir.data import DataSchema
from dgmppl.ir.densities import TrainedDensity
from dgmppl.ir.expressions import Call, Expression, Literal, rebuild
from dgmppl.ir.program import Program
from dgmppl.ir.trained import Inlined
from dgmppl.lowering.groups import groups_of
from dgmppl.passes.trained import FinishedRun
from dgmppl.runs import checkpoints, columns
from dgmppl.runs.checkpoints import Arrays
from dgmppl.runs.folder import RunFolder, other_version
from dgmppl.runs.receipt import data_hash, file_hash, text_hash
from dgmppl.source import Diagnostic
from dgmppl.spec.syntax import Declaration, Spec

Chain: TypeAlias = tuple[Path, ...]
Compile: TypeAlias = Callable[[Path, DataSchema, Chain], Program]


@dataclass(frozen=True)
class FinishedRuns:
    """The finished runs that one spec names.

    Attributes:
        compile: resolved spec, columns, the runs that are being read -> program, its guide complete.
        above: the runs that are being read, the one that names these last.
    """

    compile: Compile
    above: Chain = ()

    def find(self, density: TrainedDensity) -> FinishedRun | None:
        """The run that a density names; None where there is no such folder, or no run in it.

        Raises:
            SpecError: the run is unfinished, damaged, of another version, or reads itself.
        """
        folder = _located(density)
        if folder is None:
            return None
        try:
            return self._read(RunFolder(folder))
        except RunError as error:
            why = str(error)
        except SpecError as error:
            why = f"its spec is refused: {str(error).splitlines()[0]}"
        raise SpecError([
            Diagnostic(
                "unusable-run", f"the run {density.run!r} cannot be used: {why}", density.span,
                expected="a finished run", fix="go on with its fit (`--resume`), or fit it again",
            )
        ])  # fmt: skip

    def _read(self, folder: RunFolder) -> FinishedRun:
        if folder.path in self.above:
            chain = " -> ".join(path.name for path in (*self.above, folder.path))
            raise RunError(f"it reads itself: {chain}")
        if not folder.receipt.exists():
            raise RunError("it is unfinished, or it is being written")
        receipt = folder.read_json(folder.receipt)
        if (wrong := other_version(receipt)) is not None:
            raise RunError(f"it {wrong}")
        schema = columns.from_json(folder.read_json(folder.columns))
        parameters = checkpoints.latest(folder.checkpoints).parameters
        program = self.compile(folder.resolved, schema, (*self.above, folder.path))
        _require_whole(program, parameters)
        files = [str(file_hash(path)) for path in (folder.resolved, folder.columns)]
        sha256 = text_hash(" ".join([*files, data_hash(parameters)]))
        return FinishedRun(str(folder.path), sha256, program, parameters)


def _located(density: TrainedDensity) -> Path | None:
    """The folder of a run, from the root: beside the file that names it, else in the current folder."""
    beside = Path(density.span.source.name).parent if density.span is not None else Path()
    found = (base / density.run for base in (beside, Path()))
    return next((path.resolve() for path in found if RunFolder(path).exists()), None)


def _require_whole(program: Program, parameters: Arrays) -> None:
    """The runs that a run reads must be there, and its checkpoint must hold what its spec declares."""
    for site in (*program.sites, *program.guide):
        if isinstance(site.density, TrainedDensity):
            raise RunError(f"it reads the run {site.density.run!r}, which is not there")
    for group in groups_of(program).values():
        for spec in group.parameters:
            if spec.name not in parameters:
                raise RunError(f"its checkpoint lacks {spec.name}")
            if parameters[spec.name].shape != spec.shape:
                raise RunError(f"{spec.name} of its checkpoint has another shape than its spec says")


def hashes(program: Program) -> dict[str, str]:
    """The SHA-256 of each finished run in a program, by the site that it stands for."""
    return {f"{one.section} {one.site}": one.sha256 for one in program.runs}


def placed(spec: Spec, runs: Iterable[Inlined], folder: Path) -> Spec:
    """A spec with the paths of finished runs written from a folder, so that a tree that is moved as a whole works."""
    moved = {one.run: os.path.relpath(one.folder, folder) for one in runs}
    guide = spec.guide if not isinstance(spec.guide, tuple) else _moved(spec.guide, moved)
    return replace(spec, model=_moved(spec.model, moved), guide=guide)


def _moved(declarations: tuple[Declaration, ...], paths: dict[str, str]) -> tuple[Declaration, ...]:
    def change(node: Expression) -> Expression:
        match node:
            case Call(function="Trained", arguments=(Literal(value=str(run)) as written,)) if run in paths:
                return replace(node, arguments=(replace(written, value=paths[run]),))
        return rebuild(node, change)

    return tuple(replace(one, value=change(one.value)) for one in declarations)
