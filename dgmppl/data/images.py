"""A folder of images as arrays: in sorted order, all of one size and mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.contents import Arrays, FileError

Array: TypeAlias = npt.NDArray[Any]

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})

# Modes whose arrays are brightness as they stand; others are converted. Palettes and ink become red, green and blue.
_PLAIN = frozenset({"L", "LA", "RGB", "RGBA", "I;16", "I;16L", "I;16B"})
_CONVERTED = {"1": "L"}


def read_images(folder: Path) -> Arrays:
    """The images of a folder, `[N, height, width]` or `[N, height, width, channels]`, 0 to 255 (16-bit ones: 65535).

    Images in subfolders get the subfolder's name as their label: the keys are then `images` and `labels`.

    Raises:
        FileError: where there is none, one cannot be read, or one has another size or mode than the first.
    """
    direct = _images(folder)
    classes = sorted(item for item in folder.iterdir() if item.is_dir() and _images(item))
    if direct and classes:
        message = f"holds images beside a folder of images, {classes[0].name}"
        raise FileError("data-ragged", message, "put each image into the folder of its class")
    if direct:
        return Arrays({None: _stacked(direct)})
    if not classes:
        raise FileError("data-empty", f"holds no image ({' '.join(sorted(ENDINGS))})")
    labelled = [(path, one.name) for one in classes for path in _images(one)]
    labels = np.array([label for _, label in labelled], dtype=object)
    return Arrays({"images": _stacked([path for path, _ in labelled]), "labels": labels})


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.is_file())


def _stacked(paths: list[Path]) -> Array:
    first = _read(paths[0])
    stacked = np.empty((len(paths), *first.shape), dtype=first.dtype)
    for row, path in enumerate(paths):
        image = _read(path)
        if image.shape != first.shape or image.dtype != first.dtype:
            sizes = f"{paths[0].name} is {_size(first)}, {path.name} is {_size(image)}"
            message = f"holds images of different sizes: {sizes}"
            raise FileError("data-ragged", message, "resize them to one size and mode")
        stacked[row] = image
    return stacked


def _read(path: Path) -> Array:
    from PIL import Image

    try:
        with Image.open(path) as image:
            plain = image if image.mode in _PLAIN else image.convert(_CONVERTED.get(image.mode, "RGB"))
            return np.asarray(plain)
    except Exception as error:  # Pillow raises whatever its decoders do
        name = f"{path.parent.name}/{path.name}"
        raise FileError("data-file-unreadable", f"cannot be read: {name} is no image, or damaged") from error


def _size(image: Array) -> str:
    size = " x ".join(map(str, image.shape))
    return size if image.dtype == np.uint8 else f"{size} of {image.dtype.itemsize * 8} bits"
