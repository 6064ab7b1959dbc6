"""The automatic choice of an estimator."""

from __future__ import annotations

import pytest

from tasks.track.choose import choose_estimator
from tasks.track.estimators import ESTIMATORS


@pytest.mark.parametrize(("device", "name"), [("cpu", "klt"), ("mps", "klt"), ("cuda", "torch"), ("cuda:1", "torch")])
def test_the_automatic_choice_is_torch_where_there_is_cuda(device: str, name: str) -> None:
    assert choose_estimator(device) == name
    assert name in ESTIMATORS


@pytest.mark.parametrize("device", ["auto", "", "gpu", "cudax"])
def test_nothing_is_chosen_for_an_unresolved_device(device: str) -> None:
    with pytest.raises(ValueError, match=f"{device!r} chooses no estimator"):
        choose_estimator(device)
