"""Terms of the objective on the screen and in a paper: one function over the tree, two notations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from dgmppl.ir.expressions import Expression
from dgmppl.ir.expressions import text as written
from dgmppl.objectives.algebra import (
    KL,
    Conjugate,
    ContrastiveGradient,
    DenoisingTerm,
    DensityRatio,
    Draw,
    Expectation,
    FreeEnergy,
    LogDensity,
    LogIntegral,
    LogMeanExp,
    LogNormalizer,
    LogPosterior,
    LogPrior,
    LogSum,
    NoiseContrast,
    NoiseLadder,
    Penalty,
    Scale,
    ScoreMatching,
    Squared,
    Sum,
    Supervision,
    Term,
    VelocityRegression,
)

_INDICES = dict(zip("0123456789tk", "₀₁₂₃₄₅₆₇₈₉ₜₖ", strict=True))

# symbol -> (Unicode, LaTeX)
_SYMBOLS: dict[str, tuple[str, str]] = {
    "minus": ("−", "-"), "E": ("E", r"\mathbb{E}"), "sum": ("∑", r"\sum"), "int": ("∫", r"\int"),
    "exp": ("exp", r"\exp"), "grad": ("∇", r"\nabla "), "half": ("½ ", r"\tfrac{1}{2} "), "square": ("²", "^2"),
    "trace": ("tr ", r"\mathrm{tr} "), "transposed": ("ᵀ", "^T"), "epsilon": ("ε", r"\epsilon"),
    "sigma": ("σ", r"\sigma"), "kl": ("KL", r"\mathrm{KL}"), "vlb": ("VLB", r"\mathrm{VLB}"),
    "tilde": ("p̃", r"\tilde{p}"), "share": ("(1/N) ", r"\tfrac{1}{N} "), "data": ("p_data", r"p_{\mathrm{data}}"),
    "time,noise": ("t,ε", r"t, \epsilon"), "endpoints": ("t,x₀,x₁", "t, x_0, x_1"),
}  # fmt: skip


_GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
})  # fmt: skip


def _tex_name(name: str) -> str:
    stem = name.rstrip("0123456789")
    if not stem.isalpha():
        return rf"\mathrm{{{name}}}".replace("_", r"\_")
    letter = stem if len(stem) == 1 else rf"\{stem}" if stem in _GREEK else rf"\mathrm{{{stem}}}"
    return letter + (f"_{{{name[len(stem) :]}}}" if stem != name else "")


@dataclass(frozen=True)
class _Notation:
    """The symbols of one notation."""

    given: str
    minus: str
    times: str
    log: str
    parallel: str
    bars: tuple[str, str]
    tex: bool

    def name(self, name: str) -> str:
        """A variable's name; in LaTeX Greek letters are letters, and digits at the end an index."""
        return _tex_name(name) if self.tex else name

    def names(self, names: Sequence[str]) -> str:
        """Several names, separated by commas."""
        return ", ".join(self.name(name) for name in names)

    def conditional(self, head: str, names: Sequence[str], given: Sequence[str]) -> str:
        """`p(x | z)`."""
        condition = f"{self.given}{self.names(given)}" if given else ""
        return f"{head}({self.names(names)}{condition})"

    def under(self, operator: str, below: str) -> str:
        """An operator with something under it: `E_{q(z|x)}`."""
        return rf"{operator}_{{{below}}}"

    def index(self, name: str, index: str) -> str:
        """A name with an index: `xₜ`, or `p_noise` where Unicode has no small form of it."""
        if self.tex:
            return self.under(f"{{{name}}}" if "_{" in name else name, index)
        return name + _INDICES.get(index, f"_{index}")

    def __getitem__(self, symbol: str) -> str:
        """A symbol of the table."""
        return _SYMBOLS[symbol][self.tex]

    def choose(self, unicode: str, tex: str) -> str:
        """The form of this notation."""
        return tex if self.tex else unicode


_UNICODE = _Notation("|", " − ", " · ", "log ", " ‖ ", ("‖", "‖"), tex=False)
_LATEX = _Notation(r" \mid ", " - ", r" \, ", r"\log ", r" \,\|\, ", (r"\left\| ", r" \right\|"), tex=True)


def text(term: Term) -> str:
    """A term in Unicode: `E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))`."""
    return _print(term, _UNICODE)


