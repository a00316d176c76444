"""A disk that is full, at any moment: exit code 4 with path and bytes, nothing lost, and the same command goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from disk import LEVELS, RUN, RefusedError, campaign, fill, small_disk
from hostile import in_process
from instant import new_study, run
from survival import compare, new_hpo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    try:
        with small_disk() as place:
            yield place
    except RefusedError as error:
        pytest.skip(f"no disk can be mounted here: {error}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "levels", [pytest.param((0, 32_768), marks=pytest.mark.slow), pytest.param(LEVELS, marks=pytest.mark.long)]
)
def test_a_disk_that_fills_during_a_run_loses_nothing(disk, tmp_path, levels):
    for left, code, said, found in campaign(disk, tmp_path, levels):
        assert found == []
        assert code in (0, 4)
        if code:
            assert str(disk / str(left)) in said
            assert "bytes" in said
            assert said.startswith("error: ")


def test_a_run_is_not_begun_on_a_disk_that_is_all_but_full(disk):
    filler = fill(disk, 100 * 2**20)
    before = list(disk.rglob("*"))
    code, _, err = in_process("run", "first", "--dataset", "digits", "--storage", disk / "new" / "hpo.db")
    assert code == 4
    assert f"bytes are free in {disk}, and checkpoints and database need 209,715,200" in err
    assert list(disk.rglob("*")) == before
    filler.unlink()


def test_a_study_on_a_disk_that_is_read_only_is_examined(disk, tmp_path):
    run(new_study(tmp_path / "hpo.db"), 3)
    (tmp_path / "hpo" / "first" / "lock").touch()
    shutil.copytree(tmp_path, disk, dirs_exist_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        code, out, err = in_process("doctor", "--storage", disk / "hpo.db", "--json")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert (code, err) == (4, "")
    found = [finding["found"] for finding in json.loads(out) if finding["state"] == "bad"]
    assert f"{disk} cannot be written." in found


@pytest.fixture(scope="module")
def hpo(tmp_path_factory):
    program = new_hpo(tmp_path_factory.mktemp("points"), tmp_path_factory.mktemp("cache"))
    yield program
    program.close()


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize("point", ["file.filled", "file.synced", "file.renamed", "epoch.reporting", "result.scores"])
def test_a_disk_that_is_full_at_a_point_of_the_code_ends_the_run_and_no_trial(hpo, point, nth):
    if (point, nth) == ("result.scores", 4):  # once a complete trial: three trials never come to four
        nth = 2
    name = f"{point}-{nth}"
    words = ("run", name, "--workers", 1, *RUN, "--trials", 3, "--pruner", "none")
    first = hpo.start(*words, HPO_FAILPOINT=f"{point}:{nth}:enospc")
    assert first.ended() == 4, first.err
    assert "No space left on device: " in first.err
    assert " bytes are free in " in first.err
    assert "Traceback" not in first.err
    second = hpo(*words)
    assert second.ended() == 0, second.err
    assert compare(hpo.study(name), first.err + second.err, 3) == []


def test_a_report_on_a_full_disk_is_told_with_its_path(disk, tmp_path):

    run(new_study(tmp_path / "hpo.db"), 3)
    filler = fill(disk, 0)
    code, _, err = in_process("report", "first", "--storage", tmp_path / "hpo.db", "--out", disk / "page.html")
    assert code == 4
    assert f"cannot write {disk / 'page.html'}: No space left on device: 0 bytes are free in {disk}. Make space" in err
    assert not list(disk.glob("*page*"))
    filler.unlink()
