"""The sections of a spec and the keys of each: the one declaration that reader, JSON Schema and documentation share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dgmppl.spec.containers import Either, Field, Fields, ListOf, MapOf, Rows
from dgmppl.spec.kinds import Boolean, Choice, Expr, Integer, Number, Text

VERSION = 1


class Form(Enum):
    """What a section holds."""

    VERSION = "the language version"
    TEXT = "text"
    PATH = "the path of a spec"
    DATA = "names with their sources"
    DECLARATIONS = "names with their expressions"
    GUIDE = "names with their expressions, or one expression"
    EXPRESSION = "an expression"
    SETTINGS = "options"


@dataclass(frozen=True, slots=True)
class Section:
    """A top-level key.

    Attributes:
        name: the key.
        form: what it holds.
        help: what it is for.
        merges: with `extends`, entries are merged one by one; otherwise the section replaces the other's whole.
        fields: the known keys of settings, or of one data entry.
    """

    name: str
    form: Form
    help: str
    merges: bool = False
    fields: tuple[Field, ...] = ()


_COLUMNS = Either(
    (ListOf(Text(), single=True), Fields((Field("except", ListOf(Text(), single=True), "all columns but these"),)))
)
_PLACE = (
    Field("key", Text(), "array within a file of several"),
    Field("column", Text(), "column of a table"),
    Field("columns", _COLUMNS, "columns of a table: names, a pattern such as `x*`, or `{except: [y]}`"),
)

# The keys that say where the values come from: exactly one stands in each entry of `data`.
SOURCES = (
    Field("dataset", Text("the name of a data set"), "data that installed packages ship, such as `digits.images`"),
    Field("file", Text("the path of a file"), "a file or a folder of images, relative to the spec"),
    Field("shape", ListOf(Integer(1), single=True), "shape of one row, bound at run time; `[]` is a scalar"),
    Field("values", Rows(), "the rows themselves"),
    Field("expression", Expr(), "an expression of earlier sources, row by row after their transforms"),
)

_HELD_OUT = Either((Integer(1), Number(0, 1)))
_TABLE_OPTIONS = (
    Field("split", Fields((
        Field("test", _HELD_OUT, "rows that are held out for evaluation: a fraction, or a count"),
        Field("validation", _HELD_OUT, "rows that are held out for early stopping: a fraction, or a count"),
        Field("seed", Integer(0), "which rows those are"),
    )), "rows held out of the training"),
    Field("test", Fields((SOURCES[0], SOURCES[1], *_PLACE)), "held-out rows from a source of their own"),
    Field("keep", Number(0, 1, closed=True), "fraction of a column that stays visible; the rest is hidden"),
    Field("seed", Integer(0), "of synthetic data, and of what `keep` hides"),
)  # fmt: skip

DATA_OPTIONS = (
    Field("support", Expr(), "real, positive, unit, binary, count, integer(n) or simplex(n)"),
    Field("transform", ListOf(Expr(), single=True), "one transform or a list of them, in order"),
    Field("whole", Boolean(), "the entire array is one event (one series, one Gaussian process)"),
    Field("per", Text("the name of a level's column"), "one value for each level instead of each row"),
    Field("missing", Choice(("error",)), "`error` refuses missing entries"),
    *_PLACE,
    Field("size", Integer(1), "rows of a synthetic data set"),
    *_TABLE_OPTIONS,
)

# Which options go with which source.
_EVERY = frozenset({"support", "transform"})
_ROWS = _EVERY | {"whole", "per", "missing", "keep", "seed", "split", "test"}
OPTIONS_OF_SOURCE: dict[str, frozenset[str]] = {
    "dataset": _ROWS | {"size"},
    "file": _ROWS | {"key", "column", "columns"},
    "shape": _EVERY | {"whole", "per", "missing", "key", "column", "columns"},
    "values": _ROWS,
    "expression": _EVERY,
}

TRAIN = (
    Field(
        "optimizer", Expr("an optimizer such as `adam(1e-3)`"), "for every group of parameters without one of its own"
    ),
    Field("optimizers", MapOf(Expr("an optimizer such as `adam(1e-3)`")), "optimizer of single groups of parameters"),
    Field("batch_size", Either((Integer(1), Choice(("all",)))), "rows of a mini-batch, or `all`"),
    Field("steps", Integer(1), "updates of the model's player"),
    Field("epochs", Integer(1), "passes over the training rows"),
    Field("schedule", Expr("a schedule such as `cosine(warmup=100)`"), "learning rate over time, as a factor"),
    Field("clip_norm", Number(0), "bound on the gradient's norm"),
    Field("ema", Number(0, 1), "decay of the exponential moving average of the parameters"),
    Field("seed", Integer(0), "of initial values, mini-batches and noise"),
    Field("early_stopping", Expr("`early_stopping(patience=10)`"), "when to stop for want of progress"),
    Field("precision", Choice(("float32", "float64", "bfloat16")), "element type of parameters and data"),
)

EVALUATE = (
    Field("sampler", Expr("a sampler such as `ddim(steps=50)`"), "how samples are drawn"),
    Field("log_prob", Expr("an evaluator such as `ode()` or `iwae(particles=1000)`"), "how log p is evaluated"),
    Field("log_z", Expr("an estimator such as `ais(temperatures=200, chains=64)`"), "how a normalizer is evaluated"),
    Field("metrics", ListOf(Expr(), single=True), "what is computed on held-out rows"),
    Field("samples", Integer(1), "draws for what compares samples with data"),
    Field("particles", Integer(1), "draws of a bound"),
    Field("seed", Integer(0), "of the evaluation's noise"),
)

SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        Section("dgmppl", Form.VERSION, "the language version; the first key"),
        Section("name", Form.TEXT, "what the model is called"),
        Section("description", Form.TEXT, "what the model is"),
        Section("extends", Form.PATH, "another spec to start from"),
        Section("data", Form.DATA, "observed variables and covariates", True, (*SOURCES, *DATA_OPTIONS)),
        Section("parameters", Form.DECLARATIONS, "global quantities: a prior, `learned(kind)` or an expression", True),
        Section("networks", Form.DECLARATIONS, "named functions", True),
        Section("bijectors", Form.DECLARATIONS, "named invertible functions: a step, or a list of steps", True),
        Section("model", Form.DECLARATIONS, "the generative story of one datum, in order"),
        Section("guide", Form.GUIDE, "the variational posterior of the latents"),
        Section("critics", Form.DECLARATIONS, "site, or tuple of sites, with the critic that compares it", True),
        Section("objective", Form.EXPRESSION, "what is minimized; derived where it is left out"),
        Section("train", Form.SETTINGS, "how the program is trained", True, TRAIN),
        Section("infer", Form.EXPRESSION, "the engine that draws from, or approximates, the posterior"),
        Section("evaluate", Form.SETTINGS, "how the fitted model is evaluated", True, EVALUATE),
    )
}
