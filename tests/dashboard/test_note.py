import made
import pytest
from made import summarize

from hpo.dashboard.note import literal, note_of


def test_the_note_tells_winner_findings_settings_space_and_commands():
    note = note_of(summarize(made.searched(40)))
    assert note.startswith("# cifar10\n\n**Trial ")
    for part in (
        "## Findings\n\n- Trial ",
        "| epochs | 10 |",
        "| lr | float 0.0001 to 1, logarithmic | 0.01 |",
        "    hpo report cifar10",
    ):
        assert part in note.replace("\\", "")


def test_a_study_without_trials_has_a_note():
    assert "The study has no trials yet." in note_of(summarize(made.study([])))


@pytest.mark.parametrize("text", ["<script>", "[a](javascript:x)", "**b**", "a|b", "# h", "`c`", "![i](x)", "a\nb", "$x$"])
def test_texts_of_the_study_are_shown_as_they_are(text):
    shown = literal(text)
    assert shown.replace("\\", "") == " ".join(text.split())
    assert not any(c in "<[*|`!$#" and (i == 0 or shown[i - 1] != "\\") for i, c in enumerate(shown))
    assert literal(text) in note_of(summarize(made.study([made.trial(0, "FAIL", reason=text)])))
