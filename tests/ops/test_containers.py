"""The compose file and the Dockerfile, against what the settings read."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Read by the web server's command line or at a desk, never set in a container.
ELSEWHERE = {"HOST", "PORT", "STAGEMETER_DEBUG"}
# The library's own, on hosts elsewhere, and those of other programs.
LIBRARY = {"STAGEMETER_URL", "STAGEMETER_TOKEN", "STAGEMETER_SPOOL", "STAGEMETER_SIMULATED"}
FOREIGN = {"CC", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "LD_LIBRARY_PATH", "XDG_STATE_HOME"}
# Set where sensors are simulated.
FOR_TESTS = {"STAGEMETER_SIMULATED"}
# Set by a meter for the processes that its stage starts.
FOR_CHILDREN = {"STAGEMETER_PARENT", "STAGEMETER_RUN"}


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def _variables(*folders: str) -> set[str]:
    """Names of all environment variables that the code of these folders reads."""
    return set().union(*map(_variables_of, folders))


@cache
def _variables_of(folder: str) -> frozenset[str]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    return frozenset(name for path in paths for name in _read_in(ast.parse(path.read_text())))


def _read_in(tree: ast.Module) -> Iterator[str]:
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in (
            "os.environ.get", "os.getenv", "_list", "_required",
        ):  # fmt: skip
            name = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            name = node.slice
        if isinstance(name, ast.Constant):
            yield name.value
        elif isinstance(name, ast.Name) and name.id in constants:
            yield constants[name.id]


def test_the_scan_finds_variables_behind_constants_and_helpers():
    found = _variables("registry", "workers")
    assert {"SECRET_KEY", "DATABASE_URL", "ALLOWED_HOSTS", "STAGEMETER_DATASETS", "STAGEMETER_HOME"} <= found


@pytest.mark.parametrize("service", ["migrate", "web", "worker-cpu", "worker-gpu"])
def test_every_variable_the_settings_read_is_given_to_each_service(compose, service):
    wanted = _variables("registry", "workers", "frontend") - ELSEWHERE - FOREIGN
    assert wanted <= set(compose["services"][service]["environment"])


def test_the_example_lists_every_variable_the_code_or_the_compose_file_reads():
    listed = set(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    read = _variables("registry", "workers", "frontend", "stagemeter") - FOREIGN - FOR_TESTS - FOR_CHILDREN
    interpolated = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert read | interpolated <= listed
    assert listed <= read | interpolated | LIBRARY, "listed, and read nowhere"


def test_the_compose_file_holds_no_secret(compose):
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"KEY|PASSWORD|TOKEN|SECRET", name):
                assert re.fullmatch(r"\$\{[A-Z_]+:[?-].*\}", str(value)), f"{name} stands in the file"
                assert ":-" not in str(value) or str(value).endswith(":-}"), f"{name} has a default"
    assert re.fullmatch(r"postgresql://stagemeter:\$\{POSTGRES_PASSWORD:\?[^}]*\}@postgres:5432/stagemeter",
                        compose["services"]["web"]["environment"]["DATABASE_URL"])  # fmt: skip


def test_every_service_that_stays_up_is_checked_for_health(compose):
    for name, service in compose["services"].items():
        if service.get("restart") == "no":
            continue
        assert service["healthcheck"]["test"][0] == "CMD", name


def test_nothing_starts_before_the_tables_are_there(compose):
    for name in ("web", "worker-cpu", "worker-gpu"):
        assert compose["services"][name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert compose["services"]["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert "manage.py migrate" in compose["services"]["migrate"]["command"][-1]


def test_only_the_gpu_worker_reserves_a_device(compose):
    devices = compose["services"]["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["driver"] == "nvidia" and devices[0]["capabilities"] == ["gpu"]
    assert "deploy" not in compose["services"]["worker-cpu"]


def test_web_and_workers_share_the_artifacts(compose):
    for name in ("web", "worker-cpu", "worker-gpu"):
        assert "artifacts:/artifacts" in compose["services"][name]["volumes"]
    assert {volume.split(":")[0] for s in compose["services"].values() for volume in s.get("volumes", [])} == set(
        compose["volumes"]
    )


def _stages() -> dict[str, str]:
    """Name of each build stage → its instructions."""
    parts = re.split(r"^FROM (?:\S+) AS (\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_each_service_is_built_from_a_target_that_exists(compose):
    targets = {s["build"]["target"] for s in compose["services"].values() if "build" in s}
    assert targets == {"web", "worker"} <= set(_stages())


def test_no_image_runs_as_root_and_each_checks_its_health():
    for name in ("web", "worker"):
        assert "\nUSER stagemeter\n" in _stages()[name] and "\nHEALTHCHECK " in _stages()[name]


def test_the_web_image_is_built_without_torch():
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^FROM web-packages AS web$", text, re.M)
    assert "torch" not in _stages()["web-packages"] + _stages()["base"].split("FROM")[0].split("WORKDIR")[0]


def test_what_the_images_copy_is_there_and_let_in():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M):
        for source in line.split():
            assert (ROOT / source).exists(), source
            assert any(Path(source).match(pattern[1:]) for pattern in ignored if pattern.startswith("!")), source


def test_uv_is_one_version_everywhere():
    makefile = re.search(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.M)[1]
    assert f"uv=={makefile}\n" in (ROOT / "Dockerfile").read_text()
