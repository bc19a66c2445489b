"""Latents beside the parameters: what `explain` says of them, their names and shapes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dgmppl.compiler import Compilation, compile_spec
from dgmppl.errors import SpecError, UnsupportedError
from dgmppl.results.labels import Rows, parameter_axes

HOLES = {"values": [[1.0, None], [None, None], [0.5, 2.0]]}


def compiled(data: dict[str, Any], model: dict[str, str], infer: str = "nuts()", **further: Any) -> Compilation:
    parameters = {"m": "HalfNormal(1)"}
    declared = {"dgmppl": 1, "name": "latents", "data": data, "parameters": parameters, "model": model, "infer": infer}
    return compile_spec({**declared, **further})


COUNTS = {"n": {"values": [1, 0, 3], "support": "count"}}
POISSON = {"z": "Normal(0, m)", "n": "Poisson(exp(z))"}


def shapes(program: Compilation) -> dict[str, tuple[int, ...]]:
    return {one.name: one.shape for one in program.module.parameters}


def test_a_latent_has_a_copy_for_each_training_row() -> None:
    assert shapes(compiled(COUNTS, POISSON)) == {"m": (), "z": (3,)}
    split = {"n": {"values": [1, 0, 3, 2, 1], "support": "count", "split": {"test": 0.4, "seed": 0}}}
    assert shapes(compiled(split, POISSON)) == {"m": (), "z": (3,)}
    wide = {"z": "Normal(0, m, shape=2)", "n": "Poisson(exp(z[0] * z[1]))"}
    assert shapes(compiled(COUNTS, wide)) == {"m": (), "z": (3, 2)}


def test_only_missing_entries_of_training_rows_add_dimensions() -> None:
    model = {"x": "Normal(0, m, shape=2)", "y": "Normal(sum(x), 1)"}
    whole = {"x": HOLES, "y": {"values": [1.0, 2.0, 0.0]}}
    assert shapes(compiled(whole, model)) == {"m": (), "x.missing": (3,)}
    gone = {"x": {"values": [0.5, 1.0, None], "split": {"test": 0.34, "seed": 2}}, "y": {"values": [1.0, 2.0, 0.0]}}
    found = compiled(gone, {"x": "Normal(0, m)", "y": "Normal(x, 1)"})
    assert found.program.columns["x"].missing
    # Whether the gap is held out is the split's to say; the array has as many entries as the training rows lack.
    assert shapes(found).get("x.missing", (0,)) == (found.program.columns["x"].gaps,)


def test_explain_counts_the_dimensions() -> None:
    notes = "\n".join(compiled(COUNTS, POISSON).derivation.notes)
    assert "z: a copy for each of 3 rows, sampled beside the parameters: 3 more dimensions." in notes
    holes = compiled({"x": HOLES}, {"x": "Normal(0, m, shape=2)"}).derivation.notes
    assert not any("sampled beside" in note for note in holes)
    model = {"x": "Normal(0, m, shape=2)", "y": "Normal(sum(x), 1)"}
    notes = "\n".join(compiled({"x": HOLES, "y": {"values": [1.0, 2.0, 0.0]}}, model).derivation.notes)
    assert "x: its missing entries, sampled beside the parameters: 3 more dimensions." in notes


def test_missing_entries_are_named_after_their_rows() -> None:
    model = {"x": "Normal(0, m, shape=2)", "y": "Normal(sum(x), 1)"}
    program = compiled({"x": HOLES, "y": {"values": [1.0, 2.0, 0.0]}}, model).program
    mask = np.array([[True, False], [False, False], [True, True]])
    rows = Rows(np.array([4, 7, 9]), {"x.observed": mask})
    (axis,) = parameter_axes(program, "x.missing", (3,), rows)
    assert list(axis.labels) == ["4, 1", "7, 0", "7, 1"]
    (axis,) = parameter_axes(program, "x.missing", (1,), Rows(rows.numbers, {"x.observed": mask[:, 0]}))
    assert list(axis.labels) == [7]


def test_there_is_no_density_of_a_row() -> None:
    functions = {function.name for function in compiled(COUNTS, POISSON).module.functions}
    assert {"model", "log_joint", "sample", "prior"} <= functions
    assert not functions & {"log_prob", "elbo", "log_weights", "loss_posterior", "posterior"}


@pytest.mark.parametrize("engine", ["nuts()", "hmc()", "laplace()", "map()", "smc()"])
def test_every_engine_of_the_log_joint_has_a_program(engine: str) -> None:
    assert "log_joint" in {function.name for function in compiled(COUNTS, POISSON, engine).module.functions}


SHARES = {"x": {"values": [[0.5, 0.5], [None, None]], "support": "simplex(2)"}, "y": {"values": [1.0, 2.0]}}
PAIRS = {"x": {"values": [1.0, None]}, "y": {"values": [1.0, 2.0]}}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, str], str, str]] = {
    "bounds": (COUNTS, {"z": "Uniform(0, m)", "n": "Poisson(z)"}, "nuts()", "the latent 'z', whose bounds depend"),
    "simplex": (SHARES, {"x": "Dirichlet([1.0, m])", "y": "Normal(x[0], 1)"}, "nuts()", "none varies alone"),
    "base": (COUNTS, {"e": "Normal(0, m)", "z": "f(e)", "n": "Poisson(z + exp(e))"}, "nuts()", "the base 'e' of"),
    "smc": (PAIRS, {"x": "Normal(0, m)", "y": "Normal(x, 1)"}, "smc()", "smc with missing entries of 'x'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_lowered_has_one_line_and_its_place(name: str) -> None:
    data, model, engine, message = REFUSED[name]
    program = compiled(data, model, engine, bijectors={"f": "[exp()]"} if name == "base" else {})
    with pytest.raises(UnsupportedError) as caught:
        program.module  # noqa: B018
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "not-lowered"
    assert message in diagnostic.message
    assert diagnostic.span is not None
    assert diagnostic.fix


def test_rows_that_come_at_run_time_have_to_come_first() -> None:
    data = {"n": {"shape": [], "support": "count"}}
    with pytest.raises(UnsupportedError, match="before the rows are known"):
        compiled(data, POISSON).module  # noqa: B018
    known = compile_spec(compiled(data, POISSON).spec, bindings={"n": np.array([1, 2])})
    assert shapes(known)["z"] == (2,)


def test_a_discrete_site_with_gaps_is_summed_or_refused() -> None:
    y = {"values": [1.0, 2.0]}
    finite = {"x": {"values": [1, None], "support": "binary"}, "y": y}
    program = compiled(finite, {"x": "Bernoulli(0.3)", "y": "Normal(m * x, 1)"})
    assert program.derivation.eliminated == {"x": "enumerate"}
    counts = {"x": {"values": [1, None], "support": "count"}, "y": y}
    with pytest.raises(SpecError) as caught:
        compiled(counts, {"x": "Poisson(2)", "y": "Normal(m * x, 1)"})
    (diagnostic,) = caught.value.diagnostics
    assert "nuts" not in str(diagnostic.fix)
    assert "drop the rows" in str(diagnostic.fix)


def test_a_network_reads_the_completed_input() -> None:
    networks = {"f": "mlp([3], prior=Normal(0, 1))"}
    program = compiled(PAIRS, {"x": "Normal(0, m)", "y": "Normal(f(x), 1)"}, networks=networks)
    assert shapes(program)["x.missing"] == (1,)
    assert shapes(program)["f.layers.0.weight"] == (3, 1)
    (joint,) = (function for function in program.module.functions if function.name == "log_joint")
    assert dict(joint.columns) == {"x": "x", "x.observed": "x_observed", "y": "y"}
