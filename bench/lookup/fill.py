"""Fills the registry with artifacts as a large installation would hold them, by COPY. Called by run.py.

What is drawn: 400 teachers by Zipf's law, 100 pools of 7,000 prompts with 20 sets of 250 to 7,000 rows in each, logit
caches with several k and temperatures, synthetic datasets with several temperatures, limits and seeds, 50 projects of
which 15 are public, licences of which some forbid sharing. Everything follows from one seed.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection
from uuid6 import uuid7

from registry.accounting.fingerprint import family
from registry.accounting.reuse import ArtifactRequest
from registry.models import Artifact, Project, RowSet
from registry.services import rowsets

SIZES = (250, 500, 1000, 1000, 2000, 3500, 7000)
LICENCES = ("Apache-2.0", "Apache-2.0", "Apache-2.0 AND ODC-By-1.0", "MIT", "CC-BY-NC-4.0", "")
TEACHERS, POOLS, SETS_OF_POOL, PROJECTS = 400, 100, 20, 50


@dataclass(frozen=True)
class Drawn:
    """One artifact in the terms of a request."""

    project: int
    kind: str
    identity: dict
    capture: dict
    rows: str
    licence: str


def projects() -> list[Project]:
    """The projects, made once; every third or so is public."""
    return [
        Project.objects.get_or_create(slug=f"bench-{n}", defaults={"name": f"Bench {n}", "public": n % 10 < 3})[0]
        for n in range(PROJECTS)
    ]


def row_sets(seed: int = 0) -> list[str]:
    """Keys of the sets of rows, written once. Where a set is its whole pool, another one is often equal to it."""
    if RowSet.objects.count() > POOLS * SETS_OF_POOL // 2:
        return list(RowSet.objects.order_by("pk").values_list("pk", flat=True))
    draw = random.Random(seed)  # noqa: S311 (no secret)
    for pool in range(POOLS):
        digests = [hashlib.sha256(f"{pool}/{row}".encode()).hexdigest() for row in range(7000)]
        sets = []
        for _ in range(SETS_OF_POOL):
            rows = sorted(draw.sample(digests, draw.choice(SIZES)))
            keys = [rowsets.key_of(digest) for digest in rows]
            sets.append(RowSet(sha256=rowsets.digest_of(rows), count=len(rows), digests=rows, keys=keys))
        RowSet.objects.bulk_create(sets, ignore_conflicts=True)
    return list(RowSet.objects.order_by("pk").values_list("pk", flat=True))


def draws(sets: list[str], start: int, stop: int) -> Iterator[Drawn]:
    """Artifacts number `start` to `stop`: the same ones whatever was asked for before."""
    for number in range(start, stop):
        draw = random.Random(number)  # noqa: S311 (no secret)
        teacher = (
            min(int(draw.paretovariate(0.6)) - 1, TEACHERS - 1) if draw.random() < 0.7 else draw.randrange(TEACHERS)
        )
        identity = {
            "teacher": {
                "id": f"lab-{teacher % 37}/teacher-{teacher}",
                "revision": "main",
                "digest": f"sha256:{teacher:064x}",
            },
            "tokenizer_digest": f"sha256:{teacher % 20:064x}",
            "template_digest": f"sha256:{teacher % 11:064x}",
            "precision": draw.choice(("bf16", "bf16", "fp32")),
            "engine": "transformers",
            "overlong_rows": "drop",
        }
        if draw.random() < 0.3:
            kind = "logit_cache"
            capture = {
                "k": draw.choice((20, 50, 100, 256)),
                "temperatures": [1, 2, 4],
                "encoding": "fp16",
                "max_length": 1024,
            }
        else:
            kind = "synthetic_dataset"
            decoding = {
                "temperature": draw.choice((0.5, 0.7, 1)),
                "top_p": 0.9,
                "top_k": 0,
                "seed": draw.randrange(200),
            }
            identity["decoding"] = decoding
            capture = {"max_new_tokens": draw.choice((256, 512, 1024)), "max_length": 1024}
        yield Drawn(draw.randrange(PROJECTS), kind, identity, capture, draw.choice(sets), draw.choice(LICENCES))


def fill(total: int) -> None:
    """Bring the number of artifacts up to `total`."""
    here, sets = projects(), row_sets()
    start = Artifact.objects.count()
    if start >= total:
        return
    columns = [field.column for field in Artifact._meta.concrete_fields]
    families: dict[str, str] = {}
    now = datetime.now(UTC)
    with connection.cursor() as cursor:
        statement = f"COPY registry_artifact ({', '.join(columns)}) FROM STDIN"
        with cursor.copy(statement) as copy:
            for number, one in enumerate(draws(sets, start, total), start=start):
                spelt = json.dumps([one.kind, one.identity], sort_keys=True)
                if spelt not in families:
                    families[spelt] = family(ArtifactRequest(kind=one.kind, identity=one.identity))
                values = _row(one, number, here, families[spelt], now)
                copy.write_row([values[column] for column in columns])
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) registry_artifact")
        cursor.execute("VACUUM (ANALYZE) registry_rowset")


def _row(one: Drawn, number: int, here: list[Project], family_key: str, now: datetime) -> dict:
    teacher = one.identity["teacher"]["id"]
    known = {
        "id": str(uuid7()),
        "created_at": now,
        "ready_at": now,
        "project_id": str(here[one.project].pk),
        "kind": one.kind,
        "name": f"{one.kind.replace('_', ' ')}: {teacher}, pool {one.rows[:6]}",
        "handle": f"bench-{number}",
        "version": 1,
        "status": "ready",
        "origin": "upload",
        # Not looked at for teacher artifacts; the real one would take hours over all these rows.
        "fingerprint": hashlib.sha256(f"bench {number}".encode()).hexdigest(),
        "family": family_key,
        "identity": json.dumps(one.identity),
        "capture": json.dumps(one.capture),
        "rows_id": one.rows,
        "teacher": teacher,
        "dataset": f"pool-{one.rows[:2]}",
        "manifest": "[]",
        "meta": "{}",
        "bytes": 10**6 + number,
        "licence": one.licence,
        "sharing": "shared" if number % 5 == 0 and one.licence not in ("", "CC-BY-NC-4.0") else "project",
        "simulated": False,
        "production_energy_j": 1e6 + (number * 7919) % 10**8,
        "production_missing": "[]",
        "evidence": "[]",
    }
    empty = {field.column: None if field.null else "" for field in Artifact._meta.concrete_fields}
    return empty | known
