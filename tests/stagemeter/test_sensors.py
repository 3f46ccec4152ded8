"""One source at a time."""

import pytest

from stagemeter.sensors.nvml import select

UUIDS = ["GPU-aaaa", "GPU-aabb", "GPU-bbbb"]


@pytest.mark.parametrize(
    ("visible", "chosen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("0,7,1", [0]),  # CUDA ignores what follows an entry it does not know
        ("1,1", [1]),
        ("GPU-b", [2]),
        ("GPU-a", []),  # two cards begin like that
        ("NoDevFiles", []),
    ],
)
def test_visible_devices_are_read_by_cudas_rules(visible, chosen):
    assert select(visible, UUIDS) == chosen
