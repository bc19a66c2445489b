"""What fuzzing has found, each with the smallest input that showed it."""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.compiler import check, compile_spec
from dgmppl.errors import RunError, UnsupportedError
from dgmppl.zoo_folder import folder
from tests.fuzz.watch import watched

DATA = "dgmppl: 1\ndata:\n  x: [0.1, 0.5, 0.25]\n"
BOUND = "dgmppl: 1\ndata:\n  x: {shape: [2], support: real}\nmodel:\n  x: Normal(0, 1, shape=2)\n"


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("model:\n  x: Energy([where(x)])\n", "wrong-arguments"),
        ("model:\n  x: Normal(checked(0.5), 1)\n", "wrong-arguments"),
        ("model:\n  x: Normal(clip(0.5, low=0, x=1), 1)\n", "wrong-arguments"),
        ("model:\n  x: Normal(0, square(-1e308) - 1)\n", "unprovable-support"),
        ("model:\n  x: Normal(0, " + "9" * 400 + ")\n", "expression-limits"),
        ("parameters:\n  m: " + "9" * 400 + "\nmodel:\n  x: Normal(m, 1)\n", "expression-limits"),
    ],
)
def test_an_expression_is_refused(rest: str, code: str) -> None:
    assert code in {problem.code for problem in check(DATA + rest)}


FLOW = (
    "dgmppl: 1\ndata:\n  x: [[0.1, 1.0], [0.5, 2.0]]\nbijectors:\n{}\nmodel:\n  z: Normal(0, 1, shape=2)\n  x: f(z)\n"
)
DOUBLED = "\n".join(f"  {name}: [{before}, {before}]" for before, name in pairwise("abcdeghijklmnopf"))


@pytest.mark.parametrize(
    "bijectors",
    [
        "  f: repeat(9223372036854775807, [coupling(mlp([64]), spline()), permute()])",
        "  f: repeat(4294967296, [repeat(4294967296, [affine()]), reverse()])",
        f"  a: affine()\n{DOUBLED}",
    ],
)
def test_too_many_steps_are_refused_before_they_are_made(bijectors: str) -> None:
    assert {problem.code for problem in check(FLOW.format(bijectors))} == {"expression-limits"}


@pytest.mark.parametrize(("steps", "code"), [("[]", "not-a-bijector"), ("[nothing()]", "unknown-kind")])
def test_what_gives_no_steps_is_repeated_once(steps: str, code: str) -> None:
    assert [problem.code for problem in check(FLOW.format(f"  f: repeat(4294967296, {steps})"))] == [code]


def test_too_many_layers_are_refused_before_they_are_made() -> None:
    images = "dgmppl: 1\ndata:\n  x: {shape: [4, 4], support: binary}\nnetworks:\n  f: causal_conv(layers=%d)\n"
    model = "model:\n  x[i]: Bernoulli(logits=f(x[:i]))\n"
    assert [problem.code for problem in check(images % 4294967296 + model)] == ["bad-option"]
    assert check(images % 3 + model) == []


def test_an_order_that_no_program_can_write_out() -> None:
    text = DATA + "bijectors:\n  f: {}\nmodel:\n  z: Normal(0, 1, shape=1000000)\n  w: f(z)\n  x: Normal(mean(w), 1)\n"
    for step in ("permute()", "lu_linear()"):
        assert "shape-mismatch" in {problem.code for problem in check(text.format(step))}
    assert check(text.format("reverse()")) == []


@pytest.mark.parametrize(
    "source",
    ["{shape: [40, 9223372036854775807]}", "{shape: [1000000, 1000000]}", "{dataset: rings, size: 4294967296}"],
)
def test_data_larger_than_any_memory(source: str) -> None:
    found = check(f"dgmppl: 1\ndata:\n  x: {source}\nmodel:\n  x: Normal(0, 1)\n")
    assert [problem.code for problem in found] == ["data-option"]


@pytest.mark.parametrize("name", ["x" * 5000 + ".csv", "~" * 500 + "/x.csv", "part-*" + "x" * 5000 + ".csv"])
def test_a_file_whose_name_no_file_can_have(name: str) -> None:
    found = check(f"dgmppl: 1\ndata:\n  x: {{file: {name}, column: a}}\nmodel:\n  x: Normal(0, 1)\n")
    assert [problem.code for problem in found] == ["data-file-missing"]


