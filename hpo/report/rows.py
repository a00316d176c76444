"""What a study was asked to do, as rows of text: its settings and its search space, for pages and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.report.words import parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hpo.report.summary import Summary


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
    if not isinstance(stored, dict):
        return [(name, str(one), "") for name, one in summary.distributions.items()]
    rows = []
    for name, one in stored.items():
        if not isinstance(one, dict):
            rows.append((str(name), parameter(one), ""))
        elif "value" in one:
            rows.append((str(name), f"fixed at {parameter(one['value'])}", ""))
        else:
            rows.append((str(name), _range(one), parameter(one.get("default", ""))))
    return sorted(rows, key=lambda row: row[1].startswith("fixed"))


def _range(one: dict[str, Any]) -> str:
    if isinstance(one.get("choices"), list | tuple):
        return ", ".join(parameter(choice) for choice in one["choices"])
    more = [f"steps of {parameter(one['step'])}"] if one.get("step") else []
    more += ["logarithmic"] if one.get("log") else []
    ends = f"{parameter(one.get('low', '?'))} to {parameter(one.get('high', '?'))}"
    return ", ".join([str(one.get("type", "")) + " " + ends, *more]).strip()
