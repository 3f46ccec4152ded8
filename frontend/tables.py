"""The tables of the pages as rows of plain values: what their downloads hold, to every digit. Pure.

Each takes what its page shows (the view's context) and gives one dictionary a row. Units stand in the names; energies
are in kWh, and `None` is not measured.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from registry.accounting.frontier import Point
from registry.accounting.outlook import Spot
from registry.accounting.units import kwh

COMPONENTS = ("gpu", "cpu", "ram", "reported")

Row = dict[str, Any]
Context = Mapping[str, Any]
Table = Callable[[Context], list[Row]]


def _kwh(energy_j: float | None) -> float | None:
    return None if energy_j is None else kwh(energy_j)


def _named(point: Point, as_: str = "") -> Row:
    of = {"pipeline": point.pipeline, "student": point.student, "hardware": point.hardware, "key": point.key}
    return {f"{as_}_{name}" if as_ else name: value for name, value in of.items()}


def _position(spot: Spot) -> Row:
    return {"cost": spot.cost, "quality": spot.quality}


def points(view: Context) -> list[Row]:
    """Every complete configuration on the chosen axes, with energy by role and how sure its place is."""
    return [_point(row, view) for row in view["rows"]]


def _point(row: Any, view: Context) -> Row:
    spot, point, sure = row.spot, row.placement.point, row.sure
    beaten = spot.beaten_by
    return {
        **_named(point),
        "workloads": "; ".join(point.workloads),
        "n": point.n,
        **_position(spot),
        "cost_sd": spot.cost_sd,
        "cost_lower": sure.cost.lower if sure and sure.cost else None,
        "cost_upper": sure.cost.upper if sure and sure.cost else None,
        "quality_sd": point.q_sd,
        "quality_lower": sure.quality.lower if sure and sure.quality else None,
        "quality_upper": sure.quality.upper if sure and sure.quality else None,
        "energy_kwh": _kwh(point.energy_j),
        **{f"{role}_kwh": _kwh(point.by_role_j.get(role)) for role in view["roles"]},
        "j_per_token": point.j_per_token,
        "tokens_nominal": point.tokens_nominal,
        "co2e_kg": row.co2e_kg,
        "sci_kg": row.sci.kg if row.sci else None,
        "on_frontier": spot.on_front,
        "probability": sure.probability if sure else None,
        "verdict": sure.verdict if sure else None,
        "dominated_by": beaten.key if beaten else None,
        "cost_excess": spot.cost_excess,
        "quality_shortfall": spot.quality_shortfall,
        "simulated": point.simulated,
        "flagged": point.flagged,
        "run_ids": "; ".join(point.run_ids),
    }


def partial(view: Context) -> list[Row]:
    """Configurations that lack something."""
    return [
        {**_named(spot.point), **_position(spot), "missing": "; ".join(spot.missing)}
        for spot in view["outlook"].seen.partial
    ]


def breakdown(view: Context) -> list[Row]:
    """One row for each role of each configuration: energy, share, what was lost, net of idle."""
    return [
        {
            **_named(point),
            "role": role,
            "energy_kwh": _kwh(part.energy_j),
            "share": part.share,
            "lost_kwh": _kwh(part.lost_j),
            "net_kwh": _kwh(part.net_j),
        }
        for point, role, part in _parts(view)
    ]


def floor(view: Context) -> list[Row]:
    """One row for each role of each configuration: energy, the floor, and how many times it."""
    return [
        {
            **_named(point),
            "role": role,
            "energy_kwh": _kwh(part.energy_j),
            "floor_kwh": _kwh(part.floor_j),
            "times_the_floor": part.times_the_floor,
        }
        for point, role, part in _parts(view)
    ]


def _parts(view: Context) -> Iterable[tuple[Point, str, Any]]:
    for placement in view["view"].placements:
        for role, part in (view["splits"].get(placement.point.key) or {}).items():
            yield placement.point, role, part


def rates(view: Context) -> list[Row]:
    """What a token took, by stage."""
    return [
        {
            "pipeline": line.pipeline,
            "student": line.student,
            "stage": line.kind,
            "n": line.n,
            "energy_kwh": _kwh(line.energy_j),
            "duration_s": line.duration_s,
            "j_per_token": line.rate.joules_per_token,
            "tokens_per_s": line.rate.tokens_per_second,
            "tokens": line.rate.tokens,
            "over": line.rate.denominator,
            "nominal": line.rate.nominal,
        }
        for line in view["rates"]
    ]


def break_even(view: Context) -> list[Row]:
    """N* of each distilled configuration."""
    return [
        {
            **_named(row.pair.distilled, "distilled"),
            **_named(row.pair.baseline, "baseline"),
            "teacher_kwh": _kwh(row.pair.teacher_j),
            **_reuse(row.pair.result),
            "n_star_lower": row.interval.lower if row.interval else None,
            "n_star_upper": row.interval.upper if row.interval else None,
            "never_share": row.interval.never if row.interval else None,
        }
        for row in view["paybacks"]
    ]


def _reuse(result: Any) -> Row:
    exact = None if result.exact is None else float(result.exact)
    return {"verdict": result.verdict, "n_star": result.count, "n_star_exact": exact, "delta_q": result.delta_q}


def amortised(view: Context) -> list[Row]:
    """Energy per student at each count; N = ∞ last."""
    heads = [*(f"n_{n}_kwh" for n in view["counts"]), "n_infinite_kwh"]
    return [
        {**_named(point), **dict(zip(heads, map(_kwh, energies), strict=True))} for point, energies in view["amortised"]
    ]


def substitutes(view: Context) -> list[Row]:
    """T* of a small student in the place of a larger one."""
    return [
        {
            **_named(row.small.point, "small"),
            **_named(row.large.point, "large"),
            "delta_q": row.against_large.delta_q,
            "small_j_per_token": row.small_j_per_token,
            "large_j_per_token": row.large_j_per_token,
            "rates_stated": row.stated,
            **_serving(row.against_large, "against_large"),
            **_serving(row.same_size, "against_same_size"),
            "days": days,
        }
        for row, days in view["substitutes"]
    ]


def _serving(found: Any, as_: str) -> Row:
    tokens = None if found is None or found.tokens is None else float(found.tokens)
    return {f"{as_}_verdict": None if found is None else found.verdict, f"{as_}_tokens": tokens}


def comparability(view: Context) -> list[Row]:
    """In what the runs agree or differ."""
    return [
        {"what": mix.what, "stated": words, "runs": len(keys), "run_ids": "; ".join(keys)}
        for mix in view["outlook"].mixes
        for words, keys in mix.runs_of.items()
    ]


def settings(view: Context) -> list[Row]:
    """Every setting that varies, one row for each value of each curve."""
    return [
        {
            "pipeline": one.pipeline,
            "setting": one.setting,
            "student": curve.student,
            "curve": curve.label,
            "value": value if isinstance(value, int | float) and not isinstance(value, bool) else str(value),
            **_position(spot),
            "n": spot.point.n,
            "workloads": "; ".join(spot.point.workloads),
            "on_frontier": spot.on_front,
        }
        for _name, _id, one, _figure in view["found"]
        for curve in one.curves
        for value, spot in curve.points
    ]


def workloads(view: Context) -> list[Row]:
    """Each configuration on each workload, and the mean."""
    found = []
    for row in view["rows"]:
        spots = [*zip(view["workloads"], row.by_workload, strict=True), ("mean", row.mean)]
        found += [
            {**_named(row.point), "workload": name, **_position(spot)} for name, spot in spots if spot is not None
        ]
    return found


def candidates(view: Context) -> list[Row]:
    """What was measured of what the reader asked for."""
    names = ("rest_kwh", "teacher_kwh", "training_kwh", "j_per_token", "serving_kwh", "total_kwh", "verdict")
    return [
        {**_named(one.spot.point), "q": one.spot.quality, **{name: getattr(one, name) for name in names}}
        for one in view["advice"].candidates
    ]


def transferred(view: Context) -> list[Row]:
    """Energies before and after the factors."""
    return [
        {
            "pipeline": point.pipeline,
            "student": point.student,
            "hardware": point.hardware,
            "key": point.key,
            "q": point.q,
            "energy_kwh": _kwh(point.before_j),
            "transferred_kwh": _kwh(point.after_j),
            "on_frontier": point.stood,
            "transferred_on_frontier": point.stands,
        }
        for point in view["rows"]
    ]


def transferred_break_even(view: Context) -> list[Row]:
    """N* before and after the factors."""
    return [
        {
            **_named(pair.before.distilled, "distilled"),
            **_named(pair.before.baseline, "baseline"),
            **{f"measured_{name}": value for name, value in _reuse(pair.before.result).items()},
            **{f"transferred_{name}": value for name, value in _reuse(pair.after.result).items()},
        }
        for pair in view["found"].pairs
    ]


def claims(view: Context) -> list[Row]:
    """One row for each figure of each claim."""
    return [
        {
            "claim": claim.key,
            "section": claim.section,
            "statement": claim.statement,
            "verdict": claim.verdict,
            "because": claim.because,
            "figure": figure.label,
            "value": figure.value,
            "shown": figure.shown,
            "unit": figure.unit,
            "stated": figure.stated,
        }
        for claim, _words, _tag in view["claims"]
        for figure in claim.figures
    ]


def comparison(view: Context) -> list[Row]:
    """Facts of runs side by side: one column a run."""
    names = [name for name, _detail in view["names"]]
    return [
        {"group": row.group, "fact": row.name, "in": row.kind, **dict(zip(names, map(_cell, row.values), strict=True))}
        for row in view["rows"]
    ]


def _cell(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value


def power(view: Context) -> list[Row]:
    """Every device of every record with a trace."""
    return [
        {
            "stage": row.stage.kind,
            "rank": row.stage.rank,
            "status": row.stage.status,
            "component": row.line.component,
            "device": row.line.device,
            "name": row.name,
            "samples": row.line.samples,
            "lowest_w": row.line.lowest_w,
            "mean_w": row.line.mean_w,
            "highest_w": row.line.highest_w,
            "longest_gap_s": row.line.longest_gap_s,
        }
        for row in view["power"]
    ]


def records(view: Context) -> list[Row]:
    """Every standing record of a run, with the energy of each component and its bounds in joules."""
    return [_record(record) for stage in view["detail"].stages for record in stage.records]


def _record(record: Any) -> Row:
    components = {
        f"{name}_energy_{side}j": getattr(record, f"{name}_energy_{side}j")
        for name in COMPONENTS
        for side in ("", "lower_", "upper_")
    }
    return {
        "record_id": str(record.record_id),
        "stage": record.kind,
        "role": record.role,
        "rank": record.rank,
        "status": record.status,
        "energy_j": record.energy_j,
        **components,
        "duration_s": record.duration_s,
        "coverage": record.coverage,
        "longest_gap_s": record.longest_gap_s,
        "flags": "; ".join(flag["code"] for flag in record.flags),
        "simulated": record.simulated,
    }


def scores(view: Context) -> list[Row]:
    """Each benchmark of a run beside its teacher's. `None` is not scored, or not stated."""
    return [
        {
            "benchmark": line.benchmark,
            "value": line.score.value if line.score else None,
            "stderr": line.score.stderr if line.score else None,
            "n": line.score.n if line.score else None,
            "metric": line.score.metric if line.score else None,
            "judge": line.score.judge if line.score else None,
            "teacher": line.teacher.value if line.teacher else None,
            "share_kept": line.retention,
        }
        for line in view["detail"].scores
    ]


