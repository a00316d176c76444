"""Databases and files that somebody else wrote, or damaged: no traceback, no hang, nothing touched that is not the study's.

    python tests/hostile_campaign.py                     500 mutated databases, 60 attribute values, 30 crafted winner files
    python tests/hostile_campaign.py --databases 50      fewer databases
    python tests/hostile_campaign.py --seed 7 --show     other ones, and what each command said

A database is mutated as disks and people do it: bytes flipped, blocks lost, the end cut off, and values of single columns
replaced by others of every type, size and depth. Two commands look at each. Commands run in this process, each with a time limit.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import json
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import made
import numpy as np
import optuna
from hostile import in_process
from hostile_values import ATTRIBUTES, KEYS, TRIAL_KEYS, VALUES, crafts
from instant import new_study, run

from hpo.dashboard import publish
from hpo.store.database import open_database
from hpo.store.reading.record import load

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 60  # seconds per command; far beyond what any needs
CODES = {0, 2, 4, 5}
COMMANDS = (
    ("list",),
    ("list", "--format", "json"),
    ("show", "mine"),
    ("show", "plain", "--format", "json"),
    ("trials", "mine"),
    ("trials", "mine", "--format", "csv"),
    ("trials", "plain", "--format", "json"),
    ("report", "mine"),
    ("report", "plain"),
    ("compare", "mine", "second"),
    ("doctor",),
    ("doctor", "--json"),
    ("doctor", "--repair"),
)


class HangError(BaseException):
    """A command did not end in time."""


class Ground:
    """A folder with a database of three studies, their checkpoints, and a guard: somebody else's folder beside it."""

    def __init__(self, folder: Path, seed: int = 0, *, show: bool = False) -> None:
        self.random, self.show = random.Random(seed), show
        self.work, self.guard = folder / "work", folder / "guard"
        self.work.mkdir(parents=True)
        for name in ("victim", "lock", "trial-00001/epoch-0001.ckpt", ".x.999999-01234567.tmp"):
            (self.guard / name).parent.mkdir(parents=True, exist_ok=True)
            (self.guard / name).write_text("theirs")
        self.path = self.work / "hpo.db"
        self.sound = self._made()
        shutil.copytree(self.work / "hpo", folder / "checkpoints")
        self._checkpoints = folder / "checkpoints"
        self.faults: list[str] = []
        self.codes: collections.Counter[int] = collections.Counter()

    def _made(self) -> bytes:
        study = new_study(self.path, "mine", pruner="none")
        run(study, 5)
        study.ask()
        folder = study.folder / f"trial-{study.best.number:05d}"
        made.artifacts(folder, n=300)
        run(new_study(self.path, "second"), 3)
        plain = optuna.create_study(study_name="plain", storage=open_database(study.location).storage)
        for i in range(4):
            trial = made.trial(i, "COMPLETE", [1.0, 0.5], made.point(np.random.default_rng(i)), odd={"a": [1, None]})
            plain.add_trial(trial)
        return self.path.read_bytes()

    def lay_out(self, content: bytes | None = None) -> None:
        """Put database and checkpoints in place anew."""
        shutil.rmtree(self.work)
        self.work.mkdir()
        shutil.copytree(self._checkpoints, self.work / "hpo")
        self.path.write_bytes(self.sound if content is None else content)

    def answered(self, what: str, *words: str) -> None:
        """Run a command and note what it should not have done."""
        before, guarded = self.path.read_bytes(), listing(self.guard)
        there = set(self.guard.parent.iterdir())
        try:
            with limited(), contextlib.chdir(self.work):
                code, out, err = in_process(*words, "--storage", "hpo.db")
        except HangError:
            code, out, err = -1, "", "hang"
        if self.show:
            print(f"{what}: hpo {' '.join(words)}: {code} {err.strip()[:300]!r}")
        self.codes[code] += 1
        wrong = {
            f"exit code {code}: {err.strip()[-1500:]}": code not in CODES,
            "a traceback": "Traceback" in err,
            f"an escape code: {out + err!r:.300}": "\x1b" in out + err,
            "the database's bytes changed": self.path.read_bytes() != before and "--repair" not in words,
            "somebody else's folder changed": listing(self.guard) != guarded or set(self.guard.parent.iterdir()) != there,
            f"odd files: {[p.name for p in self.work.iterdir()]}": not {p.name for p in self.work.iterdir() if p.suffix != ".bak"}
            <= {"hpo.db", "hpo", "reports"},
        }
        self.faults += [f"{what}: hpo {' '.join(words)}: {fault}" for fault, is_so in wrong.items() if is_so]

    def mutated(self) -> tuple[str, bytes]:
        """Return a mutated database, and what was done to it."""
        if self.random.random() < 0.3:
            return self._flipped()
        self.lay_out()
        done = []
        with closing(sqlite3.connect(self.path)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for _ in range(self.random.choice((1, 1, 1, 3))):
                table = self.random.choice(tables)
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if not row[1].endswith("_id")]
                rows = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
                if not columns or not rows:
                    continue
                column, row, value = self.random.choice(columns), self.random.choice(rows), self.random.choice(VALUES)
                value = value.format(guard=self.guard) if isinstance(value, str) and "{guard}" in value else value
                done.append(f"{table}.{column}[{row}] = {value!r:.40}")
                with contextlib.suppress(sqlite3.IntegrityError), connection:
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
        return "; ".join(done), self.path.read_bytes()

    def _flipped(self) -> tuple[str, bytes]:
        content = bytearray(self.sound)
        kind = self.random.choice(("bytes", "block", "end", "header"))
        if kind == "bytes":
            for _ in range(self.random.randint(1, 30)):
                content[self.random.randrange(len(content))] = self.random.randrange(256)
        elif kind == "block":
            at = self.random.randrange(len(content)) // 4096 * 4096
            content[at : at + 4096] = bytes(4096) if self.random.random() < 0.5 else self.random.randbytes(4096)
        elif kind == "end":
            del content[self.random.randrange(len(content)) :]
        else:
            content[self.random.randrange(100)] = self.random.randrange(256)
        return f"{kind} of the file", bytes(content)


