"""The errors that dgmppl raises, and the closed table of diagnostic codes.

Errors are part of the language: whatever a user can get wrong has a code, a place, what was expected, what was found
and a fix. A Python traceback on bad input is a bug, and `InternalError` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


# Every diagnostic's code and what it stands for; `tests/golden/bad` covers each. One line a code, sorted.
CODES: dict[str, str] = {
    "call-target": "a call of something that is not a name",
    "chained-comparison": "a comparison of more than two values at once",
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
    "data-option": "an option that does not go with the kind of data source",
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
    "drop-unknown": "null for something that there is nothing of to drop",
    "duplicate-key": "a key that stands twice in one mapping",
    "duplicate-keyword": "a keyword that is given twice in one call",
    "duplicate-name": "one name for two different things",
    "expression-character": "a character that expressions do not have",
    "expression-empty": "nothing where an expression must stand",
    "expression-limits": "an expression that is too long, too deep, or holds too large a literal",
    "expression-syntax": "text that is no expression",
    "extends-cycle": "a spec that extends itself, directly or through others",
    "file-missing": "a file that cannot be read",
    "index-form": "an index that a key or an expression cannot have",
    "key-form": "a key that declares nothing",
    "literal-kind": "a literal of a kind that the language does not have",
    "missing-value": "a key without its value",
    "name-form": "a name of a form that the language does not have",
    "no-assignment": "an assignment inside an expression",
    "no-attribute": "a dot inside an expression",
    "no-boolean-operator": "and, or, not inside an expression",
    "no-comprehension": "a comprehension inside an expression",
    "no-conditional": "if ... else inside an expression",
    "no-format-string": "a format string inside an expression",
    "no-lambda": "a lambda inside an expression",
    "no-operator": "an operator that the language does not have",
    "no-star": "a star where nothing can be unpacked",
    "objective-and-infer": "an objective beside an inference engine that has its own target",
    "out-of-range": "a number outside the range of its option",
    "override-form": "a --set that is not KEY=VALUE",
    "python-value": "a Python object that no spec can hold",
    "shadowed-name": "a declared name that hides a function or a distribution",
    "steps-and-epochs": "two lengths of training at once",
    "unknown-choice": "a word that the option does not have",
    "unknown-key": "a key that the section does not have",
    "unknown-name": "a name that nothing defines",
    "version-missing": "a spec that does not say its language version",
    "version-order": "a language version that is not the first key",
    "version-unknown": "a language version that this program does not read",
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
    def code(self) -> str: ...

    def render(self) -> str: ...


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
        super().__init__("\n\n".join(problem.render() for problem in self.diagnostics))


class NoObjectiveError(SpecError):
    """A well-formed model for which no rule derives an objective; it lists each rule with its reason."""


class UnsupportedError(SpecError):
    """A construct that this backend (or this version) does not lower; it names the construct and its line."""


class RunError(DgmpplError):
    """A run that failed: non-finite loss, damaged checkpoint, missing file, unusable device."""


class InternalError(DgmpplError):
    """A bug in dgmppl itself."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}\nThis is a bug in dgmppl, not in your spec. Please report it with the spec that caused it.")
