import errno
import hashlib
import io
import os
import pickle

import made
import pytest
import torch
from interrupted import campaign

from hpo.errors import StorageError
from hpo.networks import checkpoint
from hpo.system.files import MAGIC


def state(epoch):
    return {"epoch": epoch, "net": {"weight": torch.full((3,), float(epoch))}, "history": [(1, 0.5)]}


@pytest.fixture
def folder(tmp_path):
    """A trial's folder with the checkpoints of epochs 1 and 2."""
    for epoch in (1, 2):
        checkpoint.save(tmp_path / "trial", epoch, state(epoch))
    return tmp_path / "trial"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def sealed(content, magic=MAGIC):
    """Bytes with a right header, as only somebody who means it writes them."""
    return magic + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


class Malicious:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def saved(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


DAMAGE = {
    "empty": lambda _: b"",
    "torn": lambda good: good[: len(good) // 2],
    "torn in its first line": lambda good: good[:10],
    "one bit flipped": lambda good: good[:-100] + bytes([good[-100] ^ 1]) + good[-99:],
    "longer than it was": lambda good: good + b"\0",
    "of another program": lambda _: b"PNG and so on\n" * 20,
    "plain torch.save": lambda good: good.partition(b"\n")[2],
    "of another version": lambda good: good.replace(MAGIC, b"hpo checkpoint 2 ", 1),
    "sealed noise": lambda _: sealed(b"noise"),
    "sealed pickle": lambda _: sealed(pickle.dumps(Malicious(), protocol=2)),
    "sealed torch.save of a pickle": lambda _: sealed(saved({"net": Malicious()})),
}


def test_what_is_saved_is_loaded(folder):
    loaded = checkpoint.load(folder / "epoch-0002.ckpt")
    assert loaded["net"].pop("weight").tolist() == [2, 2, 2]
    assert loaded == {"epoch": 2, "net": {}, "history": [(1, 0.5)]}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("empty", "is not a checkpoint of hpo: it is empty"),
        ("torn", "is incomplete or damaged"),
        ("one bit flipped", "is incomplete or damaged"),
        ("of another program", "is not a checkpoint of hpo"),
        ("plain torch.save", "is not a checkpoint of hpo"),
        ("of another version", "is a checkpoint of another version of hpo"),
        ("sealed noise", "contains something other than tensors"),
    ],
)
def test_torn_foreign_and_older_checkpoints_are_told_from_each_other(folder, damage, says):
    newest = folder / "epoch-0002.ckpt"
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    with pytest.raises(StorageError, match=says):
        checkpoint.load(newest)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_known_and_the_epoch_before_goes_on(folder, damage, monkeypatch):
    monkeypatch.chdir(folder)
    newest = folder / "epoch-0002.ckpt"
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    with pytest.raises(StorageError, match=r"epoch-0002\.ckpt"):
        checkpoint.load(newest)
    assert made.newest(folder)["epoch"] == 1
    assert names(folder) == ["epoch-0001.ckpt", "epoch-0002.ckpt"]  # nothing was unpickled


def test_a_folder_in_a_checkpoints_place_is_passed_over(folder):
    (folder / "epoch-0003.ckpt").mkdir()
    assert made.newest(folder)["epoch"] == 2


def test_without_a_sound_checkpoint_there_is_none(tmp_path, folder):
    for path in folder.iterdir():
        path.write_bytes(b"")
    assert made.newest(folder) is None
    assert made.newest(tmp_path / "nowhere") is None


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"cannot read the checkpoint .*gone\.ckpt: No such file"):
        checkpoint.load(tmp_path / "gone.ckpt")


def test_only_the_two_newest_are_kept_and_other_files_are_left_alone(folder):
    (folder / "notes.txt").touch()
    for epoch in (3, 9_999, 10_000):
        checkpoint.save(folder, epoch, state(epoch))
    assert names(folder) == ["epoch-10000.ckpt", "epoch-9999.ckpt", "notes.txt"]
    assert made.newest(folder)["epoch"] == 10_000


def test_a_full_disk_is_told_with_path_and_bytes_and_what_was_there_stays(folder, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"epoch-0003\.ckpt \([\d,]+ bytes\): No space left on device"):
        checkpoint.save(folder, 3, state(3))
    assert names(folder) == ["epoch-0001.ckpt", "epoch-0002.ckpt"]
    assert made.newest(folder)["epoch"] == 2


@pytest.mark.slow
def test_the_newest_that_was_acknowledged_loads_after_a_writer_was_killed(tmp_path):
    assert campaign(tmp_path, writes=10, seed=1) == []
