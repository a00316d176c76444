import re
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tiny import PLAIN, TUTORIAL, config

from hpo.builtin.convnet import OBJECTIVE, PHOTOGRAPHS, PRESETS, Config
from hpo.builtin.recipe import RECIPES
from hpo.data.pictures.picture import decode
from hpo.exporting.source import model_source, predict_source
from hpo.networks.model import ConvNet
from hpo.networks.stored import Description, Images
from hpo.networks.views import mean, views_of

NAMES = ["plain cat", 'a "quoted" dog', "it's", "back\\slash", "{braces}", "naïve", "line\nbreak", "8", "9", "10"]


def about(size=32, *, tta=False, grey=False):
    images = Images(size=size, channels=3, grey=grey, fit="pad", factor=(0.0158, 0.0161, 0.0149), offset=(-1.99, -1.95, -1.7))
    return Description(point={}, classes=tuple(NAMES), images=images, mirrored=bool(tta), shifted=tta == "shifted")


def shaken(net):
    """Give a network weights, and norms statistics, that are nothing special."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(drawn + 0.5 if name.endswith("running_var") else (drawn - 0.5) / max(1, tensor[0].numel()) ** 0.5)
    return net.eval()


def made(text):
    """The network of a model.py's text."""
    scope = {"__file__": "model.py", "__name__": "model"}
    exec(compile(text, "model.py", "exec"), scope)
    return scope["Net"](), scope


