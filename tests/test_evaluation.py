"""`bitmosaic evaluate`: figures that can be reproduced, each with its floor and all that it depends on."""

import hashlib
import json

import pytest
import torch
from torch import nn

from bitmosaic import Pipeline
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.evaluate import evaluation
from bitmosaic.evaluate.parallel import in_chunks
from bitmosaic.evaluate.space import Features, FeatureSpace
from bitmosaic.images import ArrayImages, fashion_sample
from bitmosaic.nets import inception
from bitmosaic.nets.feature_net import ConvClassifierSpec, load_feature_net, save_feature_net
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers import EntropyOrderedSpec
from bitmosaic.tokenizers import BinaryAutoencoderSpec


def drawn(*shape, seed=0, shift=0.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + shift


def pipeline(classes=10, channels=1):
    torch.manual_seed(0)
    condition = ClassConditionSpec(classes) if classes else NoConditionSpec()
    prior = MaskedPriorSpec((7, 7), 8, condition=condition).build()
    tokenizer = BinaryAutoencoderSpec((28, 28), channels, 8, 8, (1, 1, 1), 0, (), 8, groups=4).build()
    names = fashion_sample().class_names if classes == 10 else ()
    return Pipeline(tokenizer, prior, EntropyOrderedSpec(2, 2), names)


def few(n, labels=True, start=0):
    test = fashion_sample()
    some = slice(start, start + n)
    return ArrayImages(test.pixels[some], test.labels[some] if labels else None, test.class_names if labels else ())


def net(tmp_path, classes=10, name="net.safetensors"):
    torch.manual_seed(1)
    made = ConvClassifierSpec(1, classes, (2, 2, 4)).build().eval()
    save_feature_net(made, tmp_path / name)
    return FeatureSpace.load(tmp_path / name)


# Inception


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(inception.InceptionV3().state_dict(), path)
    return path


def test_inception_has_the_published_tensors():
    with torch.device("meta"):
        weights = inception.InceptionV3().state_dict()
    assert sum(w.numel() for name, w in weights.items() if "running" not in name and "num_batches" not in name) == 23_850_960
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3), "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5), "fc.bias": (1008,),
        "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7), "Mixed_7c.branch3x3dbl_3b.bn.running_var": (384,),
    }  # fmt: skip
    assert {name: tuple(weights[name].shape) for name in shapes} == shapes


def test_images_are_enlarged_as_tensorflow_1_did():
    x = torch.tensor([0.0, 6.0, 12.0]).expand(1, 1, 3, 3)
    assert inception.enlarge(x, 6)[0, 0, 0].tolist() == [0, 3, 6, 9, 12, 12]  # pixel i lies at i / 2; torch's own would begin 0, 1.5
    down = inception.enlarge(torch.arange(8.0).expand(1, 1, 8, 8), 4)[0, 0, 0]
    assert down.tolist() == [0, 2, 4, 6]
    same = torch.rand(1, 3, 299, 299)
    assert torch.equal(inception.enlarge(same, 299), same)


def test_only_the_published_weights_make_a_fid(inception_file):
    space = FeatureSpace.load(inception_file)
    assert space.inception and not space.fid and space.word("fid", "frechet_distance") == "frechet_distance"
    assert FeatureSpace(space.net, "weights", inception.REFERENCE + "0" * 56).word("fid", "frechet_distance") == "fid"
    grey = torch.randint(0, 256, (2, 1, 20, 20), dtype=torch.uint8)
    found, colour = space.measure(grey), space.measure(grey.expand(-1, 3, -1, -1))
    assert (found.pooled.shape, found.spatial.shape, found.logits.shape) == ((2, 2048), (2, 2023), (2, 1008))
    assert torch.equal(found.pooled, colour.pooled)
    with pytest.raises(ValueError, match="takes uint8"):
        space.net(torch.rand(1, 3, 9, 9))


# Feature spaces


def test_a_classifier_of_ours_gives_all_three(tmp_path):
    space, images = net(tmp_path), few(6).pixels
    found = space.measure(images)
    assert torch.equal(found.pooled, space.net.embed(images.float() / 255)) and found.logits.shape == (6, 10)
    assert found.spatial.shape == (6, 2 * 14 * 14)  # the map before the last
    assert space.checksum == hashlib.sha256((tmp_path / "net.safetensors").read_bytes()).hexdigest()
    assert torch.allclose(Features.join([space.measure(images[:2]), space.measure(images[2:])]).logits, found.logits, atol=1e-6)


