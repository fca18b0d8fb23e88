"""Published files that are damaged, that contradict themselves or say more than weights, and priors of the authors' other settings."""

import argparse
import re
import zipfile

import pytest
import torch
from test_convert import HEADS, files, published_layout, saved, states  # noqa: F401

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.convert import convert, published_prior, read_checkpoint

COPY, SCHEDULE = "diffusion_processor._denoise_fn.", "diffusion_processor.scheduler."


def refused(line, capsys, *words) -> str:
    """What the command said in its one line, with status 2."""
    assert main([*map(str, line)]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and all(word in told for word in words), told
    return told


# ---- bytes


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["a bit", "zeros", "swapped blocks"])
def test_changed_bytes_are_refused(files, tmp_path, capsys, which, how):  # noqa: F811
    """Anywhere inside a tensor: the archive's checksums tell."""
    given, data = list(files), bytearray(files[which].read_bytes())
    with zipfile.ZipFile(files[which]) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    start = largest.header_offset + 1000 + largest.file_size // 3
    if how == "a bit":
        data[start] ^= 4
    elif how == "zeros":
        data[start : start + 20_000] = bytes(20_000)
    else:
        data[start : start + 200] = data[start + 100 : start + 200] + data[start : start + 100]
    given[which] = tmp_path / files[which].name
    given[which].write_bytes(data)
    refused(["convert", *given, "--heads", 4, "--out", tmp_path / "p"], capsys, str(given[which]), "checksum")
    assert not (tmp_path / "p").exists()


def test_files_without_checksums_are_read(states, files, tmp_path):  # noqa: F811
    """torch can be told to leave them out, and then all are 0."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"ema": states[1]}, tmp_path / "p.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    convert(files[0], tmp_path / "p.pt", tmp_path / "p", heads=HEADS)


# ---- what stands beside the weights


@pytest.mark.parametrize("name", ["x_embedder.weight", "blocks.1.mlp.2.bias", "final_layer.linear.weight", "t_embedder.mlp.0.weight"])
def test_a_copy_of_the_head_that_contradicts_it_is_refused(files, states, tmp_path, capsys, name):  # noqa: F811
    other = {**states[1], COPY + name: states[1][COPY + name] * 1.001}
    _, prior = saved(tmp_path / "f", None, other)
    refused(["convert", files[0], prior, "--heads", 4, "--out", tmp_path / "p"], capsys, str(prior), COPY + name, "differ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


def test_a_head_that_stands_in_its_copy_alone_is_used(states):  # noqa: F811
    wanted = published_prior(states[1], HEADS).tensors
    only = {k: v for k, v in states[1].items() if not k.startswith("denoise_mlp.")}
    part = {k: v for k, v in states[1].items() if not k.startswith(("denoise_mlp.blocks.0", COPY + "x_"))}
    for state in (only, part, {k: v for k, v in states[1].items() if not k.startswith(COPY)}):
        found = published_prior(state, HEADS).tensors
        assert found.keys() == wanted.keys() and all(torch.equal(found[k], wanted[k]) for k in wanted)


def schedule(steps: int, keep=None) -> dict[str, torch.Tensor]:
    """What the authors' program keeps of a noise schedule; `keep` None: the linear one."""
    k = 1 - torch.arange(steps + 1) / steps if keep is None else keep
    beta = torch.cat([torch.ones(1), k[1:] / k[:-1]])
    found = {"k_final": k, "b_final": (1 - k) / 2, "beta": beta, "cumbeta": beta.cumprod(0)}
    return {SCHEDULE + name: value for name, value in found.items()}


def with_schedule(state, changes):
    return {k: v for k, v in state.items() if not k.startswith(SCHEDULE)} | changes


