"""Every command line that README.md, docs/ and the help texts show is run, with few steps, in a folder of its own."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from dgmppl.api.conversion import convert
from dgmppl.cli import app, main
from dgmppl.scaffold import names

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]

# How each spec that is fitted somewhere is made quick; one that is not here fails the test.
SMALL = ("networks.encoder=mlp([8])", "networks.decoder=mlp([8])", "evaluate.particles=4")
BRIEF = {
    "vae": ["--steps", "2", *(word for change in SMALL for word in ("--set", change))],
    "gmm": ["--steps", "2"],
    "eight_schools": ["--set", "infer.warmup=20", "--set", "infer.draws=20", "--set", "infer.chains=2"],
    "radon": ["--set", "infer.warmup=5", "--set", "infer.draws=5", "--set", "infer.chains=1"],
}
# Where a line names no backend: this one compiles nothing.
QUICK = ["--backend", "pyro"]
HEAVY = frozenset({"fit", "sample", "posterior", "score", "evaluate", "convert", "doctor"})
# The spec whose diagnostics README.md shows.
BAD = """\
dgmppl: 1
name: bad
data:
  x: {dataset: digits.images, transform: flatten()}
networks:
  dec: mlp([64])
model:
  z: Normal(0, -1, shape=16)
  x: Bernoulli(logits=dec(z))
"""


@dataclass(frozen=True)
class Shown:
    """A command line as it is shown, and what is shown as its output."""

    place: str
    line: str
    output: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line, comments=True)[1:]


def in_pages() -> Iterator[Shown]:
    """Lines such as `$ dgmppl check spec.yaml`, indented or in a fence, with the lines under them."""
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines):
            match = re.fullmatch(r"( *)\$ (dgmppl .*)", line)
            if match is None:
                continue
            output = []
            for under in lines[number + 1 :]:
                if under.strip() == "```" or under.lstrip().startswith("$ ") or not under.startswith(match[1]):
                    break
                if not under.strip():
                    break
                output.append(under[len(match[1]) :])
            yield Shown(f"{page.name}:{number + 1}", match[2], tuple(output))


def in_help() -> Iterator[Shown]:
    for name, command in [("", get_command(app)), *COMMANDS.items()]:
        for line in (command.epilog or "").split("\n"):
            if line.startswith("  dgmppl"):
                yield Shown(f"help {name}".strip(), line.strip())


def marked(shown: Shown) -> object:
    marks = [pytest.mark.slow] if shown.words[0] in HEAVY else []
    return pytest.param(shown, id=f"{shown.place}: {shown.line}", marks=marks)


def distinct(found: Iterable[Shown]) -> list[Shown]:
    """What takes long, and prints what no page promises, once; everything else wherever it stands."""
    once = {shown.line if shown.words[0] in HEAVY else shown.place + shown.line: shown for shown in found}
    return list(once.values())


ALL = distinct([*in_pages(), *in_help()])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the zoo and finished runs of it, which the first command that reads one makes."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(ROOT / "specs", folder / "specs")
    return folder


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the zoo, what README.md calls bad.yaml, and a file of images."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "bad.yaml").write_text(BAD, encoding="utf-8")
    np.save(tmp_path / "images.npy", np.zeros((3, 8, 8), dtype=np.int64))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def provide(shown: Shown, workspace: Path, finished: Path, patch: pytest.MonkeyPatch) -> None:
    """What the lines above a command have made: the run that it reads or goes on with, the spec from `dgmppl new`."""
    for path in map(Path, shown.words[1:]):
        if path.suffix == ".yaml" and path.stem in names() and shown.words[0] != "new" and not path.exists():
            assert run(patch, ["new", path.stem, "--quiet"]) == 0
    for path in (Path(word) for word in shown.words if re.fullmatch(r"runs/\w+", word)):
        if shown.words[0] == "fit" and "--resume" not in shown.words:
            continue
        if not (finished / path).exists():
            patch.chdir(finished)
            fit = ["fit", f"specs/{path.name}.yaml", "--out", str(path), "--quiet", *QUICK]
            assert run(patch, [*fit, *BRIEF[path.name]]) == 0
            patch.chdir(workspace)
        if shown.words[0] == "convert":  # to the backend that QUICK names, hence from the other one
            convert(finished / path, "numpyro", workspace / path)
        else:
            shutil.copytree(finished / path, workspace / path)


def run(patch: pytest.MonkeyPatch, words: list[str]) -> int:
    """A command as the shell would run it, in this process; its exit code."""
    patch.setattr("sys.argv", ["dgmppl", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def shortened(words: list[str]) -> list[str]:
    if words[0] != "fit":
        return words
    further = ["--steps", "4"] if "--resume" in words else []
    backend = [] if {"-b", "--backend"} & {*words} else QUICK
    return [*words, *BRIEF[Path(words[1]).stem], *further, *backend]


@pytest.mark.parametrize("shown", [marked(shown) for shown in ALL])
def test_command_runs(
    shown: Shown, workspace: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    provide(shown, workspace, finished, monkeypatch)
    capsys.readouterr()
    code = run(monkeypatch, shortened(shown.words))
    said = capsys.readouterr()
    assert code == (2 if "bad.yaml" in shown.words else 0), said.err
    assert "Traceback" not in said.err
    if shown.words[0] in {"check", "explain", "new", "migrate"}:
        assert_shown(shown.output, (said.out + said.err).split("\n"))


def assert_shown(shown: tuple[str, ...], printed: list[str]) -> None:
    """Every line that is shown is printed, in this order, up to the blanks at its end."""
    rest = iter(line.rstrip() for line in printed)
    for line in shown:
        assert any(line.rstrip() == other for other in rest), f"{line!r} is shown but not printed in its place"


def test_every_command_shows_an_example() -> None:
    told = {shown.words[0] for shown in in_help() if shown.place == f"help {shown.words[0]}"}
    assert told == set(COMMANDS)


def test_readme_tells_of_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"dgmppl {name}" not in readme and f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(monkeypatch, [*([name] if name else []), "--help"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line for line in lines if len(line) > 80] == []
    assert not any(line.endswith("...") for line in lines[1:])