def latex(term: Term) -> str:
    """A term in LaTeX, for math mode."""
    return _print(term, _LATEX)


def _print(term: Term, n: _Notation) -> str:
    match term:
        case Sum(terms=terms):
            return _sum(terms, n)
        case Scale():
            return _scale(term, n)
        case LogDensity() | KL() | LogPrior() | LogPosterior() | LogNormalizer() | Supervision():
            return _density(term, n)
        case Expectation(draws=draws, body=body):
            return n.under(n["E"], _draws(draws, n)) + _bracket(_print(body, n), n)
        case LogMeanExp() | LogSum() | LogIntegral() | FreeEnergy():
            return _marginal(term, n)
        case ContrastiveGradient() | ScoreMatching() | NoiseContrast() | DenoisingTerm() | VelocityRegression():
            return _surrogate(term, n)
        case Conjugate() | DensityRatio() | Penalty():
            return _critic(term, n)
        case Squared(term=inner):
            return n["E"] + _bracket(f"({_print(inner, n)}){n['square']}", n)
        case _:
            assert_never(term)


# Nodes that print as a sum.
_COMPOSITE = (Sum, Conjugate, ContrastiveGradient)


def _bracket(inside: str, n: _Notation) -> str:
    return n.choose(f"[{inside}]", rf"\left[ {inside} \right]")


def _sum(terms: tuple[Term, ...], n: _Notation) -> str:
    parts: list[str] = []
    for term in terms:
        negative = isinstance(term, Scale) and isinstance(term.factor, (int, float)) and term.factor < 0
        shown = _print(Scale(-term.factor, term.term), n) if negative else _print(term, n)  # type: ignore[union-attr,operator]
        wrapped = f"({shown})" if negative and isinstance(term.term, _COMPOSITE) else shown  # type: ignore[union-attr]
        parts.append(
            f"{n.minus}{wrapped}"
            if negative and parts
            else f"−{wrapped}"
            if negative
            else f"{' + ' if parts else ''}{wrapped}"
        )
    return "".join(parts).replace("−", "-") if n.tex else "".join(parts)


def _scale(term: Scale, n: _Notation) -> str:
    inside = _print(term.term, n)
    factor = term.factor
    if factor == 1:
        return inside
    body = _bracket(inside, n) if isinstance(term.term, _COMPOSITE) else inside
    if factor == -1:
        return f"{n['minus']}{body}"
    return f"{_factor(factor, n)}{n.times}{body}"


def _factor(factor: float | Expression, n: _Notation) -> str:
    if isinstance(factor, (int, float)):
        return f"{factor:g}".replace("-", n.choose("−", "-"))
    return n.choose(written(factor), rf"\mathtt{{{written(factor)}}}".replace("_", r"\_"))


def _head(density: LogDensity, n: _Notation) -> str:
    letter = "q" if density.section == "guide" else "p"
    match density.rule:
        case "unnormalized":
            return n["tilde"]
        case _:
            return letter


def _conditional(density: LogDensity, n: _Notation) -> str:
    names = density.names or (density.site,)
    if density.at is not None:
        return f"{n.index('p', n.name(density.site))}({n.name(density.at)})"
    return n.conditional(_head(density, n), names, density.given)


def _density(term: LogDensity | KL | LogPrior | LogPosterior | LogNormalizer | Supervision, n: _Notation) -> str:
    share = n["share"]
    match term:
        case LogDensity(rule="diffusion_bound"):
            return n.conditional(n["vlb"], (term.site,), term.given)
        case LogDensity():
            return f"{n.log}{_conditional(term, n)}"
        case KL(posterior=posterior, prior=prior):
            sides = f"{_conditional(posterior, n)}{n.parallel}{_conditional(prior, n)}"
            return f"{n['kl']}({sides})"
        case LogPrior(names=names):
            return f"{share}{n.log}{n.conditional('p', names, ())}"
        case LogPosterior(names=names):
            return f"{share}{n.log}{n.conditional('q', names, ())}"
        case LogNormalizer(site=site):
            return f"{n.log}{n.choose(f'Z_{site}', rf'Z_{{{n.name(site)}}}')}"
        case Supervision(site=site, given=given):
            return f"{n.log}{n.conditional('q', (site,), given)}"


