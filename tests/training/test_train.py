import copy
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from tiny import PLAIN, TUTORIAL, config, noise
from torch import nn

from hpo.builtin.recipe import LATEST, RECIPES
from hpo.data import datasets
from hpo.networks import device
from hpo.networks.device import fast_dtype
from hpo.networks.model import ConvNet
from hpo.training.batches import Images, Scale, scoring_batches, training_batches
from hpo.training.loss import Loss
from hpo.training.optimizers import learning_rate, make_optimizer
from hpo.training.train import DivergedError, Training

EVERYTHING = config(
    stem="whiten", norm="batch", dropout=0.2, flip=True, shift=2, cutout=4, standardize=True, label_smoothing=0.1, lr=0.1,
    schedule="one-cycle", weight_decay=1e-3, nesterov=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def digits(tmp_path_factory, cache):
    """300 digits to train on and 100 to score."""
    loaded = datasets.load("digits", tmp_path_factory.mktemp("data"), cache)
    sizes = ((loaded.train, 300), (loaded.test, 100))
    return [Images.of(s.images, s.labels, datasets.take(s.labels, n, seed=0), torch.device("cpu")) for s, n in sizes]


def training(configuration, images=None, n_epochs=3, seed=0, score=None, recipe=LATEST):
    images = images or noise(96)
    return Training(configuration, images, score or images, n_classes=10, n_epochs=n_epochs, seed=seed, recipe=recipe)


def curve(epochs):
    """What of each epoch does not depend on the clock."""
    return [(epoch.number, epoch.score, epoch.metrics) for epoch in epochs]


@pytest.mark.parametrize(
    ("changes", "progress", "expected"),
    [
        ({"schedule": "constant"}, 0.0, 0.4),
        ({"schedule": "constant"}, 0.99, 0.4),
        ({"schedule": "one-cycle"}, 0.0, 0.04),
        ({"schedule": "one-cycle"}, 0.125, 0.22),
        ({"schedule": "one-cycle"}, 0.25, 0.4),
        ({"schedule": "one-cycle"}, 0.625, 0.2),
        ({"schedule": "one-cycle"}, 1.0, 0.0),
        ({"schedule": "falling"}, 0.0, 0.4),
        ({"schedule": "falling"}, 0.75, 0.1),
        ({"schedule": "constant", "optimizer": "adamw"}, 0.5, 0.004),
        ({"schedule": "one-cycle", "optimizer": "adamw"}, 0.25, 0.004),
    ],
)
def test_the_learning_rate_is_constant_falling_or_one_cycle_and_a_hundredth_for_adamw(changes, progress, expected):
    assert learning_rate(config(lr=0.4, **changes), progress) == pytest.approx(expected)


def test_a_network_learns_the_digits(digits):
    train, score = digits
    learned = config(norm="batch", filters=8, hidden=16, lr=0.02, standardize=True)
    epochs = list(training(learned, train, n_epochs=5, score=score).epochs())
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5]
    assert epochs[-1].metrics["train_loss"] < 0.7 * epochs[0].metrics["train_loss"]
    assert epochs[-1].score > 0.8
    assert all(epoch.images_per_second > 0 and epoch.seconds > 0 for epoch in epochs)