def uses(view: Context) -> list[Row]:
    """Who used an artifact."""
    return [
        {
            "run": str(use.run_id),
            "pipeline": use.run.pipeline,
            "student": use.run.student_size or use.run.student,
            "study": use.run.study.slug,
            "how": use.how,
            "share": use.used_share,
            "status": use.run.status,
            "at": use.created_at,
        }
        for use in view["detail"].uses
    ]


def per_use(view: Context) -> list[Row]:
    """Energy per use as uses grow."""
    return [
        {"finished_runs": point.uses, "run": point.run and str(point.run.pk), "energy_kwh": _kwh(point.energy_j)}
        for point in view["detail"].per_use
    ]


def artifact_break_even(view: Context) -> list[Row]:
    """N* of an artifact against the baseline of each size."""
    return [
        {
            "study": study.slug,
            **_named(pair.distilled),
            **_reuse(pair.result),
            "used_so_far": view["detail"].finished_uses,
        }
        for study, pair in view["detail"].break_evens
    ]


def attempts(view: Context) -> list[Row]:
    """Production energy by attempt."""
    return [
        {
            "attempt": one.number,
            "status": one.status,
            "run": str(one.run.pk) if one.run else None,
            "records": one.records,
            "energy_kwh": _kwh(one.energy_j),
        }
        for one in view["detail"].attempts
    ]


