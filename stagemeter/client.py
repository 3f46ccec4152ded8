"""Talk to a Stagemeter server: upload what was measured, look artifacts up, plan and submit runs."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from uuid6 import uuid7

from stagemeter import spool
from stagemeter.errors import ClientError, Refused, Unreachable
from stagemeter.records import StageRecord

if TYPE_CHECKING:
    import httpx

BATCH = 200  # records in one request
LONGEST_WAIT_S = 60.0


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
        place = _named(study=study, project=project)
        results: list[dict[str, Any]] = []
        for batch in _batches(records, BATCH):
            answer = self._post("stage-records/", [{**record.to_dict(), **place} for record in batch])
            found = answer.get("results", [])
            results += [{**result, "index": len(results) + within} for within, result in enumerate(found)]
        return results

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
        bodies = [{key: value for key, value in record.to_dict().items() if key != "run_id"} for record in stages]
        document: dict[str, Any] = {"schema_version": 1, "study": study, "run": dict(run), "stages": bodies}
        for name, items in (("scores", scores), ("artifacts", artifacts)):
            found = [dict(item) for item in items]
            document |= {name: found} if found else {}
        return self._post("runs/upload/", document)

    def upload_spool(
        self, spool_dir: Path | str, *, study: str | None = None, project: str | None = None
    ) -> list[dict[str, Any]]:
        """Upload what a spool still holds, lost stages too, and mark what the server has."""
        spool.recover(spool_dir)
        records = spool.pending(spool_dir)
        results = self.upload(records, study=study, project=project)
        for record, result in zip(records, results, strict=True):
            if result["status"] in ("created", "same"):
                spool.mark_sent(spool_dir, record.record_id)
        return results

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

    def _post(self, path: str, body: Any) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid7())}  # the same for every repetition
        trouble = ""
        for attempt in range(self._attempts):
            answer, trouble = self._try(path, body, headers)
            if answer is not None and answer.status_code < 500 and answer.status_code != 429:
                return _content(answer)
            if attempt + 1 < self._attempts:
                self._sleep(_wait_s(attempt, answer))
        raise Unreachable(f"{self._http.base_url}{path} failed {self._attempts} times, last with: {trouble}")

    def _try(self, path: str, body: Any, headers: Mapping[str, str]) -> tuple["httpx.Response | None", str]:
        import httpx

        try:
            answer = self._http.post(path, json=body, headers=dict(headers))
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
    longest = min(0.5 * 2.0**attempt, LONGEST_WAIT_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it


def _batches(records: Iterable[StageRecord], size: int) -> Iterator[list[StageRecord]]:
    iterator = iter(records)
    while batch := list(islice(iterator, size)):
        yield batch