def test_a_weight_has_numbers_as_parameters_of_its_prior() -> None:
    text = DATA + "  y: [1, 2, 3]\nnetworks:\n  f: mlp([2], prior=Normal(0, {}))\nmodel:\n  y: Normal(f(x), 1)\n"
    assert [problem.code for problem in check(text.format("[2, 3]"))] == ["bad-option"]
    assert compile_spec(text.format("1 / 2")).source.count("0.0, 0.5)") == 1


def test_a_function_as_an_argument_is_no_value() -> None:
    text = (folder() / "lotka_volterra.yaml").read_text(encoding="utf-8").replace("file: ", f"file: {folder()}/")
    compiled = compile_spec(re.sub(r"Truncated.*", "Normal(0, 1, shape=4)", text))
    with contextlib.suppress(UnsupportedError):  # not an `InternalError`
        assert compiled.source


def test_sites_that_read_each_other() -> None:
    text = "model:\n  e: exp(z)\n  z: exp(e)\n  w: Normal(0, 1)\n  x: Normal(w, 1)\nguide:\n  w: Normal(z, 1)\n"
    assert "use-before-definition" in {problem.code for problem in check(DATA + text)}


def test_a_large_float_is_a_number() -> None:
    assert check(DATA + "parameters:\n  m: 1e25\nmodel:\n  x: Normal(m, 1)\n") == []


def test_a_lag_of_any_size_takes_no_memory() -> None:
    chain = "dgmppl: 1\ndata:\n  y: {dataset: moons, size: 20, whole: true}\nmodel:\n"
    observed = check(chain + "  y[t]: Normal(y[t-9223372036854775807], 1)\n")
    assert [problem.code for problem in observed] == ["lag-too-long"]
    latent = check(chain + "  z[t]: Normal(z[t-9223372036854775807], 1)\n  y[t]: Normal(z[t], 1)\n")
    assert "chain-without-start" in {problem.code for problem in latent}


def test_the_keywords_of_an_elementwise_function_are_operands() -> None:
    by_name = compile_spec(DATA + "model:\n  x: Normal(0, clip(2, high=4, low=1))\n")
    by_place = compile_spec(DATA + "model:\n  x: Normal(0, clip(2, 1, 4))\n")
    assert by_name.source.partition('"""\n')[2] == by_place.source.partition('"""\n')[2]


def test_a_scalar_latent_under_a_computed_mean() -> None:
    text = "parameters:\n  m: -0.5\nmodel:\n  z: Normal(0, 1)\n  x: Normal(m + z, 1)\n"
    assert "def log_prob" in compile_spec(DATA + text).source


@pytest.mark.parametrize("value", [[[1.0] * 3] * 2, None, {}, object(), "nothing.npz", b"ab"])
def test_bound_data_of_another_form(value: Any) -> None:
    assert check(BOUND, bindings={"x": value})


@pytest.mark.parametrize("depth", [40, 70, 2000])
def test_bound_lists_that_are_too_deep(depth: int) -> None:
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    assert {problem.code for problem in check(BOUND, bindings={"x": value})} <= {"data-type", "data-binding"}


def test_an_archive_with_a_member_that_is_no_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("d.npz", "w") as archive:
        archive.writestr("a.npy", b"no array")
    found = check("dgmppl: 1\ndata:\n  x: {file: d.npz, key: a}\nmodel:\n  x: Normal(0, 1)\n")
    assert [problem.severity for problem in found] == ["error"]


