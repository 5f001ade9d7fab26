"""Compiled libraries in the user's cache: whatever lies there, only what was compiled is run, and damage heals."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bittailor import engines
from bittailor.engines import native_cache
from bittailor.engines.native import Native
from bittailor.engines.native_build import CPU, find_compiler, library

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler"),
    pytest.mark.skipif(os.name != "posix", reason="owners, modes and links are those of POSIX"),
]

# what a planted library does where it runs: it writes a file; and nothing else that it should
PLANTED = ('#include <stdio.h>\n__attribute__((constructor)) static void run(void)\n'
           '{ FILE *f = fopen("%s", "w"); if (f) fclose(f); }\n%s\n')
CALL = "from bittailor.engines.native_build import CPU, library; from pathlib import Path; import sys; " \
       "print(library(CPU, Path(sys.argv[1])).bt_cpu())"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    # not in this process: damage to a file that is mapped here would end it
    assert call(tmp_path / "cache").returncode == 0
    return tmp_path / "cache"


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def call(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Load the library in a process of its own, as a bad one may end it."""
    return subprocess.run([sys.executable, "-c", CALL, str(folder)], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})


def healed(folder: Path) -> str:
    """Load it; returns what was said. It has to work, and to be as if nothing had been, the next time."""
    done = call(folder)
    assert (done.returncode, done.stdout) == (0, f"{library(CPU).bt_cpu()}\n"), done.stderr
    again = call(folder)
    assert (again.returncode, again.stdout, again.stderr) == (0, done.stdout, "")
    return done.stderr


def planted(tmp_path: Path, more: str = "") -> bytes:
    """A library of somebody else's, which leaves the file `ran`."""
    source = tmp_path / "planted.c"
    source.write_text(PLANTED % (tmp_path / "ran", more))
    made = tmp_path / "planted.so"
    subprocess.run([str(find_compiler()), "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
    return made.read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 3, 64, 4096, 0.5, 0.99])
def test_a_truncated_library_is_compiled_again(cache: Path, kept: float) -> None:
    path = only(cache)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    said = healed(cache)
    assert said == f"bittailor: the compiled engine {path} is damaged; it is compiled again\n"
    assert path.read_bytes() == content


def test_a_flipped_bit_anywhere_is_found(cache: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
                                         ) -> None:
    path = only(cache)
    content = path.read_bytes()
    for at in rng.integers(0, 8 * len(content), 60):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << (at % 8)
        path.write_bytes(changed)
        with pytest.raises(native_cache.Unusable, match="is damaged"):
            native_cache.load_checked(path)
    path.write_bytes(changed)
    assert "is damaged; it is compiled again" in healed(cache)


def test_a_planted_library_does_not_run(cache: Path, tmp_path: Path) -> None:
    """Under the right name it lacks the digest; under a name with its own digest it is not looked for, or has not the
    functions."""
    path = only(cache)
    path.write_bytes(planted(tmp_path, "int bt_cpu(void) { return 0; }"))
    assert "is damaged" in healed(cache)
    assert not (tmp_path / "ran").exists()


def test_a_library_without_the_functions_is_compiled_again(cache: Path, tmp_path: Path) -> None:
    path = only(cache)
    other = planted(tmp_path)
    stem = path.stem.rpartition("-")[0]
    path.unlink()
    named = cache / f"{stem}-{native_cache._digest(other)}{native_cache.SUFFIX}"
    named.write_bytes(other)
    named.chmod(0o600)
    said = healed(cache)
    assert said == f"bittailor: the compiled engine {named} has no function bt_cpu; it is compiled again\n"
    assert [p.name for p in cache.iterdir()] == [path.name]


def test_a_link_is_not_followed(cache: Path, tmp_path: Path) -> None:
    path = only(cache)
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    assert "cannot be opened" in healed(cache)
    assert not path.is_symlink()


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: os.mkfifo(p)], ids=["folder", "pipe"])
def test_what_is_no_file_stops_nothing(cache: Path, make: Callable[[Path], None]) -> None:
    path = only(cache)
    path.unlink()
    make(path)
    done = call(cache)
    if path.is_dir():  # not ours to remove
        assert done.returncode != 0
        assert "remove it by hand" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


