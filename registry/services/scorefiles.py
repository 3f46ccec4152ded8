"""The raw file behind a score: a row for every question, or a judge's annotations. Written once, like the score."""

import gzip
import hashlib
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import IO, cast

from django.conf import settings
from django.db import transaction

from registry import formats, storage
from registry.models import EvaluationScore, Membership, ScoreFile, User
from registry.services import accounts, audit, garbage, quotas
from registry.services.errors import Conflict, Invalid
from registry.unpacking import GZIP, Capped, Oversized


def take(*, score: EvaluationScore, content: IO[bytes], actor: User | None) -> tuple[ScoreFile, bool]:
    """Put its raw file beside a score: JSON or JSONL, or either in gzip; whether it is new.

    It is kept unpacked, so that the same rows are the same file however they came. Raises `Invalid` for what is no such
    file, `Conflict` where another one stands or the project's quota is full, `NotAllowed`, and `StorageError`.
    """
    accounts.require_role(actor, score.project, Membership.Role.SUBMITTER)
    with tempfile.TemporaryDirectory() as folder:
        path = _unpacked(content, Path(folder) / "raw")
        with path.open("rb") as whole:
            sha256 = hashlib.file_digest(whole, "sha256").hexdigest()
        standing = ScoreFile.objects.filter(score=score).first()
        if standing is not None:
            return _same(standing, sha256), False
        return _keep(score, _named(path), actor)


def _unpacked(content: IO[bytes], path: Path) -> Path:
    """The content at `path` as it is without gzip. Raises `Invalid`."""
    content.seek(0)
    packed = content.read(2) == GZIP
    content.seek(0)
    plain = gzip.GzipFile(fileobj=content) if packed else content
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(cast(IO[bytes], Capped(plain, settings.MAX_SCORE_FILE_BYTES)), file, 2**20)
    except (Oversized, OSError, EOFError, zlib.error) as error:
        raise Invalid({"file": f"it cannot be taken: {str(error)[:200]}"}) from error
    return path


def _named(path: Path) -> Path:
    """The file under a name that says what it is. Raises `Invalid`."""
    try:
        return path.rename(path.with_suffix(formats.kind_of_text(path)))
    except formats.FormatError as error:
        raise Invalid({"file": str(error)}) from error


@transaction.atomic
def _keep(score: EvaluationScore, path: Path, actor: User | None) -> tuple[ScoreFile, bool]:
    (file,) = storage.describe(path.parent)
    garbage.hold(file.sha256[:32])  # nobody clears it away between its arrival and its row
    quotas.require_room(score.project, [file])
    key, _ = storage.put_one(path)
    values = {"name": file.name, "storage_key": key, "sha256": file.sha256, "bytes": file.bytes, "actor": actor}
    kept, created = ScoreFile.objects.get_or_create(score=score, defaults=values)
    if created:
        audit.record(actor=actor, project=score.project, action="score file stored", subject=score, bytes=file.bytes)
    return _same(kept, file.sha256), created


def _same(kept: ScoreFile, sha256: str) -> ScoreFile:
    if kept.sha256 != sha256:
        raise Conflict(
            f"The score {kept.score.score_id} has another raw file, of SHA-256 {kept.sha256}, which is never changed.",
            score_id=kept.score.score_id,
        )
    return kept
