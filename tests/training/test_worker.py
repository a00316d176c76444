"""The worker as the runner meets it: a process, and lines of JSON over its pipes."""

import os
import signal
import subprocess
import sys
import time
from collections import deque

import pytest
import torch

from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.builtin.recipe import LATEST
from hpo.messages import (
    DEVICE_LOST,
    CannotWork,
    DeviceLost,
    EpochDone,
    Job,
    Progress,
    Ready,
    Setup,
    Started,
    Tick,
    TrialDone,
    TrialFailed,
    Verdict,
    read_worker_side,
)
from hpo.networks.stored import read
from hpo.settings import Settings

TINY = Config(depth=1, filters=4, batch_size=64, lr=0.05)
LONG = Config(depth=3, filters=96, batch_size=50)  # an epoch of many seconds
SETTINGS = Settings(dataset="digits", epochs=2, limit_train=200, limit_test=100)

NOISY = """
import os
from hpo.training import objective, worker

quiet = objective.prepare

def noisy(*arguments):
    print("printed", flush=True)
    os.write(1, b"written by a library\\n")
    os.system("echo said by a child")
    return quiet(*arguments)

objective.prepare = noisy
worker.main()
"""


class Worker:
    """A process that speaks the worker's side; ready for jobs unless `how` it is begun or set up says otherwise."""

    def __init__(self, folder, cache, how=("-m", "hpo.training.worker"), **setup):
        self.folder = folder
        environment = {"OMP_NUM_THREADS": "1", "HPO_CACHE_DIR": str(cache), "https_proxy": "http://127.0.0.1:9"}  # no network
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen([sys.executable, *how], env=os.environ | environment, **pipes)
        plain = {
            "settings": SETTINGS,
            "objective": OBJECTIVE.loader,
            "recipe": LATEST.version,
            "data_dir": folder / "data",
            "device": "cpu",
            "memory": 2**30,
        }
        self.send(Setup(**plain | setup))
        self.greeting = self.receive()

    def send(self, message):
        self.process.stdin.write(message.line())
        self.process.stdin.flush()

    def receive(self, *also):
        """Return the next message that is of more than passing interest."""
        for line in self.process.stdout:
            message = read_worker_side(line)
            if not isinstance(message, (Progress, Tick)) or isinstance(message, also):
                return message
        return None

    def begin(self, trial, config=TINY):
        """Hand out a job and return the answer."""
        self.send(Job(trial=trial, point=config.model_dump(), folder=self.folder / f"trial-{trial}", seed=1))
        return self.receive()

    def go_on(self, trial, *also):
        """Tell it to go on and return what comes."""
        self.send(Verdict(trial=trial, go_on=True))
        return self.receive(*also)

    def end(self):
        """Close its input; return exit code, seconds that it took, and what it wrote to standard error."""
        began = time.monotonic()
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, time.monotonic() - began, errors.decode()


@pytest.fixture(scope="module")
def new(tmp_path_factory, cache):
    """Start workers; whichever is left is killed."""
    workers = []

    def start(**options):
        workers.append(Worker(tmp_path_factory.mktemp("worker"), cache, **options))
        return workers[-1]

    yield start
    for worker in workers:
        with worker.process as process:
            process.kill()


@pytest.fixture(scope="module")
def worker(new):
    return new()


def test_it_says_ready_with_what_its_trials_share(worker):
    assert isinstance(worker.greeting, Ready)
    shared = worker.greeting.environment
    assert (shared["n_train"], shared["n_scored"], shared["threads"], shared["device"]) == (200, 100, 1, "cpu")
    assert shared["classes"] == list("0123456789")
    assert len(shared["data_digest"]) == 64
    assert shared["precision"] in ("float32", "bfloat16")
    assert {"torch", "torchvision", "python", "data"} <= shared.keys()


def test_a_trial_is_started_then_each_epoch_told_then_done(worker):
    started = worker.begin(1)
    assert isinstance(started, Started)
    assert (started.trial, started.epochs) == (1, ())
    assert started.measured["n_parameters"] > 1000
    assert started.measured["macs"] > 100_000
    for number in (1, 2):
        epoch = worker.go_on(1)
        assert isinstance(epoch, EpochDone)
        assert (epoch.trial, epoch.epoch.number) == (1, number)
    folder = worker.folder / "trial-1"
    assert worker.go_on(1) == TrialDone(trial=1, checkpoint=folder / "network.safetensors")
    files = ["correct.bits", "layers.json", "network.safetensors", "scores.npz"]
    assert sorted(p.name for p in folder.iterdir()) == files


