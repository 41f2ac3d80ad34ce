"""Explains why protobuf refused a prototxt: the layer, what was expected, the nearest valid name."""
from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from .forks import fork_of
from .scan import Block, Scanner, line_of, scan, tokens

_KINDS = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_INT64: "a whole number",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number from 0 to 4294967295",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_STRING: "text in quotes",
    FieldDescriptor.CPPTYPE_MESSAGE: "a block in braces",
}


def nearest(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the most similar name, or nothing."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower().strip("\"'"), by_lower, n=1)
    return f"; did you mean '{by_lower[found[0]]}'?" if found else ""


def explain(text: str, offset: int, root: Descriptor, reason: str) -> str:
    """Describe what is wrong at an offset of a text that should be a message of type `root`.

    `reason` is protobuf's own message, for cases not handled here.
    """
    state = scan(text, offset)
    token = next((token for _, token, start in tokens(text[offset:]) if start == 0), "")
    message = _open_messages(state.blocks, root)
    said = _explain_twice(reason) or _explain_marks(text, offset, token, state)
    if said is None and message:
        said = (_explain_value(token, state, message[-1]) if state.in_value
                else _explain_name(text, token, state, message))
    return _layer(state.blocks) + (said or f"{reason} (found {token or 'the end of the file'!r})")


def _layer(blocks: list[Block]) -> str:
    named = [block.name for block in blocks if block.name and block.key in ("layer", "layers")]
    return f"layer '{named[-1]}': " if named else ""


def _open_messages(blocks: list[Block], root: Descriptor) -> list[Descriptor]:
    """The message types of the root and the open blocks; empty if a block's name is unknown."""
    types = [root]
    for block in blocks:
        entry = types[-1].fields_by_name.get(block.key)
        if entry is None or entry.message_type is None:
            return []
        types.append(entry.message_type)
    return types


def _explain_twice(reason: str) -> str | None:
    found = re.search(r'"caffe\.(\w+)" should not have multiple "(\w+)"', reason)
    return f"{found[1]} takes only one '{found[2]}', this is the second" if found else None


def _explain_marks(text: str, offset: int, token: str, state: Scanner) -> str | None:
    """Explain comments in another syntax, and quotes and brackets without a counterpart."""
    block = state.blocks[-1] if state.blocks else None
    if token in ("'", '"'):
        return f"text without a closing {token} on its line"
    if token.startswith(("//", "/*")):
        return "a comment begins with #"
    if token in ("}", ">") and block is None:
        return f"'{token}' closes nothing: there is one '{token}' too many, here or before"
    if token in ("}", ">") and block and token != block.closing:
        return f"expected '{block.closing}' for {_opened(text, block)}, found '{token}'"
    unclosed = scan(text).blocks
    if unclosed and len(list(tokens(text[offset:]))) <= 1:
        missing = unclosed[-1]
        return f"the file ends and {_opened(text, missing)} is not closed: '{missing.closing}' is missing"
    return None


def _opened(text: str, block: Block) -> str:
    return f"the block '{block.key} {block.bracket}' opened in line {line_of(text, block.start)}"


def _explain_value(token: str, state: Scanner, message: Descriptor) -> str | None:
    entry = message.fields_by_name.get(state.key)
    if entry is None:
        return None
    hint = ""
    if entry.enum_type:
        names = [value.name for value in entry.enum_type.values]
        expected = "one of " + ", ".join(names) if len(names) <= 8 else f"a value of {entry.enum_type.name}"
        hint = nearest(token, names)
    else:
        expected = _KINDS[entry.cpp_type]
    return f"{message.name}.{entry.name}: expected {expected}, found {token or 'the end of the file'}{hint}"


def _explain_name(text: str, token: str, state: Scanner, types: list[Descriptor]) -> str | None:
    message = types[-1]
    known = message.fields_by_name
    if state.last == state.key and state.key in known:
        return f"expected ':' after '{state.key}', found {token}"
    extension = state.last == "[" or "." in state.key
    if not token.isidentifier() or token in known or extension:
        return None
    said = f"{message.name} has no field '{token}'"
    outer = [kind.name for kind in types[:-1] if token in kind.fields_by_name]
    if outer:
        said += f", {outer[-1]} has: is {_opened(text, state.blocks[-1])} closed where it should be?"
        return said
    fork = fork_of(token)
    if fork:
        return f"{said}: it is one of {fork}, which this package does not have"
    return said + nearest(token, known)
