"""What is fuzzed: spec text, expressions, data, and run folders. A target turns random choices into a case."""

from __future__ import annotations

import json
import reprlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import dgmppl as dg
from dgmppl.compiler import check, compile_spec, warnings_of
from dgmppl.errors import UnsupportedError
from dgmppl.objectives.printers.page import explain_text
from dgmppl.passes.lints import lint
from dgmppl.source import Diagnostic
from dgmppl.spec.writer import to_yaml
from tests.fuzz import expressions, tables
from tests.fuzz.mutations import PIECES, damage, flip_bits, mutate

ROOT = Path(__file__).resolve().parents[2]
ZOO = sorted((ROOT / "specs").glob("*.yaml"))
BAD = sorted((ROOT / "tests" / "golden" / "bad").glob("*.yaml"))

Case = Callable[[], None]


class Target(ABC):
    """One kind of input.

    Attributes:
        folder: a scratch folder of its own; what a case reads stands in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def case(self, random: Random) -> tuple[str, Case]:
        """What is tried, in words or as the text itself, and the trial."""


def compile_fully(spec: Path | str) -> None:
    """What `check --pedantic`, `explain` and `compile` do up to the emitted text; a refusal is raised."""
    compiled = compile_spec(spec)
    shown = [*warnings_of(compiled), *lint(compiled.program)]
    for diagnostic in shown:
        diagnostic.render()
        json.dumps(diagnostic.to_dict())
    explain_text(compiled.program, compiled.derivation)
    to_yaml(compiled.spec)
    try:
        compiled.source  # noqa: B018
    except UnsupportedError as error:
        str(error)


class SpecText(Target):
    """The zoo and the ill-formed specs, mutated as text and as bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for path in (*(ROOT / "specs").glob("*.csv"), *ZOO):
            shutil.copy(path, folder)
        self.zoo = [path.read_text(encoding="utf-8") for path in ZOO]
        self.pool = self.zoo + [path.read_bytes().decode("utf-8", errors="replace") for path in BAD]

    def case(self, random: Random) -> tuple[str, Case]:
        text = mutate(random.choice(self.zoo if random.random() < 0.8 else self.pool), random, self.pool)
        content = text.encode("utf-8", errors="surrogatepass")
        if random.random() < 0.1:
            content = damage(content, random)
        if random.random() < 0.002:
            content = (content * (1 + (1 << 20) // max(1, len(content))))[: (1 << 20) + random.choice((-1, 0, 1, 50))]
        path = self.folder / "case.yaml"
        path.write_bytes(content)
        return content.decode("utf-8", errors="replace"), lambda: compile_fully(path)


_DATA = """dgmppl: 1
data:
  x: [[0.1, 1.0], [0.5, 2.0], [0.25, 1.5], [0.75, 1.0]]
  y: [0, 1, 1, 0]
  c: [1, 2, 3, 2]
"""


class ExpressionText(Target):
    """A small spec whose right-hand sides, keys and options are random expressions."""

    def case(self, random: Random) -> tuple[str, Case]:
        lines = {
            ("parameters", "theta"): "Normal(0, 1)", ("networks", "net"): "mlp([4])", ("bijectors", "flow"): "affine()",
            ("model", "z"): "Normal(0, 1)", ("model", "x"): "Normal(theta + z, 1)",
        }  # fmt: skip
        for place in random.sample([*lines, ("model", "x")], random.choice((1, 1, 2))):
            lines[place] = expressions.expression(random)
        for place, name in ((("networks", "net"), "net"), (("bijectors", "flow"), "flow")):
            if not any(name in value for value in lines.values()):
                del lines[place]
        if random.random() < 0.2:
            lines[("model", expressions.key(random))] = expressions.expression(random)
        if random.random() < 0.3:
            lines[random.choice(_OPTIONS)] = expressions.expression(random)
        text = _DATA + _sections(lines)
        return text, lambda: compile_fully(text)


_OPTIONS = (
    ("objective", ""), ("infer", ""), ("guide", "z"), ("train", "optimizer"), ("train", "schedule"),
    ("evaluate", "particles"),
)  # fmt: skip


def _sections(lines: Mapping[tuple[str, str], str]) -> str:
    """Sections of quoted expressions; a section that is one expression has the key ""."""
    grouped: dict[str, list[str]] = {}
    for (section, name), value in lines.items():
        entry = f"  {json.dumps(name)}: {json.dumps(value)}\n" if name else f"  {json.dumps(value)}\n"
        grouped.setdefault(section, []).append(entry)
    return "".join(f"{section}:\n{''.join(entries)}" for section, entries in grouped.items())


_LIKELIHOODS = ("Normal(0, 1)", "Poisson(2)", "Bernoulli(0.5)", "Beta(1, 2)", "LogNormal(0, 1)")


class DataFiles(Target):
    """Columns from csv, npy and npz files, damaged or lying about themselves, and from objects bound at run time."""

    def case(self, random: Random) -> tuple[str, Case]:
        if random.random() < 0.25:
            value = tables.bound(random)
            spec = "dgmppl: 1\ndata:\n  x: {shape: [2], support: %s}\nmodel:\n  x: Normal(0, 1, shape=2)\n"
            text = spec % random.choice(("real", "unit", "count", "binary", "positive"))
            return f"{text}\nx = {reprlib.repr(value)}", lambda: _refuse(check(text, bindings={"x": value}))
        name, content = tables.file(random)
        for old in self.folder.glob("data.*"):
            old.unlink()
        (self.folder / name).write_bytes(content)
        part = random.choice(
            ("", ", column: a", ", columns: [a, b]", ", key: a", ", columns: x*", ", keep: 0.5", ", whole: true")
        )
        text = (
            f"dgmppl: 1\ndata:\n  x: {{file: {name}{part}{random.choice(tables.TRANSFORMS)}}}\n"
            f"model:\n  x: {random.choice(_LIKELIHOODS)}\n"
        )
        path = self.folder / "case.yaml"
        path.write_text(text, encoding="utf-8")
        return f"{text}\n{content[:500]!r}", lambda: compile_fully(path)


def _refuse(found: list[Diagnostic]) -> None:
    for diagnostic in found:
        diagnostic.render()


_RUN = """dgmppl: 1
data: {x: [[0.1, 1.0], [0.5, 2.0], [0.25, 1.5], [0.75, 1.0]]}
parameters: {s: "learned(positive(2))"}
networks: {f: "mlp([3])"}
model: {z: "Normal(0, 1)", x: "Normal(f(z), s)"}
"""


class RunFolders(Target):
    """A finished run with one or two of its files damaged, edited, emptied or taken away."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.whole, self.copy = folder / "whole", folder / "copy"
        dg.compile(_RUN).initial().save(self.whole)
        self.files = sorted(path.relative_to(self.whole) for path in self.whole.rglob("*") if path.is_file())
        self.read = [name for name in self.files if name.suffix in {".json", ".jsonl", ".yaml", ".safetensors", ".py"}]

    def case(self, random: Random) -> tuple[str, Case]:
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.whole, self.copy)
        done = [self._harm(self.copy / name, random) for name in random.sample(self.read, random.choice((1, 1, 2)))]
        return "\n".join(done), self._load

    def _load(self) -> None:
        fit = dg.load(self.copy)
        repr(fit)
        for value in fit.parameters.values():
            value.sum()

    def _harm(self, path: Path, random: Random) -> str:
        content = path.read_bytes()
        draw = random.random()
        if draw < 0.04:
            path.unlink()
            return f"{path.name} deleted"
        if path.suffix == ".json" and draw < 0.7:
            content = tables.edited_json(content, random)
        elif path.suffix == ".yaml" and draw < 0.7:
            text = content.decode("utf-8")
            content = mutate(text, random, [text, *PIECES]).encode("utf-8", errors="surrogatepass")
        elif path.suffix == ".safetensors" and draw < 0.5:
            content = flip_bits(content, random)
        else:
            content = damage(content, random)
        path.write_bytes(content)
        return f"{path.name}: {content[:2000]!r}"


TARGETS: dict[str, type[Target]] = {
    "spec": SpecText, "expression": ExpressionText, "data": DataFiles, "run": RunFolders,
}  # fmt: skip
