import json
import os
import subprocess
import sys

import pytest

from hpo.errors import StorageError, UsageError
from hpo.exporting import folder as place
from hpo.exporting.folder import EQUAL, check, replaced


def export(folder, text="new", **files):
    with replaced(folder) as made:
        (made / "model.onnx").write_text(text)
        names = ["model.onnx", *files]
        (made / EQUAL).write_text(json.dumps({"program": "hpo", "files": names}))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole_and_nothing_is_beside_it(tmp_path):
    export(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == [EQUAL, "model.onnx"]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    export(tmp_path / "out")
    assert names(tmp_path / "out") == [EQUAL, "model.onnx"]


@pytest.mark.parametrize("exchange", [True, False])
def test_an_earlier_export_is_replaced(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(place, "_exchanged", lambda *_: False)
    export(tmp_path / "out", "old")
    (tmp_path / "out" / "__pycache__").mkdir()  # somebody ran model.py
    export(tmp_path / "out", "new")
    assert (tmp_path / "out" / "model.onnx").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_what_fails_leaves_the_earlier_export_as_it_was(tmp_path):
    export(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "out") as made:
        (made / "model.onnx").write_text(str(1 / 0))
    assert (tmp_path / "out" / "model.onnx").read_text() == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"notes.txt": "mine"}, "no export of hpo's"),
        ({EQUAL: "{}", "a.txt": ""}, "a.txt"),
        ({EQUAL: '{"program": "hpo", "files": ["model.onnx"]}', ".git": "", "model.onnx": ""}, r"\.git, which hpo did not write"),
        ({EQUAL: "[" * 9999, "x": ""}, "did not write"),
    ],
)
def test_what_somebody_else_made_is_refused_and_left(tmp_path, content, said):
    out = tmp_path / "out"
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        export(out)
    assert names(out) == sorted(content)
    assert names(tmp_path) == ["out"]


def test_a_file_a_link_and_a_missing_parent_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for name in ("file", "link"):
        with pytest.raises(UsageError, match="not a folder"):
            check(tmp_path / name)
    with pytest.raises(StorageError, match="mkdir -p"):
        check(tmp_path / "no" / "out")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="nothing can be made"):
        check(tmp_path / "out")
    tmp_path.chmod(0o700)


KILLED = """
import sys
from pathlib import Path
from hpo.exporting.folder import replaced
with replaced(Path(sys.argv[1])) as made:
    (made / "model.onnx").write_text("new")
    (made / "equal.json").write_text('{"program": "hpo", "files": ["model.onnx"]}')
"""


@pytest.mark.parametrize(("point", "left"), [("export.whole", "old"), ("export.placed", "new")])
def test_whoever_is_killed_leaves_the_old_export_or_the_new_one_and_the_next_one_tidies(tmp_path, point, left):
    out = tmp_path / "out"
    export(out, "old")
    environment = os.environ | {"HPO_FAILPOINT": f"{point}:1:kill"}
    assert subprocess.run([sys.executable, "-c", KILLED, str(out)], env=environment).returncode == -9
    assert (out / "model.onnx").read_text() == left
    assert len(names(tmp_path)) == 2  # and a hidden one
    export(out, "newer")
    assert names(tmp_path) == ["out"]
