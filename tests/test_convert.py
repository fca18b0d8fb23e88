"""The authors' checkpoints become pipelines: every tensor bit for bit, every wrong file refused with names, nothing half written."""

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import warm
from reference import reference, sizes
from safetensors import safe_open

from bitmosaic import Codes, Pipeline
from bitmosaic.cli import main
from bitmosaic.conditions import ClassConditionSpec, Encoded
from bitmosaic.convert import convert, published_prior, published_tokenizer, read_checkpoint
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

HEADS = 4


@pytest.fixture(scope="module")
def files():
    """The published tokenizer and prior in their smallest size."""
    folder = reference("bigr")
    assert sizes("bigr", "bigr")["n_head"] == HEADS
    return folder / "binaryae.th", folder / "bigr.pt"


@pytest.fixture(scope="module")
def states(files):
    return tuple(read_checkpoint(path) for path in files)


def saved(folder: Path, tokenizer=None, prior=None) -> tuple[Path, Path]:
    """Files in the published layout."""
    folder.mkdir(exist_ok=True)
    for name, state in (("t.th", tokenizer), ("p.pt", {"ema": prior} if prior is not None else None)):
        if state is not None:
            torch.save(state, folder / name)
    return folder / "t.th", folder / "p.pt"


def changed(state, **changes):
    """A state with tensors replaced, or left out where the change is None; `__` stands for a dot."""
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return {k: v for k, v in {**state, **changes}.items() if v is not None}


def test_the_reference_checkpoints_become_a_pipeline_of_the_same_bits(files, states, tmp_path):
    pipeline = Pipeline.from_pretrained(convert(*files, tmp_path / "p", heads=HEADS))
    assert pipeline.tokenizer.image_size == (8, 8)  # 4 x 4 places of 2 x 2 pixels
    assert pipeline.class_names == tuple("0123456789") and pipeline.sampler == EntropyOrderedSpec()
    found = published_tokenizer(states[0]), published_prior(states[1], HEADS)
    for part, state, converted in zip((pipeline.tokenizer, pipeline.prior), states, found, strict=True):
        wanted = converted.tensors
        found = part.state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[k], wanted[k]) for k in found)
        values = sorted(v.double().sum().item() for v in found.values())
        used = [v for k, v in state.items() if not re.match(r"disc\.|diffusion_processor\.|ae\.generator\.logsigma\.", k)]
        skips = [v for k, v in state.items() if re.search(r"blocks\.\d+\.conv_out\.", k)]
        assert len(used) - len(skips) <= len(values) <= len(used)  # nothing published was dropped but unused skips
        assert set(values) <= {v.double().sum().item() for v in used}


