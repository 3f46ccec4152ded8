"""Talk to a Stagemeter server: upload and import what was measured, look artifacts up, plan and submit runs."""

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import quote
from uuid import NAMESPACE_URL, UUID, uuid5

from stagemeter import spool
from stagemeter.errors import ClientError, Refused, StillMaking, Unreachable
from stagemeter.packing import opened
from stagemeter.progress import Progress
from stagemeter.records import StageRecord, new_record_id

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

FIRST_LOOK_S = 2.0  # then less and less often
BATCH = 200  # records in one request
LONGEST_WAIT_S = 60.0
IMPORT_TIMEOUT_S = 600.0  # a large archive is read on the server before it answers


class Client:
    """One server and one token (`python manage.py issue_token USER` prints one there).

    Every method raises `Refused` where the server answered 4xx, naming what it named, and `Unreachable` where the
    network or the server failed `attempts` times in a row. Repeating is safe: each request carries a key by which
    the server knows it again.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 30.0,
        attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        import httpx

        if not url.startswith(("http://", "https://")):
            raise ClientError(f"{url!r} is no address of a server; it looks like https://stagemeter.example.org")
        if not token or not token.isascii() or not token.isprintable():
            raise ClientError("the token is empty or holds characters no token has")
        self._attempts, self._sleep = attempts, sleep
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1/",
            headers={"Authorization": f"Token {token}", "Accept": "application/json"},
            timeout=timeout_s,
            verify=url.startswith("https://"),  # without TLS nothing is verified, and certificates are slow to read
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def upload(
        self, records: Iterable[StageRecord], *, study: str | None = None, project: str | None = None
    ) -> list[dict[str, Any]]:
        """Upload records, each booked once however often it is sent.

        `study` or `project` says where they belong, by slug; records of a run the server knows need neither. One
        result per record, in order: `{"index", "status": "created" | "same" | "refused", …}`; a refused one
        does not keep the others out, and says why.
        """
        results: list[dict[str, Any]] = []
        for _, found in self._upload(records, _named(study=study, project=project)):
            results += [{**result, "index": len(results) + within} for within, result in enumerate(found)]
        return results

    def _upload(
        self, records: Iterable[StageRecord], place: Mapping[str, str]
    ) -> Iterator[tuple[list[StageRecord], list[dict[str, Any]]]]:
        """Batch after batch, each with its results."""
        total = len(records) if isinstance(records, list) else None
        with Progress("uploading", total, unit="records") as bar:
            for batch in _batches(records, BATCH):
                answer = self._post("stage-records/", [{**record.to_dict(), **place} for record in batch])
                found = answer.get("results", [])
                if len(found) != len(batch):
                    raise ClientError(f"the server gave {len(found)} results for {len(batch)} records; none is marked")
                yield batch, found
                bar.add(len(batch))

    def upload_scores(
        self, scores: Iterable[Mapping[str, Any]], *, study: str | None = None, project: str | None = None
    ) -> list[dict[str, Any]]:
        """Upload evaluation scores; place and results as with `upload`."""
        place = _named(study=study, project=project)
        answer = self._post("scores/", [{**score, **place} for score in scores])
        return list(answer.get("results", []))

    def upload_run(
        self,
        run: Mapping[str, Any],
        stages: Iterable[StageRecord],
        *,
        study: str,
        scores: Iterable[Mapping[str, Any]] = (),
        artifacts: Iterable[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Upload a whole run, all of it or nothing; sending it again is harmless.

        `run` needs `external_id` (your own name for it), `pipeline` and `student`. `artifacts` names those it used
        (`{"use": id}`; a part of one with `"how": "cut"` and its `used_share`) or describes those it made.
        """
        document = spool.run_document(run, stages, study=study, scores=scores, artifacts=artifacts)
        return self._post("runs/upload/", document)

    def upload_spool(
        self, spool_dir: Path | str, *, study: str | None = None, project: str | None = None
    ) -> list[dict[str, Any]]:
        """Upload what a spool still holds, lost stages and whole runs too, and mark what the server has.

        Each batch is marked as it is confirmed. Whatever is killed in between, here or there: what was booked and
        not marked is sent again, and recognised.
        """
        spool.recover(spool_dir)
        results = self._upload_runs(spool_dir)
        records = spool.pending(spool_dir)
        for batch, found in self._upload(records, _named(study=study, project=project)):
            for record, result in zip(batch, found, strict=True):
                if result["status"] in ("created", "same"):
                    spool.mark_sent(spool_dir, record.record_id)
                results.append({**result, "index": len(results)})
        return results

    def _upload_runs(self, spool_dir: Path | str) -> list[dict[str, Any]]:
        """The whole runs that wait in a spool; one that is refused stays there and keeps no other back."""
        results: list[dict[str, Any]] = []
        for folder, document in spool.pending_runs(spool_dir):
            name = document["run"].get("external_id")
            try:
                answer = self._post("runs/upload/", document)
            except Refused as refused:
                results.append({"run": name, "status": "refused", "error": refused.problems, "index": len(results)})
                continue
            spool.mark_run_sent(folder, document)
            status = "created" if answer.get("created", True) else "same"
            results.append({"run": name, "status": status, "index": len(results)})
        return results

    def import_file(
        self,
        path: Path | str,
        *,
        study: str,
        answers: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        redact: bool = True,
    ) -> dict[str, Any]:
        """Import another tool's file, or the run folder of one: booked whole or not at all, once however often.

        With `dry_run` nothing is kept, and the answer says under `needed` what `answers` must still say.
        """
        form = {"study": study, "dry_run": str(int(dry_run)), "redact": str(int(redact))}
        form["answers"] = json.dumps(dict(answers or {}))
        with opened(Path(path)) as (stream, name):
            return self._post("imports/", data=form, file=(name, stream))

    def status(self) -> dict[str, Any]:
        """How the server does: `status`, `database`, `broker`, `workers`."""
        return self._get(str(self._http.base_url.copy_with(path="/healthz")))  # beside the API, not below it

    def runs(self, **filters: str) -> list[dict[str, Any]]:
        """The newest runs, such as `runs(external_id="my-run")`."""
        return list(self._get("runs/", filters).get("results", []))

    def runs_named(self, name: str) -> list[dict[str, Any]]:
        """The runs of your own name for them, or the one of that id."""
        try:
            return [self._get(f"runs/{UUID(name)}/")]
        except ValueError:
            return self.runs(external_id=name)
        except Refused as refused:
            if refused.status != 404:
                raise
            return []

    def lookup(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Who has already made this teacher artifact: exact, covering, in-progress and near matches."""
        return self._post("artifacts/lookup/", dict(request))

    def find_artifact(
        self,
        request: Mapping[str, Any],
        folder: Path | str,
        *,
        study: str | None = None,
        project: str | None = None,
        wait_s: float | None = None,
        lease_s: int = 900,
    ) -> "Found":
        """The artifact that answers `request`, with its files in `folder`; or the lease to make it.

        While somebody else is making it this waits, for `wait_s` at most (`None`: as long as it takes), and raises
        `StillMaking` after that. Files are checked against their SHA-256 and go on where an earlier call broke off.
        An artifact to be cut comes whole, with `cut` set. One that is held elsewhere has no files.
        """
        body = {**request, **_named(study=study, project=project), "seconds": lease_s}
        began, pause = time.monotonic(), FIRST_LOOK_S
        while True:
            answer = self._post("artifacts/leases/", body)
            if answer["action"] == "make":
                return Found(artifact=None, files=(), cut=False, lease=Lease(self, body, answer["lease"], lease_s))
            if answer["action"] in ("use", "cut"):
                return self._fetched(answer["artifact"], Path(folder), cut=answer["action"] == "cut")
            left = None if wait_s is None else wait_s - (time.monotonic() - began)
            if left is not None and left <= 0:
                raise StillMaking(answer["reason"])
            self._sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, LONGEST_WAIT_S)

    def attach_files(self, artifact: str, files: Iterable[Path | str]) -> dict[str, Any]:
        """Give an artifact that was registered without files these, all of them or none; the artifact.

        Each file is checked on its way and there. What an earlier call sent before it broke off is not sent again.
        """
        return self._with_files(f"artifacts/{artifact}/files/", {}, artifact, [Path(file) for file in files])

    def _with_files(
        self, path: str, body: Mapping[str, Any], owner: str, files: Sequence[Path], *, inside: str = ""
    ) -> dict[str, Any]:
        """Post `body` naming `files` (under `inside` where given); those that the server lacks are sent first."""
        by_name = {file.name: (file, _digest(file)) for file in files}
        if len(by_name) < len(files):
            raise ClientError("two of the files have one name; an artifact holds each name once")
        upload = str(uuid5(NAMESPACE_URL, f"stagemeter-upload:{owner}"))  # the same in a later call
        named = [{"name": name, "sha256": digest} for name, (_, digest) in by_name.items()]
        stored: dict[str, Any] = {"upload": upload, "files": named}
        wanted = {**body, inside: stored} if inside else {**body, **stored}
        try:
            return self._post(path, wanted)
        except Refused as refused:
            missing = refused.problems.get("missing") if isinstance(refused.problems, Mapping) else None
            if refused.status != 409 or not missing:
                raise
        place = _named(project=body.get("project"), study=body.get("study"))
        for name in missing:
            file, digest = by_name[name]
            self._put_file(f"artifacts/uploads/{upload}/{quote(name)}", file, {"sha256": digest, **place})
        return self._post(path, wanted)

    def _put_file(self, path: str, file: Path, query: Mapping[str, str]) -> None:
        size = file.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}

        def ask() -> "httpx.Response":
            with file.open("rb") as stream, Progress(file.name, size, unit="bytes") as bar:
                content = _pieces(stream, bar)
                return self._http.put(path, content=content, params=query, headers=headers, timeout=IMPORT_TIMEOUT_S)

        self._send(path, ask)

    def _fetched(self, artifact: Mapping[str, Any], folder: Path, *, cut: bool) -> "Found":
        files = tuple(self._download(str(artifact["id"]), entry, folder) for entry in artifact.get("files", []))
        return Found(artifact=dict(artifact), files=files, cut=cut, lease=None)

    def _download(self, artifact: str, entry: Mapping[str, Any], folder: Path) -> Path:
        """One file into `folder`, going on with what is there of it."""
        name, size = str(entry["name"]), int(entry["bytes"])
        if Path(name).name != name or name in ("", ".", ".."):
            raise ClientError(f"{name!r} is no name of a file")
        target = folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if target.exists() and _digest(target) == entry["sha256"]:
            return target
        part = target.with_name(f"{name}.part")
        for attempt in range(self._attempts):
            try:
                self._receive(f"artifacts/{artifact}/files/{quote(name)}", part, size, name)
            except Unreachable:
                if attempt + 1 == self._attempts:
                    raise
                self._sleep(_wait_s(attempt, None))
                continue
            if _digest(part) != entry["sha256"]:
                part.unlink()
                raise ClientError(f"{name} is not what its SHA-256 says; it was thrown away, so fetch it again")
            part.replace(target)
            return target
        raise Unreachable(f"{name} could not be fetched")

    def _receive(self, path: str, part: Path, size: int, name: str) -> None:
        """Append what is missing. The token goes to this server alone, never along with a redirect."""
        import httpx

        there = part.stat().st_size if part.exists() else 0
        if there >= size:
            return
        try:
            with self._http.stream("GET", path, headers={"Range": f"bytes={there}-"} if there else {}) as answer:
                if answer.is_redirect:
                    with httpx.stream("GET", answer.headers["Location"], timeout=self._http.timeout) as stored:
                        _append(stored, part, 0, size, name)
                    return
                _append(answer, part, there, size, name)
        except httpx.TransportError as error:
            raise Unreachable(f"{name}: {type(error).__name__}: {error}") from error

    def plan(self, spec: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """What a run would do and what it would reuse; nothing is submitted. Options as for `submit`."""
        return self._post("runs/plan/", {"spec": dict(spec), **options})

    def submit(self, spec: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Submit a run. Options: `study`, `regenerate` and `regenerate_reason`. Raises `Refused` with status 409
        and the artifact in the way where one exists that would be made again without a reason."""
        return self._post("runs/", {"spec": dict(spec), **options})

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self._send(path, lambda: self._http.get(path, params=dict(query or {})))

    def _post(
        self,
        path: str,
        body: Any = None,
        *,
        data: Mapping[str, str] | None = None,
        file: tuple[str, IO[bytes]] | None = None,
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": new_record_id()}  # the same for every repetition

        def ask() -> "httpx.Response":
            if file is None:
                return self._http.post(path, json=body, headers=headers)
            file[1].seek(0)
            return self._http.post(
                path, data=dict(data or {}), files={"file": file}, headers=headers, timeout=IMPORT_TIMEOUT_S
            )

        return self._send(path, ask)

    def _delete(self, path: str) -> dict[str, Any]:
        return self._send(path, lambda: self._http.delete(path))

    def _send(self, path: str, ask: Callable[[], "httpx.Response"]) -> dict[str, Any]:
        """Ask until there is an answer that no repetition would change."""
        trouble = ""
        for attempt in range(self._attempts):
            answer, trouble = self._try(ask)
            if answer is not None and answer.status_code < 500 and answer.status_code != 429:
                return _content(answer)
            if attempt + 1 < self._attempts:
                self._sleep(_wait_s(attempt, answer))
        raise Unreachable(f"{self._http.base_url}{path} failed {self._attempts} times, last with: {trouble}")

    def _try(self, ask: Callable[[], "httpx.Response"]) -> tuple["httpx.Response | None", str]:
        import httpx

        try:
            answer = ask()
        except httpx.TransportError as error:
            return None, f"{type(error).__name__}: {error}"
        return answer, f"HTTP {answer.status_code}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What `find_artifact` came to: an artifact with its files, or (`artifact` is `None`) the lease to make it."""

    artifact: dict[str, Any] | None
    files: tuple[Path, ...]
    cut: bool  # it holds more than was asked for
    lease: "Lease | None"


class Lease:
    """The right to make an artifact while others wait: `with found.lease as lease:` around the making.

    It is renewed in the background. Leaving the block with an error gives it back; `register` ends it. A program that
    dies keeps the others waiting until it runs out.
    """

    def __init__(self, client: Client, body: Mapping[str, Any], key: str, seconds: int) -> None:
        self._client, self._body, self.id, self._seconds = client, dict(body), key, seconds
        self._over = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._keep, name="stagemeter-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        over = self._over.is_set()
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if error is not None and not over:
            self.release()

    def renew(self) -> None:
        """Hold it for another `lease_s`. Raises `Refused` once it is over."""
        self._client._post("artifacts/leases/", {**self._body, "lease": self.id})

    def release(self) -> None:
        """Give it back, so that whoever waits makes it."""
        self._over.set()
        self._client._delete(f"artifacts/leases/{self.id}/")

    def register(self, files: Iterable[Path | str] = (), **facts: Any) -> dict[str, Any]:
        """Register what was made: `name`, `production_energy_j` or `evidence`, `licence`, … as over REST.

        With `files` they are stored there, and whoever asks for the artifact gets them. It is offered once all of them
        have arrived; a call that broke off goes on with those that have not.
        """
        body = {name: value for name, value in self._body.items() if name != "seconds"} | facts
        paths = [Path(file) for file in files]
        client = self._client
        if paths:
            answer = client._with_files("artifacts/", body, self.id, paths, inside="stored")
        else:
            answer = client._post("artifacts/", body)
        self._over.set()
        return answer

    def _keep(self) -> None:
        while not self._over.wait(self._seconds / 3):
            try:
                self.renew()
            except Unreachable as error:  # it may still hold; the next round tells
                logger.warning("the lease %s could not be renewed: %s", self.id, error)
            except ClientError:
                logger.exception("the lease %s is lost; somebody else may make the same", self.id)
                return


def _append(answer: "httpx.Response", part: Path, there: int, size: int, name: str) -> None:
    """Write what comes; a server that knows no ranges sends all of it anew."""
    if answer.status_code >= 500:
        raise Unreachable(f"{name}: HTTP {answer.status_code}")
    if not answer.is_success:
        answer.read()
        raise Refused(answer.status_code, answer.text[:200])
    goes_on = answer.status_code == 206
    with part.open("ab" if goes_on else "wb") as stream, Progress(name, size, unit="bytes") as bar:
        bar.add(there if goes_on else 0)
        for chunk in answer.iter_bytes():
            stream.write(chunk)
            bar.add(len(chunk))


def _pieces(stream: IO[bytes], bar: Progress) -> Iterator[bytes]:
    while piece := stream.read(1 << 20):
        yield piece
        bar.add(len(piece))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _named(**names: str | None) -> dict[str, str]:
    return {key: value for key, value in names.items() if value is not None}


def _content(answer: "httpx.Response") -> dict[str, Any]:
    """The answer's object. Raises `Refused` for 4xx and `ClientError` for what is no answer of this API."""
    try:
        content = answer.json()
    except ValueError as error:
        content = {}
        if answer.is_success:
            raise ClientError(f"{answer.url} did not answer with JSON; is this a Stagemeter server?") from error
    if answer.is_success:
        return content if isinstance(content, dict) else {"results": content}
    problems = content.get("error", content) if isinstance(content, dict) else content
    raise Refused(answer.status_code, problems or answer.text[:200])


def _wait_s(attempt: int, answer: "httpx.Response | None") -> float:
    """As long as the server asks, else longer each time, with a share of chance so that workers spread out."""
    asked: str = answer.headers.get("Retry-After", "") if answer is not None else ""
    if asked.isdecimal():
        return min(float(asked), LONGEST_WAIT_S)
    longest = min(0.5 * 2.0 ** min(attempt, 10), LONGEST_WAIT_S)  # days of attempts are beyond every float
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it


def _batches(records: Iterable[StageRecord], size: int) -> Iterator[list[StageRecord]]:
    iterator = iter(records)
    while batch := list(islice(iterator, size)):
        yield batch
