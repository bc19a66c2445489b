"""Mutations of text and of bytes: what slips of an editor, a bad disk and a malicious file have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

# Pieces on which parsers have stumbled: nesting, aliases, tags, huge numbers, invisible characters, foreign syntax.
PIECES: tuple[str, ...] = (
    "(" * 30, "(" * 300, "[" * 60, "[" * 5_000, "{" * 5_000, "{a: " * 50, "- " * 3_000, "-" * 20_000, "!" * 40,
    "a[" * 150, "~" * 5_000, "not " * 3_000, "f(" * 99 + "x" + ")" * 99, "**".join("9" * 40), " + ".join("x" * 3_000),
    "&a [*a, *a]", "&a [&b [*a, *b], *a]", "*a", "<<: *a", "!!python/object/apply:os.system ['true']",
    "!!binary aGk=", "!<tag:yaml.org,2002:int> 3", "!!int 3", "%YAML 1.1\n---\n", "\n---\n", "\n...\n", "? [a]\n: b",
    "|2-\n", ">\n\n  ", "'", '"', "9" * 400, "9" * 5_000, "0x" + "f" * 400, "-9223372036854775809",
    "9223372036854775808", "1e999", "-1e-999", "1_000", "0o17", ".inf", "-.inf", ".nan", "1e308 * 1e308",
    "10 ** 10 ** 10", "2 ** -1", "1 / 0", "0.0 / 0.0", "1 // 0", "007", "1e", "0b1", "1j", "\x00", "\x07", "\x1b[31m",
    "\x7f", "\x85", "\u2028", "\u2029", "\ufeff", "\u200b", "\u202e", "\ufffe", "\U0001f642", "\u0430", "\u03bc",
    "\u00b2", "\u2212", "\u00d7", "\u0661", "e\u0301", "\r\n", "\r", "\t", "\v", "\f", "\\", "\\x41", "\\N{BEL}",
    "\\u0000", "lambda: 0", "x := 1", "x if y else z", "[x for x in y]", "f'{x}'", "b'x'", "yield x", "await x",
    "x.y", "x and y", "*x", "**x", "...", "__import__('os')", "()", "(,)", "x[]", "x[:, ...]", "x[::0]", "{}",
    "{x: 1}", "x y", "@", ";", "#", "`", "$", "==", "<>", "->", "null", "true", "~", "yes", "None", "", " ",
    "{shape: [0]}", "{shape: [1000000, 1000000]}", "{file: /dev/null}", "{file: ''}", "[[1, 2], [3]]", "[]", "[null]",
    "[[[[]]]]", "[1, a]", "moons", "digits.images", "1", "0", "-1", "0.5", "x", "z",
)  # fmt: skip
NUMBERS: tuple[str, ...] = (
    "0", "-1", "1", "2", "7", "0.5", "-0.0", "1e-320", "1e308", "1000000", "4294967296", "9223372036854775807",
    "9223372036854775808", "1" + "0" * 30, "1e400", ".nan", "true", "null", "'3'", "[2, 3]", "2.0",
)  # fmt: skip
_TOKEN = re.compile(r"\w+|[^\S\n]+|\n|[^\w\s]")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")

Mutation = Callable[[str, Random, Sequence[str]], str]


def mutate(text: str, random: Random, pool: Sequence[str]) -> str:
    """A text after one to six mutations.

    Args:
        text: what is mutated.
        random: the source of every choice.
        pool: texts from which pieces are taken.
    """
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        text = random.choice(MUTATIONS)(text, random, pool)
    return text


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text) or [""]


def replace_token(text: str, random: Random, pool: Sequence[str]) -> str:
    tokens, others = _tokens(text), _tokens(random.choice(pool))
    tokens[random.randrange(len(tokens))] = random.choice(others)
    return "".join(tokens)


def swap_tokens(text: str, random: Random, _: Sequence[str]) -> str:
    tokens = _tokens(text)
    first, second = random.randrange(len(tokens)), random.randrange(len(tokens))
    tokens[first], tokens[second] = tokens[second], tokens[first]
    return "".join(tokens)


def delete_tokens(text: str, random: Random, _: Sequence[str]) -> str:
    tokens = _tokens(text)
    start = random.randrange(len(tokens))
    return "".join(tokens[:start] + tokens[start + random.choice((1, 1, 2, 5, 20)) :])


def repeat_tokens(text: str, random: Random, _: Sequence[str]) -> str:
    tokens = _tokens(text)
    start = random.randrange(len(tokens))
    piece = tokens[start : start + random.choice((1, 2, 5))]
    return "".join(tokens[:start] + piece * random.choice((2, 2, 3, 40)) + tokens[start + len(piece) :])


def change_number(text: str, random: Random, _: Sequence[str]) -> str:
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return text
    match = random.choice(numbers)
    return text[: match.start()] + random.choice(NUMBERS) + text[match.end() :]


def insert_piece(text: str, random: Random, _: Sequence[str]) -> str:
    place = random.randrange(len(text) + 1)
    return text[:place] + random.choice(PIECES) + text[place:]


def replace_value(text: str, random: Random, pool: Sequence[str]) -> str:
    """Another right-hand side for a line `key: value`."""
    lines = text.splitlines()
    places = [index for index, line in enumerate(lines) if ": " in line]
    if not places:
        return text
    place = random.choice(places)
    others = [line.split(": ", 1)[1] for line in random.choice(pool).splitlines() if ": " in line] or [""]
    value = random.choice(PIECES) if random.random() < 0.3 else random.choice(others)
    lines[place] = f"{lines[place].split(': ', 1)[0]}: {value}"
    return "\n".join(lines) + "\n"


def move_lines(text: str, random: Random, pool: Sequence[str]) -> str:
    """Delete, repeat, swap, indent a line, or take one from another text."""
    lines = text.splitlines() or [""]
    place, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(5):
        case 0:
            del lines[place]
        case 1:
            lines.insert(other, lines[place])
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case 3:
            lines[place] = random.choice(("  ", " ", "\t")) + lines[place]
        case _:
            lines.insert(place, random.choice(random.choice(pool).splitlines() or [""]))
    return "\n".join(lines) + "\n"


def replace_word(text: str, random: Random, pool: Sequence[str]) -> str:
    """A word of the text in the place of another: what still reads well, and means something else."""
    places = list(re.finditer(r"[A-Za-z_]\w*", text))
    words = re.findall(r"[A-Za-z_]\w*", text if random.random() < 0.6 else random.choice(pool))
    if not places or not words:
        return text
    match = random.choice(places)
    return text[: match.start()] + random.choice(words) + text[match.end() :]


def rename(text: str, random: Random, _: Sequence[str]) -> str:
    """One word for another throughout."""
    words = sorted(set(re.findall(r"[A-Za-z_]\w*", text))) or ["x"]
    return re.sub(rf"\b{random.choice(words)}\b", random.choice(words), text)


def foreign_line_ends(text: str, random: Random, _: Sequence[str]) -> str:
    return text.replace("\n", random.choice(("\r\n", "\r", "\n\n", "\x85")))


MUTATIONS: tuple[Mutation, ...] = (
    replace_token, swap_tokens, delete_tokens, repeat_tokens, insert_piece, foreign_line_ends, rename,
    change_number, change_number, change_number, replace_value, replace_value, replace_value, move_lines, move_lines,
    replace_word, replace_word, replace_word,
)  # fmt: skip


def damage(content: bytes, random: Random) -> bytes:
    """Bytes after a cut, flipped bits, bytes put in or taken out, or a block set to zero."""
    place = random.randrange(len(content) + 1)
    match random.randrange(6):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + random.randbytes(random.choice((1, 4, 64))) + content[place:]
        case 2:
            return content[:place] + content[place + random.choice((1, 2, 8, 100)) :]
        case 3:
            length = random.choice((1, 8, 512))
            return content[:place] + bytes(min(length, len(content) - place)) + content[place + length :]
        case _:
            return flip_bits(content, random)


def flip_bits(content: bytes, random: Random) -> bytes:
    """Bytes with one to eight bits flipped, often in the header."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[random.randrange(min(len(changed), random.choice((64, 512, len(changed)))))] ^= (
                1 << random.randrange(8)
            )
    return bytes(changed)
