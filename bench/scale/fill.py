"""Fills an empty registry with runs as a large installation would hold them: written by the database itself.

    STAGEMETER_HOME=/tmp/scale .venv/bin/python -m bench.scale.fill --runs 1000000 --study 100000

The first study, `large`, has `--study` runs of one configuration each. The others have 20,000 runs each, nine
(three seeds, three workloads) to a configuration. Every run has six stage records (three roots, three parts of the
training) and a summary; two of three use a teacher artifact. One run in a hundred has a hole, two in a hundred failed.
Energies follow pipeline and size with a spread, Q saturates with energy. Everything follows from one seed.
"""

import argparse
import json
import time

from registry import embedded

embedded.fill_environment()

import os  # noqa: E402

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")

import django  # noqa: E402

django.setup()

from django.db import connection  # noqa: E402

from registry.accounting.presets import tour  # noqa: E402

OTHER = 20_000
ENVIRONMENT = {
    "host_class": "3f1c9a",
    "cpu_model": "Intel Xeon Gold 6442Y",
    "cpu_threads": 96,
    "cpu_threads_usable": 16,
    "kernel": "6.1.0-18-amd64",
    "python": "3.11.9",
    "libraries": {"torch": "2.13.0+cu126", "transformers": "5.23.0", "accelerate": "1.15.0"},
    "git": {"commit": "0f2f3170c1aa", "dirty": False},
    "gpus": [{"name": "NVIDIA H100 80GB HBM3", "power_limit_w": 700, "driver": "550.90.07"}],
}

KEY = "(lpad(to_hex(1760000000000 + {n} * 10), 12, '0') || '7000' || '8000' || lpad(to_hex({n}), 12, '0'))::uuid"
RUN, STUDY = KEY.format(n="n"), "md5('study' || {s})::uuid"

SETUP = f"""
SELECT setseed(0.5);
INSERT INTO registry_project (id, slug, name, public, created_at)
SELECT md5('project' || p)::uuid, 'bench-' || p, 'Bench ' || p, true, now() FROM generate_series(0, 9) p;
INSERT INTO registry_study (id, created_at, slug, name, description, suite, average_workloads, origin, citation,
                            project_id)
SELECT {STUDY.format(s="s")}, now(), CASE s WHEN 0 THEN 'large' ELSE 'study-' || s END, 'Study ' || s, '',
       '["ifeval", "gsm8k", "mmlu"]', s > 0, 'upload', '', md5('project' || s %% 10)::uuid
FROM generate_series(0, %(studies)s) s;
INSERT INTO registry_artifact (id, created_at, kind, name, status, origin, fingerprint, family, identity, capture,
    teacher, dataset, storage_key, manifest, content_sha256, meta, licence, simulated, production_energy_j,
    production_missing, regenerate_reason, project_id, dataset_licence, evidence, evidence_note, licence_link,
    licence_name, licence_note, sharing, teacher_licence, handle)
SELECT md5('artifact' || s || '/' || a)::uuid, now(), (ARRAY['logit_cache', 'synthetic_dataset'])[1 + a %% 2],
       'artifact ' || a || ' of study ' || s, 'ready', 'upload', encode(sha256(('a' || s || '/' || a)::bytea), 'hex'),
       encode(sha256(('f' || s || '/' || a)::bytea), 'hex'), '{{}}', '{{}}', 'allenai/OLMo-2-0325-32B-SFT', 'tulu-3',
       '', '[]', '', '{{}}', 'Apache-2.0', false, 3.6e6 * (9 + 3 * random()), '[]', '',
       md5('project' || s %% 10)::uuid, '',
       '[]', '', '', '', '', 'project', '', ''
FROM generate_series(0, %(studies)s) s, generate_series(0, 39) a;
"""  # noqa: S608 (constants)

