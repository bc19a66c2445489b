"""Pictures of samples: an image grid, a scatter beside the data, or histograms, by the shape of one datum."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

_INK, _DATA = "#1f5a8a", "#9aa5b1"
_MOST_PANELS = 12
_MOST_IMAGES = 64
# An image of fewer pixels is enlarged, so that lines between images are thin beside it.
_PIXELS = 64


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape in which one datum is an image, [H, W], [H, W, C] or [C, H, W]; None where it is none."""
    if len(shape) == 2 and min(shape) >= 4:
        return shape
    if len(shape) == 3 and (shape[-1] in (1, 3) or shape[0] in (1, 3)) and sorted(shape)[1] >= 4:
        return shape
    return None


def draw_samples(
    path: Path, samples: Array, *, data: Array | None = None, shape: tuple[int, ...] | None = None, title: str = ""
) -> None:
    """Draw samples of one observed variable.

    Args:
        path: .png, .svg or .pdf.
        samples: `[n, *event]`.
        data: rows of the data to compare with, `[m, *event]`.
        shape: the event's shape before it was flattened, for images.
        title: printed above.
    """
    from matplotlib.figure import Figure

    event = image_shape(shape if shape is not None else samples.shape[1:])
    if event is not None and math.prod(event) == math.prod(samples.shape[1:]):
        figure = _image_grid(Figure, samples[:_MOST_IMAGES].reshape(-1, *event))
    elif samples.ndim == 2 and samples.shape[1] == 2:
        figure = _scatter(Figure, samples, data)
    elif samples.ndim == 2 and samples.shape[1] > _MOST_PANELS:
        figure = _series(Figure, samples, data)
    else:
        figure = _histograms(
            Figure, samples.reshape(len(samples), -1), None if data is None else data.reshape(len(data), -1)
        )
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=150)


def _image_grid(Figure: Any, images: Array) -> Any:
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[-1] not in (1, 3):
        images = np.moveaxis(images, 1, -1)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(columns * 0.72, rows * 0.72 + 0.4), layout="constrained")
    axis = figure.subplots()
    axis.imshow(
        _tiled(images.astype(np.float64), rows, columns), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest"
    )
    axis.set_axis_off()
    return figure


def _tiled(images: Array, rows: int, columns: int) -> Array:
    """Images side by side in one, scaled to [0, 1], with thin lines between them: axes of their own cost seconds."""
    low, high = images.min(), images.max()
    # Colours are shown as they are, single numbers with 0 as white.
    line, empty = (0.65, 1.0) if images.ndim == 4 else (0.35, 0.0)
    zoom = max(1, _PIXELS // max(images.shape[1:3]))
    scaled = ((images - low) / (high - low if high > low else 1.0)).repeat(zoom, 1).repeat(zoom, 2)
    framed = np.pad(scaled, [(0, 0), (0, 1), (0, 1), (0, 0)][: images.ndim], constant_values=line)
    missing = np.full((rows * columns - len(images), *framed.shape[1:]), empty)
    height, width, *channels = framed.shape[1:]
    grid = np.concatenate([framed, missing]).reshape(rows, columns, height, width, *channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, *channels)


def _scatter(Figure: Any, samples: Array, data: Array | None) -> Any:
    shown = [("model", samples, _INK)] + ([("data", data, _DATA)] if data is not None else [])
    figure = Figure(figsize=(4.2 * len(shown), 4.4), layout="compressed")
    axes = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    reference = samples if data is None else np.concatenate([data, np.clip(samples, *_range(data))])
    low, high = reference.min(axis=0), reference.max(axis=0)
    margin = 0.08 * (high - low) + 1e-9
    for axis, (name, points, colour) in zip(axes, shown, strict=True):
        axis.scatter(points[:2000, 0], points[:2000, 1], s=4, alpha=0.6, linewidths=0, color=colour)
        axis.set(
            title=name, xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1])
        )
        axis.set_aspect("equal", adjustable="box")
    return figure


def _range(data: Array) -> tuple[Array, Array]:
    """Limits that keep single far samples from shrinking the picture."""
    low, high = data.min(axis=0), data.max(axis=0)
    return low - 0.5 * (high - low), high + 0.5 * (high - low)


def _series(Figure: Any, samples: Array, data: Array | None) -> Any:
    shown = [("model", samples, _INK)] + ([("data", data, _DATA)] if data is not None else [])
    figure = Figure(figsize=(7.0, 2.6 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axis, (name, lines, colour) in zip(axes, shown, strict=True):
        axis.plot(lines[:16].T, color=colour, alpha=0.5, linewidth=0.9)
        axis.set(title=name, xlim=(0, samples.shape[1] - 1))
    return figure


def _histograms(Figure: Any, samples: Array, data: Array | None) -> Any:
    count = min(samples.shape[1], _MOST_PANELS)
    columns = min(count, 4)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(3.4 * columns, 2.6 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[count:]:
        axis.axis("off")
    for number in range(count):
        bins = _bins(samples[:, number], None if data is None else data[:, number])
        if data is not None:
            axes[number].hist(data[:, number], bins=bins, density=True, color=_DATA, alpha=0.7, label="data")
        axes[number].hist(
            samples[:, number], bins=bins, density=True, histtype="step", linewidth=1.6, color=_INK, label="model"
        )
        axes[number].set(yticks=[], xlabel=f"[{number}]" if samples.shape[1] > 1 else "")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _bins(samples: Array, data: Array | None) -> Array:
    """Edges: one bin a value of whole numbers, else 2 n^(1/3) for n rows of data, from 8 to 40."""
    reference = samples if data is None else np.concatenate([data, np.clip(samples, *_range(data))])
    finite = reference[np.isfinite(reference)].astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    whole = bool((finite == np.floor(finite)).all())
    if whole and high - low <= 60:
        return np.arange(low - 0.5, high + 1.0)
    number = min(40, max(8, math.ceil(2 * len(samples if data is None else data) ** (1 / 3))))
    return np.linspace(low, high + 1e-9, number + 1)
