"""The command line: arguments in, calls of the Python API, facts out. It holds no logic of its own.

Exit codes: 0 done, 1 a run failed, 2 the input is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgmppl.errors import DgmpplError, InternalError, RunError, SpecError

if TYPE_CHECKING:
    from dgmppl.api.fitted import Fit
    from dgmppl.source import Diagnostic

app = typer.Typer(
    name="dgmppl", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Deep generative models from declarative specs, compiled to Pyro and NumPyro programs.",
)  # fmt: skip

SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="a spec (YAML)", show_default=False)]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a finished run", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="replace a value of the spec, such as train.steps=500"),
]
Data = Annotated[list[str] | None, typer.Option("--data", metavar="NAME=FILE", help="bind a data source")]
BackendName = Annotated[str, typer.Option("--backend", "-b", help="numpyro or pyro")]
OtherBackend = Annotated[
    str | None, typer.Option("--backend", "-b", help="instead of the one that the run was fitted with")
]
Given = Annotated[list[str] | None, typer.Option("--given", metavar="NAME=VALUE", help="a covariate's value")]
Columns = Annotated[list[str], typer.Argument(metavar="NAME=FILE...", help="data to score", show_default=False)]
Seed = Annotated[int, typer.Option("--seed", help="of the noise")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="the file to write; standard output without it", show_default=False)
]


def main() -> None:
    """Run the command line; whatever goes wrong is printed without a traceback."""
    try:
        app()
    except SpecError as error:
        _print_problems(error)
        sys.exit(2)
    except RunError as error:
        _complain(str(error))
        sys.exit(1)
    except DgmpplError as error:
        _complain(str(error))
        sys.exit(1)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(1)
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f" in {place.tb_frame.f_code.co_name}, line {place.tb_lineno}" if place is not None else ""
        _complain(str(InternalError(f"{type(error).__name__}{where}: {error}")))
        sys.exit(1)


# ---- printing -------------------------------------------------------------------------------------------------------


def _complain(message: str) -> None:
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(message, err=True)


def _print_problems(error: SpecError) -> None:
    for number, problem in enumerate(error.diagnostics):
        if number:
            typer.echo(err=True)
        _print_rendered(problem.render(), severity=getattr(problem, "severity", "error"))


def _print_rendered(text: str, *, severity: str) -> None:
    """A diagnostic in colour: the first line by severity, the caret, then labels."""
    colour = "red" if severity == "error" else "yellow"
    head, *rest = text.split("\n")
    place, mark, message = head.partition(f"{severity}[")
    typer.secho(place, bold=True, nl=False, err=True)
    typer.secho(f"{mark}{message.partition(']')[0]}]", fg=colour, bold=True, nl=False, err=True)
    typer.echo(message.partition("]")[2], err=True)
    for line in rest:
        label = line.strip().partition(":")[0]
        if set(line.strip()) <= set("|^~ "):
            typer.secho(line, fg=colour, err=True)
        elif label in {"expected", "found", "fix", "note"}:
            typer.secho(f"  {label}:", fg="green" if label == "fix" else "cyan", nl=False, err=True)
            typer.echo(line.partition(":")[2], err=True)
        else:
            typer.echo(line, err=True)


def _say(text: str, *, quiet: bool = False) -> None:
    if not quiet:
        typer.echo(text)


def _say_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` arguments as a mapping."""
    pairs = [text.partition("=") for text in given or []]
    wrong = next((name for name, mark, value in pairs if not (name and mark and value)), None)
    if wrong is not None:
        raise typer.BadParameter(f"{wrong!r} is not NAME=VALUE", param_hint=option)
    return {name.strip(): value for name, _, value in pairs}


