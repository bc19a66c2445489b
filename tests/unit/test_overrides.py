"""`--set` with paths that go on into mappings and into the keywords of calls."""

from __future__ import annotations

import pytest

from dgmppl.errors import SpecError
from dgmppl.source import Diagnostic
from dgmppl.spec.overrides import apply_override
from dgmppl.spec.reader import read

HEAD = "dgmppl: 1\n"


@pytest.mark.parametrize(
    ("override", "before", "after"),
    [
        ("infer.draws=5", "infer: nuts(warmup=9)", "infer: nuts(warmup=9, draws=5)"),
        ("infer.draws=5", "infer: nuts", "infer: nuts(draws=5)"),
        ("infer.warmup=null", "infer: nuts(warmup=9)", "infer: nuts()"),
        ("networks.f.activation=relu", "networks: {f: 'mlp([4])'}", "networks: {f: 'mlp([4], activation=relu)'}"),
        ("networks.f.hidden=[8]", "networks: {f: 'mlp([4])'}", "networks: {f: 'mlp([8])'}"),
        ("train.optimizer.rate=1e-4", "train: {optimizer: adam(1e-3)}", "train: {optimizer: adam(1e-4)}"),
        ("train.optimizer.beta1=0.5", "train: {optimizer: adam}", "train: {optimizer: adam(beta1=0.5)}"),
        ("train.optimizers.f=adam()", "train: {}", "train: {optimizers: {f: adam()}}"),
        ("train.optimizers.f=null", "train: {optimizers: {f: adam(), g: sgd()}}", "train: {optimizers: {g: sgd()}}"),
        ("data.x.split.test=0.2", "data: {x: moons}", "data: {x: {dataset: moons, split: {test: 0.2}}}"),
        (
            "data.x.split.test=5",
            "data: {x: {dataset: moons, split: {test: 9, seed: 3}}}",
            "data: {x: {dataset: moons, split: {seed: 3, test: 5}}}",
        ),
        ("guide.z.scale=2", "guide: {z: 'Normal(0, scale=1)'}", "guide: {z: 'Normal(0, scale=2)'}"),
        ("guide.rank=2", "guide: auto(low_rank)", "guide: 'auto(low_rank, rank=2)'"),
        ("evaluate.metrics=[elbo()]", "evaluate: {}", "evaluate: {metrics: [elbo()]}"),
    ],
    ids=str,
)
def test_a_path_goes_on_into_mappings_and_calls(override: str, before: str, after: str) -> None:
    assert apply_override(read(f"{HEAD}{before}\n"), override) == read(f"{HEAD}{after}\n")


@pytest.mark.parametrize(
    ("override", "code", "column", "fix"),
    [
        ("infer.draws=5", "override-form", 7, None),
        ("networks.ff.activation=relu", "unknown-key", 10, "write `f`"),
        ("networks.f.activation=null", "unknown-key", 12, None),
        ("train.optimiser.rate=1", "unknown-key", 7, "write `optimizer`"),
        ("train.steps.of=1", "override-form", 13, None),
        ("evaluate.log_prob.particles=3", "override-form", 19, None),
        ("data.x.split.tset=0.2", "unknown-key", 14, "write `test`"),
        ("data.x.split.test=2.5", "out-of-range", 19, None),
        ("data.x.size.test=2", "override-form", 13, None),
        ("name.first=a", "override-form", 6, None),
        ("networks..f=linear()", "key-form", 10, None),
    ],
)
def test_a_wrong_path_is_refused_where_it_goes_wrong(override: str, code: str, column: int, fix: str | None) -> None:
    spec = read(f"{HEAD}data: {{x: {{dataset: moons, size: 50}}}}\nnetworks: {{f: linear()}}\ntrain: {{steps: 5}}\n")
    with pytest.raises(SpecError) as caught:
        apply_override(spec, override)
    (problem,) = caught.value.diagnostics
    assert isinstance(problem, Diagnostic)
    assert problem.span is not None
    assert (problem.code, problem.span.column, problem.fix) == (code, column, fix)