@pytest.mark.parametrize("pattern", ["a**.csv", "**", "a**b/c*.csv"])
def test_a_pattern_with_stars_that_mean_nothing_more(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = check(f"dgmppl: 1\ndata:\n  x: {{file: '{pattern}'}}\nmodel:\n  x: Normal(0, 1)\n")
    assert [problem.code for problem in found] == ["data-file-missing"]


def test_labels_of_code_points_that_no_text_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("d.npy", np.full(4, 0x110000, dtype=np.uint32).view("<U1"))
    found = check("dgmppl: 1\ndata:\n  x: {file: d.npy}\nmodel:\n  x: Categorical(ones(3) / 3)\n")
    assert "data-type" in {problem.code for problem in found}


@pytest.mark.parametrize(
    ("items", "odd"), [("[1, [2, 3]]", "`[2, 3]`, of shape [2]"), ("[[1, 2], [3]]", "`[3]`, of shape [1]")]
)
def test_items_of_a_list_have_one_shape(items: str, odd: str) -> None:
    text = f"dgmppl: 1\ndata: {{x: {{shape: [2, 2], support: real}}}}\nmodel: {{x: 'Normal({items}, 1)'}}\n"
    (problem,) = check(text)
    assert (problem.code, problem.found) == ("ragged-list", odd)


def test_a_chain_of_a_column_without_an_axis() -> None:
    found = check("dgmppl: 1\ndata: {y: [0, 1]}\nparameters: {m: 'Normal(0, 1)'}\nmodel: {'y[t]': 'Normal(m, 1)'}\n")
    assert [problem.code for problem in found] == ["no-time-axis"]


def test_a_slice_of_step_zero() -> None:
    found = check("dgmppl: 1\ndata: {x: {shape: [4], support: real}}\nmodel: {x: 'Normal(ones(4)[::0], 1)'}\n")
    assert [problem.code for problem in found] == ["shape-mismatch"]


def test_towers_of_powers_are_not_written_out() -> None:
    found = check("dgmppl: 1\ndata: {x: [0.5, 1.5]}\nmodel: {x: 'Normal(9 ** 9 ** 9 ** 9, 1)'}\n")
    assert all(problem.severity == "error" for problem in found)


RUN = "dgmppl: 1\ndata: {x: [0.1, 0.5]}\nparameters: {m: learned(normal())}\nmodel: {x: 'Normal(m, 1)'}\n"


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("columns.json", ("columns",), [1]),
        ("columns.json", ("split_rows", "train"), ""),
        ("columns.json", ("columns", 0, "levels"), [1]),
        ("columns.json", ("columns", 0, "shape"), [-1]),
        ("columns.json", ("columns", 0, "support"), {"kind": "nothing"}),
        ("receipt.json", ("sha256",), "0.5"),
        ("receipt.json", ("version",), "one"),
    ],
)
def test_an_edited_run_is_refused(name: str, path: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    dg.compile(RUN).initial().save(folder)
    data = json.loads((folder / name).read_text(encoding="utf-8"))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(RunError, match=r"damaged|version"):
        dg.load(folder)


def test_the_watch_sees_what_it_has_to_see() -> None:
    def endless() -> None:
        while True:
            pass

    def broken() -> None:
        raise KeyError("x")

    assert "OutOfTime" in (watched(endless, seconds=0.2).finding or "")
    assert "KeyError" in (watched(broken).finding or "")
    refused = watched(lambda: compile_spec("dgmppl: 1\n").program and None)
    assert refused.finding is None
    assert refused.refused
    assert np.isfinite(refused.seconds)


@pytest.mark.parametrize(
    "model",
    ["h: 2 * z\n  x: f(z, h)", "h: Normal(z, 1)\n  x: f(z, h)", "y: f(z)\n  x: f(z, y)", "y: f(z)\n  x: f(y, z)"],
)
def test_a_flow_conditioned_on_its_own_base(model: str) -> None:
    flow = "bijectors:\n  f: [coupling(mlp([4]), affine()), permute()]\n"
    found = check(f"dgmppl: 1\ndata: {{x: {{shape: [4]}}}}\n{flow}model:\n  z: Normal(0, 1, shape=4)\n  {model}\n")
    assert [problem.code for problem in found] == ["self-reference"]


@pytest.mark.parametrize(("before", "after"), [("[", "]"), ("sum(", ", axis=0)"), ("tanh(", ")"), ("reshape(", ", 1)")])
def test_text_of_deep_expressions_grows_with_their_size(before: str, after: str) -> None:
    """Not with two to the power of their depth."""
    sizes = []
    for depth in (10, 20):
        inside = "x" if before == "[" else "[" * depth + "x" + "]" * depth
        deep = before * depth + inside + after * depth
        text = f"dgmppl: 1\ndata: {{x: {{shape: [], support: real}}}}\nmodel:\n  x: Normal(0, 1)\n  h: {deep}\n"
        sizes.append(len(compile_spec(text, backend="pyro").source))
    assert sizes[1] < 5 * sizes[0]


def test_a_chain_of_more_steps_than_memory_holds_is_explained() -> None:
    model = "x: Diffusion(net, schedule=cosine(), steps=9223372036854775807)"
    net = "networks: {net: 'mlp([8], time=embedding(8))'}\n"
    assert check(f"dgmppl: 1\ndata: {{x: {{shape: [2]}}}}\n{net}model:\n  {model}\n") == []
