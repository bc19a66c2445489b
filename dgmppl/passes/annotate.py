"""Typing expressions: shape, element type, support and plate of every node, with what does not fit reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dgmppl.ir.expressions import (
    Apply,
    Call,
    Expression,
    Index,
    Literal,
    Name,
    Operation,
    Sequence,
    Slice,
    children,
    rebuild,
)
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.program import Program, Role
from dgmppl.ir.types import COUNT, REAL, Dtype, Shape, TensorType
from dgmppl.passes.bounds import support_from
from dgmppl.passes.constants import constant
from dgmppl.passes.problems import Problems, shown
from dgmppl.passes.shapes import RaggedError, ShapeError, fits, index_shape, result_shape, show
from dgmppl.passes.signatures import Signatures
from dgmppl.passes.slots import Slot
from dgmppl.passes.solve import Solution
from dgmppl.passes.supports import Proof, structured
from dgmppl.passes.terms import lag
from dgmppl.passes.upward import reads_level

SCALAR = TensorType()
# Functions of which an argument is no tensor, by its position.
_OPAQUE = {"checked": 1, "ode_solve": 0}
_INTEGER_OPERATIONS = ("+", "-", "*", "neg", "@")
_KEEPS_INTEGERS = (
    "checked",
    "reshape",
    "transpose",
    "concat",
    "stack",
    "sum",
    "max",
    "min",
    "where",
    "clip",
    "arange",
    "abs",
)


@dataclass
class Annotator:
    """Types expressions of one section.

    Attributes:
        types: the types of the sites that may be read, by name.
        functions: local functions; their bodies are typed where they are used.
        section: which section is being typed.
        index: the chain's index, inside a step.
        level: the level that the declaration has copies for.
        widths_reported: the site's own shape is known to be missing; its networks' widths are not reported again.
        local: types of a local function's arguments.
    """

    program: Program
    solution: Solution
    signatures: Signatures
    problems: Problems
    types: Mapping[str, TensorType]
    functions: dict[str, tuple[tuple[str, ...], Expression]]
    section: str = "model"
    index: str | None = None
    level: str | None = None
    widths_reported: bool = False

    def __post_init__(self) -> None:
        covariates = frozenset(site.name for site in self.program.with_role(Role.COVARIATE))
        self.proof = Proof(self.program.columns, covariates)
        self.local: dict[str, TensorType] = {}

    # ---- slots ----------------------------------------------------------------------------------------------------

    def slot(self, expression: Expression, slot: Slot) -> Expression:
        """An expression in its place: typed, its shape and support checked against what is expected there."""
        self.index = slot.index
        constrained = slot.own and isinstance(expression, Apply)
        typed = self.apply(expression, slot) if constrained else self.typed(expression, slot.shape)  # type: ignore[arg-type]
        found = typed.type
        if found is None:
            return typed
        if slot.shape is not None and not (found.shape == slot.shape if slot.exact else fits(found.shape, slot.shape)):
            self.problems.add(
                "shape-mismatch",
                f"{shown(expression)} has the wrong shape" + (f" for {slot.name!r}" if slot.name != "out" else ""),
                expression.span,
                expected=show(slot.shape),
                found=show(found.shape),
            )
        elif not constrained and not self.proof.lies_in(typed, slot.support):
            self._unprovable(typed, slot)
        return typed

    def _unprovable(self, node: Expression, slot: Slot) -> None:
        wanted, body = slot.support, shown(node)[1:-1]
        fixes = {
            "positive": f"`exp({body})`, `softplus({body})`, or `checked({body}, positive)`",
            "unit": f"`sigmoid({body})`, or `checked({body}, unit)`",
            "simplex": f"`softmax({body})`, or `checked({body}, simplex)`",
        }  # fmt: skip
        kind = wanted.kind
        fix = fixes.get(kind, f"`checked({body}, {kind})`, which is asserted at run time")
        if kind == "unit" and slot.name == "probs":
            fix = f"`logits={body}`, {fix}"
        found = "a value" if node.type is None else str(node.type.support)
        fixed = constant(node) is not None
        if fixed:
            found, fix = f"the constant {body}", f"a value in {wanted}"
        if (
            isinstance(node, Name)
            and node.id in self.program.columns
            and self.program.columns[node.id].bound_at_run_time
        ):
            fix = f"`support: {kind}` at the declaration of `{node.id}` in `data`"
        self.problems.add(
            "unprovable-support",
            f"{slot.name!r} takes values in `{wanted}`, and {shown(node)} {'lies' if fixed else 'may lie'} outside",
            node.span,
            expected=str(wanted),
            found=found,
            fix=f"write {fix}",
        )

    # ---- nodes ----------------------------------------------------------------------------------------------------

    def typed(self, node: Expression, expected: Shape | None) -> Expression:
        """The expression with a type on every tensor node."""
        match node:
            case Literal(value=value):
                dtype = Dtype.INTEGER if isinstance(value, int) and not isinstance(value, bool) else Dtype.REAL
                return replace(node, type=TensorType((), dtype, support_from(self.proof.bounds(node))))
            case Name():
                return replace(node, type=self._name(node))
            case Apply():
                return self.apply(node, Slot("out", expected, own=False))
            case Index():
                return self._index(node)
            case Call() if node.function in self.program.bijectors:
                return self._bijector(node, expected)
            case Call(function="ode_solve"):
                return self._ode(node)
            case Call() | Operation() | Sequence():
                return self._combined(node, expected)
        return node

    def _name(self, name: Name) -> TensorType:
        if name.id == self.index:
            return TensorType((), Dtype.INTEGER, COUNT)
        found = self.local.get(name.id) or self.types.get(name.id)
        if found is None:
            return SCALAR
        self._check_plate(name, found)
        return found

    def _check_plate(self, name: Name, found: TensorType) -> None:
        site = self.program.by_name.get(name.id)
        shared = self.section == "parameters" and found.plate == "data"
        if shared and site is not None:
            self.problems.add(
                "datum-in-parameters",
                f"{name.id!r} differs from datum to datum, and parameters are shared by all",
                name.span,
                expected="other parameters, or `per:` columns of the level",
                fix="move the line to `model`",
            )

    def apply(self, node: Apply, slot: Slot) -> Expression:
        """A network's application; its signature is fixed by its first use."""
        inputs = tuple(self.typed(part, None) for part in node.inputs)
        types = tuple(part.type or SCALAR for part in inputs)
        shape = self.solution.heads.get((node.network, node.head), slot.shape if slot.own else None)
        if shape is None:
            self._undetermined(node)
            return replace(node, inputs=inputs)
        support = slot.support if slot.own else REAL
        if support.kind == "simplex" and shape:
            support = replace(support, size=shape[-1])
        name = node.head or (slot.name if slot.own else "out")
        self.signatures.use(node, types, name, shape, support, self.problems)
        plate = self._plate([part.type for part in inputs], node)
        return replace(node, inputs=inputs, type=TensorType(shape, Dtype.REAL, support, plate))

    def _undetermined(self, node: Apply) -> None:
        if self.widths_reported:
            return
        network = self.program.networks[node.network]
        self.problems.add(
            "undetermined-width",
            f"nothing determines the width of the network {node.network!r}",
            node.span,
            expected="an expected shape around it, `shape=` on the site, or `out=` on the network",
            fix=f"write `{node.network}: {network.kind}(..., out=16)`, with the width that is meant",
        )

    def _index(self, node: Index) -> Expression:
        solution = self.solution
        if isinstance(node.value, Name) and len(node.items) == 1:
            if self.index is not None and lag(node.items[0], self.index) is not None:
                return self._step(node, node.value)
            if reads_level(solution, node):
                return self._copy(node, node.value)
        value = self.typed(node.value, None)
        items = tuple(self._item(item) for item in node.items)
        shapes = [item.type.shape if item.type is not None else () for item in items]
        typed = replace(node, value=value, items=items)
        base = value.type or SCALAR
        shape = self._safely(node, lambda: index_shape(typed, base.shape, shapes), ())
        plate = self._plate([base, *(item.type for item in items)], node)
        typed = replace(typed, type=TensorType(shape, base.dtype, REAL, plate))
        support = structured(typed, self.proof) or support_from(self.proof.bounds(typed))
        return replace(typed, type=TensorType(shape, base.dtype, support, plate))

    def _item(self, item: Expression) -> Expression:
        if isinstance(item, Slice):
            return item
        typed = self.typed(item, None)
        if typed.type is not None and typed.type.dtype is Dtype.REAL and not isinstance(item, Literal):
            self.problems.add(
                "index-not-integer",
                f"the index {shown(item)} is real",
                item.span,
                expected="a number, or an integer value",
                found=str(typed.type.support),
                fix="declare its support, for example `integer(10)`",
            )
        return typed

    def _step(self, node: Index, name: Name) -> Expression:
        """`z[t-1]`: one step of a chain or series."""
        whole = self.types.get(name.id, SCALAR)
        shape = self.solution.elements.get(name.id, whole.shape[1:])
        if not whole.shape:
            self.problems.add(
                "no-time-axis",
                f"{name.id!r} has no axis over time",
                node.span,
                expected="a leading axis",
                found="a scalar",
                fix=f"write `{name.id}`, or mark the column `whole: true`",
            )
        elif (behind := _behind(node.items[0])) >= whole.shape[0]:
            self.problems.add(
                "lag-too-long",
                f"{shown(node)} reaches back beyond the start of {name.id!r}",
                node.span,
                expected=f"a lag from 1 to {whole.shape[0] - 1}" if whole.shape[0] > 1 else "two steps or more",
                found=str(behind),
            )
        return replace(node, value=replace(name, type=whole), type=replace(whole, shape=shape))

    def _copy(self, node: Index, name: Name) -> Expression:
        """`theta[school]`: the copy of the datum's level."""
        level = node.items[0]
        assert isinstance(level, Name)
        found = self.types.get(name.id, SCALAR)
        if self.section == "parameters" and self.level != level.id:
            self.problems.add(
                "plate-mismatch",
                f"`{name.id}[{level.id}]` has one value per datum here, and parameters are shared by all data",
                node.span,
                expected="other parameters, or values of the declaration's own level",
                fix=f"declare this line with the index `[{level.id}]`, or move it to `model`",
            )
        plate = self.level if self.level == level.id else "data"
        item = replace(level, type=self.types.get(level.id, SCALAR))
        return replace(node, value=replace(name, type=found), items=(item,), type=replace(found, plate=plate))

    def _bijector(self, call: Call, expected: Shape | None) -> Expression:
        arguments = tuple(
            self.typed(part, expected if not position else None) for position, part in enumerate(call.arguments)
        )
        first = arguments[0].type or SCALAR
        return replace(
            call,
            arguments=arguments,
            type=TensorType(first.shape, Dtype.REAL, REAL, self._plate([part.type for part in arguments], call)),
        )

    def _ode(self, call: Call) -> Expression:
        rate, start, *rest = (
            part if not position else self.typed(part, None) for position, part in enumerate(call.arguments)
        )
        keywords = tuple((key, self.typed(value, None)) for key, value in call.keywords)
        first = start.type or SCALAR
        if isinstance(rate, Name) and rate.id in self.functions:
            self._local_function(rate, first, call)
        shapes = [(), first.shape, *(part.type.shape for part in rest if part.type is not None)]
        shape = self._safely(call, lambda: result_shape(call, shapes), ())
        plate = self._plate([start.type, *(part.type for part in rest)], call)
        return replace(call, arguments=(rate, start, *rest), keywords=keywords, type=TensorType(shape, plate=plate))

    def _local_function(self, rate: Name, state: TensorType, call: Call) -> None:
        arguments, body = self.functions[rate.id]
        outer, self.local = self.local, {**self.local, arguments[0]: TensorType(state.shape, plate=state.plate)}
        self.local.update((name, SCALAR) for name in arguments[1:])
        typed = self.typed(body, state.shape)
        self.local = outer
        if typed.type is not None and typed.type.shape != state.shape:
            self.problems.add(
                "shape-mismatch",
                f"the rate {rate.id!r} has another shape than the state",
                body.span or call.span,
                expected=show(state.shape),
                found=show(typed.type.shape),
            )
        self.functions[rate.id] = (arguments, typed)

    def _combined(self, node: Expression, expected: Shape | None) -> Expression:
        expectations = self._expectations(node, expected)
        opaque = _OPAQUE.get(node.function) if isinstance(node, Call) else None
        parts = children(node)
        typed = {
            id(part): part if position == opaque else self.typed(part, wanted)
            for position, (part, wanted) in enumerate(zip(parts, expectations, strict=True))
        }
        result = rebuild(node, lambda child: typed[id(child)])
        found = [typed[id(part)].type for part in parts]
        shape = self._safely(
            node, lambda: result_shape(result, [kind.shape if kind else () for kind in found]), expected or ()
        )
        plate = self._plate(found, node)
        result = replace(result, type=TensorType(shape, _dtype(result, found), REAL, plate))
        support = structured(result, self.proof) or support_from(self.proof.bounds(result))
        return replace(result, type=TensorType(shape, _dtype(result, found), support, plate))

    def _expectations(self, node: Expression, expected: Shape | None) -> list[Shape | None]:
        parts = children(node)
        broadcasting = isinstance(node, Operation) and node.operator != "@"
        if isinstance(node, Call):
            rule = FUNCTIONS[node.function].rule
            broadcasting = node.function in {"checked", "observed"} or rule in {"elementwise", "cumulative"}
        return [expected if broadcasting else None] * len(parts)

    def _safely(self, node: Expression, shape: Callable[[], Shape], fallback: Shape) -> Shape:
        try:
            return shape()
        except RaggedError as ragged:
            item = children(node)[ragged.position]
            self.problems.add(
                "ragged-list",
                str(ragged),
                item.span or node.span,
                expected=f"shape {show(ragged.expected)}, as item 1 has it",
                found=f"{shown(item)}, of shape {show(ragged.found)}",
                fix="write every item in full, or `stack(a, b)`, which stretches scalars and axes of one",
            )
            return ragged.whole
        except ShapeError as mismatch:
            self.problems.add("shape-mismatch", str(mismatch), node.span, found=shown(node))
            return fallback

    def _plate(self, types: list[TensorType | None], node: Expression) -> str | None:
        plates = sorted({found.plate for found in types if found is not None and found.plate is not None})
        if len(plates) > 1:
            levels = [plate for plate in plates if plate != "data"]
            self.problems.add(
                "plate-mismatch",
                f"{shown(node)} mixes values per {' and per '.join(plates)}",
                node.span,
                fix=f"index the values per {levels[0]} by `[{levels[0]}]`",
            )
        return plates[0] if plates else None


def _dtype(node: Expression, parts: list[TensorType | None]) -> Dtype:
    integral = all(part is None or part.dtype is not Dtype.REAL for part in parts)
    match node:
        case Operation(operator=operator) if operator in _INTEGER_OPERATIONS and integral:
            return Dtype.INTEGER
        case Operation(operator="<" | "<=" | ">" | ">=" | "==" | "!="):
            return Dtype.BOOLEAN
        case Sequence() if integral:
            return Dtype.INTEGER
        case Call(function=name) if name in _KEEPS_INTEGERS and integral:
            return Dtype.INTEGER
    return Dtype.REAL


def _behind(item: Expression) -> int:
    """The lag of an index over time: k of `t-k`, 0 of `t`."""
    match item:
        case Operation(operator="-", operands=(Name(), Literal(value=int(steps)))):
            return steps
    return 0
