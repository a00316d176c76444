"""Trainings of one process share its memory: what one has taken is not there for another, until nothing refers to it any more."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
from tiny import config

from hpo.networks.device import on_host
from hpo.objective import CrowdedError, TrialError
from hpo.training import memory
from hpo.training.memory import Room
from hpo.training.worker import forget

MIB = 2**20


class Owner:
    pass


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(memory, "PATIENCE", 0.2)


def test_what_would_not_fit_in_any_case_is_refused_for_good():
    with pytest.raises(TrialError, match=r"would take about 101 MiB and 100 MiB are free") as refused:
        Room(100 * MIB).take(Owner(), 101 * MIB, config())
    assert not isinstance(refused.value, CrowdedError)


def test_what_would_not_fit_beside_others_is_refused_as_crowded_and_fits_once_they_are_gone():
    room, first, second = Room(100 * MIB), Owner(), Owner()
    room.take(first, 70 * MIB, config())
    with pytest.raises(CrowdedError, match=r"would take about 40 MiB and 30 MiB are free") as refused:
        room.take(second, 40 * MIB, config())
    assert refused.value.cause == "memory"
    room.take(second, 30 * MIB, config())
    del first
    gc.collect()
    room.take(Owner(), 70 * MIB, config())


def test_a_training_that_is_just_ending_is_waited_for():
    room, leaving = Room(100 * MIB), [Owner()]
    room.take(leaving[0], 70 * MIB, config())
    timer = threading.Timer(0.05, leaving.clear)
    timer.start()
    room.take(Owner(), 70 * MIB, config())
    timer.join()


def test_an_error_that_is_forgotten_holds_nothing():
    seen = []

    def deepest():
        held = Owner()
        seen.append(weakref.ref(held))
        raise RuntimeError

    def training():
        also = Owner()
        seen.append(weakref.ref(also))
        try:
            deepest()
        except RuntimeError:
            raise TrialError("memory", "none is left") from None

    gc.disable()
    try:
        training()
    except TrialError as error:
        assert [ref() is None for ref in seen] == [False, False]
        forget(error)
        assert [ref() is None for ref in seen] == [True, True]
    finally:
        gc.enable()
    assert len(seen) == 2


def test_a_state_on_the_host_is_the_state():
    weights = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    state = {"net": {"a": weights}, "groups": [{"lr": 0.1, "params": [0, 1]}], "pair": (weights, None), "epoch": 3}
    copied = on_host(state)
    assert torch.equal(copied["net"]["a"], weights)
    assert copied["net"]["a"].stride() == weights.stride()
    assert (copied["groups"], copied["epoch"], copied["pair"][1]) == (state["groups"], 3, None)
