"""The application: how commands are registered, with their examples, and what happens when one fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from dgmppl.cli.output import complain, print_problems
from dgmppl.errors import DgmpplError, InternalError, SpecError

F = TypeVar("F", bound=Callable[..., None])

app = typer.Typer(
    name="dgmppl", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    epilog="\b\nStart with:\n  dgmppl new vae\n  dgmppl fit vae.yaml --out runs/vae",
    context_settings={"max_content_width": 100},
)  # fmt: skip


class _Command(TyperCommand):
    """A command whose usage line names required arguments without braces."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def command(*examples: str, name: str | None = None) -> Callable[[F], F]:
    """Register a function as a command.

    Args:
        examples: command lines that its help shows; the tests run each of them.
        name: the command's name; the function's by default.
    """
    shown = "\n".join(["\b", "Examples:" if len(examples) > 1 else "Example:", *(f"  {line}" for line in examples)])
    return app.command(name, cls=_Command, epilog=shown)


def _version(asked: bool) -> None:
    if asked:
        from dgmppl import __version__

        typer.echo(f"dgmppl {__version__}")
        raise typer.Exit


@app.callback()
def _dgmppl(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Deep generative models from declarative specs, compiled to Pyro and NumPyro."""


def main() -> None:
    """Run the command line; whatever goes wrong is printed without a traceback."""
    try:
        app()
    except SpecError as error:
        print_problems(error)
        sys.exit(2)
    except DgmpplError as error:
        complain(str(error))
        sys.exit(1)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(1)
    except Exception as error:
        complain(str(InternalError(f"{type(error).__name__}{_place(error)}: {error}")))
        sys.exit(1)


def _place(error: Exception) -> str:
    """The function and line where an unexpected error arose."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "" if place is None else f" in {place.tb_frame.f_code.co_name}, line {place.tb_lineno}"
