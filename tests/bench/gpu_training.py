"""The parts of gpu.py that train in one process: rates, several trainings, equality, accuracy, and a worker's start in phases."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def say(part: str, what: str, value: str, asked: str = "") -> None:
    print(f"{part:9} {what:58} {value:>22}{f'   (asked: {asked})' if asked else ''}", flush=True)


class Bench:
    """Data on the device, and trainings of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        import torch

        from hpo.data.datasets import load
        from hpo.networks.device import opened
        from hpo.settings import Settings
        from hpo.training.task import Task

        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training" / "steps"))
        self.torch, self.options = torch, options
        self.seconds, self.dry = options.seconds, options.device == "cpu"
        self.n_steps = 6 if self.dry else 50
        if self.dry:
            torch.set_num_threads(1)
        self.device = opened("cuda:0" if options.device == "cuda" else "cpu")
        loaded = load("cifar10", options.data_dir)
        settings = Settings(limit_train=options.images, limit_test=options.images)
        self.task = Task.of(settings, loaded, self.device, 10**11)

    def training(self, n_epochs: int = 10, seed: int = 0, **knobs: Any) -> Any:
        from hpo.builtin.convnet import Config
        from hpo.training.train import Training

        if self.dry:
            knobs = knobs | {"filters": 4, "batch_size": 64}
        config = Config(**{"batch_size": 128, **knobs})
        run = Training(config, self.task.train, self.task.score, 10, n_epochs, seed)
        if self.dry:
            from gpus import StandIn

            run.gpu = StandIn()  # type: ignore[assignment]
        return run

    def steps(self, run: Any, why_eager: str = "") -> Any:
        """Return a training's steps; the captured ones must be."""
        from hpo.training.steps import step

        if self.dry:
            step.LEAST = 1
        made = step.begun(run._work(), self.device, run.gpu, 1, why_eager)
        if not why_eager and made.said:
            print(f"  {made.said}", flush=True)
        return made

    def wait(self) -> None:
        """Wait for this thread's stream alone."""
        if self.device.type == "cuda":
            self.torch.cuda.current_stream().synchronize()

    def epoch(self, run: Any, steps: Any, number: int, until: float = 1e18) -> int:
        """Train an epoch, or until a time; return the number of images."""
        run.net.train()
        run.generator.manual_seed(run.seed + number)
        done = 0
        for index, images in enumerate(steps.begin(number)):
            steps.run(index)
            done += images
            if time.perf_counter() > until:
                break
        self.wait()
        return done

    def rate(self, why_eager: str = "", **knobs: Any) -> tuple[float, float]:
        """Return images/s of a training, and the seconds until its first step was done."""
        began = time.perf_counter()
        run = self.training(**knobs)
        steps = self.steps(run, why_eager)
        self.epoch(run, steps, 1, until=0.0)
        first = time.perf_counter() - began
        self.epoch(run, steps, 1, until=time.perf_counter() + 0.2)
        ready = time.perf_counter()
        done, number = 0, 1
        while (now := time.perf_counter()) < ready + self.seconds:
            number = number % 10 + 1
            done += self.epoch(run, steps, number, until=now + 2 * self.seconds)
        rate = done / (time.perf_counter() - ready)
        steps.close()
        return rate, first


NETS: dict[str, dict[str, Any]] = {
    "32 filters, batch 128 (the default network)": {},
    "64 filters, batch 128": {"filters": 64, "lr": 0.1},
    "64 filters, batch 512": {"filters": 64, "batch_size": 512, "lr": 0.3},
    "64 filters, batch 2000": {"filters": 64, "batch_size": 2000, "lr": 1.0},
    "128 filters, batch 512": {"filters": 128, "batch_size": 512, "lr": 0.3},
    "192 filters, batch 512": {"filters": 192, "batch_size": 512, "lr": 0.3},
}
ASKED = {"32 filters, batch 128 (the default network)": "140,000", "64 filters, batch 128": "125,000"}