def test_a_stopped_trial_is_left_after_its_epoch_and_started_again_from_there(worker):
    worker.begin(2)
    epoch = worker.go_on(2)
    worker.send(Verdict(trial=2, go_on=False))
    assert worker.begin(2).epochs == (epoch.epoch,)
    assert worker.go_on(2).epoch.number == 2
    assert isinstance(worker.go_on(2), TrialDone)


def test_a_trial_that_cannot_be_trained_fails_alone_with_cause_and_reason(worker):
    failed = worker.begin(3, Config(depth=8))
    assert isinstance(failed, TrialFailed)
    assert (failed.trial, failed.cause) == (3, "shape")
    assert failed.reason.startswith("depth = 8: after 4 blocks")
    assert isinstance(worker.begin(4), Started)
    worker.send(Verdict(trial=4, go_on=False))


def test_a_checkpoint_that_cannot_be_written_is_the_disks_fault_and_not_the_trials(worker):
    (worker.folder / "trial-5").touch()  # a file where the folder should be
    worker.begin(5)
    failed = worker.go_on(5)
    assert isinstance(failed, CannotWork)
    assert failed.error == "StorageError"
    assert "trial-5/correct.bits" in failed.message


def test_signals_that_are_sent_to_all_processes_are_left_to_the_runner(worker):
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
        worker.process.send_signal(number)
    assert isinstance(worker.begin(6), Started)
    worker.send(Verdict(trial=6, go_on=False))


def test_it_ends_within_two_seconds_of_its_input_in_the_middle_of_an_epoch(worker):
    worker.begin(0, LONG)
    assert isinstance(worker.go_on(0, Tick), Tick)
    code, seconds, _ = worker.end()
    assert code == 0
    assert seconds < 2


def test_an_unreadable_message_ends_it_with_the_reason(new):
    worker = new()
    worker.process.stdin.write(b'{"kind": "joke"}\n')
    worker.process.stdin.flush()
    assert worker.receive() is None
    assert worker.process.wait(timeout=30) == 1
    assert "joke" in worker.process.stderr.read().decode()


@pytest.mark.parametrize(  # data that are missing: test_run.py
    ("setup", "error", "says"),
    [
        ({"device": "cuda:7"}, "DeviceError", "device cuda:7 does not exist here: torch "),
        ({"settings": Settings(dataset="digits", limit_train=5000)}, "UsageError", "a limit of 5,000 images is more than"),
        ({"recipe": LATEST.version + 1}, "UsageError", "this worker's hpo is older than the study's"),
        ({"objective": "nowhere.hill"}, "UsageError", "cannot find the objective's module 'nowhere.hill'. Put its folder on"),
    ],
    ids=["device", "limit", "recipe", "objective"],
)
def test_what_is_wrong_with_the_setup_is_said_and_the_worker_ends_quietly(new, setup, error, says):
    worker = new(**setup)
    assert isinstance(worker.greeting, CannotWork)
    assert worker.greeting.error == error
    assert says in worker.greeting.message
    assert worker.process.wait(timeout=30) == 0  # without waiting for the end of its input
    assert worker.process.stderr.read() == b""


TOGETHER = (
    Config(depth=2, filters=6, batch_size=50, dropout=0.3),
    Config(depth=1, filters=8, batch_size=64, dropout=0.2, optimizer="adamw", lr=0.05),
    Config(depth=3, filters=4, batch_size=40, dropout=0.5, cutout=4),
)


def results(worker, *, together):
    """Train all to their ends, at the same time or one after the other; return scores, metrics and weights of each."""
    jobs = [Job(trial=n, point=c.model_dump(), folder=worker.folder / f"{n}", seed=n) for n, c in enumerate(TOGETHER)]
    scores, left = {n: [] for n in range(3)}, deque(jobs)
    for _ in range(3 if together else 1):
        worker.send(left.popleft())
    done = set()
    while len(done) < 3:
        message = worker.receive()
        if isinstance(message, TrialDone):
            done.add(message.trial)
            if left:
                worker.send(left.popleft())
            continue
        if isinstance(message, EpochDone):
            scores[message.trial].append((message.epoch.number, message.epoch.score, message.epoch.metrics))
        worker.send(Verdict(trial=message.trial, go_on=True))
    return scores, [read(job.folder / "network.safetensors")[1] for job in jobs]


