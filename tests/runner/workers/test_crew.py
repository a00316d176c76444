"""Workers get ready, die and are replaced; whoever waits for them is told what happened."""

from __future__ import annotations

import pytest
from instant import KILLED, InstantPool, Notes, new_study

from hpo.errors import DataError, DeviceError
from hpo.messages import CannotWork, Progress, Ready
from hpo.runner.loop import Runner
from hpo.runner.workers.crew import Crew
from hpo.settings import RunOptions

READY = Ready(environment={"n_train": 100})


def crew_of(size: int, at_start) -> tuple[Crew, Notes]:
    notes = Notes()
    return Crew(InstantPool(size, at_start=at_start), notes), notes


def test_the_first_worker_that_is_ready_is_idle_from_then_on_and_says_what_the_study_is_made_on():
    crew, notes = crew_of(2, lambda _: READY)
    assert crew.assemble() == {"n_train": 100}
    assert crew.idle == {0}
    assert crew.listen() is None
    assert crew.idle == {0, 1}
    assert notes.warnings == []


def test_two_deaths_while_a_worker_gets_ready_are_mended_without_a_word():
    said = iter([KILLED, KILLED, READY])
    crew, notes = crew_of(1, lambda _: next(said))
    assert crew.assemble() == {"n_train": 100}
    assert notes.warnings == []


def test_a_worker_that_dies_three_times_before_any_is_ready_is_given_up_and_the_other_works():
    said = iter([KILLED, Progress(what="decoding", done=0, total=0), KILLED, KILLED])
    pool = InstantPool(2, at_start=lambda _: next(said))
    notes = Notes()
    crew = Crew(pool, notes)
    receive, nothing = pool.receive, []

    def receive_or_ready(timeout):
        event = receive(timeout)
        if event is None:
            nothing.append(event)
            pool._say(1, READY)
        return event

    pool.receive = receive_or_ready
    crew.assemble()
    assert crew.idle == {1}
    assert notes.warnings == [
        "worker 0 killed, signal 9 (SIGKILL); out of memory? 3 times while it got ready and will not be restarted."
    ]


def test_when_all_workers_die_three_times_before_any_is_ready_there_is_no_run():
    crew, notes = crew_of(2, lambda _: KILLED)
    with pytest.raises(DeviceError, match=r"^6 workers died before they were ready; the last killed, signal 9 .*\. Killed$"):
        crew.assemble()
    assert len(notes.warnings) == 1


def test_what_a_worker_meets_while_it_gets_ready_is_raised():
    crew, _ = crew_of(1, lambda _: CannotWork(error="DataError", message="there is no data"))
    with pytest.raises(DataError, match="there is no data"):
        crew.assemble()


def test_a_run_whose_only_other_worker_was_given_up_at_the_start_ends_when_the_last_one_dies_again_and_again(tmp_path):
    crew, notes = crew_of(2, lambda worker: KILLED if worker or crew.idle or crew.environment else READY)
    study = new_study(tmp_path / "hpo.db", sampler="random", pruner="none")
    crew.mishaps.give_up(1)
    crew.assemble()
    crew._pool._fate = lambda trial, epoch: KILLED  # noqa: ARG005
    reason = Runner(study, crew, RunOptions(trials=5), notes).run()
    assert reason.startswith("deaths: ")
