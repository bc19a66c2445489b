"""The reader under texts that hypothesis draws, and shrinks: only diagnostics, each with a place inside of the text."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from dgmppl.compiler import check
from dgmppl.errors import SpecError
from dgmppl.source import Diagnostic
from dgmppl.spec.reader import read
from tests.fuzz.expressions import expression
from tests.fuzz.mutations import mutate

HEAD = "dgmppl: 1\ndata:\n  x: [0.1, 0.5, 0.25]\nmodel:\n  z: Normal(0, 1)\n"
WHOLE = HEAD + "  x: Normal(z, 1)\n"


def problems(text: str) -> list[Diagnostic]:
    """What the reader says to a text; anything but a `SpecError` fails the test."""
    try:
        read(text)
    except SpecError as error:
        return [problem for problem in error.diagnostics if isinstance(problem, Diagnostic)]
    return []


def assert_placed(found: list[Diagnostic]) -> None:
    for problem in found:
        assert problem.render()
        if problem.span is not None:
            lines = problem.span.source.text.splitlines() or [""]
            assert 1 <= problem.span.line <= len(lines) + 1
            assert 1 <= problem.span.column <= len(problem.span.source.line(problem.span.line)) + 1


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_right_hand_side(text: str) -> None:
    assert_placed(problems(f"{HEAD}  x: {text}\n"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=120))
def test_any_text(text: str) -> None:
    assert_placed(problems("dgmppl: 1\n" + text))


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_mutations_of_a_spec(random: Random) -> None:
    assert_placed(problems(mutate(WHOLE, random, [WHOLE])))


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_expressions_of_the_grammar(random: Random) -> None:
    text = expression(random, 2).replace("'", "''")
    assert_placed(check(f"{HEAD}  x: '{text}'\n"))