def test_a_library_that_others_may_write_is_compiled_again(cache: Path) -> None:
    only(cache).chmod(0o666)
    assert "may be written by others" in healed(cache)
    assert stat.S_IMODE(only(cache).stat().st_mode) == 0o600


def test_the_folder_is_private(cache: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    cache.chmod(0o755)  # as a former version left it: readable by others, which is harmless, but no use
    assert call(cache).stderr == ""
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    old = only(cache).read_bytes()
    only(cache).write_bytes(planted(tmp_path))
    cache.chmod(0o777)
    said = healed(cache)
    assert said == f"bittailor: others could write to {cache}; its libraries are thrown away and compiled again\n"
    assert only(cache).read_bytes() == old
    assert not (tmp_path / "ran").exists()


def elsewhere(folder: Path, **environment: str) -> str:
    """A folder that cannot be used costs nothing but time; returns what is said."""
    done = call(folder, **environment)
    assert (done.returncode, done.stdout) == (0, f"{library(CPU).bt_cpu()}\n"), done.stderr
    assert done.stderr.count("\n") == 1
    assert "compiled into a temporary folder instead" in done.stderr
    return done.stderr


def test_a_linked_folder_is_not_used(cache: Path, tmp_path: Path) -> None:
    link, temporary = tmp_path / "link", tmp_path / "temporary"
    link.symlink_to(cache)
    temporary.mkdir()
    before = only(cache).stat().st_mtime_ns
    assert "is a link or a file" in elsewhere(link, TMPDIR=str(temporary))
    assert only(cache).stat().st_mtime_ns == before
    assert list(temporary.iterdir()) == []  # it went with the process


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a link or a file" in elsewhere(tmp_path / "file")
    assert "cannot be made" in elsewhere(tmp_path / "file" / "runtime")


@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_not_used(cache: Path) -> None:
    path = only(cache)
    os.chown(path, 1234, -1)
    assert "belongs to another user" in healed(cache)
    os.chown(cache, 1234, -1)
    assert "belongs to another user" in elsewhere(cache)


def test_left_overs_of_killed_builds_are_removed(cache: Path) -> None:
    left, at_work = cache / ".build-left", cache / ".build-at-work"
    for folder in (left, at_work):
        folder.mkdir()
        (folder / "library.so").write_bytes(b"half")
    os.utime(left, (1, 1))
    for path in cache.glob("cpu-*"):
        path.unlink()
    assert call(cache).returncode == 0
    assert not left.exists()
    assert at_work.exists()


def test_a_compiler_that_makes_no_library_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                              caplog: pytest.LogCaptureFixture) -> None:
    for number, body in enumerate(("exit 0", 'while [ "$1" != -o ]; do shift; done; echo x > "$2"')):
        script = tmp_path / f"cc{number}"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        monkeypatch.setenv("CC", str(script))
        message = Native().available()
        assert message is not None
        assert "\n" not in message
        assert str(script) in message
        engines._warn.cache_clear()
        monkeypatch.setitem(engines.ENGINES._entries, "native", Native())
        caplog.clear()
        assert engines.best_engine() == "torch"
        assert caplog.messages == [f"{message}; a slower engine serves"]
    engines._warn.cache_clear()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files are held open only where open files have names")
def test_a_library_that_is_loaded_is_not_loaded_again(cache: Path) -> None:
    """Its file is held open, so each further load would take one more of a process's open files."""
    again = ("from bittailor.engines.native_cache import load_checked; from pathlib import Path; import os, sys\n"
             "(path,) = Path(sys.argv[1]).iterdir()\n"
             "first, held = load_checked(path), len(os.listdir('/proc/self/fd'))\n"
             "print([load_checked(path) is first for _ in range(3)], len(os.listdir('/proc/self/fd')) - held)")
    done = subprocess.run([sys.executable, "-c", again, str(cache)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[True, True, True] 0\n", 0), done.stderr
