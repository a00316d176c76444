"""What a folder of pictures costs before training, and whether what hpo says of it is true.

    python tests/bench/pictures.py mixed --tree data/cifar10    2,000 pictures of all kinds, 40 of them broken
    python tests/bench/pictures.py many --tree data/cifar10     50,000 pictures: speed, memory, and a kill half way
    python tests/bench/pictures.py same --tree data/cifar10     a study by --data and by --dataset
    python tests/bench/pictures.py twins --tree data/cifar10    near twins of test images among the training images

`--tree` is CIFAR-10 as images, `{train,test}/<class>/*`. `mixed` draws pictures from it and writes them as PNG, JPEG, WebP and
BMP in many sizes and modes. It prints the time from the command to the first finished trial, and compares what was found broken,
and the counts, with the truth. `many` prints pictures per second, wall clock and processor time, beside a plain loop of Pillow;
the memory of all processes at ten moments; and how much a killed decoding leaves to its successor. `same` trains three trials
each way, or with `--whole` one on all images, and compares every number. `twins` prints how many test images have one, and
how many pairs are of one class: pairs that only look alike often are not.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from hpo.data import datasets
from hpo.data.pictures.listing import listed
from hpo.data.pictures.source import Wanted
from hpo.data.pictures.twins import near_pairs

HPO = [sys.executable, "-m", "hpo"]
MODES = {
    ".png": ("RGB", "L", "P", "RGBA", "LA", "1", "I;16"),
    ".jpg": ("RGB", "L", "CMYK"),
    ".webp": ("RGB", "RGBA"),
    ".bmp": ("RGB", "L", "1"),
}
WAYS = ("empty", "text", "half", "first bytes", "zeros", "noise", "too many pixels", "changed")


def main() -> None:
    """Run a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("mixed", "many", "same", "twins", "load"))
    parser.add_argument("--tree", type=Path, default=Path("data/cifar10"), help="CIFAR-10 as images")
    parser.add_argument("--n", type=int, help="pictures")
    parser.add_argument("--broken", type=int, default=40, help="of mixed: broken ones")
    parser.add_argument("--whole", action="store_true", help="of same: train on all images, one epoch, one trial")
    parser.add_argument("--cache", type=Path, help="of load: the cache folder")
    options = parser.parse_args()
    if options.what == "load":
        load(options.tree, options.cache)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "same":
            same(options.tree, Path(folder), whole=options.whole)
        elif options.what == "twins":
            twins(options.tree, Path(folder), options.n or 10_000)
        elif options.what == "mixed":
            mixed(options.tree, Path(folder), options.n or 2000, options.broken)
        else:
            many(options.tree, Path(folder), options.n or 50_000)


def mixed(tree: Path, folder: Path, n: int, n_broken: int) -> None:
    """Print how long it takes to the first trial on a mixed folder, and whether the broken ones are found, and no other."""
    truth, counts = write_mixed(tree, folder / "mixed", n, n_broken)
    place = {**os.environ, "HPO_CACHE_DIR": str(folder / "cache")}
    how = ["--data", "mixed", "--epochs", "1", "--trials", "1", "--no-report", "--device", "cpu"]
    refused = subprocess.run([*HPO, "run", *how], cwd=folder, env=place, capture_output=True, text=True)
    said = refused.stderr.partition("error: ")[2]
    print(f"without --skip-broken: exit code {refused.returncode}: {said[:150]} …")
    start = time.monotonic()
    done = subprocess.run([*HPO, "run", "again", *how, "--skip-broken"], cwd=folder, env=place, capture_output=True, text=True)
    print(f"then, with it, decoded already: {time.monotonic() - start:.1f} s to the end of trial 0, exit code {done.returncode}")
    place["HPO_CACHE_DIR"] = str(folder / "other cache")
    start = time.monotonic()
    done = subprocess.run([*HPO, "run", "first", *how, "--skip-broken"], cwd=folder, env=place, capture_output=True, text=True)
    print(f"from the command to the end of trial 0, nothing decoded before: {time.monotonic() - start:.1f} s")
    os.environ["HPO_CACHE_DIR"] = str(folder / "cache")
    data, found = datasets.inspected(folder / "mixed", Wanted("mixed"))
    named = {one.path for one in found.broken}
    print(f"broken: {len(truth)} are, {len(named)} were found; missed {sorted(truth - named)}, false {sorted(named - truth)}")
    told = {name: sum(parts) for name, parts in found.counts.items()}
    print(f"counts by class: {'equal to' if told == counts else 'OTHER THAN'} the truth, {sum(told.values()):,} pictures")
    print(data.source)


