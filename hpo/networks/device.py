"""The one place where devices differ: what is checked and switched on at the start, types, batches, memory."""

from __future__ import annotations

import torch

from hpo.errors import DeviceError

_SCORING_BATCH = {"cpu": 125, "cuda": 2000}  # images: on a CPU, the activations of larger batches do not fit into the cache
_DATA_SHARE = 0.5  # of the memory that a worker may use on a GPU: pixels that take more stay on the host


def opened(name: str) -> torch.device:
    """Return a device that is ready for training.

    Args:
        name: `cpu` or `cuda:N`.

    Raises:
        DeviceError: It is not here.
    """
    torch.set_flush_denormal(True)
    device = torch.device(name)
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            raise DeviceError(
                f"device {name} does not exist here: torch {torch.__version__} sees {there} CUDA devices. Use --device cpu."
            )
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    return device


def model_name(device: torch.device) -> str:
    """Return what a person calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the narrowest type that the device multiplies in hardware.

    On a CPU without bfloat16 in hardware, bfloat16 is an order of magnitude slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    native = (getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
    return torch.bfloat16 if any(native) else torch.float32


def scoring_batch(device: torch.device) -> int:
    """Return how many images are scored at once."""
    return _SCORING_BATCH.get(device.type, _SCORING_BATCH["cuda"])


def has_fused_optimizers(device: torch.device) -> bool:
    """Whether an optimizer's step can be one kernel."""
    return device.type in ("cpu", "cuda")


def home_of_pixels(device: torch.device, n_bytes: int, memory: int) -> torch.device:
    """Return where a data set's pixels lie: on a CPU mapped from their file; on a GPU there, or on the host if they are too many.

    Args:
        device: That trains on them.
        n_bytes: Of all pixels.
        memory: Bytes of the device that this worker may use.
    """
    return device if device.type == "cpu" or n_bytes <= _DATA_SHARE * memory else torch.device("cpu")


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