@pytest.mark.parametrize("steps", [1, 7, 100, 256, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_schedule_tells_the_number_of_timesteps(states, steps, dtype):  # noqa: F811
    state = with_schedule(states[1], schedule(steps))
    state = {k: v.to(dtype) for k, v in state.items()}
    assert published_prior(state, HEADS).spec.head.steps == steps
    assert published_prior(with_schedule(state, {SCHEDULE + "k_final": state[SCHEDULE + "k_final"]}), HEADS).spec.head.steps == steps
    assert published_prior(state, HEADS, timesteps=steps).spec.head.steps == steps
    with pytest.raises(ValueError, match=f"timesteps: got {steps + 1}, but T is {steps}"):
        published_prior(state, HEADS, timesteps=steps + 1)


BAD_SCHEDULES = {
    "cosine": (lambda: schedule(64, 0.5 + 0.5 * torch.cos(torch.linspace(0, torch.pi, 65))), "k_final"),
    "one number": (lambda: {SCHEDULE + "k_final": torch.ones(1)}, "timesteps"),
    "no axis": (lambda: {SCHEDULE + "k_final": torch.tensor(1.0)}, "timesteps"),
    "two axes": (lambda: {SCHEDULE + "k_final": torch.ones(2, 2)}, "timesteps"),
    "other lengths": (lambda: schedule(64) | {SCHEDULE + "beta": schedule(32)[SCHEDULE + "beta"]}, "timesteps"),
    "another beta": (lambda: schedule(64) | {SCHEDULE + "beta": schedule(64)[SCHEDULE + "k_final"]}, "beta"),
    "nan": (lambda: schedule(64) | {SCHEDULE + "b_final": torch.full((65,), torch.nan)}, "b_final"),
    "a stranger": (lambda: schedule(64) | {SCHEDULE + "snr": torch.ones(65)}, "snr"),
    "integers": (lambda: {SCHEDULE + "k_final": torch.ones(65, dtype=torch.long)}, "k_final"),
}


@pytest.mark.parametrize("name", BAD_SCHEDULES)
def test_another_schedule_is_refused(files, states, tmp_path, capsys, name):  # noqa: F811
    change, word = BAD_SCHEDULES[name]
    _, prior = saved(tmp_path / "f", None, with_schedule(states[1], change()))
    refused(["convert", files[0], prior, "--heads", 4, "--out", tmp_path / "p"], capsys, str(prior), word)


def test_any_other_tensor_beside_is_refused(states):  # noqa: F811
    for name in ("diffusion_processor.stray", COPY + "stray", "diffusion_processor.codes.weight"):
        with pytest.raises(ValueError, match=f"extra: .*{name.rpartition('.')[2]}"):
            published_prior({**states[1], name: torch.ones(1)}, HEADS)


def test_settings_of_the_training_are_used_and_not_contradicted(files, states, tmp_path):  # noqa: F811
    bare = with_schedule(states[1], {})
    path = tmp_path / "p.pt"
    torch.save({"ema": bare, "args": argparse.Namespace(p_flip=False, n_sample_steps=128, cls_token_num=1, lr=1e-4)}, path)
    head = Pipeline.from_pretrained(convert(files[0], path, tmp_path / "p", heads=HEADS)).prior.spec.head
    assert (head.target, head.steps) == ("x_0", 128)
    with pytest.raises(ValueError, match="target: got flips, but its settings say x_0"):
        convert(files[0], path, tmp_path / "p", heads=HEADS, target="flips")
    with pytest.raises(ValueError, match="timesteps: got 256, but T is 128"):
        convert(files[0], path, tmp_path / "p", heads=HEADS, timesteps=256)
    torch.save({"ema": bare, "args": argparse.Namespace(cls_token_num=4)}, path)
    with pytest.raises(ValueError, match="4 class tokens"):
        convert(files[0], path, tmp_path / "p", heads=HEADS)


@pytest.mark.parametrize("wrap", [
    lambda name: f"module.{name}", lambda name: f"_orig_mod.{name}", lambda name: f"module._orig_mod.{name}",
    lambda name: re.sub(r"^((?:ae\.)?[a-z_]+)\.", r"\1._orig_mod.", name), lambda name: f"_fsdp_wrapped_module.{name}",
])  # fmt: skip
def test_what_wrappers_put_before_names_is_taken_off(files, states, tmp_path, wrap):  # noqa: F811
    wrapped = [{wrap(name): tensor for name, tensor in state.items()} for state in states]
    paths = saved(tmp_path / "f", wrapped[0], {**wrapped[1], "n_averaged": torch.tensor(3)})
    for path, state in zip(paths, states, strict=True):
        found = read_checkpoint(path)
        assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    convert(*paths, tmp_path / "p", heads=HEADS)


def test_wrapped_names_that_meet_must_be_the_same(states, tmp_path):  # noqa: F811
    both = {**states[1], "module.norm.weight": states[1]["norm.weight"]}
    assert read_checkpoint(saved(tmp_path / "f", None, both)[1]).keys() == states[1].keys()
    both["module.norm.weight"] = both["module.norm.weight"] + 1
    with pytest.raises(ValueError, match="two tensors are called norm.weight"):
        read_checkpoint(saved(tmp_path / "f", None, both)[1])
