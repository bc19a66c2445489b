"""The studies' own machinery: lines that survive a stop, statistics that are right, aims that can be missed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import benchmarks.studies.__main__ as command
from benchmarks.studies import aggregate, implicit_posterior, modes
from benchmarks.studies.ledger import Facts, Key, Ledger
from benchmarks.studies.permutation import permutation_test
from benchmarks.studies.study import Results, Study, Verdict

KEYS = [Key("one", backend, seed) for backend in ("numpyro", "pyro") for seed in (0, 1)]


def test_a_stopped_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fit that has its line is not repeated, and a line that was cut off is none."""
    fitted: list[Key] = []

    def fit(key: Key) -> Facts:
        fitted.append(key)
        return {"value": key.seed}

    def judge(results: Results) -> list[Verdict]:
        return [Verdict("all", "four", str(len(results)), len(results) == 4)]

    out = tmp_path / "folder" / "study.jsonl"
    Ledger(out).append(KEYS[0], {"value": 0})
    with out.open("a", encoding="utf-8") as file:
        file.write('{"key": ["one", "numpyro", 1], "val')
    monkeypatch.setattr(modes, "STUDY", Study("A study.", ("one",), (0, 1), fit, judge))
    monkeypatch.setattr("sys.argv", ["studies", "modes", "--out", str(out)])
    command.main()
    assert fitted == KEYS[1:]
    assert [key for key, _ in Ledger(out).lines()] == KEYS
    command.main()
    assert fitted == KEYS[1:]
    assert "met" in capsys.readouterr().out


def test_both_conditions_are_asked_of_a_seed() -> None:
    good: Facts = {"covered": 8, "near": 0.8}
    facts = dict.fromkeys(range(9), good) | {9: {"covered": 7, "near": 0.9}}

    def verdict(facts: dict[int, Facts]) -> bool:
        return modes.judge({Key("gan", "pyro", seed): one for seed, one in facts.items()})[0].met

    assert verdict(facts)
    assert not verdict(facts | {8: {"covered": 8, "near": 0.74}})


def test_p_values_are_uniform_where_the_samples_are_alike_and_small_where_not() -> None:
    draw = np.random.default_rng(0)
    alike = [
        permutation_test(draw.normal(size=(20, 2)), draw.normal(size=(30, 2)), permutations=99, seed=seed)
        for seed in range(200)
    ]
    # The mean of 200 uniform numbers has a standard error of 1 / sqrt(12 * 200).
    assert abs(np.mean(alike) - 0.505) < 3.0 / math.sqrt(12 * 200)
    assert np.mean(np.array(alike) <= 0.1) < 0.1 + 3.0 * math.sqrt(0.09 / 200)
    narrow = 0.5 * draw.normal(size=(100, 2))
    assert permutation_test(narrow, draw.normal(size=(100, 2))) == 0.001


def test_entropy_of_a_gaussian() -> None:
    draw = np.random.default_rng(0)
    found = [implicit_posterior.entropy(2.0 * draw.normal(size=(1000, 2))) for _ in range(20)]
    expected = math.log(2.0 * math.pi * math.e) + 2.0 * math.log(2.0)
    assert abs(np.mean(found) - expected) < 4.0 * np.std(found, ddof=1) / math.sqrt(20)


@pytest.mark.slow
def test_an_implicit_guide_finds_the_posterior() -> None:
    facts = implicit_posterior.fit(Key("avb", "numpyro", 0))
    assert all(verdict.met for verdict in implicit_posterior.judge({Key("avb", "numpyro", 0): facts}))


def test_an_encoder_that_was_not_trained_is_told_from_the_prior() -> None:
    import dgmppl as dg

    program = dg.compile(aggregate.SPECS / "aae.yaml", overrides=aggregate.OVERRIDES)
    assert aggregate.match(program.initial(0), 0) < aggregate.LEVEL
    notes = " ".join(program.explain()["notes"])
    assert "the objective equals ELBO + I_q(x; z) and bounds nothing" in notes
