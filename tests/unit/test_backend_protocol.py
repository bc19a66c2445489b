"""A third backend that an entry point brings in: the core finds, asks and runs it without knowing it."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any

import pytest

import dgmppl.backend
from dgmppl.backend import Backend, available, load
from dgmppl.compiler import backend_support, compile_spec
from dgmppl.errors import RunError
from dgmppl.ir.kernel import Module

SPEC = """
dgmppl: 1
name: line
data: {x: [0.5, 1.5, 2.5]}
parameters: {m: learned(zeros)}
model: {x: Normal(m, 1)}
"""


class Prose:
    """Prints what each function is for, and runs nothing."""

    name = "prose"

    def versions(self) -> dict[str, str]:
        return {"prose": "1"}

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def emit(self, module: Module, *, standalone: bool = False) -> str:
        head = [f"# {module.program.name}, standalone"] if standalone else [f"# {module.program.name}"]
        return "\n".join([*head, *(f"{function.name}: {function.doc}" for function in module.functions)]) + "\n"

    def load(self, source: str, module: Module) -> Any:
        raise RunError(f"{module.program.name} is prose of {len(source.splitlines())} lines, which does not run")


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed entry points, and two more: one works, one lacks its library."""
    module = ModuleType("prose_backend")
    module.backend = Prose()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "prose_backend", module)
    installed = dgmppl.backend.entry_points

    def entry_points(*, group: str) -> EntryPoints:
        more = (("prose", "prose_backend:backend"), ("broken", "prose_backend_without_library:backend"))
        return EntryPoints([*installed(group=group), *(EntryPoint(name, value, group) for name, value in more)])

    monkeypatch.setattr(dgmppl.backend, "entry_points", entry_points)


@pytest.mark.usefixtures("third")
def test_it_is_found_beside_the_others() -> None:
    assert set(available()) >= {"pyro", "numpyro", "prose"}
    found: Backend = load("prose")
    assert (found.name, found.devices()) == ("prose", ("cpu",))


@pytest.mark.usefixtures("third")
@pytest.mark.parametrize("standalone", [False, True])
def test_it_prints_what_the_core_lowered(standalone: bool) -> None:
    compiled = compile_spec(SPEC, backend="prose", standalone=standalone)
    head, *lines = compiled.stage("source").splitlines()
    assert head == ("# line, standalone" if standalone else "# line")
    assert {line.partition(":")[0] for line in lines} == {function.name for function in compiled.module.functions}
    assert "log_prob" in compiled.source


@pytest.mark.usefixtures("third")
def test_it_says_itself_what_it_cannot_do() -> None:
    with pytest.raises(RunError, match="does not run"):
        compile_spec(SPEC, backend="prose").executable  # noqa: B018


@pytest.mark.usefixtures("third")
def test_it_is_listed_where_programs_can_run() -> None:
    assert backend_support(compile_spec(SPEC))["prose"] is True


@pytest.mark.usefixtures("third")
def test_a_missing_library_is_named() -> None:
    with pytest.raises(RunError, match=r"the broken backend needs prose_backend_without_library: pip install"):
        load("broken")


@pytest.mark.usefixtures("third")
def test_an_unknown_backend_lists_the_installed_ones() -> None:
    with pytest.raises(RunError, match=r"there is no backend 'verse'; installed: .*prose"):
        load("verse")


def test_without_the_entry_point_it_is_gone() -> None:
    with pytest.raises(RunError, match="there is no backend 'prose'"):
        load("prose")