CODE = """
import torch
import warm
class Mean(torch.nn.Module):
    def embed(self, images):
        return images.mean((2, 3)).expand(-1, 2) * torch.tensor([1.0, 2.0])
ready = Mean()
class Drawn(torch.nn.Module):
    def __init__(self, value=None):
        super().__init__()
        self.layer = torch.nn.Linear(784, 1)
        if value is not None:
            torch.nn.init.constant_(self.layer.weight, value)
    def embed(self, images):
        return self.layer(images.flatten(1))
other = lambda: Drawn(1.0)
broken_head = Mean()
broken_head.logits = lambda images: images.mean((2, 3)) / 0
wide = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 9000))
def plain():
    return torch.nn.Flatten()
broken = 3
"""


def test_a_network_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    images = few(4).pixels
    found = FeatureSpace.load(f"{tmp_path}/mine.py:ready").measure(images)
    mean = images.float().mean((1, 2, 3)) / 255
    assert torch.allclose(found.pooled, torch.stack([mean, 2 * mean], 1)) and found.spatial is None and found.logits is None
    assert FeatureSpace.load(f"{tmp_path}/mine.py:plain").measure(images).pooled.shape == (4, 784)
    for name in ("broken", "absent"):
        with pytest.raises(ValueError, match=f"{name} is .*, not a torch module"):
            FeatureSpace.load(f"{tmp_path}/mine.py:{name}")


