import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TUTORIAL, config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hpo.builtin.convnet import OBJECTIVE, PHOTOGRAPHS, PRESETS, Config
from hpo.builtin.recipe import RECIPES
from hpo.errors import SpaceError
from hpo.networks.layers import Dropout, FlattenLast, Residual, Whiten
from hpo.networks.model import ConvNet, measure
from hpo.parameters import Choices, IntRange


def written_out():
    """The tutorial's network as the tutorial writes it."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8192, 512),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(512, 10),
    )


def copy_weights(source, target):
    """Copy the tutorial's weights (or gradients) into a ConvNet; its first linear layer counts (H, W, C), not (C, H, W)."""
    with torch.no_grad():
        for theirs, ours in zip(source, target, strict=True):
            ours.copy_(theirs.view(-1, 32, 16, 16).permute(0, 2, 3, 1).flatten(1) if theirs.shape[1:] == (8192,) else theirs)


def test_tutorials_default_point_is_the_tutorials_network_weight_for_weight():
    theirs, ours = written_out().double().eval(), ConvNet(TUTORIAL, 10).double().eval()
    copy_weights(theirs.parameters(), ours.parameters())
    images, labels = torch.rand(4, 3, 32, 32, dtype=torch.double), torch.tensor([1, 2, 3, 4])
    expected, got = theirs(images), ours(images)
    torch.testing.assert_close(got, expected)
    for logits in (expected, got):
        nn.functional.cross_entropy(logits, labels).backward()
    gradients = [torch.empty_like(p) for p in ours.parameters()]
    copy_weights([p.grad for p in theirs.parameters()], gradients)
    for parameter, gradient in zip(ours.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_tutorials_dropout_rates_are_the_tutorials_to_a_256th():
    rates = [module.threshold / 256 for module in ConvNet(TUTORIAL, 10).modules() if isinstance(module, Dropout)]
    assert rates == pytest.approx([0.3, 0.5], abs=1 / 256)


def test_tutorials_network_has_the_size_that_is_written_down():
    size = measure(TUTORIAL, 10)
    assert size.n_parameters == sum(p.numel() for p in written_out().parameters()) == 4_210_090
    assert size.macs == 32 * 32 * 9 * (3 * 32 + 32 * 32) + 8192 * 512 + 5120 == 14_521_344


def counted(net, edge=32):
    """Parameters and activation bytes of a built network, by what goes through it; multiply-adds as torch counts them."""
    outputs = 0

    def count(module, _, output):
        nonlocal outputs
        outputs += 0 if isinstance(module, nn.Identity) else output[0].numel()

    for module in net.modules():
        if not list(module.children()) or isinstance(module, Residual):
            module.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = net.eval()(torch.rand(2, 3, edge, edge))
    assert logits.isfinite().all()
    return sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2 // 2, 4 * outputs


def points(name):
    """Points of a preset, with few filters."""
    varied = OBJECTIVE.space(name).varied
    strategies = {key: value(parameter) for key, parameter in varied.items()} | {"filters": st.integers(1, 6)}
    return st.fixed_dictionaries(strategies)


def value(parameter):
    match parameter:
        case Choices():
            return st.sampled_from(parameter.choices)
        case IntRange():
            return st.integers(parameter.low, parameter.high)
        case _:
            return st.floats(parameter.low, parameter.high)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_point_of_a_preset_builds_and_costs_what_is_counted_without_building_it(preset):
    base, edge = OBJECTIVE.space(preset).point(), PHOTOGRAPHS if preset == "photos" else 32

    @settings(max_examples=20)
    @given(points(preset))
    def check(point):
        configuration = Config(**base | point | {"hidden": min(base["hidden"], 8)})
        size = measure(configuration, 10, edge=edge)
        assert size[:3] == counted(ConvNet(configuration, 10, edge=edge), edge)
        assert size.n_parameters == sum(layer.parameters for layer in size.layers)
        assert size.macs == sum(layer.macs for layer in size.layers)

    check()


@pytest.mark.parametrize(
    ("filters", "growth", "widths"),
    [
        (32, 2.0, [32, 64, 128]),
        (32, 1.7, [32, 56, 96]),
        (24, 1.0, [24, 24, 24]),
        (16, 1.3, [16, 24, 24]),
        (8, 0.25, [8, 8, 8]),
        (12, 1.5, [12, 16, 28]),  # as many channels as the first block's allow
        (5, 1.5, [5, 8, 11]),
    ],
)
def test_blocks_grow_in_eights_so_that_group_norm_has_groups(filters, growth, widths):
    net = ConvNet(config(depth=3, filters=filters, growth=growth, norm="group"), 10)
    norms = [module for module in net.modules() if isinstance(module, nn.GroupNorm)]
    assert [norm.num_channels for norm in norms[::2]] == widths
    assert {norm.num_groups for norm in norms} == {math.gcd(8, width) for width in widths}
    assert all(norm.num_groups >= math.gcd(8, filters) for norm in norms)


def test_every_group_norm_of_wide_has_eight_groups():
    space = OBJECTIVE.space("wide")
    filters, growth = space.varied["filters"], space.varied["growth"]
    for width in range(filters.low, filters.high + 1, filters.step):
        for factor in (growth.low, 1.37, 1.7, 2.21, growth.high):
            net = ConvNet(Config(norm="group", depth=4, filters=width, growth=factor), 10)
            assert {module.num_groups for module in net.modules() if isinstance(module, nn.GroupNorm)} == {8}


def test_recipe_1_took_any_number_of_filters():
    net = ConvNet(config(depth=3, filters=32, growth=1.7), 10, recipe=RECIPES[1])
    assert [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)][::2] == [32, 54, 92]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_default_networks_are_the_same_in_every_recipe(preset):
    default = Config(**OBJECTIVE.space(preset).point())
    assert len({measure(default, 10, recipe=recipe) for recipe in RECIPES.values()}) == 1


