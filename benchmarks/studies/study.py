"""What a study is: contenders that are fitted, and aims that their results are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from benchmarks.studies.ledger import Facts, Key
from dgmppl.results.evaluation import standard_error

Results: TypeAlias = Mapping[Key, Facts]


class Verdict(NamedTuple):
    """An aim and what was found.

    Attributes:
        subject: whose.
        aim: in words.
        found: in words, with the standard error where it is a mean.
        met: whether.
    """

    subject: str
    aim: str
    found: str
    met: bool


class Study(NamedTuple):
    """A study.

    Attributes:
        doc: one line.
        contenders: what is fitted on every backend.
        seeds: fixed beforehand.
        fit: one fit: its result as JSON data.
        judge: the results of whole sets of seeds against the aims.
        references: what is fitted once per seed, whatever the backend: their backend is `reference`.
    """

    doc: str
    contenders: Sequence[str]
    seeds: Sequence[int]
    fit: Callable[[Key], Facts]
    judge: Callable[[Results], list[Verdict]]
    references: Sequence[str] = ()

    def keys(self, backends: Sequence[str], seeds: Sequence[int], contenders: Sequence[str]) -> list[Key]:
        """The fits in order: references, then contender by contender."""
        chosen = [one for one in self.contenders if not contenders or one in contenders]
        references = [Key(one, "reference", seed) for one in self.references for seed in seeds]
        return references + [Key(one, backend, seed) for one in chosen for backend in backends for seed in seeds]


def groups(results: Results) -> dict[tuple[str, str], dict[int, Facts]]:
    """The results by (contender, backend), and there by seed."""
    found: dict[tuple[str, str], dict[int, Facts]] = {}
    for key, facts in sorted(results.items()):
        found.setdefault((key.contender, key.backend), {})[key.seed] = facts
    return found


def no_worse(subject: str, peer: str, ours: dict[int, Facts], theirs: dict[int, Facts]) -> Verdict:
    """Whether the mean difference of `distance` over common seeds, ours less theirs, is within two standard errors."""
    seeds = sorted(ours.keys() & theirs.keys())
    difference = np.array([ours[seed]["distance"] - theirs[seed]["distance"] for seed in seeds])
    error = standard_error(difference)
    means = [np.mean([side[seed]["distance"] for seed in seeds]) for side in (ours, theirs)]
    said = f"{means[0]:.4f} against {means[1]:.4f}: {difference.mean():+.4f} ± {error:.4f} over {len(seeds)} seeds"
    return Verdict(subject, f"no worse than {peer} by two errors", said, bool(difference.mean() <= 2.0 * error))
