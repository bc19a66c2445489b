"""The printers: every primitive, layout of lines, names, standalone text, devices."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dgmppl.errors import UnsupportedError
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.layout import WIDTH, split_top, wrap
from dgmppl.ir.emission.names import RESERVED, class_name, identifier
from dgmppl.ir.emission.shapes import Shapes
from dgmppl.ir.emission.values import ValuePrinter
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.kernel import PRIMITIVES, DensityValue, Function, Number, Op, Value, Var
from dgmppl.ir.networks import Network
from dgmppl.ir.types import Support
from dgmppl.objectives.closed_forms import KL_PAIRS
from dgmppl_numpyro.emit import emit as emit_numpyro
from dgmppl_numpyro.emit.values import JaxValues
from dgmppl_pyro.emit import emit as emit_pyro
from dgmppl_pyro.emit.values import TorchValues
from tests.kernels import load, mixture, op, vae

EMITTERS = {"pyro": emit_pyro, "numpyro": emit_numpyro}
X, Y, Z, W = Var("x"), Var("y"), Var("z"), Var("w")

# One use of each primitive.
USES: dict[str, Op] = {
    **{name: op(name, X, Y) for name in ("add", "sub", "mul", "div", "pow", "lt", "le", "gt", "ge", "eq", "ne")},
    **{name: op(name, X, Y) for name in ("matmul", "matvec", "vecmat", "dot", "gather", "scale_gradient")},
    **{name: op(name, X) for name in ("neg", "transpose", "diag", "stop", "mean_all", "sum_all", "logmeanexp")},
    **{name: op(name, X) for name in ("softmax_leading", "vimco", "leave_one_out")},
    "call": op("call", X, function="exp"),
    "reduce": op("reduce", X, function="sum", axes=(-2, -1)),
    "cumulative": op("cumulative", X, function="softmax", axis=-1),
    "expand": op("expand", X, count=1, rank=1),
    "broadcast": op("broadcast", X, shape=(3,)),
    "reshape": op("reshape", X, rank=1, shape=(2, 3)),
    "concat": op("concat", X, Y, axis=-1),
    "stack": op("stack", X, Y, axis=-1),
    "concat_broadcast": op("concat_broadcast", X, Y, axis=-1),
    "stack_broadcast": op("stack_broadcast", X, Y),
    "permute": op("permute", X, order=(1, 0), axis=-1),
    "argmax": op("argmax", X),
    "choose": op("choose", X, Y),
    "entry": op("entry", X, key="0.shift"),
    "coupled": op("coupled", X, Y),
    "steps": op("steps", X, count=3),
    **{name: op(name, X, Y, Z) for name in ("log_forward", "smooth", "viterbi")},
    **{name: op(name, *9 * (X,)) for name in ("log_filter", "smoother")},
    **{name: op(name, X) for name in ("inverse", "cholesky", "above", "below")},
    **{name: op(name, X, Y) for name in ("between", "at_least", "at_most")},
    "rbf": op("rbf", X, rank=2),
    "index": op("index", X, items=(0, (1, 3, None)), rank=2),
    "take": op("take", X, Y, rank=2),
    "one_hot": op("one_hot", X, size=3),
    "arange": op("arange", size=3, trailing=1),
    "states": op("states", shape=(2,), size=2, trailing=1),
    "joint_states": op("joint_states", sizes=(2, 3), trailing=1),
    "fill": op("fill", value=0.5, shape=(3,)),
    "eye": op("eye", size=3),
    "constant": op("constant", values=((1, 2), (3, 4))),
    "leading": op("leading", X, item=(1, None)),
    "moveaxis": op("moveaxis", X, source=0, target=-1),
    "simplex_points": op("simplex_points", size=2, trailing=1),
    "reduce_leading": op("reduce_leading", X, function="logsumexp"),
    "constrain": op("constrain", X, support=Support("interval", low=-1.0, high=3.0), way="log_det"),
    "cast": op("cast", X, dtype="real"),
    "checked": op("checked", X, support="positive"),
    "origin": op("origin", X, rank=1, shape=(3,)),
    "slots": op("slots", X, size=3),
    "put": op("put", X, Y, Z),
    "filled": op("filled", X, Y, Z),
    "path": op("path", X, Y, function="rate", rtol=1e-6, atol=1e-6, rank=1),
    "item": op("item", X, number=0),
    "schedule": op("schedule", start=0.0, end=1.0, steps=10),
    "low_rank_normal": op("low_rank_normal", X, Y, Z, W),
    "gaussian_posterior": op("gaussian_posterior", X, Y, Z, W),
}


def printer(kind: type[ValuePrinter]) -> ValuePrinter:
    return kind(Shapes(mixture(), Function("f", "density", (), "")), {})


@pytest.mark.parametrize("kind", [JaxValues, TorchValues])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_primitive_is_printed_as_an_expression(kind: type[ValuePrinter], name: str) -> None:
    ast.parse(printer(kind).text(USES[name]), mode="eval")


@pytest.mark.parametrize("kind", [JaxValues, TorchValues])
@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if function.rule == "elementwise"])
def test_every_elementwise_function_is_printed(kind: type[ValuePrinter], name: str) -> None:
    operands = (X, Y, Z)[: len(FUNCTIONS[name].parameters)]
    ast.parse(printer(kind).text(op("call", *operands, function=name)), mode="eval")


@pytest.mark.parametrize("kind", [JaxValues, TorchValues])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_distribution_is_printed(kind: type[ValuePrinter], name: str) -> None:
    family = DISTRIBUTIONS[name]
    skipped = {choice for group in family.choices for choice in group[1:]}
    parameters = tuple(
        (parameter.name, Number(3) if parameter.name in {"dim", "total_count", "bins"} else Var(parameter.name))
        for parameter in family.parameters
        if parameter.name not in skipped
    )
    density = DensityValue(name, parameters, family.event_rank, (3,) * family.event_rank)
    text = printer(kind)
    ast.parse(text.event(density), mode="eval")
    ast.parse(text.log_prob(density, "x", False), mode="eval")


@pytest.mark.parametrize("kind", [JaxValues, TorchValues])
@pytest.mark.parametrize(("first", "second"), sorted(KL_PAIRS))
def test_every_closed_divergence_is_printed(kind: type[ValuePrinter], first: str, second: str) -> None:
    def density(family: str, suffix: str) -> DensityValue:
        names = {"MultivariateNormal": ("loc", "scale_tril"), "Categorical": ("logits",), "Bernoulli": ("probs",)}
        given = names.get(family, tuple(parameter.name for parameter in DISTRIBUTIONS[family].parameters))
        return DensityValue(family, tuple((name, Var(name + suffix)) for name in given), 1, (3,))

    from dgmppl.ir.kernel import Divergence

    ast.parse(printer(kind).text(Divergence(density(first, ""), density(second, "_0"))), mode="eval")


@pytest.mark.parametrize("kind", [JaxValues, TorchValues])
def test_brackets_stand_where_they_are_needed(kind: type[ValuePrinter]) -> None:
    cases: list[tuple[Value, str]] = [
        (op("sub", X, op("sub", Y, Z)), "x - (y - z)"),
        (op("sub", op("sub", X, Y), Z), "x - y - z"),
        (op("mul", op("add", X, Y), Z), "(x + y) * z"),
        (op("div", X, op("mul", Y, Z)), "x / (y * z)"),
        (op("neg", op("add", X, Y)), "-(x + y)"),
        (op("pow", op("neg", X), Number(2)), "(-x) ** 2"),
        (op("mean_all", op("sub", X, Y)), "(x - y).mean()"),
        (op("sub", X, Number(-1.0)), "x - -1.0"),
    ]
    for value, expected in cases:
        assert printer(kind).text(value) == expected


def test_precedence_keeps_the_value() -> None:
    names = ("add", "sub", "mul", "div", "pow", "neg")
    values = {"x": 1.7, "y": 0.6, "z": 2.3}
    compute = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
               "div": lambda a, b: a / b, "pow": lambda a, b: a**b, "neg": lambda a: -a}  # fmt: skip

    def evaluate(value: Value) -> float:
        if isinstance(value, Var):
            return values[value.name]
        assert isinstance(value, Op)
        return compute[value.name](*map(evaluate, value.operands))

    for outer, left, right in itertools.product(names, repeat=3):
        inner = [op(left, X) if left == "neg" else op(left, X, Y), op(right, Y) if right == "neg" else op(right, Y, Z)]
        value = op(outer, inner[0]) if outer == "neg" else op(outer, *inner)
        text = printer(JaxValues).text(value)
        result = eval(text, dict(values))
        assert result == pytest.approx(evaluate(value)), text


def test_unknown_constructs_are_one_error() -> None:
    with pytest.raises(UnsupportedError, match="the primitive 'teleport'"):
        printer(JaxValues).text(op("teleport", X))
    with pytest.raises(UnsupportedError, match="the function 'zeta'"):
        printer(TorchValues).text(op("call", X, function="zeta"))
    module = vae()
    decoder = module.program.networks["decoder"]
    changed = {**module.program.networks, "decoder": Network("decoder", "teleport", {}, decoder.inputs, decoder.heads)}
    module = replace(module, program=replace(module.program, networks=changed))
    for emit in EMITTERS.values():
        with pytest.raises(UnsupportedError, match="networks of kind 'teleport'"):
            emit(module)


@pytest.mark.parametrize("backend", EMITTERS)
@pytest.mark.parametrize("module", [vae(), vae(particles=5), mixture()], ids=["vae", "iwae", "gmm"])
@pytest.mark.parametrize("standalone", [False, True])
def test_text_is_python_and_fits_the_page(backend: str, module, standalone: bool) -> None:
    text = EMITTERS[backend](module, standalone=standalone)
    ast.parse(text)
    assert text == EMITTERS[backend](module, standalone=standalone)
    if not standalone:
        assert max(map(len, text.splitlines())) <= WIDTH
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_wrapped_lines_mean_the_same() -> None:
    long = "value_" + "x" * 60
    lines = [
        f"y = f({long}, {long}, k=[1, 2]).sum(-1)",
        f"y = ({long}(1) + {long}(2)) * c",
        f"return {long} + {long} - z",
        f"return sum(g({long}) for leaf in h({long}))",
        f"y = f({long} + {long} - {long}, 0).mean()",
        f"return {{'a': {long}, 'b': {long}}}",
        f"y = x[..., {long}][{long}]",
        f"return {long}, state, {{'loss': {long}}}",
    ]
    for line in lines:
        body = "\n".join(wrap(line, 1))
        assert ast.dump(ast.parse(f"def f():\n{body}")) == ast.dump(ast.parse(f"def f():\n    {line}"))
        assert max(map(len, body.splitlines())) <= WIDTH
    assert split_top("a, (b, c), 'd, e'", (",",)) == ["a", ", (b, c)", ", 'd, e'"]


def test_names() -> None:
    assert identifier("guide.z") == "guide_z"
    assert identifier("key") == "key_"
    assert class_name("guide.z") == "GuideZ"
    assert class_name("model") == "ModelNetwork"
    for emit, module in itertools.product(EMITTERS.values(), (vae(), mixture())):
        tree = ast.parse(emit(module))
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert {name for name in imported if "." not in name} <= RESERVED | {"PyroParam", "eqx_module"}
        own = {function.name for function in module.functions} | {class_name(name) for name in module.program.networks}
        assert defined - own <= RESERVED


@pytest.mark.parametrize("backend", EMITTERS)
def test_renaming_changes_nothing_but_names(backend: str) -> None:
    plain = EMITTERS[backend](vae())
    renamed = EMITTERS[backend](vae(x="pixel", z="code", encoder="reader", decoder="writer"))
    names = {
        "pixel": "x",
        "code": "z",
        "reader": "encoder",
        "writer": "decoder",
        "Reader": "Encoder",
        "Writer": "Decoder",
    }
    pattern = re.compile(r"(?<![A-Za-z])(" + "|".join(names) + r")(?![a-z])")
    back = pattern.sub(lambda match: names[match.group()], renamed)
    assert ast.dump(ast.parse(back)) == ast.dump(ast.parse(plain))


@pytest.mark.parametrize("backend", EMITTERS)
@pytest.mark.parametrize("module", [vae(), mixture()], ids=["vae", "gmm"])
def test_standalone_text_needs_none_of_our_packages(backend: str, module, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(EMITTERS[backend](module, standalone=True))
    start = "initial(jax.random.key(0))" if backend == "numpyro" else "initial()"
    source = "jax.random.key(0)" if backend == "numpyro" else "torch.Generator().manual_seed(0)"
    script = f"""
