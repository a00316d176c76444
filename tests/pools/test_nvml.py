"""GPUs as the driver tells of them, where CUDA would certainly tell the same. The driver is a value here, or a library in C."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from hpo.pools import devices, nvml
from hpo.pools.nvml import Card

A, B, C = (Card(f"GPU-{name * 8}-1", "H100", free, divided=False) for name, free in (("a", 1), ("b", 2), ("c", 3)))
OTHER = Card("GPU-dddddddd-1", "L4", 4, divided=False)


@pytest.mark.parametrize(
    ("cards", "environment", "expected"),
    [
        ([A], {}, [A]),
        ([A, B, C], {}, [A, B, C]),
        ([], {}, []),
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": "2,0"}, [C, A]),
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": ""}, []),
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": "1,-1,0"}, [B]),
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": "1,7,0"}, [B]),
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": "1,1"}, []),
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": "GPU-cccccccc-1, GPU-aa"}, [C, A]),
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": "GPU-"}, []),  # whose?
        ([A, B, C], {"CUDA_VISIBLE_DEVICES": "nonsense"}, []),
        ([A, OTHER], {}, None),  # which is faster?
        ([A, OTHER], {"CUDA_VISIBLE_DEVICES": "0"}, None),
        ([A, OTHER], {"CUDA_VISIBLE_DEVICES": "GPU-dd"}, [OTHER]),
        ([A, OTHER], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [A, OTHER]),
        ([A, OTHER], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}, [OTHER]),
        ([A, B._replace(divided=True)], {}, None),
        ([A, B], {"CUDA_VISIBLE_DEVICES": "MIG-1"}, None),
    ],
)
def test_gpus_are_those_that_cuda_shows_in_its_order(cards, environment, expected):
    assert nvml.visible(cards, environment) == expected


@pytest.mark.parametrize(
    ("drivers", "torchs", "expected"), [(13, 13, [1, 2]), (13, 12, [1, 2]), (12, 13, None), (12, None, None)]
)
def test_a_torch_that_the_driver_is_too_old_for_is_asked_itself(monkeypatch, drivers, torchs, expected):
    monkeypatch.setattr(nvml, "_torchs_cuda", lambda: torchs)
    driver = SimpleNamespace(cuda=lambda: drivers, cards=lambda: [A, B])
    assert nvml.free({}, driver) == expected


def test_the_cuda_of_torch_is_read_from_its_file():
    import torch

    built_for = torch.version.cuda
    assert nvml._torchs_cuda() == (int(built_for.split(".")[0]) if built_for else None)


def test_without_the_drivers_library_there_is_no_answer(monkeypatch):
    monkeypatch.setattr(nvml, "LIBRARY", "libno-such-library.so.1")
    assert nvml.free({}, built_for=12) is None


LIBRARY = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13000; return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)(0x7f0000000000 + i); return REFUSES; }
int nvmlDeviceGetUUID(void *h, char *s, unsigned n) { strncpy(s, (unsigned long)h & 1 ? "GPU-b" : "GPU-a", n); return 0; }
int nvmlDeviceGetName(void *h, char *s, unsigned n) { strncpy(s, "H100", n); return 0; }
int nvmlDeviceGetMemoryInfo(void *h, memory *m) { m->free = (80ull + ((unsigned long)h & 1)) << 30; return 0; }
int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *later) { return 3; }
"""


@pytest.mark.parametrize("refuses", [0, 4])
def test_the_drivers_library_is_called_as_it_is_declared(monkeypatch, tmp_path, refuses):
    if not (compiler := shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("there is no C compiler here")
    (tmp_path / "nvml.c").write_text(LIBRARY.replace("REFUSES", str(refuses)))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "nvml.so", tmp_path / "nvml.c"], check=True)
    for name in ("LIBRARY", "CUDA"):
        monkeypatch.setattr(nvml, name, str(tmp_path / "nvml.so"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvml, "_torchs_cuda", lambda: 13)
    assert nvml.free({}) == (None if refuses else [80 << 30, 81 << 30])
    if not refuses:
        assert [seat.device for seat in devices.seats(2, "cuda")] == ["cuda:0", "cuda:1"]
