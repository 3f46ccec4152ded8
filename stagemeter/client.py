"""Talk to a Stagemeter server: upload and import what was measured, look artifacts up, plan and submit runs."""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self
from uuid import UUID

from uuid6 import uuid7

from stagemeter import spool
from stagemeter.errors import ClientError, Refused, Unreachable
from stagemeter.packing import opened
from stagemeter.progress import Progress
from stagemeter.records import StageRecord

if TYPE_CHECKING:
    import httpx

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
        (`{"use": id}`) or describes those it made.
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
        return self._get("/healthz")

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
        headers = {"Idempotency-Key": str(uuid7())}  # the same for every repetition

        def ask() -> "httpx.Response":
            if file is None:
                return self._http.post(path, json=body, headers=headers)
            file[1].seek(0)
            return self._http.post(
                path, data=dict(data or {}), files={"file": file}, headers=headers, timeout=IMPORT_TIMEOUT_S
            )

        return self._send(path, ask)

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
