"""What a request for an artifact must be to be comparable with others, whoever states it: form, REST, run document."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from registry.accounting.reuse import ArtifactRequest
from registry.accounting.spec import ENCODINGS
from registry.accounting.stages import TEACHER_ARTIFACTS

LONGEST_NAME = 200

Rule = tuple[Callable[[Any], bool], str]  # whether a value will do, and what it must be


def _name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and "\x00" not in value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


_NAME: Rule = (_name, f"a text of 1 to {LONGEST_NAME} characters")
_COUNT: Rule = (_whole(1), "a whole number of 1 or more")
# Of the parts of an identity that everybody must mean the same by. Others may stand beside them and have to agree.
_TEACHER: dict[str, Rule] = {
    "teacher.id": _NAME,
    "teacher.revision": _NAME,
    "teacher.digest": _NAME,
    "tokenizer_digest": _NAME,
    "template_digest": _NAME,
    "precision": _NAME,
    "engine": _NAME,
    "overlong_rows": _NAME,
    "dataset.id": _NAME,
}
_DECODING: dict[str, Rule] = {
    "decoding.temperature": (lambda value: _number(value) and value >= 0, "a number of 0 or more"),
    "decoding.top_p": (lambda value: _number(value) and 0 < value <= 1, "above 0 and at most 1"),
    "decoding.top_k": (_whole(0), "a whole number of 0 or more"),
    "decoding.seed": (_whole(0), "a whole number of 0 or more"),
    "decoding.max_new_tokens": (lambda _: False, "in capture: longer answers can be cut to it"),
}
_IDENTITY: dict[str, dict[str, Rule]] = {
    "logit_cache": _TEACHER,
    "synthetic_dataset": _TEACHER | _DECODING,
    "prepared_dataset": {"dataset.id": _NAME, "teacher.id": _NAME},
}
_NEEDED = {"logit_cache": ("teacher.id",), "synthetic_dataset": ("teacher.id",)}
_CAPTURE: dict[str, dict[str, Rule]] = {
    "logit_cache": {
        "k": _COUNT,
        "temperatures": (
            lambda value: isinstance(value, list | tuple) and bool(value) and all(_number(t) and t > 0 for t in value),
            "a list of temperatures above 0",
        ),
        "encoding": (lambda value: isinstance(value, str) and value in ENCODINGS, f"one of {', '.join(ENCODINGS)}"),
        "max_length": _COUNT,
    },
    "synthetic_dataset": {"max_new_tokens": _COUNT, "max_length": _COUNT},
}


def problems(request: ArtifactRequest) -> dict[str, str]:
    """Every reason the request could be compared with nothing, by dotted field; empty where there is none."""
    kind = request.kind
    found = _part_problems("identity", request.identity, _IDENTITY.get(kind, {}), _NEEDED.get(kind, ()))
    known = _CAPTURE.get(kind)
    if known is not None:
        found |= _part_problems("capture", request.capture, known)
        found |= {
            f"capture.{str(name)[:80]}": f"unknown setting; known of a {kind} are {', '.join(known)}"
            for name in request.capture.keys() - known.keys()
        }
    return found | _row_problems(request)


def _part_problems(
    part: str, given: Mapping[str, Any], rules: Mapping[str, Rule], needed: tuple[str, ...] = ()
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, (holds, wanted) in rules.items():
        *above, leaf = name.split(".")
        place: Any = given
        if above:
            place = given.get(above[0], {})
            if not isinstance(place, Mapping):
                if name.endswith((".id", ".temperature")):  # once for the whole object
                    found[f"{part}.{name}"] = f"{above[0]} is {str(place)[:80]!r} and must be an object"
                continue
        if leaf in place and place[leaf] is not None:
            if not holds(place[leaf]):
                found[f"{part}.{name}"] = f"{str(place[leaf])[:80]!r} must be {wanted}"
        elif name in needed:
            found[f"{part}.{name}"] = f"left out; it must be {wanted}"
    return found


def _row_problems(request: ArtifactRequest) -> dict[str, str]:
    if request.kind not in TEACHER_ARTIFACTS:
        return {}
    if not request.row_digests:
        return {"row_digests": "a teacher artifact is told from others by its rows; send the digest of each"}
    bad = next((row for row in request.row_digests if not _name(row)), None)
    return {} if bad is None else {"row_digests": f"{str(bad)[:80]!r} must be {_NAME[1]}, the digest of a row"}