def test_no_block_is_wider_than_the_widest_but_the_first():
    def widths(**knobs):
        net = ConvNet(config(depth=3, growth=4.0, **knobs), 10)
        return [module.out_channels for module in net.modules() if isinstance(module, nn.Conv2d)][::2]

    assert widths(filters=16, widest=64) == [16, 64, 64]
    assert widths(filters=16, widest=8) == [16, 16, 16]
    assert widths(filters=16, widest=0) == [16, 64, 256]


def test_a_third_convolution_is_added_to_what_the_block_made_of_two():
    net = ConvNet(config(convolutions=3, norm="batch"), 10).eval()
    residual = next(module for module in net.modules() if isinstance(module, Residual))
    images = torch.rand(2, residual[0].in_channels, 4, 4)
    assert torch.equal(residual(images), images + residual[1](residual[0](images)))
    size = measure(config(convolutions=3, norm="batch"), 10)
    assert size[:3] == counted(net)
    assert [layer.parameters for layer in size.layers if layer.kind == "Residual"] == [0]


def test_a_convolution_that_starts_as_the_identity_passes_its_input_on():
    net = ConvNet(config(start="identity", filters=8, stem="none"), 10)
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    images = torch.rand(2, 3, 8, 8)
    assert torch.allclose(first(images)[:, :3], images + (0 if first.bias is None else first.bias[:3].view(-1, 1, 1)))


def test_norms_without_trained_scales_have_ones_and_learn_their_biases():
    net = ConvNet(config(norm="batch", norm_scale=False), 10)
    nn.functional.cross_entropy(net(torch.rand(8, 3, 32, 32)), torch.arange(8)).backward()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert norm.weight.grad is None
        assert norm.bias.grad.any()


def test_measuring_allocates_nothing():
    assert measure(Config(filters=2048, depth=4, growth=8.0), 10).n_parameters > 10**13  # 45 TB of weights


@pytest.mark.parametrize(
    ("depth", "stem", "edge", "width"),
    [(6, "none", 32, 1), (5, "whiten", 32, 1), (4, "none", 8, 1), (7, "none", 128, 1)],
)
def test_a_network_that_is_too_deep_for_its_images_is_refused_with_the_reason(depth, stem, edge, width):
    with pytest.raises(SpaceError, match=rf"depth = {depth}: after {depth - 1} blocks the image is {width} pixel wide"):
        ConvNet(config(depth=depth, stem=stem), 10, edge=edge)
    ConvNet(config(depth=depth - 1, stem=stem), 10, edge=edge)


def test_taking_the_maximum_before_a_relu_is_taking_it_after():
    images = torch.randn(4, 3, 8, 8)
    before, after = (nn.Sequential(*layers) for layers in itertools.permutations([nn.MaxPool2d(2), nn.ReLU()]))
    assert torch.equal(before(images), after(images))


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("pool", ["early", "late"])
def test_every_kind_of_network_learns_in_every_layer(norm, pool):
    net = ConvNet(config(norm=norm, pool=pool, depth=2, dropout=0.2, stem="whiten"), 10)
    nn.functional.cross_entropy(net(torch.rand(8, 3, 32, 32)), torch.arange(8)).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == ["stem.0.weight"]  # frozen


def test_flatten_last_needs_no_copy_of_channels_last():
    images = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    flat = FlattenLast()(images)
    assert flat.data_ptr() == images.data_ptr()
    assert torch.equal(flat[1], images[1].permute(1, 2, 0).flatten())


# -- dropout -----------------------------------------------------------------------------------------------------------

SHAPES = [(64, 512), (7, 13), (32, 24, 16, 16)]


