"""Scans a prototxt: yields its tokens, and tracks the blocks that are open at an offset."""
from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(r"""
    (?P<space>   \s+ | \#[^\n]* )
  | (?P<string>  "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
  | (?P<mark>    [{}<>\[\]:;,] )
  | (?P<word>    [^\s{}<>\[\]:;,\#"']+ )
  | (?P<other>   . )""", re.VERBOSE | re.DOTALL)


def tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """The text's tokens as (kind, token, offset); kinds are string, mark, word and other (a stray quote)."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup and match.lastgroup != "space":
            yield match.lastgroup, match.group(), match.start()


def line_of(text: str, offset: int) -> int:
    """The line (from 1) of an offset."""
    return text.count("\n", 0, offset) + 1


@dataclass
class Block:
    """An open `key {`: its bracket and the offset of that, and the block's `name: "..."` once read."""
    key: str
    start: int
    bracket: str
    in_list: bool
    name: str | None = None

    @property
    def closing(self) -> str:
        return "}" if self.bracket == "{" else ">"


class Scanner:
    """Follows a prototxt token by token.

    blocks    the open blocks, outermost first
    key       the last field name
    last      the last token
    in_value  whether a value of `key` comes next, not a field name
    """

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.key = self.last = ""
        self.in_value = False
        self.in_list = False

    def feed(self, kind: str, token: str, offset: int) -> None:
        """Process the next token."""
        if kind == "mark":
            self._mark(token, offset)
        elif self.in_value:
            self._value(kind, token)
        elif kind == "word":
            self.key = token
        self.last = token

    def _mark(self, token: str, offset: int) -> None:
        if token == ":":
            self.in_value = True
        elif token == "[":
            self.in_list = self.in_value        # otherwise an extension's name starts
        elif token == "]" and self.in_list:
            self.in_list = self.in_value = False
        elif token in "{<":
            self.blocks.append(Block(self.key, offset, token, self.in_list))
            self.in_value = self.in_list = False
        elif token in "}>" and self.blocks:
            block = self.blocks.pop()
            self.key, self.in_list, self.in_value = block.key, block.in_list, block.in_list

    def _value(self, kind: str, token: str) -> None:
        if self.key == "name" and kind == "string" and self.blocks:
            self.blocks[-1].name = token[1:-1]
        self.in_value = self.in_list


def scan(text: str, end: int | None = None) -> Scanner:
    """The scanner's state just before the offset `end`, by default at the end of the text."""
    scanner = Scanner()
    for kind, token, offset in tokens(text):
        if end is not None and offset >= end:
            break
        scanner.feed(kind, token, offset)
    return scanner


def layer_blocks(text: str) -> Iterator[tuple[Block, int]]:
    """Each complete `layer` or `layers` block with its nesting depth, in the order of their ends."""
    scanner = Scanner()
    for kind, token, offset in tokens(text):
        block = scanner.blocks[-1] if scanner.blocks else None
        scanner.feed(kind, token, offset)
        if block and block.key in ("layer", "layers") and block not in scanner.blocks:
            yield block, len(scanner.blocks)


def layer_line(text: str, name: str, number: int = 0) -> int | None:
    """The line where a layer of this name begins, the first or another by number; None if there is none."""
    lines = _layer_lines(text).get(name, [])
    return lines[number] if number < len(lines) else None


@functools.lru_cache(maxsize=1)     # a net asks for the lines of one layer after the other
def _layer_lines(text: str) -> dict[str, list[int]]:
    """For each name, the lines where the layers of this name begin."""
    found: dict[str, list[int]] = defaultdict(list)
    for block, _ in layer_blocks(text):
        found[block.name or ""].append(line_of(text, block.start))
    return found
