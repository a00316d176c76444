"""A state comes back as it was yielded, and what somebody planted in its place executes nothing."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from hpo.errors import StorageError
from hpo.messages import Epoch
from hpo.own import state
from hpo.system import checkpoints
from hpo.system.files import sealed

HISTORY = [Epoch(1, 0.5, 0.1), Epoch(2, float("inf"), 0.1, 0.0, {"loss": float("nan")})]
IDENTITY = {"lr": 0.1, "seed": 3}
PLAIN = {"a": [1, 2.5, None, True, "text", (1, 2)], "b": {"c": {1, 2}}, "bytes": b"x", "z": 1j}


def test_tensors_arrays_numbers_and_containers_come_back(tmp_path):
    yielded = PLAIN | {
        "net": {"w": torch.arange(6.0).view(2, 3)},
        "array": np.arange(4, dtype=np.float32),
        "one": np.float64(2.5),
    }
    path = state.save(tmp_path, IDENTITY, HISTORY, yielded, check=True)
    history, found = state.load(path, IDENTITY)
    assert str(history) == str(HISTORY)
    assert torch.equal(found["net"]["w"], yielded["net"]["w"])
    assert np.array_equal(found["array"], yielded["array"])
    assert {key: found[key] for key in (*PLAIN, "one")} == {key: yielded[key] for key in (*PLAIN, "one")}


def test_without_torch_arrays_and_containers_come_back_and_torch_stays_out(tmp_path):
    code = f"""
import sys, pathlib, numpy as np
from hpo.own import state
from hpo.messages import Epoch
yielded = {PLAIN!r} | {{"array": np.arange(4.0), "one": np.float64(2.5), "whole": np.int64(3)}}
path = state.save(pathlib.Path({str(tmp_path)!r}), {{}}, [Epoch(1, 0.5, 0.1)], yielded, check=True)
_, found = state.load(path, {{}})
assert np.array_equal(found.pop("array"), yielded.pop("array")) and found == yielded
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_newest_two_are_kept(tmp_path):
    for n in range(1, 5):
        state.save(tmp_path, IDENTITY, [Epoch(i, 0.5, 0.1) for i in range(1, n + 1)], n, check=False)
    assert [path.name for path in checkpoints.newest_first(tmp_path)] == ["epoch-0004.ckpt", "epoch-0003.ckpt"]


@pytest.mark.parametrize("kind", ["plain", "torch"])
def test_a_planted_state_executes_nothing(tmp_path, kind):
    class Planted:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    head = json.dumps({"identity": IDENTITY, "history": HISTORY, "kind": kind}).encode()
    path = tmp_path / "epoch-0002.ckpt"
    path.write_bytes(sealed(head + b"\n" + pickle.dumps(Planted(), protocol=2)))
    with pytest.raises(StorageError, match="contains no state of this training"):
        state.load(path, IDENTITY)
    assert not (tmp_path / "executed").exists()


def test_what_no_checkpoint_keeps_is_known_when_it_is_first_written(tmp_path):
    with pytest.raises(state.UnkeptError):
        state.save(tmp_path, IDENTITY, HISTORY, {"f": print, "net": Epoch}, check=True)
    assert not list(tmp_path.iterdir())


def test_a_state_of_another_trial_or_damaged_is_said(tmp_path):
    path = state.save(tmp_path, IDENTITY, HISTORY, 1, check=True)
    with pytest.raises(StorageError, match="of another configuration, seed or number of epochs"):
        state.load(path, IDENTITY | {"seed": 4})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match="incomplete or damaged"):
        state.load(path, IDENTITY)
