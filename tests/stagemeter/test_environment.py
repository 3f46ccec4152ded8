"""Facts about where a stage ran, and nothing about who."""

import getpass
import json
import platform
import subprocess
import sys

import psutil

from stagemeter import environment


def test_the_facts_a_comparison_needs_are_there():
    facts = environment.collect()
    assert facts["cpu_threads"] == psutil.cpu_count()
    assert 1 <= facts["cpu_threads_usable"] <= facts["cpu_threads"]
    assert facts["ram_bytes"] == psutil.virtual_memory().total
    assert facts["python"] == platform.python_version()
    assert facts["libraries"]["codecarbon"].startswith("3.")
    assert facts["kernel"]


def test_host_and_user_stay_unnamed():
    facts = environment.collect()
    assert platform.node() not in json.dumps(facts)
    assert len(facts["host_class"]) == 16
    assert not {"user", "hostname"} & set(facts)
    assert getpass.getuser() not in facts.values()


def test_a_work_tree_has_a_commit_and_is_dirty_once_changed(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    clean = environment.git_state(tmp_path)
    (tmp_path / "file").write_text("two")
    assert len(clean["commit"]) == 40
    assert (clean["dirty"], environment.git_state(tmp_path)["dirty"]) == (False, True)


def test_outside_of_a_work_tree_there_is_no_commit(tmp_path):
    assert environment.git_state(tmp_path) is None


def test_collecting_imports_no_heavy_library():
    look = "print({'torch', 'codecarbon'} & set(sys.modules))"
    code = f"import sys\nfrom stagemeter import environment\nenvironment.collect()\n{look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
