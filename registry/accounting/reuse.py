"""Reuse before regenerate: may a teacher artifact that exists answer this request?

Pure: a request and candidates in, one decision out. The services apply it inside one transaction under
a lock on the family.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from registry.accounting.canonical import CanonicalError, canonical, flatten
from registry.accounting.spec import ENCODINGS, DatasetSpec, DecodingSpec, DistillationSpec, ModelSpec
from registry.accounting.stages import TEACHER_ARTIFACTS

USE, CUT, WAIT, MAKE = "use", "cut", "wait", "make"
READY, MAKING = "ready", "making"
NEAR_MISSES_SHOWN = 5


class Rows(tuple[str, ...]):
    """Digests, sorted, each once. What a decision asks of thousands of them again and again is worked out once."""

    @cached_property
    def members(self) -> frozenset[str]:
        """The digests as a set."""
        return frozenset(self)

    @cached_property
    def key(self) -> str:
        """SHA-256 over the digests, a line each: equal sets are equal here."""
        return hashlib.sha256("\n".join([*self, ""]).encode()).hexdigest()

    @classmethod
    def of(cls, digests: Iterable[str]) -> "Rows":
        """The set of these digests, in the one spelling they are compared in.

        Raises `CanonicalError` where one is no text.
        """
        if isinstance(digests, cls):
            return digests
        given = list(digests)
        try:
            one_spelling = "".join(given).isascii()  # ASCII has one only, and nearly all digests are such
        except TypeError:  # one is no text; refused below, with its place
            one_spelling = False
        if not one_spelling:
            given = [canonical(digest, "row_digests") for digest in given]
        members = frozenset(given)
        # Most lists come sorted already, which sorting takes a twentieth of the time to see.
        rows = cls(sorted(given if len(members) == len(given) else members))
        rows.__dict__["members"] = members
        return rows


@dataclass(frozen=True, kw_only=True)
class ArtifactRequest:
    """What determines an artifact. `identity` is what must agree, `capture` what may be cut down to size."""

    kind: str
    # Must be equal: teacher id, revision, weights digest; tokenizer and chat-template digests; precision; engine;
    # decoding settings and seed; what happens to over-long rows. For a teacher artifact not the dataset: its rows'
    # digests say what was read, so two names for the same rows share one artifact.
    identity: Mapping[str, Any]
    # May be covered: k, temperatures, encoding, max_length; max_new_tokens.
    capture: Mapping[str, Any] = field(default_factory=dict)
    # Where less than `capture` would do if it is there already: a run at one temperature needs log Z at that one alone,
    # though what it made would hold the whole grid. No part of what the artifact is.
    needed: Mapping[str, Any] = field(default_factory=dict, compare=False)
    # One digest per row asked for (prompt, and for a logit cache the answer it is forced through), over-long ones
    # included: which of them are dropped follows from max_length. Other kinds follow from their identity, and what
    # stands here is only what came out.
    row_digests: tuple[str, ...] = ()

    @property
    def rows(self) -> frozenset[str]:
        """The digests as a set."""
        return self.row_digests.members if isinstance(self.row_digests, Rows) else frozenset(self.row_digests)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An artifact that exists or is being made, as the decision sees it."""

    artifact_id: str  # ordered by time: of two that serve equally well, the newer is offered
    name: str
    request: ArtifactRequest
    status: str  # ready | making
    production_energy_j: float | None = None
    superseded: bool = False  # somebody has named a better one: offered only where nothing else serves
    simulated: bool = False  # its energy was simulated, and marks every run that uses it: offered after measured ones


@dataclass(frozen=True, kw_only=True)
class NearMiss:
    """An artifact that would have served but for `differences` (dotted field → its value there, `asked` the one here).

    `would_save_j`: what adapting the request to it would save, which is its production energy for as many rows as are
    asked for; `None` if that is not known.
    """

    artifact_id: str
    name: str
    differences: Mapping[str, Any]
    asked: Mapping[str, Any] = field(default_factory=dict)
    would_save_j: float | None


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A larger capture to make instead: it would hold what is asked for and what the artifact holds that does not."""

    capture: Mapping[str, Any]  # only the settings that change
    artifact_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about one request, and why. `artifact_id` is set for use, cut and wait.

    Where what is waited for is made outside of the workers, `lease_id` names the lease instead, which ends at `until`.
    """

    action: str
    reason: str
    artifact_id: str | None = None
    lease_id: str | None = None
    until: datetime | None = None
    near_misses: tuple[NearMiss, ...] = ()
    offer: Offer | None = None


