"""The syntax of one source file, as fingerprints see it: top-level statements by name, in a normal form.

`ast.dump` of one file differs between Python 3.11, 3.12 and 3.13; this form does not. Left out: comments,
layout, docstrings, and annotations that nothing reads at run time (of parameters, returns and variables;
those of a class body and of a decorated function stay, since dataclasses, pydantic and dispatchers read them).
"""

from __future__ import annotations

import ast
import contextlib
import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

EFFECTS = "<effects>"  # statements of a module that define nothing, such as cv2.setNumThreads(1)

# Fields that say nothing (ctx follows from the place) or that hold what only checkers read.
_SILENT_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})

_PARSE_ATTEMPTS = 10

Chain = tuple[str, ...]  # a dotted name as it stands in the code: ("quality", "score")


@dataclass(frozen=True)
class Import:
    """What a name is bound to: a module, or an attribute of one."""

    module: str
    attribute: str | None = None

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}" if self.attribute else self.module


@dataclass(frozen=True)
class Definition:
    """One top-level statement: its normal form, the names it uses, and the imports inside it."""

    text: str
    chains: frozenset[Chain]
    imports: tuple[tuple[str, Import], ...]


@dataclass
class Module:
    """The top level of one file: statements by the name that they define, and what its imports bind."""

    package: str  # that relative imports start from
    is_package: bool
    statements: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    definitions: dict[str, list[Definition]] = field(default_factory=dict)

    def define(self, name: str) -> list[Definition]:
        """A name's statements in normal form, worked out when first asked for."""
        if name not in self.definitions:
            self.definitions[name] = [
                _normal_form(statement, self.package) for statement in self.statements.get(name, ())
            ]
        return self.definitions[name]


def _parse(source: bytes, filename: str) -> ast.Module:
    """The tree of a source; the same at every attempt.

    All threads share one depth counter of Python's parser up to 3.11.7 and 3.12.1 (gh-106905): where another one
    parses at the same time, as Prefect's do, it raises SystemError for a sound source.
    """
    for _ in range(_PARSE_ATTEMPTS - 1):
        with contextlib.suppress(SystemError):
            return ast.parse(source, filename)
    return ast.parse(source, filename)


@functools.lru_cache(maxsize=1024)
def parse_module(file: Path, name: str, is_package: bool, modified_ns: int, size: int) -> Module:
    """Read one file's top level. Its time (ns) and size are there for the cache: an edited file is read again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        tree = _parse(file.read_bytes(), str(file))
    module = Module(name if is_package else name.rpartition(".")[0], is_package)
    for statement in tree.body:
        _sort_statement(module, statement)
    return module


def is_registry(statement: ast.stmt) -> bool:
    """Whether a statement is a table of variants: a name, and the module of this project that holds it."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(statement.value, ast.Dict):
        return False
    rows = statement.value.values
    return bool(rows) and all(
        isinstance(row, ast.Constant) and isinstance(row.value, str) and row.value.startswith("tasks.") for row in rows
    )