def write_mixed(tree: Path, root: Path, n: int, n_broken: int) -> tuple[set[str], dict[str, int]]:
    """Write pictures of all kinds; return which of them are broken, and how many whole ones each class has."""
    chance = random.Random(0)
    pictures = chance.sample(sorted(tree.glob("*/*/*.*")), n)
    broken, counts = set(), dict.fromkeys(sorted({path.parent.name for path in pictures}), 0)
    for i, path in enumerate(pictures):
        suffix = chance.choice([*MODES])
        name = f"{path.parent.name}/{i:05}{suffix if i % 3 else suffix.upper()}"
        content = written(path, suffix, chance)
        if i < n_broken:
            content = damaged(content, WAYS[i % len(WAYS)], chance)
            broken.add(name)
        else:
            counts[path.parent.name] += 1
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return broken, counts


def written(path: Path, suffix: str, chance: random.Random) -> bytes:
    """Return a picture in another format, size and mode."""
    mode = chance.choice(MODES[suffix])
    with Image.open(path) as picture:
        image = picture.convert("RGB").resize((chance.randint(24, 200), chance.randint(24, 200)))
    sixteen = np.asarray(image.convert("L")).astype(np.uint16) * 257
    image = Image.fromarray(sixteen) if mode == "I;16" else image.convert(mode)
    made = io.BytesIO()
    image.save(made, {".jpg": "JPEG"}.get(suffix, suffix[1:].upper()))
    return made.getvalue()


