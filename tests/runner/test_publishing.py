"""When a run is published: seldom enough to cost nothing, often enough to be current, and in any case at the end."""

import inspect
import itertools
from concurrent.futures import Future

import pytest
from instant import Notes, new_study, run

from hpo.runner.board import Board, Watcher, Watchers
from hpo.runner.publishing import MINIMUM, Publishing
from hpo.search.open_trial import OpenTrial

TRIAL = OpenTrial(number=0, params={})
BOARD = Board(study="first", varied=(), epochs=1, total=1)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Going(Future):
    """A publication beside the run, which is over after some seconds."""

    def __init__(self, clock, seconds, error=None):
        super().__init__()
        self.clock, self.over = clock, clock.now + seconds
        self.set_exception(error) if error else self.set_result(None)

    def done(self):
        return self.clock.now >= self.over

    def exception(self, timeout=None):
        self.clock.now = max(self.clock.now, self.over)
        return super().exception(timeout)


class Published(Publishing):
    """Remembers when it published, and when it began to beside the run; the latter takes `costs` seconds."""

    def __init__(self, costs=0.1):
        self.clock, self.times, self.begun, self.notes = Clock(), [], [], Notes()

        def publish(name):
            assert name == "first"
            self.times.append(self.clock.now - 1000)

        def begin(name):
            assert name == "first"
            self.begun.append(self.clock.now - 1000)
            return Going(self.clock, costs)

        super().__init__(self.notes.warned, publish, begin, self.clock)
        self.opened(BOARD)

    def live(self, seconds, ends_every=None):
        """Let time pass; a trial ends now and then."""
        for second in range(1, seconds + 1):
            self.clock.now += 1
            if ends_every and second % ends_every == 0:
                self.ended(BOARD, TRIAL, "complete")
            self.changed(BOARD)


def test_it_publishes_about_once_a_minute_while_trials_end():
    published = Published()
    published.live(400, ends_every=3)
    assert published.begun[0] == MINIMUM
    assert len(published.begun) == 6
    assert all(later - earlier >= MINIMUM for earlier, later in itertools.pairwise(published.begun))
    assert not published.times


def test_without_a_trial_that_ended_there_is_nothing_to_publish():
    published = Published()
    published.live(400)
    assert not published.begun


def test_publications_take_at_most_a_fiftieth_of_the_run():
    published = Published(costs=6)
    published.live(2000, ends_every=1)
    assert len(published.begun) == 7
    assert all(later - earlier >= 300 for earlier, later in itertools.pairwise(published.begun))


def test_one_that_takes_long_is_followed_by_no_other_before_it_is_over():
    published = Published(costs=500)
    published.live(550, ends_every=1)
    assert published.begun == [MINIMUM]


def test_a_run_that_is_ending_publishes_at_its_end_alone():
    published = Published()
    board = Board(study="first", varied=(), epochs=1, total=1, stopping="interrupted")
    published.ended(board, TRIAL, "complete")
    published.clock.now += 1000
    published.changed(board)
    assert not published.begun
    published.closing(board)
    assert published.times == [1000]


def test_what_is_published_at_the_end_follows_what_goes_on():
    published = Published(costs=100)
    published.live(int(MINIMUM), ends_every=1)
    published.closing(BOARD)
    assert (published.begun, published.times) == ([MINIMUM], [MINIMUM + 100])


def test_a_publication_that_fails_is_a_warning_said_once_and_the_run_goes_on(tmp_path):
    shown, tried, clock = Notes(), [], Clock()

    def publish(name):
        tried.append(name)
        raise RuntimeError("disk full")

    def begin(name):
        tried.append(name)
        return Going(clock, 1, RuntimeError("disk full"))

    shown.after_epoch = lambda n: setattr(clock, "now", clock.now + (1 if n % 2 else 100 * MINIMUM))
    publishing = Publishing(shown.warned, publish, begin, clock)
    study = new_study(tmp_path / "hpo.db")
    assert run(study, 6, watcher=Watchers(shown, publishing)) == "total"
    publishing.closing(Board(study="first", varied=(), epochs=1, total=1))
    assert len(tried) > 2
    assert set(tried) == {"first"}
    assert shown.warnings == ["the dashboard's note and figures are not up to date: disk full"]


@pytest.mark.parametrize("name", [name for name, _ in inspect.getmembers(Watcher, inspect.isfunction) if name[0] != "_"])
def test_several_watchers_hear_everything_in_order(name):
    heard = []
    kinds = [type("Shown", (Watcher,), {name: lambda self, *given, i=i: heard.append((i, *given))}) for i in range(2)]  # noqa: ARG005
    given = tuple(object() for _ in list(inspect.signature(getattr(Watcher, name)).parameters)[1:])
    getattr(Watchers(*(kind() for kind in kinds)), name)(*given)
    assert heard == [(0, *given), (1, *given)]
