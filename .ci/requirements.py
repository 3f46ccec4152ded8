"""Keep the pinned requirements honest.

`lock PYTHON` writes constraints.txt: what is installed in that environment beyond the direct dependencies.
`check` fails unless the two together name exactly what is installed beside this script, in one version each.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIRECT = ("requirements-web.txt", "requirements.txt", "requirements-dev.txt", "requirements-models.txt")
# The tools that install the rest.
TOOLS = {"pip", "setuptools", "wheel", "uv"}
# Parts of torch's CUDA build: pip brings the ones its own torch needs, and a build without CUDA needs none.
CUDA = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton)")
HEADER = (
    "# Written by `make lock`: everything the direct dependencies bring along, in the versions the tests ran with.\n"
)


def pins(text: str) -> dict[str, str]:
    """Normalised name → version of each `name==version` line. Raises `SystemExit` for a line that pins nothing."""
    found = {}
    for line in text.splitlines():
        requirement = line.split("#")[0].strip()
        if not requirement or requirement.startswith("-r "):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", requirement)
        if match is None:
            sys.exit(f"{requirement!r} pins no version; write name==version")
        found[_normal(match[1])] = match[2]
    return found


def direct() -> dict[str, str]:
    """The direct dependencies of every requirement set."""
    return pins("\n".join((ROOT / name).read_text() for name in DIRECT))


def installed(python: str) -> dict[str, str]:
    """What that environment holds, less the installers, CUDA's parts and local version labels (+cpu)."""
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run([uv, "pip", "freeze", "--python", python], check=True, capture_output=True, text=True)
    return {
        name: version.partition("+")[0]
        for name, version in pins(done.stdout).items()
        if name not in TOOLS and not CUDA.match(name)
    }


def lock(python: str) -> str:
    """The text of constraints.txt for that environment."""
    known = direct()
    rest = {name: version for name, version in installed(python).items() if name not in known}
    return HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(rest.items()))


def problems() -> list[str]:
    """Where requirements, constraints and the installed environment disagree."""
    known, rest, there = direct(), pins((ROOT / "constraints.txt").read_text()), installed(sys.executable)
    wanted = known | rest
    found = [f"{name} is pinned in requirements and constraints.txt; keep one" for name in known.keys() & rest.keys()]
    found += [f"{name} is a part of CUDA and must not be constrained" for name in rest if CUDA.match(name)]
    found += [f"{name}=={version} has a local label" for name, version in rest.items() if "+" in version]
    for name in wanted.keys() | there.keys():
        pinned, held = wanted.get(name), there.get(name)
        if pinned is None:
            found.append(f"{name}=={held} is installed and pinned nowhere; run: make lock")
        elif pinned != held:
            found.append(f"{name} is pinned to {pinned}, installed is {held or 'none'}; run: make install-dev")
    return sorted(found)


def main() -> int:
    """Lock or check, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("lock").add_argument("python")
    commands.add_parser("check")
    given = parser.parse_args()
    if given.command == "lock":
        (ROOT / "constraints.txt").write_text(lock(given.python))
        return 0
    found = problems()
    sys.stdout.write("".join(f"{line}\n" for line in found) or "Requirements and constraints agree.\n")
    return 1 if found else 0


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
