"""Damages valid inputs: their bytes, or their structure as text, XML, YAML, protobuf messages, arrays or HDF5."""
from __future__ import annotations

import io
import math
import re
import struct
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
import yaml
from google.protobuf.message import Message

Mutation = Callable[[bytes, np.random.Generator], bytes]

NUMBERS = ["0", "-1", "1", "2", "3", "-0.0", "0.5", "1e-40", "1e38", "-1e39", "1e400", "nan", "inf", "-inf", "127",
           "128", "255", "256", "65535", "65536", "100000", "2147483647", "2147483648", "-2147483648", "4294967295",
           "4294967296", "9223372036854775807", "18446744073709551616", "0x10", "010", "1_000", "1.", "9" * 26]
WORDS = ["", " ", "a", "true", "false", "null", "None", "TRAIN", "TEST", "../..", "/", "/dev/zero", "\t", "\u00e9",
         "\u4e2d", "\u2028", "\ufeff", "\x00", "\x1b[31m", "%s", "{}", "a" * 5000, "\U0001f600", "__background__"]
TOKEN = re.compile(r"\s+|[A-Za-z_][\w]*|[+-]?\d[\w.+-]*|.", re.DOTALL)
ENCODINGS = ["utf-16", "utf-16-le", "latin-1", "utf-8-sig", "utf-32", "gb18030", "shift_jis"]
CODES = np.array([0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x20])
SIDES = [0, 1, 2, 47, 49, 1000, 20000, 40000, 65535, 65536, 2**30, 2**31 - 1, 2**31, 2**32 - 1]    # of images
DTYPES = ["f4", "f8", "f2", "i1", "u1", "i8", "u8", "?", "c8", "S3", "U2", ">f4"]
MOST_BYTES = 1 << 20        # maximum size of a mutated input


def pick(rng: np.random.Generator, things: Sequence) -> Any:
    """A random element."""
    return things[int(rng.integers(len(things)))]


def span(rng: np.random.Generator, length: int, longest: int = 64) -> slice:
    """A random slice of a sequence of the given length, usually a short one."""
    start = int(rng.integers(length + 1))
    return slice(start, min(length, start + int(rng.integers(1, pick(rng, [2, 5, longest]) + 1))))


# ---- bytes
def damage_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, delete, repeat, insert or move some bytes, or truncate the data."""
    part, operation = span(rng, len(data)), int(rng.integers(8))
    before, inside, after = data[:part.start], data[part], data[part.stop:]
    if operation == 0 and inside:
        return before + bytes([inside[0] ^ 1 << int(rng.integers(8))]) + inside[1:] + after
    if operation == 1:
        return before + rng.integers(0, 256, len(inside), np.uint8).tobytes() + after
    if operation == 2:
        return before + bytes([int(pick(rng, CODES))]) * len(inside) + after
    if operation == 3:
        return before + after
    if operation == 4:
        return before + inside * int(rng.integers(2, 20)) + after
    if operation == 5:
        return before + rng.integers(0, 256, len(inside), np.uint8).tobytes() + inside + after
    if operation == 6:
        return before
    other = span(rng, len(data))
    return before + data[other] + after


# ---- text
def damage_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace, delete, repeat or swap words, numbers or lines, or change the encoding or the line endings."""
    text, operation = data.decode("utf-8", "surrogateescape"), int(rng.integers(12))
    if operation == 0:
        return _encoded(text, rng)
    if operation == 1:
        lines = text.splitlines(True)
        part = span(rng, len(lines), 8)
        copies = lines[part] * int(rng.integers(0, 4))
        return _bytes("".join(lines[:part.start] + copies + lines[part.stop:]))
    tokens = TOKEN.findall(text)
    numbers = [place for place, token in enumerate(tokens) if token[-1:].isdigit() and not token[0].isalpha()]
    words = [place for place, token in enumerate(tokens) if token[0].isalpha() or token[0] == "_"]
    places = numbers if operation < 6 else words if operation < 9 else range(len(tokens))
    if not places:
        return damage_bytes(data, rng)
    place = pick(rng, places)
    if operation < 6:
        tokens[place] = pick(rng, NUMBERS)
    elif operation < 9:
        tokens[place] = tokens[pick(rng, words)] if rng.random() < 0.7 else pick(rng, WORDS)
    elif operation == 9:
        tokens[place] = ""
    elif operation == 10:
        tokens[place] *= int(rng.integers(2, 2000)) if rng.random() < 0.1 else 2
    else:
        other = pick(rng, places)
        tokens[place], tokens[other] = tokens[other], tokens[place]
    return _bytes("".join(tokens))


def _encoded(text: str, rng: np.random.Generator) -> bytes:
    encoding = pick(rng, [*ENCODINGS, "crlf", "cr"])
    if encoding in ("crlf", "cr"):
        return _bytes(text.replace("\n", "\r\n" if encoding == "crlf" else "\r"))
    return text.encode(encoding, "replace")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# ---- XML
