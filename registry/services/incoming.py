"""Files of artifacts that were made elsewhere: sent one by one, then named together, all or nothing.

Each file is checked as it arrives (name, format, SHA-256) and lies under a key that nobody but its sender can name. An
artifact has them once all of its manifest are there. What is never named is cleared away with other garbage.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction

from registry import storage
from registry.models import Artifact, Membership, Project, User
from registry.services import accounts, audit, garbage, quotas
from registry.services.errors import Conflict, Invalid, NotAllowed
from registry.storage import StorageError, StoredFile

MOST_FILES = 1000


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What one sender has put under an id of his own choosing: name and SHA-256 of each file."""

    sender: uuid.UUID
    id: uuid.UUID
    files: tuple[tuple[str, str], ...]

    def key_of(self, name: str, sha256: str) -> str:
        """Where a file lies until it is named. Its sender is in it: knowing a digest is no right to the content."""
        return hashlib.sha256(f"{self.sender}/{self.id}/{name}/{sha256}".encode()).hexdigest()[:32]


def upload_of(actor: User, id: uuid.UUID, files: Sequence[dict[str, str]]) -> Upload:
    """The upload as a request names it. Raises `Invalid`."""
    names = [file["name"] for file in files]
    if not names or len(names) > MOST_FILES or len(set(names)) < len(names):
        raise Invalid({"files": f"name 1 to {MOST_FILES} files, each once"})
    for name in names:
        _check_name(name)
    return Upload(sender=actor.pk, id=id, files=tuple((file["name"], file["sha256"]) for file in files))


def check(*, actor: User, project: Project, name: str, bytes: int | None) -> None:
    """Pass if this file may come, before any of it is read. Raises `Invalid`, `NotAllowed`, `Conflict`."""
    accounts.require_role(actor, project, Membership.Role.SUBMITTER)
    _check_name(name)
    if bytes is not None:
        quotas.require_room(project, [StoredFile(name=name, sha256="", bytes=bytes, media_type="")])


def stage(*, actor: User, project: Project, id: uuid.UUID, path: Path, sha256: str) -> StoredFile:
    """Keep one file, which is called as it is to be called in the artifact. The same again changes nothing.

    Raises `Invalid` where it is not what its digest or its suffix says, `NotAllowed`, `Conflict` for a quota.
    """
    check(actor=actor, project=project, name=path.name, bytes=path.stat().st_size)
    upload = upload_of(actor, id, [{"name": path.name, "sha256": sha256}])
    try:
        (file,) = storage.describe(path.parent)
    except StorageError as error:
        raise Invalid({"name": str(error)}) from error
    if file.sha256 != sha256:
        raise Invalid(
            {"sha256": f"{path.name} arrived with the SHA-256 {file.sha256}, not with {sha256}; send it again"}
        )
    storage.put(path.parent, [file], key=upload.key_of(file.name, sha256))
    return file


def attach(*, actor: User, artifact: Artifact, upload: Upload) -> Artifact:
    """Give an artifact that was registered without files those of `upload`.

    Raises `Conflict` naming those that are `missing`, or where it has files; `Invalid` where the files are not what was
    stated of them; `NotAllowed`.
    """
    _require_own(actor, artifact)
    files = gather(upload, artifact.project)
    with transaction.atomic():
        artifact = Artifact.objects.select_for_update().get(pk=artifact.pk)
        if artifact.storage_key or artifact.status != Artifact.Status.READY:
            state = "has its files" if artifact.storage_key else f"is {artifact.get_status_display()}"
            raise Conflict(f"{artifact.name} {state}; only one that is ready and held elsewhere takes files.")
        return keep(actor=actor, artifact=artifact, upload=upload, files=files)


def gather(upload: Upload, project: Project) -> list[StoredFile]:
    """Bring the files of an upload together under their own key. Slow, so before any lock is taken.

    Raises `Conflict` naming those that are `missing`, or for the quota.
    """
    found = {name: storage.staged(upload.key_of(name, digest), name, digest) for name, digest in upload.files}
    missing = [name for name, file in found.items() if file is None]
    if missing:
        shown = ", ".join(missing[:5])
        raise Conflict(f"{len(missing)} of the files have not arrived: {shown}; send them first.", missing=missing)
    files = [file for file in found.values() if file is not None]
    quotas.require_room(project, files)
    _assemble(upload, files)
    return files


def keep(*, actor: User, artifact: Artifact, upload: Upload, files: list[StoredFile]) -> Artifact:
    """Name gathered files in the artifact's row; the caller has locked or made it. Raises `Invalid`, `Conflict`."""
    _check_stated(artifact, files)
    quotas.hold_room(artifact.project, files)
    key = garbage.hold(storage.key_of(files))
    if not storage.is_complete(key, files):
        _assemble(upload, files)
    artifact.storage_key = key
    artifact.manifest = [file.to_dict() for file in files]
    artifact.bytes = sum(file.bytes for file in files)
    artifact.content_sha256 = artifact.content_sha256 or storage.digest_of(files)  # what was stated stands
    artifact.save(update_fields=["storage_key", "manifest", "bytes", "content_sha256"])
    audit.record(
        actor=actor, project=artifact.project, action="artifact stored", subject=artifact, bytes=artifact.bytes
    )
    transaction.on_commit(lambda: _let_go(upload))
    return artifact


def _assemble(upload: Upload, files: list[StoredFile]) -> None:
    storage.assemble({file: upload.key_of(file.name, file.sha256) for file in files})


def _let_go(upload: Upload) -> None:
    for name, sha256 in upload.files:
        storage.remove(upload.key_of(name, sha256))


def _require_own(actor: User, artifact: Artifact) -> None:
    accounts.require_role(actor, artifact.project, Membership.Role.SUBMITTER)
    if artifact.created_by_id != actor.pk and not accounts.has_role(
        actor, artifact.project, Membership.Role.MAINTAINER
    ):
        raise NotAllowed(f"{artifact.name} was registered by somebody else; its files come from them or a maintainer.")


def _check_stated(artifact: Artifact, files: list[StoredFile]) -> None:
    """What was said of the files when it was registered must be so."""
    size, problems = sum(file.bytes for file in files), dict[str, Any]()
    digests = {storage.digest_of(files), *(file.sha256 for file in files if len(files) == 1)}
    if artifact.bytes is not None and artifact.bytes != size:
        problems["bytes"] = f"{artifact.bytes} are stated, and the files have {size}"
    if artifact.content_sha256 and artifact.content_sha256 not in digests:
        problems["content_sha256"] = (
            f"{artifact.content_sha256} is stated, and the files have {storage.digest_of(files)}: the SHA-256 over a "
            "line 'digest  name' for each file, by name, or that of the only file"
        )
    if problems:
        raise Invalid(problems)


def _check_name(name: str) -> None:
    if not storage.is_file_name(name):
        raise Invalid({"name": f"{name[:80]!r} must be letters, digits, dots, hyphens and underscores, at most 100"})
