"""Steps: eager ones as a plain loop, captured ones as the eager ones. What only a GPU can show is in test_step_cuda.py."""

from __future__ import annotations

import copy

import pytest
import torch
from gpus import StandIn
from tiny import config, noise
from torch.optim.swa_utils import AveragedModel

from hpo.builtin.models import AdaptiveConfig
from hpo.builtin.recipe import LATEST, RECIPES
from hpo.networks import weights, zoo
from hpo.training.batches import training_batches
from hpo.training.features import Kept
from hpo.training.optimizers import SHARE, learning_rate
from hpo.training.steps import eager, step
from hpo.training.train import DivergedError, Training

SMALLEST = "squeezenet1_1"
EVERYTHING = config(
    stem="whiten", norm="batch", dropout=0.2, flip=True, shift=2, cutout=4, standardize=True, label_smoothing=0.1, lr=0.1,
    schedule="one-cycle", weight_decay=1e-3, nesterov=True, averaging=0.2, batch_size=16,
)  # fmt: skip
KINDS = {
    "plain": config(batch_size=16),
    "everything": EVERYTHING,
    "adamw": EVERYTHING.model_copy(update={"optimizer": "adamw"}),
    "photographs": EVERYTHING.model_copy(update={"crop": 0.5, "jitter": 0.3, "standardize": False}),
    "no momentum": EVERYTHING.model_copy(update={"momentum": 0.0, "class_weights": 0.5}),
    "hidden": config(norm="group", hidden=8, dropout=0.4, lr=0.01, averaging=0.3, batch_size=24),
}


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(step, "LEAST", 1)


def training(configuration, gpu=None, n=97, n_epochs=3, seed=3, recipe=LATEST, kind=Training):
    images = noise(n)
    run = kind(configuration, images, images, 10, n_epochs, seed, recipe)
    run.gpu, run.dtype = gpu, torch.float32
    return run


def results(run, tick=None):
    epochs = [(epoch.number, epoch.score, epoch.metrics) for epoch in run.epochs(tick)]
    return epochs, copy.deepcopy(run.state()), run.logits