def damage_xml(data: bytes, rng: np.random.Generator) -> bytes:
    """Delete, repeat, rename, move or empty an element, or change its text."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return damage_text(data, rng)
    elements = list(root.iter())
    parent, element, operation = pick(rng, elements), pick(rng, elements), int(rng.integers(7))
    children = list(parent)
    if operation == 0 and children:
        parent.remove(pick(rng, children))
    elif operation == 1 and children:
        parent.extend(children[:1] * int(rng.integers(1, 6)))
    elif operation == 2:
        element.tag = pick(rng, elements).tag
    elif operation == 3 and element not in parent.iter() and parent not in element.iter():
        parent.append(element)
    elif operation == 4:
        element.text = re.sub("[^ -\ud7ff]", "?", pick(rng, WORDS))
    elif operation == 5:
        element.set(pick(rng, ["xmlns", "id", "class"]), pick(rng, ["http://example.org/x", "1"]))
    else:
        element.text = pick(rng, NUMBERS)
    encoding = pick(rng, ["us-ascii", "utf-8", "utf-16", "iso-8859-1", "gbk"])
    return ElementTree.tostring(root, encoding)


# ---- YAML
def damage_yaml(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace a value or a key with something of another type, or add an alias of the container that holds it."""
    try:
        content = yaml.safe_load(data.decode())
    except (yaml.YAMLError, ValueError, RecursionError):
        return damage_text(data, rng)
    holders = list(_containers(content))
    if not holders:
        return damage_text(data, rng)
    holder = pick(rng, holders)
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if keys:
        key, value = pick(rng, keys), _yaml_value(rng, content, holders)
        if isinstance(holder, dict) and rng.random() < 0.2:
            holder[pick(rng, [1, None, "new", True, 0.5])] = holder.pop(key)
        else:
            holder[key] = value
    return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "replace")


def _containers(content: Any, depth: int = 0):
    if isinstance(content, dict | list) and content and depth < 8:
        yield content
        for value in content.values() if isinstance(content, dict) else content:
            yield from _containers(value, depth + 1)


def _yaml_value(rng: np.random.Generator, content: Any, holders: list) -> Any:
    made = [lambda: pick(rng, WORDS), lambda: yaml.safe_load(pick(rng, NUMBERS)), lambda: None, lambda: True,
            lambda: [], lambda: {}, lambda: [1, "a", None], lambda: {"a": 1}, lambda: pick(rng, holders),
            lambda: math.nan, lambda: [[0.5]] * 3, lambda: 10**400, lambda: b"\0\1", _billion]
    return pick(rng, made)()


def _billion() -> list:
    """A list of 10^9 words, written in a few lines with YAML aliases."""
    made: list = ["a"]
    for _ in range(9):
        made = [made] * 10
    return made


# ---- protobuf
def damage_message(make: Callable[[], Message]) -> Mutation:
    """A mutation of serialised messages: some field deeply inside is cleared, repeated or set to another value."""
    def damage(data: bytes, rng: np.random.Generator) -> bytes:
        message = make()
        try:
            message.ParseFromString(data)
        except Exception:   # noqa: BLE001  # of several classes, by the implementation
            return damage_bytes(data, rng)
        found = message
        while (inside := _submessages(found)) and rng.random() < 0.85:
            found = pick(rng, inside)
        _damage_field(found, rng)
        return message.SerializePartialToString()
    return damage


def _submessages(message: Message) -> list[Message]:
    found: list[Message] = []
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            found += list(value) if _is_repeated(field) else [value]
    return found


def _is_repeated(field: Any) -> bool:
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def _damage_field(message: Message, rng: np.random.Generator) -> None:
    set_fields = [field for field, _ in message.ListFields()]
    fields = set_fields if set_fields and rng.random() < 0.8 else list(message.DESCRIPTOR.fields)
    field = pick(rng, fields)
    if rng.random() < 0.2:
        message.ClearField(field.name)
    elif _is_repeated(field):
        _damage_repeated(message, field, rng)
    elif field.type == field.TYPE_MESSAGE:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _scalar(field, rng))


def _damage_repeated(message: Message, field: Any, rng: np.random.Generator) -> None:
    values = getattr(message, field.name)
    operation = int(rng.integers(3))
    if operation == 0 and len(values):
        del values[span(rng, len(values), len(values))]
    elif field.type == field.TYPE_MESSAGE:
        values.add().CopyFrom(pick(rng, values)) if len(values) else values.add()
    elif operation == 1 and len(values):
        values[int(rng.integers(len(values)))] = _scalar(field, rng)
    else:
        values.extend([_scalar(field, rng)] * int(rng.integers(1, 5)))


