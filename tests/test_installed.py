"""An installed wheel works outside the checkout, and names another package that uses one of our import names."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

Result = subprocess.CompletedProcess[str]


class Installation:
    """A virtual environment with the wheel in it; the packages that ours depends on are those of this one."""

    def __init__(self, folder: Path, *wheels: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin/python"
        self.packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
        (self.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
        self.pip("install", *map(str, wheels))

    def pip(self, action: str, *arguments: str) -> None:
        alone = ["--no-deps", "--no-index", "--no-compile", "--no-build-isolation"] if action == "install" else []
        command = [sys.executable, "-m", "pip", "--python", str(self.python), action, "-qq", *alone, *arguments]
        subprocess.run(command, check=True)

    def run(self, *command: str, path: Path | None = None, folder: Path | None = None) -> Result:
        """Run a command in ``folder`` (a neutral one if not given), with ``path`` at the front of Python's path."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        return subprocess.run(
            [str(self.python.parent / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            cwd=folder or self.python.parent,
            env=environment,
        )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Shared: a test that changes a file in it puts it right again."""
    return Installation(tmp_path_factory.mktemp("installed") / "environment", wheel)


def foreign_wheel(folder: Path, package: str) -> Path:
    """A wheel of another project that installs a top-level package."""
    info = "foreign_tools-1.5.dist-info"
    files = {
        f"{package}/__init__.py": "FOREIGN = True\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: foreign-tools\nVersion: 1.5\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},"
        for name, text in files.items()
    ]
    path = folder / "foreign_tools-1.5-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"}.items():
            archive.writestr(name, text)
    return path


def foreign_package(folder: Path, name: str) -> Path:
    """A folder with a package of that name; returns the folder to put on Python's path."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    return folder


def test_an_installed_wheel_works_outside_the_checkout(installed: Installation) -> None:
    done = installed.run("stillhouse", "list", "recipes")
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout
    place = installed.run("python", "-c", "import cluster; print(cluster.__file__)").stdout.strip()
    assert place == str(installed.packages / "cluster/__init__.py")


def test_a_package_that_another_distribution_overwrote_is_reported_until_it_is_repaired(
    installed: Installation, wheel: Path, tmp_path: Path
) -> None:
    module = installed.packages / "evaluation/__init__.py"
    installed.pip("install", str(foreign_wheel(tmp_path, "evaluation")))
    done = installed.run("stillhouse", "list", "recipes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"stillhouse: {module} is not as Stillhouse installed it: foreign-tools 1.5 installs "
    )
    assert "`pip uninstall foreign-tools` and then `pip install --force-reinstall --no-deps stillhouse`" in done.stderr

    installed.pip("uninstall", "--yes", "foreign-tools")
    assert not module.exists()
    done = installed.run("stillhouse", "list", "recipes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"stillhouse: {module} is not as Stillhouse installed it: something changed")

    installed.pip("install", "--force-reinstall", str(wheel))
    assert installed.run("stillhouse", "list", "recipes").returncode == 0


def test_a_module_that_something_added_to_a_package_is_reported(installed: Installation) -> None:
    """It is what stays of a distribution whose other files ours overwrote."""
    added = installed.packages / "evaluation/foreign.py"
    added.touch()
    try:
        done = installed.run("stillhouse", "list", "recipes")
    finally:
        added.unlink()
    assert done.returncode == 2
    assert f"{added} is not as Stillhouse installed it" in done.stderr


@pytest.mark.parametrize("package", ["cluster", "rollout", "learner", "evaluation"])
def test_a_package_earlier_on_the_path_is_named(installed: Installation, tmp_path: Path, package: str) -> None:
    elsewhere = foreign_package(tmp_path / "elsewhere", package)
    done = installed.run("stillhouse", "list", "recipes", path=elsewhere)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"stillhouse: its package '{package}' is hidden by {elsewhere / package}, ")
    assert f"Remove {elsewhere} from PYTHONPATH" in done.stderr


def test_a_module_file_earlier_on_the_path_is_named(installed: Installation, tmp_path: Path) -> None:
    (tmp_path / "evaluation.py").touch()
    done = installed.run("stillhouse", "list", "recipes", path=tmp_path)
    assert done.returncode == 2
    assert f"its package 'evaluation' is hidden by {tmp_path / 'evaluation.py'}, " in done.stderr


@pytest.mark.parametrize(
    "command",
    [["-m", "cluster.cli", "list", "recipes"], ["-c", "import cluster.config.recipe"]],
    ids=["module", "child"],
)
def test_a_package_in_the_current_folder_is_named_by_every_process_that_imports_ours(
    installed: Installation, tmp_path: Path, command: list[str]
) -> None:
    work = foreign_package(tmp_path, "evaluation")
    done = installed.run("python", *command, folder=work)
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert f"PackageConflictError: its package 'evaluation' is hidden by {work / 'evaluation'}, " in last


def test_a_folder_that_is_no_package_is_in_nobodys_way(installed: Installation, tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    assert installed.run("python", "-m", "cluster.cli", "list", "recipes", folder=tmp_path).returncode == 0


def test_an_editable_installation_names_what_hides_it(source: Path, tmp_path: Path) -> None:
    """Python asks an editable installation last, so even a folder without ``__init__.py`` hides a package of it."""
    copy = tmp_path / "checkout"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    editable = Installation(tmp_path / "environment", Path("--editable"), copy)
    assert "quickstart" in editable.run("stillhouse", "list", "recipes").stdout
    (tmp_path / "elsewhere/evaluation").mkdir(parents=True)
    done = editable.run("stillhouse", "list", "recipes", path=tmp_path / "elsewhere")
    assert done.returncode == 2
    assert f"its package 'evaluation' is hidden by {tmp_path / 'elsewhere/evaluation'}, " in done.stderr
