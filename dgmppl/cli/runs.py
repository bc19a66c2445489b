"""Commands that make a run or read one: fit, sample, posterior, score, evaluate, convert."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dgmppl.cli import completion
from dgmppl.cli.app import command
from dgmppl.cli.options import (
    BackendName,
    Columns,
    Data,
    Device,
    Folder,
    Given,
    Json,
    OtherBackend,
    Particles,
    Precision,
    Quiet,
    RunDir,
    Seed,
    Set,
    SetEvaluate,
    SpecFile,
    Threads,
    TrustCode,
    pairs,
    readable,
    values,
)
from dgmppl.cli.output import print_metrics, print_summary, say, say_json, warn, warnings_as_notes, write_nats
from dgmppl.errors import RunError

if TYPE_CHECKING:
    from dgmppl.api.fitted import Fit


@command(
    "dgmppl fit specs/vae.yaml --out runs/vae",
    "dgmppl fit specs/radon.yaml --out runs/radon -b pyro --set infer.draws=500",
    "dgmppl fit specs/vae.yaml --out runs/vae --resume",
    computes=True,
)
def fit(
    spec: SpecFile, out: Folder, backend: BackendName = "numpyro",
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="of initial values, batches and noise")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", help="instead of the spec's")] = None,
    device: Device = "auto", precision: Precision = None, threads: Threads = None,
    data_memory: Annotated[
        float | None,
        typer.Option(
            "--data-memory", metavar="GIB", min=0, show_default=False,
            help="for training rows on the device, by default half of what is free; more are fed a few steps at a time",
        ),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="fuse a step's operations by torch.compile; JAX always does")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the newest checkpoint")] = False,
    sets: Set = None, data: Data = None, trust_code: TrustCode = False, as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train, or infer the posterior, as the derivation says."""
    from dgmppl.api.program import compile as compile_program
    from dgmppl.compiler import warnings_of
    from dgmppl.runs.folder import RunFolder
    from dgmppl.runs.interrupts import Interrupted

    shown = not quiet and not as_json
    program = compile_program(readable(spec), backend, pairs(data), overrides=sets or [], trust_code=trust_code)
    warn(warnings_of(program.compiled), quiet=not shown)
    say(program.objective.text(), quiet=not shown)
    try:
        with warnings_as_notes(quiet=quiet):
            fitted = program.fit(
                seed=seed, steps=steps, device=device, precision=precision, threads=threads, out=out, progress=shown,
                resume=resume, data_bytes=None if data_memory is None else int(data_memory * 2**30), compile=compiled,
            )  # fmt: skip
    except Interrupted as stopped:
        raise RunError(f"{stopped}; the checkpoint is written. Go on with:\n  {_again()}") from None
    folder = RunFolder(out)
    facts = folder.read_json(folder.receipt)
    if as_json:
        say_json(facts)
    elif not quiet:
        print_summary(fitted, facts)
        say(f"wrote {out}")


def _again() -> str:
    """The command line with --resume."""
    import shlex

    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    return shlex.join(["dgmppl", *arguments, "--resume"])


def _load(
    run: Path, backend: str | None, device: str, precision: str | None, threads: int | None, trust_code: bool,
    sets: list[str] | None, *, quiet: bool = False,
) -> Fit:  # fmt: skip
    from dgmppl.api.storage import load

    with warnings_as_notes(quiet=quiet):
        return load(
            run, backend, trust_code=trust_code, device=device, precision=precision, threads=threads,
            overrides=sets or (),
        )  # fmt: skip


@command(
    "dgmppl sample runs/vae -n 64 -o samples.png",
    "dgmppl sample runs/vae -n 1000 -o samples.npz --seed 1",
    computes=True,
)
def sample(
    run: RunDir,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help=".npz, .npy, .csv, .png, .svg or .pdf", show_default=False),
    ],
    n: Annotated[int, typer.Option("-n", metavar="N", help="how many", min=1)] = 64,
    given: Given = None, seed: Seed = 0, sets: SetEvaluate = None, backend: OtherBackend = None,
    device: Device = "auto", precision: Precision = None, threads: Threads = None, trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw from a fitted model, in the data's own units."""
    from dgmppl.api.export import write_samples

    write_samples(
        _load(run, backend, device, precision, threads, trust_code, sets, quiet=quiet), out, n, values(given), seed
    )
    say(f"wrote {out}", quiet=quiet)


