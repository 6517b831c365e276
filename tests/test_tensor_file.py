"""A file of tensors is whole or not there, and nothing is believed that it says of itself."""

import json
import os
import struct
import sys
import threading

import pytest
import torch
from safetensors.torch import save_file

from llm_course import tensor_file
from llm_course.tensor_file import CheckpointError, previous, read, read_header, write


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.file"
    _write(path, 1.0)
    return path


def _write(path, number, **options):
    write(
        path,
        "model",
        {"a": torch.full((3, 2), number), "b": torch.arange(4)},
        {"name": "1" * 64},
        **{"keep_previous": False} | options,
    )


def test_what_is_written_comes_back(path):
    header, tensors = read(path, "model")
    assert header["name"] == "1" * 64 and read_header(path, "model") == header
    assert torch.equal(tensors["a"], torch.ones(3, 2))
    assert torch.equal(tensors["b"], torch.arange(4)) and len(tensors) == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_file_before_is_kept_where_asked_for(path):
    _write(path, 2.0, keep_previous=True)
    assert (
        read(path, "model")[1]["a"][0, 0] == 2 and read(previous(path), "model")[1]["a"][0, 0] == 1
    )
    _write(path, 3.0)
    assert (
        read(path, "model")[1]["a"][0, 0] == 3 and read(previous(path), "model")[1]["a"][0, 0] == 1
    )


def test_every_flipped_bit_is_noticed(path):
    whole = path.read_bytes()
    read(path, "model")
    for place in range(len(whole)):
        for bit in (0, 3, 6):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(ValueError):
                read(path, "model")


def test_every_cut_is_noticed(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError):
            read(path, "model")
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError):
        read(path, "model")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda path: path.write_bytes(b""), "no safetensors file"),
        (lambda path: path.write_bytes(b"PK\x03\x04" * 9), "no safetensors file"),
        (lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"), "no safetensors file"),
        (lambda path: path.write_bytes(struct.pack("<Q", 90_000_000) + b"{}"), "is cut short"),
        (
            lambda path: path.write_bytes(struct.pack("<Q", 40_000) + b"[" * 40_000),
            "not written by",
        ),
        (lambda path: save_file({"a": torch.ones(2)}, path), "not written by this course"),
        (lambda path: save_file({"a": torch.ones(2)}, path, {"x": "y"}), "not written by this"),
        (lambda path: write(path, "training", {}, {}, keep_previous=False), "holds a training"),
    ],
)
def test_foreign_files_are_named(path, change, complaint):
    change(path)
    with pytest.raises(ValueError, match=complaint):
        read(path, "model")


def test_a_newer_format_asks_for_a_newer_course(path, monkeypatch):
    monkeypatch.setattr(tensor_file, "FORMAT", 2)
    _write(path, 1.0)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="format 2, and this course reads format 1: update"):
        read(path, "model")


def test_a_header_that_lies_about_sizes_allocates_nothing(path):
    """With the right digest: whoever made it knew how, and names tensors of terabytes."""
    entry = {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}
    about = {"kind": "model", "format": "1", "sha256": "0" * 64}
    raw = json.dumps({"__metadata__": about, "a": entry}, separators=(",", ":")).encode()
    blank = struct.pack("<Q", len(raw)) + raw
    digest = tensor_file._sha256(blank)
    path.write_bytes(blank.replace(b"0" * 64, digest.encode(), 1))
    assert read_header(path, "model")["kind"] == "model"
    with pytest.raises(ValueError):
        read(path, "model")


def test_what_dead_processes_left_is_removed_and_what_is_young_is_not(path):
    old, young = (path.with_name(f"{path.name}.{number}.part") for number in (1, 2))
    other = path.with_name("another.file.3.part")
    for file in (old, young, other):
        file.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    _write(path, 2.0)
    assert not old.exists() and young.exists() and other.exists()


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_whatever_fails_the_old_one_stays(path, monkeypatch, moment, error):
    def fails(*arguments):
        raise error

    if moment == "fsync":
        monkeypatch.setattr(tensor_file.os, "fsync", fails)
    else:
        monkeypatch.setattr(tensor_file.Path, "replace", fails)
    with pytest.raises(CheckpointError if isinstance(error, OSError) else KeyboardInterrupt):
        _write(path, 2.0)
    monkeypatch.undo()
    assert read(path, "model")[1]["a"][0, 0] == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is there on Linux alone")
def test_a_full_disk_is_told(tmp_path, monkeypatch):
    path = tmp_path / "some.file"
    path.with_name(f"{path.name}.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"some.file could not be written: No space left"):
        _write(path, 2.0)
    assert not list(tmp_path.iterdir())


def test_a_reader_never_sees_half_a_file(path):
    """While one writes again and again, another reads: each time a whole file, or none."""
    done = threading.Event()

    def writes():
        for number in range(200):
            _write(path, float(number))
        done.set()

    writer = threading.Thread(target=writes)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(read(path, "model")[1]["a"][0, 0].item())
    writer.join()
    assert len(seen) > 1