def _values(given: list[str] | None) -> dict[str, Any]:
    """`--given label=3` as numbers where they are numbers."""

    def value(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {name: value(text) for name, text in _pairs(given, "--given").items()}


def _warn(diagnostics: list[Diagnostic], *, quiet: bool) -> None:
    if not quiet:
        for diagnostic in diagnostics:
            _print_rendered(diagnostic.render(), severity=diagnostic.severity)


# ---- specs ----------------------------------------------------------------------------------------------------------


@app.command()
def check(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="specs (YAML)", show_default=False)],
    pedantic: Annotated[bool, typer.Option("--pedantic", help="lints too")] = False,
    sets: Set = None, data: Data = None, as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Parse, resolve, infer and derive; print every diagnostic at once."""
    from dgmppl.compiler import check as diagnose

    found = {
        str(spec): diagnose(spec, bindings=_pairs(data, "--data"), overrides=sets or [], pedantic=pedantic)
        for spec in specs
    }
    broken = [name for name, diagnostics in found.items() if any(one.severity == "error" for one in diagnostics)]
    if as_json:
        _say_json([
            {"spec": name, "ok": name not in broken, "diagnostics": [one.to_dict() for one in diagnostics]}
            for name, diagnostics in found.items()
        ])  # fmt: skip
    else:
        for name, diagnostics in found.items():
            shown = [one for one in diagnostics if one.severity == "error" or not quiet]
            _warn(shown, quiet=False)
            if name not in broken:
                _say(f"{name}: ok", quiet=quiet)
    if broken:
        raise typer.Exit(2)


@app.command()
def explain(
    spec: SpecFile, latex: Annotated[bool, typer.Option("--latex", help="print the objective in LaTeX")] = False,
    sets: Set = None, data: Data = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Factorization, rules, objective, what is exact and what is a bound."""
    from dgmppl.api.program import CompiledProgram
    from dgmppl.compiler import compile_spec

    compiled = compile_spec(spec, bindings=_pairs(data, "--data"), overrides=sets or [])
    program = CompiledProgram(compiled, {})
    if as_json:
        _say_json(program.explain())
    else:
        _say(program.objective.latex() if latex else compiled.stage("derivation"))


@app.command()
def graph(
    spec: SpecFile, out: Annotated[Path, typer.Option("--out", "-o", help="g.svg, .png, .pdf, .dot or .mmd")],
    sets: Set = None, data: Data = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """The computation graph of model, guide and critics."""
    from dgmppl.compiler import front
    from dgmppl.results.graph import write

    write(front(spec, _pairs(data, "--data"), sets or []).program, out)
    _say(f"wrote {out}", quiet=quiet)


@app.command("compile")
def compile_(
    spec: SpecFile, backend: BackendName = "numpyro", out: Out = None,
    standalone: Annotated[bool, typer.Option("--standalone", help="the file needs none of dgmppl's packages")] = False,
    stage: Annotated[str, typer.Option("--stage", help="spec, program, derivation, module or source")] = "source",
    sets: Set = None, data: Data = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """The readable Pyro or NumPyro program."""
    from dgmppl.compiler import STAGES, compile_spec, warnings_of

    if stage not in STAGES:
        raise typer.BadParameter(f"{stage!r} is none of {', '.join(STAGES)}", param_hint="--stage")
    compiled = compile_spec(
        spec, backend=backend, bindings=_pairs(data, "--data"), overrides=sets or [], standalone=standalone
    )
    _warn(warnings_of(compiled), quiet=quiet)
    text = compiled.stage(stage)
    if out is None:
        typer.echo(text)
    else:
        _write(out, text)
        _say(f"wrote {out}", quiet=quiet)


@app.command()
def schema(out: Out = None) -> None:
    """The JSON Schema of specs, for editors."""
    from dgmppl.spec.schema import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)


@app.command("list")
def list_(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="the table to print; left out: which tables there are")
    ] = "",
    as_json: Json = False,
) -> None:
    """The closed tables of the language: functions, distributions, networks, ..."""
    from dgmppl.tables import TABLES, entries

    if kind and kind not in TABLES:
        raise typer.BadParameter(f"there is no table {kind!r}; there are {', '.join(TABLES)}", param_hint="KIND")
    rows = entries(kind) if kind else dict(TABLES)
    if as_json:
        _say_json(rows)
        return
    width = max(map(len, rows), default=0)
    for name, meaning in rows.items():
        _say(f"{name:<{width}}  {meaning}")


# ---- runs -----------------------------------------------------------------------------------------------------------


