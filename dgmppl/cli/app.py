"""The application: how commands are registered, with their examples, and what happens when one fails."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from dgmppl.cli.output import complain, print_problems
from dgmppl.errors import ArgumentError, DgmpplError, InternalError, SpecError

F = TypeVar("F", bound=Callable[..., None])

# New objects between two searches for circular garbage. Nearly all that a command makes before it computes lives as
# long as the process; to search it every 700 objects, as is the default, costs a tenth of `check`.
_OBJECTS = 100_000


class _Command(TyperCommand):
    """A command whose usage line names required arguments without braces."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class _Reading(_Command):
    """A command that computes nothing: its process does without what only computing pays for."""

    def invoke(self, ctx: Any) -> Any:
        # Read when NumPy is imported, which no command has done yet: OpenBLAS starts a thread per core, and waiting for
        # work that never comes they spin for a tenth of a second.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        # The interpreter's last search for circular garbage would go through all modules, for nothing.
        atexit.register(gc.freeze)
        return super().invoke(ctx)


class _Commands(Mapping[str, Any]):
    """Commands by name, in the order of their registration; each is built from its function when it is looked up."""

    def __init__(self) -> None:
        self._registered: dict[str, CommandInfo] = {}
        self._built: dict[str, Any] = {}

    def register(self, name: str, info: CommandInfo) -> None:
        """Take a function in as a command."""
        self._registered[name] = info

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            info = self._registered[name]
            self._built[name] = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._registered)

    def __len__(self) -> int:
        return len(self._registered)


_COMMANDS = _Commands()


class _Group(TyperGroup):
    """The group of all commands: a process runs one of them, so the others' options are never built."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": _COMMANDS})


app = typer.Typer(
    name="dgmppl", cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    epilog="\b\nStart with:\n  dgmppl new vae\n  dgmppl fit vae.yaml --out runs/vae",
    context_settings={"max_content_width": 100},
)  # fmt: skip


def command(*examples: str, name: str | None = None, computes: bool = False) -> Callable[[F], F]:
    """Register a function as a command.

    Args:
        examples: command lines that its help shows; the tests run each of them.
        name: the command's name; the function's by default.
        computes: it imports a backend; one that does not is spared what only computing needs.
    """
    cls = _Command if computes else _Reading
    shown = "\n".join(["\b", "Examples:" if len(examples) > 1 else "Example:", *(f"  {line}" for line in examples)])

    def register(function: F) -> F:
        known = name or function.__name__
        _COMMANDS.register(known, CommandInfo(known, cls=cls, callback=function, epilog=shown))
        return function

    return register


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
    gc.set_threshold(_OBJECTS)
    try:
        app()
    except SpecError as error:
        print_problems(error)
        sys.exit(2)
    except DgmpplError as error:
        complain(str(error))
        sys.exit(2 if isinstance(error, ArgumentError) else 1)
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
