"""Pages in Chromium: every figure drawn, nothing on the console, nothing asked for, nothing of a stranger's run."""

import html
import json
import re

import made
import optuna
import pytest
from browser import CHROMIUM, browsing, look
from made import Comparison, write_report

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
    values = [float(value.removesuffix("\N{NO-BREAK SPACE}%")) for value in seen["values"] if value != "\N{EN DASH}"]
    assert values == sorted(values, reverse=True)
    assert seen["values"][-1] == "\N{EN DASH}", "what is missing comes last"


ASKED = {
    "lr > 0.3": lambda one: one.params["lr"] > 0.3,
    "LR<=0.01 pruned": lambda one: one.params["lr"] <= 0.01 and one.state.name == "PRUNED",
    "value >= 80 %": lambda one: (one.value or 0) >= 0.8,
    "value>=80%": lambda one: (one.value or 0) >= 0.8,
    "value >= 0.8": lambda one: (one.value or 0) >= 0.8,
    "value < 60": lambda one: one.value is not None and one.value < 0.6,
    "depth = 3 norm = Batch": lambda one: one.params["depth"] == 3 and one.params["norm"] == "batch",
    "norm != batch state=finished": lambda one: one.params["norm"] != "batch" and one.state.name == "COMPLETE",
    "parameters > 1,000,000": lambda one: one.params["depth"] > 2,
    "images/s >= 505": lambda one: one.user_attrs["images_per_second"] >= 505,
    "memory": lambda one: one.state.name == "FAIL",
    "nobody > 3": lambda _: False,
    "norm > 3": lambda _: False,
    "": lambda _: True,
}


def test_the_filter_understands_comparisons_and_words(browser, tmp_path):
    script = f"""{json.dumps(list(ASKED))}.map((asked) => {{
        const filter = document.querySelector("#table input");
        filter.value = asked; filter.oninput();
        return [...document.querySelectorAll("#table tbody tr")].map((row) => Number(row.firstChild.textContent));
    }})"""
    study = made.searched(40)
    answers = look(write_report(study, tmp_path / "x.html"), browser, script=script).answer
    for (asked, wanted), answer in zip(ASKED.items(), answers, strict=True):
        assert answer == [one.number for one in study.trials if wanted(one)], asked


def test_the_table_shows_numbers_as_a_person_reads_them(browser, tmp_path):
    cells = [[0.8799, True], [1280000, False], [12345.67, False], [0.00011147, False], [3, False], ["relu", False], [None, True]]
    seen = look(
        write_report(made.searched(3), tmp_path / "x.html"), browser, script=f"{json.dumps(cells)}.map((one) => shown(...one))"
    )
    assert seen.answer == ["87.99\N{NO-BREAK SPACE}%", "1,280,000", "12,345.7", "0.00011147", "3", "relu", "\N{EN DASH}"]


@pytest.mark.parametrize("clipboard", ["", "Object.defineProperty(navigator, 'clipboard', {value: undefined});"])
def test_a_button_copies_the_command_that_trains_the_winner_again(browser, tmp_path, clipboard):
    page = write_report(made.searched(3), tmp_path / "x.html")
    script = f"""(async () => {{
        const kept = navigator.clipboard;
        await kept.writeText("what was there before");
        {clipboard}
        const box = document.querySelector("#winner ~ * .code");
        box.querySelector("button").click();
        await new Promise((resume) => setTimeout(resume, 500));
        return [box.querySelector("code").textContent, await kept.readText(), box.querySelector("button").textContent];
    }})()"""
    command, pasted, said = look(page, browser, script=script).answer
    assert "cat > winner.toml" in command  # after a line on the recipe of a study that an older hpo made
    assert pasted == command
    assert said == "copied"


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
