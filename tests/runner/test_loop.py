"""A run ends with exactly what was asked for, whatever happens to its workers, and the next one goes on where it stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from instant import EPOCHS, KILLED, InstantPool, Notes, curve, new_study, reopen, run, runner_of

from hpo.builtin.convnet import OBJECTIVE
from hpo.errors import DataError, HpoError
from hpo.messages import CannotWork, Progress, Ready, TrialFailed
from hpo.runner.board import Watcher
from hpo.runner.loop import Runner
from hpo.runner.workers.crew import Crew
from hpo.search_space import SearchSpace
from hpo.settings import RunOptions
from hpo.store.reading import record

if TYPE_CHECKING:
    from hpo.pools import Died


@pytest.fixture
def study(tmp_path):
    """A study that stops nobody early and chooses at random: what happens is the runner's doing."""
    return new_study(tmp_path / "hpo.db", sampler="random", pruner="none")


def states(study) -> list[str]:
    """Of the trials as they are in the database."""
    return [trial.state.name.lower() for trial in record.load(study.name, study.location).trials]


def params(study) -> list[dict]:
    return [trial.params for trial in record.load(study.name, study.location).trials]


def dies(*where: tuple[int, int]):
    """Let the worker die once for each (trial, epoch) that is named."""
    left = list(where)

    def fate(trial: int, epoch: int) -> Died | None:
        if (trial, epoch) not in left:
            return None
        left.remove((trial, epoch))
        return KILLED

    return fate


def fails(causes):
    """Let trials fail in their second epoch: `causes(trial)` is the cause, or None for no failure."""

    def fate(trial: int, epoch: int) -> TrialFailed | None:
        cause = causes(trial) if epoch == 2 else None
        return TrialFailed(trial=trial, cause=cause, reason=f"it was {cause}") if cause else None

    return fate


@pytest.mark.parametrize(
    ("workers", "parts", "sampler"),
    [(1, (50,), "random"), (2, (50,), "tpe"), (1, (20, 50), "qmc"), (2, (20, 50), "tpe")],
    ids=str,
)
def test_50_asked_are_50_finished(tmp_path, workers, parts, sampler):
    study = new_study(tmp_path / "hpo.db", sampler=sampler)
    for total in parts:
        pool = InstantPool(workers)
        assert run(study, total, pool) == "total"
        assert len(states(study)) == total
        study = reopen(study)
    found = record.load("first", study.location)
    assert [trial.number for trial in found.trials] == list(range(50))
    assert found.counts["complete"] + found.counts["pruned"] == 50
    assert 5 < found.counts["pruned"] < 50
    assert len({tuple(point.values()) for point in params(study)}) > 45
    assert sorted(set(pool.handed_out)) == list(range(parts[0] if len(parts) > 1 else 0, 50))


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
@pytest.mark.parametrize("every", [1, 7])
def test_with_one_worker_a_search_stopped_again_and_again_is_the_same_as_one_that_never_was(tmp_path, sampler, every):
    whole, parts = (new_study(tmp_path / name, sampler=sampler, seed=7) for name in ("a.db", "b.db"))
    undisturbed = InstantPool()
    run(whole, 20, undisturbed)
    assert len(undisturbed.handed_out) > 20  # some waited and went on
    reason = "interrupted"
    while reason == "interrupted":
        pool, notes = InstantPool(), Notes()
        runner = runner_of(parts, pool, notes, trials=20)
        notes.after_epoch = lambda n_epochs: n_epochs == every and runner.stop("interrupted")  # noqa: B023
        pool.start()
        reason = runner.run()
        parts = reopen(parts)
    assert params(parts) == params(whole)
    assert states(parts) == states(whole)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("total", [2, 3, 6, 12])
def test_a_short_search_too_trains_to_the_end_what_it_found(tmp_path, total, workers):
    study = new_study(tmp_path / "hpo.db", sampler="random")
    default = study.space.point()
    run(study, total, InstantPool(workers, curve=lambda point, epoch: 0.1 if point == default else curve(point, epoch)))
    assert states(study).count("complete") > 1
    assert len(states(study)) == total


