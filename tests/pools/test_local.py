"""Real worker processes, killed and replaced."""

import os
import platform
import signal
import subprocess
import sys
import time

import psutil
import pytest

from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.messages import EpochDone, Job, Ready, Started, TrialDone, Verdict
from hpo.pools import Died
from hpo.pools.devices import Seat
from hpo.pools.local import LocalPool, environment
from hpo.settings import Settings

SETTINGS = Settings(dataset="digits", epochs=1, limit_train=100, limit_test=50)
TINY = Config(depth=1, filters=4, batch_size=50).model_dump()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, cache):
    """A folder for data, and a cache that belongs to these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPO_CACHE_DIR", str(cache))
        yield tmp_path_factory.mktemp("data")


def pids(pool):
    """The workers' process ids."""
    return [process.pid for process in pool._processes if process]


def make(data_dir, n=1, device="cpu", threads=1):
    return LocalPool([Seat(device, threads, 2**30)] * n, SETTINGS, data_dir, OBJECTIVE, OBJECTIVE.recipe)


@pytest.fixture(scope="module")
def pool(data_dir):
    made = make(data_dir, threads=2)
    made.start()
    yield made
    made.close()


def heard(pool, kind, seconds=30):
    """Return the next event of this kind."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        event = pool.receive(timeout=0.5)
        if event is not None and isinstance(event.message, kind):
            return event
    raise AssertionError(f"no {kind.__name__} within {seconds} s")


def test_a_worker_says_ready_and_has_the_threads_of_its_seat(pool):
    event = heard(pool, Ready)
    assert event.worker == 0
    assert event.message.environment["threads"] == 2


def test_what_the_user_says_of_memory_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    found = environment(2)
    assert (found["MALLOC_TRIM_THRESHOLD_"], found["OMP_NUM_THREADS"]) == ("1000", "2")
    assert found.items() >= {"MALLOC_MMAP_THRESHOLD_": "1073741824", "PATH": os.environ["PATH"]}.items()


FAULTS = """
import resource, numpy as np, torch
from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.training.batches import Images
from hpo.training.train import Training
torch.set_num_threads(1)
images = Images.of(np.zeros((160, 32, 32, 3), np.uint8), np.zeros(160, int), np.arange(160), torch.device("cpu"))
found = []
for epoch in Training(Config(**OBJECTIVE.space("tutorial").point()), images, images, 10, 3, 0).epochs():
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print((found[2] - found[1]) / 5)  # steps of 32 images, and scoring
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")
def test_a_workers_training_steps_use_the_same_memory_again():
    def most(env) -> float:
        runs = (subprocess.run([sys.executable, "-c", FAULTS], env=env, capture_output=True, check=True) for _ in range(3))
        return max(float(run.stdout) for run in runs)  # page faults a step

    # Above a fixed limit memory is mapped anew every time. A plain process moves the limit, and may keep its memory by chance.
    fixed = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)}
    assert most(fixed) > 1000 > 100 > most(environment(1))


def test_a_job_is_trained_and_each_step_is_an_event(pool, tmp_path):
    pool.send(0, Job(trial=3, point=TINY, folder=tmp_path, seed=0))
    for kind in (Started, EpochDone):
        assert heard(pool, kind).message.trial == 3
        pool.send(0, Verdict(trial=3, go_on=True))
    assert heard(pool, TrialDone).message.trial == 3


def test_silence_is_none_after_the_timeout(pool):
    began = time.monotonic()
    assert pool.receive(timeout=0.1) is None
    assert 0.1 <= time.monotonic() - began < 1


def test_a_killed_worker_is_an_event_that_names_the_signal_and_a_new_one_takes_its_place(pool, tmp_path):
    for number, why in ((signal.SIGKILL, "SIGKILL); out of memory?"), (signal.SIGSEGV, "SIGSEGV)")):
        os.kill(pids(pool)[0], number)
        event = heard(pool, Died)
        assert (event.worker, event.message.why) == (0, f"killed, signal {number} ({why}")
        pool.send(0, Job(trial=0, point=TINY, folder=tmp_path, seed=0))  # nobody is there: nothing happens
        assert pool.receive(timeout=0.1) is None
        pool.restart(0)  # the second is killed while it starts
    heard(pool, Ready)


def test_a_worker_that_is_replaced_alive_leaves_no_process_and_no_word(pool, tmp_path):
    before = pids(pool)[0]
    pool.send(0, Job(trial=0, point=TINY, folder=tmp_path, seed=0))
    pool.restart(0)
    assert not psutil.pid_exists(before)
    assert isinstance(heard(pool, object).message, Ready)  # the first that is heard


def test_a_worker_that_ends_by_itself_leaves_its_last_words(data_dir):
    pool = make(data_dir, device="abacus")
    pool.start()
    died = heard(pool, Died).message
    pool.close()
    assert died.why == "ended, exit code 1"
    assert "RuntimeError" in died.last_words
    assert "abacus" in died.last_words


def test_closing_ends_all_workers_at_once_and_twice_is_no_error(data_dir):
    pool = make(data_dir, n=2)
    pool.start()
    before = pids(pool)
    assert pool.processes == [range(1), range(1, 2)]
    assert len(before) == 2
    pool.close()
    pool.close()
    assert pids(pool) == []
    assert not any(psutil.pid_exists(pid) for pid in before)
