"""The computation graph of a program as data: panels (model, guide, critics) of nodes, edges and plates.

`drawing` turns panels into pictures; `dot` and `mermaid` here turn them into text for other tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from dgmppl.errors import ArgumentError, RunError
from dgmppl.ir.analyses import expression_groups, expressions
from dgmppl.ir.densities import (
    Density,
    Deterministic,
    DiffusionChain,
    Elementary,
    Factorized,
    MarkovChain,
    Pushforward,
    Restricted,
    Unnormalized,
)
from dgmppl.ir.expressions import Apply, Call, Expression, free_names, walk
from dgmppl.ir.program import Program, Role, Site

# Node kinds, and how the text formats draw them: (DOT attributes, Mermaid brackets).
SHAPES: dict[str, tuple[str, tuple[str, str]]] = {
    "observed": ('shape=ellipse, style=filled, fillcolor="#c9d3df"', ("((", "))")),
    "latent": ("shape=ellipse", ("((", "))")),
    "parameter": ("shape=ellipse", ("((", "))")),
    "learned": ("shape=box, style=rounded", ("[", "]")),
    "covariate": ('shape=box, style=filled, fillcolor="#c9d3df"', ("[", "]")),
    "deterministic": ("shape=ellipse, style=dashed", ("([", "])")),
    "critic": ("shape=hexagon", ("{{", "}}")),
}


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A quantity.

    Attributes:
        name: the site.
        kind: a key of `SHAPES`.
        label: its name with its index, and below it how it is distributed.
        plate: the batch axis that it varies over, or None.
    """

    name: str
    kind: str
    label: str
    plate: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: the model, the guide, or the critics.

    Attributes:
        title: what it shows.
        nodes: in generative order.
        edges: (from, to, label), the label naming the network or bijector that the edge passes through.
        plates: name -> what stands in the plate's corner.
    """

    title: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[tuple[str, str, str], ...]
    plates: dict[str, str]

    @property
    def digraph(self) -> nx.DiGraph[str]:
        """The panel as a graph."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(node.name for node in self.nodes)
        graph.add_edges_from((source, target) for source, target, _ in self.edges if source != target)
        return graph


def panels(program: Program) -> tuple[Panel, ...]:
    """The model's panel, and the guide's and the critics' where there are any."""
    shown = [_panel(program, "model p", program.sites)]
    if program.guide:
        shown.append(_panel(program, "guide q", program.guide))
    if program.critics:
        shown.append(_critics(program))
    return tuple(shown)


def _panel(program: Program, title: str, sites: Iterable[Site]) -> Panel:
    own = {site.name: site for site in sites}
    used = {parent for site in own.values() for parent in site.parents}
    outside = [site for name, site in program.by_name.items() if name in used and name not in own]
    idle = {site.name for site in own.values() if site.role is Role.COVARIATE and site.name not in used}
    listed = [*outside, *(site for site in own.values() if site.name not in idle)]
    nodes = tuple(_node(site, known=site.name not in own) for site in listed)
    names = {node.name for node in nodes}
    edges = tuple(
        (parent, site.name, _through(program, site, parent))
        for site in own.values() for parent in dict.fromkeys(site.parents) if parent in names and parent != site.name
    )  # fmt: skip
    loops = tuple((site.name, site.name, "") for site in own.values() if site.name in names and _own_past(site))
    return Panel(title, nodes, (*edges, *loops), _plates(program, nodes))


def _critics(program: Program) -> Panel:
    nodes: dict[str, GraphNode] = {}
    edges = []
    for number, critic in enumerate(program.critics):
        name = f"critic {number + 1}" if len(program.critics) > 1 else "critic"
        for read in [*critic.reads, *sorted(free_names(critic.expression) & set(program.by_name) - set(critic.reads))]:
            nodes[read] = _node(program.by_name[read], known=read not in critic.reads)
            edges.append((read, name, ""))
        nodes[name] = GraphNode(name, "critic", f"{name}\nreal or model?", "data")
    listed = tuple(nodes.values())
    return Panel("critics", listed, tuple(edges), _plates(program, listed))


def _node(site: Site, *, known: bool) -> GraphNode:
    """A site's node; one that a guide conditions on is drawn as known."""
    kind = "latent" if site.role is Role.GUIDE else site.role.value
    if known and kind in {"latent", "parameter"}:
        kind = "covariate"
    body = "" if known or site.role in (Role.COVARIATE, Role.LEARNED) else _density_label(site.density)
    shape = f" [{', '.join(map(str, site.type.shape))}]" if site.type is not None and site.type.shape else ""
    plate = site.type.plate if site.type is not None else None
    return GraphNode(site.name, kind, f"{site.name}{shape}" + (f"\n{body}" if body else ""), plate)


def _density_label(density: Density | None) -> str:
    match density:
        case None | Deterministic():
            return ""
        case Elementary(family=family):
            return family
        case Pushforward(bijector=bijector):
            return f"{bijector}(·)"
        case Unnormalized():
            return "Energy"
        case MarkovChain(transition=transition):
            return _density_label(transition)
        case Factorized(conditional=conditional):
            return _density_label(conditional)
        case Restricted(base=base, kind=kind):
            return f"{kind} {_density_label(base)}"
    return type(density).__name__.removesuffix("Of").removesuffix("Chain").removesuffix("Density")


