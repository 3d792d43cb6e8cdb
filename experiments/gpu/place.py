"""Where the checks run: a device, its clock and its memory, and how large things are there."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

PEAKS = {  # dense bf16 TFLOP/s by the vendor's data sheets; the first name that the device's contains
    "H200": 989, "H100 80GB HBM3": 989, "H100 PCIe": 756, "A100": 312, "L40S": 362,
}  # fmt: skip
MATRIX = 8192  # rows and columns of the product whose rate is measured


@dataclass(frozen=True)
class Measured:
    """seconds of one step; peak_gb: the most that was allocated, above_gb: of it above weights and moments; None where
    torch keeps no such books."""

    seconds: float
    peak_gb: float | None
    above_gb: float | None


@dataclass(frozen=True)
class Place:
    """device: cuda or cpu. quick: sizes that prove nothing but that it runs."""

    device: str
    quick: bool

    @property
    def is_gpu(self) -> bool:
        """Whether it is one."""
        return self.device == "cuda"

    @property
    def name(self) -> str:
        """What people call the device."""
        return torch.cuda.get_device_name() if self.is_gpu else f"CPU {platform.machine()}"

    def trainer(self, precision: str, bar: bool = False) -> DictConfig:
        """A run's `trainer` node, without what reports to people. bar: may there be a callback that does?"""
        return OmegaConf.create({
            "_target_": "lightning.Trainer", "accelerator": "gpu" if self.is_gpu else "cpu", "devices": 1,
            "precision": precision, "enable_model_summary": False, "enable_progress_bar": bar, "logger": False,
        })  # fmt: skip

    @property
    def training(self) -> str:
        """The precision of what is timed."""
        return "bf16-mixed" if self.is_gpu else "32-true"

    def autocast(self, precision: str) -> Any:
        """What Lightning does for that precision."""
        return torch.autocast(self.device, torch.bfloat16, enabled=precision == "bf16-mixed")

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def peak_flops(self) -> tuple[float, float | None]:
        """FLOP/s of a large matrix product as measured here, and by the data sheet, if it is known."""
        size, dtype = (MATRIX, torch.bfloat16) if self.is_gpu else (256, torch.float32)
        a, b = (torch.randn(size, size, dtype=dtype, device=self.device) for _ in range(2))
        seconds = self.seconds(lambda: a @ b, times=20)
        sheet = next((rate for name, rate in PEAKS.items() if name in self.name), None)
        return 2 * size**3 / seconds, sheet and sheet * 1e12

    def seconds(self, work: Callable[[], Any], times: int) -> float:
        """Mean seconds of some work, after three times that are not counted."""
        for _ in range(3):
            work()
        self.wait()
        started = perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (perf_counter() - started) / times


class Meter:
    """Time and memory from `start` to `stop`."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def start(self) -> None:
        """Once the device has nothing left to do."""
        self.place.wait()
        if self.place.is_gpu:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        self.since = perf_counter()

    def stop(self, steps: int) -> Measured:
        """Once the device has done `steps` steps."""
        self.place.wait()
        seconds = (perf_counter() - self.since) / steps
        if not self.place.is_gpu:
            return Measured(seconds, None, None)
        peak = torch.cuda.max_memory_allocated()
        return Measured(seconds, peak / 1e9, (peak - self.before) / 1e9)