def assert_close(one, other, tolerance):
    """Of two results; the running average differs in the last bits, because its formula is another one on a GPU."""
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("n", "version"), [(97, 1), (100, 2), (12, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_eager_epoch_is_bit_for_bit_the_loop_written_out(kind, n, version):
    """By torch's own running average, with the rates set batch by batch."""
    configuration = KINDS[kind]
    run, plain = (training(configuration, n=n, n_epochs=2, recipe=RECIPES[version]) for _ in range(2))
    losses = [epoch.metrics["train_loss"] for epoch in run.epochs()]
    horizon = max(1.0, configuration.averaging * plain.steps / 5)

    def blend(average, current, n_averaged):
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, max(1 / horizon, 9 / (10 + float(n_averaged))))
        else:
            torch._foreach_copy_(average, current)

    average = AveragedModel(plain.net, multi_avg_fn=blend, use_buffers=True) if configuration.averaging else None
    n_steps = plain.steps // 2
    for number, loss in enumerate(losses, 1):
        plain.net.train()
        plain.generator.manual_seed(3 + number)
        total = torch.zeros(())
        for index, (inputs, labels) in enumerate(training_batches(plain.train, configuration, plain.scale, number, 3)):
            for group in plain.optimizer.param_groups:
                group["lr"] = learning_rate(configuration, (number - 1 + index / n_steps) / 2)
            total += plain._step(inputs, labels) * len(labels)
            if average and (index % 5 == 0 or index == n_steps - 1):
                average.update_parameters(plain.net)
        assert total.item() / n == loss
    expected, got = (average.module if average else plain.net), run.scored
    assert all(map(torch.equal, got.state_dict().values(), expected.state_dict().values()))
    assert all(map(torch.equal, run.net.state_dict().values(), plain.net.state_dict().values()))


@pytest.mark.parametrize("n", [97, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_captured_steps_train_as_eager_ones(kind, n):
    """The batch that is left over, and one with an image more than the others, are among them."""
    gpu = StandIn()
    got, expected = results(training(KINDS[kind], gpu, n)), results(training(KINDS[kind], n=n))
    assert_close(got, expected, 1e-5)
    if not KINDS[kind].averaging:
        assert_close(got, expected, 0)  # bit for bit
    whole = n // KINDS[kind].batch_size - (n % KINDS[kind].batch_size == 1)
    assert gpu.graphs[0].n_replays == 3 * whole
    assert all(graph.work is None for graph in gpu.graphs)


def test_a_training_that_goes_on_captured_is_one_without_the_stop():
    for stopped_after in (1, 2):
        whole = results(training(EVERYTHING, StandIn()))
        first = training(EVERYTHING, StandIn())
        got = [(e.number, e.score, e.metrics) for _, e in zip(range(stopped_after), first.epochs(), strict=False)]
        state = copy.deepcopy(first.state())
        second = training(EVERYTHING, StandIn())
        second.restore(state)
        rest, *others = results(second)
        assert_close((got + rest, *others), whole, 0)


def test_a_state_does_not_tell_how_it_was_trained():
    """A training begun on a GPU goes on elsewhere, and the other way round."""
    states = []
    for gpu in (StandIn(), None):
        run = training(EVERYTHING, gpu)
        next(run.epochs())
        states.append(copy.deepcopy(run.state()))
    captured, plain = states
    assert [{k: v for k, v in g.items() if k != "params"} for g in captured["optimizer"]["param_groups"]] == [
        {k: v for k, v in g.items() if k != "params"} for g in plain["optimizer"]["param_groups"]
    ]
    for state, gpu in ((captured, None), (plain, StandIn())):
        run = training(EVERYTHING, gpu)
        run.restore(state)
        assert [epoch.number for epoch in run.epochs()] == [2, 3]


def test_the_warm_up_leaves_no_trace():
    run = training(EVERYTHING, StandIn())
    before = copy.deepcopy(run.state())
    steps = step.begun(run._work(), run.train.device, run.gpu, 1, "")
    after = run.state()
    assert_close(after["net"], before["net"], 0)
    assert_close(after["average"], before["average"], 0)
    assert steps.total == 0
    assert all(not tensor.any() for state in run.optimizer.state.values() for tensor in state.values())
    assert all(parameter.grad is None for parameter in run.net.parameters())


@pytest.mark.parametrize("restored", [False, True])
def test_what_cannot_be_captured_is_trained_eagerly_and_says_why(restored):
    error = RuntimeError("operation not permitted when stream is capturing\nand more")
    run, plain = training(EVERYTHING, StandIn(refuses=error)), training(EVERYTHING)
    if restored:
        for one in (run, plain):
            half = training(EVERYTHING)
            next(half.epochs())
            one.restore(copy.deepcopy(half.state()))
    assert_close(results(run), results(plain), 0)
    assert run.said == ["step: eager, because operation not permitted when stream is capturing."]


def test_a_bug_of_the_capture_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        list(training(EVERYTHING, StandIn(refuses=ZeroDivisionError())).epochs())


class OnHost(torch.optim.Optimizer):
    """Plain tensor code; counts on the host, if it is told to."""

    def __init__(self, groups, counts):
        super().__init__(groups, {"lr": 0.1})
        self.counts = counts

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if self.counts:
                    state["step"] = state.get("step", 0) + 1
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].mul_(0.9).add_(parameter.grad)
                parameter.sub_(state["momentum"] * group["lr"])


@pytest.mark.parametrize("counts", [False, True])
def test_an_optimizer_of_plain_tensor_code_is_captured_unless_it_counts_on_the_host(counts):
    runs = [training(config(batch_size=16, norm="batch"), gpu) for gpu in (StandIn(), None)]
    for run in runs:
        parameters = list(run.net.parameters())
        groups = [{"params": parameters[:2], SHARE: 0.1}, {"params": parameters[2:]}]
        run.optimizer = OnHost(groups, counts)
    assert_close(*map(results, runs), 1e-6)
    assert runs[0].said == (["step: eager, because its optimizer counts its steps on the host."] if counts else [])


class Halting(Training):
    def _step(self, inputs, labels):
        return super()._step(inputs, labels)


def test_reasons_to_train_eagerly():
    of_ones_own = training(EVERYTHING, StandIn(), kind=Halting)
    on_host = training(EVERYTHING, StandIn())
    on_host.train = copy.copy(on_host.train)
    object.__setattr__(on_host.train, "pixels", on_host.train.pixels.to("meta"))
    narrow = training(EVERYTHING, StandIn())
    narrow.scaler = torch.amp.GradScaler("cpu", enabled=True)
    few = training(EVERYTHING, StandIn(), n=12)
    assert of_ones_own._why_eager() == "a graph would not run somebody's own code again"
    assert on_host._why_eager() == "its images lie on the host"
    assert narrow._why_eager() == "float16 needs a look at every loss"
    list(few.epochs())
    assert few.said == ["step: eager, because there are fewer images than one batch has."]


def test_a_short_training_is_not_captured(monkeypatch):
    monkeypatch.setattr(step, "LEAST", 100)
    run = training(EVERYTHING, StandIn())
    list(run.epochs())
    assert run.said == ["step: eager, because fewer than 100 steps are left."]
    assert run.gpu.graphs == []


def test_masks_of_dropout_come_from_a_generator_that_the_graph_knows():
    run = training(EVERYTHING, StandIn())
    list(run.epochs())
    assert run.gpu.generators == [run.generator]


def test_signs_of_life_tell_of_what_the_device_has_done(monkeypatch):
    """The host may be ahead of it by as many steps as lie between three marks."""
    monkeypatch.setattr("hpo.training.train.TICK", 0.0)
    monkeypatch.setattr(eager, "MARKED", 2)
    ticks = []
    run = training(config(batch_size=4), StandIn(), n=96, n_epochs=1)
    results(run, lambda *tick: ticks.append(tick))
    assert [round(96 * share) for _, share, _ in ticks] == [4 * max(0, (done // 2 - 2) * 2) for done in range(1, 25)]
    assert run.gpu.n_marks == 12


def test_a_loss_that_is_not_finite_is_told_within_the_epoch(monkeypatch):
    monkeypatch.setattr("hpo.training.train.TICK", 0.0)
    monkeypatch.setattr(eager, "MARKED", 1)
    run = training(config(lr=1e12, depth=2, hidden=8, standardize=True), StandIn(), n=96, n_epochs=20)
    ticks = []
    with pytest.raises(DivergedError):
        results(run, lambda *tick: ticks.append(tick))
    assert all(graph.work is None for graph in run.gpu.graphs)


@pytest.mark.parametrize(
    ("n_steps", "macs", "least", "pays"),
    [(3910, 128 * 20_000_000, step.CAPTURED_STEP, False), (3910, 512 * 600_000_000, step.CAPTURED_STEP, True)],
    ids=["the default network", "a large one"],
)
def test_a_search_for_algorithms_is_for_long_trainings(n_steps, macs, least, pays):
    assert step.search_pays(n_steps, macs, least) == pays


@pytest.mark.parametrize("refuses", [None, RuntimeError("no")])
def test_shapes_of_whole_batches_are_searched_for_once_and_that_of_the_last_batch_never(monkeypatch, refuses):
    monkeypatch.setattr(step, "SEARCH_FROM", 0.0)
    run = training(EVERYTHING, StandIn(refuses), n=100)
    list(run.epochs())
    assert run.gpu.searched == [True] if refuses is None else [True, True]


def test_a_head_on_known_features_is_captured_too(tmp_path):
    torch.manual_seed(5)
    torch.save(zoo._constructed(SMALLEST, 64).state_dict(), tmp_path / "some.pt")
    found = weights.found(SMALLEST, str(tmp_path / "some.pt"), lambda *_: None)
    images, knobs = noise(24, n_classes=3), AdaptiveConfig(batch_size=8, lr=0.1, freeze="all", averaging=0.0)
    made = []
    for gpu in (StandIn(), None):
        kept = Kept(tmp_path, {}, images, images)
        run = Training(knobs, images, images, 3, 2, 0, model=SMALLEST, weights=found, kept=kept)
        run.gpu, run.dtype = gpu, torch.float32
        made.append(results(run))
        assert run.features is not None
        assert not run.said
    assert_close(*made, 0)