# What a request that leaves these out means.
_TEACHER_DEFAULTS: dict[str, Any] = {
    "teacher": {"revision": ModelSpec.revision},
    "precision": ModelSpec.precision,
    "engine": "transformers",
    "overlong_rows": "drop",
}
_DECODING_DEFAULTS: dict[str, Any] = {
    "temperature": DecodingSpec.temperature,
    "top_p": DecodingSpec.top_p,
    "top_k": DecodingSpec.top_k,
    "seed": DecodingSpec.seed,
}
_IDENTITY_DEFAULTS: dict[str, dict[str, Any]] = {
    "logit_cache": _TEACHER_DEFAULTS,
    "synthetic_dataset": {**_TEACHER_DEFAULTS, "decoding": _DECODING_DEFAULTS},
    "prepared_dataset": {
        # What is not stated, such as a column, determines nothing.
        "dataset": {field.name: field.default for field in fields(DatasetSpec) if field.default not in (MISSING, "")},
        "turns": "all",
    },
}
_CAPTURE_DEFAULTS: dict[str, dict[str, Any]] = {
    "logit_cache": {
        "k": DistillationSpec.k,
        "temperatures": DistillationSpec.temperatures,
        "encoding": "fp16",  # whatever a run asks for by default: what a fingerprint means does not change
        "max_length": DatasetSpec.max_length,
    },
    "synthetic_dataset": {"max_new_tokens": DecodingSpec.max_new_tokens, "max_length": DatasetSpec.max_length},
}


def normalised(request: ArtifactRequest) -> "_Normalised":
    """The request in one spelling: defaults filled in, JSON types, rows and temperatures as sorted sets.

    Raises `CanonicalError` where a value cannot be carried by JSON.
    """
    if isinstance(request, _Normalised):
        return request
    kind = canonical(request.kind, "kind")
    identity = _filled(_IDENTITY_DEFAULTS.get(kind, {}), canonical(request.identity, "identity"))
    capture = _filled(_CAPTURE_DEFAULTS.get(kind, {}), canonical(request.capture, "capture"))
    needed = dict(canonical(request.needed, "needed"))
    for settings in (capture, needed):
        if "temperatures" in settings:
            settings["temperatures"] = _temperatures(settings["temperatures"])
    decoding = identity.get("decoding")
    if isinstance(decoding, dict) and decoding.get("temperature") == 0:
        # Greedy decoding draws nothing, so what steers the drawing makes no difference.
        identity["decoding"] = decoding | {"top_p": 1, "top_k": 0, "seed": 0}
    dataset = identity.get("dataset")
    if kind == "prepared_dataset" and isinstance(dataset, dict):
        identity["dataset"] = {name: value for name, value in dataset.items() if value != ""}
    rows = Rows.of(request.row_digests) if kind in TEACHER_ARTIFACTS else ()
    return _Normalised(kind=kind, identity=identity, capture=capture, needed=needed, row_digests=rows)


class _Normalised(ArtifactRequest):
    """What `normalised` has made: once is enough, since a request may name thousands of rows."""

    @cached_property
    def _absent(self) -> dict[int, tuple[object, int]]:
        return {}

    def absent_from(self, have: ArtifactRequest) -> int:
        """How many of its rows `have` lacks; counted once for each set of rows."""
        if have.row_digests is self.row_digests:
            return 0
        known = self._absent.get(id(have.row_digests))
        if known is None:
            # Kept with the rows themselves, so that no others get their place in memory meanwhile.
            known = self._absent[id(have.row_digests)] = have.row_digests, len(self.rows - have.rows)
        return known[1]


def _temperatures(value: Any) -> list[int | float]:
    if not isinstance(value, list) or any(isinstance(t, bool) or not isinstance(t, int | float) for t in value):
        raise CanonicalError(f"capture.temperatures: {value!r} is not a list of numbers")
    return sorted(set(value))