@pytest.mark.parametrize("tta", [False, True])
def test_scores_are_those_of_a_plain_loop_with_dropout_off(digits, tta):
    """With test-time augmentation: the mean of those of the images and of their mirror images."""
    train, score = digits
    run = training(config(dropout=0.9, filters=8, standardize=True, tta=tta), train, score=score)
    run.dtype = torch.float32
    epoch = list(run.epochs())[-1]
    net, logits = run.scored.eval(), []
    with torch.no_grad():
        for start in range(0, 100, 7):
            images = score.pixels[score.chosen[start : start + 7]].permute(0, 3, 1, 2)
            inputs = images * run.scale.factor + run.scale.offset
            logits.append((net(inputs) + net(inputs.flip(3))) / 2 if tta else net(inputs))
    logits, labels = torch.cat(logits), score.labels[score.chosen]
    torch.testing.assert_close(run.logits, logits, rtol=1e-4, atol=1e-4)
    assert epoch.score == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert epoch.metrics["score_loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)


@pytest.mark.parametrize(
    ("version", "in_two_views", "in_six_views"), [(4, [3], [3]), (3, [1, 2, 3], [3]), (2, [1, 2, 3], [1, 2, 3])]
)
def test_views_are_scored_after_the_last_epoch_and_after_the_others_as_the_recipe_says(
    digits, version, in_two_views, in_six_views
):
    train, score = digits

    def losses(tta):
        run = training(config(filters=8, tta=tta), train, n_epochs=3, score=score, recipe=RECIPES[version])
        return [epoch.metrics["score_loss"] for epoch in run.epochs()]

    one, two, six = losses(False), losses(True), losses("shifted")
    assert [epoch for epoch in (1, 2, 3) if two[epoch - 1] != one[epoch - 1]] == in_two_views
    assert [epoch for epoch in (1, 2, 3) if six[epoch - 1] != two[epoch - 1]] == in_six_views


def test_tutorials_recipe_is_plain_sgd_with_momentum_at_a_constant_rate():
    """Against the loop that the tutorial writes, on a narrower network and without dropout, whose masks are random."""
    images = noise(128)
    narrow = TUTORIAL.model_copy(update={"filters": 8, "hidden": 32, "dropout": 0.0})
    run = training(narrow, images, n_epochs=2, seed=3)
    run.dtype = torch.float32
    net = copy.deepcopy(run.net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    scale = Scale.of(images, standardize=False)
    for epoch in run.epochs():
        total = 0.0
        net.train()
        for inputs, labels in training_batches(images, narrow, scale, epoch.number, seed=3):
            assert len(labels) == 32
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(net(inputs.contiguous()), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        assert epoch.metrics["train_loss"] == pytest.approx(total / 128, rel=1e-5)
        inputs, labels = next(scoring_batches(images, scale, 128))
        assert epoch.metrics["score_loss"] == pytest.approx(
            nn.functional.cross_entropy(net.eval()(inputs), labels).item(), rel=1e-5
        )
    for ours, theirs in zip(run.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


MUON = config(optimizer="muon", momentum=0.6, schedule="falling", norm="batch", norm_scale=False, hidden=8, batch_size=16)


@pytest.mark.parametrize(
    "configuration",
    [PLAIN, EVERYTHING, config(optimizer="adamw", weight_decay=0.01, dropout=0.5), config(norm="group", hidden=8, lr=0.01), MUON],
    ids=["plain", "everything", "adamw", "hidden", "muon"],
)
@pytest.mark.parametrize("stopped_after", [1, 2])
def test_going_on_from_a_state_is_bitwise_what_would_have_come_without_the_stop(configuration, stopped_after):
    whole = training(configuration, seed=11)
    expected = curve(whole.epochs())

    first = training(configuration, seed=11)
    got = curve(epoch for _, epoch in zip(range(stopped_after), first.epochs(), strict=False))
    state = copy.deepcopy(first.state())
    torch.manual_seed(99)  # another process: nothing of the first is left
    second = training(configuration, seed=11)
    second.restore(state)
    got += curve(second.epochs())

    assert got == expected
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(second.net.state_dict()[name], tensor), name
    assert torch.equal(second.logits, whole.logits)


def test_a_batch_size_of_0_trains_as_the_number_that_it_stands_for():
    by_number = training(MUON.model_copy(update={"batch_size": 0}), seed=3)
    written = training(MUON.model_copy(update={"batch_size": 128}), seed=3)
    assert by_number.config == written.config
    assert curve(by_number.epochs()) == curve(written.epochs())


def test_another_seed_is_another_training():
    assert curve(training(EVERYTHING, seed=1).epochs()) != curve(training(EVERYTHING, seed=2).epochs())


def test_a_training_that_is_done_yields_nothing_more():
    run = training(PLAIN, n_epochs=1)
    assert len(list(run.epochs())) == 1
    assert list(run.epochs()) == []


@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_one_range_of_weight_decay_serves_both_optimizers(schedule):
    """By how much decay alone shrinks weights over a training, at the default momentum: SGD's rate counts tenfold."""
    kept = {}
    for optimizer, momentum in (("sgd", 0.9), ("adamw", 0.0)):
        run = training(config(optimizer=optimizer, lr=0.2, weight_decay=5e-4, schedule=schedule))
        decay = run.optimizer.param_groups[0]["weight_decay"]
        rates = [learning_rate(run.config, step / 1000) for step in range(1000)]
        kept[optimizer] = math.prod(1 - rate * decay / (1 - momentum) for rate in rates)
    assert kept["sgd"] == pytest.approx(kept["adamw"])
    assert kept["sgd"] < 0.7


def test_recipe_1_left_adamws_decay_as_it_was():
    run = training(config(optimizer="adamw", weight_decay=0.1), recipe=RECIPES[1])
    assert run.optimizer.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize(
    ("version", "rates", "updates"),
    [(2, [0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6], 4), (1, [0, 1 / 8, 1 / 4, 1 / 2, 5 / 8, 3 / 4], 2)],
)
def test_an_image_that_joins_the_last_batch_is_no_step_of_its_own(version, rates, updates):
    """With 97 images in batches of 32 an epoch has three steps. Recipe 1 counted four: no average of the last weights."""

    class Watched(Training):
        def _step(self, inputs, labels):
            seen.append(self.optimizer.param_groups[0]["lr"])
            return super()._step(inputs, labels)

    seen: list[float] = []
    images = noise(97)
    run = Watched(config(averaging=0.1, schedule="one-cycle"), images, images, 10, 2, 0, RECIPES[version])
    list(run.epochs())
    assert seen == pytest.approx([learning_rate(run.config, progress) for progress in rates])
    assert run.average.n_averaged == updates
    assert run.steps == (6 if version == 2 else 8)


@pytest.mark.parametrize(("version", "classes"), [(2, set(range(10))), (1, set(range(6)))])
def test_the_stem_sees_images_of_every_class_whatever_their_order(monkeypatch, version, classes):
    """Of 9,000 images sorted by class, recipe 1 took the first 5,000."""
    monkeypatch.setattr("hpo.training.train.WHITENED", 50)
    images = noise(90)
    images.labels.copy_(torch.arange(90) // 9)
    seen = []
    monkeypatch.setattr("hpo.networks.layers.Whiten.fit", lambda _, batches: seen.extend(len(inputs) for inputs in batches))
    monkeypatch.setattr(
        "hpo.training.train.scoring_batches",
        lambda chosen, *_: iter([(chosen.pixels[chosen.chosen], labels.extend(chosen.labels[chosen.chosen].tolist()))]),
    )
    labels: list[int] = []
    training(config(stem="whiten"), images, recipe=RECIPES[version])
    assert set(labels) == classes
    assert seen == [len(labels)] == [50]


def test_few_images_are_all_seen_by_the_stem_in_every_recipe():
    first, *others = (training(config(stem="whiten"), recipe=recipe).net.stem[0].weight for recipe in RECIPES.values())
    assert all(torch.equal(first, other) for other in others)


def test_weight_decay_shrinks_weights_and_leaves_biases_and_norms_alone():
    groups = training(config(norm="batch", hidden=8, weight_decay=0.1)).optimizer.param_groups
    assert [(group["weight_decay"], {p.dim() for p in group["params"]}) for group in groups] == [(0.1, {2, 4}), (0.0, {1})]


def test_a_last_batch_of_one_image_does_not_stop_a_deep_network():
    deep = config(depth=4, stem="whiten", norm="batch", pool="early")  # one pixel is left behind the last maximum
    assert len(list(training(deep, noise(33), n_epochs=1).epochs())) == 1


def test_a_loss_that_is_not_finite_is_told():
    with pytest.raises(DivergedError):
        list(training(config(lr=100.0, weight_decay=1.0, hidden=8), n_epochs=20).epochs())  # decay multiplies weights by -99


def test_signs_of_life_come_with_the_share_that_is_done(monkeypatch):
    monkeypatch.setattr("hpo.training.train.TICK", 0.0)
    ticks = []
    list(training(PLAIN, n_epochs=2).epochs(lambda *tick: ticks.append(tick)))
    assert [(number, fraction) for number, fraction, _ in ticks] == [(e, pytest.approx(f / 3)) for e in (1, 2) for f in (1, 2, 3)]
    assert all(speed > 0 for _, _, speed in ticks)


@pytest.mark.parametrize(
    ("has", "maker", "expected"),
    [
        ({"amx_tile", "avx512_bf16"}, "GenuineIntel", torch.bfloat16),
        ({"avx512_bf16"}, "GenuineIntel", torch.float32),  # its AVX-512 multiplies bfloat16 no faster, and converting costs
        ({"avx512_bf16"}, "AuthenticAMD", torch.bfloat16),
        ({"avx512_bf16"}, None, torch.bfloat16),
        (set(), "AuthenticAMD", torch.float32),
    ],
)
def test_a_processor_multiplies_in_bfloat16_only_where_that_is_faster(monkeypatch, tmp_path, has, maker, expected):
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name in has, raising=False)
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(device.platform, "processor", lambda: "x86_64")
    if maker:
        device.CPU_INFO.write_text(f"processor\t: 0\nvendor_id\t: {maker}\n")
    device._by_intel.cache_clear()
    assert fast_dtype(torch.device("cpu")) == expected
    device._by_intel.cache_clear()


def test_scored_weights_are_the_running_average_of_every_fifth_steps_and_of_an_epochs_last(digits):
    train, score = digits

    class Watched(Training):
        def _step(self, inputs, labels):
            loss = super()._step(inputs, labels)
            seen.append({name: tensor.clone() for name, tensor in self.net.state_dict().items()})
            return loss

    seen: list[dict[str, torch.Tensor]] = []
    run = Watched(config(averaging=0.2, lr=0.5, filters=4, batch_size=10), train, score, 10, 2, 3)
    list(run.epochs())
    per_epoch = len(seen) // 2
    chosen = [seen[i] for i in range(len(seen)) if i % per_epoch % 5 == 0 or i % per_epoch == per_epoch - 1]
    horizon = 0.2 * len(seen) / 5
    assert 9 / (9 + len(chosen)) < 1 / horizon < 9 / 11  # both the young average and the settled one are seen
    expected = {name: tensor.double() for name, tensor in chosen[0].items()}
    for n, weights in enumerate(chosen[1:], 1):
        for name, tensor in weights.items():
            expected[name] += max(1 / horizon, 9 / (10 + n)) * (tensor.double() - expected[name])
    for name, tensor in run.scored.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-3, atol=1e-4)
        else:  # batches seen
            assert torch.equal(tensor, seen[-1][name])
    assert any(not torch.equal(a, b) for a, b in zip(run.scored.parameters(), run.net.parameters(), strict=True))


def test_without_averaging_the_weights_themselves_are_scored(digits):
    run = training(config(averaging=0.0), digits[0], score=digits[1])
    assert run.scored is run.net


def test_a_training_does_not_load_torchs_compiler():
    code = """
import itertools
import sys
from tiny import noise
from hpo.builtin.convnet import OBJECTIVE, Config
from hpo.networks.model import measure
from hpo.training.train import Training
for space, optimizer in itertools.product(("basic", "tutorial", "wide"), ("sgd", "adamw")):
    config = Config(**OBJECTIVE.space(space).point() | {"filters": 4, "hidden": 0, "optimizer": optimizer})
    measure(config, 10)
    one, other = (Training(config, noise(64), noise(64), 10, 2, 0) for _ in range(2))
    next(one.epochs())
    other.restore(one.state())
    next(other.epochs())
print(*[name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimizer_without_torchs_decorations_steps_as_torchs_own(kind):
    nets = [ConvNet(config(norm="batch"), 10) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    changes = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "optimizer": kind.__name__.lower()}
    ours = make_optimizer(nets[0], config(**changes), torch.device("cpu"), RECIPES[1])
    groups = [
        {"params": [p for p in nets[1].parameters() if (p.dim() > 1) == decays], "weight_decay": 0.01 * decays}
        for decays in (True, False)
    ]
    more = {"momentum": 0.9, "nesterov": True, "lr": 0.05} if kind is torch.optim.SGD else {"betas": (0.9, 0.999), "lr": 0.0005}
    theirs = kind(groups, fused=True, **more)
    for seed in range(4):
        images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        for net, optimizer in zip(nets, (ours, theirs), strict=True):
            nn.functional.cross_entropy(net(images), torch.arange(8)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if seed == 1:  # both go on from their states
            ours.load_state_dict(copy.deepcopy(ours.state_dict()))
    for mine, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(mine, other)


def test_class_weights_weigh_an_image_by_the_rarity_of_its_class_and_are_one_on_average():
    images = noise(100, n_classes=2)
    images.labels[:] = torch.tensor([0] * 80 + [1] * 20)
    whole, half, none = (training(config(class_weights=power), images)._loss.weights for power in (1.0, 0.5, 0.0))
    assert none is None
    assert whole[:2].tolist() == pytest.approx([100 / (2 * 80), 100 / (2 * 20)])  # as scikit-learn's "balanced"
    assert (half[1] / half[0]).item() == pytest.approx(2)  # the root of four times as rare
    for weights in (whole, half):
        assert weights[images.labels].mean().item() == pytest.approx(1)


def test_equally_frequent_classes_weigh_the_same():
    images = noise(100)
    images.labels[:] = torch.arange(100) % 10
    plain, weighted = (curve(training(config(class_weights=power), images).epochs()) for power in (0.0, 1.0))
    for (_, score, metrics), (_, same, others) in zip(plain, weighted, strict=True):
        assert score == pytest.approx(same, abs=0.011)
        assert metrics == pytest.approx(others, rel=1e-3)


def test_the_weighted_loss_is_that_of_images_counted_as_often_as_they_weigh():
    loss = Loss(0.1, torch.tensor([1.0, 3.0] + [0.0] * 8))
    logits, labels = torch.randn(8, 10), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1])
    often = labels.repeat_interleave(torch.where(labels == 1, 3, 1))
    repeated = logits.repeat_interleave(torch.where(labels == 1, 3, 1), 0)
    expected = nn.functional.cross_entropy(repeated, often, label_smoothing=0.1, reduction="sum") / 8
    assert loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_trainings_in_threads_beside_each_other_come_out_as_alone(digits):
    """Bit for bit: initial weights, masks and batches of one draw nothing from what another draws from."""
    train, score = digits
    configured = [EVERYTHING, config(dropout=0.5, filters=6), config(dropout=0.3, norm="batch", averaging=0.2)]

    def trained(index):
        run = training(configured[index], train, n_epochs=2, seed=index, score=score)
        epochs = curve(run.epochs(lambda *_: torch.rand(3)))
        return epochs, [tensor.clone() for tensor in run.scored.state_dict().values()]

    alone = [trained(index) for index in range(3)]
    torch.rand(7)
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(trained, range(3)))
    for (epochs, weights), (expected, before) in zip(together, alone, strict=True):
        assert epochs == expected
        assert all(map(torch.equal, weights, before))