def test_a_checksum_is_of_the_weights_too_and_drawn_ones_are_the_same_each_time(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    state = torch.get_rng_state()
    found = [FeatureSpace.load(f"{tmp_path}/mine.py:{name}").checksum for name in ("Drawn", "Drawn", "other")]
    assert found[0] == found[1] != found[2] and torch.equal(torch.get_rng_state(), state)


def test_features_that_mean_nothing_are_refused(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    with pytest.raises(ValueError, match="logits .* should be finite"):
        FeatureSpace.load(f"{tmp_path}/mine.py:broken_head").measure(few(4).pixels)
    with pytest.raises(ValueError, match="9000 wide"):
        FeatureSpace.load(f"{tmp_path}/mine.py:wide").measure(few(4).pixels)


def test_a_feature_of_one_number_has_a_distance(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    figures, _ = evaluation.evaluate(pipeline(), evaluation.parted(few(60), None, 20), FeatureSpace.load(f"{tmp_path}/mine.py:other"))
    assert figures["samples"]["frechet_distance"]["value"] > figures["samples"]["frechet_distance"]["floor"] >= 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_and_exported_networks(tmp_path):
    torch.manual_seed(0)
    own, images = nn.Sequential(nn.Conv2d(1, 6, 3, 2), nn.ReLU()).eval(), few(4).pixels
    torch.jit.script(own).save(tmp_path / "net.pt")
    batch = torch.export.Dim("batch", min=1, max=1000)
    torch.export.save(torch.export.export(own, (torch.rand(2, 1, 28, 28),), dynamic_shapes=({0: batch},)), tmp_path / "net.pt2")
    expected = own(images.float() / 255)
    for name in ("net.pt", "net.pt2"):
        found = FeatureSpace.load(tmp_path / name).measure(images)
        assert torch.allclose(found.pooled, expected.mean((2, 3)), atol=1e-6) and found.spatial.shape == (4, 6 * 13 * 13)


@pytest.mark.parametrize("name, content, complaint", [
    ("net.pth", b"no pickle", "want .safetensors"), ("net.safetensors", b"x", "want .safetensors"), ("net.pt", b"x", "want .safetensors"),
])  # fmt: skip
def test_files_that_are_no_networks(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        load_feature_net(tmp_path / name)


def test_a_network_that_does_not_take_the_images_is_named(tmp_path):
    space = net(tmp_path)
    with pytest.raises(ValueError, match=r"net.safetensors: fails on images \(3, 28, 28\)"):
        space.measure(torch.zeros(2, 3, 28, 28, dtype=torch.uint8))


# The whole


def test_parts_do_not_overlap_and_are_as_asked():
    real = evaluation.parted(few(100), None, 30)
    assert len(real.rows) == 50 and len(real.beside_rows) == 30 and not set(real.rows.tolist()) & set(real.beside_rows.tolist())
    other = evaluation.parted(few(100), few(40, start=200), None)
    assert len(other.rows) == 100 and len(other.beside_rows) == 40 and len(set(other.beside_rows.tolist())) == 40
    for count in (11, 51):
        with pytest.raises(ValueError, match=f"count: got {count}; of 50 images beside the reference, give 12 to 50"):
            evaluation.parted(few(100), None, count)
    for images, others in ((few(23), None), (few(1), None), (few(100), few(11, start=200)), (few(11), few(100, start=200))):
        for count in (None, 4, 12):
            with pytest.raises(ValueError, match="images: there are .* and 12 of each are the fewest: name a folder of 24 or more"):
                evaluation.parted(images, others, count)
    assert len(evaluation.parted(few(24), None, None).beside_rows) == 12


def test_figures_do_not_depend_on_threads_and_name_what_is_asked(tmp_path):
    pipe, real, space = pipeline(), evaluation.parted(few(130), None, 60), net(tmp_path)
    one, pictures = evaluation.evaluate(pipe, real, space, workers=1)
    assert evaluation.evaluate(pipe, real, space, workers=3)[0] == one
    assert evaluation.evaluate(pipe, real, space, seed=1)[0]["samples"] != one["samples"]
    samples = one["samples"]
    assert set(samples) == {
        "frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage", "spatial_frechet_distance", "classifier_score",
        "class_agreement",
    }  # fmt: skip
    assert samples["frechet_distance"]["value"] > 2 * samples["frechet_distance"]["floor"] > 0  # the pipeline is untrained
    assert one["counts"] == {"samples": 60, "reference": 65, "other_real": 60} and one["seeds"] == [0, 59]
    assert one["classes"] == evaluation.SAME and len(pictures["drawn"]) >= 12
    assert one["reconstruction"]["bits_per_image"] == 392 and one["reconstruction"]["ms_ssim_scales"] == 2


def test_real_images_in_place_of_made_ones_get_the_floor(tmp_path):
    space, reference, floor = net(tmp_path), few(200), few(100, start=300)
    features = [space.measure(images.pixels) for images in (floor, reference)]
    found = evaluation.against(features[0], features[0], features[1], space)
    assert all(pair["value"] == pair["floor"] for pair in found.values())


def test_without_classes_and_with_other_classes(tmp_path):
    real = evaluation.parted(few(100, labels=False), None, 30)
    figures, _ = evaluation.evaluate(pipeline(0), real, net(tmp_path))
    assert figures["classes"] == "none" and "class_agreement" not in figures["samples"]
    figures, _ = evaluation.evaluate(pipeline(3), evaluation.parted(few(100), None, 30), net(tmp_path, 3))
    assert figures["classes"] == "each as often" and "floor" not in figures["samples"]["class_agreement"]
    figures, _ = evaluation.evaluate(pipeline(3), evaluation.parted(few(100), None, 30), net(tmp_path))
    assert "class_agreement" not in figures["samples"]  # ten classes cannot judge three


def test_classes_are_taken_by_name_whatever_their_order(tmp_path):
    """A folder's classes are in the alphabet's order, a pipeline's in its own, a network's in that of what it learned."""
    given, pipe = few(100), pipeline()
    order = sorted(range(10), key=lambda i: given.class_names[i])
    names = tuple(given.class_names[i] for i in order)
    shuffled = ArrayImages(given.pixels, torch.tensor([order.index(int(label)) for label in given.labels]), names)
    space = net(tmp_path)
    save_feature_net(space.net, tmp_path / "named.safetensors", class_names=json.dumps(given.class_names))
    moved = ConvClassifierSpec(1, 10, (2, 2, 4)).build().eval()
    moved.load_state_dict({k: v[order] if k.startswith("out.") else v for k, v in space.net.state_dict().items()})
    save_feature_net(moved, tmp_path / "moved.safetensors", class_names=json.dumps(names))
    found = []
    for images in (given, shuffled):
        for name in ("named", "moved"):
            part = evaluation.evaluate(pipe, evaluation.parted(images, None, 40), FeatureSpace.load(tmp_path / f"{name}.safetensors"))[0]
            assert part["classes"] == evaluation.SAME
            found.append(part["samples"]["class_agreement"])
    assert found[0] == found[1] == found[2] == found[3] and "floor" in found[0]
    save_feature_net(space.net, tmp_path / "strange.safetensors", class_names=json.dumps([f"thing {i}" for i in range(10)]))
    part, _ = evaluation.evaluate(pipe, evaluation.parted(given, None, 40), FeatureSpace.load(tmp_path / "strange.safetensors"))
    assert "class_agreement" not in part["samples"]


def test_a_floor_of_the_same_images_is_refused():
    with pytest.raises(ValueError, match="beside: the same images"):
        evaluation.parted(few(100), few(100), 30)


def test_what_does_not_fit_is_told(tmp_path):
    colour = ArrayImages(few(100).pixels.expand(-1, 3, -1, -1).contiguous())
    with pytest.raises(ValueError, match="do not fit a pipeline"):
        evaluation.evaluate(pipeline(), evaluation.parted(colour, None, 30), net(tmp_path))
    with pytest.raises(ValueError, match="no setting nonsense"):
        evaluation.evaluate(pipeline(), evaluation.parted(few(100), None, 30), net(tmp_path), settings={"nonsense": 1})
    with pytest.raises(ValueError, match="beside: images of"):
        evaluation.parted(few(100), colour, 30)


def test_chunks_come_back_in_order_from_any_number_of_threads():
    done = []
    found = in_chunks(23, 5, lambda chunk: list(range(chunk.start, chunk.stop)), 4, done.append)
    assert sum(found, []) == list(range(23)) and sum(done) == 23
