"""Code fingerprints: a digest of the definitions that a unit's work can reach, the same on every Python.

Sources are read, never imported, so that a planner pays milliseconds. Followed are the names that a definition
uses, to definitions of its module and, through imports wherever they stand, to those of other modules of this
project. Other libraries are named, not entered. What is reached only through a string (a registry's row) or
through a parameter's type is not seen: pass it as its own entry.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from storage.syntax import EFFECTS, Chain, Import, Module, is_registry, parse_module

_PROJECT = Path(__file__).resolve().parent.parent
_DIGEST_HEX = 16  # 64 bits: no adversary, and a manifest holds one a module
_FIRST_PARTY = frozenset({"flows", "tasks", "storage"})
_NAMED_ONLY = re.compile(r"storage(\..*)?|tasks\.configuration|tasks\.\w+\.config")


def fingerprint(*entries: str, folder: Path = _PROJECT) -> dict[str, str]:
    """`module_digests`, computed once a process: of the code that the process has imported."""
    return dict(_fingerprint(entries, folder))


def module_digests(*entries: str, folder: Path = _PROJECT) -> dict[str, str]:
    """A digest (16 hex digits of a SHA-256) of the reachable code by module.

    By module, so that the difference of two key documents names the files. An entry is "package.module" (all its
    definitions and what they reach) or "package.module:name" (that definition and what it reaches). `folder` holds
    the packages flows, tasks and storage. Raises ValueError where an entry or a first-party import has no source.
    """
    reach = _Reach(folder)
    for entry in entries:
        module, _, name = entry.partition(":")
        if reach.module(module) is None:
            raise ValueError(f"fingerprint: {entry!r} names no module below {folder}")
        if name and not reach.module_holds(module, name):
            raise ValueError(f"fingerprint: {entry!r} names no definition of {module}")
        reach.pending.append((module, name))
    reach.run()
    digests = {}
    for module in sorted(reach.records):
        lines = sorted(f"{name}\t{text}" for name, text in reach.records[module])
        digests[module] = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_DIGEST_HEX]
    return digests


@functools.cache
def _fingerprint(entries: tuple[str, ...], folder: Path) -> dict[str, str]:
    return module_digests(*entries, folder=folder)


class _Reach:
    """A walk over definitions; `records` collects, by module, (name, normal form) of all that was reached."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, set[tuple[str, str]]] = {}
        self.pending: list[tuple[str, str]] = []  # (module, name); an empty name is the whole module
        self._seen: set[tuple[str, str]] = set()

    def module(self, name: str) -> Module | None:
        """The parsed module or package of that name, or None where there is none."""
        path = self.folder.joinpath(*name.split("."))
        for file, is_package in ((path.with_suffix(".py"), False), (path / "__init__.py", True)):
            if file.is_file():
                status = file.stat()
                return parse_module(file, name, is_package, status.st_mtime_ns, status.st_size)
        return Module(name, is_package=True) if path.is_dir() else None

    def module_holds(self, module: str, name: str) -> bool:
        held = self.module(module)
        return held is not None and (name in held.statements or name in held.imports)

    def run(self) -> None:
        """Visit definitions until nothing new is reached."""
        while self.pending:
            step = self.pending.pop()
            if step in self._seen:
                continue
            self._seen.add(step)
            self._touch(step[0])
            self._visit(*step)

    def _touch(self, module: str) -> None:
        """Reaching into a module runs its loose statements and those of the packages above it."""
        parts = module.split(".")
        self.pending.extend((".".join(parts[:count]), EFFECTS) for count in range(1, len(parts) + 1))

    def _visit(self, name: str, definition: str) -> None:
        module = self._require(name)
        if not definition:
            self.pending.extend((name, each) for each in module.statements)
            if module.is_package:  # its imports are its definitions
                for alias, targets in module.imports.items():
                    self._follow_all(name, targets, (alias,))
            return
        self._follow_all(name, module.imports.get(definition, ()), (definition,))
        if all(map(is_registry, module.statements.get(definition, ()))):
            return
        for each in module.define(definition):
            self._record(name, definition, each.text)
            inner: dict[str, list[Import]] = {}
            for alias, target in each.imports:
                inner.setdefault(alias, []).append(target)
                if self._is_entered(target.module):
                    self._touch(target.module)
            for chain in each.chains:
                self._follow_all(name, inner.get(chain[0], ()), chain)
                self._follow_all(name, module.imports.get(chain[0], ()), chain)
                if chain[0] in module.statements:
                    self.pending.append((name, chain[0]))
                elif chain[0] not in module.imports:
                    self._follow_stars(module, chain)

    def _follow_all(self, module: str, targets: Sequence[Import], chain: Chain) -> None:
        for target in targets:
            self._record(module, f"import {chain[0]}", str(target))
            self._follow(target, chain[1:])

    def _follow(self, target: Import, rest: Chain) -> None:
        if not self._is_entered(target.module):
            return
        if target.attribute is not None:
            self._follow_name(target.module, target.attribute, rest)
        elif rest:
            self._follow_name(target.module, rest[0], rest[1:])
        else:
            self.pending.append((target.module, ""))

    def _follow_name(self, name: str, attribute: str, rest: Chain) -> None:
        """`attribute` of a module: its definition, its import followed on, a submodule, or else all of it."""
        module = self._require(name)
        if attribute in module.statements:
            self.pending.append((name, attribute))
        if attribute in module.imports:
            self._follow_all(name, module.imports[attribute], (attribute, *rest))
        elif attribute not in module.statements:
            submodule = f"{name}.{attribute}"
            if self.module(submodule) is not None:
                self._follow(Import(submodule), rest)
            elif not self._follow_stars(module, (attribute, *rest)) and not attribute.startswith("__"):
                self.pending.append((name, ""))

    def _follow_stars(self, module: Module, chain: Chain) -> bool:
        found = False
        for star in module.stars:
            if self._is_entered(star) and self.module_holds(star, chain[0]):
                self._follow_name(star, chain[0], chain[1:])
                found = True
        return found

    def _is_entered(self, module: str) -> bool:
        top = module.split(".", 1)[0]
        return top in _FIRST_PARTY and not _NAMED_ONLY.fullmatch(module)

    def _require(self, name: str) -> Module:
        module = self.module(name)
        if module is None:
            raise ValueError(f"fingerprint: {name} is imported but has no source below {self.folder}")
        return module

    def _record(self, module: str, name: str, text: str) -> None:
        self.records.setdefault(module, set()).add((name, text))
