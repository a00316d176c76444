"""How a run ended: the best trial, what was found, and the commands that continue from here."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.cli.streams import err, visible
from hpo.cli.tables import best
from hpo.store.own import FOREIGN
from hpo.store.repetitions import stored as repeats_of

if TYPE_CHECKING:
    from hpo.runner.session import Outcome


def result(outcome: Outcome, *, quiet: bool, storage: str | None, page: Path | None, found: str) -> None:
    """Print how a run ended: the best trial, what was `found`, and the commands that continue from here.

    With `quiet`, print only the best trial's line. Data (the table) goes to standard output, everything else to standard error.
    """
    record = outcome.record
    if quiet:
        print(f"{record.name}\t{record.winner.number}\t{record.winner.value:.4f}" if record.winner else f"{record.name}\t\t")
        return
    console = err()
    console.print(visible(f"study {record.name}: {ending(outcome)}."), soft_wrap=True)
    if repeats_of(record.attributes):
        console.print(f"  what they prove:  hpo show {record.name}", soft_wrap=True)
    elif record.winner:
        best(record)
        console.print(visible(found.replace("\N{NO-BREAK SPACE}", " ")), markup=False, highlight=False)
    database = f" --storage {shlex.quote(visible(str(record.location)))}" if storage else ""
    if page:
        console.print(f"  {'page:':9} {page}", soft_wrap=True)
    go_on = f"hpo resume {record.name}{database}" + (" --trials N" if outcome.reason == "total" else "")
    for what, command in (
        *([] if outcome.reason.startswith("exhausted") else [("continue", go_on)]),
        ("look", f"hpo dashboard{database}"),
        ("report", f"hpo report {record.name}{database}"),
    ):
        console.print(f"  {what + ':':9} {command}", soft_wrap=True)


def ending(outcome: Outcome) -> str:
    """Return `finished: 10 of 10 trials (4 complete, 6 pruned)`, or another reason of the end, or that nothing was to do."""
    n, total, reason = outcome.record.n_finished, outcome.total, outcome.reason
    words = {"fail": "failed", "running": "to be continued", "waiting": "enqueued", FOREIGN: "not hpo's"}
    counted = ", ".join(f"{n} {words.get(state, state)}" for state, n in sorted(outcome.record.counts.items()))
    details = f" ({counted})" if counted else ""
    if reason == "total" and outcome.idle and n > total:
        return f"nothing to do; {n} trials are finished and {total} were requested{details}"
    ended = f"finished: {n} of {total} trials" if reason == "total" else f"{reason}; {n} of {total} trials finished"
    return f"{'nothing to do; ' if outcome.idle else ''}{ended}{details}"
