"""Pages in Chromium: every figure drawn, nothing on the console, nothing asked for, nothing of a stranger's run."""

import html
import json
import re

import made
import optuna
import pytest
from browser import CHROMIUM, browsing, look

from hpo.report import Comparison, write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.timeout(300),
]
PLACES = 8
REPEATED = """[...document.querySelectorAll(".drawing")].flatMap((drawing) => ["x", "y"].map((axis) => {
    const ticks = [...drawing.querySelectorAll(`.${axis}axislayer-above text`)].map((tick) => tick.textContent);
    return new Set(ticks).size < ticks.length ? `${drawing.id}: ${ticks}` : "";
})).filter(Boolean)"""
PAYLOADS = [
    "<script>document.documentElement.dataset.hacked={n}</script>",
    "</script><script>document.documentElement.dataset.hacked={n}</script>",
    "<img src=x onerror='document.documentElement.dataset.hacked={n}'>",
    "<svg onload=document.documentElement.dataset.hacked={n}>",
    '"><script>document.documentElement.dataset.hacked={n}</script>',
    "'-document.documentElement.setAttribute(`data-hacked`,{n})-'",
    "<a href='javascript:document.documentElement.dataset.hacked={n}'>{n}</a>",
    "<!--<script>{n}",
    "]]></textarea><iframe srcdoc='<script>parent.document.documentElement.dataset.hacked={n}</script>'>",
    "{{{{ 7*{n} }}}}{{% raw %}}",
    "<b style='position:fixed'>{n}</b><br>&lt;i&gt;&amp;",
    "%{{x}}<extra>{n}</extra>$x^{n}$",
    "\u202e{n}\u2028\u2029<plaintext>",
    "=cmd|' /C calc'!A{n}",
    "<link rel=stylesheet href=http://192.0.2.1/{n}><meta http-equiv=refresh content='0;url=http://192.0.2.1/{n}'>",
]


STUDIES = {
    "0": lambda: made.study([]),
    "1": lambda: made.searched(1),
    "50": lambda: made.searched(50),
    "10_000": lambda: made.searched(10_000),
    "running": lambda: made.study([made.trial(0, "RUNNING", [0.5, 0.6]), made.trial(1, "WAITING")]),
    "failed": lambda: made.study([made.trial(i, "FAIL", reason="boom") for i in range(5)]),
    "foreign": made.foreign,
    "narrow": lambda: made.study([made.trial(i, accuracies=[0.85, 0.85 + i / 5000], n_parameters=31e4 + i) for i in range(8)]),
}


@pytest.fixture(scope="module")
def browser():
    with browsing() as one:
        yield one


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_figure_is_drawn_and_nothing_is_asked_for(browser, tmp_path, name):
    made.artifacts(tmp_path)
    text = (page := write_report(STUDIES[name](), tmp_path / "x.html", artifacts=tmp_path)).read_text()
    for width, dark in ((360, False), (2560, True)):
        seen = look(page, browser, width=width, dark=dark, script=REPEATED)
        assert seen.answer == [], "no axis has a tick twice"
        assert seen.console == []
        assert seen.requests == []
        assert seen.drawn == text.count('class="drawing"')
        assert seen.dom.count('class="main-svg"') >= seen.drawn
        assert seen.overflow <= 0


def test_a_comparison_is_drawn_and_asks_for_nothing(browser, tmp_path):
    page = Comparison([made.searched(40, name="a"), made.searched(30, name="b")]).write(tmp_path / "x.html")
    seen = look(page, browser, width=360)
    assert (seen.console, seen.requests, seen.overflow) == ([], [], 0)
    assert seen.drawn >= 2


def test_cells_that_a_spreadsheet_would_run_are_harmless(browser, tmp_path):
    cells = ["=1+1", "+1", "-1", "@x", "\tx", 'a"b,c', "plain", -1.5, None, True]
    seen = look(write_report(made.searched(3), tmp_path / "x.html"), browser, script=f"{json.dumps(cells)}.map(csvCell)")
    assert seen.answer == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", '"a""b,c"', "plain", "-1.5", "", "true"]


def test_the_table_filters_and_sorts(browser, tmp_path):
    script = """(() => {
        const column = (i) => [...document.querySelectorAll("#table tbody tr")].map((row) => row.children[i].textContent);
        const filter = document.querySelector("#table input");
        filter.value = "pruned"; filter.oninput();
        const states = column(1);
        filter.value = ""; filter.oninput();
        document.querySelectorAll("#table thead button")[2].click();
        return { states, values: column(2) };
    })()"""
    study = made.searched(30)
    seen = look(write_report(study, tmp_path / "x.html"), browser, script=script).answer
    assert seen["states"] == ["pruned"] * sum(trial.state.name == "PRUNED" for trial in study.trials)
    values = [float(value) for value in seen["values"] if value != "\N{EN DASH}"]
    assert values == sorted(values, reverse=True)
    assert seen["values"][-1] == "\N{EN DASH}", "what is missing comes last"


def hostile(page):
    """Make a study of hostile texts: ten in each of eight places."""
    texts = [PAYLOADS[i % len(PAYLOADS)].format(n=1000 * page + i) for i in range(10 * PLACES)]
    names, choices, reasons, keys, settings, environment, commands, classes = (texts[k::PLACES] for k in range(PLACES))
    space = dict.fromkeys(names, made.SPACE["lr"]) | {"kind": optuna.distributions.CategoricalDistribution(choices)}
    trials = []
    for i in range(20):
        params = dict.fromkeys(names, 0.1 / (i + 1)) | {"kind": choices[i % 10]}
        ending = {"state": "FAIL", "reason": reasons[i]} if i < 10 else {"accuracies": made.curve(0.5 + i / 50)}
        trials.append(made.trial(i, params=params, space=space, **ending))
    about = {"settings": dict(zip(keys, settings, strict=True)), "environment": {"x": environment, "classes": classes}}
    study = made.study(trials, name=names[0], **about)
    study.set_user_attr("command", "\n".join(commands))
    return study, texts


@pytest.mark.timeout(600)
def test_three_hundred_hostile_strings_are_shown_and_never_run(browser, tmp_path):
    made.artifacts(tmp_path, n=500)
    n = 0
    for i in range(4):
        study, texts = hostile(i)
        seen = look(write_report(study, tmp_path / "x.html", title=texts[0], artifacts=tmp_path), browser)
        assert "data-hacked" not in re.match(r"<html[^>]*>", seen.dom)[0]
        assert (seen.console, seen.requests) == ([], [])
        assert seen.drawn
        shown = " ".join(html.unescape(re.sub(r"<script.*?</script>", "", seen.dom, flags=re.DOTALL)).split())
        assert [text for text in texts if " ".join(text.split())[:30] not in shown] == []
        n += len(texts)
    assert n >= 300