RUNS = f"""
CREATE TEMP TABLE drawn AS
SELECT n, {RUN} AS run, CASE WHEN n < %(study)s THEN 0 ELSE 1 + (n - %(study)s) / {OTHER} END AS s,
       (ARRAY['sft', 'kd', 'synthetic_sft'])[1 + n %% 3] AS pipeline, (n / 3) %% 3 AS size,
       exp(0.35 * (random() + random() + random() - 1.5)) AS spread, random() AS luck, random() AS noise
FROM generate_series(%(start)s::bigint, %(stop)s - 1) n;
INSERT INTO registry_run (id, created_at, external_id, pipeline, status, origin, spec, teacher, student, student_size,
    workload, seed, configuration, hardware_class, environment, simulated, regenerate_reason, error, started_at,
    finished_at, project_id, study_id)
SELECT run, to_timestamp(1760000000 + n * 0.01), 'cluster-run-' || n, pipeline,
       CASE WHEN luck < 0.02 THEN 'failed' ELSE 'finished' END, 'upload', %(spec)s::jsonb,
       'allenai/OLMo-2-0325-32B-SFT',
       (ARRAY['allenai/OLMo-2-0425-1B', 'allenai/OLMo-2-1124-7B', 'allenai/OLMo-2-1124-13B'])[1 + size],
       (ARRAY['1B', '7B', '13B'])[1 + size], (ARRAY['tulu-3', 'openr1-math', 'codeforces'])[1 + (n / 3) %% 3],
       n %% 3, encode(sha256(('c' || CASE s WHEN 0 THEN n ELSE n / 9 END)::bytea), 'hex'), '1 × NVIDIA H100 80GB',
       %(environment)s::jsonb, false, '', '', to_timestamp(1760000000 + n * 0.01), to_timestamp(1760007200 + n * 0.01),
       md5('project' || s %% 10)::uuid, {STUDY.format(s="s")}
FROM drawn;
INSERT INTO registry_artifactuse (how, used_share, created_at, artifact_id, run_id)
SELECT 'used', 1.0, now(),
       md5('artifact' || s || '/' || (2 * (n %% 20) + CASE pipeline WHEN 'kd' THEN 0 ELSE 1 END))::uuid, run
FROM drawn WHERE pipeline <> 'sft';
INSERT INTO registry_runsummary (run_id, data_energy_j, student_energy_j, evaluation_energy_j, gpu_energy_j,
    cpu_energy_j, duration_s, missing, quality, missing_scores, simulated, records, updated_at)
SELECT run, 3.6e6 * 0.37, CASE WHEN luck > 0.99 THEN NULL ELSE 3.6e6 * (ARRAY[6, 18, 32])[1 + size] * spread END,
       3.6e6 * (ARRAY[0.33, 0.68, 1.08])[1 + size], 3.6e6 * (ARRAY[6, 18, 32])[1 + size] * spread, 3.6e5, 7200,
       CASE WHEN luck > 0.99 THEN '{{"student": ["student_training: gpu"]}}'::jsonb ELSE '{{}}' END,
       0.4 + 0.5 * (1 - exp(-0.12 * (ARRAY[6, 18, 32])[1 + size] * spread)) + 0.1 * (noise - 0.5), '[]', false, 3, now()
FROM drawn;
"""  # noqa: S608 (constants)

STAGES = """
INSERT INTO registry_stage (id, created_at, origin, body_sha256, energy_j, record_id, schema_version, kind, role, name,
    parent_id, rank, world_size, status, started_at, ended_at, duration_s, components, gpu_energy_j, gpu_energy_lower_j,
    gpu_energy_upper_j, gpu_method, cpu_energy_j, cpu_method, ram_method, reported_method, sample_period_s, samples,
    coverage, longest_gap_s, trained_tokens, tokens_nominal, devices, environment, meter, flags, simulated, extra,
    project_id, run_id)
SELECT (lpad(to_hex(1760000000000 + n * 10 + k), 12, '0') || '700' || k || '9000' || lpad(to_hex(n), 12, '0'))::uuid,
       to_timestamp(1760000000 + n * 0.01), 'upload', md5(n || '/' || k) || md5(k || '/' || n), e,
       'cluster-run-' || n || '/' || k,
       1, CASE k WHEN 0 THEN 'preprocess' WHEN 2 THEN 'evaluation' ELSE 'student_training' END,
       CASE k WHEN 0 THEN 'data' WHEN 2 THEN 'evaluation' ELSE 'student' END,
       CASE k WHEN 3 THEN 'loading' WHEN 4 THEN 'validation' WHEN 5 THEN 'checkpoints' ELSE '' END,
       CASE WHEN k > 2 THEN 'cluster-run-' || n || '/1' ELSE '' END, 0, 1, 'completed',
       to_timestamp(1760000000 + n * 0.01), to_timestamp(1760003600 + n * 0.01), 3600, '["gpu", "cpu"]', 0.93 * e,
       0.92 * e, 0.94 * e, 'nvml total energy counter', 0.07 * e, 'codecarbon 3.3.2 process', '', '', 0.1, 36000,
       0.9998, 0.21,
       CASE WHEN k = 1 THEN 30000000 END, false, '["GPU-5d1c9a7e-8b1f-4a52-9a53-0c4f0a1e77aa"]',
       '{"host_class": "3f1c9a", "cpu_model": "Intel Xeon Gold 6442Y"}', '{"version": "0.4.0"}', '[]', false, '{}',
       md5('project' || s % 10)::uuid, run
FROM (SELECT n, s, run, k, 3.6e6 * (ARRAY[6, 18, 32])[1 + size] * spread
             * (ARRAY[0.05, 1, 0.06, 0.01, 0.04, 0.02])[1 + k] AS e
      FROM drawn, generate_series(0, 5) k ORDER BY n, k) each;
DROP TABLE drawn;
"""


def fill(runs: int, study: int, batch: int = 50_000) -> None:
    """Write `runs` runs, `study` of them into the study `large`."""
    with connection.cursor() as cursor:
        # Foreign keys hold by construction; checking six million of them would only take time.
        cursor.execute("SET session_replication_role = replica; SET synchronous_commit = off; SET work_mem = '256MB'")
        values = {"studies": 1 + max(runs - study - 1, 0) // OTHER, "study": study}
        spec, environment = json.dumps(tour(12, "kd").to_dict()), json.dumps(ENVIRONMENT)
        cursor.execute(SETUP, values)
        for start in range(0, runs, batch):
            begun = time.monotonic()
            span = {
                **values,
                "start": start,
                "stop": min(start + batch, runs),
                "spec": spec,
                "environment": environment,
            }
            cursor.execute(RUNS, span)
            cursor.execute(STAGES)
            print(f"{span['stop']:,} runs, {time.monotonic() - begun:.0f} s", flush=True)
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("SELECT registry_note_run_words()")  # no trigger has run
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
        print(cursor.fetchone()[0], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--study", type=int, default=100_000)
    asked = parser.parse_args()
    fill(asked.runs, asked.study)
