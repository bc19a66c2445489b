"""Transformers: encoders of sequences, and causal decoders over the elements of an event."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.ir.networks.causal import ORDER, causal_signature, check_causal
from dgmppl.ir.networks.core import OUT, Misfit, Network, NetworkKind, Option, linear
from dgmppl.ir.networks.embedding import norm, normal, shifted
from dgmppl.ir.networks.recurrent import check_sequence, sequence_signature
from dgmppl.ir.parameters import ParameterSpec


def attention_layers(prefix: str, group: str, width: int) -> tuple[ParameterSpec, ...]:
    """The four linear layers of attention; keys have no bias."""
    layers = (("query", True), ("key", False), ("value", True), ("output", True))
    return tuple(part for name, bias in layers for part in linear(f"{prefix}.{name}", group, width, width, bias=bias))


def _block(prefix: str, group: str, width: int) -> tuple[ParameterSpec, ...]:
    return (
        *norm(f"{prefix}.norm1", group, width),
        *attention_layers(f"{prefix}.attention", group, width),
        *norm(f"{prefix}.norm2", group, width),
        *linear(f"{prefix}.first", group, width, 4 * width),
        *linear(f"{prefix}.second", group, 4 * width, width),
    )


def _stack(network: Network, length: int) -> tuple[ParameterSpec, ...]:
    """Positions, blocks and the norm behind them."""
    prefix, group, width = f"{network.name}.body", network.name, network.size("width")
    blocks = (
        part for number in range(network.size("layers")) for part in _block(f"{prefix}.blocks.{number}", group, width)
    )
    return (normal(f"{prefix}.positions", group, (length, width)), *blocks, *norm(f"{prefix}.norm", group, width))


def _encoder(network: Network) -> tuple[ParameterSpec, ...]:
    length, inputs, outputs = sequence_signature(network)
    width = network.size("width")
    return (
        *linear(f"{network.name}.body.embed", network.name, inputs, width),
        *_stack(network, length),
        *linear(f"{network.name}.last", network.name, width, outputs),
    )


def _decoder(network: Network) -> tuple[ParameterSpec, ...]:
    net, width = causal_signature(network), network.size("width")
    return (
        *shifted(network, f"{network.name}.body.inputs", width),
        *_stack(network, net.elements),
        *linear(f"{network.name}.last", network.name, width, net.outputs),
    )


def _check_heads(network: Network) -> Iterator[Misfit]:
    width, heads = network.size("width"), network.size("heads")
    if width % heads:
        yield shared_by_heads(network.name, width, heads, f"write `width={(width // heads + 1) * heads}`")


def shared_by_heads(name: str, width: int, heads: int, fix: str) -> Misfit:
    """That a width is no multiple of the number of attention heads."""
    message = f"the width {width} of {name!r} cannot be shared by {heads} attention heads"
    return Misfit(message, f"a multiple of {heads}", str(width), fix)


def _check_encoder(network: Network) -> Iterator[Misfit]:
    yield from _check_heads(network)
    yield from check_sequence(network)


def _check_decoder(network: Network) -> Iterator[Misfit]:
    yield from _check_heads(network)
    yield from check_causal(network)


_SIZES = (Option("layers", 4, "blocks"), Option("heads", 4, "attention heads"), Option("width", 128, "model width"))

KINDS = (
    NetworkKind(
        "transformer", (*_SIZES, OUT), _encoder, sequence=True, check=_check_encoder,
        doc="pre-norm transformer over the leading axis (Vaswani et al. 2017)",
    ),
    NetworkKind(
        "causal_transformer", (*_SIZES, ORDER), _decoder, causal=True, check=_check_decoder,
        doc="pre-norm transformer with a causal mask",
    ),
)  # fmt: skip
