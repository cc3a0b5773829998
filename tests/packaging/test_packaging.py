"""Wheel, sdist, zip and editable install all carry the scripts, and a checkout's own scripts always win."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = {file.relative_to(ROOT).as_posix() for file in ROOT.glob("lua/**/*.lua")}
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", "build", "dist", "__pycache__", ".*_cache", ".hypothesis")

SHOW_SCRIPTS = """\
import headgate.scripts
print(headgate.scripts.__file__)
for script in headgate.scripts.load_scripts():
    print(script.name, script.sha1)
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command without the surroundings of this test run, and hand back what it printed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(checkout: Path, kind: str, into: Path) -> Path:
    """Build with the hatchling of this environment, so that no index is asked."""
    run(sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", into, cwd=checkout)
    (built,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def scripts_seen(python: str | Path, cwd: Path, **environment: str) -> tuple[str, dict[str, str]]:
    """Where the package was imported from, and the SHA of each script that it loads."""
    place, *scripts = run(python, "-c", SHOW_SCRIPTS, cwd=cwd, **environment).splitlines()
    return place, dict(line.split() for line in scripts)


def copy_of_the_checkout(folder: Path) -> Path:
    return Path(shutil.copytree(ROOT, folder / "checkout", ignore=NOT_COPIED))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build(copy_of_the_checkout(folder), "wheel", folder / "dist")


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_a_wheel_carries_the_package_and_the_scripts_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"headgate/{script}" for script in SCRIPTS} == {name for name in names if name.endswith(".lua")}
    assert {"headgate/__init__.py", "headgate/py.typed", "headgate/scripts.py"} <= names
    assert {name.partition("/")[0] for name in names} == {"headgate", "headgate-0.1.0.dist-info"}


def test_a_wheel_asks_for_four_packages_and_the_rest_are_extras(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    required = metadata.get_all("Requires-Dist", [])
    core = {line.partition(">=")[0] for line in required if "extra ==" not in line}
    assert core == {"redis", "hiredis", "msgpack", "pydantic"}
    assert set(metadata.get_all("Provides-Extra", [])) == {"embedded", "cli", "rest", "sidecar", "testing"}
    assert not [line for line in required if "@" in line or "://" in line], "a dependency is a name, not an address"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"


def test_a_wheel_made_from_the_sdist_is_the_wheel_made_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    sdist = build(copy_of_the_checkout(tmp_path), "sdist", tmp_path / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert {file.relative_to(unpacked).as_posix() for file in unpacked.glob("lua/**/*.lua")} == SCRIPTS
    again = build(unpacked, "wheel", tmp_path / "dist")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert set(first.namelist()) == set(second.namelist())
        for name in first.namelist():
            assert first.read(name) == second.read(name), name


def test_a_wheel_on_the_path_as_a_zip_loads_its_scripts(wheel: Path, tmp_path: Path) -> None:
    place, scripts = scripts_seen(sys.executable, tmp_path, PYTHONPATH=str(wheel))
    assert place.startswith(f"{wheel}{os.sep}headgate")
    assert scripts == scripts_seen(sys.executable, tmp_path, PYTHONPATH=str(ROOT / "engine"))[1]


def test_an_edited_script_of_a_checkout_counts_without_installing_again(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    # What this test run has installed is borrowed: no index is asked. It comes after what the venv itself holds.
    (site_packages / "zz_borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"),
        *("--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "--editable", checkout),
        cwd=tmp_path,
    )
    assert list(site_packages.glob("headgate-*.dist-info")), "the editable install went elsewhere"

    place, before = scripts_seen(python, tmp_path)
    assert Path(place) == checkout / "engine" / "headgate" / "scripts.py"
    script = checkout / "lua" / "consume.lua"
    script.write_text(script.read_text() + "-- edited\n")
    after = scripts_seen(python, tmp_path)[1]
    assert {name for name in after if after[name] != before[name]} == {"consume"}


def test_a_copy_of_the_scripts_beside_an_editable_package_never_wins(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path)
    _, before = scripts_seen(sys.executable, tmp_path, PYTHONPATH=str(checkout / "engine"))
    stale = Path(shutil.copytree(checkout / "lua", checkout / "engine" / "headgate" / "lua"))
    for script in stale.glob("*.lua"):
        script.write_text(script.read_text() + "-- stale\n")
    assert scripts_seen(sys.executable, tmp_path, PYTHONPATH=str(checkout / "engine"))[1] == before
