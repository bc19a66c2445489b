"""Arguments and options that several commands share, and how their text is read."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dgmppl.cli import completion

SpecFile = Annotated[
    Path,
    typer.Argument(
        metavar="SPEC", help="a spec (YAML); - is standard input", show_default=False, autocompletion=completion.specs
    ),
]
SpecFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="SPEC...", help="specs (YAML); - is standard input", show_default=False,
        autocompletion=completion.specs,
    ),
]  # fmt: skip
RunDir = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="the folder of a run", show_default=False, autocompletion=completion.runs),
]
Columns = Annotated[
    list[str], typer.Argument(metavar="DATA...", help="FILE, or NAME=FILE for one column", show_default=False)
]

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="replace a value of the spec, as train.steps=500; repeatable"),
]
Data = Annotated[
    list[str] | None, typer.Option("--data", metavar="NAME=FILE", help="bind a column of the data; repeatable")
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="run code of your own that the spec names by python(...)")
]
BackendName = Annotated[
    str, typer.Option("--backend", "-b", metavar="NAME", help="numpyro or pyro", autocompletion=completion.backends)
]
OtherBackend = Annotated[
    str | None,
    typer.Option(
        "--backend", "-b", metavar="NAME", help="instead of the run's own", autocompletion=completion.backends
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--given",
        metavar="NAME=VALUE",
        help="a covariate's value, the beginning of what is drawn in order, or a diffusion's elements with NaN where "
        "unknown; arrays in .npy files too; repeatable",
    ),
]
SetEvaluate = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="evaluate.KEY=VALUE", help="how it is evaluated, instead of the spec's; repeatable"),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="of the noise")]
Particles = Annotated[int, typer.Option("--particles", metavar="N", help="draws behind a bound", min=1)]
Folder = Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="the run's folder", show_default=False)]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu or cuda", autocompletion=completion.devices)
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision", metavar="TYPE", help="float32, float64 or bfloat16", autocompletion=completion.precisions
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads", min=1)]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="written instead of standard output", show_default=False),
]


def readable(spec: Path) -> Path | str:
    """What a SPEC argument names: a file, or for `-` the text on standard input."""
    # With a line break it is text and no path, however little there is.
    return sys.stdin.read() + "\n" if str(spec) == "-" else spec


def pairs(given: Sequence[str] | None, option: str = "--data") -> dict[str, str]:
    """`NAME=VALUE` arguments as a mapping.

    Raises:
        typer.BadParameter: one of them has another form.
    """
    split = [text.partition("=") for text in given or []]
    wrong = next(
        (text for text, (name, _, value) in zip(given or [], split, strict=True) if not name or not value), None
    )
    if wrong is not None:
        raise typer.BadParameter(f"{wrong!r} is not NAME=VALUE", param_hint=option)
    return {name.strip(): value for name, _, value in split}


def values(given: Sequence[str] | None, option: str = "--given") -> dict[str, Any] | None:
    """`NAME=VALUE` arguments, numbers, lists and arrays in .npy files as such; None where there are none."""

    def value(text: str) -> Any:
        if text.endswith(".npy"):
            return _array(text, option)
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {name: value(text) for name, text in pairs(given, option).items()} or None


def _array(path: str, option: str) -> Any:
    """What a .npy file holds."""
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as problem:
        raise typer.BadParameter(f"{path} cannot be read: {problem}", param_hint=option) from problem
