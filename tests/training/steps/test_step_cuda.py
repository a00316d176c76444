"""What only a GPU can show of captured steps: they train as eager ones, the same each time, and in threads beside each other."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny import config, noise

from hpo.networks.device import opened
from hpo.training.batches import Images
from hpo.training.steps import step
from hpo.training.train import DivergedError, Training

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]

EVERYTHING = config(
    stem="whiten", norm="batch", dropout=0.2, flip=True, shift=2, cutout=4, standardize=True, label_smoothing=0.1, lr=0.1,
    schedule="one-cycle", weight_decay=1e-3, nesterov=True, averaging=0.2, batch_size=64, filters=16, depth=2, tta=True,
)  # fmt: skip
KINDS = {
    "plain": config(batch_size=64),
    "everything": EVERYTHING,
    "adamw": EVERYTHING.model_copy(update={"optimizer": "adamw", "norm": "group"}),
    "photographs": EVERYTHING.model_copy(update={"crop": 0.5, "jitter": 0.3, "standardize": False}),
    "no momentum": EVERYTHING.model_copy(update={"momentum": 0.0, "class_weights": 0.5, "hidden": 16}),
    "muon": EVERYTHING.model_copy(update={"optimizer": "muon"}),
}


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setattr(step, "LEAST", 1)
    return opened("cuda:0")


def training(configuration, n=1000, n_epochs=3, seed=3, kind=Training):
    images, gpu = noise(n), torch.device("cuda:0")
    there = Images(images.pixels.to(gpu), images.labels.to(gpu), images.chosen.to(gpu))
    return kind(configuration, there, there, 10, n_epochs, seed)


def results(run):
    """Losses and scores by epoch, all weights, and the optimizer's state, on the host."""
    epochs = [(epoch.number, epoch.score, epoch.metrics) for epoch in run.epochs()]
    return epochs, _host(run.net.state_dict()), _host(run.scored.state_dict()), _host(run.state()["optimizer"]), _host(run.logits)


def _host(value):
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _host(part) for key, part in value.items()}
    return [_host(part) for part in value] if isinstance(value, (list, tuple)) else value


def eagerly(monkeypatch, run):
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_why_eager", lambda _: "this is tested")
        return results(run)


@pytest.mark.parametrize("n", [1000, 961, 1024])  # a batch that is left over, one image more than the others, neither
@pytest.mark.parametrize("kind", KINDS)
def test_captured_steps_train_as_eager_ones(monkeypatch, kind, n):
    run = training(KINDS[kind], n)
    got = results(run)
    assert run.said == []
    expected = eagerly(monkeypatch, training(KINDS[kind], n))
    for (number, _, metrics), (same, _, others) in zip(got[0], expected[0], strict=True):
        assert number == same
        assert metrics["train_loss"] == pytest.approx(others["train_loss"], rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_two_captured_trainings_are_the_same_bit_for_bit(kind):
    one, other = (results(training(KINDS[kind])) for _ in range(2))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["everything", "adamw", "muon"])
@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_training_that_goes_on_is_bit_for_bit_one_without_the_stop(kind, stopped_after):
    whole = results(training(KINDS[kind]))
    first = training(KINDS[kind])
    got = [(e.number, e.score, e.metrics) for _, e in zip(range(stopped_after), first.epochs(), strict=False)]
    state = copy.deepcopy(first.state())
    torch.manual_seed(99)
    second = training(KINDS[kind])
    second.restore(state)
    rest, *others = results(second)
    torch.testing.assert_close((got + rest, *others), whole, rtol=0, atol=0)


def test_masks_of_dropout_are_new_in_each_replay_and_those_of_an_eager_training():
    """A rate of learning that changes nothing leaves the masks as the only difference between steps on the same images."""
    made = []
    for why in ("", "this is tested"):
        run = training(config(dropout=0.5, hidden=32, lr=1e-30, batch_size=64), n=256, n_epochs=1)
        steps = step.begun(run._work(), run.train.device, run.gpu, 1, why)
        assert bool(steps.said) == bool(why)
        run.net.train()
        run.generator.manual_seed(5)
        steps.begin(1)
        steps._tables.order.copy_(torch.arange(64, device="cuda").repeat(4))
        losses, before = [], 0.0
        for index in range(4):
            steps._parts[index] = steps._tables.order[:64]
            steps.run(index)
            losses.append(steps.total.item() - before)
            before = steps.total.item()
        steps.close()
        made.append(losses)
    assert len({round(loss, 4) for loss in made[0]}) == 4
    assert made[0] == pytest.approx(made[1], rel=1e-3)


class Syncing(torch.nn.Module):
    """Asks the device for a value, which no graph can do."""

    def forward(self, x):
        return x * 1.0 if x.sum().item() else x


def test_a_network_that_waits_for_the_device_is_trained_eagerly_and_the_next_one_captured(monkeypatch):
    run, plain = training(EVERYTHING), training(EVERYTHING)
    for one in (run, plain):
        one.net.head = torch.nn.Sequential(one.net.head, Syncing())
    got = results(run)
    assert len(run.said) == 1
    assert run.said[0].startswith("step: eager, because ")
    expected = eagerly(monkeypatch, plain)
    torch.testing.assert_close(got[0], expected[0], rtol=1e-3, atol=1e-2)
    after = training(EVERYTHING)
    results(after)
    assert after.said == []
    torch.rand(3, device="cuda")  # torch's own generator has not been left in a capture


def test_trainings_in_threads_come_out_as_alone():
    """Each in a stream of its own, captured while others train, and one of them eagerly."""
    kinds = ["everything", "adamw", "plain", "muon"]

    def trained(kind):
        return [results(training(KINDS[kind], seed=seed)) for seed in (1, 2)]

    alone = [trained(kind) for kind in kinds]
    with ThreadPoolExecutor(len(kinds)) as threads:
        together = list(threads.map(trained, kinds))
    torch.testing.assert_close(together, alone, rtol=0, atol=0)


def test_work_is_not_on_the_stream_that_all_threads_share():
    run = training(EVERYTHING)
    assert torch.cuda.current_stream() == run.gpu.stream != torch.cuda.default_stream()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: training(EVERYTHING).gpu.stream).result() != run.gpu.stream


def test_memory_of_trainings_that_ended_is_used_again():
    for _ in range(3):
        results(training(EVERYTHING, n_epochs=1))
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for _ in range(5):
        results(training(EVERYTHING, n_epochs=1))
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + 2**26


def test_a_loss_that_is_not_finite_is_told():
    with pytest.raises(DivergedError):
        list(training(config(lr=1e12, depth=2, hidden=8, standardize=True), n_epochs=20).epochs())
    results(training(EVERYTHING, n_epochs=1))
