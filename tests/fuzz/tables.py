"""Data files and bound data that are damaged, or lie about what they hold."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutations import NUMBERS, PIECES, damage

TRANSFORMS = (
    "", "", ", transform: standardize()", ", transform: dequantize(4)",
    ", transform: binarize(1)", ", transform: unit()",
    ", transform: [flatten(), logit(0.01)]", ", transform: one_hot()", ", support: count", ", missing: error",
    ", split: {test: 0.5}", ", transform: stochastic_binarize()", ", per: y",
)  # fmt: skip
_CELLS = (
    "1",
    "0.5",
    "-3",
    "",
    "NA",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e999",
    "red",
    "blue",
    " 7 ",
    "1_0",
    "0x1",
    "١",
    "\x00",
    '"',
    '"a,b"',
    "1,2",
)
_TYPES = ("<f8", "<f4", "<i4", "<i8", ">f8", "|b1", "<U3", "|S3", "<c16", "<M8[D]", "|u1", "<u8", "<f2", "|O", "<m8[s]")


class Odd:
    """An object that no array is made of."""

    def __array__(self, *_: object, **__: object) -> Any:
        raise ValueError("no array")


def file(random: Random) -> tuple[str, bytes]:
    """A file's name and its bytes."""
    name, content = random.choice((_csv, _csv, _npy, _npz, _npz, _other))(random)
    return name, damage(content, random) if random.random() < 0.35 else content


def _csv(random: Random) -> tuple[str, bytes]:
    columns = random.choice((1, 2, 3, 30))
    header = ",".join(random.choice(("a", "b", "x1", "x2", "", "1", '"q"', "é")) for _ in range(columns))
    cells = _CELLS if random.random() < 0.4 else _CELLS[:4]
    rows = [",".join(random.choice(cells) for _ in range(columns)) for _ in range(random.choice((0, 1, 5, 50)))]
    if random.random() < 0.5:
        header = (
            ",".join(f"x{index}" for index in range(columns)) if random.random() < 0.5 else ",".join("abcdef"[:columns])
        )
    if random.random() < 0.03:
        rows.append("1" * 200_000)
    text = random.choice(("\n", "\r\n", "\r")).join([header, *rows])
    encoding = random.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return "data.csv", text.encode(encoding, errors="replace")


def _array(random: Random) -> Any:
    shape = random.choice(((), (0,), (6,), (6, 2), (6, 0), (3, 2, 2), (1,)))
    kind = np.dtype(random.choice(_TYPES))
    if kind.kind == "O":
        return np.array([None, "a", 1.5, [1, 2], {}, Odd][: random.choice((1, 3, 6))], dtype=object)
    values = np.arange(int(np.prod(shape))).reshape(shape) % random.choice((2, 5, 1000))
    array = values.astype(kind)
    if kind.kind == "f" and array.size and random.random() < 0.4:
        array.flat[0] = random.choice((np.nan, np.inf, -np.inf, 1e30 if kind.itemsize > 2 else 6e4))
    return np.asfortranarray(array) if random.random() < 0.2 else array


def _npy_bytes(random: Random) -> bytes:
    if random.random() < 0.25:
        return _lying_header(random)
    stream = io.BytesIO()
    np.save(stream, _array(random), allow_pickle=True)
    return stream.getvalue()


def _lying_header(random: Random) -> bytes:
    shape = random.choice(
        ("(1000000000000,)", "(-1,)", "(2, 99999999999)", "(3", "()", "(1,) * 99", "None", "(9" + "9" * 300 + ",)")
    )
    kind = random.choice(
        ("'<f8'", "'|O'", "'<f800'", "[('a', '<f8')]", "'<V9'", "f", "'|S999999999'", "__import__('os')")
    )
    header = f"{{'descr': {kind}, 'fortran_order': {random.choice(('False', '3'))}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(48)


def _npy(random: Random) -> tuple[str, bytes]:
    if random.random() < 0.1:
        return "data.npy", pickle.dumps([1, 2, 3])
    return "data.npy", _npy_bytes(random)


def _npz(random: Random) -> tuple[str, bytes]:
    stream = io.BytesIO()
    compression = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name in random.choice((("a",), ("a", "b"), (), ("a", "x1", "x2"), ("../a",), ("a.b",))):
            content = _npy_bytes(random) if random.random() < 0.95 else bytes(200_000)
            archive.writestr(f"{name}{random.choice(('.npy', '.npy', '.npy', '', '.txt'))}", content)
    return "data.npz", stream.getvalue()


def _other(random: Random) -> tuple[str, bytes]:
    ending = random.choice(("json", "txt", "nc", "parquet", "arrow", "pkl", "npz", "npy", "csv", "CSV", "tar.gz"))
    start = random.choice(
        (b"", b"PAR1", b"\x89HDF\r\n\x1a\n", b"ARROW1\x00\x00", b"PK\x03\x04", b'{"a": [1, 2]}', b"\x1f\x8b")
    )
    return f"data.{ending}", start + random.randbytes(random.choice((0, 8, 500)))


def bound(random: Random) -> Any:
    """An object that a user might bind to a column of shape [2]."""
    match random.randrange(8):
        case 0:
            return _array(random)
        case 1:
            return [
                [
                    random.choice((1, 0.5, None, "a", float("nan"), True, 10**400, [], {}))
                    for _ in range(random.choice((1, 2, 2, 3)))
                ]
                for _ in range(4)
            ]
        case 2:
            return random.choice(
                (None, "", "nothing.npz", "\x00", 3, 0.5, {}, set(), b"ab", object(), Odd(), range(4), lambda: 0)
            )
        case 3:
            return {random.choice("ab"): _array(random) for _ in range(2)}
        case 4:
            return np.random.default_rng(0).normal(size=random.choice(((4, 2), (4, 3), (0, 2), (2,), (4, 2, 1))))
        case 5:
            return _nested(random)
        case 6:
            return np.ma.masked_array(np.ones((4, 2)), mask=[[True, False]] * 4)
        case _:
            return np.ones((4, 2)).astype(random.choice(("f2", "f4", "i1", "u8", "?", "c8", "O", "S2", "U2")))


def _nested(random: Random) -> Any:
    value: Any = 1.0
    for _ in range(random.choice((3, 40, 70, 2000))):
        value = [value]
    return value


def edited_json(content: bytes, random: Random) -> bytes:
    """A JSON text with one value replaced, one key dropped or renamed, or one list cut."""
    data = json.loads(content)
    place: Any = data
    while isinstance(place, (dict, list)) and place:
        key = random.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
        inside = place[key]
        if not isinstance(inside, (dict, list)) or not inside or random.random() < 0.25:
            _edit(place, key, random)
            break
        place = inside
    return json.dumps(data).encode()


def _edit(place: Any, key: Any, random: Random) -> None:
    match random.randrange(4):
        case 0:
            del place[key]
        case 1 if isinstance(place, dict):
            place[random.choice(("a", "name", "kind", key + "_"))] = place.pop(key)
        case _:
            values = (
                None,
                True,
                -1,
                0,
                10**30,
                1e308,
                "",
                "real",
                [],
                {},
                [1],
                {"a": 1},
                "x" * 5000,
                random.choice(NUMBERS),
                random.choice(PIECES),
            )
            place[key] = random.choice(values)