def _draws(draws: tuple[Draw, ...], n: _Notation) -> str:
    """What an expectation is taken over: `q(z1|x) q(z2|z1)`; parameters share one q."""
    unconditional = [draw for draw in draws if not draw.given and draw.source == "guide"]
    if len(unconditional) == len(draws) > 1:
        return n.conditional("q", [draw.name for draw in draws], ())
    return " ".join(_draw(draw, n) for draw in draws)


def _draw(draw: Draw, n: _Notation) -> str:
    letter = {"guide": "q", "model": "p", "data": n["data"], "sampler": "p"}.get(draw.source, "p")
    return n.conditional(letter, (draw.name,), draw.given)


def _marginal(term: LogMeanExp | LogSum | LogIntegral | FreeEnergy, n: _Notation) -> str:
    exp = n["exp"]
    match term:
        case LogMeanExp(count=count, body=body):
            mean = n.choose(f"(1/{count}) ∑ₖ ", rf"\tfrac{{1}}{{{count}}} \textstyle\sum_{{k}} ")
            return f"{n.log}{mean}{exp}{_bracket(_print(body, n), n)}"
        case LogSum(names=names, body=body):
            total = n.under(n["sum"], n.names(names))
            return f"{n.log}{total} {exp}{_bracket(_print(body, n), n)}"
        case LogIntegral(names=names, body=body):
            differential = " ".join(f"d{n.name(name)}" for name in names)
            return f"{n.log}{n['int']} {exp}{_bracket(_print(body, n), n)} {differential}"
        case FreeEnergy(names=names, visible=visible, site=_):
            return f"{n.log}{n.under(n['sum'], n.names(names))} {exp}({n['minus']}E({n.names((*visible, *names))}))"


def _denoising(term: ScoreMatching, n: _Notation) -> str:
    """Denoising score matching at one noise, or at several with their weights."""
    ladder, epsilon, (left, right) = term.ladder or NoiseLadder(), n["epsilon"], n.bars
    several = ladder.levels > 1
    noise = n.index(n["sigma"], "k") if several else _factor(term.sigma if term.sigma is not None else 0.0, n)
    given = "" if ladder.level is None else f"; {n.name(ladder.level)} = {noise}"
    weight = f"{noise}^{{{ladder.power:g}}} " if n.tex else f"{noise}^{ladder.power:g} "
    expectation = n.under(n["E"], "k") if several else n["E"]
    square = f"{left}{n['grad']}{n.log}p({n.name(term.site)} + {noise}{epsilon}{given})"
    square += f" + {epsilon}/{noise}{right}{n['square']}"
    return f"{n['half']}{expectation}{weight if ladder.power else ''}{square}"


