"""Priors over parameters: their log density, summed over levels and weights."""

from __future__ import annotations

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Elementary, FlatPrior
from dgmppl.ir.ends import moves
from dgmppl.ir.kernel import NetworkLogPrior
from dgmppl.ir.networks import Network
from dgmppl.ir.program import Role, Site
from dgmppl.ir.types import TensorType
from dgmppl.lowering.densities import density_value, log_prob
from dgmppl.lowering.layout import Lowered, number, op, total
from dgmppl.lowering.scope import Scope


def log_prior(scope: Scope, names: tuple[str, ...]) -> Lowered:
    """log p(parameters), a scalar; parameters with a prior, and networks whose weights have one."""
    parts = [_one(scope, name) for name in names]
    return total([scope.assign(f"log_p_{name}", part) for name, part in zip(names, parts, strict=True)])


def _one(scope: Scope, name: str) -> Lowered:
    network = scope.program.networks.get(name)
    if network is not None:
        return network_prior(scope, network)
    site = scope.program.by_name[name]
    if isinstance(site.density, FlatPrior) and not moves(site):
        return number(0.0)
    with level_scope(scope, site):
        value = log_prob(scope, site)
    if site.level is None:
        return value
    return Lowered(op("sum_all", value.value))


class level_scope:  # noqa: N801  (a context manager, used like a function)
    """Inside, a level's copies and its `per:` columns stand on the batch axis."""

    def __init__(self, scope: Scope, site: Site) -> None:
        self.scope, self.site = scope, site
        self._branch = scope.branch()

    def __enter__(self) -> None:
        """Rebinds what varies over the level."""
        self._branch.__enter__()
        if self.site.level is None:
            return
        for site in self.scope.program.sites:
            kind = site.type
            if kind is not None and kind.plate == self.site.level and (stored := self._stored(site, kind)) is not None:
                self.scope.bind(site.name, Lowered(stored.value, kind.shape, True, kind.dtype))

    def _stored(self, site: Site, kind: TensorType) -> Lowered | None:
        """A level's values on their first axis; None for what has no value yet."""
        if site.section == "data":
            return self.scope.column(site.name, kind)
        if site.name not in self.scope.groups:
            return None
        if self.scope.library and site.role is Role.PARAMETER:
            return self.scope.value(site.name)
        return self.scope.parameter(site)

    def __exit__(self, *error: object) -> None:
        """Restores the bindings."""
        self._branch.__exit__(None, None, None)


def network_prior(scope: Scope, network: Network) -> Lowered:
    """Sum over weights and biases of their log prior density."""
    prior = network.prior
    if not isinstance(prior, Elementary):
        raise InternalError(f"the prior of {network.name!r} has not been resolved")
    density, _ = density_value(scope, prior, TensorType(), network.span)
    return Lowered(NetworkLogPrior(scope.use_group(network.name), density, span=network.span))
