"""Stored things for people and programs: studies, trials, the best trial, a space, a data set, the doctor's findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from hpo.cli.rows import STYLES, Share, cell, counted, plain, show_rows, to_json
from hpo.cli.streams import err, out, visible
from hpo.scoring.classes import Frequencies
from hpo.settings import METRICS
from hpo.store.own import FOREIGN
from hpo.store.repetitions import stored as repeats_of
from hpo.store.schema import MEASURED

if TYPE_CHECKING:
    from hpo.data.arrays import DataSet
    from hpo.data.pictures.inspection import Inspection
    from hpo.doctor.diagnosis import Diagnosis
    from hpo.search_space import SearchSpace
    from hpo.store.reading.record import StudyRecord

Row = dict[str, Any]

WORDS = {"fail": "failed", FOREIGN: "is not hpo's"}
REASONS = 5  # failures that a table of trials explains


def score(value: float | None, record: StudyRecord) -> float | None:
    """Return a trial's value for a table: an accuracy if hpo made the study, else the plain number."""
    return Share(value) if value is not None and record.is_share and 0 <= value <= 1 else value


def told(row: Row, record: StudyRecord) -> Row:
    """Return a trial's row for a table: its value, and an accuracy beside it, as a person reads them."""
    shares = {record.measure, METRICS[0]}
    return {key: score(value, record) if key in shares and isinstance(value, float) else value for key, value in row.items()}


def best(record: StudyRecord) -> None:
    """Print the best trial as a table; in hpo's own studies next to trial 0, the default point."""
    trial, first = record.best, record.default
    settings, environment = record.settings, record.attributes.get("environment")
    n_scored = environment.get("n_scored") if isinstance(environment, dict) else None
    scored = f" on {counted(n_scored) or '?'} {settings.score} images" if settings and record.has("score") else ""
    out().print(f"best: trial {trial.number}, {plain(score(trial.value, record))}{scored}")
    shown = [trial, first] if first and first.number != trial.number else [trial]
    table = Table(box=None, padding=(0, 2))
    table.add_column("", style="dim")
    table.add_column(f"trial {trial.number}", justify="right")
    if first in shown[1:]:
        table.add_column("trial 0 (default)", justify="right")
    table.add_row(record.measure, *("" if t.value is None else plain(score(t.value, record)) for t in shown))
    rows = [told(record.row(t), record) for t in shown]
    if record.ours and record.objective.is_network and METRICS[0] in rows[0].keys() - {record.measure}:
        table.add_row(METRICS[0], *(plain(row.get(METRICS[0], "")) for row in rows))
    for name in trial.params:
        table.add_row(visible(name), *(plain(t.params.get(name, "")) for t in shown))
    noted = [record.notes(t) for t in shown]
    for key in MEASURED if record.ours else ():
        measured = [counted(notes.get(key)) for notes in noted]
        if any(measured):  # a stranger's objective may have no layers to count
            table.add_row(key, *measured)
    out().print(table)
    if settings and record.has("score") and settings.score == "test" and record.n_finished > 1:
        err().print(
            f"The winner was chosen on the test set, so its {record.score.name} is optimistic; "
            "--score validation keeps the test set unread.",
            style="dim",
        )


def study_row(record: StudyRecord) -> Row:
    """Return a study as a row for `list`."""
    settings, counts = record.settings, record.counts
    repeats = repeats_of(record.attributes) is not None  # the best of repeated trainings is only the luckiest
    first = record.default if not repeats else None
    return {
        "study": record.name,
        "dataset": settings.dataset if settings and record.has("dataset") else None,
        "finished": record.n_finished,
        **{state: counts[state] for state in ("complete", "pruned", "fail", "running")},
        **{state: counts[state] for state in ("waiting", FOREIGN) if counts[state]},
        "best": score(record.winner.value, record) if record.winner and not repeats else None,
        "default": score(first.value, record) if first and first.state.name == "COMPLETE" else None,
        **({"finalists": told} if (told := _finalists(record)) else {}),
    }


def _finalists(record: StudyRecord) -> str:
    """Return what was found by the finalists of a study, in a few words; empty where it has none, or is itself theirs."""
    from hpo.proof.finalists import about
    from hpo.proof.sentences import briefly

    found = about(record) if repeats_of(record.attributes) is None else None
    return briefly(found) if found else ""