def _surrogate(
    term: ContrastiveGradient | ScoreMatching | NoiseContrast | DenoisingTerm | VelocityRegression, n: _Notation
) -> str:
    grad, half = n["grad"], n["half"]
    expectation, left, right = n["E"], *n.bars
    square = n["square"]
    match term:
        case ContrastiveGradient(positive=positive, negative=negative, site=site, hidden=hidden):
            slope = n.choose("∇_θ ", r"\nabla_\theta ")
            energy = f"{slope}{'F' if hidden else 'E'}({n.name(site)})"
            ups, downs = (n.under(expectation, _draw(side, n)) for side in (positive, negative))
            return f"{ups}{_bracket(energy, n)}{n.minus}{downs}{_bracket(energy, n)}"
        case ScoreMatching(kind="denoising"):
            return _denoising(term, n)
        case ScoreMatching(kind="explicit", site=site, density=str() as known):
            scores = (f"{grad}{n.log}{density}({n.name(site)})" for density in ("p", n.index("p", n.name(known))))
            return f"{half}{expectation}{left}{n.minus.join(scores)}{right}{square}"
        case ScoreMatching(kind="sliced", site=site):
            score = f"{grad}{n.log}p({n.name(site)})"
            top = n["transposed"]
            return f"{expectation}{_bracket(f'v{top}{grad}(v{top}{score}) + {half}(v{top}{score}){square}', n)}"
        case ScoreMatching(site=site):
            score = f"{grad}{n.log}p({n.name(site)})"
            trace = n["trace"]
            return f"{expectation}{_bracket(f'{trace}{grad}{score} + {half}{left}{score}{right}{square}', n)}"
        case NoiseContrast(site=site, noise=noise, ranking=True):
            ratios = (f"p({n.name(at)})/{n.index('p', n.name(noise))}({n.name(at)})" for at in (site, noise))
            data, fake = ratios
            share = f"{data} / ({data} + {n.under(n['sum'], n.name(noise))} {fake})"
            return f"{n['minus']}{n.under(expectation, n['data'])}{_bracket(f'{n.log}({share})', n)}"
        case NoiseContrast(site=site, noise=noise):
            ratio = f"{n.log}p({n.name(site)}){n.minus}{n.log}{n.index('p', n.name(noise))}({n.name(site)})"
            minus, score = n["minus"], f"{n.log}{n['sigma']}"
            data = n.under(expectation, n["data"]) + _bracket(f"{score}({ratio})", n)
            fake = n.under(expectation, n.name(noise)) + _bracket(f"{score}({minus}({ratio}))", n)
            return f"{minus}{data}{n.minus}{fake}"
        case DenoisingTerm(site=site, weighting=weighting):
            kind = weighting.replace("_", r"\_")
            weight = n.choose(f"w_{weighting}(t) ", rf"w_{{\mathrm{{{kind}}}}}(t) ")
            below = n["time,noise"]
            predicted = f"{n.name('net')}({n.index(n.name(site), 't')}, t)"
            inside = f"{weight}{left}{n.name('target')}{n.minus}{predicted}{right}{square}"
            return f"{n.under(expectation, below)}{_bracket(inside, n)}"
        case VelocityRegression(site=site, path=path):
            name = n.name(site)
            straight = f"({n.index(name, '1')}{n.minus}{n.index(name, '0')})"
            change = n.choose("∂", "\\partial ")
            target = straight if path == "linear" else f"{n.index(change, 't')} {n.index(name, 't')}"
            velocity = f"{n.name('field')}({n.index(name, 't')}, t){n.minus}{target}"
            return f"{n.under(expectation, n['endpoints'])}{left}{velocity}{right}{square}"


def _critic(term: Conjugate | DensityRatio | Penalty, n: _Notation) -> str:
    match term:
        case Penalty(critic=critic, penalty=penalty):
            return f"{written(penalty)} on T{_number(critic, n)}" if not n.tex else rf"\mathtt{{{written(penalty)}}}(T)"
        case DensityRatio(critic=critic, reads=reads):
            return f"{n.log}r{_number(critic, n)}({n.names(reads)})"
        case Conjugate():
            return _dual(term, n)


def _number(critic: int, n: _Notation) -> str:
    """A critic's index; none for the first."""
    return "" if critic == 0 else n.index("", str(critic))


_SIDES = {
    "data": ("p_data", r"p_{\mathrm{data}}"), "model": ("p", "p"), "guide": ("q", "q"), "prior": ("p", "p"),
    "inverted": ("p_data q", r"p_{\mathrm{data}} \, q"),
}  # fmt: skip


# Divergence -> the halves of its dual, then what a non-saturating generator exchanges them for, where those are not T
# and f*(T): (Unicode, LaTeX) of `{}` = T.
_T = ("{}", "{}")
_CONJUGATE = ("f*({})", "f^*({})")
_HALVES: dict[str, tuple[tuple[str, str], ...]] = {
    "wasserstein": (_T, _T, _T, _T),
    "least_squares": ((("1 − 2 ({} − 1)²", "1 - 2 ({} - 1)^2"), ("2 {}²", "2 {}^2")) * 2),
    "hinge": (("min({}, 1)", r"\min({}, 1)"), ("max({}, −1)", r"\max({}, -1)"), _T, _T),
}


def _dual(term: Conjugate, n: _Notation) -> str:
    """E_positive[.] - E_negative[.]; for the model, only what it moves."""
    critic = f"T{_number(term.critic, n)}({n.names(term.reads)})"
    halves = _HALVES.get(term.divergence, (_T, _CONJUGATE, _T, _CONJUGATE))
    positive = "inverted" if term.joint and term.positive == "data" else term.positive
    sides = [n.under(n["E"], n.choose(*_SIDES[side])) for side in (positive, term.negative)]
    first, second, raised, lowered = (_bracket(n.choose(*half).format(critic), n) for half in halves)
    if term.player == "model" and term.variant == "non_saturating":
        first, second = lowered, raised
    if term.player == "model" and not term.joint:
        return f"{n['minus']}{sides[1]}{second}"
    return f"{sides[0]}{first}{n.minus}{sides[1]}{second}"
