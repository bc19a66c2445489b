"""Commands that read a spec: new, check, explain, graph, compile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgmppl.cli import completion
from dgmppl.cli.app import command
from dgmppl.cli.options import BackendName, Data, Json, Out, Quiet, Set, SpecFile, SpecFiles, TrustCode, pairs, readable
from dgmppl.cli.output import page_width, say, say_json, say_table, warn, write


@command("dgmppl new", "dgmppl new vae", "dgmppl new radon --out models/radon.yaml")
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="of the zoo; left out: lists them", autocompletion=completion.zoo)
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="instead of NAME.yaml")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace files that exist")] = False,
    as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write a commented spec to start from, with the files it needs."""
    from dgmppl import scaffold

    if not name:
        (say_json if as_json else say_table)(scaffold.names())
        return
    written = scaffold.write(name, out, force=force)
    if as_json:
        say_json({"spec": str(written.spec), "wrote": written.wrote, "kept": written.kept})
        return
    for path in written.wrote:
        say(f"wrote {path}", quiet=quiet)
    for path in written.kept:
        say(f"kept {path}, which was there", quiet=quiet)


@command("dgmppl check specs/vae.yaml", "dgmppl check specs/gmm.yaml specs/radon.yaml --pedantic --json")
def check(
    specs: SpecFiles, pedantic: Annotated[bool, typer.Option("--pedantic", help="lints too")] = False,
    backend: BackendName = "numpyro", sets: Set = None, data: Data = None, trust_code: TrustCode = False,
    as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Parse, resolve, infer, derive; print all that is wrong at once."""
    from dgmppl.compiler import check as diagnose

    bindings, overrides = pairs(data), sets or []
    found = {
        str(spec): diagnose(
            readable(spec), bindings=bindings, overrides=overrides, pedantic=pedantic, trust_code=trust_code,
            backend=backend,
        )
        for spec in specs
    }  # fmt: skip
    broken = [name for name, diagnostics in found.items() if any(one.severity == "error" for one in diagnostics)]
    if as_json:
        say_json([
            {"spec": name, "ok": name not in broken, "diagnostics": [one.to_dict() for one in diagnostics]}
            for name, diagnostics in found.items()
        ])  # fmt: skip
    else:
        for name, diagnostics in found.items():
            warn(one for one in diagnostics if one.severity == "error" or not quiet)
            if name not in broken:
                say(f"{name}: ok", quiet=quiet)
    if broken:
        raise typer.Exit(2)


@command("dgmppl explain specs/ss_vae.yaml", "dgmppl explain specs/vae.yaml --latex")
def explain(
    spec: SpecFile, latex: Annotated[bool, typer.Option("--latex", help="print the objective in LaTeX")] = False,
    sets: Set = None, data: Data = None, trust_code: TrustCode = False, as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Factorization, rules, objective; what is exact, what a bound."""
    from dgmppl.api.program import compile as compile_program
    from dgmppl.objectives.printers import explain_text

    program = compile_program(readable(spec), bindings=pairs(data), overrides=sets or [], trust_code=trust_code)
    if as_json:
        say_json(program.explain())
    elif latex:
        say(program.objective.latex(), quiet=quiet)
    else:
        say(explain_text(program.compiled.program, program.compiled.derivation, page_width()), quiet=quiet)


@command("dgmppl graph specs/hmm.yaml -o hmm.svg", "dgmppl graph specs/vae.yaml -o vae.mmd")
def graph(
    spec: SpecFile,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help=".svg, .png, .pdf, .dot or .mmd", show_default=False)
    ],
    sets: Set = None, data: Data = None, trust_code: TrustCode = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw the computation graph of model, guide and critics."""
    from dgmppl.compiler import front
    from dgmppl.results.graph import write as draw

    draw(front(readable(spec), pairs(data), sets or [], trust_code=trust_code).program, out)
    say(f"wrote {out}", quiet=quiet)


@command(
    "dgmppl compile specs/vae.yaml --backend pyro",
    "dgmppl compile specs/gmm.yaml -o gmm.py --standalone",
    "dgmppl compile specs/vae.yaml --stage program",
    name="compile",
)
def compile_(
    spec: SpecFile, backend: BackendName = "numpyro", out: Out = None,
    standalone: Annotated[bool, typer.Option("--standalone", help="the file needs none of dgmppl's packages")] = False,
    stage: Annotated[
        str, typer.Option(
            "--stage", metavar="STAGE", help="spec, program, derivation, module or source",
            autocompletion=completion.stages,
        ),
    ] = "source",
    sets: Set = None, data: Data = None, trust_code: TrustCode = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Print the readable Pyro or NumPyro program."""
    from dgmppl.compiler import STAGES, compile_spec, warnings_of

    if stage not in STAGES:
        raise typer.BadParameter(f"{stage!r} is none of {', '.join(STAGES)}", param_hint="--stage")
    compiled = compile_spec(
        readable(spec), backend=backend, bindings=pairs(data), overrides=sets or [], standalone=standalone,
        trust_code=trust_code,
    )  # fmt: skip
    warn(warnings_of(compiled), quiet=quiet)
    text = compiled.stage(stage)
    if out is None:
        say(text)
    else:
        write(out, text)
        say(f"wrote {out}", quiet=quiet)
