"""Values and files that nobody would write on purpose, for the campaign with hostile databases."""

from __future__ import annotations

import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEEP = "[" * 100_000 + "]" * 100_000
TEXTS = (
    "",
    " ",
    "\x1b[31mred",
    "a\0b",
    "../../guard/victim",
    "{guard}/victim",
    "null",
    "NaN",
    "1e999",
    "9" * 5000,
    "x" * 2_000_000,
    "{",
    "[]",
    "{}",
    '"x"',
    DEEP,
    '{"a":' * 900 + "1" + "}" * 900,
    "COMPLETE",
    "RUNNING",
    "FINITE",
    "NAN",
    "INF_POS",
    "2026-13-45 99:99:99.000000",
    "0001-01-01 00:00:00.000000",
    "9999-12-31 23:59:59.999999",
    "2026-01-02",
    "MINIMIZE",
    "\N{SNOWMAN}",
    "\u202e",
    "-1",
    "1.5",
    "true",
    '{"name": "FloatDistribution", "attributes": {"low": NaN, "high": 1, "log": false, "step": null}}',
    '{"name": "CategoricalDistribution", "attributes": {"choices": []}}',
    '{"name": "IntDistribution", "attributes": {"low": 5, "high": 1, "log": true, "step": 0}}',
    '{"name": "NoDistribution"}',
)
VALUES: tuple[Any, ...] = (
    *TEXTS,
    None,
    0,
    1,
    -1,
    2,
    7,
    2**31,
    2**63 - 1,
    -(2**63),
    0.5,
    -0.0,
    1e308,
    9e999,
    -9e999,
    1e-320,
    b"",
    b"\xff\xfe",
    b"\0" * 100,
    b"x" * 10_000,
)
ATTRIBUTES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    10**400,
    "",
    "x" * 100_000,
    "\x1b]0;x\x07",
    "../../guard/victim",
    "{guard}/trial-00001/epoch-0001.ckpt",
    "trial-00001/epoch-0001.ckpt\0",
    "trial-00001/network.safetensors",
    "{guard}/trial-00001/network.safetensors",
    [],
    [None],
    [[]],
    [1, "x", None, 1e308],
    list(range(50_000)),
    {},
    {"a": {"b": {}}},
    {"reason": {}, "at": []},
    [[0, 1, 2], [0, "a", 3], [1, 5, 4], 7],
    [[0, -1e308, 1e308]],
    [float("nan")] * 4,
    [float("inf"), 1.0],
    "\ud800",
    "<script>alert(1)</script>",
    {"name": "basic", "parameters": {}},
    {"dataset": "digits", "epochs": -3},
    {"dataset": 7},
)
KEYS = ("settings", "space", "environment", "options", "starts", "command", "stopped")
TRIAL_KEYS = (
    "checkpoint",
    "train_loss",
    "score_loss",
    "stints",
    "reason",
    "seconds",
    "n_parameters",
    "macs",
    "images_per_second",
    "worker",
)


def crafts() -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Yield names of the winner's files, and what writes something odd there."""
    for name in ("scores.npz", "layers.json"):
        yield name, os.mkfifo
        yield name, lambda path: path.mkdir()
        yield name, lambda path: path.symlink_to("/dev/zero")
        yield name, lambda path: path.symlink_to(path.name)
        yield name, lambda path: path.write_bytes(b"")
        yield name, lambda path: path.write_bytes(os.urandom(5000))
    layer = {"name": "a", "kind": "b", "output_shape": [1, 2], "parameters": 1, "macs": 2}
    for text in (
        "[" * 200_000,
        DEEP,
        json.dumps([layer] * 200_000),
        json.dumps([layer | {"output_shape": [1] * 100_000}]),
        json.dumps([layer | {"parameters": "9" * 5000, "macs": 1e400}]),
        json.dumps([layer | {"output_shape": [10**300], "name": "\x1b" * 10**6}]),
        '[{"parameters": ' + "9" * 6000 + "}]",
        json.dumps([layer | {"output_shape": ["x", None]}]),
    ):
        yield "layers.json", lambda path, text=text: path.write_text(text)
    good = {
        "logits": np.random.default_rng(0).normal(size=(300, 10)).astype(np.float32),
        "labels": np.arange(300) % 10,
        "pictures": np.zeros((4, 8, 8, 3), np.uint8),
        "picture_indices": np.arange(4),
    }
    for odd in (
        {"logits": np.zeros((200, 5000), np.float32), "labels": np.arange(200)},
        {"logits": np.zeros((300, 0), np.float32)},
        {"pictures": np.zeros((4, 0, 8, 3), np.uint8)},
        {"pictures": np.zeros((4, 8, 0, 3), np.uint8)},
        {"pictures": np.zeros((0, 8, 8, 3), np.uint8), "picture_indices": np.zeros(0, int)},
        {"pictures": np.zeros((4, 8, 8, 2), np.uint8)},
        {"pictures": np.zeros((200_000, 8, 8, 1), np.uint8), "picture_indices": np.zeros(200_000, int)},
        {"logits": np.full((300, 10), 1e308)},
        {"logits": np.array(["x"] * 300)},
        {"labels": np.full(300, 2**63 - 1)},
        {"logits": np.zeros((1, 1), np.float32), "labels": np.zeros(1, int), "picture_indices": np.zeros(4, int)},
    ):
        yield "scores.npz", lambda path, odd=odd: np.savez_compressed(path, **good | odd)
    yield "scores.npz", bomb
    yield "scores.npz", lambda path: np.savez(path, logits=np.array([{}], dtype=object))


def bomb(path: Path) -> None:
    """Write an archive of a megabyte whose arrays have a gigabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("logits", "labels", "pictures", "picture_indices"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**25, 10)})
                for _ in range(256):
                    member.write(bytes(2**20))