def damaged(content: bytes, way: str, chance: random.Random) -> bytes:
    """Return a file that is no picture any more."""
    match way:
        case "empty":
            return b""
        case "text":
            return b"<html><body>404 Not Found</body></html>"
        case "half":
            return content[: len(content) // 2]
        case "first bytes":
            return content[:20]
        case "zeros":
            return bytes(len(content))
        case "noise":
            return chance.randbytes(len(content))
        case "too many pixels":
            return b"P6 60000 60000 255\n" + content
        case _:
            return content[:8].swapcase()[::-1] + content[8:]


def many(tree: Path, folder: Path, n: int) -> None:
    """Print speed and memory of decoding many pictures, and what a killed decoding leaves."""
    listing = listed(tree)
    names = [name for name, _, _ in listing.files]
    if n < len(names):
        root = folder / "part"
        for name in random.Random(0).sample(names, n):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(tree / name, root / name)
        tree = root
    n = min(n, len(names))
    some = random.Random(1).sample([name for name, _, _ in listed(tree).files], min(n, 5000))
    wall, processor = time.perf_counter(), time.process_time()
    for name in some:
        with Image.open(tree / name) as picture:
            np.asarray(picture.convert("RGB"))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    each = 1000 * processor / len(some)
    print(f"a plain loop of Pillow, {len(some):,}: {len(some) / wall:,.0f} pictures/s, {each:.3f} ms of a core each")
    watched(tree, folder / "a", n)
    _, said = watched(tree, folder / "b", n, kill_at=n // 2)
    _, again = watched(tree, folder / "b", n)
    begun = next(done for what, done, _ in again if what.startswith("decoding"))
    noted = max(done for what, done, _ in said if what.startswith("decoding"))
    print(f"killed when it had said {noted:,}: the next one began with {begun:,} decoded")


def watched(tree: Path, cache: Path, n: int, kill_at: int | None = None) -> tuple[float, list[tuple[str, int, int]]]:
    """Load a folder in a process of its own, killed when so many are decoded; print its speed and memory."""
    command = [sys.executable, __file__, "load", "--tree", str(tree), "--cache", str(cache)]
    begun: dict[str, float] = {}
    said, memory = [], []
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        family = psutil.Process(process.pid)
        for line in process.stdout or ():
            what, done, total = line.rsplit(maxsplit=2)
            said.append((what, int(done), int(total)))
            begun.setdefault(what, time.monotonic())
            memory.append(resident(family))
            if kill_at and what.startswith("decoding") and int(done) >= kill_at:
                process.kill()
    end = time.monotonic()
    used = 0.0
    if not kill_at:
        begun.pop(said[-1][0])
        used = float(said.pop()[0].split()[1])
    steps = [*begun.items(), ("end", end)]
    spent = ", ".join(f"{what} {then - at:.1f} s" for (what, at), (_, then) in itertools.pairwise(steps))
    ten = ", ".join(f"{memory[i * (len(memory) - 1) // 9] >> 20}" for i in range(10))
    print(f"hpo, {n:,} pictures{', killed' if kill_at else ''}: {n / (end - start):,.0f} pictures/s; {spent}")
    if not kill_at:
        print(f"  {1000 * used / n:.3f} ms of a core each, all steps and processes")
    print(f"  memory of all processes at ten moments, MB: {ten}")
    return end - start, said


def resident(family: psutil.Process) -> int:
    """Return the memory that a process and its children have to themselves, bytes: mapped files are left out."""
    total = 0
    for process in [family, *family.children(recursive=True)]:
        try:
            told = process.memory_info()
            total += told.rss - told.shared
        except psutil.Error:
            continue
    return total


def same(tree: Path, folder: Path, *, whole: bool) -> None:
    """Train by `--dataset` and by `--data`, and print whether all that was recorded is the same."""
    much = ["--epochs", "1", "--trials", "1"] if whole else ["--limit-train", "2000", "--epochs", "2", "--trials", "3"]
    much += [*("--limit-test", "1000", "--workers", "1", "--device", "cpu", "--no-report")]
    recorded = []
    for name, what in (("name", ["--dataset", "cifar10", "--data-dir", str(tree.parent)]), ("data", ["--data", str(tree)])):
        place = {**os.environ, "HPO_CACHE_DIR": str(folder / "cache")}
        subprocess.run([*HPO, "run", name, *what, *much], cwd=folder, env=place, check=True, stderr=subprocess.DEVNULL)
        told = subprocess.run([*HPO, "trials", name, "--format", "json"], cwd=folder, env=place, check=True, capture_output=True)
        keys = ("number", "state", "value", "params", "intermediate", "epochs")
        recorded.append([{key: trial[key] for key in keys if key in trial} for trial in json.loads(told.stdout)])
    by_name, by_data = recorded
    print("by --dataset:", *by_name, sep="\n  ")
    print("by --data:", "the same" if by_data == by_name else "OTHER", *([] if by_data == by_name else by_data), sep="\n  ")


def twins(tree: Path, folder: Path, n: int) -> None:
    """Print how many test images have a near twin in training."""
    data = datasets.load_pictures(tree, Wanted("tree", 32), folder / "cache")
    chosen = np.sort(np.random.RandomState(0).permutation(len(data.test))[:n])
    start = time.process_time()
    pairs = near_pairs(data.train.images, data.test.images[chosen])
    alike = sum(data.train.labels[i] == data.test.labels[chosen[j]] for i, j in pairs)
    print(f"{len(pairs):,} of {len(chosen):,} test images ({len(pairs) / len(chosen):.2%}) have one, {alike:,} in their class")
    print(f"{time.process_time() - start:.0f} s of a core")


def load(tree: Path, cache: Path) -> None:
    """Load a folder, and say how far it is; last, the processor time that it took."""
    datasets.load_pictures(tree, Wanted("tree", 32), cache, lambda what, done, total: print(what, done, total, flush=True))
    told = os.times()
    print("seconds", sum(told[:4]), 0, 0, flush=True)


if __name__ == "__main__":
    main()