def _filled(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` over `defaults`, object by object."""
    result = dict(canonical(defaults)) | dict(given)
    for key, default in defaults.items():
        if isinstance(default, Mapping) and isinstance(given.get(key), Mapping):
            result[key] = _filled(default, given[key])
    return result


def covers(have: ArtifactRequest, want: ArtifactRequest) -> tuple[str, ...]:
    """Why `want` cannot be cut out of `have`, one sentence a reason; empty when it can.

    Both are covered by more rows and, where over-long rows are dropped, by a greater length: what fits into the smaller
    one is in there too. A logit cache covers with k' ≥ k, T' ⊇ T and an encoding that is as fine; a synthetic dataset
    with max_new_tokens' ≥ max_new_tokens. Any other artifact only answers what equals it.
    """
    return _obstacles(normalised(have), normalised(want))


def _obstacles(have: ArtifactRequest, want: ArtifactRequest) -> tuple[str, ...]:
    if have.kind != want.kind:
        return (f"It is a {have.kind}, not a {want.kind}.",)
    fields = _identity_obstacles(have, want) | _capture_obstacles(have, want)
    return (*fields.values(), *_row_obstacles(have, want))


def _identity_obstacles(have: ArtifactRequest, want: ArtifactRequest) -> dict[str, str]:
    """Dotted field → sentence, for each field of the identity that differs."""
    theirs, ours = flatten(have.identity), flatten(want.identity)
    return {
        name: f"Its {name} is {_shown(theirs.get(name))}, not {_shown(ours.get(name))}."
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    }


def _shown(value: Any) -> str:
    return "not stated" if value is None else str(value)


def _capture_obstacles(have: ArtifactRequest, want: ArtifactRequest) -> dict[str, str]:
    """Field → sentence, for each capture setting that what is held cannot be cut down to."""
    ours = {**want.capture, **want.needed}
    compared = {
        name: _capture_obstacle(want, name, have.capture.get(name), ours.get(name))
        for name in sorted(have.capture.keys() | ours.keys())
    }
    return {name: sentence for name, sentence in compared.items() if sentence}


def _capture_obstacle(want: ArtifactRequest, name: str, theirs: Any, ours: Any) -> str:
    """One sentence, or none where `theirs` is or can be cut down to `ours`."""
    if theirs == ours or (name == "encoding" and _as_fine(theirs, ours)):
        return ""
    if name in _at_least_fields(want):
        return "" if _at_least(theirs, ours) else f"Its {name} is {_shown(theirs)}, below the {_shown(ours)} asked for."
    if name == "temperatures" and theirs is not None and ours is not None:
        absent = [t for t in ours if t not in theirs]
        return f"It holds the temperatures {_listed(theirs)}, not {_listed(absent)}." if absent else ""
    return f"Its {name} is {_shown(theirs)}, not {_shown(ours)}."


# Capture settings of which more can be cut down to less.
_AT_LEAST: dict[str, tuple[str, ...]] = {"logit_cache": ("k",), "synthetic_dataset": ("max_new_tokens",)}


def _at_least_fields(request: ArtifactRequest) -> tuple[str, ...]:
    """Rows that are dropped for their length leave the others as they are; rows that are cut to it would not."""
    dropped = request.kind in TEACHER_ARTIFACTS and request.identity.get("overlong_rows") == "drop"
    return (*_AT_LEAST.get(request.kind, ()), *(("max_length",) if dropped else ()))


def _as_fine(theirs: Any, ours: Any) -> bool:
    """A coarser encoding is what is left of a finer one once it is rounded."""
    known = isinstance(theirs, str) and isinstance(ours, str) and theirs in ENCODINGS and ours in ENCODINGS
    return known and ENCODINGS[theirs] >= ENCODINGS[ours]


def _at_least(theirs: Any, ours: Any) -> bool:
    return isinstance(theirs, int | float) and isinstance(ours, int | float) and theirs >= ours


def _listed(values: list[Any]) -> str:
    return ", ".join(str(value) for value in values)


def _row_obstacles(have: ArtifactRequest, want: ArtifactRequest) -> list[str]:
    if want.kind not in TEACHER_ARTIFACTS:
        return []
    if not want.row_digests:
        return ["The request names no rows, so nothing can be said to hold them."]
    absent = normalised(want).absent_from(have)
    return [f"It lacks {absent} of the {len(want.row_digests)} rows asked for."] if absent else []


def near_misses(request: ArtifactRequest, candidates: Iterable[Candidate]) -> tuple[NearMiss, ...]:
    """Artifacts of the same kind and teacher that do not answer `request`, fewest differences first, at most five.

    One that shares no row with the request would save nothing and is left out.
    """
    want = normalised(request)
    return _near_misses(want, [c for c in _normalised_candidates(candidates) if _obstacles(c.request, want)])


def _normalised_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    open_ones = [c for c in candidates if c.status in (READY, MAKING)]
    known = [c if isinstance(c.request, _Normalised) else replace(c, request=normalised(c.request)) for c in open_ones]
    return sorted(known, key=lambda candidate: candidate.artifact_id, reverse=True)


def _near_misses(want: ArtifactRequest, others: list[Candidate]) -> tuple[NearMiss, ...]:
    """`others`: those that do not answer it."""
    misses = [
        NearMiss(
            artifact_id=candidate.artifact_id,
            name=candidate.name,
            **_differences(candidate.request, want),
            would_save_j=_adapting_saves(candidate, want),
        )
        for candidate in others
        if _akin(candidate.request, want)
    ]
    return tuple(sorted(misses, key=_nearness)[:NEAR_MISSES_SHOWN])


def _akin(have: ArtifactRequest, want: ArtifactRequest) -> bool:
    same_teacher = _teacher_id(have) == _teacher_id(want)
    shared_rows = not want.row_digests or not have.rows.isdisjoint(want.rows)
    return have.kind == want.kind and same_teacher and shared_rows


def _teacher_id(request: ArtifactRequest) -> Any:
    return flatten(request.identity).get("teacher.id")


def _nearness(miss: NearMiss) -> tuple[int, float, str]:
    return len(miss.differences), -(miss.would_save_j or 0.0), miss.artifact_id


def _adapting_saves(candidate: Candidate, want: ArtifactRequest) -> float | None:
    """Joules that making the request anew would take, going by what each row of the candidate took."""
    held, asked = len(candidate.request.row_digests), len(want.row_digests)
    if candidate.production_energy_j is None or not held or not asked:
        return candidate.production_energy_j
    return candidate.production_energy_j * asked / held


def _differences(have: ArtifactRequest, want: ArtifactRequest) -> dict[str, dict[str, Any]]:
    """Dotted field → value, there and here, for every field in the way; for rows, how many of those asked for."""
    there = flatten(have.identity) | dict(have.capture)
    here = flatten(want.identity) | {**want.capture, **want.needed}
    in_the_way = [*_identity_obstacles(have, want), *_capture_obstacles(have, want)]
    different = {name: there.get(name) for name in in_the_way}
    asked = {name: here.get(name) for name in in_the_way}
    if _row_obstacles(have, want):
        held = len(want.row_digests) - normalised(want).absent_from(have)
        different["rows"] = f"{held} of the {len(want.row_digests)} asked for"
        asked["rows"] = len(want.row_digests)
    return {"differences": different, "asked": asked}


def _offer(want: ArtifactRequest, candidates: list[Candidate]) -> Offer | None:
    """The capture that would hold the request and the first artifact of its family that it lacks something of.

    Only for logit caches: one more temperature or a larger k costs next to nothing while the teacher reads the rows.
    """
    if want.kind != "logit_cache":
        return None
    for candidate in candidates:
        have = candidate.request
        if _identity_obstacles(have, want) or _row_obstacles(want, have):
            continue
        more = _union(have.capture, want.capture)
        if more:
            reason = f"With {_settings(more)} the new one would also hold all that {candidate.name} holds."
            return Offer(capture=more, artifact_id=candidate.artifact_id, reason=reason)
    return None


def _union(have: Mapping[str, Any], want: Mapping[str, Any]) -> dict[str, Any]:
    """What must grow in `want` so that it covers `have` too."""
    more: dict[str, Any] = {}
    if absent := set(have.get("temperatures", ())) - set(want.get("temperatures", ())):
        more["temperatures"] = sorted({*want.get("temperatures", ()), *absent})
    for name in ("k", "max_length"):
        if _at_least(have.get(name), want.get(name)) and have[name] != want[name]:
            more[name] = have[name]
    if have.get("encoding") != want.get("encoding") and _as_fine(have.get("encoding"), want.get("encoding")):
        more["encoding"] = have["encoding"]
    return more


def _settings(capture: Mapping[str, Any]) -> str:
    parts = [
        f"the temperatures {_listed(value)}" if name == "temperatures" else f"{name} {_shown(value)}"
        for name, value in capture.items()
    ]
    return " and ".join(parts)


def decide(request: ArtifactRequest, candidates: Iterable[Candidate], *, allow_regenerate: bool = False) -> Decision:
    """Use what equals the request, else cut it out of the smallest that covers it, else wait for one being made.

    Only where none of these exists is it made. `allow_regenerate` makes it again all the same: whoever passes it
    has checked that the person may, and keeps their reason.
    """
    answer = match(request, candidates).decision
    if allow_regenerate and answer.action != MAKE:
        return Decision(action=MAKE, reason=f"Made again on request, although: {answer.reason}")
    return answer


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Candidates by what they are to a request, and the decision between them."""

    exact: tuple[Candidate, ...]
    covering: tuple[Candidate, ...]
    making: tuple[Candidate, ...]
    near: tuple[NearMiss, ...]
    decision: Decision


def match(request: ArtifactRequest, candidates: Iterable[Candidate]) -> Matches:
    """What equals the request, what covers it, what is being made and will, in their order; and what nearly does."""
    want, given = normalised(request), list(candidates)
    known = _normalised_candidates(given)
    blocked = {c.artifact_id: bool(_obstacles(c.request, want)) for c in known}
    serving = {c.artifact_id: c for c in known if not blocked[c.artifact_id]}
    near = _near_misses(want, [c for c in known if blocked[c.artifact_id]])
    in_order = [serving[c.artifact_id] for c in given if c.artifact_id in serving]
    ready = [c for c in in_order if c.status == READY]
    return Matches(
        exact=tuple(c for c in ready if c.request == want),
        covering=tuple(c for c in ready if c.request != want),
        making=tuple(c for c in in_order if c.status == MAKING),
        near=near,
        decision=_decided(want, known, sorted(serving.values(), key=lambda c: _rank(c, want)), near),
    )


def _decided(
    want: ArtifactRequest, known: list[Candidate], serving: list[Candidate], near: tuple[NearMiss, ...]
) -> Decision:
    answer = _ready(serving, want) or _making(serving)
    if answer is None:
        reason = f"No {want.kind.replace('_', ' ')} that exists or is being made answers this request."
        answer = Decision(action=MAKE, reason=reason, near_misses=near, offer=_offer(want, known))
    return answer


def _ready(serving: list[Candidate], want: ArtifactRequest) -> Decision | None:
    best = next((c for c in serving if c.status == READY), None)
    if best is None:
        return None
    if best.request == want:
        return Decision(action=USE, artifact_id=best.artifact_id, reason=f"{best.name} is exactly what this run needs.")
    surplus = _surplus(best.request, want)
    return Decision(
        action=CUT,
        artifact_id=best.artifact_id,
        reason=f"What this run needs is cut out of {best.name}, which {surplus}.",
    )


def _making(serving: list[Candidate]) -> Decision | None:
    best = next((c for c in serving if c.status == MAKING), None)
    if best is None:
        return None
    return Decision(
        action=WAIT,
        artifact_id=best.artifact_id,
        reason=f"{best.name} was already being made when this was planned, and answers this request.",
    )


def size(request: ArtifactRequest) -> tuple[float, ...]:
    """Rows, length, k or token limit, encoding, temperatures: what covers a request is as large in each of them."""
    capture = request.capture
    width = next((capture[name] for name in _AT_LEAST.get(request.kind, ()) if name in capture), 0)
    encoding = ENCODINGS.get(capture.get("encoding", ""), 0)
    temperatures = len(capture.get("temperatures", ()))
    return len(request.rows), capture.get("max_length", 0), width, encoding, temperatures


def _rank(candidate: Candidate, want: ArtifactRequest) -> tuple[bool, bool, bool, int, float, int]:
    """Sorts superseded ones last, simulated ones before them, an exact answer first, then the smallest.

    Small is few rows, then a small k or token limit, then few temperatures.

    Candidates come newest first, and of those that rank alike the newest stays first.
    """
    have = candidate.request
    width = next((have.capture[n] for n in _AT_LEAST.get(have.kind, ()) if n in have.capture), 0)
    temperatures = len(have.capture.get("temperatures", ()))
    standing = candidate.superseded, candidate.simulated
    return *standing, have != want, len(have.row_digests), width, temperatures


def _surplus(have: ArtifactRequest, want: ArtifactRequest) -> str:
    """What a covering artifact holds beyond the request, as the end of a sentence."""
    parts = [
        f"has {name} {_shown(have.capture.get(name))} where {_shown(want.capture.get(name))} is asked for"
        for name in (*_at_least_fields(want), "encoding")
        if have.capture.get(name) != want.capture.get(name)
    ]
    if have.capture.get("temperatures") != want.capture.get("temperatures"):
        parts.append(f"holds the temperatures {_listed(have.capture['temperatures'])}")
    if have.row_digests != want.row_digests:
        parts.append(f"holds {len(have.row_digests)} rows where {len(want.row_digests)} are asked for")
    return " and ".join(parts)
