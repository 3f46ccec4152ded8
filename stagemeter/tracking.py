"""Runs of an MLflow tracking server, read over its REST API here, so that no Stagemeter server fetches an address.

What comes out is what `import` takes of an exported JSON: each run's info, params, tags and last metrics, and the
history of the system metrics of GPU power, which energy is integrated from.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagemeter.errors import ClientError, Unreachable
from stagemeter.progress import Progress

if TYPE_CHECKING:
    import httpx

PAGE = 1000  # runs or experiments in one answer; the largest that servers give
POINTS = 25_000  # of a metric's history in one answer
MOST_PAGES = 100_000
POWER = re.compile(r"system/gpu_\d+_power_usage_watts")


def fetch(uri: str, folder: Path, *, experiments: Sequence[str] = (), where: str = "", timeout_s: float = 60.0) -> Path:
    """Write the runs of a tracking server into a file in `folder`; its path.

    `experiments`: their names; none takes all that are active. `where`: a filter as MLflow writes it, such as
    `attributes.status = 'FINISHED'`. `MLFLOW_TRACKING_TOKEN`, or `_USERNAME` and `_PASSWORD`, log in. Raises
    `ClientError` for a refusal or an answer that is none, `Unreachable` for a server that is away.
    """
    import httpx

    if not uri.startswith(("http://", "https://")):
        raise ClientError(f"{uri[:80]!r} is no address of a tracking server; it looks like http://127.0.0.1:5000")
    token, user = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_USERNAME")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    login = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user and not token else None
    base = f"{uri.rstrip('/')}/api/2.0/mlflow/"
    with httpx.Client(base_url=base, headers=headers, auth=login, timeout=timeout_s) as server:
        ids = _experiments(server, experiments)
        runs = list(_runs(server, ids, where)) if ids else []
        if not runs:
            raise ClientError("there are no such runs on the tracking server; see --experiment and --filter")
        with Progress("reading histories", len(runs), unit="runs") as bar:
            for run in runs:
                _add_histories(server, run)
                bar.add(1)
    path = folder / "mlflow-runs.json"
    path.write_text(json.dumps({"runs": runs}, sort_keys=True))
    return path


def _experiments(server: "httpx.Client", names: Sequence[str]) -> list[str]:
    wanted = {"max_results": PAGE, "view_type": "ACTIVE_ONLY"}
    found = {
        str(one.get("name")): str(one.get("experiment_id"))
        for one in _pages(lambda token: _post(server, "experiments/search", wanted | token), "experiments")
    }
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ClientError(f"{unknown[0]!r} is no experiment there; there are {', '.join(sorted(found)[:20])}")
    return [found[name] for name in names] if names else list(found.values())


def _runs(server: "httpx.Client", ids: Sequence[str], where: str) -> Iterator[dict[str, Any]]:
    wanted = {"experiment_ids": list(ids), "filter": where, "max_results": PAGE, "run_view_type": "ACTIVE_ONLY"}
    yield from _pages(lambda token: _post(server, "runs/search", wanted | token), "runs")


def _add_histories(server: "httpx.Client", run: dict[str, Any]) -> None:
    """Put the whole history of each metric of power in the place of its last value."""
    data, info = run.get("data") or {}, run.get("info") or {}
    metrics = [one for one in data.get("metrics") or [] if isinstance(one, Mapping)]
    powers = {str(one.get("key")) for one in metrics if POWER.fullmatch(str(one.get("key")))}
    kept = [dict(one) for one in metrics if str(one.get("key")) not in powers]
    for key in sorted(powers):
        kept += _history(server, str(info.get("run_id")), key)
    data["metrics"] = kept


def _history(server: "httpx.Client", run_id: str, key: str) -> list[dict[str, Any]]:
    asked = {"run_id": run_id, "metric_key": key, "max_results": str(POINTS)}
    return list(_pages(lambda token: _get(server, "metrics/get-history", asked | token), "metrics"))


def _pages(ask: Callable[[dict[str, str]], Mapping[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    """Everything under `name` in page after page. Raises `ClientError` where they have no end."""
    token: dict[str, str] = {}
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        answer = ask(token)
        yield from (dict(item) for item in answer.get(name) or [] if isinstance(item, Mapping))
        following = str(answer.get("next_page_token") or "")
        if not following:
            return
        if following in seen:
            break
        seen.add(following)
        token = {"page_token": following}
    raise ClientError(f"the tracking server's pages of {name} have no end")


def _post(server: "httpx.Client", path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    return _answer(path, lambda: server.post(path, json=dict(body)))


def _get(server: "httpx.Client", path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
    return _answer(path, lambda: server.get(path, params=dict(query)))


def _answer(path: str, ask: Callable[[], "httpx.Response"]) -> Mapping[str, Any]:
    import httpx

    try:
        answer = ask()
    except httpx.TransportError as error:
        raise Unreachable(f"the tracking server: {type(error).__name__}: {error}") from error
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.is_success and isinstance(content, Mapping):
        return content
    said = str(content.get("message", "")) if isinstance(content, Mapping) else ""
    raise ClientError(f"the tracking server answered {answer.status_code} to {path}{': ' if said else ''}{said[:200]}")
