"""`CompiledProgram`: what `dg.compile` returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.compiler import Compilation, backend_support, compile_spec
from dgmppl.errors import RunError
from dgmppl.ir.parameters import initial_values
from dgmppl.spec.reader import Readable
from dgmppl.spec.syntax import Spec

if TYPE_CHECKING:
    from dgmppl.api.fitted import Fit
    from dgmppl.api.settings import FitOptions
    from dgmppl.data import DataSet
    from dgmppl.runs.folder import RunFolder

Array: TypeAlias = NDArray[Any]


def compile(
    spec: Readable | Spec, backend: str = "numpyro", bindings: Mapping[str, Any] | None = None, *,
    overrides: Iterable[str] = (), standalone: bool = False, trust_code: bool = False,
) -> CompiledProgram:  # fmt: skip
    """Compile a spec for a backend.

    Args:
        spec: a path, YAML text, a mapping of sections, or a `dg.Spec`.
        backend: `numpyro` or `pyro`; its libraries are imported when the program first runs.
        bindings: data by name (arrays, data frames, paths), for sources bound at run time or instead of the spec's own.
        overrides: `KEY=VALUE`, as `--set` on the command line: `train.steps=500`.
        standalone: the emitted source is to need none of dgmppl's packages.
        trust_code: `python("pkg.module:Name")` in the spec may import code of your own; refused otherwise.

    Raises:
        SpecError: all that is wrong with the spec or its data, with places and fixes.
        NoObjectiveError: no rule derives an objective; each says why not.
        UnsupportedError: the backend does not have the inference engine that the spec asks for; what else it does not
            lower is refused when the program's `source` is first needed.
    """
    compiled = compile_spec(
        spec, backend=backend, bindings=bindings, overrides=overrides, standalone=standalone, trust_code=trust_code
    )
    return CompiledProgram(compiled, dict(bindings or {}))


class DerivedObjective:
    """The derived objective, printed from the same tree as the loss that runs; nats per datum."""

    def __init__(self, compiled: Compilation) -> None:
        self._compiled = compiled

    @property
    def status(self) -> str:
        """What is trained: `exact_likelihood`, `lower_bound`, `divergence_lower_bound`, ..."""
        return self._compiled.derivation.objective.status

    def text(self) -> str:
        """One line per player, in Unicode."""
        from dgmppl.objectives.printers import objective_text

        return objective_text(self._compiled.derivation.objective)

    def latex(self) -> str:
        """The same in LaTeX, without delimiters."""
        from dgmppl.objectives.printers import objective_latex

        return objective_latex(self._compiled.derivation.objective)

    def __str__(self) -> str:
        return self.text()


@dataclass(frozen=True)
class CompiledProgram:
    """A spec compiled for a backend.

    Attributes:
        compiled: the stages of the pipeline: `spec`, `program`, `derivation`, `module`, `source`.
        bindings: data given at compile time.
    """

    compiled: Compilation
    bindings: dict[str, Any]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.compiled.program.name

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self.compiled.backend

    @property
    def source(self) -> str:
        """The emitted program: readable, and the text that runs.

        Raises:
            UnsupportedError: a construct that the backend does not lower, named with its line.
            RunError: the backend is not installed; the message names the extra.
        """
        return self.compiled.source

    @property
    def objective(self) -> DerivedObjective:
        """What is minimized, and by whom."""
        return DerivedObjective(self.compiled)

    def explain(self) -> dict[str, Any]:
        """Factorization, rules, objective, players, capabilities and references as stable JSON data."""
        from dgmppl.objectives.printers import explain

        facts = explain(self.compiled.program, self.compiled.derivation)
        return {**facts, "backend_support": backend_support(self.compiled)}

    @property
    def model(self) -> Callable[..., Any]:
        """The model as an ordinary Pyro / NumPyro callable at initial parameters (seed 0)."""
        return self.compiled.executable.library_model(self._start(0))

    @property
    def guide(self) -> Callable[..., Any] | None:
        """The guide likewise; None where the model needs none."""
        return self.compiled.executable.library_guide(self._start(0))

    def _start(self, seed: int) -> dict[str, Array]:
        values = initial_values(self.compiled.module.parameters, seed)
        return {name: value.astype(np.float32) for name, value in values.items()}

    def initial(self, seed: int = 0) -> Fit:
        """The program at the parameters that training with this seed would start from, the same on every backend."""
        from dgmppl.api.fitted import Fit

        return Fit(self, self._start(seed))

    def at(self, parameters: Mapping[str, Any]) -> Fit:
        """The program at given parameters, by canonical name, constrained, in torch's layouts.

        Raises:
            RunError: a parameter is missing, unknown, or of another shape.
        """
        from dgmppl.api.fitted import Fit

        given = {name: np.asarray(value) for name, value in parameters.items()}
        expected = {parameter.name: parameter.shape for parameter in self.compiled.module.parameters}
        missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
        if missing or unknown:
            what, names = ("missing", missing) if missing else ("unknown", unknown)
            raise RunError(f"{what} parameters: {', '.join(names[:5])}; {self.name} has {len(expected)} arrays")
        for name, shape in expected.items():
            if given[name].shape != tuple(shape):
                raise RunError(f"{name} has shape {list(given[name].shape)}, expected {list(shape)}")
        return Fit(self, given)

    def bound(self, data: Any) -> CompiledProgram:
        """The same spec compiled for other data: transforms are fitted to them, levels are theirs."""
        from dgmppl.api.given import bindings_of

        if data is None:
            return self
        bindings = {**self.bindings, **bindings_of(self.compiled.program, self.compiled.spec.data, data)}
        again = compile_spec(
            self.compiled.spec, backend=self.backend, bindings=bindings, standalone=self.compiled.standalone,
            trust_code=self.compiled.trust_code,
        )  # fmt: skip
        return CompiledProgram(again, bindings)

    def load_data(self) -> DataSet:
        """The data of the spec, read, split and transformed.

        Raises:
            SpecError: data are missing, or do not fit.
        """
        return self.compiled.loader.load(seed=self.compiled.program.train.seed)

    def fit(
        self, data: Any = None, *, seed: int | None = None, steps: int | None = None, device: str = "auto",
        precision: str | None = None, threads: int | None = None, out: str | os.PathLike[str] | None = None,
        progress: bool = False, resume: bool = False, checkpoint_seconds: float = 60.0, data_bytes: int | None = None,
        compile: bool = False,
    ) -> Fit:  # fmt: skip
        """Train, or infer the posterior, as the derivation says.

        Args:
            data: an array (of the only observed variable), data frame, mapping of columns, or xarray data, in the
                data's own units; None for what the spec names.
            seed: of initial values, batches and noise; None for the spec's.
            steps: instead of the spec's steps or epochs.
            device: `auto`, `cpu`, `cuda`.
            precision: `float32`, `float64`, `bfloat16`; None for the spec's.
            threads: CPU threads.
            out: a folder that the run is written to as it goes; None keeps it in memory.
            progress: draw a bar with steps per second, time left and the loss in nats.
            resume: go on from the newest checkpoint in `out`, bit for bit.
            checkpoint_seconds: time between two checkpoints; 0 for one after every block of steps.
            data_bytes: memory of the device that training rows may take; None for half of what is free there (of all
                memory, on a processor). Rows that take more are fed a few steps at a time, with the same results.
            compile: fuse the operations of a training step by `torch.compile`: takes a C++ compiler and up to a minute
                at the start, and agrees with the other way up to rounding. JAX always compiles.

        Raises:
            SpecError: data that do not fit the spec.
            RunError: a non-finite loss (step, site, line and ranges named), an unusable device, a folder in use, a
                loss that cannot be compiled.
            Interrupted: after Ctrl-C with `out`, once a checkpoint is written.
        """
        from dgmppl.api.running import fit
        from dgmppl.api.settings import FitOptions

        options = FitOptions(
            seed, steps, device, precision, threads, progress, resume, checkpoint_seconds, data_bytes, compile
        )
        return fit(self.bound(data), options, None if out is None else Path(out))

    def keep(self, folder: RunFolder, options: FitOptions) -> None:
        """Write what identifies the run: the spec as resolved and as given, the columns, the emitted source."""
        from dgmppl.api.identity import resolved_spec
        from dgmppl.runs.columns import to_json
        from dgmppl.runs.trained import placed
        from dgmppl.spec.writer import to_yaml

        resolved = resolved_spec(self.compiled, options)
        # Paths are stored relative to the run, so that a tree that is moved as a whole still works.
        moved = tuple(
            replace(one, base=os.path.relpath(one.base, folder.path)) if one.kind == "file" else one
            for one in resolved.data
        )
        # A folder with this file holds a run: what a killed one left is then continued, not taken for nothing.
        resolved = placed(replace(resolved, data=moved), self.compiled.program.runs, folder.path)
        folder.write(folder.resolved, to_yaml(resolved))
        for number, source in enumerate(self.compiled.spec.sources or (self.compiled.spec.source,)):
            path = folder.spec if number == 0 else folder.path / f"spec.extends-{number}.yaml"
            folder.write(path, source.text)
        folder.write_json(folder.columns, to_json(self.compiled.schema))
        folder.write(folder.program, self.source)

    def __repr__(self) -> str:
        return f"CompiledProgram({self.name!r}, backend={self.backend!r})\n{self.objective.text()}"
