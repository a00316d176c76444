"""Finalists with their intervals beside the study's own scores, and what each choice of the winner brought."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.proof import sentences
from hpo.report.figures.figure import AMBER, BLUE, GREY, Figure, literal, numbers, value_axis

if TYPE_CHECKING:
    from hpo.proof.intervals import Estimate
    from hpo.report.summary import Summary


def means(summary: Summary) -> Figure | None:
    """Draw the mean of each finalist with its interval, every training, and the score that the study has of it."""
    found = summary.finalists
    shown = [one for one in found.finalists if one.mean] if found else []
    if found is None or not shown:
        return None
    names = [literal(one.name.removeprefix("the ") + (" (winner)" if one is found.winner else "")) for one in shown]
    form = ".2%" if found.score.is_share else ".4g"
    every: dict[str, Any] = {"type": "scatter", "mode": "markers", "name": "one training", "marker": {"color": GREY, "size": 6}}
    every |= {"x": [s for one in shown for s in numbers(one.scores.values())]}
    every |= {"y": [name for name, one in zip(names, shown, strict=True) for _ in one.scores], "opacity": 0.6}
    every |= {"hovertemplate": f"%{{y}}: %{{x:{form}}}<extra></extra>"}
    mean = _bars("mean, 95 % interval", names, [one.mean for one in shown if one.mean], form)
    before = [(name, one.before) for name, one in zip(names, shown, strict=True) if one.before is not None]
    own: dict[str, Any] = {"type": "scatter", "mode": "markers", "name": "the study's score"}
    own |= {"x": numbers(value for _, value in before), "y": [name for name, _ in before]}
    own |= {"marker": {"color": AMBER, "symbol": "diamond", "size": 9}, "hovertemplate": f"%{{y}}: %{{x:{form}}}<extra></extra>"}
    layout = {"xaxis": value_axis(summary), "yaxis": {"autorange": "reversed", "automargin": True}}
    alt = f"Means of {len(shown)} finalists over {len(found.seeds)} seeds. {sentences.verdict(found)}"
    return Figure("finalists", "Finalists, trained again", alt, [every, mean, own], layout, 120 + 60 * len(shown), wide=True)


def ablation(summary: Summary) -> Figure | None:
    """Draw what each choice of the winner brought, with its interval."""
    found = summary.finalists
    shown = [(literal(one.entry.without), one.gain) for one in found.ablations if one.gain] if found else []
    if found is None or not shown:
        return None
    shown.sort(key=lambda pair: found.score.penalty(pair[1].mean))
    names = [name for name, _ in shown]
    form = "+.2%" if found.score.is_share else "+.4g"
    bars = _bars("brought, 95 % interval", names, [gain for _, gain in shown], form)
    share = {"tickformat": "+.1%"} if found.score.is_share else {}
    axis = {"title": {"text": f"{found.score.name} that the choice brought"}, "zeroline": True} | share
    layout = {"xaxis": axis, "yaxis": {"autorange": "reversed", "automargin": True}, "showlegend": False}
    said = ", ".join(f"{name} {sentences.gained(gain, found.score)}" for name, gain in shown)
    title = "What each choice of the winner brought"
    return Figure("ablation", title, f"{title}: {said}.", [bars], layout, 120 + 40 * len(shown))


def _bars(name: str, names: list[str], values: list[Estimate], form: str) -> dict[str, Any]:
    """Return a trace of marks with intervals, one per name."""
    half = numbers((one.high - one.low) / 2 for one in values)
    error = {"type": "data", "array": half, "color": BLUE, "thickness": 2, "width": 6}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": numbers(one.mean for one in values),
        "y": names,
        "error_x": error,
        "marker": {"color": BLUE, "symbol": "square", "size": 9},
        "hovertemplate": f"%{{y}}: %{{x:{form}}}<extra></extra>",
    }
