"""What a GPU gets out of hpo: images per second, equality of captured steps, whole studies, start-up.

    python tests/bench/gpu.py                             all parts but `long`: about five minutes on the card
    python tests/bench/gpu.py rates equal                 some of them
    python tests/bench/gpu.py --device cpu --images 600   a dry run without a GPU: figures mean nothing, errors are found

    rates      images/s of one training, eager and captured, by network and batch; with cuDNN's search, without determinism
    together   images/s of several trainings at once, a thread each
    equal      50 steps from one state: captured against eager, and captured twice
    startup    seconds from Enter to the first epoch's end, and what they are spent on
    study      `hpo run --trials 50`, from Enter to the prompt, with the card's utilization by sampling
    minute     `hpo run --timeout 60s`
    accuracy   single trainings: accuracy by seconds of training
    long       `hpo run --timeout 5m`; only when named

Each part is a process of its own, so that the failure of one leaves the others. A line of the output is a figure, with what was
asked for behind it. Needs decoded CIFAR-10 in --data-dir; one that is not decoded yet is decoded first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_training import ON_DEVICE, Bench, phases, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
PARTS = ("rates", "together", "equal", "startup", "study", "minute", "accuracy", "long")
LIMITS = {"rates": 110, "together": 80, "equal": 60, "startup": 60, "study": 150, "minute": 110, "accuracy": 110, "long": 400}
ASK = "import os, time; from hpo.pools import devices, nvml; t = time.perf_counter(); print({}, time.perf_counter() - t)"
GOALS = {"minute": 91.5, "long": 93.5, "study": 90.7}  # per cent


def startup(options: argparse.Namespace) -> None:
    words = _limited(options)
    with _folder() as folder:
        lines, took, code = _run(folder, ["run", "start", "--trials", "1", "--epochs", "1", *words])
        ends = next((at for at, line in lines if "epoch 1/1" in line), float("nan"))
        say("startup", "from Enter to the first epoch's end", f"{ends:.2f} s", "8 s at most")
        say("startup", "from Enter to the prompt, report and all", f"{took:.2f} s, exit {code}")
        for at, line in lines:
            print(f"  {at:6.2f} s  {line[:140]}", flush=True)
    say("startup", "asking what GPUs there are", _python(ASK.format("devices._gpus()")).strip())
    say("startup", "  by NVML (None: torch has to be asked)", _python(ASK.format("nvml.free(os.environ)")).strip())
    sys.stdout.flush()
    subprocess.run(
        [sys.executable, __file__, "phases", "--here", *(word for word in sys.argv[1:] if word not in ("startup", "--here"))]
    )
    times = _python("import hpo.training.objective", flags=("-X", "importtime"), errors=True)
    found = [(int(a), name.strip()) for a, name in re.findall(r"import time:\s+\d+ \|\s+(\d+) \| (.*)", times)]
    for took_us, name in sorted(found, reverse=True)[:12]:
        say("startup", f"  import of {name}", f"{took_us / 1e6:.2f} s")


def _python(code: str, flags: tuple[str, ...] = (), cwd: Path = HERE.parents[1], *, errors: bool = False) -> str:
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, *flags, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=cwd, env=environment)
    return (done.stderr if errors else done.stdout) or done.stderr[-300:]


def _limited(options: argparse.Namespace) -> list[str]:
    words = ["--device", options.device, "--data-dir", str(options.data_dir.absolute())]
    limit = str(options.images)
    return [*words, "--limit-train", limit, "--limit-test", limit, "--workers", "1"] if options.images else words


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _run(folder: Path, words: list[str]) -> tuple[list[tuple[float, str]], float, int]:
    """Run hpo; return its lines with the seconds since Enter, the seconds of the whole, and the exit code."""
    began, command = time.perf_counter(), [sys.executable, "-m", "hpo", *words, "-v"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = [(time.perf_counter() - began, line.rstrip()) for line in process.stdout or ()]
    code = process.wait()
    return lines, time.perf_counter() - began, code


class Utilization:
    """Samples of how busy the card is, per cent, while a block runs."""

    def __enter__(self) -> Utilization:
        self.samples: list[float] = []
        self._process = None
        if shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
            self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._listen, daemon=True).start()
        return self

    def _listen(self) -> None:
        for line in self._process.stdout:  # type: ignore[union-attr]
            with contextlib.suppress(ValueError):
                self.samples.append(float(line))

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()

    def __str__(self) -> str:
        if not self.samples:
            return "not known"
        busy = sum(1 for sample in self.samples if sample >= 50) / len(self.samples)
        return f"{sum(self.samples) / len(self.samples):.0f} % mean, {100 * busy:.0f} % of samples over 50"


def _study(options: argparse.Namespace, part: str, words: list[str], limit: str) -> None:
    with _folder() as folder, Utilization() as busy:
        lines, took, code = _run(folder, ["run", part, *words, *_limited(options)])
        say(part, f"hpo run {' '.join(words)}, from Enter to the prompt", f"{took:.1f} s, exit {code}", limit)
        say(part, "utilization of the card, sampled all the time", str(busy))
        shown = _python(
            f"import sys; sys.argv = ['hpo', 'show', {part!r}, '--format', 'json']; from hpo.__main__ import main; main()",
            cwd=folder,
        )
        with contextlib.suppress(ValueError, LookupError):
            found = json.loads(shown)[0]
            best = "no trial is complete" if found["best"] is None else f"{100 * found['best']:.2f} %"
            say(part, "best, picked on the test set", best, f"{GOALS[part]} %")
            say(part, "trials", f"{found['finished']} ({found['complete']} complete, {found['fail']} failed)")
    epochs = [(at, float(per)) for at, line in lines for per in re.findall(r"epoch \d+/\d+: ([\d.]+)%", line)]
    for goal in (88.0, 90.0, 90.7, 91.5, 92.0, 93.0, 93.5):
        at = next((f"{at:.1f} s" for at, percent in epochs if percent >= goal), "never")
        say(part, f"first epoch of {goal} % or more, from Enter", at)
    say(part, "epochs trained", f"{len(epochs)}")
    told = [line for _, line in lines if "eager" in line or "warning" in line.lower() or "fail" in line.lower()]
    for line in [*(line for _, line in lines[:4]), *told[:10], *(line for _, line in lines[-6:])]:
        print(f"  {line[:160]}", flush=True)


def study(options: argparse.Namespace) -> None:
    _study(options, "study", ["--trials", "3" if options.images else "50"], "40 s at most")


def minute(options: argparse.Namespace) -> None:
    _study(options, "minute", ["--timeout", "20s" if options.images else "60s"], "60 s")


def long(options: argparse.Namespace) -> None:
    _study(options, "long", ["--timeout", "20s" if options.images else "5m"], "5 min")


BY_COMMAND: dict[str, Callable[[argparse.Namespace], None]] = {"startup": startup, "study": study, "minute": minute, "long": long}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all but long")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("HPO_DATA_DIR", "data")))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--images", type=int, help="so many images only: for a dry run")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement of a rate")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # a part, in this process
    options = parser.parse_args()
    if unknown := set(options.parts) - {*PARTS, "phases"}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    if options.here and options.parts == ["phases"]:
        phases(options)
        return
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"gpu.py measures a GPU, and torch {torch.__version__} sees none here: skipped.")
        return
    if options.here:
        for part in options.parts:
            if part in ON_DEVICE:
                ON_DEVICE[part](Bench(options))
            else:
                BY_COMMAND[part](options)
        return
    from hpo.data.datasets import load

    load("cifar10", options.data_dir)  # decoded
    name = torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu"
    print(
        f"{name}, torch {torch.__version__}, {os.cpu_count()} cores; python tests/bench/gpu.py {' '.join(sys.argv[1:])}",
        flush=True,
    )
    for part in options.parts or PARTS[:-1]:
        began = time.perf_counter()
        words = [value for value in sys.argv[1:] if value not in PARTS]
        try:
            code = subprocess.run([sys.executable, __file__, part, "--here", *words], timeout=LIMITS[part]).returncode
        except subprocess.TimeoutExpired:
            code = -1
        say(part, "this part", f"{time.perf_counter() - began:.0f} s", "" if code == 0 else f"it ended with exit code {code}")


if __name__ == "__main__":
    main()
