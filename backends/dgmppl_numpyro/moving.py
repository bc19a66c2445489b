"""Sites whose support depends on other sites, as images of real variables.

NumPyro's automatic guides and its constrained draws take each site's support from one trace of the model: with bounds
that move they would be wrong without a word. Here such a site x becomes a function of a site `NAME_base` on the reals,
whose density has the Jacobian of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer.reparam import Reparam

from dgmppl.ir.kernel import Group


class OnReals(Reparam):  # type: ignore[misc]
    """x = f(y), y on the reals, f the bijection onto the support that x has given the sites before it."""

    def __call__(self, name: str, fn: Any, obs: Any) -> tuple[None, Any]:
        """The deterministic value of a site that is not observed."""
        assert obs is None
        onto = biject_to(fn.support)
        base = numpyro.sample(f"{name}_base", dist.TransformedDistribution(fn, onto.inv))
        return None, onto(base)


def on_reals(model: Callable[..., Any], groups: Iterable[Group]) -> Callable[..., Any]:
    """A library model, those of its parameters with moving bounds as images of real variables."""
    config = {group.name: OnReals() for group in groups if group.bounds is not None}
    changed: Callable[..., Any] = handlers.reparam(model, config=config) if config else model
    return changed
