"""Hosts, by class: what they are made of and what they burn when idle."""

from collections.abc import Mapping
from typing import Any

from registry.models import HostProfile, Origin, Project
from registry.services import ledger
from stagemeter.errors import RecordError
from stagemeter.records import StageRecord


def hardware_class(environment: Mapping[str, Any]) -> str:
    """A name two comparable hosts share: GPU model and count, else CPU model and threads used."""
    names = [gpu.get("name", "GPU") for gpu in environment.get("gpus") or []]
    if names:
        return f"{len(names)} × {names[0]}"
    threads = environment.get("cpu_threads_usable") or environment.get("cpu_threads") or "?"
    return f"{environment.get('cpu_model') or 'CPU'}, {threads} threads"


def note_host(*, environment: Mapping[str, Any], project: Project) -> HostProfile:
    """The profile of the host that `environment` describes, made or brought up to date."""
    profile, _ = HostProfile.objects.update_or_create(
        key=_key(environment),
        defaults={"hardware_class": hardware_class(environment), "environment": dict(environment)},
        create_defaults={
            "hardware_class": hardware_class(environment),
            "environment": dict(environment),
            "project": project,
        },
    )
    return profile


def _key(environment: Mapping[str, Any]) -> str:
    """The machine's. With a simulated GPU it is another host, whose idle power must not be taken for the real one's."""
    key = str(environment.get("host_class", "unknown"))
    simulated = any(str(gpu.get("name")).startswith("Simulated ") for gpu in environment.get("gpus") or [])
    return f"{key} simulated" if simulated else key


def kept_prerun(profile: HostProfile) -> StageRecord | None:
    """The host's last prerun; `None` where there is none, or none that this release can read."""
    try:
        return StageRecord.from_dict(profile.prerun) if profile.prerun else None
    except RecordError:
        return None


def note_prerun(*, profile: HostProfile, record: StageRecord) -> None:
    """Book an idle baseline and keep it on the host's profile. It is never part of a run's total."""
    profile.idle_power_w = record.idle_power_w
    profile.prerun = record.to_dict()
    profile.save(update_fields=["idle_power_w", "prerun", "seen_at"])
    ledger.record_stage(record=record, project=profile.project, origin=Origin.WORKER)
