"""What NVIDIA's driver says of the GPUs, without torch: importing it and making a context on a GPU takes some seconds.

The library belongs to the driver. Its answer is taken where it is certain that CUDA would give the same: torch is built for a
CUDA that the driver knows, and the order of the GPUs is no question. Where it is not, there is no answer, and torch has to be
asked.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

LIBRARY = "libnvidia-ml.so.1"
CUDA = "libcuda.so.1"  # missing in containers that were given the driver to look at the GPUs only
_VERSION = re.compile(r"^cuda\b.*?=\s*['\"](\d+)\.", re.MULTILINE)  # in torch/version.py


class Card(NamedTuple):
    """A GPU.

    Attributes:
        uuid: `GPU-` and hexadecimal digits.
        name: Of the model.
        free: Bytes of memory.
        divided: Whether it is in MIG mode: CUDA sees its parts then.
    """

    uuid: str
    name: str
    free: int
    divided: bool


class Driver(Protocol):
    """What is asked of the driver."""

    def cuda(self) -> int:
        """Return the major version of CUDA that it knows at most."""

    def cards(self) -> list[Card]:
        """Return the GPUs, in the order of the PCI bus."""


def free(environment: Mapping[str, str], driver: Driver | None = None, built_for: int | None = None) -> list[int] | None:
    """Return the free memory of each GPU, bytes, as CUDA numbers them; None if torch has to be asked.

    Args:
        environment: Variables of the process.
        driver: The driver's library, or one in its place.
        built_for: The major version of CUDA that torch is built for, or one in its place.
    """
    try:
        driver = driver or _Library()
        built_for = built_for or _torchs_cuda()
        if built_for is None or driver.cuda() < built_for:
            return None
        found = visible(driver.cards(), environment)
    except (OSError, AttributeError, ValueError):  # no such library, or one that refuses
        return None
    return None if found is None else [card.free for card in found]


def visible(cards: Sequence[Card], environment: Mapping[str, str]) -> list[Card] | None:
    """Return the GPUs that CUDA shows a process, in its order; None if that cannot be said.

    CUDA_VISIBLE_DEVICES has numbers, or UUIDs that may be shortened; what follows one that does not exist is not seen. Numbers
    are places in CUDA's order, which begins with the fastest unless CUDA_DEVICE_ORDER says otherwise. Of equal GPUs the bus
    decides.
    """
    if any(card.divided for card in cards):
        return None
    shown = environment.get("CUDA_VISIBLE_DEVICES")
    ordered = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({card.name for card in cards}) <= 1
    if shown is None:
        return list(cards) if ordered else None
    found: list[Card] = []
    for word in map(str.strip, shown.split(",")):
        if word.startswith("MIG-") or (word.isdecimal() and not ordered):
            return None
        if word.isdecimal():
            named = list(cards[int(word) : int(word) + 1])
        else:
            named = [card for card in cards if word.startswith("GPU-") and card.uuid.startswith(word)]
        if len(named) != 1:
            break
        if named[0] in found:
            return []  # CUDA refuses one that is named twice, and all others with it
        found += named
    return found


def _torchs_cuda() -> int | None:
    """Return the major version of CUDA that torch is built for, from its file: importing torch takes long."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    told = _VERSION.search((Path(spec.origin).parent / "version.py").read_text(encoding="utf-8"))
    return int(told[1]) if told else None


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Library:
    """NVML: https://docs.nvidia.com/deploy/nvml-api/."""

    def __init__(self) -> None:
        ctypes.CDLL(CUDA)
        self._nvml = ctypes.CDLL(LIBRARY)
        self._call("nvmlInit_v2")

    def _call(self, name: str, *arguments: object) -> None:
        if code := getattr(self._nvml, name)(*arguments):
            raise ValueError(f"{name}: {code}")

    def cuda(self) -> int:
        version = ctypes.c_int()
        self._call("nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(version))
        return version.value // 1000

    def cards(self) -> list[Card]:
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return [self._card(index) for index in range(count.value)]

    def _card(self, index: int) -> Card:
        handle, memory = ctypes.c_void_p(), _Memory()
        uuid, name = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        self._call("nvmlDeviceGetUUID", handle, uuid, ctypes.c_uint(96))
        self._call("nvmlDeviceGetName", handle, name, ctypes.c_uint(96))
        self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        return Card(uuid.value.decode(), name.value.decode(), memory.free, self._is_divided(handle))

    def _is_divided(self, handle: ctypes.c_void_p) -> bool:
        now, later = ctypes.c_uint(), ctypes.c_uint()
        try:
            self._call("nvmlDeviceGetMigMode", handle, ctypes.byref(now), ctypes.byref(later))
        except (ValueError, AttributeError):  # older than MIG
            return False
        return bool(now.value)