@torch.inference_mode()
def check(configuration, edge=32, recipe=RECIPES[2], *, tta=False):
    net = shaken(ConvNet(configuration, len(NAMES), 3, edge, recipe))
    described = about(edge, tta=tta)
    plain, scope = made(model_source(net, described))
    plain.load_state_dict(net.state_dict())
    plain = plain.to(memory_format=torch.channels_last).eval()
    pixels = torch.randint(256, (5, edge, edge, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    factor, offset = (torch.tensor(values).view(1, -1, 1, 1) for values in (described.images.factor, described.images.offset))
    images = pixels.permute(0, 3, 1, 2).float().mul_(factor).add_(offset)
    expected = mean([net(view).float() for view in views_of(images, tta)])
    if tta == "shifted":
        assert torch.allclose(plain(pixels), expected, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(plain(pixels), expected)
    assert scope["CLASSES"] == NAMES
    assert (scope["SIZE"], scope["FIT"]) == (edge, "pad")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("recipe", RECIPES.values())
def test_the_written_network_computes_the_same_bits_at_every_point_of_a_preset(preset, recipe):
    space = OBJECTIVE.space(preset)

    @settings(max_examples=15)
    @given(st.data(), st.booleans())
    def drawn(data, mirrored):
        point = space.point()
        for name, parameter in space.varied.items():
            choices = getattr(parameter, "choices", None)
            if choices:
                point[name] = data.draw(st.sampled_from(choices))
            elif isinstance(parameter.low, int):
                point[name] = data.draw(st.integers(parameter.low, parameter.high))
            else:
                point[name] = data.draw(st.floats(parameter.low, parameter.high))
        point |= {"filters": 1 + int(point["filters"]) % 9, "hidden": min(int(point["hidden"]), 8)}
        check(Config(**point), PHOTOGRAPHS if preset == "photos" else 32, recipe=recipe, tta=mirrored)

    drawn()


@pytest.mark.parametrize(
    ("configuration", "edge"),
    [
        (PLAIN, 32),
        (TUTORIAL, 32),
        (config(stem="whiten", dropout=0.2), 32),
        (config(stem="whiten"), 65),
        (config(stem="whiten", norm="batch", filters=8), 224),
        (config(stem="none", norm="group", filters=12, depth=3), 96),
        (config(stem="none", pool="late", kernel=5, activation="silu"), 131),
        (config(hidden=7, dropout=0.3, activation="gelu", norm="batch"), 40),
        (config(depth=5, kernel=1, growth=1.3), 32),
        (config(dropout=0.95, hidden=3, kernel=7), 17),
        (config(convolutions=3, norm="batch", norm_scale=False, widest=24, start="identity"), 32),
    ],
)
def test_every_knob_of_the_network_is_written_out(configuration, edge):
    check(configuration, edge)
    check(configuration, edge, tta=True)
    check(configuration, edge, tta="shifted")


def test_a_person_reads_the_layers_with_the_numbers_of_this_network():
    net = ConvNet(config(depth=2, filters=24, norm="batch", stem="whiten", dropout=0.1), 10)
    text = model_source(net, about())
    for line in (
        "nn.Conv2d(3, 24, 2, bias=False),  # fixed before the training",
        "nn.Conv2d(24, 24, 3, padding=1, bias=False),",
        "nn.Conv2d(24, 48, 3, padding=1, bias=False),",
        "nn.MaxPool2d(2),",
        "nn.BatchNorm2d(48, momentum=0.4),",
        "nn.Linear(48, 10, bias=False),",
        "Multiply(1 / 9),",
        "return self.head(self.blocks(self.stem(images)))",
    ):
        assert line in text
    assert "class FlattenLast" not in text  # only what this network uses
    assert "hpo" not in text
    assert max(map(len, text.splitlines())) <= 130


def test_the_file_imports_torch_and_safetensors_and_nothing_else():
    text = model_source(ConvNet(TUTORIAL, 10), about())
    imported = {match[1] for match in re.finditer(r"^(?:from|import) (\w+)", text, re.MULTILINE)}
    assert imported - set(sys.stdlib_module_names) == {"torch", "safetensors"}


@torch.inference_mode()
def test_a_network_of_grey_pictures_sees_grey_ones_as_pillow_makes_them():
    plain, _ = made(model_source(shaken(ConvNet(PLAIN, 10)), about(grey=True)))
    pixels = torch.randint(256, (3, 32, 32, 3), dtype=torch.uint8)
    grey = [Image.fromarray(picture.numpy()).convert("L").convert("RGB") for picture in pixels]
    assert torch.equal(plain(pixels), plain(torch.from_numpy(np.stack(grey))))


@pytest.mark.parametrize("grey", [False, True])
def test_the_files_are_formatted_as_a_person_keeps_them(tmp_path, grey):
    (tmp_path / "model.py").write_text(model_source(ConvNet(config(hidden=5, dropout=0.3), 10), about(grey=grey)))
    (tmp_path / "predict.py").write_text(predict_source())
    ruff = [sys.executable, "-m", "ruff"]
    for words in (["format", "--check"], ["check", "--select", "E,F,I,W,UP,B,C90"]):
        done = subprocess.run(
            [*ruff, *words, "--isolated", "--line-length", "130", str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exchanged():
    """A colour profile in which red is blue."""
    (n,) = struct.unpack_from(">I", SRGB, 128)
    at = {name: (place, size) for name, place, size in (struct.unpack_from(">4sII", SRGB, 132 + 12 * i) for i in range(n))}
    (red, size), (blue, _) = at[b"rXYZ"], at[b"bXYZ"]
    made = bytearray(SRGB)
    made[red : red + size], made[blue : blue + size] = SRGB[blue : blue + size], SRGB[red : red + size]
    return bytes(made)


def pictures(folder):
    """Files of many kinds, as people have them."""
    random = np.random.default_rng(0)
    colours = Image.fromarray(random.integers(0, 256, (50, 41, 3), dtype=np.uint8)).resize((200, 160))
    alpha = colours.copy()
    alpha.putalpha(Image.fromarray(random.integers(0, 256, (50, 41), dtype=np.uint8)).resize(colours.size))
    turned = Image.Exif()
    turned[0x0112] = 6
    grey = colours.convert("L")
    profiles = {"exchanged": exchanged(), "srgb": SRGB, "broken": b"nonsense"}
    colours.save(folder / "plain.png")
    colours.resize((32, 32)).save(folder / "square.png")
    colours.resize((1600, 1100)).save(folder / "large.jpg", exif=turned)
    colours.convert("CMYK").save(folder / "cmyk.jpg")
    grey.save(folder / "grey.bmp")
    Image.fromarray(np.asarray(grey, dtype=np.uint16) * 200).save(folder / "deep.png")
    for name, profile in profiles.items():
        colours.save(folder / f"{name}.jpg", icc_profile=profile)
        alpha.save(folder / f"{name}.png", icc_profile=profile)
        colours.convert("P").save(folder / f"{name}-palette.png", icc_profile=profile)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_become_the_same_pixels_as_in_hpo(tmp_path, monkeypatch, fit):
    text = model_source(ConvNet(PLAIN, 10), about(32)).replace('FIT = "pad"', f'FIT = "{fit}"')
    model = types.ModuleType("model")
    model.__file__ = "model.py"
    exec(compile(text, "model.py", "exec"), vars(model))
    monkeypatch.setitem(sys.modules, "model", model)
    scope = {"__name__": "predict"}
    exec(compile(predict_source(), "predict.py", "exec"), scope)
    for path in pictures(tmp_path):
        assert np.array_equal(scope["pixels"](path), decode(path, 32, fit).pixels), path.name
