"""Loads untrusted YAML: plain values only, with limits on nesting and on expansion by aliases."""
from __future__ import annotations

import re
from typing import Any

import yaml

_MAX_DEPTH = 50             # of nested collections, as PyYAML recurses
_MAX_REPEATED = 10_000      # values that aliases may add
_LONG_NUMBER = re.compile(r"[-+]?[0-9][0-9A-Fa-fx_:]{1000,}")      # may be too long for Python to print


def _recognised(*kinds: str) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """SafeLoader's rules for unquoted values, limited to these kinds; all others are texts."""
    tags = {f"tag:yaml.org,2002:{kind}" for kind in kinds}
    return {first: [rule for rule in rules if rule[0] in tags]
            for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()}


class TextLoader(yaml.SafeLoader):
    """Reads all values as texts, as they are written: no is not False, 0402 not the octal number 258."""
    yaml_implicit_resolvers = _recognised("merge")


class NumbersAsTextLoader(yaml.SafeLoader):
    """Reads numbers and dates as texts, as they are written."""
    yaml_implicit_resolvers = _recognised("merge", "bool", "null")


class RefusedYaml(yaml.YAMLError):
    """The text is not YAML, expands too much, or has a value that cannot be read; the message names the line."""


def load_yaml(text: str, loader: type = yaml.SafeLoader) -> Any:
    """Load the value of a YAML document.

    loader  a subclass of SafeLoader
    Raises RefusedYaml, with a message of one line, if it is not YAML, expands too much by aliases, contains itself, is
    nested too deep, or gives a key twice.
    """
    try:
        _check(text, loader)
        return _load(loader(text))
    except yaml.MarkedYAMLError as error:
        raise RefusedYaml(_one_line(error)) from None
    except yaml.reader.ReaderError as error:
        raise RefusedYaml(f"character {error.position + 1} is {chr(error.character)!r}: {error.reason}") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # raised for values such as the date 2001-99-99, or a number of 5000 digits
        raise RefusedYaml(f"a value cannot be read: {error}") from None


def _one_line(error: yaml.MarkedYAMLError) -> str:
    """Where PyYAML stopped and why, such as `line 2, column 5: expected ']', while parsing ... from line 1 on`."""
    place, start = error.problem_mark or error.context_mark, error.context_mark
    where = f"line {place.line + 1}, column {place.column + 1}: " if place else ""
    context = f", {error.context}{f' from line {start.line + 1} on' if start else ''}" if error.context else ""
    return f"{where}{error.problem or 'not YAML'}{context}"


def _load(loader: yaml.SafeLoader) -> Any:
    """The value of the loader's only document."""
    try:
        root = loader.get_single_node()
        _check_keys(root)
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _check(text: str, loader: type) -> None:
    """Check the limits by counting values, without constructing them."""
    sizes: dict[str, int] = {}          # values below each anchor
    nested: list[tuple[str | None, int]] = []       # anchor of each open collection, and the values before it
    total = repeated = 0
    for event in yaml.parse(text, loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in nested):
                raise RefusedYaml(f"line {line}: *{event.anchor} contains itself")
            size = sizes.get(event.anchor or "", 1)
            total, repeated = total + size, repeated + size
            if repeated > _MAX_REPEATED:
                raise RefusedYaml(f"line {line}: aliases expand to more than {_MAX_REPEATED} values")
        elif isinstance(event, yaml.CollectionStartEvent):
            nested.append((event.anchor, total))
            total += 1
            if len(nested) > _MAX_DEPTH:
                raise RefusedYaml(f"line {line}: nested more than {_MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = nested.pop()
            if anchor:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
            if not event.implicit[1] and _LONG_NUMBER.fullmatch(event.value):      # quoted text may be as long
                raise RefusedYaml(f"line {line}: a number of {len(event.value)} digits")


def _check_keys(root: yaml.Node | None) -> None:
    """Raise RefusedYaml for a key that a mapping has twice: its first value would be lost."""
    nodes, known = [root], set()
    while nodes:
        node = nodes.pop()
        if id(node) in known or not isinstance(node, yaml.CollectionNode):      # an alias is the same node
            continue
        known.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_mapping(node)
            nodes += [value for _, value in node.value]
        else:
            nodes += node.value


def _check_mapping(node: yaml.MappingNode) -> None:
    found: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in found:
                raise RefusedYaml(f"line {key.start_mark.line + 1}: the key {key.value} is given twice")
            found.add((key.tag, key.value))