def test_a_longer_search_goes_on_from_a_shorter_ones_end(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    run(study, 8)
    before = record.load("first", study.location).trials
    run(reopen(study), 20)
    after = record.load("first", study.location).trials
    assert len(after) == 20
    assert [(t.number, t.state, t.value) for t in after[:8]] == [(t.number, t.state, t.value) for t in before]


def test_who_trained_a_trial_when_is_stored_when_it_waits_is_left_or_ends(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random")
    began, notes = time.time(), Notes()
    runner = runner_of(study, pool := InstantPool(2), notes, trials=30)
    notes.after_epoch = lambda n_epochs: n_epochs == 40 and runner.stop("timeout")
    pool.start()
    runner.run()
    for part in (study, again := reopen(study)):
        trials = record.load("first", study.location).trials
        stints = [trial.user_attrs["stints"] for trial in trials]
        assert all(w in (0, 1) and began - 1 < since <= until < time.time() + 1 for each in stints for w, since, until in each)
        if part is study:
            assert any(trial.state.name == "RUNNING" for trial in trials)
            run(again, 30)
    assert all(trial.state.is_finished() for trial in trials)
    assert sum(map(len, stints)) > len(trials)  # some were left or waited, and went on


def test_a_run_that_ends_before_its_total_leaves_who_waits_for_the_next(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random")
    notes = Notes()
    runner = runner_of(study, pool := InstantPool(2), notes, trials=50)
    notes.after_epoch = lambda n_epochs: n_epochs == 40 and runner.stop("timeout")
    pool.start()
    runner.run()
    waiting = len(reopen(study).plan.waiting)
    assert waiting == runner.board.counts["waiting"] > 3
    assert len(list(study.folder.iterdir())) >= waiting
    again = runner_of(reopen(study), InstantPool(), trials=50).board
    assert again.counts["waiting"] == waiting


def test_a_study_that_has_its_total_hands_nothing_out(study):
    run(study, 3)
    pool = InstantPool()
    assert run(reopen(study), 3, pool) == run(reopen(study), 2, pool) == "total"
    assert pool.handed_out == []


def test_failed_trials_do_not_count(study):
    pool = InstantPool(fate=fails(lambda trial: "diverged" if trial % 2 else None))
    assert run(study, 5, pool) == "total"
    assert states(study) == ["complete", "fail"] * 4 + ["complete"]
    assert record.load("first", study.location).trials[1].user_attrs["reason"] == "it was diverged"


def test_a_trial_is_stored_with_what_was_measured(study):
    run(study, 1)
    [trial] = record.load("first", study.location).trials
    assert trial.value == trial.intermediate_values[EPOCHS] == curve(study.space.point(), EPOCHS)
    assert trial.intermediate_values.keys() == set(range(1, EPOCHS + 1))
    measured = {"train_loss": [1.0] * EPOCHS, "score_loss": [1.0] * EPOCHS, "seconds": EPOCHS, "images_per_second": 100}
    assert trial.user_attrs.items() >= (measured | {"n_parameters": 1000, "macs": 2000, "worker": 0}).items()


def test_trial_0_is_never_pruned_however_bad_it_is(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random")
    default = study.space.point()
    run(study, 12, InstantPool(curve=lambda point, epoch: 0.001 if point == default else curve(point, epoch)))
    assert states(study)[0] == "complete"
    assert "pruned" in states(study)


def test_a_pruned_trial_says_why_and_has_its_last_accuracy_for_a_value(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random")
    run(study, 12)
    pruned = next(t for t in record.load("first", study.location).trials if t.state.name == "PRUNED")
    assert pruned.value == pruned.intermediate_values[pruned.last_step]
    assert pruned.user_attrs["reason"] == f"stopped by the halving pruner after epoch {pruned.last_step}"


class TestStops:
    """Each limit ends the run with its reason, and nothing is lost."""

    def test_at_the_target(self, study):
        reason = run(study, 50, InstantPool(curve=lambda point, epoch: epoch / 10 + (point["depth"] == 4) / 2), target=0.9)
        assert reason == f"target: trial {len(states(study)) - 1} reached 90.00%"
        assert "running" not in states(study)

    def test_at_once_if_the_target_was_reached_before(self, study):
        run(study, 2)
        pool = InstantPool()
        assert run(reopen(study), 50, pool, target=0.1).startswith("target: trial ")
        assert pool.handed_out == []

    def test_after_trials_without_a_new_best(self, study):
        flat = InstantPool(curve=lambda point, epoch: 0.5)  # noqa: ARG005
        assert run(study, 50, flat, patience=4) == "patience: 4 trials without a new best"
        assert states(study) == ["complete"] * 5

    def test_not_for_want_of_a_new_best_before_there_is_a_best(self, tmp_path):
        """Trials that wait at a rung while trial 0 is still in training are no reason to end."""
        study = new_study(tmp_path / "hpo.db", epochs=10)
        got_worse = InstantPool(2, 10, curve=lambda point, epoch: epoch / 20 if point["lr"] == 0.2 else epoch / 1000)
        assert run(study, 12, got_worse, patience=5) == "patience: 5 trials without a new best"
        assert states(study)[0] == "complete"

    def test_where_the_space_has_no_other_point(self, tmp_path):
        space = SearchSpace.of("few", {"filters": {"choices": [8, 16], "default": 8}})
        study = new_study(tmp_path / "hpo.db", space=space)
        assert run(study, 5) == "exhausted: the space has no other point"
        assert [trial.params["filters"] for trial in study.trials] == [8, 16]
        assert run(reopen(study), 5) == "exhausted: the space has no other point"
        assert run(reopen(study), 2) == "total"

    def test_after_a_time(self, study):
        assert run(study, 1_000_000, timeout=2) == "timeout"
        assert 1 < len(states(study)) < 1000
        assert run(reopen(study), len(states(study))) == "total"
        assert set(states(study)) == {"complete"}

    @pytest.mark.parametrize("workers", [1, 2])
    def test_after_five_failures_in_a_row_with_the_same_cause(self, study, workers):
        pool = InstantPool(workers, fate=fails(lambda trial: "memory" if trial >= 3 else None))
        assert run(study, 50, pool) == "failures: 5 in a row with the same cause (memory): it was memory"
        assert states(study)[:8] == ["complete"] * 3 + ["fail"] * 5

    def test_not_after_failures_of_several_causes_or_with_a_success_between(self, study):
        pool = InstantPool(fate=fails(lambda trial: None if trial % 5 == 0 else ("shape" if trial == 2 else "memory")))
        assert run(study, 6, pool) == "total"

    @pytest.mark.parametrize("workers", [1, 2])
    def test_after_ten_failures_in_a_row_of_whatever_causes_with_advice(self, study, workers):
        pool = InstantPool(workers, fate=fails(lambda trial: ("memory", "shape")[trial % 2] if trial >= 3 else None))
        reason = run(study, 50, pool)
        assert reason.startswith("failures: 10 in a row, of several causes (memory 5, shape 5); the last: it was ")
        assert "Remove from the space" in reason
        assert states(study)[:13] == ["complete"] * 3 + ["fail"] * 10

    def test_the_first_reason_stands(self, study):
        runner = runner_of(study, InstantPool(), trials=1)
        runner.stop("interrupted")
        runner.stop("timeout")
        assert runner.run() == "interrupted"
        assert states(study) == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("after", [1, 6, 9])
def test_a_run_stopped_in_the_middle_is_finished_by_the_next_under_the_same_numbers(study, workers, after):
    pool, notes = InstantPool(workers), Notes()
    runner = runner_of(study, pool, notes, trials=6)
    notes.after_epoch = lambda n_epochs: n_epochs == after and runner.stop("interrupted")
    pool.start()
    assert runner.run() == "interrupted"
    assert states(study).count("running") >= 1
    before = record.load("first", study.location).trials

    resumed = InstantPool(workers)
    assert run(reopen(study), 6, resumed) == "total"
    running = [trial.number for trial in before if trial.state.name == "RUNNING"]
    assert resumed.handed_out == running + list(range(len(before), 6))
    after = record.load("first", study.location).trials
    assert states(study) == ["complete"] * 6
    assert [trial.params for trial in after[: len(before)]] == [trial.params for trial in before]
    assert all(len(trial.intermediate_values) == EPOCHS for trial in after)
    assert sum(verdict.go_on for verdict in pool.verdicts + resumed.verdicts) == 6 * (EPOCHS + 1)  # no epoch was trained twice


def test_a_trial_whose_checkpoint_is_lost_is_trained_again_under_its_number(study):
    trial = study.ask()
    study.report(trial, 1, 0.1)
    assert run(reopen(study), 1) == "total"
    assert states(study) == ["complete"]
    assert record.load("first", study.location).trials[0].value == curve(study.space.point(trial.params), EPOCHS)


def test_trials_left_over_are_not_finished_beyond_the_total(study):
    for _ in range(3):
        study.ask()
    assert run(reopen(study), 2) == "total"
    assert states(study) == ["complete", "complete", "running"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trial_whose_worker_dies_goes_on_under_its_number_from_its_last_epoch(study, workers):
    pool, notes = InstantPool(workers, fate=dies((1, 3), (1, 4), (2, 1), (4, EPOCHS + 1))), Notes()
    assert run(study, 6, pool, notes) == "total"
    assert states(study) == ["complete"] * 6
    assert sorted(pool.handed_out) == [0, 1, 1, 1, 2, 2, 3, 4, 4, 5]
    assert len(notes.warnings) == 4
    assert (
        "killed, signal 9 (SIGKILL); out of memory? in trial 1, which continues from its last epoch. Killed" in notes.warnings[0]
    )
    assert sum(verdict.go_on for verdict in pool.verdicts) == 6 * (EPOCHS + 1) + 4  # each death cost one epoch


def test_a_third_death_fails_the_trial_with_the_reason(study):
    pool = InstantPool(fate=dies((1, 2), (1, 2), (1, 2)))
    assert run(study, 3, pool) == "total"
    assert states(study) == ["complete", "fail", "complete", "complete"]
    reason = record.load("first", study.location).trials[1].user_attrs["reason"]
    assert reason == "its worker died 3 times: killed, signal 9 (SIGKILL); out of memory?"


@pytest.mark.parametrize("workers", [1, 5])
def test_deaths_over_five_trials_in_a_row_stop_the_study(study, workers):
    pool = InstantPool(workers, fate=lambda trial, epoch: KILLED if trial >= 2 else None)  # noqa: ARG005
    assert run(study, 50, pool).startswith("deaths: workers died 5 times in a row")
    assert len(states(study)) <= 12


def test_deaths_with_ends_between_stop_nothing(study):
    pool = InstantPool(fate=dies(*((trial, 2) for trial in range(10))))
    assert run(study, 10, pool) == "total"


class TestABadSeat:
    """A worker's place where every worker dies, among others that are well: given up, and nothing is lost by it."""

    def bad_seat(self, study, pool, total: int = 12) -> Notes:
        notes = Notes()
        assert run(study, total, pool, notes) == "total"
        assert states(study) == ["complete"] * total
        assert len([w for w in notes.warnings if "worker 1 died 5 times in a row" in w]) == 1
        assert "killed, signal 9 (SIGKILL); out of memory?) and will not be restarted; the others continue." in notes.warnings[-1]
        return notes

    def test_where_workers_die_before_they_are_ready(self, study):
        born = []

        def at_start(worker):
            born.append(worker)
            return KILLED if worker == 1 else Ready(environment={})

        self.bad_seat(study, InstantPool(3, at_start=at_start))
        assert born.count(1) == 5

    def test_where_workers_die_in_their_trials_which_others_finish(self, study):
        class Pool(InstantPool):
            def send(self, worker, message):
                if worker == 1:
                    self._say(worker, KILLED)
                else:
                    super().send(worker, message)

        notes = self.bad_seat(study, Pool(3))
        assert len(notes.warnings) == 6
        assert notes.ends.count((0, "complete")) == 1

    def test_but_not_where_epochs_are_done_between_the_deaths(self, study):
        pool, notes = InstantPool(2, fate=dies(*((trial, 3) for trial in range(20)))), Notes()
        assert run(study, 20, pool, notes) == "total"
        assert len(notes.warnings) == 20
        assert "will not be restarted" not in "".join(notes.warnings)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_die_before_they_are_ready_again_and_again_stop_the_study(study, workers):
    born = []

    def at_start(worker):
        born.append(worker)
        return Ready(environment={}) if len(born) == 1 else KILLED

    pool = InstantPool(workers, fate=dies((0, 2)), at_start=at_start)
    assert run(study, 50, pool).startswith("deaths: ")
    assert len(born) < 20


def test_what_a_worker_meets_in_its_set_up_is_raised_as_what_it_was(study):
    pool = InstantPool(at_start=lambda _: CannotWork(error="DataError", message="there is no data"))
    with pytest.raises(DataError, match="there is no data"):
        run(study, 1, pool)
    with pytest.raises(HpoError, match="odd"):
        run(study, 1, InstantPool(at_start=lambda _: CannotWork(error="Odd", message="odd")))


def silent_once(*where: int):
    """Let the worker say nothing more, once, in (trial, epoch)."""
    silent = [True]

    def fate(trial, epoch):
        if (trial, epoch) == where and silent.pop():
            silent.append(False)
            return Progress(what="nothing to do with the trial", done=0, total=0)
        return None

    return fate


def test_a_silent_worker_is_ended_and_its_trial_goes_on(study):
    pool, notes = InstantPool(fate=silent_once(1, 2)), Notes()
    assert run(study, 3, pool, notes, trial_timeout=0.3) == "total"
    assert states(study) == ["complete"] * 3
    assert "silent for 0 s (--trial-timeout)" in notes.warnings[0]


def test_a_worker_is_not_silent_while_the_runner_cannot_listen(study):
    pool, notes = InstantPool(2), Notes()
    notes.after_epoch = lambda n_epochs: n_epochs in (2, 5) and time.sleep(0.5)  # as long as a database may be locked
    assert run(study, 4, pool, notes, trial_timeout=0.3) == "total"
    assert notes.warnings == []


class Frozen(InstantPool):
    """A pool in whose machine time stands still, for half a second at every third look."""

    looks = 0

    def receive(self, timeout):
        self.looks += 1
        if self.looks % 3 == 0:
            time.sleep(0.5)
        return super().receive(timeout)


def test_a_worker_is_not_silent_while_the_machine_sleeps(study):
    notes = Notes()
    assert run(study, 2, Frozen(2), notes, trial_timeout=0.3) == "total"
    assert notes.warnings == []


@pytest.mark.slow
def test_a_silent_worker_is_ended_in_spite_of_sleeps(study):
    notes = Notes()
    assert run(study, 2, Frozen(fate=silent_once(1, 2)), notes, trial_timeout=0.3) == "total"
    assert "(--trial-timeout) in trial 1" in notes.warnings[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_when_the_grace_is_over_epochs_in_training_are_left_to_the_next_run(study, workers):
    def hang(trial, epoch):
        if epoch < 3:
            return None
        runner.stop("terminated")
        return Progress(what="a long epoch", done=trial, total=0)

    pool, notes = InstantPool(workers, fate=hang), Notes()
    runner = runner_of(study, pool, notes, trials=2, grace=0.3)
    pool.start()
    assert runner.run() == "terminated"
    assert states(study) == ["running"] * workers
    assert notes.warnings == ["the grace of 0.3 s is over: trial 0 continues from its last completed epoch."]
    assert run(reopen(study), 2) == "total"
    assert states(study) == ["complete"] * 2
    assert all(len(trial.intermediate_values) == EPOCHS for trial in record.load("first", study.location).trials)


def test_a_run_that_ends_within_the_grace_says_nothing_of_it(study):
    notes = Notes()
    runner = runner_of(study, pool := InstantPool(2), notes, trials=9, grace=60)
    notes.after_epoch = lambda n_epochs: n_epochs == 6 and runner.stop("terminated")
    pool.start()
    assert runner.run() == "terminated"
    assert notes.warnings == []


def test_the_checkpoints_of_losers_are_removed_and_the_best_ones_kept(tmp_path):
    for keep in (1, 3):
        study = new_study(tmp_path / f"{keep}.db", sampler="random")
        run(study, 12, keep_checkpoints=keep)
        found = record.load("first", study.location)
        complete = sorted((t for t in found.trials if t.state.name == "COMPLETE"), key=lambda t: (-t.value, t.number))
        kept = {f"trial-{trial.number:05d}" for trial in complete[:keep]}
        assert {p.name for p in study.folder.glob("trial-*")} == kept
        assert found.winner_folder.name in kept


def test_what_every_scored_trial_got_right_is_kept_as_of_its_last_epoch(tmp_path):
    study = new_study(tmp_path / "hpo.db", sampler="random")
    run(study, 12, InstantPool(2, fate=fails(lambda trial: "diverged" if trial == 3 else None)))
    kept = {path.name: int(path.read_bytes()) for path in (study.folder / "correct").iterdir()}
    found = record.load("first", study.location)
    ended = {f"{t.number:05d}.bits": t.last_step for t in found.trials if t.state.name in ("COMPLETE", "PRUNED")}
    assert kept == ended
    assert len(set(ended.values())) > 1


def test_what_a_trial_got_right_is_kept_when_another_run_ends_it(study):
    pool, notes = InstantPool(), Notes()
    runner = runner_of(study, pool, notes, trials=1)
    notes.after_epoch = lambda n_epochs: n_epochs == 2 and runner.stop("interrupted")
    pool.start()
    runner.run()
    assert not (study.folder / "correct").exists()
    run(reopen(study), 1)
    assert (study.folder / "correct" / "00000.bits").read_bytes() == b"%d" % EPOCHS


def test_a_trial_whose_answers_nobody_wrote_ends_as_any_other(study):
    assert run(study, 2, InstantPool(checkpoints=False)) == "total"
    assert states(study) == ["complete", "complete"]


def test_a_failed_trial_leaves_no_checkpoint(study):
    run(study, 1, InstantPool(fate=fails(lambda trial: "diverged" if trial == 1 else None)))
    run(reopen(study), 2, InstantPool(fate=fails(lambda trial: "diverged" if trial == 1 else None)))
    assert [p.name for p in study.folder.glob("trial-*")] == ["trial-00000"] or states(study)[2] == "complete"


def test_the_board_is_what_the_database_says(tmp_path):
    space = OBJECTIVE.space("basic").model_copy(update={"starts": ({"lr": 0.03},)})
    study = new_study(tmp_path / "hpo.db", space=space, sampler="random")
    pool = InstantPool(2, fate=fails(lambda trial: "shape" if trial in (2, 5) else None))
    pool.start()
    runner = runner_of(study, pool, trials=12)
    runner.run()
    found = record.load("first", study.location)
    counts = {state: n for state, n in runner.board.counts.items() if n}
    assert counts == dict(found.counts)
    assert runner.board.best == (found.best.number, found.best.value)
    assert runner.board.named == {number: found.trials[number].value for number in (0, 1)}
    again = runner_of(reopen(study), InstantPool(), trials=12).board
    assert (again.best, again.named, {state: n for state, n in again.counts.items() if n}) == (
        runner.board.best,
        runner.board.named,
        counts,
    )


class TestLanes:
    """Workers that share a process share its death; what became of each trial is exact."""

    @pytest.mark.parametrize(("processes", "lanes"), [(1, 3), (2, 4)])
    @pytest.mark.parametrize("sampler", ["tpe", "random"])
    def test_50_asked_are_50_finished(self, tmp_path, processes, lanes, sampler):
        study = new_study(tmp_path / "hpo.db", sampler=sampler)
        assert run(study, 50, InstantPool(processes, lanes=lanes)) == "total"
        assert len(states(study)) == 50
        assert set(states(study)) == {"complete", "pruned"}

    @pytest.mark.parametrize("processes", [1, 2])
    def test_a_trial_that_kills_its_process_is_found_out_and_fails_alone(self, study, processes):
        pool, notes = (
            InstantPool(processes, lanes=4, fate=lambda trial, epoch: KILLED if (trial, epoch) == (2, 3) else None),
            Notes(),
        )
        assert run(study, 12, pool, notes) == "total"
        assert states(study) == ["complete"] * 2 + ["fail"] + ["complete"] * 10
        assert pool.handed_out.count(2) == 2 + 3
        assert all(pool.handed_out.count(trial) <= 3 for trial in range(13) if trial != 2)
        found = record.load("first", study.location).trials
        assert [len(trial.intermediate_values) for trial in found if trial.number != 2] == [EPOCHS] * 12
        assert found[2].user_attrs["reason"] == "its worker died 3 times: killed, signal 9 (SIGKILL); out of memory?"

    def test_deaths_that_strike_anybody_cost_nobody_anything(self, study):
        pool, notes = InstantPool(lanes=3, fate=dies(*((trial, 2) for trial in range(0, 12, 3)))), Notes()
        assert run(study, 12, pool, notes) == "total"
        assert states(study) == ["complete"] * 12
        assert len(notes.warnings) == 4
        assert (
            "the process of workers 0 to 2 killed, signal 9 (SIGKILL); out of memory? in trials 0, 1, 2, which"
            in notes.warnings[0]
        )

    def test_a_silent_trial_is_named_and_those_beside_it_go_on(self, study):
        pool, notes = InstantPool(lanes=3, fate=silent_once(1, 2)), Notes()
        assert run(study, 6, pool, notes, trial_timeout=0.3) == "total"
        assert states(study) == ["complete"] * 6
        assert "silent for 0 s (--trial-timeout)" in notes.warnings[0]

    def test_a_trial_without_memory_beside_others_waits_until_its_process_is_empty(self, study):
        together, crowded = [], []

        def fate(trial, epoch):
            beside = len(pool._jobs)  # the others
            if trial == 1 and epoch == 2:
                together.append(beside)
                if beside:
                    crowded.append(trial)
                    return TrialFailed(trial=trial, cause="memory", reason="none is left.", crowded=True)
            return None

        pool, notes = InstantPool(lanes=3, fate=fate), Notes()
        assert run(study, 8, pool, notes) == "total"
        assert states(study) == ["complete"] * 8
        assert (together[-1], len(crowded)) == (0, 1)
        assert notes.warnings == ["trial 1, beside others: none is left. It continues alone."]

    def test_a_run_with_lanes_that_is_stopped_goes_on_without_them_and_the_other_way_round(self, study):
        notes = Notes()
        runner = runner_of(study, pool := InstantPool(lanes=4), notes, trials=9)
        notes.after_epoch = lambda n_epochs: n_epochs == 9 and runner.stop("interrupted")
        pool.start()
        assert runner.run() == "interrupted"
        assert run(reopen(study), 7, InstantPool(2)) == "total"
        assert run(reopen(study), 9, InstantPool(lanes=3)) == "total"
        assert states(study) == ["complete"] * 9

    def test_lanes_are_used_as_they_turn_out_to_pay(self, tmp_path):
        study = new_study(tmp_path / "hpo.db", sampler="random", epochs=10)
        pool = InstantPool(epochs=10, lanes=8)
        pool.start()
        crew = Crew(pool, Watcher(), grows=True)
        most, notes = [], Notes()
        runner = Runner(study, crew, RunOptions(trials=20), notes)
        notes.after_epoch = lambda _: most.append((len(runner._seated), runner.board.at_once))
        assert runner.run() == "total"
        assert most[0] == (2, 2)
        assert max(used for used, _ in most) == max(allowed for _, allowed in most) == 8  # rates stay, however many there are