def _own_past(site: Site) -> bool:
    """Whether a site's elements depend on earlier ones of its own."""
    match site.density:
        case MarkovChain(lag=lag):
            return lag > 0
        case Factorized():
            return True
    return False


def _through(program: Program, site: Site, parent: str) -> str:
    """The networks and bijectors that a parent passes through on its way into a site's density."""
    read = {name for expression in expressions(site.density) for name in _reading(program, expression, parent)}
    match site.density:
        case Pushforward(bijector=name) | DiffusionChain(denoiser=name):
            read.add(name)
    return ", ".join(name for name in [*program.networks, *program.bijectors] if name in read)


def _reading(program: Program, expression: Expression, name: str) -> Iterator[str]:
    """The networks in an expression that read a name; through local functions, those in their bodies."""
    for node in walk(expression):
        match node:
            case Apply(network=network, inputs=inputs) if any(name in free_names(one) for one in inputs):
                yield network
            case Call(function=function) if function in program.functions and name in free_names(node):
                yield from expression_groups(program, program.functions[function][1])


def _plates(program: Program, nodes: Iterable[GraphNode]) -> dict[str, str]:
    present = dict.fromkeys(node.plate for node in nodes if node.plate is not None)
    sizes = {name: len(labels) for name, labels in program.levels.items()}
    corner = {"data": f"N = {program.rows}" if program.rows else "N rows"}
    return {name: corner.get(name, f"{name}: {sizes.get(name, '?')}") for name in present}


def dot(shown: Iterable[Panel]) -> str:
    """The panels in Graphviz's DOT."""
    lines = ["digraph model {", "  rankdir=TB;", '  node [fontname="Helvetica"];']
    for number, panel in enumerate(shown):
        lines += [f"  subgraph cluster_{number} {{", f'    label="{panel.title}"; color=none;']
        inside: dict[str | None, list[GraphNode]] = {}
        for node in panel.nodes:
            inside.setdefault(node.plate, []).append(node)
        for plate, nodes in inside.items():
            drawn = [
                f'"{number}.{node.name}" [label="{_escaped(node.label)}", {SHAPES[node.kind][0]}];' for node in nodes
            ]
            if plate is None:
                lines += [f"    {text}" for text in drawn]
            else:
                lines += [
                    f'    subgraph "cluster_{number}_{plate}" {{',
                    f'      label="{panel.plates[plate]}"; labeljust=r; labelloc=b; color=gray;',
                ]
                lines += [f"      {text}" for text in drawn] + ["    }"]
        lines += [
            f'    "{number}.{source}" -> "{number}.{target}"' + (f' [label="{label}"];' if label else ";")
            for source, target, label in panel.edges
        ]  # fmt: skip
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def mermaid(shown: Iterable[Panel]) -> str:
    """The panels as a Mermaid flowchart."""
    lines = ["flowchart TB"]
    for number, panel in enumerate(shown):
        numbered = {node.name: f"n{number}_{place}" for place, node in enumerate(panel.nodes)}
        lines.append(f'  subgraph p{number}["{panel.title}"]')
        for plate in dict.fromkeys(node.plate for node in panel.nodes):
            indent = "    " if plate is None else "      "
            if plate is not None:
                lines.append(f'    subgraph p{number}_{list(panel.plates).index(plate)}["{panel.plates[plate]}"]')
            for node in panel.nodes:
                if node.plate == plate:
                    before, after = SHAPES[node.kind][1]
                    label = _escaped(node.label).replace("\\n", "<br>")
                    lines.append(f'{indent}{numbered[node.name]}{before}"{label}"{after}')
            if plate is not None:
                lines.append("    end")
        for source, target, label in panel.edges:
            arrow = f'-->|"{label}"|' if label else "-->"
            lines.append(f"    {numbered[source]} {arrow} {numbered[target]}")
        lines.append("  end")
        shaded = [numbered[node.name] for node in panel.nodes if node.kind in {"observed", "covariate"}]
        if shaded:
            lines.append(f"  style {','.join(shaded)} fill:#c9d3df")
    return "\n".join([*lines, ""])


def _escaped(label: str) -> str:
    return label.replace('"', "'").replace("\n", "\\n")


def write(program: Program, path: Path) -> None:
    """Write the graph; the ending of the name chooses the format: .svg .png .pdf .dot .mmd.

    Raises:
        RunError: for another ending, or where the file cannot be written.
    """
    shown, ending = panels(program), path.suffix.lower()
    try:
        if ending in {".dot", ".gv"}:
            path.write_text(dot(shown), encoding="utf-8")
        elif ending in {".mmd", ".mermaid"}:
            path.write_text(mermaid(shown), encoding="utf-8")
        elif ending in {".svg", ".png", ".pdf"}:
            from dgmppl.results.drawing import draw

            draw(shown, path, program.name)
        else:
            raise ArgumentError(f"{path.name}: a graph is written as .svg, .png, .pdf, .dot or .mmd")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error
