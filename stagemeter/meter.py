"""Meter one stage: `with Meter("student_training") as meter:` and afterwards `meter.record`."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from uuid6 import uuid7

import stagemeter
from stagemeter import environment as environments
from stagemeter import spool
from stagemeter.assemble import assemble
from stagemeter.errors import MeterError, SpoolError
from stagemeter.integrate import Window, cpu_energy
from stagemeter.records import ROLE_OF_KIND, ROLES, TOKEN_KINDS, StageRecord
from stagemeter.samplelog import SampleLog, add_lines, read_log
from stagemeter.sampler import LOG_NAME
from stagemeter.sensors import flag

READY_WITHIN_S = 90.0  # CodeCarbon looks up the processor once per machine, on a slow disk this takes a while
ANSWER_WITHIN_S = 15.0
SAVE_EVERY_S = 0.5
_current: ContextVar[str | None] = ContextVar("stagemeter_current", default=None)


@dataclass(frozen=True, kw_only=True)
class Live:
    """What a running stage has cost so far, from the log on disk. `None` is "not known", never zero."""

    duration_s: float
    energy_j: float | None  # over all components, `None` while one of them is not known
    gpu_energy_j: float | None
    cpu_energy_j: float | None
    ram_energy_j: float | None
    gpu_power_w: float | None
    cpu_power_w: float | None
    ram_power_w: float | None
    tokens: Mapping[str, int]


class Meter:
    """Meters the block it is entered around, and leaves a `StageRecord` in `record` and in the spool.

    The stage begins when the sampler has taken its first sample, so waiting for it is not part of the stage. A
    `Meter` inside another one's block is a part of it (`parent_id`) and not summed a second time.

    `environment=None` collects it here. `gpus` overrides `CUDA_VISIBLE_DEVICES` for the meter ("" meters none).
    `synchronize` is called at both edges, before the sample is taken: pass `torch.cuda.synchronize` where kernels
    may still run. Raises `MeterError` on entering if sampling cannot begin.
    """

    def __init__(
        self,
        kind: str,
        *,
        run_id: str | None = None,
        attempt_id: str | None = None,
        spool_dir: Path | str | None = None,
        environment: Mapping[str, Any] | None = None,
        idle_power_w: float | None = None,
        name: str = "",
        role: str = "",
        rank: int = 0,
        world_size: int = 1,
        period_s: float = 0.5,
        gpus: str | None = None,
        synchronize: Callable[[], None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        role = role or ROLE_OF_KIND.get(kind, "")
        if role not in ROLES:
            raise MeterError(f"{kind!r} is no known kind of stage, so give its role: one of {', '.join(ROLES)}")
        if not 0.01 <= period_s <= 60:
            raise MeterError(f"a period of {period_s!r} s is outside 0.01 to 60 s; the default is 0.5 s")
        self.record_id = str(uuid7())
        self._spool_dir = Path(spool_dir) if spool_dir is not None else spool.default_spool()
        self.folder = self._spool_dir.absolute() / self.record_id
        self._environment = environment
        self._gpus, self._synchronize = gpus, synchronize
        self._facts: dict[str, Any] = {
            "record_id": self.record_id,
            "kind": kind,
            "role": role,
            "name": name,
            "run_id": run_id,
            "attempt_id": attempt_id,
            "rank": rank,
            "world_size": world_size,
            "idle_power_w": idle_power_w,
            "period_s": period_s,
            "extra": dict(extra or {}),
            "stagemeter": stagemeter.__version__,
        }
        self._tokens: dict[str, int] = {}
        self._parts: dict[str, float] = {}
        self._lock = Lock()
        self._saved_at = 0.0
        self._sampler: subprocess.Popen[bytes] | None = None
        self._flags: list[dict[str, str]] = []
        self._record: StageRecord | None = None
        self._live = _LiveLog(self.folder / LOG_NAME)

    @property
    def record(self) -> StageRecord:
        """What was measured. Raises `MeterError` before the block has ended."""
        if self._record is None:
            raise MeterError("the record is there once the with block has ended")
        return self._record

    def __enter__(self) -> Self:
        if "t" in self._facts:
            raise MeterError("a Meter meters one block; make another one for the next")
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise SpoolError(f"{self.folder} could not be made: {error}") from error
        self._facts["environment"] = dict(environments.collect() if self._environment is None else self._environment)
        self._start_sampler()
        self._facts["parent_id"] = _current.get()
        if self._synchronize:
            self._synchronize()
        self._ask("mark start")
        self._facts |= {"t": time.monotonic(), "started_at": datetime.now(UTC).isoformat()}
        self._save_start()
        self._token = _current.set(self.record_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        extra: dict[str, Any] = {}
        if error is not None:
            extra["error"] = f"{type(error).__name__}: {error}"[:300]
        try:
            self._finish("completed" if error is None else "failed", extra)
        except Exception as own:
            if error is None:
                raise
            error.add_note(f"stagemeter could not close the record of this stage either: {own!r}")

    def add_tokens(
        self, *, prompt: int = 0, generated: int = 0, trained: int = 0, padding: int = 0, evaluated: int = 0
    ) -> None:
        """Add to the counts of tokens worked on. Cheap: call it once a step."""
        given = dict(zip(TOKEN_KINDS, (prompt, generated, trained, padding, evaluated), strict=True))
        for kind, count in given.items():
            if count < 0:
                raise MeterError(f"{count} {kind} tokens cannot be added; counts only grow")
        with self._lock:
            for kind, count in given.items():
                if count:
                    self._tokens[kind] = self._tokens.get(kind, 0) + int(count)
        self._save_progress()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part of the stage (model_loading, validation, checkpoint); parts of one name add up."""
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._parts[name] = self._parts.get(name, 0.0) + time.monotonic() - began
            self._save_progress()

    def live(self) -> Live:
        """Energy and power so far, from the samples on disk. Cheap enough for every second; any thread may ask."""
        if "t" not in self._facts:
            raise MeterError("live figures are there once the with block has begun")
        self._save_progress()
        with self._lock:
            return self._live.figures(self._facts["t"], self._facts["period_s"], dict(self._tokens))

    def _start_sampler(self) -> None:
        """Start the sampling process and wait for its first sample."""
        with (self.folder / "sampler.log").open("ab") as errors:
            self._sampler = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.folder,  # nothing there can shadow a module
                env=self._sampler_environment(),
                start_new_session=True,  # Ctrl-C is for the stage
            )
        if not self._wait_for(b"ready", READY_WITHIN_S):
            self._kill_sampler()
            log = (self.folder / "sampler.log").read_text(errors="replace").strip()
            raise MeterError(f"sampling did not begin: {log.splitlines()[-1] if log else 'the sampler said nothing'}")

    def _command(self) -> list[str]:
        period, cache = str(self._facts["period_s"]), str(self._spool_dir.absolute() / "cpu.json")
        options = ["--pid", str(os.getpid()), "--period", period, "--cpu-cache", cache]
        return [sys.executable, "-m", "stagemeter.sampler", str(self.folder), *options]

    def _sampler_environment(self) -> dict[str, str]:
        values = dict(os.environ)
        here = str(Path(stagemeter.__file__).parent.parent)
        values["PYTHONPATH"] = os.pathsep.join(filter(None, [here, values.get("PYTHONPATH")]))
        if self._gpus is not None:
            values["CUDA_VISIBLE_DEVICES"] = self._gpus
        return values

    def _wait_for(self, word: bytes, seconds: float) -> bool:
        """Whether the sampler answered `word` in time."""
        sampler, deadline, heard = self._sampler, time.monotonic() + seconds, b""
        if sampler is None or sampler.stdout is None:
            return False
        while not heard.endswith(b"\n"):
            ready, _, _ = select.select([sampler.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(sampler.stdout.fileno(), 4096) if ready else b""
            if not data:
                return False
            heard += data
        return heard.split() == [word]

    def _ask(self, command: str) -> bool:
        """Have the sampler do something; whether it has."""
        if self._sampler is None or self._sampler.stdin is None:
            return False
        try:
            self._sampler.stdin.write(f"{command}\n".encode())
            self._sampler.stdin.flush()
        except OSError:
            return False
        return self._wait_for(b"done", ANSWER_WITHIN_S)

    def _kill_sampler(self) -> None:
        if self._sampler is None:
            return
        self._sampler.kill()
        self._close_sampler()

    def _close_sampler(self) -> None:
        sampler, self._sampler = self._sampler, None
        if sampler is None:
            return
        for stream in (sampler.stdin, sampler.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # it died with words for it unsent
                    continue
        sampler.wait()

    def _save_start(self) -> None:
        if self._sampler is None:
            raise MeterError("the sampler is gone")
        processes = {"process": spool.identity(os.getpid()), "sampler": spool.identity(self._sampler.pid)}
        spool.write_json(self.folder / "start.json", {**self._facts, **processes})

    def _progress(self) -> dict[str, Any]:
        return {"tokens": dict(self._tokens), "parts": dict(self._parts)}

    def _save_progress(self) -> None:
        """Keep counts on disk for the case that this process is killed; at most twice a second."""
        now = time.monotonic()
        with self._lock:
            if "t" not in self._facts or self._record is not None or now - self._saved_at < SAVE_EVERY_S:
                return
            self._saved_at = now
            if self._sampler is not None and self._sampler.poll() is not None:
                self._replace_sampler()
            spool.write_json(self.folder / "progress.json", self._progress(), durable=False)

    def _replace_sampler(self) -> None:
        """The sampler has died: go on with another one. The hole stays visible in the log and in the flags."""
        self._close_sampler()
        self._start_sampler()
        self._save_start()

    def _finish(self, status: str, extra: dict[str, Any]) -> None:
        if self._synchronize:
            try:
                self._synchronize()
            except RuntimeError as error:  # the device may be what failed
                self._flags.append(flag("not_synchronized", f"the device could not be synchronised: {error}"[:300]))
        end = time.monotonic()
        if not self._ask("mark end"):
            # It died unseen. Another one reads the counters once more, so that their difference is complete.
            self._kill_sampler()
            self._start_sampler()
        if not self._ask("stop"):
            self._flags.append(flag("sampler_died", "the sampler did not answer at the end of the stage"))
            self._kill_sampler()
        self._close_sampler()
        log = read_log(self.folder / LOG_NAME)
        record = assemble(
            self._facts, log, end_t=end, status=status, progress=self._progress(), extra=extra, flags=self._flags
        )
        spool.write_record(self._spool_dir.absolute(), record)
        self._record = record


class _LiveLog:
    """Reads what was appended since it last looked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._log = SampleLog()

    def figures(self, start: float, period_s: float, tokens: Mapping[str, int]) -> Live:
        self._read_on()
        log, now = self._log, time.monotonic()
        gpu_j = self._gpu_j(start)
        cpu_j = ram_j = cpu_w = ram_w = None
        if log.cpu:
            window = Window(start=start, end=max(log.cpu[-1].t, start), period_s=period_s)
            cpu, ram = cpu_energy(log, window)
            cpu_j, ram_j = cpu.value_j, ram.value_j
            cpu_w, ram_w = self._cpu_w()
        expected = [cpu_j, ram_j, *([gpu_j] if log.gpu_expected else [])]
        known = [value for value in expected if value is not None]
        return Live(
            duration_s=now - start,
            energy_j=sum(known) if len(known) == len(expected) else None,
            gpu_energy_j=gpu_j,
            cpu_energy_j=cpu_j,
            ram_energy_j=ram_j,
            gpu_power_w=self._gpu_w(),
            cpu_power_w=cpu_w,
            ram_power_w=ram_w,
            tokens=tokens,
        )

    def _read_on(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        add_lines(self._log, complete.splitlines())

    def _gpu_j(self, start: float) -> float | None:
        """Counters now minus counters at the start; `None` where a device has none or one ran backwards."""
        total = 0.0
        for points in self._log.gpu.values():
            first = next((p for p in points if p.t >= start - 1.0), points[-1])
            begin = max((p for p in points if p.t <= start), key=lambda p: p.t, default=first)
            if begin.mj is None or points[-1].mj is None or points[-1].mj < begin.mj:
                return None
            total += (points[-1].mj - begin.mj) / 1000
        return total if self._log.gpu else None

    def _gpu_w(self) -> float | None:
        watts = [points[-1].w for points in self._log.gpu.values()]
        known = [w for w in watts if w is not None]
        return sum(known) if known and len(known) == len(watts) else None

    def _cpu_w(self) -> tuple[float | None, float | None]:
        last = self._log.cpu[-1]
        before = next((p for p in reversed(self._log.cpu) if last.t - p.t > 0.5 and p.segment == last.segment), None)
        if before is None:
            return None, None
        span = last.t - before.t
        return (last.cpu_j - before.cpu_j) / span, (last.ram_j - before.ram_j) / span
