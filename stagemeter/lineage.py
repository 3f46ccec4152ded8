"""Whether what a nested stage drew is in the root stage that is summed in its place."""

from pathlib import Path

from stagemeter import spool
from stagemeter.errors import SpoolError
from stagemeter.records import StageRecord
from stagemeter.samplelog import LogReader, header_line
from stagemeter.sensors import flag


def beyond_root(record: StageRecord, parent: Path) -> list[dict[str, str]]:
    """A remark on the GPUs of `record` that the root stage above `parent`, its parent's folder, does not meter."""
    try:
        root = _root(parent)
        reader = LogReader()
        reader.add(header_line(spool.log_folder(root.parent, root.name)))
    except (OSError, SpoolError):
        return []
    metered = {device["uuid"] for device in reader.log.devices}
    beyond = [device["uuid"] for device in record.devices if device["uuid"] not in metered]
    if not reader.log.headers or not beyond:
        return []
    text = (
        f"{', '.join(beyond)} is not metered by the root stage that this one is a part of: that energy is in this "
        "record and in no sum"
    )
    return [flag("not_in_root", text[:400])]


def _root(folder: Path) -> Path:
    """The folder of the stage that `folder`'s is a part of, and so on up."""
    seen = {folder}
    while above := spool.read_json(folder / "start.json").get("parent_id"):
        found = folder.parent / str(above)
        if found in seen or not found.is_dir():  # it spools elsewhere
            break
        seen.add(found)
        folder = found
    return folder
