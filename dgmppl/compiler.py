"""The pipeline: read -> describe the data -> resolve -> infer types -> complete the guide -> derive -> lower -> emit.

Each stage is a pure function of the one before, and each prints: `Compilation.stage(name)`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dgmppl.data import Loader
from dgmppl.errors import DgmpplError, Problem, SpecError, UnsupportedError
from dgmppl.ir.data import Column, DataSchema
from dgmppl.ir.program import Program
from dgmppl.objectives.derivation import Derivation
from dgmppl.objectives.engine import derive
from dgmppl.objectives.guides import complete_guide
from dgmppl.objectives.requests import called
from dgmppl.passes.infer import infer
from dgmppl.passes.resolve import resolve
from dgmppl.passes.run_checks import check_runs
from dgmppl.passes.trained import inline
from dgmppl.source import Diagnostic
from dgmppl.spec.reader import Readable, read
from dgmppl.spec.syntax import Setting, Spec

if TYPE_CHECKING:
    from dgmppl.backend import Backend, Executable
    from dgmppl.ir.densities import TrainedDensity
    from dgmppl.ir.kernel import Module
    from dgmppl.passes.trained import FinishedRun
    from dgmppl.runs.trained import Chain

STAGES = ("spec", "program", "derivation", "module", "source")


class Front(NamedTuple):
    """What a spec means, before any backend is chosen."""

    spec: Spec
    program: Program
    derivation: Derivation


@dataclass(frozen=True)
class Compilation:
    """A spec on its way to a program of a backend; the stages after `derivation` are computed when asked for.

    Attributes:
        spec: as read, overrides applied.
        schema: what is known of the data.
        program: typed, its guide complete.
        derivation: objective, players, rules, capabilities.
        loader: the data, read once for the schema and for a fit.
        backend: the backend's name.
        standalone: the emitted text needs none of dgmppl's packages.
        trust_code: `python(...)` in the spec may import code of the user's own.
    """

    spec: Spec
    schema: DataSchema
    program: Program
    derivation: Derivation
    loader: Loader = field(repr=False)
    backend: str
    standalone: bool = False
    trust_code: bool = False

    @cached_property
    def module(self) -> Module:
        """The straight-line functions that backends print.

        Raises:
            UnsupportedError: something is derived but not lowered.
        """
        from dgmppl.lowering import lower

        return lower(self.program, self.derivation)

    @cached_property
    def library(self) -> Backend:
        """The backend."""
        from dgmppl.backend import load

        return load(self.backend)

    @cached_property
    def source(self) -> str:
        """The emitted program.

        Raises:
            UnsupportedError: this backend does not lower a construct, named with its line.
            RunError: the backend is not installed.
        """
        return self.library.emit(self.module, standalone=self.standalone)

    @cached_property
    def executable(self) -> Executable:
        """The emitted program, imported."""
        return self.library.load(self.source, self.module)

    def stage(self, name: str) -> str:
        """A stage of the pipeline as text; `name` is one of `STAGES`."""
        match name:
            case "spec":
                from dgmppl.spec.writer import to_yaml

                return to_yaml(self.spec)
            case "program":
                from dgmppl.ir.pretty import pretty

                return pretty(self.program)
            case "derivation":
                from dgmppl.objectives.printers.page import explain_text

                return explain_text(self.program, self.derivation)
            case "module":
                return "\n\n".join(
                    f"{function.kind} {function.name}\n  {function.doc}" for function in self.module.functions
                )
        return self.source


def front(
    spec: Readable | Spec, bindings: Mapping[str, Any] | None = None, overrides: Iterable[str] = (), *,
    trust_code: bool = False,
) -> Front:  # fmt: skip
    """What a spec means: its program and everything that is derived from it.

    Args:
        spec: a path, YAML text, a mapping, a spec built in Python, or one that was read.
        bindings: data by name for sources that are bound at run time, or that replace the spec's own.
        overrides: `KEY=VALUE` as in `--set`.
        trust_code: `python(...)` in the spec may import code of the user's own.

    Raises:
        SpecError: all that is wrong with the spec or its data.
        NoObjectiveError: no rule derives an objective.
    """
    compiled = compile_spec(spec, bindings=bindings, overrides=overrides, trust_code=trust_code)
    return Front(compiled.spec, compiled.program, compiled.derivation)


def compile_spec(
    spec: Readable | Spec, *, backend: str = "numpyro", bindings: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (), schema: DataSchema | None = None, standalone: bool = False,
    trust_code: bool = False, above: Chain = (),
) -> Compilation:  # fmt: skip
    """Run the pipeline up to the derivation; lowering and emission follow when their results are asked for.

    Args:
        spec: see `front`.
        bindings: see `front`.
        overrides: see `front`.
        backend: `pyro`, `numpyro`, or another installed one; not imported before it is needed.
        schema: what is known of the data, where they were described before (a stored run); None describes them.
        standalone: the emitted text is to need none of dgmppl's packages.
        trust_code: see `front`.
        above: the finished runs that are being read, where the spec is one's.

    Raises:
        SpecError, NoObjectiveError: see `front`.
        UnsupportedError: the backend does not have the inference engine that the spec asks for.
    """
    written = overridden(spec if isinstance(spec, Spec) else read(spec), overrides)
    if schema is None:
        # A stored run has its draws: whichever backend is asked about them needs no engine.
        _require_engine(written, backend)
    loader = Loader(written.data, bindings)
    schema = _described(written, loader, trust_code) if schema is None else schema

    def program_of(path: Path, columns: DataSchema, chain: Chain) -> Program:
        return compile_spec(path, schema=columns, trust_code=trust_code, above=chain).program

    def find(density: TrainedDensity) -> FinishedRun | None:
        # What reads runs and lowers programs is loaded for specs that name one.
        from dgmppl.runs.trained import FinishedRuns

        return FinishedRuns(program_of, above).find(density)

    resolved = inline(resolve(written, schema, trust_code=trust_code), find)
    typed = infer(resolved)
    check_runs(typed)
    program = complete_guide(typed)
    derivation = derive(program)
    return Compilation(written, schema, program, derivation, loader, backend, standalone, trust_code)


def _require_engine(spec: Spec, backend: str) -> None:
    """Refuses an engine that a backend lacks before any data are read."""
    word = called(spec.infer)
    if spec.infer is None or word is None:
        return
    from dgmppl.backend import engine_lacking

    lacking = engine_lacking(backend, word, spec.infer.span)
    if lacking is not None:
        raise UnsupportedError([lacking])


def _described(spec: Spec, loader: Loader, trust_code: bool) -> DataSchema:
    """What is known of the data; where they are wrong, the error also says what is wrong with the names of the rest."""
    try:
        return loader.schema
    except SpecError as error:
        found = list(error.diagnostics)
    unread = DataSchema({one.name: Column(one.name, levels=(), span=one.span) for one in spec.data})
    try:
        resolve(spec, unread, trust_code=trust_code)
    except SpecError as error:
        found += error.diagnostics
    raise SpecError(sorted(found, key=_place))


def _place(problem: Problem) -> tuple[int, int]:
    span = problem.span if isinstance(problem, Diagnostic) else None
    return (span.line, span.column) if span is not None else (0, 0)


def overridden(spec: Spec, overrides: Iterable[str]) -> Spec:
    """The spec with `--set KEY=VALUE` applied in order.

    Raises:
        SpecError: for text that is no override.
    """
    from dgmppl.spec.overrides import apply_override

    for override in overrides:
        spec = apply_override(spec, override)
    return spec


def check(
    spec: Readable | Spec,
    *,
    bindings: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    pedantic: bool = False,
    trust_code: bool = False,
    backend: str = "numpyro",
) -> list[Diagnostic]:
    """Every diagnostic of a spec, errors and warnings; an empty list means that it compiles.

    Args:
        spec: see `front`.
        bindings: see `front`.
        overrides: see `front`.
        pedantic: lints too.
        trust_code: see `front`.
        backend: the one whose inference engines the spec may ask for.
    """
    try:
        compiled = compile_spec(spec, backend=backend, bindings=bindings, overrides=overrides, trust_code=trust_code)
        warnings = warnings_of(compiled)
        return [*warnings, *_lints(compiled)] if pedantic else warnings
    except SpecError as error:
        return [problem for problem in error.diagnostics if isinstance(problem, Diagnostic)]


def warnings_of(compiled: Compilation) -> list[Diagnostic]:
    """What is suspicious in the data and in the derivation, though not wrong."""
    derived = [warning for warning in compiled.derivation.warnings if isinstance(warning, Diagnostic)]
    return [*compiled.schema.warnings, *derived]


def _lints(compiled: Compilation) -> list[Diagnostic]:
    from dgmppl.passes.lints import lint

    return lint(compiled.program)


def backend_support(compiled: Compilation) -> dict[str, bool | str]:
    """For each known backend: True where the program lowers to it, else the reason; nothing is imported or run.

    Lowering is shared by all backends: what it lowers, each of them prints; not every inference engine is on each.
    """
    from dgmppl.backend import available, engine_refused
    from dgmppl.ir.expressions import Call

    known = sorted({"pyro", "numpyro", *available()})
    try:
        compiled.module  # noqa: B018
    except UnsupportedError as error:
        return dict.fromkeys(known, str(error.diagnostics[0].render().splitlines()[0]))
    except DgmpplError as error:
        return dict.fromkeys(known, str(error).splitlines()[0])
    engine = compiled.derivation.engine
    if not isinstance(engine, Call):
        return dict.fromkeys(known, True)
    refused = {name: engine_refused(name, engine, compiled.module) for name in known}
    return {name: True if one is None else str(one.render().splitlines()[0]) for name, one in refused.items()}


def with_defaults(compiled: Compilation) -> Spec:
    """The spec with every default filled in: training settings, the engine, and the guide where it was completed."""
    from dgmppl.ir.expressions import Expression, Literal

    train = compiled.program.train
    filled: dict[str, Any] = {
        "optimizer": train.optimizer,
        "optimizers": dict(train.optimizers) or None,
        "batch_size": train.batch_size if train.batch_size is not None else "all",
        "steps": None if train.epochs is not None else train.steps,
        "epochs": train.epochs,
        "schedule": train.schedule,
        "clip_norm": train.clip_norm,
        "ema": train.ema,
        "seed": train.seed,
        "early_stopping": train.early_stopping,
        "precision": train.precision,
    }
    written = {setting.key: setting.value for setting in compiled.spec.train}
    settings = tuple(Setting(key, written.get(key, value)) for key, value in filled.items() if value is not None)
    engine = compiled.derivation.engine
    infer_section = (
        engine if isinstance(engine, Expression) and not isinstance(engine, Literal) else compiled.spec.infer
    )
    return replace(compiled.spec, train=settings, infer=infer_section)


def spec_hash(spec: Spec) -> str:
    """SHA-256 of a spec's normal form: the same for the same mathematics and settings, whoever wrote it."""
    from dgmppl.spec.writer import to_yaml

    return hashlib.sha256(
        to_yaml(replace(spec, data=tuple(replace(one, base=".") for one in spec.data))).encode()
    ).hexdigest()
