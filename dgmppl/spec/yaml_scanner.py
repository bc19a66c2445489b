"""PyYAML's scanner, taught that what stands inside an expression's brackets does not end the expression.

YAML ends a plain scalar in a flow collection at `, [ ] { }`. A bracket that opens right after an expression's text
belongs to the expression beyond doubt, since YAML itself has no meaning for it there; so `{size: f(1, 2)}` and
`[coupling(mlp([64]), affine()), reverse()]` are read as they were meant. What stays ambiguous (brackets that do not
match, `: ` and comments inside brackets) is refused, with the quoted form.
"""

from __future__ import annotations

from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner
from yaml.tokens import ScalarToken

_BLANK = "\0 \t\r\n\x85\u2028\u2029"
_CLOSERS = {"(": ")", "[": "]", "{": "}"}


class NeedsQuotesError(Exception):
    """A plain scalar in a flow collection that YAML cannot hold without quotes.

    Attributes:
        start: index of the scalar's first character.
        end: index after its last character, or None where its brackets never close.
    """

    def __init__(self, start: int, end: int | None) -> None:
        super().__init__(start, end)
        self.start = start
        self.end = end


class FlowScanner(Reader, Scanner, Parser):
    """Reader, scanner and parser in one, as PyYAML composes its loaders; yields events."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        self._text = text

    def scan_plain(self) -> ScalarToken:
        """A plain scalar; inside a flow collection, one whose brackets are balanced."""
        if not self.flow_level:
            return super().scan_plain()
        start = self.get_mark()
        end = start
        closers: list[str] = []
        chunks: list[str] = []
        spaces: list[str] = []
        while self.peek() != "#":
            length = self._plain_run(start.index, closers)
            if length == 0:
                break
            self.allow_simple_key = False
            chunks += [*spaces, self.prefix(length)]
            self.forward(length)
            end = self.get_mark()
            spaces = self.scan_plain_spaces(self.indent + 1, start) or []
            if not spaces:
                break
        if closers:
            raise NeedsQuotesError(start.index, None)
        return ScalarToken("".join(chunks), True, start, end)

    def _plain_run(self, start: int, closers: list[str]) -> int:
        """The length of the characters up to a blank or a separator; keeps the brackets that are still to be closed."""
        length = 0
        while (character := self.peek(length)) not in _BLANK:
            attached = length > 0 or bool(closers)
            after_colon = character == ":" and self.peek(length + 1) in _BLANK + ",[]{}"
            if closers and after_colon and self.peek(length + 1) in _BLANK:
                raise NeedsQuotesError(start, expression_end(self._text, start))
            if character == "(" or (character in "[{" and attached):
                closers.append(_CLOSERS[character])
            elif closers and character in ")]}":
                if closers.pop() != character:
                    raise NeedsQuotesError(start, expression_end(self._text, start))
            elif not closers and (after_colon or character in ",?[]{}"):
                break
            length += 1
        return length


def expression_end(text: str, start: int) -> int | None:
    """Where the expression that starts at an index of a flow collection's text ends; None where brackets do not match.

    It ends before the first `,`, `]` or `}` that its own brackets do not enclose.
    """
    closers: list[str] = []
    quote = ""
    for index in range(start, len(text)):
        character = text[index]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            closers.append(_CLOSERS[character])
        elif character == "\n" or (not closers and character in ",]}"):
            return None if closers else start + len(text[start:index].rstrip())
        elif character in ")]}" and (not closers or closers.pop() != character):
            return None
    return None
