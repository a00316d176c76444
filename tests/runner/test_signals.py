"""A signal stops a run once its epochs are done, a second one at once; what is not ours to take is left alone."""

from __future__ import annotations

import os
import signal

import pytest
from instant import InstantPool, new_study, runner_of

from hpo.runner.signals import CODES, stopping_by_signals


@pytest.fixture
def runner(tmp_path):
    return runner_of(new_study(tmp_path / "hpo.db"), InstantPool(), trials=1)


@pytest.fixture(autouse=True)
def _usual():
    """Signals as a program finds them, whoever started the tests; pytest's own way with Ctrl-C comes back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "reason", "code"),
    [
        (signal.SIGINT, "interrupted", 130),
        (signal.SIGTERM, "terminated", 143),
        (signal.SIGUSR1, "terminated", 143),
        (signal.SIGHUP, "hung up", 129),
    ],
    ids=str,
)
def test_the_first_stops_the_runner_and_the_second_ends_the_process_with_the_same_code(runner, number, reason, code):
    with stopping_by_signals() as runners:
        runners.append(runner)
        os.kill(os.getpid(), number)
        assert runner.run() == reason
        assert CODES[reason] == code
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as ended:
            os.kill(os.getpid(), number)
    assert ended.type is KeyboardInterrupt or ended.value.code == code


def test_before_there_is_a_runner_one_is_enough():
    with stopping_by_signals(), pytest.raises(SystemExit, match="143"):
        os.kill(os.getpid(), signal.SIGUSR1)


def test_a_sigusr1_that_a_program_has_taken_for_itself_stays_its_own_and_what_is_ignored_stays_ignored(runner):
    got = []
    signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping_by_signals() as runners:
        runners.append(runner)
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGHUP)
    assert runner.board.stopping == ""
    assert got == [signal.SIGUSR1]
