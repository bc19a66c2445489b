"""The look at an expression's characters before Python's parser sees it: brackets, strange characters, length.

It bounds what reaches the parser, and says in the language's own words what the parser would say in Python's.
"""

from __future__ import annotations

from dataclasses import dataclass

from dgmppl.spec.refusals import CHARACTERS

MAX_LENGTH = 10_000
MAX_BRACKETS = 50

_CLOSERS = {"(": ")", "[": "]", "{": "}"}
_PLAIN = frozenset("()[]{},:.=<>+-*/@%&|^_ ")


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with the characters of an expression, and from where to where."""

    code: str
    message: str
    start: int
    end: int
    fix: str | None = None


def first_flaw(text: str) -> Flaw | None:
    """The first thing wrong with an expression's characters; line breaks have become blanks before."""
    if not text.strip():
        return Flaw("expression-empty", "an expression is missing", 0, len(text), "write the value")
    if len(text) > MAX_LENGTH:
        message = f"the expression has {len(text):,} characters; an expression has at most {MAX_LENGTH:,}"
        return Flaw("expression-limits", message, 0, len(text), "give its parts names of their own")
    opened: list[int] = []
    index = 0
    while index < len(text):
        character = text[index]
        if character in "'\"":
            end = _string_end(text, index)
            if end is None:
                return Flaw(
                    "expression-syntax", "the text in quotes never ends", index, len(text), f"close it with {character}"
                )
            index = end
            continue
        flaw = _bracket(text, index, opened) or _character(text, index)
        if flaw is not None:
            return flaw
        index += 1
    if opened:
        start = opened[-1]
        closer = _CLOSERS[text[start]]
        return Flaw("expression-syntax", f"this `{text[start]}` is never closed", start, start + 1, f"add `{closer}`")
    return None


def _string_end(text: str, start: int) -> int | None:
    index = start + 1
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == text[start]:
            return index + 1
        index += 1
    return None


def _bracket(text: str, index: int, opened: list[int]) -> Flaw | None:
    character = text[index]
    if character in "([{":
        opened.append(index)
        if len(opened) > MAX_BRACKETS:
            message = f"brackets stand more than {MAX_BRACKETS} deep in each other"
            return Flaw("expression-limits", message, index, index + 1, "give its parts names of their own")
    elif character in ")]}":
        if not opened:
            return Flaw("expression-syntax", f"this `{character}` closes nothing", index, index + 1, "delete it")
        wanted = _CLOSERS[text[opened[-1]]]
        if character != wanted:
            message = f"`{character}` stands where `{text[opened[-1]]}` wants `{wanted}`"
            return Flaw("expression-syntax", message, index, index + 1, f"write `{wanted}`")
        opened.pop()
    return None


def _character(text: str, index: int) -> Flaw | None:
    character = text[index]
    if character in _PLAIN or (character.isascii() and character.isalnum()) or text.startswith("!=", index):
        return None
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    message = f"expressions have no `{shown}`"
    if character in CHARACTERS:
        return Flaw("expression-character", message, index, index + 1, f"write {CHARACTERS[character]}")
    fix = "names are ASCII letters, digits and `_`" if character.isalpha() else "delete it"
    return Flaw("expression-character", message, index, index + 1, fix)
