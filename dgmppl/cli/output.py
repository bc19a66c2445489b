"""What commands print: facts on standard output, as text or JSON; diagnostics and notes in colour on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dgmppl.errors import RunError, SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dgmppl.api.fitted import Fit
    from dgmppl.source import Diagnostic

_LABELS = frozenset({"expected", "found", "fix", "note"})


def say(text: str, *, quiet: bool = False) -> None:
    """A text on standard output, with one line break at its end."""
    if not quiet:
        typer.echo(text.removesuffix("\n"))


def say_json(data: Any) -> None:
    """Facts as JSON on standard output."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def page_width() -> int:
    """Columns of a page of text: those of the terminal, at most 100; 100 where the output goes elsewhere."""
    import shutil

    return min(100, max(40, shutil.get_terminal_size((100, 24)).columns))


def say_table(rows: Mapping[str, str], *, quiet: bool = False) -> None:
    """Names with their meanings in two columns; long meanings are wrapped under their own column."""
    import shutil
    import textwrap

    width = max(map(len, rows), default=0) + 2
    columns = max(shutil.get_terminal_size().columns, width + 40)
    for name, meaning in rows.items():
        start, under = f"{name:<{width}}", " " * width
        wrapped = textwrap.fill(meaning, columns, initial_indent=start, subsequent_indent=under, break_long_words=False)
        say(wrapped or name, quiet=quiet)


def complain(message: str) -> None:
    """An error without a place in a spec."""
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(message, err=True)


def print_problems(error: SpecError) -> None:
    """Everything that is wrong with a spec, a blank line between any two."""
    for number, problem in enumerate(error.diagnostics):
        if number:
            typer.echo(err=True)
        _print_rendered(problem.render(), severity=getattr(problem, "severity", "error"))


def warn(diagnostics: Iterable[Diagnostic], *, quiet: bool = False) -> None:
    """Diagnostics that do not end the command."""
    if not quiet:
        for diagnostic in diagnostics:
            _print_rendered(diagnostic.render(), severity=diagnostic.severity)


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
        elif label in _LABELS:
            typer.secho(f"  {label}:", fg="green" if label == "fix" else "cyan", nl=False, err=True)
            typer.echo(line.partition(":")[2], err=True)
        else:
            typer.echo(line, err=True)


@contextmanager
def warnings_as_notes(*, quiet: bool = False) -> Iterator[None]:
    """Python warnings inside the block become notes on standard error."""
    import warnings

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if not quiet:
            typer.secho(f"note: {message}", fg="yellow", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def write(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        RunError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def write_nats(path: Path, values: NDArray[Any]) -> None:
    """Write the value of each row as CSV, with all the digits that tell it apart."""
    write(path, "row,nats\n" + "".join(f"{row},{value!r}\n" for row, value in enumerate(values.tolist(), start=1)))


# ---- runs -----------------------------------------------------------------------------------------------------------


def print_summary(fitted: Fit, facts: Mapping[str, Any]) -> None:
    """What a fit came to: its loss, its posterior, its held-out numbers, and its notes."""
    if facts["final_loss"] is not None:
        say(f"loss {facts['final_loss']:.2f} nats per datum after {facts['steps']} steps, {facts['seconds']:.1f} s")
    if fitted.draws is not None:
        from dgmppl.api.inference_data import latent_rows
        from dgmppl.results.summary import lines

        for line in lines(fitted.program.compiled.program, fitted.draws, latent_rows(fitted)):
            say(line)
    print_metrics(facts["held_out"])
    for note in facts["notes"]:
        say(f"note: {note}")


def print_metrics(held_out: Mapping[str, Any]) -> None:
    """Held-out numbers, a line each, with error, unit, status and count; then what is wrong with the samples."""
    for metric in held_out["metrics"]:
        what = f"{metric.get('site', '')} {metric['metric'].replace('_', ' ')} {metric.get('of', '')}".strip()
        if metric["value"] is None:
            say(f"{held_out['split']} {what}: not to be had: {metric['why']}")
            continue
        say(f"{held_out['split']} {what}: {_figure(metric)} ({metric['status']}, {_counts(metric)})")
    for warning in held_out.get("warnings", ()):
        place = warning["span"]
        at = "" if place is None else f"{place['file']}:{place['line']}: "
        typer.secho("warning: ", fg="yellow", bold=True, nl=False, err=True)
        typer.echo(at + "; ".join([warning["message"], warning["found"], *warning["notes"]]), err=True)
    if "why" in held_out:
        say(f"no held-out density: {held_out['why']}")


def _figure(metric: Mapping[str, Any]) -> str:
    """A metric's value with its error and unit; nats to two decimals, statistics of samples to three digits."""
    digits = ".3g" if {"site", "samples"} & metric.keys() else ".2f"
    error = "" if metric["standard_error"] is None else f" ± {metric['standard_error']:{digits.replace('3', '2')}}"
    bits = f", {metric['bits_per_dim']:.3f} bits per dimension" if "bits_per_dim" in metric else ""
    return f"{metric['value']:{digits}}{error} {metric['unit']}{bits}"


def _counts(metric: Mapping[str, Any]) -> str:
    return f"{metric['rows']} rows" + (f", {metric['samples']} samples" if "samples" in metric else "")