def artifacts(view: Context) -> list[Row]:
    """The artifacts of one page of the list."""
    return [
        {
            "id": str(one.pk),
            "name": one.name,
            "handle": one.handle,
            "version": one.version,
            "kind": one.kind,
            "status": one.status,
            "teacher": one.teacher,
            "dataset": one.dataset,
            "licence": one.licence,
            "rows": one.rows.count if one.rows else None,
            "production_kwh": _kwh(one.production_energy_j),
            "finished_uses": one.finished_uses,
            "bytes": one.bytes,
            "simulated": one.simulated,
            "fingerprint": one.fingerprint,
        }
        for one in view["rows"]
    ]


# By page, its tables by the name in their address.
STUDY: Mapping[str, Table] = {
    "points": points,
    "partial": partial,
    "breakdown": breakdown,
    "floor": floor,
    "rates": rates,
    "break-even": break_even,
    "amortised": amortised,
    "substitutes": substitutes,
    "comparability": comparability,
}
SETTINGS: Mapping[str, Table] = {"settings": settings, "workloads": workloads}
ADVICE: Mapping[str, Table] = {"candidates": candidates}
TRANSFER: Mapping[str, Table] = {"transferred": transferred, "transferred-break-even": transferred_break_even}
CLAIMS: Mapping[str, Table] = {"claims": claims}
RUN: Mapping[str, Table] = {"power": power, "records": records, "scores": scores}
ARTIFACT: Mapping[str, Table] = {
    "uses": uses,
    "per-use": per_use,
    "break-even": artifact_break_even,
    "attempts": attempts,
}