def test_a_converted_prior_matches_the_reference(files, tmp_path):
    prior = Pipeline.from_pretrained(convert(*files, tmp_path / "p", heads=HEADS)).prior
    with safe_open(files[1].parent / "bigr_reference.safetensors", "pt") as file:
        r = {k: file.get_tensor(k) for k in file.keys()}
    with torch.no_grad():
        both = Encoded.joined([prior.embed(r["labels"].long(), 2), prior.embed(None, 2)])
        context = prior.context(r["bits"].byte().repeat(2, 1, 1), ~r["masked"].bool().repeat(2, 1), both)
        assert (context - r["head_condition"]).abs().max() < 1e-4
        assert (prior.head.logits(r["head_x"], r["head_t"], r["head_c"]) - r["head_logits"]).abs().max() < 1e-4
        for layer, wanted in enumerate(r["features"]):
            codes = Codes(r["bits"].byte().view(2, 4, 4, -1), prior.radix)
            assert (prior.features(codes, r["labels"].long(), layer) - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("side", [3, 5])
def test_other_sizes_are_read_off_and_come_back(states, tmp_path, side):
    """Parts of other sizes, written in the published layout by the names of the reference checkpoints."""
    torch.manual_seed(side)
    tokenizer = BinaryAutoencoderSpec((4 * side, 4 * side), 1, 7, 64, (1, 1, 2), 2, (side,), 96, norm_first=False).build()
    head = BernoulliDiffusionSpec(40, 3)
    prior = MaskedPriorSpec((side, side), 7, 5, 2, 48, ClassConditionSpec(6), head).build()
    paths = saved(tmp_path, published_tokenizer_layout(tokenizer), published_layout(prior))
    again = Pipeline.from_pretrained(convert(*paths, tmp_path / "p", heads=2))
    assert again.prior.spec == prior.spec and again.tokenizer.spec == tokenizer.spec
    for a, b in ((again.tokenizer, tokenizer), (again.prior, prior)):
        assert a.state_dict().keys() == b.state_dict().keys()
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def published_layout(prior):
    """Our prior under published names, by rules of text."""
    rules = [
        (r"^blocks\.(\d+)\.offset", r"layers.\1.ada_gss"), (r"^blocks\.(\d+)\.attention\.qkv", r"layers.\1.attention.wqkv"),
        (r"^blocks\.(\d+)\.attention\.out", r"layers.\1.attention.wo"), (r"^blocks\.(\d+)\.feed_forward_norm", r"layers.\1.ffn_norm"),
        (r"^blocks\.(\d+)\.", r"layers.\1."), (r"^hidden", "mask_tok"), (r"^positions", "diffusion_pos_embed_learned"),
        (r"^condition\.table", "cls_embedding.embedding_table"), (r"^from_bits", "tok_embeddings"), (r"^modulation", "adaLN.1"),
        (r"^head\.net\.time1", "denoise_mlp.t_embedder.mlp.0"), (r"^head\.net\.time2", "denoise_mlp.t_embedder.mlp.2"),
        (r"^head\.net\.from_bits", "denoise_mlp.x_embedder"), (r"^head\.net\.from_condition", "denoise_mlp.c_embedder"),
        (r"^head\.net\.blocks\.(\d+)\.inner", r"denoise_mlp.blocks.\1.mlp.0"),
        (r"^head\.net\.blocks\.(\d+)\.outer", r"denoise_mlp.blocks.\1.mlp.2"),
        (r"^head\.net\.blocks\.(\d+)\.modulation", r"denoise_mlp.blocks.\1.adaLN_modulation.1"),
        (r"^head\.net\.modulation", "denoise_mlp.final_layer.adaLN_modulation.1"), (r"^head\.net\.out", "denoise_mlp.final_layer.linear"),
    ]  # fmt: skip
    made = {}
    for name, tensor in prior.state_dict().items():
        theirs = next((re.sub(a, b, name) for a, b in rules if re.match(a, name)), name)
        leading = {"mask_tok": 1, "diffusion_pos_embed_learned": 1}.get(theirs, 2 if theirs.endswith("ada_gss") else 0)
        made[theirs] = tensor[(None,) * leading]
    return made


def published_tokenizer_layout(tokenizer):
    made = {}
    for name, tensor in tokenizer.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "from_bits":
            made["ae.quantize.embed.weight"] = tensor[:, :, 0, 0].t().contiguous()
        elif part == "to_bits":
            made[f"ae.quantize.proj.0.{rest}"] = tensor
        else:
            rest = re.sub(r"\bskip\b", "conv_out", rest)
            rest = re.sub(r"\bout\.(weight|bias)$", r"proj_out.\1", rest)
            made[f"ae.{'generator' if part == 'decoder' else part}.blocks.{rest}"] = tensor
    return made


@pytest.mark.parametrize(
    ("which", "changes", "message"),
    [
        (1, {"layers__1__ada_gss": None}, r"missing: layers\.1\.ada_gss"),
        (1, {"norm__weight": None}, r"missing: norm\.weight"),
        (1, {"tok_embeddings__weight": None}, r"tok_embeddings\.weight is missing"),
        (1, {"mask_tok": torch.zeros(1, 3)}, r"misshapen: mask_tok"),
        (1, {"layers__0__stray": torch.zeros(1)}, r"extra: layers\.0\.stray"),
        (1, {"text_encoder__weight": torch.zeros(1)}, r"extra: text_encoder\.weight"),
        (1, {"diffusion_pos_embed_learned": torch.zeros(1, 15, 64)}, "15 places are not a square"),
        (0, {"ae__quantize__embed__weight": None}, r"ae\.quantize\.embed\.weight is missing"),
        (0, {"ae__encoder__blocks__1__norm1__weight": None}, r"missing: ae\.encoder\.blocks\.1\.norm1\.weight"),
        (0, {"ae__encoder__stray": torch.zeros(1)}, r"extra: ae\.encoder\.stray"),
        (0, {"other__weight": torch.zeros(1)}, r"extra: other\.weight"),
        (0, {"ae__quantize__proj__0__bias": torch.zeros(5)}, r"misshapen: ae\.quantize\.proj\.0\.bias"),
    ],
)
def test_a_file_with_other_tensors_is_refused_with_their_names(files, states, tmp_path, capsys, which, changes, message):
    given = list(files)
    given[which] = saved(tmp_path / "f", *[changed(s, **changes) if i == which else None for i, s in enumerate(states)])[which]
    assert main(["convert", *map(str, given), "--heads", "4", "--out", str(tmp_path / "p")]) == 2
    told = capsys.readouterr().err
    assert re.search(message, told) and str(given[which]) in told and len(told.splitlines()) == 1, told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_files_that_are_no_checkpoints_are_refused(files, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "ran", "x"))

    (tmp_path / "empty.pt").touch()
    (tmp_path / "cut.pt").write_bytes(files[1].read_bytes()[:-5000])
    (tmp_path / "text.pt").write_text("no checkpoint")
    torch.save(Evil(), tmp_path / "evil.pt")
    torch.save({"ema": {"a": 1}}, tmp_path / "numbers.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    for name in ("empty.pt", "cut.pt", "text.pt", "evil.pt", "numbers.pt", "list.pt", "nowhere.pt", "."):
        assert main(["convert", str(files[0]), str(tmp_path / name), "--out", str(tmp_path / "p")]) == 2
        told = capsys.readouterr().err
        assert str(tmp_path / name) in told and len(told.splitlines()) == 1, told
    assert not (tmp_path / "ran").exists() and not (tmp_path / "p").exists()


MUTATIONS = {  # what is done to a tensor or a state, and what the one line must say
    "integers": (lambda s: {k: v.long() for k, v in s.items()}, "want dense floating-point tensors, got torch.int64"),
    "sparse": (lambda s: {**s, "norm.weight": s["norm.weight"].to_sparse()}, "norm.weight"),
    "complex": (lambda s: {**s, "norm.weight": s["norm.weight"].to(torch.complex64)}, "complex64: norm.weight"),
    "nan": (lambda s: {**s, "norm.weight": s["norm.weight"] * math.nan}, "not finite: norm.weight"),
    "infinite": (lambda s: {**s, "layers.1.ada_gss": s["layers.1.ada_gss"] + math.inf}, "not finite: layers.1.ada_gss"),
    "huge index": (lambda s: {**s, "layers.10000000.x": torch.zeros(1)}, "layers.3. is missing, although there is layers.10000000."),
    "longer index": (lambda s: {**s, f"layers.{'9' * 5000}.x": torch.zeros(1)}, "layers.3. is missing"),
    "a hole": (lambda s: {k.replace("layers.1.", "layers.7."): v for k, v in s.items()}, "layers.1. is missing"),
    "one axis": (lambda s: {**s, "tok_embeddings.weight": torch.zeros(3)}, "tok_embeddings.weight: got shape (3,); want 2 axes"),
    "no axis": (lambda s: {**s, "denoise_mlp.x_embedder.weight": torch.tensor(1.0)}, "denoise_mlp.x_embedder.weight: got shape ()"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_prior_that_is_not_one_is_refused_in_a_line_and_at_once(files, states, tmp_path, capsys, name):
    change, message = MUTATIONS[name]
    _, prior = saved(tmp_path / "f", None, change(states[1]))
    assert main(["convert", str(files[0]), str(prior), "--heads", "4", "--out", str(tmp_path / "p")]) == 2
    told = capsys.readouterr().err
    assert message in told and str(prior) in told and len(told.splitlines()) == 1, told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_heads_are_asked_for_where_the_width_is_not_a_published_one(files, tmp_path):
    with pytest.raises(ValueError, match="heads: tensors do not show their number.* this width is 64: give it"):
        convert(*files, tmp_path / "p")


def test_timesteps_of_the_head_are_what_is_said(files, states, tmp_path):
    assert Pipeline.from_pretrained(convert(*files, tmp_path / "a", heads=HEADS)).prior.spec.head.steps == 256
    bare = {k: v for k, v in states[1].items() if ".scheduler." not in k}
    line = ["convert", str(files[0]), str(saved(tmp_path / "f", None, bare)[1]), "--out", str(tmp_path / "b"), "--heads", str(HEADS)]
    for words, wanted in (([], 256), (["--timesteps", "64"], 64)):
        assert main([*line, *words]) == 0
        assert Pipeline.from_pretrained(tmp_path / "b").prior.spec.head.steps == wanted
    with pytest.raises(ValueError, match="steps 0 must be at least 1"):
        published_prior(bare, HEADS, timesteps=0)


def test_nothing_of_the_users_is_lost(files, tmp_path, monkeypatch):
    folder = convert(*files, tmp_path / "p", heads=HEADS)
    for path in files:
        shutil.copy(path, folder)
    with pytest.raises(ValueError, match="beside a pipeline, which would be lost"):
        convert(*(folder / path.name for path in files), folder, heads=HEADS)
    for path in files:
        (folder / path.name).rename(folder / "prior" / path.name)
    with pytest.raises(ValueError, match="holds .*, which would be lost; give another folder"):
        convert(*(folder / "prior" / path.name for path in files), folder, heads=HEADS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="is the working folder"):
        convert(*files, ".", heads=HEADS)


def test_tensors_that_share_memory_are_written_twice(files, states, tmp_path):
    shared = {**states[1], "norm.weight": states[1]["layers.0.ffn_norm.weight"]}
    _, prior = saved(tmp_path / "f", None, shared)
    found = Pipeline.from_pretrained(convert(files[0], prior, tmp_path / "p", heads=HEADS)).prior
    assert torch.equal(found.norm.weight, found.blocks[0].feed_forward_norm.weight)


def test_a_full_disk_is_told_in_a_line(files, tmp_path):
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); from bitmosaic.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    line = [sys.executable, "-c", code, "convert", *map(str, files), "--heads", "4", "--out", str(tmp_path / "p")]
    done = warm.run(line)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "model.safetensors: file too large" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_swapped_files_pairs_that_do_not_fit_and_a_folder_that_is_no_pipeline(files, states, tmp_path, capsys):
    assert main(["convert", str(files[1]), str(files[0]), "--out", str(tmp_path / "p")]) == 2
    assert "the prior's file comes second" in capsys.readouterr().err
    other = MaskedPriorSpec((4, 4), 9, 2, 1, 64, ClassConditionSpec(3), BernoulliDiffusionSpec(16, 1)).build()
    _, prior = saved(tmp_path / "f", None, published_layout(other))
    with pytest.raises(ValueError, match="makes 12 bits a place, .* wants 9 bits a place; they are no pair"):
        convert(files[0], prior, tmp_path / "p", heads=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something that is no pipeline, so it stays"):
        convert(*files, tmp_path / "mine", heads=HEADS)
    with pytest.raises(ValueError, match="2 names for a prior of 10 classes"):
        convert(*files, tmp_path / "p", heads=HEADS, class_names=["a", "b"])
    with pytest.raises(ValueError, match="divisible by 4 x 5 heads"):
        convert(*files, tmp_path / "p", heads=5)
    assert not (tmp_path / "p").exists()


def test_settings_names_and_types_from_the_command_line(files, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    out = tmp_path / "p"
    line = f"{files[0]} {files[1]} --heads 4 --out {out} --class-names {tmp_path / 'names.txt'} --dtype float16 --steps 3 --temperature 0"
    assert main(["convert", *line.split(), "--target", "x_0"]) == 0
    assert f"bitmosaic sample {out}" in capsys.readouterr().out
    pipeline = Pipeline.from_pretrained(out)
    assert pipeline.sampler == EntropyOrderedSpec(steps=3, temperature=0.0)
    assert pipeline.class_names[7] == "class 7" and pipeline.prior.head.spec.target == "x_0"
    assert pipeline("class 7", 1)[0].size == (8, 8)
    with safe_open(out / "prior" / "model.safetensors", "pt") as file:
        assert file.get_tensor("positions").dtype == torch.float16
    assert main(["convert", *line.split()]) == 0  # an older pipeline is replaced
    assert Pipeline.from_pretrained(out).prior.head.spec.target == "flips"


def test_settings_beside_the_weights_and_bare_dictionaries_are_read(states, files, tmp_path):
    torch.save({"args": argparse.Namespace(lr=1e-4), "model": states[1], "steps": 5}, tmp_path / "model.pt")
    torch.save(states[1], tmp_path / "bare.pt", _use_new_zipfile_serialization=True)
    for name in ("model.pt", "bare.pt"):
        found = published_prior(read_checkpoint(tmp_path / name), HEADS)
        assert all(torch.equal(v, published_prior(states[1], HEADS).tensors[k]) for k, v in found.tensors.items())


def test_weights_from_disk_are_mapped_and_never_written_back(files, tmp_path):
    folder = convert(*files, tmp_path / "p", heads=HEADS)
    before = (folder / "prior" / "model.safetensors").read_bytes()
    prior = Pipeline.from_pretrained(folder).prior
    with torch.no_grad():
        prior.positions.add_(1)
    assert (folder / "prior" / "model.safetensors").read_bytes() == before
    assert all(p.requires_grad for p in prior.parameters())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_largest_published_prior_converts_in_8_gigabytes(tmp_path):
    """Full-size layouts with the published names and shapes; XXL holds 5.9 GB."""
    layouts = json.loads((reference("bigr") / "published_checkpoints.json").read_text())
    paths = []
    for name, key in (("bae_d32", None), ("bigr_XXL_d32", "ema")):
        rng = torch.Generator().manual_seed(0)
        shapes = {k: shape for k, shape in layouts[name]["tensors"].items() if not k.startswith("diffusion_processor.")}
        state = {k: torch.rand(shape, generator=rng) for k, shape in shapes.items()}
        torch.save(state if key is None else {key: state}, tmp_path / name)
        paths.append(tmp_path / name)
        del state
    code = (
        "import resource, sys; from bitmosaic.convert import convert; convert(*sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths, tmp_path / "p"], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 8, done.stdout
    state = read_checkpoint(paths[1])
    with safe_open(tmp_path / "p" / "prior" / "model.safetensors", "pt") as file:
        for mine, theirs in published_prior(state).tensors.items():
            assert torch.equal(file.get_tensor(mine), theirs), mine
    assert Pipeline.from_pretrained(tmp_path / "p").sampler.steps == 25