@command(
    "dgmppl posterior runs/vae -o posterior.nc",
    "dgmppl posterior runs/radon -o fit.nc --group posterior",
    computes=True,
)
def posterior(
    run: RunDir,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="a netCDF file", show_default=False)],
    groups: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME", help="an ArviZ group; repeatable")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", metavar="N", help="of latents and predictions", min=1)] = 100,
    data: Data = None, seed: Seed = 0, sets: SetEvaluate = None, backend: OtherBackend = None,
    device: Device = "auto", precision: Precision = None, threads: Threads = None, trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Posterior draws of parameters and latents, as ArviZ data."""
    from dgmppl.api.export import read_columns
    from dgmppl.results.compat import write as write_netcdf

    fitted = _load(run, backend, device, precision, threads, trust_code, sets, quiet=quiet)
    given = read_columns(fitted, data) if data else None
    write_netcdf(fitted.to_arviz(*(groups or []), x=given, draws=draws, seed=seed), out)
    say(f"wrote {out}", quiet=quiet)


@command("dgmppl score runs/vae images.npy", "dgmppl score runs/vae x=images.npy -o nats.csv", computes=True)
def score(
    run: RunDir, data: Columns, particles: Particles = 100,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="the value of each row, as CSV")
    ] = None,
    seed: Seed = 0, sets: SetEvaluate = None, backend: OtherBackend = None, device: Device = "auto",
    precision: Precision = None, threads: Threads = None, trust_code: TrustCode = False, as_json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Log-density per row in nats, and if exact, bound or estimate."""
    from dgmppl.api.export import read_columns

    fitted = _load(run, backend, device, precision, threads, trust_code, sets, quiet=quiet)
    result = fitted.score(read_columns(fitted, data), particles, seed)
    if out is not None:
        write_nats(out, result.values)
    if as_json:
        say_json({**result.to_dict(), "values": result.values.tolist()})
    elif not quiet:
        print_metrics({"split": "data", "metrics": [result.to_dict()]})


@command(
    "dgmppl evaluate runs/vae",
    "dgmppl evaluate runs/vae --backend pyro --json",
    "dgmppl evaluate runs/vae --set 'evaluate.metrics=[elbo, mmd]'",
    computes=True,
)
def evaluate(
    run: RunDir, sets: SetEvaluate = None, backend: OtherBackend = None, device: Device = "auto",
    precision: Precision = None, threads: Threads = None, trust_code: TrustCode = False, as_json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Held-out metrics legal for the model, with standard errors."""
    facts = _load(run, backend, device, precision, threads, trust_code, sets, quiet=quiet).evaluate()
    if as_json:
        say_json(facts)
    elif not quiet:
        print_metrics(facts)


@command("dgmppl convert runs/vae --to pyro", "dgmppl convert runs/vae --to pyro -o runs/vae-torch", computes=True)
def convert(
    run: RunDir,
    to: Annotated[
        str, typer.Option(
            "--to", metavar="NAME", help="the other backend", show_default=False, autocompletion=completion.backends
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="RUN", help="instead of RUN-BACKEND")] = None,
    trust_code: TrustCode = False, as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write the same fitted model as a run of the other backend."""
    from dgmppl.api.conversion import convert as convert_run

    with warnings_as_notes(quiet=quiet):
        converted = convert_run(run, to, out, trust_code=trust_code)
    facts: dict[str, Any] = converted.read_json(converted.receipt)
    if as_json:
        say_json(facts)
    else:
        source = facts["converted"]
        say(f"wrote {converted.path}: {source['path']}, fitted with {source['backend']}, on {to}", quiet=quiet)