@app.command()
def fit(
    spec: SpecFile, out: Annotated[Path, typer.Option("--out", "-o", help="the run's folder", show_default=False)],
    backend: BackendName = "numpyro",
    seed: Annotated[int | None, typer.Option("--seed", help="of initial values, batches and noise")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="instead of the spec's steps or epochs")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda")] = "auto",
    precision: Annotated[str | None, typer.Option("--precision", help="float32, float64 or bfloat16")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the newest checkpoint")] = False,
    sets: Set = None, data: Data = None, as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train, or infer the posterior, as the derivation says."""
    from dgmppl.api.program import compile as compile_program
    from dgmppl.compiler import warnings_of
    from dgmppl.runs.interrupts import Interrupted

    program = compile_program(spec, backend, _pairs(data, "--data"), overrides=sets or [])
    _warn(warnings_of(program.compiled), quiet=quiet or as_json)
    _say(program.objective.text(), quiet=quiet or as_json)
    shown = not quiet and not as_json
    try:
        fitted = program.fit(
            seed=seed,
            steps=steps,
            device=device,
            precision=precision,
            threads=threads,
            out=out,
            progress=shown,
            resume=resume,
        )
    except Interrupted as stopped:
        raise RunError(f"{stopped}; the checkpoint is written. Go on with:\n  {_again()}") from None
    facts = json.loads((out / "receipt.json").read_text(encoding="utf-8"))
    if as_json:
        _say_json(facts)
    elif not quiet:
        _print_summary(fitted, facts)
        _say(f"wrote {out}")


def _again() -> str:
    """The command line with --resume."""
    import shlex

    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    return shlex.join(["dgmppl", *arguments, "--resume"])


def _print_summary(fitted: Fit, facts: Mapping[str, Any]) -> None:
    if facts["final_loss"] is not None:
        _say(f"loss {facts['final_loss']:.2f} nats per datum after {facts['steps']} steps, {facts['seconds']:.1f} s")
    if fitted.draws is not None:
        _print_posterior(fitted)
    _print_metrics(facts["held_out"])
    for note in facts["notes"]:
        _say(f"note: {note}")


def _print_metrics(held_out: Mapping[str, Any]) -> None:
    for metric in held_out["metrics"]:
        error = "" if metric["standard_error"] is None else f" ± {metric['standard_error']:.2f}"
        bits = f", {metric['bits_per_dimension']:.3f} bits per dimension" if "bits_per_dimension" in metric else ""
        said = f"{metric['value']:.2f}{error} {metric['unit']}{bits} ({metric['status']}, {metric['rows']} rows)"
        _say(f"{held_out['split']} {metric['metric'].replace('_', ' ')}: {said}")
    if not held_out["metrics"]:
        _say(f"no held-out density: {held_out['why']}")


def _print_posterior(fitted: Fit) -> None:
    """Mean and standard deviation of each scalar parameter, the first ones of long lists."""
    from dgmppl.results.summary import lines

    for line in lines(fitted.program.compiled.program, fitted.draws):
        _say(line)


def _load(run: Path, backend: str | None) -> Fit:
    from dgmppl.api.storage import load

    with _warnings_as_notes():
        return load(run, backend)


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    import warnings

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.secho(f"note: {message}", fg="yellow", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


@app.command()
def sample(
    run: RunDir, out: Annotated[Path, typer.Option("--out", "-o", help="samples.npz, .npy, .csv, .png or .svg")],
    n: Annotated[int, typer.Option("-n", help="how many", min=1)] = 64,
    given: Given = None, seed: Seed = 0, backend: OtherBackend = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw from a fitted model, in the data's own units."""
    from dgmppl.api.export import write_samples

    write_samples(_load(run, backend), out, n, _values(given) or None, seed)
    _say(f"wrote {out}", quiet=quiet)


@app.command()
def posterior(
    run: RunDir, out: Annotated[Path, typer.Option("--out", "-o", help="a netCDF file")],
    groups: Annotated[list[str] | None, typer.Option("--group", help="an ArviZ group; several by repeating it")] = None,
    draws: Annotated[int, typer.Option("--draws", help="of latents and predictions", min=1)] = 100,
    seed: Seed = 0, backend: OtherBackend = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Posterior draws of parameters and latents as ArviZ data."""
    from dgmppl.results.compat import write

    write(_load(run, backend).to_arviz(*(groups or []), draws=draws, seed=seed), out)
    _say(f"wrote {out}", quiet=quiet)


@app.command()
def score(
    run: RunDir, data: Columns,
    particles: Annotated[int, typer.Option("--particles", help="draws of a bound", min=1)] = 100,
    out: Out = None, seed: Seed = 0, backend: OtherBackend = None, as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Log-density per row, in nats, with its status: exact, bound or estimate."""
    from dgmppl.api.export import read_columns

    fitted = _load(run, backend)
    result = fitted.score(read_columns(fitted, data), particles, seed)
    if out is not None:
        _write(
            out,
            "row,nats\n" + "".join(f"{row},{value!r}\n" for row, value in enumerate(result.values.tolist(), start=1)),
        )
    if as_json:
        _say_json({**result.to_dict(), "values": result.values.tolist()})
    elif not quiet:
        _print_metrics({"split": "data", "metrics": [result.to_dict()]})


@app.command()
def evaluate(run: RunDir, backend: OtherBackend = None, as_json: Json = False) -> None:
    """Held-out metrics that are legal for the model, with their standard errors."""
    facts = _load(run, backend).evaluate()
    if as_json:
        _say_json(facts)
    else:
        _print_metrics(facts)
