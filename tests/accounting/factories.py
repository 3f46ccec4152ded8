"""Requests and candidates with everything filled in, for tests that change one thing."""

from registry.accounting.reuse import ArtifactRequest, Candidate

TEACHER = {
    "teacher": {"id": "acme/teacher-32b", "revision": "main", "digest": "aa"},
    "tokenizer_digest": "bb",
    "template_digest": "cc",
    "precision": "bf16",
    "engine": "transformers",
    "overlong_rows": "drop",
}
DECODING = {"temperature": 0.7, "top_p": 0.9, "top_k": 0, "seed": 0}
ROWS = ("r1", "r2", "r3")


def cache_request(*, identity=None, rows=ROWS, **capture):
    settings = {"k": 100, "temperatures": (1.0, 2.0, 4.0), "encoding": "fp16", "max_length": 1024} | capture
    return ArtifactRequest(kind="logit_cache", identity=TEACHER | (identity or {}), capture=settings, row_digests=rows)


def synthetic_request(*, identity=None, decoding=None, rows=ROWS, max_new_tokens=512, max_length=1024):
    whole = TEACHER | {"decoding": DECODING | (decoding or {})} | (identity or {})
    capture = {"max_new_tokens": max_new_tokens, "max_length": max_length}
    return ArtifactRequest(kind="synthetic_dataset", identity=whole, capture=capture, row_digests=rows)


def candidate(request, *, artifact_id="a1", status="ready", energy_j=1000.0):
    return Candidate(
        artifact_id=artifact_id,
        name=f"artifact {artifact_id}",
        request=request,
        status=status,
        production_energy_j=energy_j,
    )