def rates(bench: Bench) -> None:
    from hpo.training.steps import step

    first = next(iter(NETS))
    bench.rate(**NETS[first])  # what only the first training of a process pays for
    for name, knobs in NETS.items():
        rate, ready = bench.rate(**knobs)
        say("rates", f"{name}, captured", f"{rate:,.0f} images/s", ASKED.get(name, ""))
        say("rates", f"{name}, until the first step is done", f"{ready:.2f} s")
    for name in (first, "64 filters, batch 512", "128 filters, batch 512"):
        rate, _ = bench.rate("this is measured", **NETS[name])
        say("rates", f"{name}, eager", f"{rate:,.0f} images/s")
    for dropout in (0.0, 0.3):
        rate, _ = bench.rate(dropout=dropout)
        say("rates", f"{first}, dropout {dropout}, captured", f"{rate:,.0f} images/s")
    rate, _ = bench.rate(**NETS["128 filters, batch 512"], averaging=0.0)
    say("rates", "128 filters, batch 512, no running average", f"{rate:,.0f} images/s")
    deterministic = bench.torch.backends.cudnn.deterministic
    # New shapes for each: cuDNN keeps what it has chosen, by thread, and asks nothing again. Batches differ by a few images.
    for name, batch in ((first, 128), ("128 filters, batch 512", 512)):
        knobs = NETS[name] | {"batch_size": batch - 8}
        bench.torch.backends.cudnn.deterministic = False
        rate, ready = bench.rate(**knobs)
        say("rates", f"{name[:22]} -8, algorithms need not be deterministic", f"{rate:,.0f} images/s")
        say("rates", f"{name[:22]} -8, until the first step is done", f"{ready:.2f} s")
        bench.torch.backends.cudnn.deterministic = deterministic
        knobs["batch_size"] = batch - 16
        before, step.SEARCH_FROM = step.SEARCH_FROM, 0.0
        rate, ready = bench.rate(**knobs)
        say("rates", f"{name[:22]} -16, cuDNN searches", f"{rate:,.0f} images/s")
        say("rates", f"{name[:22]} -16, until the first step is done", f"{ready:.2f} s", "pays from SEARCH_FROM on")
        step.SEARCH_FROM = before
        knobs["batch_size"] = batch - 24
        rate, ready = bench.rate(**knobs)
        say("rates", f"{name[:22]} -24, for comparison", f"{rate:,.0f} images/s")
        say("rates", f"{name[:22]} -24, until the first step is done", f"{ready:.2f} s")


def together(bench: Bench) -> None:
    """As lanes do: a thread and a stream per training."""
    cases: list[tuple[str, int, dict[str, Any], str]] = [
        *((f"64 filters, batch 128, {n} at once", n, NETS["64 filters, batch 128"], "") for n in (1, 2, 4)),
        ("64 filters, batch 128, 8 at once", 8, NETS["64 filters, batch 128"], "230,000"),
        ("32 filters, batch 128, 8 at once", 8, {}, "350,000"),
        ("64 filters, batch 512, 4 at once", 4, NETS["64 filters, batch 512"], ""),
        ("128 filters, batch 512, 4 at once", 4, NETS["128 filters, batch 512"], ""),
    ]
    for name, n, knobs, asked in cases:
        rate, failed = _at_once(bench, n, knobs)
        say("together", name, f"{rate:,.0f} images/s", asked)
        for error in failed:
            print(f"  {error}", flush=True)


def _at_once(bench: Bench, n: int, knobs: dict[str, Any]) -> tuple[float, list[str]]:
    """Return images/s of n trainings together, while all of them train, and what failed."""
    ready, end = threading.Barrier(n + 1), threading.Event()
    done, failed = [0] * n, []

    def train(place: int) -> None:
        try:
            run = bench.training(seed=place, **knobs)
            steps = bench.steps(run)
            bench.epoch(run, steps, 1, until=time.perf_counter() + 0.2)
            ready.wait()
            number = 1
            while not end.is_set():
                number = number % 10 + 1
                run.net.train()
                before, sizes = done[place], steps.begin(number)
                for index in range(len(sizes)):
                    if end.is_set():
                        break
                    steps.run(index)
                    done[place] = before + steps.pace.done
                else:
                    bench.wait()
                    done[place] = before + sum(sizes)
            bench.wait()
            steps.close()
        except threading.BrokenBarrierError:
            pass
        except Exception as error:  # noqa: BLE001  # told by the caller
            failed.append(f"training {place}: {type(error).__name__}: {error}"[:300])
            ready.abort()

    threads = [threading.Thread(target=train, args=(place,)) for place in range(n)]
    for thread in threads:
        thread.start()
    rate = 0.0
    with contextlib.suppress(threading.BrokenBarrierError):
        ready.wait()
        time.sleep(0.2)
        began, before = time.perf_counter(), sum(done)
        time.sleep(bench.seconds * 1.5)
        rate = (sum(done) - before) / (time.perf_counter() - began)
    end.set()
    for thread in threads:
        thread.join()
    return rate, failed


