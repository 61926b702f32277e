"""Files are whole or absent."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path

import pytest

from steradian.errors import StorageError, UsageError, did_you_mean
from steradian.files import atomic_file, atomic_folder, new_folder, read_json, sha256_of, write_json, write_text

ROOT = os.geteuid() == 0


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_at_once(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "new ü")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new ü" and names(tmp_path) == ["a.txt"]
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) & 0o600 == 0o600


def test_failure_leaves_the_old_content(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_folder_is_whole_or_absent(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "x").write_text("1")
        (temporary / "sub").mkdir()
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "f") as temporary:
        (temporary / "x").write_text("2")
        raise RuntimeError
    assert (tmp_path / "f" / "x").read_text() == "1" and names(tmp_path) == ["f"]
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "y").write_text("3")
    assert names(tmp_path / "f") == ["y"] and names(tmp_path) == ["f"]


def test_full_disk_is_explained(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StorageError, match="disk is full: free some space"), atomic_file(tmp_path / "a"):
        Path("/dev/full").write_text("x")
    assert names(tmp_path) == []


@pytest.mark.skipif(ROOT, reason="root may write anywhere")
def test_no_permission_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="no permission"):
            new_folder(tmp_path / "x")
    finally:
        tmp_path.chmod(0o700)


def test_read_only_place_is_explained() -> None:
    with pytest.raises(StorageError, match="Could not make the folder"):
        new_folder(Path("/proc/nowhere/x"))


def test_json_has_no_nan_and_a_limit(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": math.nan, "y": [1.5, math.inf], "z": (2,)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.5, None], "z": [2]}
    with pytest.raises(StorageError, match="at most 10 were expected"):
        read_json(tmp_path / "a.json", limit=10)
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(StorageError, match="not valid JSON"):
        read_json(tmp_path / "b.json")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(StorageError, match="not valid JSON"):
        read_json(tmp_path / "deep.json")
    with pytest.raises(StorageError, match="does not exist"):
        read_json(tmp_path / "none.json")


def test_new_folder(tmp_path: Path) -> None:
    assert new_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "a" / "x").write_text("")
    with pytest.raises(UsageError, match="not empty.*--exist-ok"):
        new_folder(tmp_path / "a")
    assert new_folder(tmp_path / "a", exist_ok=True)
    with pytest.raises(UsageError, match="is a file"):
        new_folder(tmp_path / "a" / "x")


def test_hash_tells_splits_apart() -> None:
    assert sha256_of(b"ab", b"c") != sha256_of(b"a", b"bc")


def test_did_you_mean() -> None:
    assert did_you_mean("cosfase", ["arcface", "cosface"]) == "Did you mean 'cosface'?"
    assert did_you_mean("zzz", ["b", "a"]) == "Known: a, b."