def show_studies(records: Sequence[StudyRecord], form: str, *, empty: str) -> None:
    """Print a database's studies."""
    show_rows([study_row(record) for record in records], form, empty=empty, kept=("study", "finished", "best"))


def show_trials(record: StudyRecord, rows: Sequence[Row], form: str, *, empty: str) -> None:
    """Print trials of a study; a table has the columns that fit, and below it the reasons of the latest failures."""
    if form != "table":
        show_rows(rows, form, empty=empty)
        return
    hidden = {"number", "started", "ended", "reason", *MEASURED} - {"seconds"}
    shown = [
        {"trial": row["number"]}
        | {key: value for key, value in told(row, record).items() if key not in hidden}
        | {"state": "not hpo's" if row["state"] == FOREIGN else row["state"]}
        for row in rows
    ]
    show_rows(shown, form, empty=empty, kept=("trial", "state", record.measure, "epochs", "seconds"))
    failed = [row for row in rows if row["state"] in ("fail", FOREIGN) and row["reason"]]
    for row in failed[-REASONS:]:
        out().print(Text(cell("reason", f"trial {row['number']} {WORDS[row['state']]}: {row['reason']}"), style=STYLES["fail"]))
    if len(failed) > REASONS:
        err().print(Text(f"{len(failed) - REASONS} more failed: --state fail --format csv shows the reasons.", style="dim"))


def show_study(record: StudyRecord, form: str) -> None:
    """Print one study: settings, counts, best trial, and what its finalists say."""
    from hpo.cli.finalists import show
    from hpo.proof.finalists import about
    from hpo.proof.sentences import verdict

    row = study_row(record)
    stopped = record.attributes.get("stopped")
    if form != "table":
        details = {key: record.attributes.get(key) for key in ("settings", "space", "environment", "command", "stopped")}
        details["recipe"] = record.recipe
        details |= {"objective": record.objective.stored} if record.objective.kind else {}
        winner = record.row(record.winner) if record.winner else None
        show_rows([row | details | {"winner": winner}], form, empty="")
        return
    facts = {key: cell(key, value) for key, value in row.items() if value is not None}
    if record.objective.kind:
        facts[record.objective.kind] = plain(record.objective.name)
    settings = record.settings.model_dump() if record.settings else {}
    facts |= {k: plain(v) for k, v in settings.items() if v is not None and k != "dataset" and record.has(k)}
    if record.space:
        varied = ", ".join(record.space.varied or dict.fromkeys(name for trial in record.own for name in trial.params))
        facts["space"] = plain(f"{record.space.name}: {varied}")
    if command := record.attributes.get("command"):
        facts["command"] = plain(command)
    if isinstance(stopped, dict):
        facts["ended"] = plain(f"{stopped.get('reason')} at {stopped.get('at')}")
    _show_facts(facts)
    if repeats_of(record.attributes):
        if found := about(record):
            show(found, form)
        return
    if record.winner:
        best(record)
    if record.winner and (found := about(record)):
        out().print(visible(f"finalists ({found.name}): {verdict(found)}"), markup=False, highlight=False)


def show_trial(record: StudyRecord, number: int, form: str) -> None:
    """Print one trial: everything that is stored of it."""
    row = record.row(record.trials[number])
    if form != "table":
        show_rows([row | {"curve": list(record.curve(record.trials[number]).values())}], form, empty="")
        return
    _show_facts({visible(key): cell(key, value) for key, value in told(row, record).items() if value is not None})


def _show_facts(facts: Mapping[str, str]) -> None:
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for fact in facts.items():
        table.add_row(*fact)
    out().print(table)


def show_data(data: DataSet) -> None:
    """Print what a data set holds: sizes, classes, digest."""
    facts = {"data set": data.name, "from": plain(data.source)}
    for name, split in (("training", data.train), ("test", data.test)):
        _, height, width, channels = split.images.shape
        facts[name] = f"{len(split):,} images of {height}x{width}{', grey' if channels == 1 else ''}"
    labels = [Counter(split.labels.tolist()) for split in (data.train, data.test)]
    facts["classes"] = plain(", ".join(data.classes))
    found = Frequencies(data.classes, *(tuple(counts[i] for i in range(len(data.classes))) for counts in labels))
    if found.unequal:
        facts["unequal"] = plain(found.said())
    else:
        facts["per class"] = f"{_ends(found.train)} images for training, {_ends(found.scored)} for tests"
    _show_facts(facts | {"digest": data.digest})


