from dataclasses import replace

import pytest
import torch
from tiny import config
from torch import nn

from hpo.builtin.recipe import LATEST, RECIPES
from hpo.networks.model import ConvNet
from hpo.training.optimizers import SHARE, make_optimizer, orthogonal

CPU = torch.device("cpu")


def by_hand(matrix):
    """Newton and Schulz, as airbench's script has them."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    if matrix.size(0) > matrix.size(1):
        x = x.T
    for _ in range(3):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.size(0) > matrix.size(1) else x


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_an_orthogonalized_matrix_has_singular_values_near_one_and_the_same_directions(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = orthogonal(matrix, steps=8)
    values = torch.linalg.svdvals(made)
    assert 0.5 < values.min() <= values.max() < 1.5
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert ((left.T @ made @ right.T).diagonal() > 0.5).all()
    assert torch.allclose(orthogonal(matrix), by_hand(matrix), atol=1e-5)


def test_muon_steps_as_airbenchs_two_optimizers(monkeypatch):
    """Its losses are sums over the batch, ours are means: so its rates times the batch are ours."""
    configuration = config(
        optimizer="muon", lr=0.24, momentum=0.6, weight_decay=5e-4, norm="batch", norm_scale=False, batch_size=4
    )
    recipe = replace(LATEST, muon_batch=4)  # so that four images are a batch of its
    monkeypatch.setattr("hpo.training.optimizers.fast_dtype", lambda _: torch.float32)
    nets = [ConvNet(configuration, 10) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    ours = make_optimizer(nets[0], configuration, CPU, recipe)
    trained = [p for p in nets[1].parameters() if p.requires_grad]
    filters, rest = [p for p in trained if p.dim() == 4], [p for p in trained if p.dim() < 4]
    rates = {p: 0.24 * 4 * (0.0035 if p.dim() == 2 else 0.22) for p in rest}
    groups = [{"params": [p], "lr": rates[p], "weight_decay": 2e-6 * 4 / rates[p]} for p in rest]
    theirs, momenta = torch.optim.SGD(groups, momentum=0.85, nesterov=True), {}
    for group in ours.param_groups:
        group["lr"] = 0.24 * group.get(SHARE, 1.0)
    for seed in range(3):
        images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        for net in nets:
            net.zero_grad()
            nn.functional.cross_entropy(net(images), torch.arange(4)).backward()
        ours.step()
        theirs.step()
        with torch.no_grad():
            for p in filters:
                momenta[p] = momenta.get(p, 0) * 0.6 + p.grad
                update = p.grad + 0.6 * momenta[p]
                p.mul_(len(p) ** 0.5 / p.norm())
                p.sub_(0.24 * by_hand(update.flatten(1)).view_as(p))
    for mine, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("version", "batch", "gain"), [(3, 2000, 1), (3, 500, 2), (3, 4000, 1), (2, 500, 1)])
def test_what_is_no_convolution_keeps_its_rate_per_image_where_the_rate_falls_with_the_root_of_the_batch(version, batch, gain):
    net = ConvNet(config(norm="batch", norm_scale=False), 10)
    configuration = config(optimizer="muon", lr=0.1, batch_size=batch, weight_decay=5e-4)
    _, matrices, biases = make_optimizer(net, configuration, CPU, RECIPES[version]).param_groups
    assert [group[SHARE] / batch for group in (matrices, biases)] == [pytest.approx(rate * gain) for rate in (0.0035, 0.22)]
    for group in (matrices, biases):  # what a step takes off
        assert 0.1 * group[SHARE] * group["weight_decay"] == pytest.approx(2e-6 * batch)


def test_muon_trains_every_parameter_of_any_network_and_norms_scales_at_the_rate_of_matrices():
    net = nn.Sequential(
        nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.Conv1d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 2), nn.Embedding(3, 2)
    )
    groups = make_optimizer(net, config(optimizer="muon", lr=0.1, batch_size=10), CPU).param_groups
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in net.parameters()}
    convolutions, matrices, biases = ({id(p) for p in group["params"]} for group in groups)
    assert convolutions == {id(net[0].weight)}
    assert {id(net[1].weight), id(net[3].weight), id(net[2].weight), id(net[4].weight)} <= matrices
    assert {id(net[1].bias), id(net[4].bias)} <= biases


def test_muon_trains_a_backbone_that_has_learnt_at_its_own_rate():
    net = nn.Module()
    net.backbone, net.head, net.rate = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), 0.1
    groups = make_optimizer(net, config(optimizer="muon", lr=0.2, batch_size=100), CPU, RECIPES[2]).param_groups
    assert [(len(group["params"]), pytest.approx(group[SHARE])) for group in groups] == [
        (1, 0.1), (0, 0.1 * 0.35), (1, 0.1 * 22), (0, 1.0), (1, 0.35), (1, 22),
    ]  # fmt: skip