def _sort_statement(module: Module, statement: ast.stmt) -> None:
    """File a top-level statement under the names that it binds or changes, or under the effects."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return
    condition = ast.unparse(statement.test) if isinstance(statement, ast.If) else ""
    if condition == "__name__ == '__main__'":
        return  # never runs in an import
    for node in _own_nodes(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias, target in _imports_of(node, module.package):
                if alias == "*":
                    module.stars.append(target.module)
                else:
                    module.imports.setdefault(alias, []).append(target)
    if isinstance(statement, ast.Import | ast.ImportFrom) or condition.removeprefix("typing.") == "TYPE_CHECKING":
        return
    names = _bound_names(statement) | (_changed_names(statement) & module.statements.keys())
    for name in names or {EFFECTS}:
        module.statements.setdefault(name, []).append(statement)


def _bound_names(statement: ast.stmt) -> set[str]:
    names = set()
    for node in _own_nodes(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
    return names


def _changed_names(statement: ast.stmt) -> set[str]:
    """Names whose value the statement may change: TABLE["klt"] = follow, TABLE.update(...)."""
    names = set()
    for node in _own_nodes(statement):
        if isinstance(node, ast.Attribute | ast.Subscript):
            root: ast.expr = node
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name):
                names.add(root.id)
    return names


def _own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement's nodes down to, and without, the bodies of functions, classes and comprehensions."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.comprehension)
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, inner):
            waiting.extend(ast.iter_child_nodes(node))


def _imports_of(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Import]]:
    if isinstance(node, ast.Import):
        for alias in node.names:  # `import tasks.track` binds tasks
            top = alias.name.split(".")[0]
            yield (alias.asname, Import(alias.name)) if alias.asname else (top, Import(top))
        return
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
    module = ".".join(part for part in (base, node.module) if part)
    for alias in node.names:
        yield alias.asname or alias.name, Import(module, alias.name)


def _normal_form(statement: ast.stmt, package: str) -> Definition:
    writer = _Writer(package)
    writer.node(statement)
    return Definition("".join(writer.pieces), frozenset(writer.chains), tuple(writer.imports))


class _Writer:
    """Writes a tree as `Type(field=...)`, fields by name and empty ones left out, and collects its names.

    A name counts as used wherever it stands, shadowed or not: rather a unit too many than a stale one.
    """

    def __init__(self, package: str) -> None:
        self.pieces: list[str] = []
        self.chains: set[Chain] = set()
        self.imports: list[tuple[str, Import]] = []
        self._package = package
        self._keeps_annotations = False

    def node(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.imports.extend(_imports_of(node, self._package))
        elif isinstance(node, ast.AnnAssign) and node.value is not None and not self._keeps_annotations:
            node = ast.Assign(targets=[node.target], value=node.value)
        elif isinstance(node, ast.JoinedStr):
            self._joined(node)
            return
        elif isinstance(node, ast.Name | ast.Attribute) and (chain := _chain(node)):
            self.chains.add(chain)
            self.pieces.append(f"Name({'.'.join(chain)})")
            return
        kept = self._keeps_annotations
        if isinstance(node, ast.ClassDef):
            self._keeps_annotations = True
        self._fields(node)
        self._keeps_annotations = kept

    def _fields(self, node: ast.AST) -> None:
        self.pieces.append(f"{type(node).__name__}(")
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        reads_types = is_function and bool(getattr(node, "decorator_list", None))
        for name in sorted(node._fields):
            value = getattr(node, name, None)
            if name in _SILENT_FIELDS or value == []:
                continue
            if value is None and not isinstance(node, ast.Constant):
                continue
            if is_function:
                self._keeps_annotations = reads_types and name != "body"
            if name in {"annotation", "returns"} and not self._keeps_annotations:
                continue
            self.pieces.append(f"{name}=")
            self._value(value)
        self.pieces.append(")")

    def _value(self, value: object) -> None:
        if isinstance(value, list):
            self.pieces.append("[")
            for item in value:
                if not self._says_nothing(item):
                    self._value(item)
                    self.pieces.append(",")
            self.pieces.append("]")
        elif isinstance(value, ast.AST):
            self.node(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            self.pieces.append(hex(value))
        else:
            self.pieces.append(ascii(value))  # repr would follow the Python version's Unicode tables

    def _says_nothing(self, item: object) -> bool:
        """Docstrings and other loose constants, `pass`, and a variable's annotation without a value do nothing."""
        if isinstance(item, ast.AnnAssign):
            return item.value is None and not self._keeps_annotations
        return isinstance(item, ast.Pass) or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))

    def _joined(self, node: ast.JoinedStr) -> None:
        """An f-string: neighbouring texts joined, empty ones and empty format specs left out."""
        self.pieces.append("JoinedStr[")
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            assert isinstance(part, ast.FormattedValue), "an f-string holds texts and values"
            self.pieces.append(f"{text!a},{part.conversion}:")
            text = ""
            self.node(part.value)
            if isinstance(part.format_spec, ast.JoinedStr) and part.format_spec.values:
                self._joined(part.format_spec)
        self.pieces.append(f"{text!a}]")


def _chain(node: ast.AST) -> Chain:
    """The dotted name that the node is, or nothing."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()
