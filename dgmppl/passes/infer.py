"""Types: shape, support, element type and plate of every site, expression and network.

Shapes are solved first, over the whole program and in both directions (`solve`). Then sites are typed in generative
order: expressions upward, each checked against its place; networks get the signature of their uses.
"""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.densities import (
    Density,
    Deterministic,
    DiffusionChain,
    Implicit,
    MarkovChain,
    Pushforward,
    TrainedDensity,
    Unnormalized,
)
from dgmppl.ir.expressions import Expression
from dgmppl.ir.program import Critic, IndexKind, Program, Role, Site
from dgmppl.ir.types import REAL, Dtype, Shape, Support, TensorType
from dgmppl.passes.annotate import Annotator
from dgmppl.passes.bijections import check_sets
from dgmppl.passes.density_supports import density_support
from dgmppl.passes.observed import check_observed
from dgmppl.passes.problems import Problems
from dgmppl.passes.restrictions import check_restrictions
from dgmppl.passes.shapes import show
from dgmppl.passes.signatures import Signatures
from dgmppl.passes.slots import Slot, counted, visit_slots
from dgmppl.passes.solve import Solution, solve
from dgmppl.passes.supports import column_support
from dgmppl.passes.tolerances import check_times, check_tolerances


def infer(program: Program) -> Program:
    """The program with every type filled in.

    Raises:
        SpecError: with every diagnostic of this stage, in the order of their places.
    """
    return _Inference(program).run()