@pytest.mark.parametrize("rate", [0.03, 0.3, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("layer", [Dropout, nn.Dropout])
def test_masks_are_independent_draws_at_the_rate_as_torchs_own_are(layer, rate):
    torch.manual_seed(0)
    mask = layer(rate)(torch.ones(1_000_003)) == 0
    p = round(rate * 256) / 256 if layer is Dropout else rate
    n = len(mask)
    assert mask.float().mean().item() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n))
    for lag in (1, 2, 3, 4, 7, 8, 16, 512):  # eight masks share a random number
        both = (mask[lag:] & mask[:-lag]).float().mean().item()
        assert both == pytest.approx(p * p, abs=5 * math.sqrt(p * p * (1 - p * p) / n))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_dropout_keeps_is_scaled_so_that_the_expectation_stays(shape):
    torch.manual_seed(0)
    dropout = Dropout(0.3)
    kept = 1 - dropout.threshold / 256
    dropped = dropout(torch.ones(shape))
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / kept)]
    many = torch.stack([dropout(torch.ones(7, 13)) for _ in range(2000)]).mean(0)
    torch.testing.assert_close(many, torch.ones(7, 13), atol=5 * math.sqrt((1 - kept) / kept / 2000), rtol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dropout_keeps_the_memory_layout_and_zeroes_gradients_where_it_zeroed_values(layout):
    images = torch.rand(4, 8, 6, 6).to(memory_format=layout).add_(1).requires_grad_()
    dropped = Dropout(0.5)(images)
    dropped.sum().backward()
    assert dropped.is_contiguous(memory_format=layout)
    assert torch.equal(images.grad == 0, dropped == 0)


def test_dropout_draws_a_new_mask_each_time_and_the_same_after_the_same_seed():
    dropout, ones = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(7)
    first, second = dropout(ones), dropout(ones)
    torch.manual_seed(7)
    assert not torch.equal(first, second)
    assert torch.equal(first, dropout(ones))


def test_dropout_is_off_when_scoring():
    ones = torch.ones(1000)
    assert Dropout(0.5).eval()(ones) is ones


# -- whitening ---------------------------------------------------------------------------------------------------------


def smooth_images(n=200):
    """Images whose neighbouring pixels and channels are alike, with some noise."""
    torch.manual_seed(0)
    coarse = torch.randn(n, 1, 5, 5) * torch.tensor([3.0, 2.0, 1.0]).view(1, 3, 1, 1)
    return nn.functional.interpolate(coarse, size=(20, 20), mode="bilinear") + torch.randn(n, 3, 20, 20)


def test_whitened_patches_have_unit_covariance_and_each_direction_its_negative():
    images, whiten = smooth_images(), Whiten(3)
    whiten.fit([images])
    outputs = whiten(images).permute(1, 0, 2, 3).flatten(1).double()  # (24, patches)
    covariance = outputs @ outputs.T / outputs.shape[1]
    for half in (covariance[:12, :12], covariance[12:, 12:]):
        torch.testing.assert_close(half, torch.eye(12, dtype=torch.double), atol=0.01, rtol=0)
    assert torch.equal(whiten.weight[:12], -whiten.weight[12:])


def test_whitening_loses_no_direction_whose_components_add_up_to_nothing():
    board, whiten = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]), Whiten(1)
    whiten.fit([board, board.flip(3)])  # mirrored, as with --flip: their patches differ along (1, -1, -1, 1)
    assert whiten.weight.flatten(1).norm(dim=1).min() > 0.5


def test_whitening_of_grey_and_of_blank_images_is_finite():
    grey = smooth_images()[:, :1].expand(-1, 3, -1, -1)
    for images in (grey, torch.zeros(4, 3, 8, 8)):
        whiten = Whiten(3)
        whiten.fit([images])
        assert whiten.weight.isfinite().all()


def test_whitening_is_frozen():
    assert [name for name, p in ConvNet(Config(), 10).named_parameters() if not p.requires_grad] == ["stem.0.weight"]


@pytest.mark.parametrize("stem", ["whiten", "none"])
@pytest.mark.parametrize(
    ("edge", "first"), [(8, 8), (32, 32), (64, 64), (65, 32), (100, 50), (128, 64), (150, 37), (224, 56), (512, 64)]
)
def test_blocks_of_photographs_begin_at_64_pixels_or_fewer_and_cost_what_is_counted(edge, first, stem):
    configuration = Config(depth=2, filters=4, stem=stem)
    net = ConvNet(configuration, 5, edge=edge)
    with torch.no_grad():
        reached = net.stem(torch.rand(1, 3, edge, edge)).shape[-1]
    assert reached == (first - 1 if stem == "whiten" and edge <= 64 else first)
    assert measure(configuration, 5, edge=edge)[:3] == counted(net, edge)


@pytest.mark.parametrize(("patch", "directions"), [(1, 12), (2, 12), (4, 48), (8, 48)])
def test_patches_that_do_not_overlap_are_whitened_too(patch, directions):
    smooth = torch.nn.functional.interpolate(
        torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)), size=64, mode="bilinear"
    )
    whiten = Whiten(3, patch)
    whiten.fit([smooth + 0.3 * torch.rand(smooth.shape, generator=torch.Generator().manual_seed(1))])
    outputs = whiten(smooth + 0.3 * torch.rand(smooth.shape, generator=torch.Generator().manual_seed(1)))
    assert outputs.shape[1] == 2 * directions
    flat = outputs[:, :directions].permute(0, 2, 3, 1).reshape(-1, directions)
    products = flat.T @ flat / len(flat)
    off = products - torch.diag(products.diagonal())
    assert off.abs().max() < 0.02
    assert 0.5 < products.diagonal().min() <= products.diagonal().max() < 1.01