def _ends(counts: Sequence[int]) -> str:
    return f"{min(counts):,} to {max(counts):,}" if min(counts) < max(counts) else f"{max(counts):,}"


def show_inspection(found: Inspection) -> None:
    """Print what there is to say of a person's pictures: counts, sizes, and what is wrong."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    parts = ("training", "validation", "test")
    shown = [i for i, _ in enumerate(parts) if any(counts[i] for counts in found.counts.values())]
    table.add_column("class")
    for i in shown:
        table.add_column(parts[i], justify="right")
    for name, counts in found.counts.items():
        table.add_row(plain(name), *(f"{counts[i]:,}" for i in shown))
    out().print(table)
    short, long = found.sides.min(1), found.sides.max(1)
    out().print(f"sides: short {_spread(short)}, long {_spread(long)} pixels (smallest, median, largest)")
    _show_some("broken", [f"{path} {why}" for path, why in found.broken])
    _show_some("passed over", found.passed_over)
    _show_some("for tests and in training too", [f"{pair.test} = {pair.train}" for pair in found.equal])
    _show_some("for tests, and nearly the same in training", [f"{pair.test} ~ {pair.train}" for pair in found.near])
    if found.repeated:
        out().print(f"copies of other pictures on the same side: {found.repeated:,}")
    if found.torn:
        out().print(f"equal pictures of several classes: {found.torn:,}")


def _spread(values: Any) -> str:  # noqa: ANN401  # an array of whole numbers
    return f"{min(values)}, {sorted(values)[len(values) // 2]}, {max(values)}"


def _show_some(what: str, lines: Sequence[str]) -> None:
    """Print how many there are, and the first ten."""
    if not lines:
        return
    out().print(f"{what}: {len(lines):,}")
    for line in lines[:10]:
        out().print(
            f"  {visible(line.encode(errors='backslashreplace').decode())}", markup=False, highlight=False, soft_wrap=True
        )
    if len(lines) > 10:
        out().print(f"  … and {len(lines) - 10:,} more")


def show_space(space: SearchSpace, described: Mapping[str, str]) -> None:
    """Print a search space as a table."""
    from hpo.parameters import Choices, Fixed

    table = Table(box=None, padding=(0, 1), header_style="dim")
    for heading in ("parameter", "values", "default", "what it is"):
        table.add_column(heading, overflow="fold")
    for name, parameter in space.parameters.items():
        if isinstance(parameter, Fixed):
            values = "fixed"
        elif isinstance(parameter, Choices):
            values = ", ".join(plain(choice) for choice in parameter.choices)
        else:
            how = " (log)" if parameter.log else f" (step {plain(parameter.step)})" if parameter.step else ""
            values = f"{plain(parameter.low)} to {plain(parameter.high)}{how}"
        style = "dim" if isinstance(parameter, Fixed) else None
        table.add_row(*map(Text, (name, values, plain(parameter.default), described[name])), style=style)
    out().print(table)
    for start in space.starts:
        point = "  ".join(f"{name} {plain(value)}" for name, value in start.items())
        out().print(f" tried after the default point and trained to the end: {point}", markup=False, highlight=False)


def show_findings(findings: Sequence[Diagnosis], *, as_json: bool) -> None:
    """Print the doctor's findings, problems first, each with the command that fixes it; then one line of summary."""
    order = {"bad": 0, "note": 1, "ok": 2}
    findings = sorted(findings, key=lambda finding: order[finding.state])
    if as_json:
        print(to_json([{key: getattr(f, key) for key in ("check", "state", "found", "mend")} for f in findings]))
        return
    marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "bad": ("bad", "red")}
    table = Table(box=None, padding=(0, 1), show_header=False)
    for _ in ("state", "check", "found"):
        table.add_column(overflow="fold")
    for finding in findings:
        text = Text(plain(finding.found))
        if finding.mend:
            text.append(f"\n→ {plain(finding.mend)}", style="bold")
        table.add_row(Text(*marks[finding.state]), Text(finding.check, style="dim"), text)
    out().print(table)
    counts = Counter(finding.state for finding in findings)
    told = [f"{counts['bad']} bad"] if counts["bad"] else ["nothing is wrong"]
    told += [f"{counts['note']} to note"] if counts["note"] else []
    out().print(f"{', '.join(told)}, {counts['ok']} ok.")
