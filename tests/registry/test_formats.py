"""Files are what their names say, and hold nothing that runs when it is read."""

import io
import json
import pickle
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as save_tensors

from registry import formats, storage
from registry.formats import FORMATS, FormatError, check


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2]}), buffer)
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


TENSORS = save_tensors({"a": np.arange(6, dtype=np.float32), "b": np.zeros((0,), dtype=np.float32)})


def tensors(header: object, content: bytes) -> bytes:
    """A safetensors file with this header, whatever it says."""
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + content


def tensor(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]} | changes}


PICKLE = pickle.dumps({"weights": [1, 2, 3]})
GOOD = {
    ".safetensors": TENSORS,
    ".parquet": parquet(),
    ".jsonl": b'{"a": 1}\n{"a": "\xc3\xa9"}\n',
    ".json": b'{"a": 1}',
    ".npz": npz(a=np.arange(3), b=np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")])),
    ".txt": "merges: é\n".encode(),
    ".jinja": b"{% for message in messages %}{{ message }}{% endfor %}",
}


def written(folder, suffix, content):
    path = folder / f"file{suffix}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_a_file_of_each_format_passes(tmp_path, suffix):
    check(written(tmp_path, suffix, GOOD[suffix]))


@pytest.mark.parametrize("suffix", list(FORMATS))
@pytest.mark.parametrize("protocol", range(6))
def test_no_pickle_passes_under_any_name(tmp_path, suffix, protocol):
    if protocol == 0 and FORMATS[suffix] is formats._text:
        return  # the first protocol is plain text, and text is all that anybody reads it as
    with pytest.raises(FormatError) as refusal:
        check(written(tmp_path, suffix, pickle.dumps({"weights": [1.5, b"\x00"]}, protocol)))
    if protocol >= 2:
        assert "a pickle" in str(refusal.value)


@pytest.mark.parametrize("claimed", [".safetensors", ".parquet", ".jsonl", ".json", ".npz"])
def test_no_format_passes_for_another(tmp_path, claimed):
    for suffix, content in GOOD.items():
        if suffix != claimed and not {suffix, claimed} <= {".json", ".jsonl"}:
            with pytest.raises(FormatError):
                check(written(tmp_path, claimed, content))


@pytest.mark.parametrize("name", ["weights.pt", "model.bin", "model.pkl", "code.py", "script", "archive.tar"])
def test_other_suffixes_are_refused_whatever_they_hold(tmp_path, name):
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(FormatError, match="in none of the formats kept here"):
        check(tmp_path / name)


@pytest.mark.parametrize(
    ("suffix", "content", "words"),
    [
        (".npz", npz(a=np.array([{"x": 1}], dtype=object)), "pickled objects in 'a.npy'"),
        (".npz", npz(a=np.zeros(1, dtype=[("x", "i4"), ("o", "O")])), "pickled objects"),
        (".npz", zipped(**{"data.pkl": PICKLE}), "with 'data.pkl' in it"),
        (".npz", PICKLE + npz(a=np.arange(3)), "a pickle"),
        (".npz", b"#!/bin/sh\necho\n" + npz(a=np.arange(3)), "a script"),
        (".npz", b"PK\x03\x04" + npz(a=np.arange(3)), "before its first array"),
        (".npz", zipped(), "doesn't begin as a zip archive"),
        (".npz", zipped(**{"a.npy": PICKLE}), "'a.npy' is no array"),
        (".npz", zipped(**{"a.npy": b"\x93NUMPY\x01\x00\xff\xff"}), "no readable header"),
        (".npz", zipped(**{"a.npy": b"\x93NUMPY\x01\x00\x0a\x00__import__"}), "no readable header"),
        (".safetensors", TENSORS + b"more", "tensors do not fit"),
        (".safetensors", TENSORS[:-1], "tensors do not fit"),
        (".safetensors", b"\xff" * 64, "without a header"),
        (".safetensors", b"", "without a header"),
        (".safetensors", b"\x02\0\0\0\0\0\0\0[]", "tensors do not fit"),
        (".safetensors", b"\x04\0\0\0\0\0\0\0{{{{", "no JSON"),
        (".safetensors", tensors(tensor(dtype=None), b"abcd"), "tensors do not fit"),
        (".safetensors", tensors(tensor(dtype="O"), b"abcd"), "tensors do not fit"),
        (".safetensors", tensors(tensor(shape=None), b"abcd"), "tensors do not fit"),
        (".safetensors", tensors(tensor(shape=[5]), b"abcd"), "tensors do not fit"),
        (".safetensors", tensors(tensor(shape=[True, 4]), b"abcd"), "tensors do not fit"),
        (".safetensors", tensors(tensor(data_offsets=[2, 6]), b"..abcd"), "tensors do not fit"),
        (".parquet", b"PAR1", "without its marks"),
        (".parquet", b"PAR1\x80\x04junkjunkPAR1", "footer cannot be read"),
        (".parquet", b"PAR1" + PICKLE + b"\x04\0\0\0PAR1", "footer cannot be read"),
        (".safetensors", b"PAR1" * 9, "a Parquet file"),
        (".safetensors", zipped(**{"data.pkl": PICKLE}), "as torch.save writes them"),
        (".jsonl", b'{"a": 1}\nnot json\n', "line 2 is no JSON"),
        (".json", b"[" * 100_000, "no JSON"),
        (".txt", b"\x7fELF\x02", "a program"),
        (".txt", b"#!/bin/sh\nrm\n", "a script"),
        (".jinja", b"\xff\xfe", "no UTF-8"),
        (".txt", b"a\x00b", "null characters"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, suffix, content, words):
    with pytest.raises(FormatError) as refusal:
        check(written(tmp_path, suffix, content))
    assert words in str(refusal.value)


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=200), st.booleans())
def test_no_bytes_break_the_check(tmp_path_factory, suffix, content, begin_well):
    folder = tmp_path_factory.mktemp("files")
    path = written(folder, suffix, (GOOD[suffix][:20] if begin_well else b"") + content)
    try:
        check(path)
    except FormatError as error:
        assert "file" in str(error)


def test_rows_belong_into_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LARGEST_JSON", 4)
    with pytest.raises(FormatError, match="rows belong into"):
        check(written(tmp_path, ".json", json.dumps([1, 2, 3]).encode()))


def test_the_storage_refuses_by_content_before_anything_is_kept(tmp_path):
    written(tmp_path, ".safetensors", PICKLE)
    with pytest.raises(storage.StorageError, match="a pickle"):
        storage.describe(tmp_path)
