import pytest
import torch
from torch.nn import functional

from hpo.networks.views import at_most, mean, views_of

IMAGES = torch.rand(3, 2, 5, 7, generator=torch.Generator().manual_seed(0))


def net(images):
    """Anything that depends on where pixels are."""
    return (images * torch.arange(images[0].numel()).view(images.shape[1:])).flatten(1)[:, ::7]


def airbench(images):
    """As its script averages six views (infer_mirror_translate)."""
    mirror = lambda inputs: 0.5 * net(inputs) + 0.5 * net(inputs.flip(-1))  # noqa: E731
    padded = functional.pad(images, (1,) * 4, "reflect")
    height, width = images.shape[2:]
    moved = [mirror(padded[:, :, :height, :width]), mirror(padded[:, :, 2:, 2:])]
    return 0.5 * mirror(images) + 0.5 * torch.stack(moved).mean(0)


def test_six_views_are_weighted_as_airbench_does():
    views = views_of(IMAGES, "shifted")
    assert len(views) == 6
    assert torch.allclose(mean([net(view) for view in views]), airbench(IMAGES), rtol=1e-5)


@pytest.mark.parametrize(("tta", "number"), [(False, 1), (True, 2), ("shifted", 6)])
def test_views_have_the_images_shape_and_the_first_is_the_image(tta, number):
    views = views_of(IMAGES, tta)
    assert [view.shape for view in views] == [IMAGES.shape] * number
    assert torch.equal(views[0], IMAGES)


@pytest.mark.parametrize("most", [1, 2, 6])
@pytest.mark.parametrize("tta", [False, True, "shifted"])
def test_at_most_so_many_views(tta, most):
    assert len(views_of(IMAGES, at_most(most, tta))) == min(most, len(views_of(IMAGES, tta)))


def test_one_view_and_two_are_averaged_to_the_bit_as_ever():
    logits = [torch.rand(4, 3) for _ in range(2)]
    assert torch.equal(mean(logits[:1]), logits[0])
    assert torch.equal(mean(logits), torch.stack(logits).mean(0))
