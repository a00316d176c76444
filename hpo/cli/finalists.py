"""`hpo finalists`: the best few of a study trained again, and what that proves, as a table and in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import File, Form, Format, Storage, Study, Text, Whole, option

if TYPE_CHECKING:
    from hpo.proof.finalists import Finalist, Finalists
    from hpo.proof.intervals import Estimate
    from hpo.scoring.score import Score

app = typer.Typer()


@app.command(epilog="Examples:  hpo finalists cifar10    hpo finalists cifar10 --top 2 --seeds 8 --ablation")
def finalists(
    study: Study,
    top: Annotated[int, option("--top", metavar="N", help="How many of the best trials that differ.")] = 3,
    seeds: Annotated[int, option("--seeds", metavar="N", help="Trainings of each, with the same seeds for all.")] = 5,
    epochs: Annotated[
        Whole, option("--epochs", metavar="N", min=1, help="Epochs per training. Default: the study's.", show_default=False)
    ] = None,
    ablation: Annotated[
        bool, option("--ablation", help="Also put each choice of the winner back to the default: what did it bring?")
    ] = False,
    program: Annotated[
        Text, option("--command", metavar="'WORDS {lr}'", help="The study's program, where it is trained by one.")
    ] = None,
    workers: Annotated[Text, option("--workers", "-j", metavar="auto|N", help="Trials at once. Default: auto.")] = None,
    device: Annotated[Text, option("--device", metavar="auto|cpu|cuda", help="Where to train. Default: auto.")] = None,
    timeout: Annotated[Text, option("--timeout", metavar="TIME", help="Start no epoch after this time: 30m, 1h30m.")] = None,
    grace: Annotated[Text, option("--grace", metavar="TIME", help="When stopping, wait at most this long for epochs.")] = None,
    data_dir: Annotated[File, option("--data-dir", metavar="DIR", help="Folder for data sets. Default: the study's.")] = None,
    no_report: Annotated[bool, option("--no-report", help="Do not write the study's report at the end.")] = False,
    storage: Storage = None,
    form: Form = Format.table,
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only the result.")] = False,
    verbose: Annotated[bool, option("--verbose", "-v", help="Print notes too, and, without a terminal, every epoch.")] = False,
) -> int:
    """Train the best few and the default point again, with the same fresh seeds: which is the winner, and by how much?

    They are kept as a study of their own, STUDY.finalists. The same command continues it; more --seeds add to what is there.
    """
    from hpo import finals
    from hpo.cli import streams
    from hpo.cli.running import write_page
    from hpo.cli.views import watching
    from hpo.settings import RunOptions
    from hpo.store.database import locate
    from hpo.store.reading.record import load

    options = RunOptions.of(workers=workers, device=device, timeout=timeout, grace=grace, data_dir=data_dir)
    wanted = finals.Wanted(top, seeds, epochs, ablation, program)
    try:
        with watching(quiet=quiet, verbose=verbose) as watcher:
            found, outcome = finals.conduct(study, wanted, options=options, storage=storage, watcher=watcher)
    except (KeyboardInterrupt, SystemExit):
        streams.tell("stopped immediately. Finished work is kept; run the same command to continue from each last epoch.")
        raise
    show(found, form)
    page = None if no_report else write_page(load(study, locate(storage)), quiet=quiet)
    if page and not quiet:
        streams.err().print(f"  page:  {page}", soft_wrap=True)
    return outcome.exit_code


def show(found: Finalists, form: str) -> None:
    """Print a result: a table and what it means, or all numbers for a program."""
    from hpo.cli import streams
    from hpo.cli.rows import show_rows
    from hpo.proof.sentences import sentences

    if form != "table":
        show_rows([_values(one, found) for one in (*found.finalists, *found.ablations)], form, empty="")
        return
    show_rows([_row(one, found) for one in found.finalists], form, empty="", kept=("finalist", "mean ± 95 %", "gain ± 95 %"))
    if found.ablations:
        streams.out().print("what each choice of the winner brought:")
        show_rows([_ablation(one, found) for one in found.ablations], form, empty="", kept=("put back", "brought ± 95 %"))
    for sentence in sentences(found):
        streams.out().print(streams.visible(sentence), markup=False, highlight=False)


def _row(one: Finalist, found: Finalists) -> dict[str, Any]:
    score, mean, gain = found.score, one.mean, one.gain
    mark = " *" if one is found.winner else ""
    return {
        "finalist": one.name.removeprefix("the ") + mark,
        **_differs(one, found),
        "n": len(one.scores),
        "study's score": None if one.before is None else score.shown(one.before),
        "mean ± 95 %": f"{score.shown(mean.mean)} ± {_half(mean, score)}" if mean else None,
        "gain ± 95 %": f"{score.gained(gain.mean).removesuffix(' points')} ± {_half(gain, score)}" if gain else None,
        **{key: value for key, value in one.costs.items() if key == found.cost},
    }


def _ablation(one: Finalist, found: Finalists) -> dict[str, Any]:
    name, winner = str(one.entry.without), found.winner
    return {
        "put back": name,
        "from": winner.entry.point[name] if winner else None,
        "to": one.entry.point[name],
        "mean": found.score.shown(one.mean.mean) if one.mean else None,
        "brought ± 95 %": f"{found.score.gained(one.gain.mean).removesuffix(' points')} ± {_half(one.gain, found.score)}"
        if one.gain
        else None,
    }


def _differs(one: Finalist, found: Finalists) -> dict[str, Any]:
    """Return the parameters in which the finalists differ from each other."""
    names = [n for n in one.entry.point if len({repr(other.entry.point[n]) for other in found.finalists}) > 1]
    return {name: one.entry.point[name] for name in names}


def _half(of: Estimate, score: Score) -> str:
    half = (of.high - of.low) / 2
    return f"{100 * half:.2f}" if score.is_share else f"{half:.2g}"


def _values(one: Finalist, found: Finalists) -> dict[str, Any]:
    """Return all numbers of a finalist."""
    mean, gain, above = one.mean, one.gain, one.optimism
    return {
        "study": found.study,
        "role": one.entry.role,
        "trial": one.entry.trial,
        "without": one.entry.without,
        "winner": one is found.winner,
        "simplest": one is (found.simplest or found.winner),
        "n": len(one.scores),
        "failed": one.n_failed,
        "missing": found.missing,
        "mean": mean and mean.mean,
        "mean_low": mean and mean.low,
        "mean_high": mean and mean.high,
        "gain": gain and gain.mean,
        "gain_low": gain and gain.low,
        "gain_high": gain and gain.high,
        "study_score": one.before,
        "optimism": above and above.mean,
        "optimism_low": above and above.low,
        "optimism_high": above and above.high,
        **{key: one.costs.get(key) for key in ("macs", "n_parameters")},
        **{f"test_{key}": getattr(found.reading, key) if one is found.winner and found.reading else None for key in _READ},
        "seeds": list(found.seeds),
        "scores": [one.scores.get(seed) for seed in found.seeds],
        "point": dict(one.entry.point),
    }


_READ = ("value", "low", "high", "n", "number")
