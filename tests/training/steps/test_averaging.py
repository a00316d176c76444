import copy

import pytest
import torch
from tiny import config, noise
from torch import nn

from hpo.builtin.recipe import RECIPES
from hpo.networks.device import scoring_batch
from hpo.training.batches import even_batches
from hpo.training.steps.averaging import recount
from hpo.training.train import Training

CPU = torch.device("cpu")


def statistics(net):
    return {key: value.clone() for key, value in net.state_dict().items() if "running" in key}


def test_statistics_are_the_mean_over_all_batches_with_dropout_off_and_the_net_is_left_as_it_was():
    norm = nn.BatchNorm1d(3, momentum=0.4)
    net = nn.Sequential(nn.Dropout(0.5), norm).eval()
    batches = [torch.randn(5, 3) + shift for shift in (0.0, 1.0, 5.0)]
    recount(net, batches)
    torch.testing.assert_close(norm.running_mean, torch.stack([batch.mean(0) for batch in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([batch.var(0) for batch in batches]).mean(0))
    assert norm.momentum == 0.4
    assert not any(module.training for module in net.modules())


def test_norms_that_are_frozen_and_norms_without_statistics_are_left_alone():
    class Frozen(nn.BatchNorm1d):
        def train(self, _mode=True):
            return super().train(mode=False)

    net = nn.Sequential(Frozen(3), nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3))
    recount(net, [torch.randn(8, 3) + 2])
    assert net[0].running_mean.tolist() == [0, 0, 0]
    assert (net[1].running_mean > 1).all()


@pytest.mark.parametrize("averaging", [0.1, 0.0])
@pytest.mark.parametrize(("version", "counted_again"), [(4, True), (3, False)])
def test_after_the_last_epoch_what_is_scored_has_statistics_of_the_training_images(averaging, version, counted_again):
    images = noise(130)
    run = Training(config(norm="batch", averaging=averaging), images, images, 10, 2, 0, RECIPES[version])
    epochs = run.epochs()
    for last in (False, True):
        next(epochs)
        before = copy.deepcopy(run.scored)
        with run._narrow():
            recount(before, even_batches(images, run.scale, scoring_batch(CPU)))
        again, running = statistics(before), statistics(run.scored)
        assert again
        assert all(torch.equal(again[key], running[key]) for key in again) == (last and counted_again)


def test_batches_are_even_where_the_last_would_be_of_one_image():
    images = noise(126)
    scale = Training(config(norm="batch"), images, images, 10, 1, 0).scale
    assert [len(inputs) for inputs in even_batches(images, scale, 125)] == [63, 63]
    assert [len(inputs) for inputs in even_batches(noise(7), scale, 125)] == [7]
