"""Reads text files of any encoding, and makes text safe to print."""
from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from utils.errors import UserError

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))   # UTF-32's begins with UTF-16's
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
# Files that declare the first encoding are often written in its superset
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "cp950"}
# Control characters, line separators, text direction overrides, and bytes of names that are not UTF-8
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class TextError(UserError, ValueError):
    """A file is not text, or not in its encoding; the message names the file."""


def read_text(path: str | os.PathLike) -> str:
    """Read a text file; line ends become '\\n'.

    The encoding is that of the byte order mark, else UTF-16 if one of the first two bytes is 0, else the one declared
    by XML, else UTF-8. Raises TextError, and OSError if the file cannot be read.
    """
    data = Path(path).read_bytes()
    encoding, start = _encoding_of(data)
    try:
        text = _decode(data[start:], encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, start + error.start) + 1
        raise TextError(f"{path}:{line}: not text in {encoding} (byte {error.object[error.start]:#04x}); "
                        "save it as UTF-8") from None
    except LookupError:
        raise TextError(f"{path}: declares the unknown encoding {encoding!r}; save it as UTF-8") from None
    if "\0" in text:
        raise TextError(f"{path}: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding_of(data: bytes) -> tuple[str, int]:
    """Name of the encoding, and length of the byte order mark."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding, len(mark)
    if len(data) > 1 and not data[1] and data[0]:
        return "utf-16-le", 0
    if len(data) > 1 and not data[0] and data[1]:
        return "utf-16-be", 0
    declared = _DECLARED.match(data)
    name = declared[1].decode("ascii", "replace").lower() if declared else "utf-8"
    wide = name.startswith(("utf-16", "utf-32", "ucs-2", "unicode"))
    return ("utf-8" if wide else name), 0       # a declaration in single bytes cannot be in UTF-16


def _decode(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        superset = _SUPERSETS.get(codecs.lookup(encoding).name)
        if superset:
            with contextlib.suppress(UnicodeDecodeError):
                return data.decode(superset)
        raise error
    except UnicodeError as error:       # raised by some encodings, such as 'idna', without a position
        raise LookupError(str(error)) from None


def read_lines(path: str | os.PathLike) -> list[str]:
    """Non-blank lines of a text file, without surrounding whitespace; see `read_text`."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def load_json(path: str | os.PathLike) -> Any:
    """Load a JSON file; see `read_text`. Raises TextError with file and line, and OSError."""
    text = read_text(path)
    if not text.strip():
        raise TextError(f"{path}: not readable as JSON: the file is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TextError(f"{path}:{error.lineno}: not readable as JSON: {error.msg}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:       # a number with too many digits; nested too deep
        raise TextError(f"{path}: not readable as JSON: {error}") from None


def listing(names: Iterable[object], most: int) -> str:
    """The names, or the first `most` of them and the number of the others, for a message."""
    texts = list(map(str, names))
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def printable(text: str, keep: str = "") -> str:
    """Replace control characters and the like by escapes, except those in `keep`."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def has_unprintable(text: str) -> bool:
    """Whether `printable` would change the text."""
    return _UNPRINTABLE.search(text) is not None


def is_utf8(text: str) -> bool:
    """Whether a file's name is UTF-8; if not, Python represents some of its bytes as surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()


class PrintableStream:
    """A text stream that escapes control characters, except line breaks and tabs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, with escapes for unprintable and unencodable characters; returns its length."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        safe = printable(text, keep="\n\r\t").encode(encoding, "backslashreplace")
        self._stream.write(safe.decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def printable_output() -> Iterator[None]:
    """Within the block, standard output and error are PrintableStreams."""
    with (contextlib.redirect_stdout(PrintableStream(sys.stdout)),      # type: ignore[type-var]
          contextlib.redirect_stderr(PrintableStream(sys.stderr))):     # type: ignore[type-var]
        yield
