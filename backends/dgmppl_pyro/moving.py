"""Sites whose support depends on other sites, as images of real variables.

Pyro's automatic guides take each site's support from one trace of the model: with bounds that move they would be wrong
without a word. Here such a site x becomes a function of a site `NAME_base` on the reals, whose density has the Jacobian
of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyro
import pyro.distributions as dist
from pyro import poutine
from pyro.infer.reparam.reparam import Reparam
from torch.distributions import biject_to

from dgmppl.ir.kernel import Group


class OnReals(Reparam):  # type: ignore[misc]
    """x = f(y), y on the reals, f the bijection onto the support that x has given the sites before it."""

    def apply(self, msg: Any) -> Any:
        """The site as a point mass at its value, which counts nothing."""
        name, fn, value = msg["name"], msg["fn"], msg["value"]
        onto = biject_to(fn.support)
        given = None if value is None else onto.inv(value)
        base = pyro.sample(
            f"{name}_base",
            dist.TransformedDistribution(fn, [onto.inv]),
            obs=given,
            infer={"is_observed": msg["is_observed"]},
        )
        image = onto(base)
        return {"fn": dist.Delta(image, event_dim=fn.event_dim).mask(False), "value": image, "is_observed": True}


def on_reals(model: Callable[..., Any], groups: Iterable[Group]) -> Callable[..., Any]:
    """A library model, those of its parameters with moving bounds as images of real variables."""
    config = {group.name: OnReals() for group in groups if group.bounds is not None}
    changed: Callable[..., Any] = poutine.reparam(model, config=config) if config else model
    return changed
