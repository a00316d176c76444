"""One finding: the value that all functions of this package return."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A sentence about a study.

    Attributes:
        topic: Short name, unique in a list of findings, used as anchor on the page.
        text: The sentence, with its numbers.
        basis: Its method, sample and assumptions.
        figure: Id of the figure that shows it; empty if there is none.
    """

    topic: str
    text: str
    basis: str = ""
    figure: str = ""
