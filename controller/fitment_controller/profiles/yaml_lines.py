"""YAML with line numbers: the data of a file, and the line on which each of its parts stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Location = Sequence[str | int]


class YamlProblem(Exception):
    """A file that is not YAML as wanted here.

    Attributes:
        line: counted from 1.
        what: the fault, in a few words.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"{line}: {what}")
        self.line = line
        self.what = what


@dataclass(frozen=True)
class LinedYaml:
    """A document's data beside its node tree."""

    data: Any
    root: yaml.Node | None

    def line(self, location: Location) -> int:
        """The line of the deepest part of `location` that the document has, from 1."""
        node, line = self.root, 1
        if node is not None:
            line = node.start_mark.line + 1
        for step in location:
            found = _child(node, step)
            if found is None:
                return line
            mark, node = found
            line = mark.start_mark.line + 1
        return line


class _PlainLoader(yaml.SafeLoader):
    """Reads `22:00` as the text that it is; YAML 1.1 would make a number to the base 60 of it."""

    def construct_plain_number(self, node: yaml.ScalarNode) -> Any:
        """A number, unless it has a colon."""
        if ":" in str(node.value):
            return self.construct_scalar(node)
        is_whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _PlainLoader.construct_plain_number)


def load_lined(text: str) -> LinedYaml:
    """Parse one YAML document, plain data only.

    Raises:
        YamlProblem: not YAML, or a key stands twice in one mapping.
    """
    try:
        loader = _PlainLoader(text)
        try:
            root = loader.get_single_node()
            _refuse_duplicates(root)
            data = loader.construct_document(root) if root is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = str(error.problem or error.context or "cannot be parsed")
        raise YamlProblem(mark.line + 1 if mark else 1, f"not YAML: {what}") from None
    except yaml.YAMLError as error:
        raise YamlProblem(1, f"not YAML: {error}") from None
    except RecursionError:
        raise YamlProblem(1, "not YAML: nested too deeply") from None
    return LinedYaml(data, root)


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node that marks the place of `step` below `node`, and the node to go on from."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def _refuse_duplicates(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise YamlProblem(key.start_mark.line + 1, f"key {name!r} stands here twice")
            seen.add(name)
            _refuse_duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item)
