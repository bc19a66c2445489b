"""Random expressions and keys: a grammar wider than the language, weighted towards what is well formed."""

from __future__ import annotations

from random import Random

from dgmppl.ir.bijectors import BIJECTORS
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.networks import NETWORKS
from tests.fuzz.mutations import NUMBERS, PIECES

_NAMES = ("x", "y", "z", "c", "theta", "net", "flow", "i", "t", "nothing")
_COMBINATORS = (
    "Mixture",
    "Energy",
    "Diffusion",
    "Truncated",
    "Censored",
    "ZeroInflated",
    "Flat",
    "Ordered",
    "GP",
    "Positive",
    "Trained",
    "Point",
)
_WORDS = (
    "learned",
    "auto",
    "checked",
    "observed",
    "inverse",
    "elbo",
    "iwae",
    "mle",
    "adversarial",
    "supervise",
    "svi",
    "nuts",
    "map",
)
_OPERATORS = ("+", "-", "*", "/", "**", "@", "<", "==", "%", "//", "and", "|", "<=", "!=")
_KEYWORDS = (
    "shape",
    "axis",
    "scale",
    "loc",
    "probs",
    "logits",
    "out",
    "steps",
    "components",
    "weights",
    "rate",
    "hidden",
    "given",
)
_CALLABLE = (*FUNCTIONS, *DISTRIBUTIONS, *NETWORKS, *BIJECTORS, *_COMBINATORS, *_WORDS, *_NAMES)
_UNARY = tuple(name for name, function in FUNCTIONS.items() if function.rule == "elementwise")
_SLOTS = (
    "Normal({}, 1)",
    "Normal(0, {})",
    "Bernoulli(logits={})",
    "Normal(net({}), 1)",
    "Energy({})",
    "Mixture(Normal, {})",
    "{}",
    "flow({})",
)


def expression(random: Random, depth: int | None = None) -> str:
    """A random expression; its depth is a few levels, or once in a while more than any user writes."""
    if depth is None:
        if random.random() < 0.04:
            return _tower(random)
        depth = random.choice((0, 1, 1, 2, 2, 3, 6))
        return random.choice(_SLOTS).format(expression(random, depth))
    if depth <= 0 or random.random() < 0.15:
        return _leaf(random)
    match random.randrange(10):
        case 0 | 1:
            operator = random.choice(_OPERATORS) if random.random() < 0.05 else random.choice(_OPERATORS[:6])
            return f"({expression(random, depth - 1)} {operator} {expression(random, depth - 1)})"
        case 2:
            return f"-{expression(random, depth - 1)}"
        case 3:
            return f"{expression(random, depth - 1)}[{_index(random, depth - 1)}]"
        case 4:
            return f"[{', '.join(expression(random, depth - 1) for _ in range(random.randrange(4)))}]"
        case _:
            return _call(random, depth)


def _leaf(random: Random) -> str:
    draw = random.random()
    if draw < 0.55:
        return random.choice(_NAMES[:6] if random.random() < 0.9 else _NAMES)
    if draw < 0.97:
        return random.choice(("1", "2", "0.5", "3") if random.random() < 0.6 else NUMBERS)
    return random.choice(PIECES)


def _index(random: Random, depth: int) -> str:
    match random.randrange(4):
        case 0:
            return f":{expression(random, depth)}"
        case 1:
            return f"t-{random.choice(NUMBERS)}"
        case 2:
            return f"{expression(random, depth)}, {expression(random, depth)}"
        case _:
            return expression(random, depth)


def _call(random: Random, depth: int) -> str:
    if random.random() < 0.5:
        return f"{random.choice(_UNARY)}({expression(random, depth - 1)})"
    arguments = [expression(random, depth - 1) for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3)))]
    if random.random() < 0.3:
        arguments.append(f"{random.choice(_KEYWORDS)}={expression(random, depth - 1)}")
    if random.random() < 0.06:
        arguments.append(f"**{expression(random, depth - 1)}")
    return f"{random.choice(_CALLABLE)}({', '.join(arguments)})"


def _tower(random: Random) -> str:
    """One construct piled up far beyond the limits, or just below them."""
    height = random.choice((20, 60, 95, 99, 101, 400, 3_000))
    opening, closing = random.choice(
        (("(", ")"), ("exp(", ")"), ("-", ""), ("[", "]"), ("2 ** ", ""), ("x[", "]"), ("1 + ", ""), ("net(", ")"))
    )
    return opening * height + "x" + closing * height


def key(random: Random) -> str:
    """A random key of a section."""
    name = random.choice(_NAMES)
    return random.choice(
        (
            name,
            name,
            f"{name}[{random.choice(_NAMES)}]",
            f"{name}[0]",
            f"({name}, y)",
            f"{name}(s)",
            f"{name}[t-1]",
            random.choice(PIECES),
        )
    )
