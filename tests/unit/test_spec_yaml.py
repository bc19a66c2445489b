# ruff: noqa: PT017 -- a fuzzed text may be read or refused; both are right
"""The YAML subset: values, places, rejoined expressions, and refusals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmppl.errors import SpecError
from dgmppl.source import Source
from dgmppl.spec.writer import scalar, value
from dgmppl.spec.yaml_reader import MAX_BYTES, List, Node, Scalar, Table, compose, decode, positions, resolve


def plain(node: Node | None) -> object:
    match node:
        case Scalar():
            return node.value
        case List(items=items):
            return [plain(item) for item in items]
        case Table(entries=entries):
            return {key.text: plain(item) for key, item in entries}
    return None


def load(text: str) -> object:
    return plain(compose(Source("t", text)))


def code(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        compose(Source("t", text))
    return caught.value.diagnostics[0].code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 1e-3), ("no", "no"), ("on", "on"), ("yes", "yes"), ("0o17", 15), ("0x1F", 31), ("010", 10),
        ("12:30", "12:30"), ("1_000", "1_000"), (".5", 0.5), ("5.", 5.0), ("-.inf", -math.inf), ("true", True),
        ("True", True), ("tRUE", "tRUE"), ("~", None), ("", None), ("null", None), ("+1", 1), ("-7", -7), ("<<", "<<"),
        ("2001-01-01", "2001-01-01"),
    ],
)  # fmt: skip
def test_core_schema_of_yaml_1_2(text: str, expected: object) -> None:
    result = resolve(text)
    assert result == expected
    assert type(result) is type(expected)


def test_quoted_scalars_are_text() -> None:
    assert load("{a: '1', b: \"true\", c: 1}") == {"a": "1", "b": "true", "c": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{size: f(1, 2), seed: 0}", {"size": "f(1, 2)", "seed": 0}),
        ("[normal(3, 4), ones]", ["normal(3, 4)", "ones"]),
        ("[coupling(mlp([64, 64]), affine()), reverse()]", ["coupling(mlp([64, 64]), affine())", "reverse()"]),
        ("[x[:4], loc[k, 0]]", ["x[:4]", "loc[k, 0]"]),
        ("[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("[a, [b, c], {d: e}]", ["a", ["b", "c"], {"d": "e"}]),
        ("{a: f(1,\n  2), b: 3}", {"a": "f(1, 2)", "b": 3}),
        ("{(v, h): f(v, h)}", {"(v, h)": "f(v, h)"}),
        ("[f((1, 2), [3, (4, 5)])]", ["f((1, 2), [3, (4, 5)])"]),
    ],
)
def test_expressions_in_flow_collections_are_rejoined(text: str, expected: object) -> None:
    assert load(text) == expected


@pytest.mark.parametrize("text", ["[f(1, 2]", "[f(1, 2), g(1]", "{a: f({b: 1})}", "[f(1 # x\n, 2)]", "[f(1", "[x[1)]"])
def test_ambiguous_expressions_need_quotes(text: str) -> None:
    assert code(text) == "yaml-quotes"


def test_quoted_form_is_offered() -> None:
    with pytest.raises(SpecError) as caught:
        compose(Source("t", "[f({b: 1}), c]"))
    (problem,) = caught.value.diagnostics
    assert problem.edit is not None  # type: ignore[attr-defined]
    assert load(problem.edit.apply()) == ["f({b: 1})", "c"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1", "yaml-alias"), ("a: *x", "yaml-alias"), ("a: **f(x)", "yaml-alias"), ("a: !!str 1", "yaml-tag"),
        ("a: 1\n---\nb: 2", "yaml-documents"), ("a:\n\tb: 1", "yaml-tab"), ("a: 1\na: 2", "duplicate-key"),
        ("? [a]\n: 1", "yaml-key"), ("[" * 100_000, "yaml-limits"), ("{a: " * 50_000, "yaml-limits"),
        ("- " * 50_000, "yaml-limits"), ("a: \x00", "yaml-character"), ('a: "\\ud800"', "yaml-character"),
        ("a: b: c", "yaml-syntax"), ("a: 'b", "yaml-syntax"), ("a: @b", "yaml-syntax"),
    ],
)  # fmt: skip
def test_refusals(text: str, expected: str) -> None:
    assert code(text) == expected


def test_all_refusals_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        compose(Source("t", "a: !x 1\na: 2\nb: &c 3"))
    assert [problem.code for problem in caught.value.diagnostics] == ["yaml-tag", "yaml-alias", "duplicate-key"]


def test_size_is_bounded() -> None:
    with pytest.raises(SpecError) as caught:
        decode(b"#" * (MAX_BYTES + 1), "t")
    assert caught.value.diagnostics[0].code == "yaml-limits"
    assert decode(b"#" * MAX_BYTES, "t").text == "#" * MAX_BYTES


def test_byte_order_mark_moves_no_column() -> None:
    root = compose(decode(b"\xef\xbb\xbfname: a", "t"))
    assert isinstance(root, Table)
    assert str(root.entries[0][0].span) == "t:1:1"


@pytest.mark.parametrize("breaks", ["\n", "\r\n", "\r"])
def test_places(breaks: str) -> None:
    root = compose(Source("t", breaks.join(["a: 1", "bc: {d: [e, f(1, 2)]}"])))
    assert isinstance(root, Table)
    (_, (key, inner)) = root.entries
    assert (str(key.span), key.span.end_column) == ("t:2:1", 3)
    assert isinstance(inner, Table)
    (_, items) = inner.entries[0]
    assert isinstance(items, List)
    assert [(str(item.span), item.span.end_column) for item in items.items] == [("t:2:10", 11), ("t:2:13", 20)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: bcd", [(1, 4), (1, 5), (1, 6), (1, 7)]),
        ("a: 'b''c'", [(1, 5), (1, 6), (1, 8), (1, 9)]),
        ('a: "b\\u0041c"', [(1, 5), (1, 6), (1, 12), (1, 13)]),
        ("a: bc\n  d", [(1, 4), (1, 5), (1, 6), (2, 3), (2, 4)]),
        ("a: |\n  b\n  c", [(2, 3), (2, 4), (3, 3), (3, 4)]),
    ],
)
def test_place_of_every_character(text: str, expected: list[tuple[int, int]]) -> None:
    root = compose(Source("t", text))
    assert isinstance(root, Table)
    node = root.entries[0][1]
    assert isinstance(node, Scalar)
    found = positions(node)
    assert found is not None
    assert [(span.line, span.column) for span in found] == expected


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(VALUES)
def test_what_is_written_is_read(item: object) -> None:
    assert load(value(item)) == item


@settings(deadline=None, max_examples=150)
@given(TEXT)
def test_scalars_survive_in_block_and_flow(text: str) -> None:
    assert load(f"a: {scalar(text)}") == {"a": text}
    assert load(f"[{scalar(text)}]") == [text]


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab01()[]{}:,'\"-?!&*#|> \n\t%@\\=."), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        root = compose(Source("t", text))
    except SpecError as error:
        assert error.diagnostics
        assert str(error)
    else:
        plain(root)
