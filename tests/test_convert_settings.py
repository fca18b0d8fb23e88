"""Converting checkpoints of the authors' other settings, one part alone, and errors that leave nothing behind."""

import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import warm
from cover import covered
from reference import reference
from safetensors import safe_open
from test_convert import HEADS, files, published_layout, saved, states  # noqa: F401
from test_convert_faults import refused

from bitmosaic import Codes, Pipeline
from bitmosaic.cli import main
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.convert import convert, convert_part, published_prior, published_tokenizer, read_checkpoint
from bitmosaic.folders import load_part
from bitmosaic.nets.feature_net import load_feature_net
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.priors import Prior
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.spec import Spec
from bitmosaic.systems.bigr.trials import trials
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.train.claim import differences

# ---- the authors' other settings


def plain_prior(grid=(3, 3)):
    torch.manual_seed(1)
    head = BernoulliDiffusionSpec(24, 2)
    return MaskedPriorSpec(grid, 7, 3, 2, 16, ClassConditionSpec(5), head, modulated=False).build().eval()


def by_hand(prior, digits, known, vectors):
    """The backbone without adaLN, from its equations: h = x + Attention(RMSNorm(x)), then h + SwiGLU(RMSNorm(h))."""

    def norm(x, weight):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight

    x = torch.where(known[..., None], prior.from_bits(digits.float()), prior.hidden)
    x = torch.cat([vectors[:, None], x], 1)
    b, n, width = x.shape
    turn = torch.view_as_complex(rotary_table(prior.grid, width // 2, x.device).float().reshape(n, -1, 2))
    for block in prior.blocks:
        q, k, v = block.attention.qkv(norm(x, block.attention_norm.weight)).view(b, n, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        q, k = (torch.view_as_real(torch.view_as_complex(y.reshape(*y.shape[:-1], -1, 2).contiguous()) * turn).flatten(-2) for y in (q, k))
        weights = (q @ k.transpose(-1, -2) / (width // 2) ** 0.5).softmax(-1)
        x = x + block.attention.out((weights @ v).transpose(1, 2).reshape(b, n, width))
        h = norm(x, block.feed_forward_norm.weight)
        x = x + block.feed_forward.w2(F.silu(block.feed_forward.w1(h)) * block.feed_forward.w3(h))
    return norm(x, prior.norm.weight)[:, 1:] + prior.positions


def test_a_prior_without_adaln_is_converted(files, tmp_path):  # noqa: F811
    """Its state has no adaLN.* and no ada_gss; what comes back computes the equations of such blocks."""
    prior = plain_prior()
    layout = published_layout(prior)
    assert not any("ada_gss" in name or name.startswith("adaLN") for name in layout)
    found = published_prior(read_checkpoint(saved(tmp_path, None, layout)[1]), 2)
    assert found.spec == prior.spec
    built, rng = found.build(), torch.Generator().manual_seed(0)
    digits = torch.randint(0, 2, (4, 9, 7), generator=rng, dtype=torch.uint8)
    known, labels = torch.rand(4, 9, generator=rng) < 0.5, torch.tensor([0, 1, 4, 5])
    with torch.no_grad():
        vectors = built.embed(labels, 4).vector
        assert (built.context(digits, known, vectors) - by_hand(prior, digits, known, vectors)).abs().max() < 1e-5


def test_without_adaln_is_adaln_of_gates_one(states, files, tmp_path):  # noqa: F811
    """The reference prior with shifts and scales of 0 and gates of 1, against itself with adaLN taken out."""
    gates = torch.tensor([0.0, 0, 1, 0, 0, 1])
    even = {k: gates[None, None, :, None].expand(v.shape).contiguous() if k.endswith("ada_gss") else v for k, v in states[1].items()}
    even = {k: torch.zeros_like(v) if k.startswith("adaLN.") else v for k, v in even.items()}
    none = {k: v for k, v in states[1].items() if not k.endswith("ada_gss") and not k.startswith("adaLN.")}
    one, other = published_prior(even, HEADS).build(), published_prior(none, HEADS).build()
    assert one.spec.modulated and not other.spec.modulated
    with safe_open(reference("bigr") / "bigr_reference.safetensors", "pt") as file:
        bits, masked, labels = (file.get_tensor(name) for name in ("bits", "masked", "labels"))
    with torch.no_grad():
        found = [p.context(bits.byte(), ~masked.bool(), p.embed(labels.long(), 2)) for p in (one, other)]
    assert (found[0] - found[1]).abs().max() < 1e-5
    out = convert(files[0], saved(tmp_path / "f", None, none)[1], tmp_path / "p", heads=HEADS)
    pipeline = Pipeline.from_pretrained(out)
    assert pipeline([1, 2], 5, steps=2, evaluations=2)[0].size == (8, 8) and not pipeline.prior.spec.modulated
    pipeline.save_pretrained(tmp_path / "again")
    assert Pipeline.from_pretrained(tmp_path / "again").prior.spec == pipeline.prior.spec


def test_half_an_adaln_is_refused(states):  # noqa: F811
    with pytest.raises(ValueError, match="missing: adaLN.1.bias, adaLN.1.weight"):
        published_prior({k: v for k, v in states[1].items() if not k.startswith("adaLN.")}, HEADS)


def test_a_prior_without_adaln_is_trained(tmp_path):
    """Its blocks get gradients, and working them out again gives the same ones."""
    codes = Codes(torch.randint(0, 2, (3, 3, 3, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), (2,) * 7)
    found = []
    for recompute in (False, True):
        prior = plain_prior()
        for block in prior.blocks:
            block.recompute = recompute
        prior.loss(codes, torch.tensor([0, 1, 2]), torch.Generator().manual_seed(0), 0.0).backward()
        assert all(p.grad is not None for p in prior.parameters())
        found.append([p.grad for p in prior.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_loss_towards_x_0_is_the_authors(states):  # noqa: F811
    """Published towards flips: bits weighted, as the reference says; towards x_0: every bit the same."""
    head = published_prior(states[1], HEADS, target="x_0").build().head
    with safe_open(reference("bigr") / "bigr_reference.safetensors", "pt") as file:
        r = {k: file.get_tensor(k) for k in file.keys()}
    x_0, x_t, t = r["bits"].byte().flatten(0, 1), r["train_noisy_bits"].byte(), r["train_t"].long()
    condition = r["head_condition"][:2].flatten(0, 1)
    with torch.no_grad():
        loss, logits = head.elementwise_loss(x_0, t, x_t, condition)
        assert torch.equal(loss, F.binary_cross_entropy_with_logits(logits, x_0.float(), reduction="none"))
        flips = published_prior(states[1], HEADS).build().head.elementwise_loss(x_0, t, x_t, condition)[0]
    assert (flips - r["train_loss_elementwise"].view(flips.shape)).abs().max() < 1e-4


def test_descriptions_of_before_say_what_they_said():
    """Fields that came later are left out where they say what was so before, and stand for it where they are missing."""
    flips, x_0 = BernoulliDiffusionSpec(8, 1), BernoulliDiffusionSpec(8, 1, target="x_0")
    later = {"weights", "modulated", "input_positions"}
    for spec in (flips, BernoulliDiffusionSpec(8, 1, target="x_0", weights="balanced"), MaskedPriorSpec()):
        assert not later & spec.to_json().keys() and Spec.from_json(spec.to_json()) == spec
    others = MaskedPriorSpec(modulated=False), MaskedPriorSpec(input_positions=True)
    for spec in (x_0, BernoulliDiffusionSpec(8, 1, weights="balanced"), *others):
        assert later & spec.to_json().keys() and Spec.from_json(spec.to_json()) == spec
    assert list(differences(MaskedPriorSpec().to_json(), others[1].to_json(), "prior")) == ["prior.input_positions was False, now True"]
    old = {k: v for k, v in x_0.to_json().items() if k != "weights"}
    assert Spec.from_json(old).weights == "balanced", "as it was trained"
    trial = next(trial for trial in trials() if trial.name == "x_0")
    assert "weights" not in trial.prior.head.to_json() and trial.prior.head.weights == "balanced", "the tables' bits stay"


# ---- a part alone


def test_a_part_alone_is_converted_and_joined_later(files, tmp_path, capsys):  # noqa: F811
    prior, tokenizer, joined, at_once = (tmp_path / name for name in ("prior", "tokenizer", "joined", "at-once"))
    assert main(["convert", str(files[1]), "--heads", "4", "--out", str(prior)]) == 0
    assert f"convert TOKENIZER {prior}" in capsys.readouterr().out
    assert {file.name for file in prior.iterdir()} == {"config.json", "model.safetensors"}
    found, wanted = Prior.from_pretrained(prior), published_prior(read_checkpoint(files[1]), HEADS)
    assert found.spec == wanted.spec and all(torch.equal(v, wanted.tensors[k]) for k, v in found.state_dict().items())
    assert main(["convert", str(files[0]), "--out", str(tokenizer)]) == 0
    assert f"convert {tokenizer} PRIOR" in capsys.readouterr().out
    assert Tokenizer.from_pretrained(tokenizer).spec == published_tokenizer(read_checkpoint(files[0])).spec
    convert(*files, at_once, heads=HEADS)
    for pair in ((files[0], prior), (tokenizer, prior)):
        assert main(["convert", *map(str, pair), "--out", str(joined)]) == 0
        one, other = ({p.relative_to(d): p.read_bytes() for p in d.rglob("*.*")} for d in (joined, at_once))
        assert one == other
    assert main(["convert", str(tokenizer), str(files[1]), "--heads", "4", "--out", str(joined)]) == 0
    assert main(["convert", str(files[1]), "--heads", "4", "--out", str(prior)]) == 0, "an older one is replaced"


def test_parts_that_do_not_go_together_are_refused(files, tmp_path, capsys):  # noqa: F811
    prior = convert_part(files[1], tmp_path / "prior", heads=HEADS)
    refused(["convert", prior, prior, "--out", tmp_path / "p"], capsys, str(prior), "Tokenizer")
    refused(["convert", files[0], prior, "--heads", 4, "--out", tmp_path / "p"], capsys, "are those of the folder")
    refused(["convert", files[0], prior, "--out", prior], capsys, "so it stays")
    refused(["convert", files[0], tmp_path, "--out", tmp_path / "p"], capsys, "without config.json")
    refused(["convert", files[1], "--heads", 4, "--steps", 3, "--out", tmp_path / "p"], capsys, "both parts")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    refused(["convert", files[1], "--heads", 4, "--out", tmp_path / "mine"], capsys, "stays")
    refused(["convert", prior, "--out", tmp_path / "p"], capsys, "a folder")
    refused(["sample", prior, "--count", 1, "--out", tmp_path / "s"], capsys, "MaskedPriorSpec alone", "bitmosaic convert")
    assert load_part(prior, Prior).spec.depth == 3 and not (tmp_path / "p").exists()


# ---- errors and nothing else


@pytest.mark.parametrize("kind", ["sparse", "csr", "quantized", "complex", "nested", "meta"])
def test_nothing_stands_before_an_error(files, states, tmp_path, kind):  # noqa: F811
    """Not even torch's own warnings, in a process of its own, where nobody has silenced them."""
    made = {
        "sparse": lambda v: v.to_sparse(), "csr": lambda v: v[None].expand(3, -1).contiguous().to_sparse_csr(),
        "quantized": lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "complex": lambda v: v.to(torch.complex32),
        "nested": lambda v: torch.nested.nested_tensor([v, v[:3]]), "meta": lambda v: v.to("meta"),
    }[kind]  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = {**states[1], "norm.weight": made(states[1]["norm.weight"])}
            _, prior = saved(tmp_path / "f", None, state)
    except Exception as error:
        pytest.skip(f"this torch writes no such tensor ({error})")
    line = [sys.executable, "-m", "bitmosaic", "convert", str(files[0]), str(prior), "--heads", "4", "--out", str(tmp_path / "p")]
    done = warm.run(line)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and str(prior) in done.stderr, done.stderr


@pytest.mark.parametrize("line, path", covered([
    "index PATH i", "tokenize PATH o", "compress PATH -o o", "train folder --data PATH --dry-run", "sample fashion --count 1 --out PATH",
    "info PATH", "reconstruct --data PATH", "encode PATH", "report PATH", "inpaint PATH --box 0 0 4 4", "duplicates PATH", "studio PATH",
], ["circle", "circle/deep", "~nobody-of-that-name/x"], ways=1))  # fmt: skip
def test_paths_that_lead_nowhere_are_told_by_every_command(tmp_path, monkeypatch, capsys, line, path):
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    refused(line.replace("PATH", path).split(), capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["circle"]


def test_a_damaged_feature_network_is_refused(tmp_path):
    """Its file is of the same kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 30, 9)), tmp_path / "net.pt")
    load_feature_net(tmp_path / "net.pt")
    data = bytearray((tmp_path / "net.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "net.pt").write_bytes(data)
    with pytest.raises(ValueError, match="net.pt: damaged: the checksum"):
        load_feature_net(tmp_path / "net.pt")


def test_links_in_a_circle_are_told(files, tmp_path, capsys):  # noqa: F811
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    circle = tmp_path / "a"
    for line in ([circle, files[1]], [files[0], circle], [circle], [*files, "--out", circle], [*files, "--out", circle / "deep"],
                 [files[1], "--out", circle]):  # fmt: skip
        told = refused(["convert", *line, "--heads", 4] + ([] if "--out" in line else ["--out", tmp_path / "p"]), capsys)
        assert str(circle) in told, told
    assert sorted(Path(path).name for path in tmp_path.iterdir()) == ["a", "b"]
