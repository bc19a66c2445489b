"""Commands about the language and the installation: list, schema, migrate, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgmppl.cli import completion
from dgmppl.cli.app import command
from dgmppl.cli.options import Json, Out, Quiet
from dgmppl.cli.output import say, say_json, say_table, write


@command("dgmppl list", "dgmppl list distributions", name="list")
def list_(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="left out: which tables there are", autocompletion=completion.tables)
    ] = "",
    as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """The words of the language: functions, distributions, networks."""
    from dgmppl.tables import TABLES, entries

    if table and table not in TABLES:
        raise typer.BadParameter(f"there is no table {table!r}; there are {', '.join(TABLES)}", param_hint="TABLE")
    rows = entries(table) if table else TABLES
    if as_json:
        say_json(rows)
    else:
        say_table(rows, quiet=quiet)


@command("dgmppl schema -o schema.json")
def schema(out: Out = None, quiet: Quiet = False) -> None:
    """The JSON Schema of specs, by which editors complete and check."""
    from dgmppl.spec.schema import schema_text

    if out is None:
        typer.echo(schema_text(), nl=False)
    else:
        write(out, schema_text())
        say(f"wrote {out}", quiet=quiet)


@command("dgmppl migrate specs/vae.yaml specs/gmm.yaml")
def migrate(
    specs: Annotated[
        list[Path],
        typer.Argument(metavar="SPEC...", help="specs (YAML)", show_default=False, autocompletion=completion.specs),
    ],
    as_json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Bring specs to this version of the language, in place."""
    from dgmppl.migration import migrate as migrate_spec

    done = [migrate_spec(spec) for spec in specs]
    if as_json:
        say_json([one.to_dict() for one in done])
    else:
        for one in done:
            say(str(one), quiet=quiet)


@command("dgmppl doctor", "dgmppl doctor --json", computes=True)
def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Backends, versions, devices, threads, and what is missing."""
    from dgmppl.doctor import examine

    health = examine()
    if as_json:
        say_json(health.to_dict())
    else:
        say(health.text(), quiet=quiet)
    if not health.usable:
        raise typer.Exit(1)
