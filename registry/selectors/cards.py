"""An artifact as other catalogues know it: Croissant JSON-LD, and the card of a Hugging Face dataset.

Both are made from its row alone. Addresses are those of this installation; a file behind one needs the reader's token
where the project is not public.
"""

import json
from collections.abc import Callable
from typing import Any

from registry.accounting.canonical import flatten
from registry.accounting.units import kwh
from registry.models import Artifact

CROISSANT = "http://mlcommons.org/croissant/1.0"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
# The columns of the files that workers write as JSON lines.
COLUMNS: dict[str, dict[str, str]] = {
    "answers.jsonl": {"prompt_digest": "sc:Text", "prompt": "sc:Text", "text": "sc:Text", "finished": "sc:Boolean"}
}
# Croissant's name for a format, where it has one of its own.
FORMATS = {"application/jsonl": "application/jsonlines"}
# The hub's id for each licence that it knows and SPDX names: mostly the same in small letters.
_SAME_ON_HUB = """
AFL-3.0 Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear BSL-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0
CC-BY-4.0 CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0
CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0
CDLA-Sharing-1.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 ISC LPPL-1.3c MIT MPL-2.0 MS-PL NCSA OFL-1.1 OSL-3.0
PostgreSQL Unlicense WTFPL Zlib etalab-2.0
"""
HUB_LICENCES = {
    **{name: name.lower() for name in _SAME_ON_HUB.split()},
    **{f"{name}-{how}": name.lower() for name in ("AGPL-3.0", "GPL-2.0", "GPL-3.0") for how in ("only", "or-later")},
    **{f"{name}-{how}": name.lower() for name in ("LGPL-2.1", "LGPL-3.0") for how in ("only", "or-later")},
    "C-UDA-1.0": "c-uda",
    "LGPLLR": "lgpl-lr",
    "ODC-By-1.0": "odc-by",
    "ODbL-1.0": "odbl",
    "PDDL-1.0": "pddl",
}
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
Address = Callable[[str], str]


def croissant(artifact: Artifact, *, url: str, address: Address) -> dict[str, Any]:
    """Croissant 1.0 of an artifact. `url` is its page, `address(name)` where a file of it is served."""
    files = artifact.manifest if artifact.storage_key else []
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CROISSANT,
        "name": artifact.name,
        "description": description(artifact),
        "url": url,
        "version": f"{artifact.version or 1}.0.0",
        "datePublished": (artifact.ready_at or artifact.created_at).date().isoformat(),
        "dateCreated": artifact.created_at.date().isoformat(),
        "citeAs": f"{artifact.name}, {url}",
        "creator": {"@type": "sc:Organization", "name": artifact.project.name, "url": url},
        "license": licence_address(artifact),
        "keywords": [artifact.get_kind_display(), *filter(None, [artifact.teacher, artifact.dataset])],
        "identifier": f"sha256:{artifact.content_sha256 or artifact.fingerprint}",
        "isLiveDataset": False,
        "distribution": [_file_object(entry, address(entry["name"])) for entry in files],
    }
    records = [_record_set(entry["name"]) for entry in files if entry["name"] in COLUMNS]
    return {**document, "recordSet": records} if records else document


def _file_object(entry: dict[str, Any], address: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry["name"],
        "name": entry["name"],
        "contentUrl": address,
        "contentSize": f"{entry['bytes']} B",
        "encodingFormat": FORMATS.get(entry["media_type"], entry["media_type"]),
        "sha256": entry["sha256"],
    }


def _record_set(name: str) -> dict[str, Any]:
    stem = name.rpartition(".")[0]
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{stem}/{column}",
            "name": f"{stem}/{column}",
            "dataType": kind,
            "source": {"fileObject": {"@id": name}, "extract": {"column": column}},
        }
        for column, kind in COLUMNS[name].items()
    ]
    return {"@type": "cr:RecordSet", "@id": stem, "name": stem, "field": fields}


