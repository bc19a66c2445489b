"""Specs built in Python: the language's names as Python objects.

    Spec(
        name="vae",
        data=dict(x=data("digits.images", transform=[flatten(), binarize(8)])),
        networks=dict(encoder=mlp([256]), decoder=mlp([256])),
        model=dict(z=Normal(0, 1, shape=16), x=Bernoulli(logits=net.decoder(var.z))),
        guide=dict(z=Normal(**net.encoder(var.x))),
    )

A built spec prints as text, and the reader reads that text, so that both forms of the language mean the same. Every
function, distribution, network, bijector, transform and the rest of the closed tables is an attribute of this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from dgmppl.ir.bijectors import BIJECTORS
from dgmppl.ir.distributions import COMBINATORS, DISTRIBUTIONS
from dgmppl.ir.expressions import Name
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.networks import NETWORKS
from dgmppl.ir.options import TABLES
from dgmppl.ir.transforms import TRANSFORMS
from dgmppl.ir.types import KINDS
from dgmppl.spec.sections import SECTIONS, VERSION
from dgmppl.spec.terms import Term
from dgmppl.spec.writer import document_text

__all__ = ["Namespace", "Spec", "bij", "data", "net", "var"]

# A key is a string such as `x[i]`, or a tuple of names; `Mapping` is invariant in its keys, so that no union would do.
Declarations: TypeAlias = Mapping[Any, Any]

# Words that no table holds: the kinds of `learned(...)` that are no support, and the two that stand inside networks.
_OTHERS = frozenset({"learned", "normal", "embedding", "python"})

NAMES: frozenset[str] = frozenset({
    *FUNCTIONS, *DISTRIBUTIONS, *COMBINATORS, *NETWORKS, *BIJECTORS, *TRANSFORMS, *KINDS, *_OTHERS,
    *(name for table in TABLES.values() for name in table),
})  # fmt: skip


class Namespace:
    """Names as attributes: `var.x` is the variable x, `net.decoder(var.z)` a network's call."""

    def __getattr__(self, name: str) -> Term:
        if name.startswith("__"):
            raise AttributeError(name)
        return Term(Name(name))

    def __getitem__(self, name: str) -> Term:
        return Term(Name(name))


var, net, bij = Namespace(), Namespace(), Namespace()


def data(source: str | Sequence[Any] | None = None, **options: Any) -> dict[str, Any]:
    """One entry of `data`.

    Args:
        source: a data set's name (`digits.images`) or the rows themselves; left out where an option names the source
            (`file=`, `shape=`, `expression=`).
        **options: the keys of a data entry, such as `transform=[flatten()]`, `support="integer(10)"`, `split=...`.
    """
    if source is None:
        return options
    return {"dataset" if isinstance(source, str) else "values": source, **options}


class Spec:
    """A spec built in Python. Each argument is a section; mappings keep their order.

    Attributes:
        sections: the sections that are given, by name.
        text: the same spec as YAML, which is what is read.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        description: str | None = None,
        extends: str | None = None,
        data: Mapping[str, Any] | None = None,
        parameters: Declarations | None = None,
        networks: Declarations | None = None,
        bijectors: Declarations | None = None,
        model: Declarations | None = None,
        guide: Declarations | Term | str | None = None,
        critics: Declarations | None = None,
        objective: Term | str | None = None,
        train: Mapping[str, Any] | None = None,
        infer: Term | str | None = None,
        evaluate: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes the sections down; what is wrong with them is said when the spec is compiled.

        Args:
            name: of the model.
            description: what it is.
            extends: the path of a spec to start from.
            data: column -> a data set's name, rows, or `data(...)`.
            parameters: what all data share: a prior, `learned(...)`, or an expression.
            networks: name -> a kind of network.
            bijectors: name -> a step, or a list of steps.
            model: the story of one datum, in order: name, or a key such as `x[i]`, -> its right-hand side.
            guide: q of latents in the same form, or the name of a family; left out, it is built from the structure.
            critics: site, or tuple of sites -> the critic that compares it.
            objective: what is minimized; left out, it is derived.
            train: how, by key.
            infer: the engine of a posterior.
            evaluate: how the fitted model is evaluated, by key.

        Right-hand sides are terms, expression strings or numbers.

        Raises:
            SpecError: a value that no spec can hold.
        """
        given = {
            "name": name, "description": description, "extends": extends, "data": data, "parameters": parameters,
            "networks": networks, "bijectors": bijectors, "model": model, "guide": guide, "critics": critics,
            "objective": objective, "train": train, "infer": infer, "evaluate": evaluate,
        }  # fmt: skip
        self.sections: dict[str, Any] = {"dgmppl": VERSION}
        self.sections |= {key: given[key] for key in SECTIONS if given.get(key) is not None}
        self.text = document_text(self.sections)

    def __repr__(self) -> str:
        return self.text


def __getattr__(name: str) -> Term:
    """A word of the language, or a registered network: callable (`Normal(0, 1)`), and a value (`divergence=js`)."""
    if name in NAMES or name in NETWORKS:
        return Term(Name(name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}: the language has no such word")