def equal(bench: Bench) -> None:
    """Compare losses and weights after 50 steps."""
    cases: dict[str, dict[str, Any]] = {
        "default network": {},
        "default network, no dropout": {"dropout": 0.0},
        "adamw, group norm, cutout": {"optimizer": "adamw", "norm": "group", "cutout": 8, "dropout": 0.2},
        "crops and jitter": {"crop": 0.5, "jitter": 0.3},
        "128 filters, batch 512": NETS["128 filters, batch 512"],
    }
    if "muon" in _optimizers():
        cases["muon"] = {"optimizer": "muon"}
    for name, knobs in cases.items():
        try:
            one, two, plain = (_fifty(bench, why, knobs) for why in ("", "", "this is measured"))
            worst = max(abs(a - b) / abs(b) for a, b in zip(one[0], plain[0], strict=True))
            say("equal", f"{name}: captured against eager, losses", f"{worst:.1e} relative", "1e-3")
            same = one[0] == two[0] and all(map(bench.torch.equal, one[1], two[1]))
            say("equal", f"{name}: two captured runs, losses and weights", "bit for bit" if same else "DIFFERENT", "bit for bit")
            far = max(float((a - b).abs().max()) for a, b in zip(one[1], plain[1], strict=True))
            say("equal", f"{name}: captured against eager, weights", f"{far:.1e} at most")
        except Exception as error:  # noqa: BLE001  # the others go on
            say("equal", name, f"{type(error).__name__}: {error}"[:150])


def _optimizers() -> str:
    from hpo.builtin.recipe import TrainingConfig

    return str(TrainingConfig.model_fields["optimizer"].annotation)


def _fifty(bench: Bench, why: str, knobs: dict[str, Any]) -> tuple[list[float], list[Any]]:
    run = bench.training(n_epochs=2, **knobs)
    steps = bench.steps(run, why)
    run.net.train()
    losses, number = [], 0
    while len(losses) < bench.n_steps:
        number += 1
        before = 0.0
        run.generator.manual_seed(run.seed + number)
        for index, images in enumerate(steps.begin(number)):
            steps.run(index)
            losses.append((steps.total.item() - before) / images)
            before = steps.total.item()
            if len(losses) == bench.n_steps:
                break
    steps.close()
    return losses, [tensor.detach().float().cpu() for tensor in run.scored.state_dict().values()]


def phases(options: argparse.Namespace) -> None:
    """What a worker does before and in its first epoch, one after the other."""
    began = time.perf_counter()

    def done(what: str) -> None:
        nonlocal began
        now = time.perf_counter()
        say("startup", f"  in a worker: {what}", f"{now - began:.2f} s")
        began = now

    import torch

    done("import of torch")
    import hpo.training.objective

    done(f"import of {hpo.training.objective.__name__}")
    if options.device == "cuda":
        torch.zeros(1, device="cuda")
        done("CUDA's context")
    bench = Bench(options)
    done("the images to the device")
    run = bench.training()
    done("the first training is built, its stem fitted")
    steps = bench.steps(run)
    done("warm-up and capture")
    bench.epoch(run, steps, 1)
    done("the first epoch's steps")
    run.scores()
    done("scoring, the first time")
    run.scores()
    done("scoring again")
    steps.close()
    bench.steps(bench.training(seed=1)).close()
    done("another training of the same shape, up to its capture")
    bench.steps(bench.training(filters=40)).close()
    done("one of another shape, up to its capture")


def accuracy(bench: Bench) -> None:
    """Train single networks; the two of the issue's table first, then what the space for GPUs begins with."""
    from hpo.builtin.convnet import OBJECTIVE

    wide = {"batch_size": 512, "lr": 0.3}
    cases: list[tuple[str, int, dict[str, Any]]] = [
        ("128 filters, cutout 8", 20, {"filters": 128, "cutout": 8, **wide}),
        ("192 filters, cutout 10, shift 3", 40, {"filters": 192, "cutout": 10, "shift": 3, **wide}),
    ]
    with contextlib.suppress(Exception):
        space = OBJECTIVE.space("large")
        cases += [("large: its default point", 10, space.point())]
        cases += [(f"large: start {name}", 10, space.point(start)) for name, start in _starts(space)]
    for name, epochs, knobs in cases:
        try:
            n_epochs = 2 if bench.options.images else epochs
            run = bench.training(n_epochs=n_epochs, **knobs)
            began = time.perf_counter()
            scores = [(time.perf_counter() - began, 100 * epoch.score) for epoch in run.epochs()]
            say("accuracy", f"{name}, {n_epochs} epochs", f"{scores[-1][1]:.2f} % in {scores[-1][0]:.1f} s")
            for goal in (90.7, 93.5):
                at = next((f"{at:.1f} s" for at, score in scores if score >= goal), "never")
                say(
                    "accuracy", f"  {goal} % or more", at, "2 s by the 94 % script" if goal == 90.7 else "19 s by the 96 % script"
                )
            for sentence in run.said:
                print(f"  {sentence}", flush=True)
        except Exception as error:  # noqa: BLE001  # the others go on
            say("accuracy", name, f"{type(error).__name__}: {error}"[:150])


def _starts(space: Any) -> list[tuple[str, dict[str, Any]]]:
    starts = getattr(space, "starts", {})
    return list(starts.items()) if isinstance(starts, dict) else [(str(place), start) for place, start in enumerate(starts)]


ON_DEVICE: dict[str, Callable[[Bench], None]] = {"rates": rates, "together": together, "equal": equal, "accuracy": accuracy}
