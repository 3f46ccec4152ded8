"""A folder as one archive, the same bytes each time, so that it is known again when it is sent again."""

import gzip
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from stagemeter.errors import ClientError
from stagemeter.progress import Progress

WANTED = (".json", ".csv", ".bak")


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """The file, or what the folder holds of measurements as a tar.gz, with the name to send it under.

    Links are not followed. Raises `ClientError` where there is nothing to send.
    """
    if path.is_file():
        with path.open("rb") as stream:
            yield stream, path.name
        return
    if not path.is_dir():
        raise ClientError(f"{path} is no file and no folder")
    found = [file for file in sorted(path.rglob("*")) if file.name.endswith(WANTED) and _is_plain(file)]
    if not found:
        raise ClientError(f"{path} holds no file that ends in {', '.join(WANTED)}")
    with tempfile.TemporaryFile() as stream:
        with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, filename="") as packed:
            _pack(path, found, cast(IO[bytes], packed))
        stream.seek(0)
        yield stream, f"{path.resolve().name}.tar.gz"


def _pack(folder: Path, files: list[Path], stream: IO[bytes]) -> None:
    sizes = {file: file.stat().st_size for file in files}
    with (
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
        Progress("packing", sum(sizes.values()), unit="bytes") as bar,
    ):
        for file in files:
            info = tarfile.TarInfo(f"{folder.resolve().name}/{file.relative_to(folder).as_posix()}")
            with file.open("rb") as content:
                info.size = sizes[file]
                archive.addfile(info, content)
            bar.add(sizes[file])


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()
