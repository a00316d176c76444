"""What a network costs that nobody has written down: measured with one image that passes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hpo.networks.model import Layer, Size

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def passed(net: nn.Module, channels: int, edge: int) -> tuple[Size, Tensor]:
    """Let one image pass a network as for scoring; return what it costs, and the logits.

    Multiply-adds are those of matrix products and convolutions, as torch counts them where its counter is at hand
    (it needs the compiler: a second and 77 MB); else those of convolutions and linear layers, and None where there is more.
    """
    layers: list[Layer] = []
    image = torch.zeros(1, channels, edge, edge).contiguous(memory_format=torch.channels_last)
    was_training = net.training
    with _watched(net.eval(), layers), _counter() as counter:
        logits = net(image)
    net.train(was_training)
    counted = _by_module(counter) if counter else None
    if counted is not None:
        layers = [layer._replace(macs=counted.get(f"{type(net).__name__}.{layer.name}".rstrip("."), 0)) for layer in layers]
    layers = [_without_parts(layer, layers) for layer in layers]
    n_parameters = sum(p.numel() for p in net.parameters())
    macs = counted["Global"] if counted is not None else _told(net, layers)
    return Size(n_parameters, macs, 4 * sum(_volume(layer) for layer in layers), tuple(layers)), logits


@contextmanager
def _watched(net: nn.Module, layers: list[Layer]) -> Iterator[None]:
    """Note each layer that is passed, once: those that consist of no others, and those with parameters of their own."""
    names = {module: name for name, module in net.named_modules()}
    seen: set[nn.Module] = set()

    def note(module: nn.Module, _given: object, output: object) -> None:
        output = output[0] if isinstance(output, tuple) and output else output
        if module in seen or not isinstance(output, Tensor):
            return
        seen.add(module)
        shape = tuple(output.shape[1:])
        macs = output[:1].numel() * module.weight[0].numel() if isinstance(module, _COUNTED) else 0
        layers.append(Layer(names[module], type(module).__name__, shape, sum(p.numel() for p in module.parameters()), macs))

    leaves = [m for m in net.modules() if not list(m.children()) or any(True for _ in m.parameters(recurse=False))]
    hooks = [m.register_forward_hook(note) for m in leaves if not isinstance(m, nn.Identity)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _without_parts(whole: Layer, layers: list[Layer]) -> Layer:
    """Return a layer with the parameters and multiply-adds that no layer within it has."""
    within = [layer for layer in layers if layer.name.startswith(f"{whole.name}." if whole.name else "") and layer is not whole]
    parts = [layer for layer in within if not any(layer.name.startswith(f"{other.name}.") for other in within)]
    parameters, macs = (sum(getattr(part, what) for part in parts) for what in ("parameters", "macs"))
    return whole._replace(parameters=whole.parameters - parameters, macs=max(0, whole.macs - macs))


def _counter() -> Any:  # noqa: ANN401  # torch's counter, or None
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False)


def _by_module(counter: FlopCounterMode) -> dict[str, int]:
    return {name: sum(counts.values()) // 2 for name, counts in {"Global": {}, **counter.get_flop_counts()}.items()}


def _told(net: nn.Module, layers: list[Layer]) -> int | None:
    """Return the multiply-adds of convolutions and linear layers; None where other layers have matrices, or one was passed by."""
    passed = {layer.name for layer in layers}
    for name, module in net.named_modules():
        matrices = [p for p in module.parameters(recurse=False) if p.dim() > 1]
        if matrices and (name not in passed or not isinstance(module, _COUNTED)):
            return None
    return sum(layer.macs for layer in layers)


def _volume(layer: Layer) -> int:
    n = 1
    for edge in layer.output_shape:
        n *= edge
    return n
