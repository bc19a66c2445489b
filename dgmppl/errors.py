"""The errors that dgmppl raises, and the closed table of diagnostic codes.

Errors are part of the language: whatever a user can get wrong has a code, a place, what was expected, what was found
and a fix. A Python traceback on bad input is a bug, and `InternalError` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# Every diagnostic's code and what it stands for; `tests/golden/bad` covers each. One line a code, sorted.
CODES: dict[str, str] = {
    "bad-objective": "an objective that is no sum of positive multiples of terms",
    "bad-option": "an option with a value that it cannot have",
    "bad-size": "a size or shape that is no list of whole numbers from 1 on",
    "bad-splat": "two stars before something that is no network",
    "beta-below-one": "lint: a KL weight below one, which makes the bound none",
    "bounded-critic": "lint: a critic whose output is squashed",
    "bounded-logits": "lint: logits that are squashed",
    "call-target": "a call of something that is not a name",
    "chain-without-start": "a chain that does not say how it starts",
    "chain-without-step": "a chain with a start and no general line",
    "chained-comparison": "a comparison of more than two values at once",
    "choose-one": "none, or several, of parameters of which exactly one is given",
    "conditioner-width": "an output width of a bijector's network that the step does not take",
    "critic-misses-site": "a critic that does not read what it compares",
    "data-binding": "run-time data that do not fit their declaration",
    "data-constant": "a column without variance, which is not scaled",
    "data-empty": "a data source without rows",
    "data-expression": "a data expression that cannot be computed row by row",
    "data-file-format": "a data file in a format that dgmppl does not read",
    "data-file-missing": "a data file that does not exist",
    "data-file-unreadable": "a data file that is damaged or is not what its name says",
    "data-library": "a data file that needs a library which is not installed",
    "data-likelihood": "data outside the support of their distribution",
    "data-missing-entries": "missing entries where the spec forbids them",
    "data-option": "an option that does not go with the kind of data source, or has an impossible value",
    "data-per": "values per level that do not match the levels",
    "data-ragged": "rows of different lengths",
    "data-rows": "columns with different numbers of rows",
    "data-source": "a data entry without a source, with two, or with one of no known form",
    "data-split": "a split that is impossible or contradicts another",
    "data-support": "a value outside the declared support",
    "data-test-set": "test data that do not fit the training data",
    "data-transform": "an unknown transform, or wrong arguments to one",
    "data-transform-input": "a transform of values that it is not defined for",
    "data-type": "values that are neither numbers nor labels",
    "data-unknown-column": "a column or array that the data do not have",
    "data-unknown-dataset": "a data set that dgmppl does not ship",
    "datum-in-parameters": "a value that differs from datum to datum where all data share one",
    "dead-site": "lint: a site that nothing observed depends on",
    "discrete-as-continuous": "lint: a continuous density on data with few distinct values",
    "divergence-generator": "a function that generates no f-divergence",
    "drop-unknown": "null for something that there is nothing of to drop",
    "drop-without-condition": "a diffusion that drops a condition which it does not have",
    "duplicate-argument": "one parameter given twice",
    "duplicate-key": "a key that stands twice in one mapping",
    "duplicate-keyword": "a keyword that is given twice in one call",
    "duplicate-name": "one name for two different things",
    "empty-model": "a spec without a model",
    "energy-unbounded": "an energy whose normalizer may be infinite",
    "exp-of-positive": "lint: exp of a value that is positive already",
    "expression-character": "a character that expressions do not have",
    "expression-empty": "nothing where an expression must stand",
    "expression-limits": "an expression that is too long, too deep, or holds too large a literal",
    "expression-syntax": "text that is no expression",
    "extends-cycle": "a spec that extends itself, directly or through others",
    "file-missing": "a file that cannot be read",
    "future-index": "a chain that reads its future",
    "group-unowned": "a parameter group that nothing trains",
    "guidance-without-drop": "guidance of a diffusion that is never trained without its condition",
    "guide-auxiliary": "a draw of the guide that nothing reads",
    "guide-misses": "a guide that misses a latent",
    "guide-names-both": "a guide that names one random variable twice",
    "guide-shape": "a guide that draws a site with another shape than the model",
    "guide-support": "a guide that draws a site outside of its support",
    "guided-data": "a guide for data",
    "guided-deterministic": "a guide for a site that is not random",
    "impossible-restriction": "a truncated, censored or ordered distribution that is none",
    "index-form": "an index that a key or an expression cannot have",
    "index-is-a-name": "a key's index that is the name of something else",
    "index-not-integer": "an index with real values",
    "infer-without-unknowns": "an inference engine without anything to infer",
    "inline-network": "a network declared inside an expression",
    "invertible-expression": "data given as an invertible expression of a random site, without a bijector",
    "key-form": "a key that declares nothing",
    "lag-too-long": "a lag that reaches beyond the start of its series",
    "latent-normalizer": "an unnormalized density whose normalizer depends on a latent",
    "learned-beside-sampler": "a point parameter beside a sampler",
    "level-mismatch": "values per level, indexed by something else than their level",
    "level-without-index": "values per level without their index",
    "literal-kind": "a literal of a kind that the language does not have",
    "metric-needs-density": "a metric of log p of a model that has none",
    "misplaced-factorization": "x[:i] outside of a causal network",
    "misplaced-learned": "a learned parameter without a name of its own",
    "misplaced-option": "an option where a value must stand",
    "missing-argument": "a call without an argument that it needs",
    "missing-run": "a finished run that is not there",
    "missing-value": "a key without its value",
    "name-form": "a name of a form that the language does not have",
    "nested-distribution": "a distribution inside an expression",
    "network-import": "code of the user's own that cannot be imported, or is no module",
    "network-input": "a network applied to something, or asked for something, that its kind does not map",
    "network-options": "options of a network that do not go with its inputs, its outputs or each other",
    "network-order": "an order of the elements that a network cannot follow",
    "network-sides": "sides of a map that a network cannot halve so often",
    "no-assignment": "an assignment inside an expression",
    "no-attribute": "a dot inside an expression",
    "no-boolean-operator": "and, or, not inside an expression",
    "no-comprehension": "a comprehension inside an expression",
    "no-conditional": "if ... else inside an expression",
    "no-format-string": "a format string inside an expression",
    "no-guide": "a latent for which no guide can be derived",
    "no-lambda": "a lambda inside an expression",
    "no-objective": "a model for which no rule derives an objective",
    "no-operator": "an operator that the language does not have",
    "no-star": "a star where nothing can be unpacked",
    "no-time-axis": "a lag of something without an axis over time",
    "not-a-bijector": "something else where a bijector must stand",
    "not-a-distribution": "something else where a distribution must stand",
    "not-a-function": "a call of a value",
    "not-a-level": "a level index over a column without levels",
    "not-a-name": "something else where a name must stand",
    "not-a-network": "something else where a network must stand",
    "not-a-value": "text or nothing where a number must stand",
    "not-applied": "a network, bijector or function that is not applied to anything",
    "not-causal": "a network that is not causal in a factorization",
    "not-elementwise": "a factorization over elements by a distribution of vectors",
    "not-in-guide": "a guide that reads a latent before it has sampled it",
    "not-lowered": "a construct that is derived and explained, but that no backend has a program for yet",
    "nothing-observed": "a model of no data",
    "objective-alpha": "an alpha-divergence of order 0 or 1",
    "objective-and-infer": "an objective beside an inference engine that has its own target",
    "objective-baseline": "a score-function gradient without a baseline",
    "objective-buffer": "persistent chains that are fewer than a batch takes, or that do not go on",
    "objective-critic": "an adversarial term without its critic",
    "objective-estimator": "a gradient estimator that a guide's draw does not have",
    "objective-fake": "an adversarial term whose samples carry no gradient",
    "objective-needs-density": "a bound where the data have no normalized density",
    "objective-needs-diffusion": "a diffusion's objective without a diffusion",
    "objective-needs-energy": "an energy's objective without an energy",
    "objective-needs-ode": "flow matching without a flow in continuous time",
    "objective-needs-real": "score matching on discrete support",
    "objective-noise": "a noise, a known density or a noise's level that an objective cannot use",
    "objective-not-exact": "maximum likelihood where only a bound is known",
    "objective-nothing-to-bound": "an importance-weighted bound without a latent to bound",
    "objective-sampler": "a sampler that does not go with the support",
    "objective-supervise": "supervision of what has no guide or no data",
    "objective-variant": "a generator update that the divergence does not have",
    "objective-weight": "a weight that is not positive",
    "observed-not-random": "observed data without randomness",
    "observed-twice": "one random variable that is observed under two names",
    "out-of-range": "a number outside the range of its option",
    "override-form": "a --set that is not KEY=VALUE",
    "plate-mismatch": "values per level beside values per datum",
    "posterior-without-density": "a posterior of parameters whose likelihood is unknown",
    "python-value": "a Python object that no spec can hold",
    "ragged-list": "a list whose items have different shapes",
    "run-mismatch": "a finished run that was trained with something else than what stands in its place",
    "samples-collapsed": "samples that cover little of the data",
    "scale-can-collapse": "lint: a learned scale that can shrink to zero",
    "schedule-below-one": "lint: a schedule of the KL weight that ends below one",
    "schedule-keeps-signal": "lint: a diffusion whose last noise still shows the data",
    "schedule-needs-vlb": "a learned schedule of a diffusion under another weighting than the bound's",
    "schedule-too-long": "lint: a schedule that training does not finish",
    "self-reference": "a site that is defined by itself",
    "shadowed-name": "a declared name that hides a function or a distribution",
    "shape-mismatch": "operands or parameters whose shapes do not fit",
    "spline-bound": "lint: a spline that is the identity where data lie",
    "steps-and-epochs": "two lengths of training at once",
    "times-out-of-order": "times of a differential equation that turn back",
    "tolerance-below-rounding": "a tolerance that is finer than the numbers' precision",
    "too-few-elements": "a coupling of fewer than two elements",
    "two-signatures": "a network or bijector used with two different shapes",
    "undetermined-width": "a shape that nothing determines",
    "unknown-argument": "an argument that a call does not have",
    "unknown-choice": "a word that the option does not have",
    "unknown-function": "a call of something that nothing defines",
    "unknown-group": "a group of parameters that the program does not have",
    "unknown-key": "a key that the section does not have",
    "unknown-kind": "a kind of network, bijector or parameter that the language does not have",
    "unknown-name": "a name that nothing defines",
    "unnamed-base": "a bijector applied to something without a name",
    "unprovable-support": "a parameter that may leave its support",
    "untrusted-code": "code of the user's own in a spec",
    "unusable-run": "a finished run that cannot stand in a model",
    "unused-column": "lint: a data column that nothing reads",
    "unused-parameter": "lint: a parameter that nothing reads",
    "use-before-definition": "a name that is used before it is defined",
    "variance-needs-steps": "reverse variances of a diffusion in continuous time",
    "variance-needs-vlb": "learned reverse variances under another weighting than the bound's",
    "version-missing": "a spec that does not say its language version",
    "version-order": "a language version that is not the first key",
    "version-unknown": "a language version that this program does not read",
    "wrong-arguments": "too many, or too few, arguments",
    "wrong-type": "a value of another type than the option takes",
    "yaml-alias": "a YAML anchor or alias",
    "yaml-character": "a character or an encoding that YAML does not allow",
    "yaml-documents": "more than one YAML document in a file",
    "yaml-key": "a YAML key that is no plain text",
    "yaml-limits": "a YAML text that is too large or too deep",
    "yaml-quotes": "an expression that YAML takes apart where it stands",
    "yaml-syntax": "text that is not YAML",
    "yaml-tab": "a tab where YAML wants spaces",
    "yaml-tag": "a YAML tag",
}


class Problem(Protocol):
    """What an error needs of a diagnostic; `dgmppl.source.Diagnostic` is the implementation."""

    @property
    def code(self) -> str:
        """What kind of problem it is."""
        ...

    def render(self) -> str:
        """The message with its excerpt."""
        ...


class DgmpplError(Exception):
    """Every error that dgmppl raises on purpose."""


class SpecError(DgmpplError):
    """A spec that cannot be compiled; it carries all of its diagnostics at once.

    Attributes:
        diagnostics: at least one, in the order of their places.
    """

    def __init__(self, diagnostics: Sequence[Problem]) -> None:
        if not diagnostics:
            raise InternalError("a SpecError without a diagnostic")
        self.diagnostics = tuple(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n\n".join(problem.render() for problem in self.diagnostics)


class NoObjectiveError(SpecError):
    """A well-formed model for which no rule derives an objective; it lists each rule with its reason."""


class UnsupportedError(SpecError):
    """A construct that this backend (or this version) does not lower; it names the construct and its line."""


class RunError(DgmpplError):
    """A run that failed: non-finite loss, damaged checkpoint, missing file, unusable device."""


class ArgumentError(RunError):
    """An argument that cannot be, beside a spec that may well be right: no such run, backend, device, file ending."""


class InternalError(DgmpplError):
    """A bug in dgmppl itself."""

    def __init__(self, message: str) -> None:
        report = "This is a bug in dgmppl, not in your spec. Please report it with the spec that caused it."
        super().__init__(f"{message}\n{report}")