import sys
for name in ("dgmppl", "dgmppl_pyro", "dgmppl_numpyro", "{"torch" if backend == "numpyro" else "jax"}"):
    sys.modules[name] = None
sys.path.insert(0, {str(tmp_path)!r})
import program
{"import jax" if backend == "numpyro" else "import torch"}
parameters = program.{start}
draw = program.sample(parameters, {{}}, program.noise({source}, "sample", 5))
noise = program.noise({source}, "loss_model", 5) if "loss_model" in program.NOISE else {{}}
loss, _, _ = program.loss_model(parameters, {{}}, {{}}, {{"x": draw["x"]}}, noise, 0)
print(float(loss))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert np.isfinite(float(result.stdout))


def test_torch_functions_run_on_the_meta_device() -> None:
    for module in (vae(), mixture()):
        space = load(emit_pyro(module))
        parameters = {name: value.to("meta") for name, value in space["initial"]().items()}
        noise = space["noise"](None, "sample", 5, device="meta")
        batch = {"x": space["sample"](parameters, {}, noise)["x"]}
        assert batch["x"].device.type == "meta"
        random = space["noise"](None, "loss_model", 5, device="meta") if "loss_model" in space["NOISE"] else {}
        loss, _, _ = space["loss_model"](parameters, {}, {}, batch, random, 0)
        assert loss.device.type == "meta"


def test_jax_functions_move_nothing_to_the_device() -> None:
    for module in (vae(), mixture()):
        space = load(emit_numpyro(module))
        parameters = space["initial"](jax.random.key(0))
        noise = space["noise"](jax.random.key(1), "sample", 5)
        sample, loss = jax.jit(space["sample"]), jax.jit(lambda *a, f=space["loss_model"]: f(*a)[0])
        batch = {"x": sample(parameters, {}, noise)["x"]}
        random = space["noise"](jax.random.key(1), "loss_model", 5) if "loss_model" in space["NOISE"] else {}
        step = jnp.zeros((), int)
        with jax.transfer_guard("disallow"):
            assert loss(parameters, {}, {}, batch, random, step).shape == ()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torch_functions_keep_their_inputs_dtype(dtype: torch.dtype) -> None:
    space = load(emit_pyro(vae()))
    parameters = {name: network.to(dtype) for name, network in space["initial"]().items()}
    batch = {"x": torch.randint(0, 2, (5, 6))}
    noise = space["noise"](torch.Generator().manual_seed(0), "loss_model", 5, dtype=dtype)
    assert space["loss_model"](parameters, {}, {}, batch, noise, 0)[0].dtype is dtype