class TestLanes:
    """A worker with several lanes trains several trials at once, and each comes out as alone."""

    @pytest.mark.slow
    def test_trials_beside_each_other_come_out_as_alone_bit_for_bit(self, new):
        scores, weights = results(new(lanes=3), together=True)
        expected, alone = results(new(), together=False)
        assert scores == expected
        assert all(len(epochs) == 2 for epochs in scores.values())
        for mine, its in zip(weights, alone, strict=True):
            assert mine.keys() == its.keys()
            assert all(torch.equal(mine[name], its[name]) for name in mine)

    @pytest.mark.slow
    def test_a_trial_that_is_left_and_comes_back_goes_on_while_others_train(self, new):
        worker = new(lanes=2)
        worker.send(Job(trial=1, point=LONG.model_dump(), folder=worker.folder / "long", seed=1))
        assert worker.receive().trial == 1
        worker.send(Verdict(trial=1, go_on=True))
        assert worker.begin(2).trial == 2
        epoch = worker.go_on(2)
        worker.send(Verdict(trial=2, go_on=False))
        assert worker.begin(2).epochs == (epoch.epoch,)
        assert worker.go_on(2).epoch.number == 2
        assert isinstance(worker.go_on(2), TrialDone)

    def test_one_that_cannot_be_trained_fails_and_the_other_goes_on(self, new):
        worker = new(lanes=2)
        assert isinstance(worker.begin(1), Started)
        assert isinstance(worker.begin(2, Config(depth=8)), TrialFailed)
        assert isinstance(worker.go_on(1), EpochDone)

    @pytest.mark.slow
    def test_one_that_has_no_room_beside_another_is_told_to_be_so_and_has_it_alone(self, new):
        large = Config(depth=1, filters=64, batch_size=100)
        worker = new(lanes=2, memory=200 * 2**20)
        assert isinstance(worker.begin(1, large), Started)
        refused = worker.begin(2, large)
        assert isinstance(refused, TrialFailed)
        assert (refused.cause, refused.crowded) == ("memory", True)
        worker.send(Verdict(trial=1, go_on=False))
        assert isinstance(worker.begin(2, large), Started)

    def test_it_ends_with_its_input_while_several_train(self, new):
        worker = new(lanes=2)
        for trial in (1, 2):
            assert isinstance(worker.begin(trial, LONG), Started)
            worker.send(Verdict(trial=trial, go_on=True))
        code, seconds, _ = worker.end()
        assert code == 0
        assert seconds < 2


LOSING = """
from hpo.objective import DeviceLostError
from hpo.training import objective, worker

def prepare(setup, tell):
    environment, begin = quiet(setup, tell)
    def losing(point, seed, folder):
        if seed == 7:
            raise DeviceLostError("the GPU failed: CUDA error: unspecified launch failure")
        return begin(point, seed, folder)
    return environment, losing

quiet, objective.prepare = objective.prepare, prepare
worker.main()
"""


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_device_that_is_lost_ends_the_process_with_the_trial_that_met_it_and_a_code_of_its_own(new, lanes):
    worker = new(how=("-c", LOSING), lanes=lanes)
    worker.send(Job(trial=4, point=TINY.model_dump(), folder=worker.folder / "4", seed=7))
    lost = DeviceLost(trial=4, reason="the GPU failed: CUDA error: unspecified launch failure")
    assert worker.receive() == lost
    assert worker.receive() is None
    assert worker.process.wait(timeout=30) == DEVICE_LOST


NO_ROOM = """
from hpo.data import datasets
from hpo.training import worker

def load(*_, **__):
    raise MemoryError

datasets.load = load
worker.main()
"""


def test_images_that_do_not_fit_into_memory_are_the_devices_fault_and_no_death(new):
    worker = new(how=("-c", NO_ROOM))
    assert isinstance(worker.greeting, CannotWork)
    assert worker.greeting.error == "DeviceError"
    assert worker.greeting.message.startswith("cpu has no memory left for the images of digits. Use fewer workers")
    assert worker.end()[::2] == (0, "")


def test_whatever_else_is_printed_lands_on_standard_error(new):
    worker = new(how=("-c", NOISY))
    assert isinstance(worker.greeting, Ready)
    _, _, errors = worker.end()
    assert errors.splitlines() == ["printed", "written by a library", "said by a child"]
