"""One finding: the value that the functions of this package return."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A sentence about a study.

    Attributes:
        topic: Short name, unique in a list of findings; a page's anchor and what tests ask for.
        text: The sentence, with its numbers.
        basis: What it rests on: method, sample, assumption.
        figure: Id of the figure that shows it; empty where none does.
    """

    topic: str
    text: str
    basis: str = ""
    figure: str = ""
