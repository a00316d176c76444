"""Numbers as a person reads them (per cent, points, minutes, counts), and settings and spaces as rows of text.

Fractions become per cent only here. A number and its unit are joined by a no-break space, so that no line breaks between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hpo.store.schema import IntDistribution

if TYPE_CHECKING:
    from hpo.report.summary import Summary
    from hpo.store.schema import Distribution

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"  # in place of a missing number
MAX_LENGTH = 200  # characters of a study's text that a sentence or a figure shows


def percent(fraction: float, digits: int = 1) -> str:
    """Return `84.1 %` for 0.841."""
    return f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%"


def points(fraction: float) -> str:
    """Return a difference of accuracies, with its sign: `+3.2 points` for 0.032."""
    return f"{signed(100 * fraction)}\N{NO-BREAK SPACE}points"


def points_between(low: float, high: float) -> str:
    """Return an interval of a difference: `+2.1 to +4.2 points`."""
    return f"{signed(100 * low)} to {signed(100 * high)}\N{NO-BREAK SPACE}points"


def signed(value: float) -> str:
    """Return a number with one decimal and a typographic sign."""
    return f"{value:+.1f}".replace("-", MINUS) if abs(value) >= 0.05 else "0.0"


def number(value: float) -> str:
    """Return a number of any size with four digits."""
    return f"{value:.4g}".replace("-", MINUS) if math.isfinite(value) else NOTHING


def score(value: float, summary: Summary) -> str:
    """Return a trial's value: per cent if it is a share, otherwise a number with its unit."""
    if summary.is_share:
        return percent(value, 2)
    unit = summary.objective.score.unit if summary.ours and not summary.objective.score.is_share else ""
    return f"{number(value)}\N{NO-BREAK SPACE}{unit}" if unit else number(value)


def count(n: float, noun: str, plural: str = "") -> str:
    """Return `1 trial`, `12 trials`; `plural` for nouns that do not just take an s."""
    return f"{n:,.0f} {noun if n == 1 else plural or noun + 's'}"


def amount(n: float) -> str:
    """Return a large count with its unit: `4.21 M`, `310 k`."""
    if not math.isfinite(n):
        return NOTHING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{n:.0f}"


def duration(seconds: float) -> str:
    """Return `42 s`, `12 min`, `3 h 5 min`."""
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 119.5:
        text = f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    else:
        minutes = round(seconds / 60)
        text = f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def parameter(value: object) -> str:
    """Return a parameter's value: floats with four digits, other values unchanged."""
    return clipped(f"{value:.4g}" if isinstance(value, float) else str(value))


def clipped(text: str, longest: int = MAX_LENGTH) -> str:
    """Return at most `longest` characters; an ellipsis marks a cut."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def listed(items: list[str]) -> str:
    """Return `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def flat(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Return a mapping as text by key; nested mappings have dotted keys, and empty values are left out."""
    lines: dict[str, str] = {}
    for key, value in mapping.items():
        if isinstance(value, dict):
            lines |= {f"{key}.{inner}": text for inner, text in flat(value).items()}
        elif isinstance(value, list | tuple):
            lines[str(key)] = ", ".join(parameter(item) for item in value)
        elif value is not None:
            lines[str(key)] = parameter(value)
    return lines


def space_rows(summary: Summary) -> list[tuple[str, str, str]]:
    """Return name, range and default of every parameter, varied ones first."""
    stored = summary.space.get("parameters")
    if not isinstance(stored, dict) or not stored:  # of another program, or defined by run
        return [(name, _range(_told(one)), "") for name, one in summary.distributions.items()]
    rows = []
    for name, one in stored.items():
        if not isinstance(one, dict):
            rows.append((str(name), parameter(one), ""))
        elif "value" in one:
            rows.append((str(name), f"fixed at {parameter(one['value'])}", ""))
        else:
            rows.append((str(name), _range(one), parameter(one.get("default", ""))))
    return sorted(rows, key=lambda row: row[1].startswith("fixed"))


def _told(one: Distribution) -> dict[str, Any]:
    """Return a distribution as a space stores a parameter."""
    told = asdict(one) | {"type": "int" if isinstance(one, IntDistribution) else "float"}
    return told | {"step": None} if told.get("step") == 1 and isinstance(one, IntDistribution) else told


def _range(one: dict[str, Any]) -> str:
    if isinstance(one.get("choices"), list | tuple):
        return ", ".join(parameter(choice) for choice in one["choices"])
    more = [f"steps of {parameter(one['step'])}"] if one.get("step") else []
    more += ["logarithmic"] if one.get("log") else []
    ends = f"{parameter(one.get('low', '?'))} to {parameter(one.get('high', '?'))}"
    return ", ".join([str(one.get("type", "")) + " " + ends, *more]).strip()
