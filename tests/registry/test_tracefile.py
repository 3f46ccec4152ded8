"""The file of a power trace: what is written is read, whole or in part, with little memory."""

import math
import subprocess
import sys
import tracemalloc

import pyarrow.parquet as pq
import pytest

from registry.tracefile import Line, TraceError, TraceReader, TraceWriter

GPU = ("gpu", "GPU-1")


def write(path, readings, **options):
    """A trace of (component, device, seconds, watts, counter); its lines by component and device."""
    with TraceWriter(path, about={"record_id": "r1"}, **options) as writer:
        for reading in readings:
            writer.add(*reading)
    return {(line.component, line.device): line for line in writer.lines}


def read(path, line=GPU, start_s=-math.inf, end_s=math.inf):
    """(seconds, watts) of a stretch of one line, and in how many pieces they came."""
    with path.open("rb") as stream:
        pieces = list(TraceReader(stream).samples(*line, start_s=start_s, end_s=end_s))
    samples = [(float(t), float(w)) for times, watts in pieces for t, w in zip(times, watts, strict=True)]
    return samples, len(pieces)


def ramp(count, period_s=0.5):
    return [(*GPU, i * period_s, 100.0 + i, 1000 * i) for i in range(count)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.parquet"


def test_what_is_written_is_read_line_by_line(path):
    readings = [
        (*GPU, 0.0, 300.5, 7),
        ("cpu", "", 0.25, 40.0, None),
        (*GPU, 0.5, 310.25, 160),
        ("cpu", "", 1.25, 42, None),
    ]
    lines = write(path, readings)
    assert list(lines) == [GPU, ("cpu", "")]
    assert read(path)[0] == [(0.0, 300.5), (0.5, 310.25)]
    assert read(path, ("cpu", ""))[0] == [(0.25, 40.0), (1.25, 42.0)]


def test_the_file_is_plain_parquet_that_says_whose_it_is(path):
    write(path, [(*GPU, 0.1, None, 2**62), ("ram", "", 1.0000004, 5.5, None)])
    table = pq.read_table(path)
    assert table.to_pylist() == [
        {"time_us": 100_000, "component": "gpu", "device": "GPU-1", "power_w": None, "counter_mj": 2**62},
        {"time_us": 1_000_000, "component": "ram", "device": "", "power_w": 5.5, "counter_mj": None},
    ]
    assert table.schema.metadata[b"stagemeter"] == b'{"record_id": "r1", "version": 1}'
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_line_knows_its_figures_whatever_the_size_of_the_pieces(path):
    times = [0.0, 1.0, 2.0, 3.0, 13.0, 14.0]
    watts = [100.0, 200.0, 100.0, 100.0, 400.0, 400.0]
    readings = [(*GPU, t, w, None) for t, w in zip(times, watts, strict=True)]
    for rows in (2, 3, 100):
        assert write(path, readings, rows_per_group=rows)[GPU] == Line(
            component="gpu",
            device="GPU-1",
            samples=6,
            first_s=0.0,
            last_s=14.0,
            spacing_s=1.0,
            lowest_w=100.0,
            mean_w=pytest.approx((150 + 150 + 100 + 400) / 4),  # the ten seconds without a sample are no part of it
            highest_w=400.0,
            longest_gap_s=10.0,
        )


def test_a_counter_alone_gives_no_power(path):
    line = write(path, [(*GPU, 0.0, None, 5), (*GPU, 1.0, None, 6)])[GPU]
    assert (line.samples, line.mean_w, line.highest_w, line.longest_gap_s) == (0, None, None, None)
    assert read(path) == ([], 0)


def test_a_line_survives_as_json(path):
    line = write(path, ramp(3))[GPU]
    assert Line.from_dict(line.to_dict()) == line


def test_a_stretch_is_read_with_the_sample_before_and_the_one_after(path):
    write(path, ramp(100), rows_per_group=10)
    samples, pieces = read(path, start_s=10.1, end_s=11.2)
    assert [t for t, _ in samples] == [10.0, 10.5, 11.0, 11.5]
    assert pieces == 1


def test_the_neighbours_are_found_in_other_pieces_and_the_rest_is_not_read(path):
    write(path, ramp(100), rows_per_group=10)
    samples, pieces = read(path, start_s=5.0, end_s=9.5)  # exactly the second piece
    assert [t for t, _ in samples] == [4.5 + 0.5 * i for i in range(12)]
    assert pieces == 3


@pytest.mark.parametrize(("start_s", "end_s", "found"), [(-9, -1, [0.0]), (90, 99, [49.5]), (3.1, 3.2, [3.0, 3.5])])
def test_a_stretch_without_samples_has_its_neighbours(path, start_s, end_s, found):
    write(path, ramp(100), rows_per_group=10)
    assert [t for t, _ in read(path, start_s=start_s, end_s=end_s)[0]] == found


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        ([(*GPU, 1.0, 5.0, 0), (*GPU, 0.5, 5.0, 0)], "taken later"),
        ([(*GPU, math.nan, 5.0, 0)], "30 years"),
        ([(*GPU, 1e12, 5.0, 0)], "30 years"),
        ([(*GPU, 0.0, -1.0, 0)], "between 0 and a gigawatt"),
        ([(*GPU, 0.0, math.inf, 0)], "between 0 and a gigawatt"),
        ([(*GPU, 0.0, 1.0, -5)], "counter is negative"),
        ([(*GPU, 0.0, 1.0, 2**63)], "no reading"),
        ([(*GPU, "now", 1.0, 1)], "no reading"),
        ([("tpu", "", 0.0, 1.0, 1)], "'tpu' is none of the components"),
        ([("gpu", f"GPU-{i}", 0.0, 1.0, 1) for i in range(301)], "more than 300"),
    ],
)
def test_what_is_no_reading_is_refused(path, readings, said):
    with pytest.raises(TraceError, match=said):
        write(path, readings)


def test_a_reading_behind_one_that_was_written_already_is_refused(path):
    with pytest.raises(TraceError, match="taken later"):
        write(path, [*ramp(10), (*GPU, 0.0, 5.0, 0)], rows_per_group=10)


@pytest.mark.parametrize("content", [b"", b"time,watts\n1,2\n", b"PAR1 but not really PAR1"])
def test_what_is_no_trace_cannot_be_read(path, content):
    path.write_bytes(content)
    with pytest.raises(TraceError, match="cannot be read"):
        read(path)


def test_another_parquet_file_is_no_trace(path):
    import pyarrow as pa

    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(TraceError, match="cannot be read"):
        read(path)


def test_a_long_trace_is_never_in_memory_as_a_whole(path):
    readings = (("gpu", f"GPU-{g}", i * 0.1, 300.0, i) for i in range(8_000) for g in range(4))
    write(path, ramp(600), rows_per_group=512)  # what is loaded once
    tracemalloc.start()
    write(path, readings, rows_per_group=512)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8_000 * 4 * 20 / 4  # 20 bytes a reading


def test_reading_a_trace_loads_no_pandas(path):
    write(path, ramp(3))
    code = (
        "import sys; from registry.tracefile import TraceReader; "
        f"pieces = list(TraceReader(open({str(path)!r}, 'rb')).samples('gpu', 'GPU-1', start_s=0, end_s=9)); "
        "sys.exit(len(pieces[0][0]) != 3 or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
