"""Signatures of the library programs: which data they take and how the size of a batch follows."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Elementary
from dgmppl.ir.expressions import Expression, Literal, Operation
from dgmppl.ir.kernel import DensityValue, Function, Module, Number, Plate, Sample, Statement
from dgmppl.ir.program import Role, Site


def names_of(text: str) -> set[str]:
    """Every name that Python text reads."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def samples(statements: Iterable[Statement]) -> Iterator[str]:
    """The sites that statements bind as variables."""
    for statement in statements:
        if isinstance(statement, Plate):
            yield from samples(statement.body)
        elif isinstance(statement, Sample):
            yield statement.variable or statement.site


def data_plate(functions: Iterable[Function]) -> Plate | None:
    """The plate over data rows, if a program has one."""
    plates = (statement for function in functions for statement in function.body if isinstance(statement, Plate))
    return next((plate for plate in plates if plate.name == "data"), None)


def program_columns(functions: Iterable[Function]) -> dict[str, str]:
    """Data columns that the programs take, with their variables; `model` and `guide` take the same."""
    columns: dict[str, str] = {}
    for function in functions:
        for column, local in function.columns:
            columns.setdefault(column, local)
    return columns


def _required(module: Module, column: str) -> bool:
    site = module.program.by_name.get(column)
    return site is not None and site.role is Role.COVARIATE


def _row_wise(module: Module, column: str) -> bool:
    site = module.program.by_name.get(column)
    return "." not in column and (site is None or site.type is None or site.type.plate == "data")


def signature(module: Module, functions: tuple[Function, ...]) -> list[str]:
    """Arguments: covariates, then what may be left out to be drawn, masks, the number of rows and of this batch's."""
    columns = program_columns(functions)
    required = [local for column, local in columns.items() if _required(module, column)]
    optional = [
        f"{local}=None" for column, local in columns.items() if not _required(module, column) and "." not in column
    ]
    masks = [f"{local}=True" for column, local in columns.items() if column.endswith(".observed")]
    plate = data_plate(functions)
    sizes = [f"rows={plate.size}", "size=None"] if plate is not None else []
    return [*required, *optional, "*", *masks, *sizes]


def size_lines(module: Module, functions: tuple[Function, ...]) -> list[str]:
    """How `size`, the rows of this batch, and `rows`, those of all data, follow from the arguments."""
    columns = {column: local for column, local in program_columns(functions).items() if _row_wise(module, column)}
    required = [local for column, local in columns.items() if _required(module, column)]
    plate = data_plate(functions)
    lines: list[str] = []
    if required:
        lines.append(f"size = len({required[0]})")
    elif len(columns) == 1:
        (only,) = columns.values()
        lines.append(f"size = size if {only} is None else len({only})")
    elif columns:
        lines.append(
            f"size = next((len(column) for column in ({', '.join(columns.values())}) if column is not None), size)"
        )
    if plate is not None and plate.size is not None:
        return [*lines, *([] if required else ["size = rows if size is None else size"])]
    return [*lines, "rows = size if rows is None else rows"]


def prior_density(module: Module, network: str) -> DensityValue:
    """The prior of one weight of a network, whose parameters are numbers."""
    prior = module.program.networks[network].prior
    density = prior.density if isinstance(prior, Site) else prior
    if not isinstance(density, Elementary):
        raise InternalError(f"the prior of the network {network!r} has not been resolved")
    parameters = tuple((name, Number(_number(value))) for name, value in density.parameters)
    return DensityValue(density.family, parameters, 0, (), span=density.span)


def _number(expression: Expression) -> float:
    match expression:
        case Literal(value=bool() | int() | float() as value):
            return float(value)
        case Operation(operator="neg", operands=(operand,)):
            return -_number(operand)
        case _:
            raise InternalError("a weight's prior has parameters that are no numbers")
