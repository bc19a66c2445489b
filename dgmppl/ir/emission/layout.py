"""Layout of emitted Python: lines of at most `WIDTH` columns, broken at brackets and operators as black breaks them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

WIDTH = 110
# Lines that hold large tables of numbers, which nobody reads, are left as they are.
_LONGEST = 100_000
_INDENT = "    "
_OPEN, _CLOSE = "([{", ")]}"
_SUM = (" + ", " - ")


def _depths(text: str) -> Iterator[tuple[int, str, int]]:
    """(position, character, bracket depth before it) of every character outside string literals."""
    depth, quote = 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth -= character in _CLOSE
            yield position, character, depth
            depth += character in _OPEN


def split_top(text: str, separators: tuple[str, ...]) -> list[str]:
    """The text cut before each separator that stands outside brackets and strings."""
    cuts = [place for place, _, depth in _depths(text) if depth == 0 and text.startswith(separators, place)]
    return [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _arguments(text: str) -> list[str]:
    parts = [part.removeprefix(",").strip() for part in split_top(text, (",",))]
    return [part for part in parts if part]


def _widest_bracket(line: str) -> tuple[int, int] | None:
    """The outermost bracket pair that holds most; the last of equals."""
    opened, found = -1, None
    for position, character, depth in _depths(line):
        if depth == 0 and character in _OPEN:
            opened = position
        elif depth == 0 and character in _CLOSE and position > opened + 1:
            found = (opened, position) if found is None or position - opened >= found[1] - found[0] else found
    return found


def wrap(line: str, indent: int = 0) -> list[str]:
    """A logical line as one or more physical lines, each at most `WIDTH` wide where brackets allow it."""
    margin = _INDENT * indent
    if len(margin) + len(line) <= WIDTH or len(line) > _LONGEST:
        return [margin + line]
    target, value = _split_statement(line)
    if target and len(split_top(value, _SUM)) > 1 and len(_arguments(value)) == 1:
        return [f"{margin}{target}(", *_terms(value, indent + 1), f"{margin})"]
    return _bracketed(line, indent)


def _split_statement(line: str) -> tuple[str, str]:
    """`name = value` and `return value` in two; an empty first part for any other line."""
    if line.startswith("return "):
        return "return ", line.removeprefix("return ")
    before = split_top(line, (" = ",))
    if len(before) < 2 or "(" in before[0]:
        return "", line
    return f"{before[0]} = ", line.removeprefix(f"{before[0]} = ")


def _terms(value: str, indent: int, end: str = "") -> list[str]:
    """What stands inside brackets: on one line where it fits, else a sum with one term to a line."""
    whole = _INDENT * indent + value + end
    parts = split_top(value, _SUM)
    if len(whole) <= WIDTH or len(parts) == 1:
        return wrap(value + end, indent)
    lines = [piece for term in parts for piece in wrap(term.strip(), indent)]
    return [*lines[:-1], lines[-1] + end]


def _bracketed(line: str, indent: int) -> list[str]:
    margin, place = _INDENT * indent, _widest_bracket(line)
    if place is None:
        return [margin + line]
    start, stop = place
    head, body, tail = line[: start + 1], line[start + 1 : stop].strip().removesuffix(","), line[stop:]
    inner = _INDENT * (indent + 1)
    if len(inner) + len(body) <= WIDTH:
        middle = [inner + body]
    elif _takes_commas(head, body):
        middle = [piece for part in _arguments(body) for piece in _terms(part, indent + 1, ",")]
    else:
        middle = _terms(body, indent + 1)
    return [*wrap(head, indent), *middle, margin + tail]


def _takes_commas(head: str, body: str) -> bool:
    """Whether a trailing comma changes nothing: in calls, lists, dictionaries; not in groups, indices, generators."""
    called = head[-2:-1].isalnum() or head[-2:-1] in {"_", ")", "]"}
    if " for " in body:
        return False
    return called if head.endswith("(") and len(_arguments(body)) == 1 else not (called and head.endswith("["))


def annotated(line: str, comment: str, indent: int) -> list[str]:
    """A line with its comment behind it, or above it where both do not fit."""
    plain = wrap(line, indent)
    if not comment:
        return plain
    if len(plain) == 1 and len(plain[0]) + len(comment) + 4 <= WIDTH:
        return [f"{plain[0]}  # {comment}"]
    return [f"{_INDENT * indent}# {comment}", *plain]


def remark(text: str, indent: int) -> list[str]:
    """A comment of any length."""
    margin = f"{_INDENT * indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin, break_long_words=False)


def docstring(text: str, indent: int = 0) -> list[str]:
    """A docstring: one line where it fits, paragraphs kept otherwise; each line of the text stays a line."""
    margin = _INDENT * indent
    text = text.replace("\\", "\\\\").replace('"""', "'''").strip()
    if "\n" not in text and len(margin) + len(text) + 6 <= WIDTH:
        return [f'{margin}"""{text}{" " * text.endswith(chr(34))}"""']
    lines: list[str] = []
    for line in text.splitlines():
        pad = margin + line[: len(line) - len(line.lstrip())]
        width = WIDTH - 3 * (not lines)
        wrapped = textwrap.wrap(
            line.strip(),
            width,
            initial_indent=pad,
            subsequent_indent=pad,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += wrapped or [""]
    return [f'{margin}"""{lines[0].strip()}', *lines[1:], f'{margin}"""']


def spaced(blocks: list[list[str]]) -> str:
    """Top-level blocks with two blank lines between them, ended by a line break."""
    return "\n\n\n".join("\n".join(block) for block in blocks if block) + "\n"
