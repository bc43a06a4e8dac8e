"""A checkpoint comes back as it was saved, or the bad file is named; saving never loses one."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tubelet import checkpoint
from tubelet.checkpoint import Checkpoint, Part, load, save
from tubelet.errors import InputError

INDEX = {"class": "VideoPipeline", "version": "0.1", "trained": {"samples": 3, "prompt": "ünï"}}


def parts(value: float = 1.0) -> dict[str, Part]:
    weight = torch.arange(6.0).view(2, 3) * value
    return {
        "transformer": Part(
            {"width": 96, "tubelet": [1, 2, 2]},
            {
                "weight": weight,
                "transposed": weight.T,
                "tied": weight,
                "slice": weight[:, 1:],
                "bf16": weight.bfloat16(),
                "steps": torch.tensor(7, dtype=torch.int64),
                "mask": torch.tensor([True, False]),
                "empty": torch.zeros(0, 4),
                "parameter": torch.nn.Parameter(torch.tensor([float("inf"), -0.0])),
            },
        ),
        "text_encoder": Part({"name": "minilm"}),
    }


def assert_same(found: Checkpoint, expected: dict[str, Part]) -> None:
    assert found.index == INDEX and found.parts.keys() == expected.keys()
    for name, part in expected.items():
        assert found.parts[name].config == part.config
        assert found.parts[name].tensors.keys() == part.tensors.keys()
        for key, tensor in part.tensors.items():
            other = found.parts[name].tensors[key]
            assert other.dtype == tensor.dtype and other.shape == tensor.shape and torch.equal(other, tensor)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model", parts(), INDEX)
    return tmp_path / "model"


def test_weights_of_attentions_by_name_read_as_those_of_the_one_there_is(tmp_path):
    weight = torch.randn(3, 2)
    names = [
        "blocks.0.attentions.all.qkv.weight",
        "average.blocks.1.attentions.all.out.bias",
        "blocks.0.table",
    ]
    save(tmp_path / "old", {"transformer": Part({}, dict.fromkeys(names, weight))}, INDEX)
    found = load(tmp_path / "old").parts["transformer"].tensors
    assert set(found) == {
        "blocks.0.attention.qkv.weight",
        "average.blocks.1.attention.out.bias",
        "blocks.0.table",
    }
    assert all(torch.equal(tensor, weight) for tensor in found.values())


FILES = [
    *("manifest.json", "model_index.json", "text_encoder/config.json"),
    *("transformer/config.json", "transformer/model.safetensors"),
]


def test_what_is_saved_is_loaded(folder: Path):
    assert_same(load(folder), parts())
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    assert sorted(files) == FILES and os.listdir(folder.parent) == ["model"]


def test_missing_parents_are_made_and_relative_paths_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    save("runs/a/last", parts(), INDEX)
    assert_same(load("runs/a/last"), parts())


def test_the_hash_is_of_the_content(tmp_path: Path, folder: Path):
    save(tmp_path / "again", dict(reversed(parts().items())), dict(reversed(INDEX.items())))
    assert load(tmp_path / "again").hash == load(folder).hash
    save(tmp_path / "again", parts(value=1.001), INDEX)
    assert load(tmp_path / "again").hash != load(folder).hash
    save(tmp_path / "again", parts(), {**INDEX, "version": "0.2"})
    assert load(tmp_path / "again").hash != load(folder).hash


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_is_refused_by_name(folder: Path, name: str):
    whole = (folder / name).read_bytes()
    for place in {0, len(whole) - 1, *range(0, len(whole), 1 + len(whole) // 60)}:
        content = bytearray(whole)
        content[place] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is damaged.*take the checkpoint again"):
            load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 1, 20])
def test_a_file_cut_short_is_refused_by_name(folder: Path, name: str, keep: int):
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(InputError, match=f"{name} is damaged"):
        load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        load(folder)


def test_an_extra_file_is_named_unless_it_is_hidden(folder: Path):
    (folder / ".gitattributes").touch()
    assert_same(load(folder), parts())
    (folder / "transformer" / "code.py").touch()
    with pytest.raises(InputError, match=r"transformer/code\.py is not in"):
        load(folder)


def rewrite_manifest(folder: Path, change) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    change(files)
    sealed = {"files": files, "hash": checkpoint._hash_of(files)}
    (folder / "manifest.json").write_bytes(checkpoint._render(sealed))


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/passwd", "a/../b/config.json", "x/model.bin", "..", "a/b/config.json"]
)
def test_a_manifest_cannot_name_files_elsewhere(folder: Path, name: str):
    rewrite_manifest(folder, lambda files: files.update({name: {"bytes": 0, "sha256": ""}}))
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        load(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": {}}', '{"files": []}', "nonsense", "[" * 10_000])
def test_a_manifest_of_another_form_is_refused(folder: Path, content: str):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        load(folder)


def reseal(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    row = {"bytes": len(content), "sha256": checkpoint.hashlib.sha256(content).hexdigest()}
    rewrite_manifest(folder, lambda files: files.update({name: row}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("transformer/model.safetensors", b"\x80\x04N."),
        ("transformer/config.json", b"[1]"),
        ("model_index.json", b"{"),
    ],
)
def test_a_file_that_agrees_with_its_manifest_may_still_be_nonsense(folder: Path, name: str, content: bytes):
    reseal(folder, name, content)
    with pytest.raises(InputError, match=name):
        load(folder)


def test_what_is_no_checkpoint_says_so(tmp_path: Path, folder: Path):
    with pytest.raises(InputError, match="no such checkpoint folder"):
        load(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load(tmp_path)
    os.rename(folder, folder.with_name(".model.old"))
    with pytest.raises(InputError, match=r"interrupted: rename .*\.model\.old"):
        load(folder)


def test_saving_replaces_a_checkpoint_and_nothing_else(tmp_path: Path, folder: Path):
    save(folder, parts(2.0), INDEX)
    assert_same(load(folder), parts(2.0))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    for target in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.txt"):
        with pytest.raises(InputError, match="is not a checkpoint"):
            save(target, parts(), INDEX)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "manifest.json"])
def test_a_part_has_a_plain_name(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="cannot name a folder"):
        save(tmp_path / "model", {name: Part({})}, INDEX)
    assert not list(tmp_path.iterdir())


def failing_after(calls: int, original):
    """`original`, which finds the disk full from its call number `calls` on."""
    counter = iter(range(10_000))

    def call(*arguments, **named):
        if next(counter) >= calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments, **named)

    return call


@pytest.mark.parametrize(
    ("function", "calls", "there_before"),
    [
        *(
            (name, calls, there)
            for name, calls in (("fsync", 0), ("fsync", 3), ("fsync", 7))
            for there in (0, 1)
        ),
        *(("rename", 0, False), ("rename", 0, True), ("rename", 1, True)),
    ],
)
def test_a_full_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_before: bool, function: str, calls: int
):
    folder = tmp_path / "model"
    if there_before:
        save(folder, parts(), INDEX)
    with monkeypatch.context() as patch:
        failing = failing_after(calls, getattr(os, function))
        if function == "rename" and calls == 1:  # the way back must work

            def failing(source, target, rename=os.rename):
                if ".writing-" in str(source):
                    raise OSError(errno.ENOSPC, "No space left on device")
                rename(source, target)

        patch.setattr(checkpoint.os, function, failing)
        with pytest.raises(OSError, match=r"needs 0\.0 MB .*No space left.*free that much") as raised:
            save(folder, parts(2.0), INDEX)
    assert raised.value.errno == errno.ENOSPC and str(folder) in str(raised.value)
    assert os.listdir(tmp_path) == (["model"] if there_before else [])
    if there_before:
        assert_same(load(folder), parts())
    save(folder, parts(3.0), INDEX)
    assert_same(load(folder), parts(3.0))


def test_a_save_killed_midway_leaves_the_old_one_and_is_swept_up_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:  # a killed process does not clean up
        patch.setattr(checkpoint, "_swap", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            save(folder, parts(2.0), INDEX)
    assert len(os.listdir(folder.parent)) == 2
    assert_same(load(folder), parts())
    save(folder, parts(3.0), INDEX)
    assert_same(load(folder), parts(3.0))
    assert os.listdir(folder.parent) == ["model"]


def test_a_config_that_is_not_json_leaves_no_trace(folder: Path):
    for config in ({"value": float("nan")}, {"value": torch.zeros(1)}):
        with pytest.raises((TypeError, ValueError)):
            save(folder, {"transformer": Part(config)}, INDEX)
    assert_same(load(folder), parts())
    assert os.listdir(folder.parent) == ["model"]


def test_a_link_to_a_checkpoint_stays_a_link(tmp_path: Path, folder: Path):
    (tmp_path / "latest").symlink_to(folder, target_is_directory=True)
    save(tmp_path / "latest", parts(2.0), INDEX)
    assert (tmp_path / "latest").is_symlink()
    assert_same(load(folder), parts(2.0))


def test_a_parts_hash_is_that_of_its_content_wherever_it_lies(tmp_path):
    part = checkpoint.Part({"a": 1}, {"w": torch.arange(4.0)})
    checkpoint.save(tmp_path / "x", {"part": part}, {})
    assert checkpoint.hash_of(checkpoint.load(tmp_path / "x").parts["part"]) == checkpoint.hash_of(part)
    other = checkpoint.Part({"a": 1}, {"w": torch.arange(4.0) + 1})
    assert checkpoint.hash_of(other) != checkpoint.hash_of(part)
    assert checkpoint.hash_of(checkpoint.Part({"a": 2}, part.tensors)) != checkpoint.hash_of(part)
