"""Where a long unit of the stage keeps its state while it runs, so that a killed run goes on from there."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping

import safetensors.torch
import torch

from storage.keys import KeyDocument
from storage.layout import attempts_document_path, attempts_folder
from storage.root import Root

_log = logging.getLogger(__name__)
_NAME = re.compile(r"state-(\d{9})-([0-9a-f]{16})\.safetensors")


class Attempts:
    """The states of a unit that is not committed yet: `evaluate/<key>/attempts/state-<step>-<sha16>.safetensors`."""

    def __init__(self, root: Root, document: KeyDocument) -> None:
        self._root = root
        self._document = document
        self._folder = attempts_folder(document.stage, document.key)

    def newest(self) -> tuple[int, dict[str, torch.Tensor]]:
        """The step of the newest whole state and its tensors by name; 0 and none where there is none."""
        for name in self._names():
            step, digest = _NAME.fullmatch(name).groups()  # type: ignore[union-attr]  # `_names` gives no other
            data = self._root.read_bytes(f"{self._folder}/{name}")
            if hashlib.sha256(data).hexdigest().startswith(digest):
                return int(step), safetensors.torch.load(data)
            _log.warning("%s/%s is damaged; trying the one before", self._folder, name)
        return 0, {}

    def save(self, step: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the state after so many steps, then remove the older ones.

        Beside it stands what the unit is made from, by which `gc` tells whether a run may still go on from it.
        """
        before = self._names()
        inputs = self._document.inputs  # of an exported network nothing but the proposals lies in the root
        made_from = {"inputs": {"train": inputs.get("train"), "proposals": inputs.get("proposals")}}
        self._root.write_bytes(self._document_path, json.dumps(made_from).encode())
        data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        self._root.write_bytes(
            f"{self._folder}/state-{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors", data
        )
        self._root.remove_many(f"{self._folder}/{name}" for name in before)

    def clear(self) -> None:
        """Remove all, once the unit is committed."""
        if names := self._names():
            self._root.remove_many([self._document_path, *(f"{self._folder}/{name}" for name in names)])

    @property
    def _document_path(self) -> str:
        return attempts_document_path(self._document.stage, self._document.key)

    def _names(self) -> list[str]:
        """The newest first."""
        return sorted(filter(_NAME.fullmatch, self._root.names(self._folder)), reverse=True)