def listing(folder: Path) -> dict[str, str]:
    """Return every file of a folder with the digest of its content."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in folder.rglob("*")}


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise HangError after the limit."""

    def over(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def databases(ground: Ground, n: int) -> None:
    """Let two commands look at each of `n` mutated databases."""
    for i in range(n):
        what, content = ground.mutated()
        for words in ground.random.sample(COMMANDS, 2):
            ground.lay_out(content)
            ground.answered(f"database {i} ({what})", *words)


def attributes(ground: Ground, n: int) -> None:
    """Give attributes of a study, and of its trials, values that hpo does not write."""
    for i in range(n):
        ground.lay_out()
        value = ATTRIBUTES[i % len(ATTRIBUTES)]
        value = value.format(guard=ground.guard) if isinstance(value, str) and "{guard}" in value else value
        of_study = i // len(ATTRIBUTES) % 2 == 0
        key = ground.random.choice(KEYS if of_study else TRIAL_KEYS)
        with closing(sqlite3.connect(ground.path)) as connection, connection:
            connection.execute(
                f"UPDATE {'study' if of_study else 'trial'}_user_attributes SET value_json = ? WHERE key = ?",
                (json.dumps(value), key),
            )
        content = ground.path.read_bytes()
        for words in (("report", "mine"), ("show", "mine"), ("doctor", "--repair")):
            ground.lay_out(content)
            ground.answered(f"attribute {key} = {value!r:.40}", *words)


def winners(ground: Ground, n: int) -> None:
    """Put crafted files beside the winner's checkpoint; the page and the dashboard's figures do without what cannot be used."""
    crafted = list(crafts())
    for i in range(n):
        ground.lay_out()
        record = load("mine", ground_location(ground))
        folder = record.winner_folder
        name, craft = crafted[i % len(crafted)]
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
        craft(folder / name)
        what = f"winner's file {name} number {i}"
        for words in (("report", "mine"), ("doctor",)):
            ground.answered(what, *words)
        try:
            with limited():
                publish.publish(record)
        except HangError:
            ground.faults.append(f"{what}: publishing hangs")
        except Exception as error:  # noqa: BLE001  # whatever it is
            ground.faults.append(f"{what}: publishing: {type(error).__name__}: {error}")


def ground_location(ground: Ground) -> Any:
    """Return where the ground's database is."""
    from hpo.store.database import locate

    return locate(str(ground.path))


def main() -> int:
    """Run the campaign and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("databases", 500), ("attributes", 60), ("winners", 30), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder) / "ground", given.seed, show=given.show)
        for campaign in (databases, attributes, winners):
            faults, commands = len(ground.faults), ground.codes.total()
            campaign(ground, getattr(given, campaign.__name__))
            print(
                f"{campaign.__name__}: {ground.codes.total() - commands} commands, {len(ground.faults) - faults} faults",
                flush=True,
            )
        print(f"exit codes: {dict(sorted(ground.codes.items()))}")
        print(*ground.faults, sep="\n")
        return bool(ground.faults)


if __name__ == "__main__":
    sys.exit(main())
