"""How often energy counters move, watched now: drivers publish them in ticks, so that a single reading may be old."""

import time

from stagemeter.pace import tick_period
from stagemeter.samplelog import GpuPoint
from stagemeter.sensors import GpuSensor

STEP_S = 0.002


def tick_periods(sensor: GpuSensor, seconds: float) -> dict[str, float]:
    """Seconds between two moves of each counter, by UUID, of those that moved twice; 0 for one that always moves."""
    points: dict[str, list[GpuPoint]] = {device.uuid: [] for device in sensor.devices}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for device, reading in zip(sensor.devices, sensor.read_fast(), strict=True):
            points[device.uuid].append(GpuPoint(reading.t, reading.mj, None, doubt_s=reading.doubt_s))
        time.sleep(STEP_S)
    return {uuid: period for uuid, seen in points.items() if (period := tick_period(seen)) is not None}