def _scalar(field: Any, rng: np.random.Generator) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return pick(rng, [0.0, -1.0, math.nan, math.inf, -math.inf, 3e38, 1e-45])
    if field.cpp_type == field.CPPTYPE_STRING:
        return b"\0\xff" if field.type == field.TYPE_BYTES else pick(rng, WORDS)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return bool(rng.integers(2))
    if field.cpp_type == field.CPPTYPE_ENUM:
        return pick(rng, field.enum_type.values).number
    bits, signed = (64 if "64" in {field.CPPTYPE_INT64: "64", field.CPPTYPE_UINT64: "64"}.get(field.cpp_type, "") else
                    32), field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    most = 2 ** (bits - signed) - 1
    return pick(rng, [0, 1, 2, 3, 7, 1000, 65536, most // 2, most, *([-1, -most - 1] if signed else [])])


# ---- arrays
def damage_npz(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace an array with one of another shape, type or content, remove or rename it, or compress the file."""
    try:
        arrays = {name: array for name, array in np.load(io.BytesIO(data)).items() if isinstance(array, np.ndarray)}
    except Exception:       # noqa: BLE001  # of many classes
        arrays = {}
    if not arrays:
        return damage_bytes(data, rng)
    name = pick(rng, sorted(arrays))
    array = arrays.pop(name)
    if rng.random() < 0.9:
        arrays[name if rng.random() < 0.9 else "other"] = _other_array(array, rng)
    stream = io.BytesIO()
    (np.savez_compressed if rng.random() < 0.3 else np.savez)(stream, **arrays)
    if rng.random() < 0.1:
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr("../outside.npy", b"x")
    return stream.getvalue()


def _other_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    operation = int(rng.integers(7))
    if operation == 0:
        return array[:int(rng.integers(len(array) + 1))] if array.ndim else array
    if operation == 1:
        return array.reshape(pick(rng, [(-1,), (1, *array.shape), (*array.shape, 1), array.shape[::-1]]))
    if operation == 2:
        with np.errstate(all="ignore"):
            return array.astype(pick(rng, DTYPES)) if array.dtype.kind in "fiu" else array.astype("S5")
    if operation == 3 and array.size and array.dtype.kind in "fiu":
        array = array.copy()
        values = [math.nan, math.inf, -1e30, 0]
        if array.dtype.kind in "iu":
            limits = np.iinfo(array.dtype)
            values = [value for value in (-1, 0, 2**62) if limits.min <= value <= limits.max]
        with np.errstate(all="ignore"):
            array.flat[int(rng.integers(array.size))] = pick(rng, values)
        return array
    if operation == 4:
        return np.zeros((0, *array.shape[1:]), array.dtype)
    if operation == 5:
        return np.concatenate([array, array]) if array.ndim else array
    return np.asfortranarray(array)


# ---- HDF5
def damage_hdf5(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace a data set with one of another shape, type or storage, a group or a link, or remove or rename it."""
    stream = io.BytesIO(data)
    try:
        with h5py.File(stream, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            if names:
                _damage_item(file, pick(rng, names), rng)
    except Exception:       # noqa: BLE001  # of many classes
        return damage_bytes(data, rng)
    return stream.getvalue()


def _damage_item(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    item, operation = file[name], int(rng.integers(6))
    array = item[()] if isinstance(item, h5py.Dataset) else np.zeros((2, 3), np.float32)
    if operation == 0:
        file.move(name, name + "x")
        return
    del file[name]
    if operation == 1:
        file[name] = pick(rng, [h5py.SoftLink("/nowhere"), h5py.SoftLink("/"), h5py.ExternalLink("/etc/passwd", "/"),
                                h5py.SoftLink("/" + name)])
    elif operation == 2:
        file.create_group(name)
    elif operation == 3:
        file.create_dataset(name, shape=pick(rng, [(2**31, 4), (2**20, 2**20), (0,), (1, 2**33)]), dtype="f4",
                            chunks=(1, 1) if rng.random() < 0.5 else None)
    elif operation == 4:
        file.create_dataset(name, data=np.asarray(_other_array(np.atleast_1d(array), rng)))


# ---- images
def damage_image(data: bytes, rng: np.random.Generator) -> bytes:
    """Change sides, bit depth or colour type in the header, with a valid checksum, or rotate a JPEG by its EXIF tag."""
    if data[12:16] == b"IHDR" and len(data) > 33:
        fields = list(struct.unpack(">IIBBBBB", data[16:29]))
        place = int(rng.integers(5))
        fields[place] = pick(rng, SIDES if place < 2 else [0, 1, 2, 3, 4, 6, 8, 16, 255])
        header = b"IHDR" + struct.pack(">IIBBBBB", *fields)
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    frame = re.search(rb"\xff[\xc0-\xc2]\0.", data)
    if data[:2] == b"\xff\xd8" and rng.random() < 0.4:
        tag = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x112, 3, 1, int(rng.integers(0, 10)), 0)
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(tag) + 2) + tag + data[2:]
    if data[:2] == b"\xff\xd8" and frame:
        place = frame.end() + 1 + 2 * int(rng.integers(2))
        return data[:place] + struct.pack(">H", pick(rng, SIDES) % 65536) + data[place + 2:]
    place = int(rng.integers(max(1, min(len(data), 120) - 4)))
    return data[:place] + struct.pack("<I", pick(rng, SIDES)) + data[place + 4:]


# ---- all together
def damaged(data: bytes, mutations: Sequence[Mutation], rng: np.random.Generator) -> bytes:
    """Apply one to four mutations to some data."""
    for _ in range(int(rng.integers(1, 5))):
        data = pick(rng, mutations)(data, rng)[:MOST_BYTES]
    return data
