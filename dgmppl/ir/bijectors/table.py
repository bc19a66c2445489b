"""The closed table of bijector steps."""

from __future__ import annotations

from dgmppl.ir.bijectors.core import BijectorKind
from dgmppl.ir.networks import REQUIRED, Option
from dgmppl.ir.types import Support

_POSITIVE, _UNIT = Support("positive"), Support("unit")

BIJECTORS: dict[str, BijectorKind] = {
    kind.name: kind
    for kind in (
        BijectorKind("affine", doc="x = exp(log_scale) z + shift, elementwise"),
        BijectorKind(
            "spline", (Option("bins", 8, "knots"), Option("bound", 5.0, "the spline's square; identity outside")),
            doc="monotone rational-quadratic spline (Durkan et al. 2019)",
        ),
        BijectorKind("actnorm", doc="affine, started at the first batch's statistics (Kingma and Dhariwal 2018)"),
        BijectorKind("permute", rearranges=True, ordered=True, doc="a fixed, seeded derangement of the elements"),
        BijectorKind("reverse", rearranges=True, doc="the elements in reverse order"),
        BijectorKind(
            "lu_linear", ordered=True, doc="x = P L U z + b, P a fixed, seeded permutation (Kingma and Dhariwal 2018)"
        ),
        BijectorKind("planar", inverse="none", doc="x = z + u tanh(w z + b) (Rezende and Mohamed 2015)"),
        BijectorKind("sigmoid", codomain=_UNIT, doc="x = 1 / (1 + exp(-z))"),
        BijectorKind("logit", domain=_UNIT, doc="x = log(z / (1 - z))"),
        BijectorKind("softplus", codomain=_POSITIVE, doc="x = log(1 + exp(z))"),
        BijectorKind("exp", codomain=_POSITIVE, doc="x = exp(z)"),
        BijectorKind("log", domain=_POSITIVE, doc="x = log z"),
        BijectorKind("tanh", codomain=Support("interval", low=-1.0, high=1.0), doc="x = tanh z"),
        BijectorKind(
            "squeeze", rearranges=True,
            doc="[C, H, W] to [4 C, H/2, W/2], [H, W] being one channel (Dinh et al. 2017)",
        ),
        BijectorKind(
            "multiscale", nested=True,
            doc="the steps map the first half of the elements (of the channels); the others stay as they were drawn, "
            "factored out (Dinh et al. 2017)",
        ),
        BijectorKind(
            "coupling", conditioned=True, element=True,
            doc="the first floor(D/2) elements condition the transform of the others (Dinh et al. 2017)",
        ),
        BijectorKind(
            "autoregressive",
            (Option("direction", "density", "density: one pass to score; inverse: one pass to sample"),),
            conditioned=True, element=True, forward="sequential",
            doc="each element is transformed given those before it (Papamakarios et al. 2017)",
        ),
        BijectorKind(
            "ode",
            (Option("solver", "dopri5", "dopri5, tsit5 or rk4"), Option("rtol", 1e-5, "relative tolerance"),
             Option("atol", 1e-5, "absolute tolerance"), Option("steps", 20, "steps of a fixed-step solver"),
             Option("trace", "exact", "exact or hutchinson"), Option("time", None, "how time enters the field")),
            conditioned=True, continuous=True, doc="dx/dt = field(x, t), t in [0, 1] (Chen et al. 2018)",
        ),
        BijectorKind(
            "repeat", (Option("times", REQUIRED, "how often"), Option("steps", REQUIRED, "what is repeated")),
            doc="copies of the same steps, each with parameters of its own",
        ),
        BijectorKind(
            "inverse", (Option("steps", REQUIRED, "what runs backwards"),),
            doc="the same steps from data to base: the last one's inverse comes first",
        ),
    )
}  # fmt: skip
