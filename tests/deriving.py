"""Specs as text, taken through the pipeline up to the derivation."""

from __future__ import annotations

from dgmppl.data import describe
from dgmppl.ir.program import Program
from dgmppl.objectives.derivation import Derivation
from dgmppl.objectives.engine import derive
from dgmppl.objectives.guides import complete_guide
from dgmppl.objectives.printers import objective_text
from dgmppl.passes import infer, resolve
from dgmppl.spec.reader import read


def typed(text: str) -> Program:
    """The typed program of a spec without its first two lines."""
    spec = read(text if text.startswith("specs/") else "dgmppl: 1\nname: test\n" + text)
    return infer(resolve(spec, describe(spec.data)))


def completed(text: str) -> Program:
    """The typed program with its guide complete."""
    return complete_guide(typed(text))


def derived(text: str) -> Derivation:
    """What follows from a spec."""
    return derive(completed(text))


def objective(text: str) -> str:
    """The derived objective in Unicode."""
    return objective_text(derived(text).objective)
