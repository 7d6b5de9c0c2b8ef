"""The wheel and the sdist hold what they should, and installed in any way they give twistd its plug-in.

Dependencies are not installed again: the fresh environments see those of the running one through a path file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent.parent
NOT_SHIPPED = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "popserv-data", "_trial_temp*", "dropin.cache"
)
SETUPTOOLS = 77
"""The lowest that pyproject.toml asks for."""
PLUGIN = "twisted/plugins/popserv_plugin.py"


@attrs.frozen
class Built:
    """A copy of the tree and what was built of it."""

    tree: Path
    wheel: Path
    sdist: Path

    def wheel_files(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}

    def sdist_files(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {member.name.partition("/")[2] for member in archive if member.isfile()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of a copy of the tree, and the wheel of that sdist."""
    if missing := missing_tools():
        pytest.fail(missing) if os.environ.get("POPSERV_REQUIRE_PEERS") == "1" else pytest.skip(missing)
    folder = tmp_path_factory.mktemp("packaging")
    tree, dist = folder / "tree", folder / "dist"
    shutil.copytree(ROOT, tree, ignore=NOT_SHIPPED)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(tree)], folder)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return Built(tree, wheel, sdist)


def missing_tools() -> str:
    """What building without the network needs and is not here; empty if nothing."""
    try:
        version("build")
        enough = int(version("setuptools").partition(".")[0]) >= SETUPTOOLS
    except PackageNotFoundError:
        enough = False
    return "" if enough else f"needs build and setuptools >= {SETUPTOOLS} beside the tests; ./run-tests has them"


def sources() -> set[str]:
    """Every module of ours and of the plug-ins, as they must be named in a distribution."""
    return {
        path.relative_to(ROOT).as_posix()
        for top in ("popserv", "twisted/plugins")
        for path in (ROOT / top).rglob("*.py")
    }


def test_the_wheel_holds_every_module_and_the_typing_marker(built: Built) -> None:
    assert PLUGIN in sources()
    assert sources() - built.wheel_files() == set()
    assert "popserv/py.typed" in built.wheel_files()


def test_the_wheel_holds_nothing_else(built: Built) -> None:
    others = {name for name in built.wheel_files() - sources() if ".dist-info/" not in name}
    assert others == {"popserv/py.typed"}


def test_the_wheel_names_its_licence_and_programs(built: Built) -> None:
    names = {name.partition(".dist-info/")[2] for name in built.wheel_files()}
    assert {"entry_points.txt", "licenses/LICENSE"} <= names


def test_the_sdist_holds_what_a_build_needs(built: Built) -> None:
    needed = {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "popserv/py.typed"} | sources()
    assert needed - built.sdist_files() == set()


def test_the_sdist_holds_what_a_packager_needs(built: Built) -> None:
    folders = ("etc", "docs", "examples", "tests", "bench")
    wanted = {
        path.relative_to(built.tree).as_posix()
        for folder in folders
        for path in (built.tree / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "etc/pam.d/popserv" in wanted
    assert (wanted | {"run-tests", "tox.ini", "SECURITY.md"}) - built.sdist_files() == set()


@pytest.mark.parametrize("archive", ["wheel", "sdist"])
def test_nothing_shadows_twisted(built: Built, archive: str) -> None:
    # Either file would make Python take our folder for Twisted, or hide every other plug-in.
    files = built.wheel_files() if archive == "wheel" else built.sdist_files()
    assert files & {"twisted/__init__.py", "twisted/plugins/__init__.py"} == set()


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_installed_it_gives_twistd_its_plugin_and_a_command(built: Built, kind: str, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    source = {"wheel": [str(built.wheel)], "sdist": [str(built.sdist)], "editable": ["--editable", str(built.tree)]}[
        kind
    ]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", *map(str, source)], tmp_path)

    place = run([str(python), "-c", "import popserv; print(popserv.__file__)"], tmp_path)
    assert Path(place.strip()).is_relative_to(built.tree if kind == "editable" else tmp_path)
    plugins = run([str(python), "-m", "twisted", "--help"], tmp_path)
    twistd = run([str(python), "-c", "from twisted.scripts.twistd import run; run()", "--help"], tmp_path)
    assert " popserv " in twistd
    assert " popserv " in plugins
    assert run([str(python.parent / "popserv"), "--help"], tmp_path).startswith("Usage: popserv")


def environment(folder: Path) -> Path:
    """A new virtual environment that sees our dependencies but not our own installation; its Python."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    python = folder / "bin" / "python"
    site = run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    # The folders are only put on the path: path files inside them, as of our own editable installation, are not read.
    paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (Path(site) / "dependencies.pth").write_text("\n".join(paths) + "\n")
    return python


def run(command: Sequence[str], folder: Path) -> str:
    """What a program says on standard output; it must succeed."""
    ours = ("PYTHON", "PIP_", "VIRTUAL_ENV")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
    return done.stdout
