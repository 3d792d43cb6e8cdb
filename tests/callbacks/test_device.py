import threading

import psutil
import pytest

from xright.callbacks.device import Device
from xright.errors import UserError
from xright.strategies import Mix
from xright.theory.problems import trade_off


def test_a_real_run(train_tiny, recorder):
    watch = Device(interval=0.01, every=2)
    before = threading.active_count()
    train_tiny(Mix(trade_off(0.5)), [watch], steps=5, loggers=[recorder])
    assert threading.active_count() == before
    assert watch.utilization.total() >= 2
    assert all(0 <= value <= 200 for value in watch.utilization)  # ticks of the clock: may exceed 100
    resident = psutil.Process().memory_info().rss / 1e9
    assert 0.5 * resident < watch.peak_memory_gb < 2 * resident
    assert [step for step, _ in recorder.values("time/step_s")] == [2, 4]
    assert all(0 < seconds < 10 for _, seconds in recorder.values("time/step_s"))
    assert all(gb <= watch.peak_memory_gb for _, gb in recorder.values("device/peak_memory_gb"))
    summary = watch.summary()
    assert summary["device"].startswith("CPU")
    samples = sorted(watch.utilization.elements())
    assert summary["utilization_median_pct"] == pytest.approx(samples[len(samples) // 2], 1)


def test_a_very_short_run_has_one_sample(train_tiny):
    watch = Device(interval=60.0)
    train_tiny(Mix(trade_off(0.5)), [watch], steps=1)
    assert watch.utilization.total() == 1
    assert watch.summary()["peak_memory_gb"] > 0


def test_sampling_ends_with_a_failed_run(train_tiny):
    before = threading.active_count()
    with pytest.raises(UserError, match="NaN"):
        train_tiny(Mix(trade_off(0.5)), [Device(interval=0.01)], steps=20, lr=1e30)
    assert threading.active_count() == before


def test_goes_on_from_a_checkpoint():
    first = Device()
    first.utilization.update([10, 20])
    first.peak_memory_gb = 3.0
    second = Device()
    second.load_state_dict(first.state_dict())
    second.utilization.update([90])
    assert second.summary() == {"device": "", "utilization_median_pct": 20, "peak_memory_gb": 3.0}
    assert first.utilization == {10: 1, 20: 1}