def dataset_card(artifact: Artifact, *, url: str) -> str:
    """README.md for a dataset repository: front matter as the hub reads it, then what a person wants to know.

    Every value is written as JSON, which YAML reads as it stands, so that no name can break out of its line.
    """
    front = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in _front(artifact).items())
    lines = [
        f"# {_inline(artifact.name)}",
        description(artifact),
        f"- Source: <{url}>",
        f"- Fingerprint: `{artifact.fingerprint}`",
        *([f"- Content (SHA-256): `{artifact.content_sha256}`"] if artifact.content_sha256 else []),
        f"- Production energy: {_energy(artifact)}",
        f"- May its outputs train other models: {_may_train(artifact)}",
        "\n## What determines it\n",
        "| setting | value |\n|---|---|",
        *(f"| {_inline(name)} | {_inline(value)} |" for name, value in settings(artifact).items()),
    ]
    return f"---\n{front}\n---\n\n" + "\n".join(lines) + "\n"


def _front(artifact: Artifact) -> dict[str, Any]:
    rows = artifact.rows.count if artifact.rows else 0
    values: dict[str, Any] = {
        "pretty_name": artifact.name,
        **_hub_licence(artifact),
        "annotations_creators": ["machine-generated"],
        "tags": ["distillation", artifact.kind.replace("_", "-"), "stagemeter"],
    }
    if artifact.dataset:
        values["source_datasets"] = [artifact.dataset]
    if rows:
        values["size_categories"] = [next((words for limit, words in SIZES if rows < limit), "n>10M")]
    if artifact.production_energy_j is not None:
        values["production_energy_kwh"] = kwh(artifact.production_energy_j)
    return values


def _hub_licence(artifact: Artifact) -> dict[str, str]:
    """The hub has ids of its own for the commonest licences; anything else is `other` with name and link."""
    if artifact.licence in HUB_LICENCES:
        return {"license": HUB_LICENCES[artifact.licence]}
    name = artifact.licence_name or artifact.licence or "unknown"
    return {"license": "other", "license_name": name, "license_link": licence_address(artifact)}


def licence_address(artifact: Artifact) -> str:
    """Where its licence can be read: a single SPDX licence's own page, a custom one's link, else the expression."""
    if artifact.licence_link.startswith("https://"):
        return artifact.licence_link
    if artifact.licence and " " not in artifact.licence:
        return f"https://spdx.org/licenses/{artifact.licence}.html"
    return artifact.licence or "unknown"


def description(artifact: Artifact) -> str:
    """One or two sentences on what it is."""
    what = artifact.get_kind_display().capitalize()
    teacher = f" of the teacher {artifact.teacher}" if artifact.teacher else ""
    dataset = f" over {artifact.dataset}" if artifact.dataset else ""
    rows = f", {artifact.rows.count} rows" if artifact.rows else ""
    return f"{what}{teacher}{dataset}{rows}. Production energy: {_energy(artifact)}."


def settings(artifact: Artifact) -> dict[str, str]:
    """Everything that determines it, by dotted name."""
    return {name: str(value) for name, value in (flatten(artifact.identity) | dict(artifact.capture)).items()}


def _energy(artifact: Artifact) -> str:
    if artifact.production_energy_j is None:
        return "not measured"
    figure = f"{kwh(artifact.production_energy_j):.6g} kWh"
    return f"{figure} ({basis(artifact)})"


def basis(artifact: Artifact) -> str:
    """What the production energy rests on."""
    if artifact.simulated:
        return "simulated"
    if artifact.origin == "worker":
        return "metered by its workers"
    if artifact.evidence:
        count = len(artifact.evidence)
        return f"the sum of {count} uploaded record{'' if count == 1 else 's'}"
    return (
        f"stated, not measured here: {artifact.evidence_note}"
        if artifact.evidence_note
        else "stated, not measured here"
    )


def _may_train(artifact: Artifact) -> str:
    return {True: "yes", False: "no", None: "not stated"}[artifact.may_train]


def _inline(text: str) -> str:
    """Text that stays in its line and its cell of Markdown."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
