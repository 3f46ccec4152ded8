"""Archives that mean harm: nothing leads out, nothing grows without end."""

import io
import stat
import tarfile
import zipfile

import pytest

from registry.importers import source
from registry.importers.findings import ImportRefused
from tests.importers import files
from tests.importers.files import read


@pytest.mark.parametrize("pack", [files.zipped, files.tarred])
@pytest.mark.parametrize("name", ["../a.json", "/etc/a.json", "a/../../b.json", "..\\b.json", "C:/a.json", "\\a.json"])
def test_no_name_leads_out(pack, name):
    with pytest.raises(ImportRefused, match="leads out"):
        read(pack(**{name: files.STAGE}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_a_link_or_a_device_is_refused(kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.json")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ImportRefused, match="link or a device"):
        read(out.getvalue())


def test_a_zip_with_a_link_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("a.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ImportRefused, match="link or a device"):
        read(out.getvalue())


@pytest.mark.parametrize("pack", [files.zipped, files.tarred])
@pytest.mark.parametrize("name", ["bomb.json", "bomb.bin"])
def test_what_grows_beyond_its_ratio_is_refused_before_it_is_whole(monkeypatch, pack, name):
    monkeypatch.setattr(source, "FREE_BYTES", 2**20)
    bomb = pack(**{name: b"0" * 2**24})
    if pack is files.zipped and name.endswith(".bin"):
        with pytest.raises(ImportRefused, match="no stage records"):  # never even decompressed
            read(bomb)
        return
    with pytest.raises(ImportRefused, match="times its size"):
        read(bomb)


def test_a_tar_header_of_megabytes_is_refused():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a" * 3 * 2**20))
    with pytest.raises(ImportRefused, match="times its size"):
        read(out.getvalue())


def test_more_files_than_a_measurement_has_are_refused(monkeypatch):
    monkeypatch.setattr(source, "MAX_MEMBERS", 3)
    for pack in (files.zipped, files.tarred):
        with pytest.raises(ImportRefused, match="more than 3 files"):
            read(pack(**{f"{n}.txt": b"" for n in range(4)}))


def test_a_file_larger_than_any_log_is_refused(monkeypatch):
    monkeypatch.setattr(source, "MAX_MEMBER_BYTES", 1000)
    for pack in (files.zipped, files.tarred):
        with pytest.raises(ImportRefused, match="more than 1,000 bytes"):
            read(pack(**{"a.json": b" " * 1001}))


@pytest.mark.parametrize("pack", [files.zipped, files.tarred])
def test_half_an_archive_is_refused_with_a_sentence(pack):
    whole = pack(**{f"e/stages/{n}.json": files.STAGE | {"stage_id": str(n)} for n in range(50)})
    with pytest.raises(ImportRefused, match=r"no archive that can be read|times its size"):
        read(whole[: len(whole) // 2])
