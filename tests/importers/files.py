"""Files as other tools write them, small."""

import csv
import io
import json
import tarfile
import zipfile

from registry.importers import reading

# The columns of 2.x in its order.
CC2 = [
    *("timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions", "emissions_rate", "cpu_power"),
    *("gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "country_name"),
    *("country_iso_code", "region", "cloud_provider", "cloud_region", "os", "python_version", "codecarbon_version"),
    *("cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude", "ram_total_size", "tracking_mode"),
    *("on_cloud", "pue"),
]
CC2_ROW = {
    "timestamp": "2026-01-31T12:00:00",
    "project_name": "kd",
    "run_id": "5b0fa12a-3dd7-45bb-9766-cc326314d9f1",
    "experiment_id": "5b0fa12a-3dd7-45bb-9766-cc326314d9f1",
    "duration": "3600.0",
    "emissions": "0.1",
    "cpu_energy": "0.05",
    "gpu_energy": "0.6",
    "ram_energy": "0.01",
    "energy_consumed": "0.66",
    "country_iso_code": "DEU",
    "os": "Linux-6.1",
    "python_version": "3.10.13",
    "codecarbon_version": "2.8.4",
    "cpu_count": "16",
    "cpu_model": "Xeon",
    "gpu_count": "1.0",
    "gpu_model": "1 x NVIDIA H100 80GB HBM3",
    "ram_total_size": "256.0",
    "tracking_mode": "process",
    "on_cloud": "N",
    "pue": "1.0",
}
CC3_MORE = {
    "codecarbon_version": "3.3.2",
    "water_consumed": "0.0",
    "cpu_utilization_percent": "12.5",
    "ram_used_gb": "8.0",
    "wue": "0",
}


def table(rows, columns=None):
    out = io.StringIO()
    writer = csv.DictWriter(out, columns or list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def emissions(*changes, columns=None):
    return table([{**CC2_ROW, **change} for change in changes or ({},)], columns)


STAGE = {
    "stage_id": "student_train",
    "stage_name": "sft 1B",
    "start_time": 1769860800.25,
    "end_time": 1769864400.25,
    "duration_seconds": 3600.0,
    "tokens_processed": 30_000_000,
    "gpu_energy_joules": 1_800_000.0,
    "gpu_avg_power_watts": 500.0,
    "gpu_peak_power_watts": 690.0,
    "total_codecarbon_energy_kwh": 0.06,
    "codecarbon_emissions_kg": 0.02,
    "codecarbon_cpu_energy_kwh": 0.05,
    "codecarbon_gpu_energy_kwh": 0.0,
    "codecarbon_ram_energy_kwh": 0.01,
    "cpu_energy_joules": 180_000.0,
    "total_energy_joules": 1_980_000.0,
    "total_energy_kwh": 0.55,
    "kwh_total": 0.55,
    "joules_per_token": 0.066,
    "tokens_per_second": 8333.3,
    "nvml_poll_interval_ms": 500,
}
ENVIRONMENT = {
    "hostname": "node-17.cluster.example",
    "gpus": [{"index": 0, "name": "NVIDIA H100 80GB HBM3", "driver_version": "550.1", "power_limit_watts": 700.0}],
    "cpu": {"brand": "Xeon 6442Y", "logical_cores": 16},
    "memory": {"total_gb": 256.0},
    "software": {"python_version": "3.10.13", "pytorch_version": "2.6.0+cu124"},
    "git_info": {"commit_hash": "0f2f317", "is_dirty": True, "remote_url": "git@example.org:someone/Energy"},
    "slurm_info": {"node_name": "node-17"},
}


def power_log(times, watts=500.0):
    return table([{"timestamp": t, "gpu_0_power_w": watts, "total_power_w": watts} for t in times])


def summary(**stages):
    return {
        "experiment_id": "sft_1B_2026-01-31",
        "experiment_name": "sft_1B",
        "start_time": "2026-01-31T12:00:00.1",
        "end_time": "2026-01-31T14:00:00.1",
        "total_energy_joules": 1.0,
        "stages": stages,
    }


def _bytes(value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in files.items():
            archive.writestr(name, _bytes(value))
    return out.getvalue()


def tarred(mode="w:gz", **files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, value in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(_bytes(value))
            archive.addfile(info, io.BytesIO(_bytes(value)))
    return out.getvalue()


def read(content, name="file", **options):
    return reading.read(io.BytesIO(content), name, **options)


def codes(item):
    return {remark["code"] for remark in (item.facts["flags"] if hasattr(item, "facts") else item.flags)}


LM_EVAL = {
    "results": {
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.41,
            "exact_match_stderr,strict-match": 0.013,
            "exact_match,flexible-extract": 0.43,
            "exact_match_stderr,flexible-extract": "N/A",
        }
    },
    "versions": {"gsm8k": 3.0},
    "n-shot": {"gsm8k": 5},
    "n-samples": {"gsm8k": {"original": 1319, "effective": 1319}},
    "higher_is_better": {"gsm8k": {"exact_match": None}},
    "config": {"model": "hf", "model_args": "pretrained=/home/someone/out/my-student,dtype=bfloat16", "limit": None},
    "git_hash": "abc123",
    "lm_eval_version": "0.4.13",
    "total_evaluation_time_seconds": "12.5",
}
OLD_LM_EVAL = {
    "results": {"mmlu": {"acc": 0.3, "acc_stderr": 0.01, "acc_norm": 0.31, "acc_norm_stderr": 0.01}},
    "versions": {"mmlu": 0},
    "config": {"model": "gpt2", "model_args": {"pretrained": "org/model"}, "limit": 100},
}
ALPACA = (
    b",win_rate,standard_error,n_wins,n_total,mode,avg_length,length_controlled_winrate,lc_standard_error\n"
    b"teacher-32b,20.5,1.2,160,805,community,1900,16.9,0.4\n"
    b"student-1b,3.5,0.6,28,805,community,1500,2.4,\n"
)
CARD = """---
license: apache-2.0
base_model: org/base
co2_eq_emissions:
  emissions: {emissions}
  source: "measured, NVML"
  training_type: fine-tuning
  hardware_used: "1 x H100 80GB"
model-index:
- name: my-model
  results:
  - task: {{type: text-generation}}
    dataset: {{name: GSM8K, type: gsm8k}}
    metrics: [{{type: exact_match, value: 0.51}}]
---
# My model
"""


def mlflow_run(power=None, **info):
    start = 1_769_860_800_000
    metrics = {"gsm8k": [{"value": 0.4, "timestamp": start + 60_000, "step": 1}], "train_loss": [{"value": 1.1}]}
    if power is not None:
        metrics["system/gpu_0_power_usage_watts"] = [
            {"value": 300.0, "timestamp": start + t * 1000, "step": t} for t in power
        ]
    values = {"run_id": "a" * 32, "run_name": "kd-seed0", "status": "FINISHED", "start_time": start}
    values |= {"end_time": start + 60_000} | info
    return {"mlflow": {"info": values, "params": {"seed": "3", "teacher": "org/teacher"}, "metrics": metrics}}
