"""How a page looks in Chromium, light and dark, narrow and wide: nothing is cut, covered or pale, all is reached by keys."""

from pathlib import Path

import made
import pytest
from browser import CHROMIUM, browsing, look
from made import Comparison, write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.timeout(300),
]
SCRIPT = (Path(__file__).parent / "looks.js").read_text()
LONG = ["airplane", "automobile", *made.CLASSES[2:]]
WRONG = ("unreachable", "nested", "unnamed", "wide", "cut", "covered", "crowded", "broken", "empty", "pale", "faint")


def searched(folder):
    made.artifacts(folder)
    study = made.searched(50)
    study.set_user_attr("environment", study.user_attrs["environment"] | {"classes": LONG})
    return write_report(study, folder / "searched.html", artifacts=folder)


def unfinished(folder):
    trials = [made.trial(0, "RUNNING", [0.5, 0.6]), made.trial(1, "PRUNED", [0.3]), made.trial(2, "FAIL", reason="boom " * 40)]
    return write_report(made.study(trials), folder / "unfinished.html")


def narrow(folder):
    """Values so close that their ticks are long."""
    trials = [made.trial(i, accuracies=[0.85, 0.85 + i / 5000], n_parameters=31e4 + i) for i in range(8)]
    return write_report(made.study(trials), folder / "narrow.html")


def compared(folder):
    return Comparison([made.searched(40, name="a"), made.searched(30, name="b")]).write(folder / "compared.html")


@pytest.fixture(scope="module")
def browser():
    with browsing() as one:
        yield one


@pytest.fixture(
    scope="module",
    params=[
        (searched, 360, False),
        (searched, 800, True),
        (searched, 1400, True),
        (searched, 1400, False),
        (narrow, 1400, False),
        (unfinished, 360, True),
        (compared, 360, True),
        (compared, 1400, False),
    ],
    ids=lambda one: f"{one[0].__name__}-{one[1]}-{'dark' if one[2] else 'light'}",
)
def seen(request, browser, tmp_path_factory):
    page, width, dark = request.param
    return look(page(tmp_path_factory.mktemp("page")), browser, width=width, height=640, dark=dark, script=SCRIPT).answer


@pytest.mark.parametrize("fault", WRONG)
def test_nothing_is(seen, fault):
    assert seen[fault] == []


def test_the_first_finding_is_on_a_telephones_first_screen(browser, tmp_path):
    assert look(searched(tmp_path), browser, width=360, height=640, script=SCRIPT).answer["findings"] <= 640
