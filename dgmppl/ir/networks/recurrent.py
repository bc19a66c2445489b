"""Gated recurrent units: over a sequence, or causally over the elements of an event."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.ir.networks.causal import ORDER, causal_signature, check_causal
from dgmppl.ir.networks.core import OUT, REQUIRED, Misfit, Network, NetworkKind, Option, linear, uniform
from dgmppl.ir.networks.embedding import shifted
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.types import Shape


def sequence_signature(network: Network) -> tuple[int, int, int]:
    """Length of a sequence, and how many numbers enter and leave at each place."""
    length = network.inputs[0].shape[0]
    return length, network.in_features // length, network.out_features // length


def check_sequence(network: Network) -> Iterator[Misfit]:
    """Every input and every output is a sequence, and all are equally long."""
    shapes: list[Shape] = [part.shape for part in network.inputs]
    length = shapes[0][0] if shapes and shapes[0] else None
    for shape in shapes:
        if length is None or shape[:1] != (length,):
            yield Misfit(
                f"{network.name!r} maps sequences, and one of its inputs is none of that length",
                "a leading axis of steps" if length is None else f"[{length}, ..]", str(list(shape)),
                "index a longer series, or repeat what is the same at all steps: `ones(T, 1) * c`",
                code="network-input",
            )  # fmt: skip
            return
    for head in network.heads:
        if head.shape[:1] != (length,):
            yield Misfit(
                f"{network.name!r} maps sequences to sequences of the same length",
                f"[{length}, ..]", str(list(head.shape)), "reduce over the steps, `mean(net(x), axis=0)`, or index one",
                code="network-input",
            )  # fmt: skip
            return


def _recurrence(prefix: str, group: str, inputs: int, width: int) -> tuple[ParameterSpec, ...]:
    return (
        uniform(f"{prefix}.weight_ih", group, (3 * width, inputs), width),
        uniform(f"{prefix}.weight_hh", group, (3 * width, width), width),
        uniform(f"{prefix}.bias_ih", group, (3 * width,), width),
        uniform(f"{prefix}.bias_hh", group, (3 * width,), width),
    )


def _gru(network: Network) -> tuple[ParameterSpec, ...]:
    name, width = network.name, network.size("width")
    prefix = f"{name}.body"
    if network.causal:
        elements = shifted(network, f"{prefix}.inputs", width)
        inputs, outputs = width, causal_signature(network).outputs
    else:
        elements = ()
        _, inputs, outputs = sequence_signature(network)
    recurrence = _recurrence(f"{prefix}.recurrence", name, inputs, width)
    return (*elements, *recurrence, *linear(f"{name}.last", name, width, outputs))


def _check(network: Network) -> Iterator[Misfit]:
    if not network.causal:
        yield from check_sequence(network)
        if network.options.get("order") != "raster":
            yield Misfit(
                f"{network.name!r} runs over a sequence, whose order is that of its steps", "direction=backward",
                f"order={network.options['order']}", "write `direction=` for the way in which it runs",
                code="network-order",
            )  # fmt: skip
    elif network.options.get("direction") == "backward":
        yield Misfit(
            f"{network.name!r} stands in a factorization, where it runs in the order of the elements", "order=reverse",
            "direction=backward", "write `order=reverse`", code="network-order",
        )  # fmt: skip
    else:
        yield from check_causal(network)


KINDS = (
    NetworkKind(
        "gru",
        (Option("width", REQUIRED, "state width"), Option("direction", "forward", "forward or backward"), OUT, ORDER),
        _gru, causal=True, sequence=True, check=_check,
        doc="gated recurrent unit over the leading axis (Cho et al. 2014)",
    ),
)  # fmt: skip
