"""Lanes on a real GPU: streams, memory that runs out, a device that is lost. What does not need one is in test_worker.py."""

from __future__ import annotations

import gc

import psutil
import pytest
import torch
from test_worker import TINY, Worker, results

import hpo
from hpo.builtin.convnet import Config
from hpo.messages import DEVICE_LOST, DeviceLost, EpochDone, Job, Ready, Started, TrialFailed
from hpo.settings import Settings

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]
DIGITS = Settings(dataset="digits", epochs=3)
NET = Config(depth=2, filters=32, batch_size=64, dropout=0.2)


@pytest.fixture
def new(tmp_path_factory, cache):
    """Start workers on the GPU; whichever is left is killed."""
    workers = []

    def start(**options):
        plain = {"device": "cuda:0", "memory": 2**50, "settings": DIGITS}
        workers.append(Worker(tmp_path_factory.mktemp("worker"), cache, **plain | options))
        assert isinstance(workers[-1].greeting, Ready)
        return workers[-1]

    yield start
    for worker in workers:
        with worker.process as process:
            process.kill()


@pytest.mark.timeout(300)
def test_trials_beside_each_other_come_out_as_alone(new):
    """Each computes the same; which algorithm cuDNN takes, and in which order sums are made, may differ in the last bits."""
    together, _ = results(new(lanes=3), together=True)
    alone, _ = results(new(), together=False)
    for trial, epochs in together.items():
        for (number, score, metrics), (same, expected, before) in zip(epochs, alone[trial], strict=True):
            assert number == same
            assert score == pytest.approx(expected, abs=0.03)
            assert metrics["train_loss"] == pytest.approx(before["train_loss"], rel=0.03)


@pytest.mark.timeout(300)
def test_a_trial_that_runs_out_of_memory_fails_alone_and_gives_it_back(new):
    worker = new(lanes=2)
    assert isinstance(worker.begin(1, NET), Started)
    assert isinstance(worker.go_on(1), EpochDone)
    free, _ = torch.cuda.mem_get_info()
    hog = torch.empty(max(0, free - 3 * 2**30), dtype=torch.uint8, device="cuda")  # as another program of the card
    large = Config(depth=3, filters=1024, batch_size=512)  # 1.2 GB of weights, and three times that beside them
    failed = worker.begin(2, large)
    if isinstance(failed, Started):
        failed = worker.go_on(2)
    assert isinstance(failed, TrialFailed)
    assert (failed.cause, failed.crowded) == ("memory", True)
    assert isinstance(worker.begin(3, NET), Started)  # there is room for a small one, as before
    assert isinstance(worker.go_on(3), EpochDone)
    del hog
    gc.collect()
    torch.cuda.empty_cache()
    epoch = worker.go_on(1)
    assert isinstance(epoch, EpochDone)
    assert epoch.trial == 1
    assert epoch.memory.peak < epoch.memory.limit


POISON = """
import torch
from hpo.training import objective, worker

def prepare(setup, tell):
    environment, begin = quiet(setup, tell)

    def begun(point, seed, folder):
        trial = begin(point, seed, folder)
        if seed == 7:
            trial._training.epochs = poison
        return trial

    return environment, begun

def poison(tick):
    index = torch.tensor([10**6], device="cuda")
    yield torch.zeros(3, device="cuda")[index].sum().item()

quiet, objective.prepare = objective.prepare, prepare
worker.main()
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lanes", [1, 2])
def test_an_assertion_on_the_device_ends_the_process_and_names_the_trial(new, lanes):
    worker = new(how=("-c", POISON), lanes=lanes)
    if lanes > 1:
        assert isinstance(worker.begin(1, NET), Started)
        assert isinstance(worker.go_on(1), EpochDone)  # and waits for a verdict
    worker.send(Job(trial=2, point=TINY.model_dump(), folder=worker.folder / "2", seed=7))
    assert isinstance(worker.receive(), Started)
    lost = worker.go_on(2)
    assert isinstance(lost, DeviceLost)
    assert lost.trial == 2
    assert lost.reason.startswith("the GPU failed: CUDA error: device-side assert triggered")
    assert worker.receive() is None
    assert worker.process.wait(timeout=60) == DEVICE_LOST


@pytest.mark.timeout(300)
def test_one_process_of_a_gpu_trains_a_whole_study_with_several_trials_at_once(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("HPO_CACHE_DIR", str(cache))
    monkeypatch.chdir(tmp_path)

    class Looking(hpo.Watcher):
        processes, most, notes = 0, 0, ()

        def epoch(self, board, *_):
            children = psutil.Process().children(recursive=True)
            Looking.processes = max(Looking.processes, sum("hpo.training" in " ".join(child.cmdline()) for child in children))
            Looking.most = max(Looking.most, sum(row.trial is not None for row in board.rows))

        def noted(self, text):
            Looking.notes += (text,)

    options = hpo.RunOptions(trials=20, device="cuda:0")
    outcome = hpo.run("digits", settings=DIGITS.model_copy(update={"epochs": 10}), options=options, watcher=Looking())
    assert outcome.reason == "total"
    assert outcome.record.n_finished == 20
    assert Looking.processes == 1
    assert Looking.most >= 2
    assert outcome.record.attributes["environment"]["at_once"] == "up to 8 at once on cuda:0"