class _Inference:
    """One run over a program.

    Attributes:
        types: data, parameter and model sites typed so far.
        guide_types: guide sites typed so far.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.problems = Problems()
        self.solution: Solution = solve(program)
        self.signatures = Signatures(program.networks)
        self.types: dict[str, TensorType] = {}
        self.guide_types: dict[str, TensorType] = {}
        self.bijectors = dict(program.bijectors)
        self.typed_bijectors: dict[str, TensorType] = {}
        self.functions = dict(program.functions)

    def run(self) -> Program:
        self._before()
        sites = tuple(self._site(site, self.types) for site in self.program.sites)
        self.guide_types.update(self._guide_start())
        guide = tuple(self._site(site, self.guide_types) for site in self.program.guide)
        critics = tuple(self._critic(critic) for critic in self.program.critics)
        self.problems.raise_if_any()
        declared = self.program.networks.items()
        networks = {name: self.signatures.network(network, self.problems) for name, network in declared}
        check_tolerances(self.program, self.problems)
        check_times(self.program, self.problems)
        check_restrictions(self.program, (*sites, *guide), self.problems)
        self.problems.raise_if_any()
        return replace(
            self.program,
            sites=sites,
            guide=guide,
            critics=critics,
            networks=networks,
            bijectors=self.bijectors,
            functions=self.functions,
        )

    def _before(self) -> None:
        """First types for what is read before it is typed: chains, by their lags, and sites that name themselves."""
        for site in self.program.sites:
            early = isinstance(site.density, MarkovChain | Pushforward | Unnormalized) or site.role is Role.OBSERVED
            if early and site.density is not None:
                self.types[site.name] = self._preliminary(site, site.density)

    def _preliminary(self, site: Site, density: Density) -> TensorType:
        shape = self.solution.shapes.get(site.name, ())
        support = density_support(density, site, self.solution, self.types, computed=REAL)
        return TensorType(shape, _dtype(support), support, "data" if site.section == "model" else site.level)

    def _guide_start(self) -> dict[str, TensorType]:
        guided = {site.name for site in self.program.guide}
        return {name: found for name, found in self.types.items() if name not in guided or name in self.program.columns}

    # ---- one site -------------------------------------------------------------------------------------------------

    def _annotator(self, site: Site, types: dict[str, TensorType]) -> Annotator:
        level = site.level if site.index is IndexKind.LEVEL else None
        return Annotator(
            self.program,
            self.solution,
            self.signatures,
            self.problems,
            types,
            self.functions,
            section=site.section,
            level=level,
        )

    def _site(self, site: Site, types: dict[str, TensorType]) -> Site:
        if site.density is None:
            types[site.name] = self._covariate(site)
            return replace(site, type=types[site.name])
        if site.joint and site.name != site.joint[0]:
            types[site.name] = self._joint(site, site.density)
            return replace(site, density=self.joint_density, type=types[site.name])
        if site.joint:
            for name in site.joint:
                other = self.program.by_name.get(name, site)
                types[name] = self._joint(other, site.density)
        density, found = self._typed(site, site.density, types)
        types[site.name] = found
        self.joint_density = density
        typed = replace(site, density=density, type=found)
        if site.role is Role.OBSERVED:
            check_observed(typed, self.program.columns[site.name], self.problems)
        return typed

    joint_density: Density | None = None

    def _covariate(self, site: Site) -> TensorType:
        column = self.program.columns[site.name]
        plate = column.per if column.per is not None else "data"
        return TensorType(column.shape, column.dtype, column_support(column), plate)

    def _joint(self, site: Site, density: Density) -> TensorType:
        support = density_support(density, site, self.solution, self.types, computed=REAL)
        shape = self.solution.shapes.get(site.name)
        if shape is None:
            self._undetermined(site, density)
        return TensorType(shape or (), _dtype(support), support, "data")

    def _typed(self, site: Site, density: Density, types: dict[str, TensorType]) -> tuple[Density, TensorType]:
        shape = self.solution.shapes.get(site.name)
        if shape is None:
            self._undetermined(site, density)
        else:
            self._check_hint(site, density, shape)
        annotator = self._annotator(site, types)
        annotator.widths_reported = shape is None
        expected = self._expected_support(site)
        visited: list[Expression] = []

        def visit(expression: Expression, slot: Slot) -> Expression:
            if isinstance(density, MarkovChain) or expected is None or slot.name != "out":
                typed = annotator.slot(expression, slot)
            else:
                typed = annotator.slot(expression, replace(slot, support=expected))
            visited.append(typed)
            return typed

        if isinstance(density, MarkovChain):
            self._require_time(site, density, shape)
            self._assume(site, density, types)
        typed = visit_slots(density, self.solution.frame(site.name, density), visit)
        computed = _computed_support(typed)
        support = density_support(typed, site, self.solution, types, computed=computed)
        plate = self._plate(site, typed, visited)
        result = TensorType(shape or (), _computed_dtype(typed, support), support, plate)
        typed = self._modules(typed, site, result, visited)
        self._check_guide(site, result)
        return typed, result

    def _require_time(self, site: Site, density: MarkovChain, shape: Shape | None) -> None:
        """A chain has an axis over time; where it reads its own past, the lag is what is reported."""
        if shape == () and not density.lag:
            self.problems.add(
                "no-time-axis",
                f"{site.name!r} is one number per datum, and has no axis that `{density.index}` could count",
                site.span,
                expected="data with an axis over time",
                fix=f"write `{site.name}`, or mark the column `whole: true`",
            )

        last = max((position for position, _ in density.initial), default=0)
        if shape and last >= shape[0]:
            self.problems.add(
                "lag-too-long",
                f"`{site.name}[{last}]` lies beyond the end of {site.name!r}",
                site.span,
                expected=f"positions from 0 to {shape[0] - 1}",
                found=str(last),
                fix=f"drop the line of `{site.name}[{last}]`",
            )

    def _assume(self, site: Site, density: MarkovChain, types: dict[str, TensorType]) -> None:
        """Induction over a computed chain: what its start satisfies is assumed at t-1, and must follow at t."""
        shape = self.solution.shapes.get(site.name, ())
        support = density_support(density.transition, site, self.solution, types, computed=REAL)
        if isinstance(density.transition, Deterministic):
            support = self._start_support(site, density, types)
            types[site.name] = TensorType(shape, _dtype(support), support, "data")
            quiet = replace(
                self._annotator(site, types), problems=Problems(), signatures=Signatures(self.program.networks)
            )
            quiet.index = density.index
            step = quiet.typed(density.transition.expression, shape[1:])
            if not quiet.proof.lies_in(step, support):
                support = REAL
        types[site.name] = TensorType(shape, _dtype(support), support, "data")

    def _start_support(self, site: Site, density: MarkovChain, types: dict[str, TensorType]) -> Support:
        quiet = replace(self._annotator(site, types), problems=Problems(), signatures=Signatures(self.program.networks))
        for _, start in density.initial:
            if isinstance(start, Deterministic):
                typed = quiet.typed(start.expression, None)
                return REAL if typed.type is None else typed.type.support
            return density_support(start, site, self.solution, types, computed=REAL)
        return REAL

    def _expected_support(self, site: Site) -> Support | None:
        """An implicit guide site lies in its latent's support."""
        if site.section != "guide" or site.name not in self.types:
            return None
        return self.types[site.name].support

    def _plate(self, site: Site, density: Density, visited: list[Expression]) -> str | None:
        if site.section == "parameters":
            return site.level
        if site.section == "guide" and site.name in self.types:
            return self.types[site.name].plate
        if site.role is Role.LEARNED:
            target = self.types.get(site.name.split(".")[1])
            return None if target is None or target.plate == "data" else target.plate
        if site.role is not Role.DETERMINISTIC or isinstance(density, MarkovChain):
            return "data"
        return next(
            (part.type.plate for part in visited if part.type is not None and part.type.plate is not None), None
        )

    # ---- networks and bijectors -----------------------------------------------------------------------------------

    def _modules(self, density: Density, site: Site, found: TensorType, visited: list[Expression]) -> Density:
        context = tuple(part.type for part in visited if part.type is not None)
        match density:
            case Pushforward(bijector=name, base=base):
                self._equal_shapes(density, base, found, site)
                event = replace(found, support=REAL, dtype=Dtype.REAL)
                self._bijector(name, event, context, density)
                known = (self.guide_types if site.section == "guide" else self.types).get(base)
                support = None if known is None else known.support
                check_sets(self.bijectors[name], support, density.inverse, self.problems)
            case DiffusionChain(denoiser=name):
                self.signatures.field(name, found, context, density.span, self.problems)
        return counted(density)

    def _equal_shapes(self, density: Pushforward, base: str, found: TensorType, site: Site) -> None:
        shape = self.solution.shapes.get(base, found.shape)
        if shape != found.shape:
            self.problems.add(
                "shape-mismatch",
                f"the bijector {density.bijector!r} maps {base!r} to {site.name!r}, which has another shape",
                density.span,
                expected=show(found.shape),
                found=show(shape),
                fix=f"drop `shape=` of `{base}`: it is that of `{site.name}`",
            )

    def _check_hint(self, site: Site, density: Density, shape: Shape) -> None:
        """`shape=` against what data, the model or a bijector say."""
        if site.shape_hint is None or isinstance(density, MarkovChain | Unnormalized):
            return
        written = self.solution.lower.shape(density, site.shape_hint)
        if written is not None and written != shape:
            self.problems.add(
                "guide-shape" if site.section == "guide" else "shape-mismatch",
                f"{site.name!r} has another shape than its `shape=` says",
                site.span,
                expected=show(shape),
                found=show(written),
                fix="drop `shape=`, or make the two agree",
            )

    def _bijector(self, name: str, event: TensorType, context: tuple[TensorType, ...], density: Density) -> None:
        known = self.typed_bijectors.get(name)
        if known is not None and known.shape != event.shape:
            self.problems.add(
                "two-signatures",
                f"the bijector {name!r} is used with two shapes",
                density.span,
                expected=show(known.shape),
                found=show(event.shape),
                fix="declare a second bijector for this use",
            )
            return
        if known is None:
            self.typed_bijectors[name] = event
            self.bijectors[name] = self.signatures.bijector(self.bijectors[name], event, context, self.problems)

    # ---- checks ---------------------------------------------------------------------------------------------------

    def _check_guide(self, site: Site, found: TensorType) -> None:
        target = self.types.get(site.name) if site.section == "guide" else None
        if target is None or site.role is Role.LEARNED:
            return
        if found.shape != target.shape:
            self.problems.add(
                "guide-shape",
                f"the guide draws {site.name!r} with another shape than the model",
                site.span,
                expected=show(target.shape),
                found=show(found.shape),
                fix="drop `shape=`, or make the two agree",
            )
        elif not found.support.within(target.support):
            self.problems.add(
                "guide-support",
                f"the guide draws {site.name!r} outside of its support in the model",
                site.span,
                expected=str(target.support),
                found=str(found.support),
                fix=_guide_fix(target.support, site.name),
            )

    def _undetermined(self, site: Site, density: Density) -> None:
        if isinstance(density, TrainedDensity):
            self.problems.add(
                "missing-run",
                f"the shape of {site.name!r} is that of the run {density.run!r}, which is not there",
                site.span,
                expected="a finished run",
                fix=f"fit it first, with `--out {density.run}`, or write `shape=` here",
            )
            return
        what = (
            "how long the chain is"
            if isinstance(density, MarkovChain) and site.name in self.solution.elements
            else "its shape"
        )
        self.problems.add(
            "undetermined-width",
            f"nothing determines the shape of {site.name!r}: {what} is unknown",
            site.span,
            expected="`shape=` here, `out=` on a network, or a reader that fixes it",
            fix=f"add `{'out' if isinstance(density, Deterministic) else 'shape'}=16`, with the size that is meant",
        )

    def _critic(self, critic: Critic) -> Critic:
        types = {**self.guide_types, **self.types}
        annotator = Annotator(
            self.program, self.solution, self.signatures, self.problems, types, self.functions, section="critics"
        )
        return replace(critic, expression=annotator.slot(critic.expression, Slot("out", (), exact=True)))


def _guide_fix(support: Support, name: str) -> str:
    families = {
        "positive": "LogNormal",
        "unit": "Beta",
        "simplex": "Dirichlet",
        "real": "Normal",
        "binary": "Bernoulli",
        "integer": "Categorical",
    }
    family = families.get(support.kind)
    return f"draw it from `{family}(...)`" if family else f"draw {name!r} from a distribution on {support}"


def _dtype(support: Support) -> Dtype:
    return Dtype.INTEGER if support.discrete else Dtype.REAL


def _computed_support(density: Density) -> Support:
    """The support of a computed value, as its typed expression shows."""
    match density:
        case Deterministic(expression=expression) | Implicit(function=expression):
            return REAL if expression.type is None else expression.type.support
        case MarkovChain(transition=transition):
            return _computed_support(transition)
    return REAL


def _computed_dtype(density: Density, support: Support) -> Dtype:
    if isinstance(density, Deterministic) and density.expression.type is not None:
        return density.expression.type.dtype
    return _dtype(support)
