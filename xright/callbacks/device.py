"""What the run takes from its machine: a background thread samples about once a second.

Logs device/utilization_pct (GPU: NVML's utilisation of this process's GPU; CPU: this process's share of all cores),
device/peak_memory_gb (GPU: allocated by torch; CPU: resident set; 10⁹ bytes, highest so far) and time/step_s (mean
seconds per step since the last log, evaluation excluded). The run's figures: median utilisation, peak memory; rank 0's,
where there are several.
"""

import platform
import statistics
import threading
from collections import Counter
from typing import Any

import lightning as L
import psutil
import pynvml
import torch


class Device(L.Callback):
    """interval: seconds between samples. every: steps between two logs."""

    def __init__(self, interval: float = 1.0, every: int = 50) -> None:
        self.interval, self.every = interval, every
        self.utilization: Counter[int] = Counter()  # whole percents: months need no more room than minutes
        self._latest: float | None = None
        self.peak_memory_gb = 0.0
        self.name = ""
        self._seconds: list[float] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start the thread that samples the device."""
        self._sampler: _Cuda | _Cpu = (
            _Cuda(trainer.strategy.root_device) if trainer.strategy.root_device.type == "cuda" else _Cpu()
        )
        self.name = self._sampler.name
        self._stop.clear()
        self._thread = threading.Thread(target=self._sample_until_stopped, daemon=True)
        self._thread.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Log the samples every so many steps."""
        self._seconds.append(outputs["seconds"])
        if len(self._seconds) < self.every:
            return
        logged = {
            "device/peak_memory_gb": self.peak_memory_gb,
            "time/step_s": statistics.fmean(self._seconds),
        }
        if self._latest is not None:
            logged["device/utilization_pct"] = self._latest
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=outputs["step"] + 1)
        self._seconds.clear()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Stop sampling, with a last look."""
        self._end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stop sampling: Lightning calls no teardown after a failure, and a sweep goes on in this process."""
        self._end()

    def state_dict(self) -> dict[str, Any]:
        """Return the samples so far, so that a resumed run's median covers them."""
        return {"utilization": dict(self.utilization), "peak_memory_gb": self.peak_memory_gb}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back the samples of a checkpoint."""
        self.utilization, self.peak_memory_gb = Counter(state_dict["utilization"]), state_dict["peak_memory_gb"]

    def summary(self) -> dict[str, Any]:
        """Return the device's name, median utilisation (percent) and peak memory (GB)."""
        return {
            "device": self.name,
            "utilization_median_pct": statistics.median(self.utilization.elements()) if self.utilization else None,
            "peak_memory_gb": round(self.peak_memory_gb, 3),
        }

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._sample()

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(self.interval):
            self._sample()

    def _sample(self) -> None:
        self._latest, memory = self._sampler.read()
        self.utilization[round(self._latest)] += 1
        self.peak_memory_gb = max(self.peak_memory_gb, memory)


class _Cpu:
    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only sets the mark from which the next one measures
        self.name = f"CPU {platform.machine()} × {psutil.cpu_count()}"

    def read(self) -> tuple[float, float]:
        """Return (utilisation of all cores in percent, resident memory in GB)."""
        return self._process.cpu_percent() / (psutil.cpu_count() or 1), self._process.memory_info().rss / 1e9


class _Cuda:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        pynvml.nvmlInit()
        # By UUID: CUDA_VISIBLE_DEVICES renumbers torch's devices, not NVML's.
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        self.name = torch.cuda.get_device_name(device)

    def read(self) -> tuple[float, float]:
        """Return (utilisation in percent, peak allocated memory in GB)."""
        utilization = pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
        return float(utilization), torch.cuda.max_memory_allocated(self._device) / 1e9
