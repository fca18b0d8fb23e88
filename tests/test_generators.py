"""Every generator, discriminator and adversarial loss, found by its Spec, built tiny, held to the laws of its room; StudioGAN's tensors."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.generators import DCGANSpec, Generator, GeneratorSpec
from bitmosaic.nets.discriminators.base import DiscriminatorSpec
from bitmosaic.spec import Spec


def kinds(of):
    """Of our own package: tests describe broken ones."""
    found = [kind for kind in Spec.table.values() if issubclass(kind, of) and kind.__module__.startswith("bitmosaic.")]
    return pytest.mark.parametrize("kind", found, ids=lambda kind: kind.__name__.removesuffix("Spec"))


with_conditions = pytest.mark.parametrize("condition", [ClassConditionSpec(), NoConditionSpec()], ids=["classes", "none"])


def built(kind, seed=0, **fields):
    torch.manual_seed(seed)
    return kind(**fields).build()


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@dataclass(frozen=True)
class Images:
    images: torch.Tensor
    labels: torch.Tensor | None


def batches(spec, size=4):
    def batch(step):
        rng = torch.Generator().manual_seed(step)
        images = torch.randint(0, 256, (size, spec.channels, *spec.image_size), generator=rng, dtype=torch.uint8)
        return Images(images, torch.randint(0, 3, (size,), generator=rng))

    return batch


# ---- the laws of generators, as functions, so that a broken one can be held to them too


def law_an_image_is_its_seeds_whatever_its_batch(net: Generator):
    net.eval()
    labels = torch.arange(20) % net.classes if net.classes else None
    together = net.sample(seeded(*range(20)), labels)
    torch.manual_seed(9)
    for i in (0, 7, 19):
        alone = net.sample(seeded(i), None if labels is None else labels[i : i + 1])
        assert torch.equal(alone[0], together[i]), i
    assert not torch.equal(together[0], together[3 if net.classes else 1])


def law_draws_come_from_the_given_generators_alone(net: Generator):
    net.eval()
    before = torch.get_rng_state()
    net.sample(seeded(1, 2))
    assert torch.equal(torch.get_rng_state(), before), "it drew from torch's global generator"


def law_images_are_finite_at_any_truncation(net: Generator):
    net.eval()
    for truncation in (0.0, 1.0):
        images = net.sample(seeded(1, 2, 3), torch.zeros(3, dtype=torch.long) if net.classes else None, truncation)
        assert images.shape == (3, net.spec.channels, *net.spec.image_size) and 0 <= float(images.min()) and float(images.max()) <= 1
        assert torch.equal(images[0], images[1]) == (truncation == 0)


GENERATOR_LAWS = [
    law_an_image_is_its_seeds_whatever_its_batch, law_draws_come_from_the_given_generators_alone, law_images_are_finite_at_any_truncation,
]  # fmt: skip
every_law = pytest.mark.parametrize("law", GENERATOR_LAWS, ids=lambda law: law.__name__)


@every_law
@with_conditions
@kinds(GeneratorSpec)
def test_generator(kind, condition, law):
    law(built(kind, condition=condition))


class Unseeded(Generator):
    """Noise of torch's global generator; to no image its seed means anything."""

    def __init__(self):
        super().__init__()
        self.spec, self.classes, self.scale = DCGANSpec(condition=NoConditionSpec()), 0, nn.Parameter(torch.ones(()))

    def noise(self, rngs):
        return torch.randn(len(rngs), self.spec.latent)

    def forward(self, z, labels=None):
        return (self.scale * z.mean(1)).sigmoid()[:, None, None, None].expand(-1, self.spec.channels, *self.spec.image_size)


class Coupled(Unseeded):
    """Images that depend on those beside them."""

    noise = Generator.noise

    def forward(self, z, labels=None):
        return super().forward(z - z.mean(0))


@pytest.mark.parametrize(("kind", "law"), [
    (Unseeded, law_an_image_is_its_seeds_whatever_its_batch), (Unseeded, law_draws_come_from_the_given_generators_alone),
    (Coupled, law_an_image_is_its_seeds_whatever_its_batch),
])  # fmt: skip
def test_a_broken_generator_breaks_its_law(kind, law):
    with pytest.raises(AssertionError):
        law(kind())


@kinds(GeneratorSpec)
def test_generator_sees_the_class_and_blends(kind):
    net = built(kind).eval()
    images = net.sample(seeded(0, 0, 0, 0), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [1, 0, 0]]))
    assert torch.equal(images[0], images[3]) and not torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    assert torch.allclose(images[:1], net.sample(seeded(0), torch.tensor([0])), atol=1e-6)


@kinds(GeneratorSpec)
def test_generator_without_a_class_draws_one_by_its_seed(kind):
    net = built(kind).eval()
    images = net.sample(seeded(*range(8)))
    every = [net.sample(seeded(*range(8)), torch.full((8,), label)) for label in range(3)]
    which = [[torch.equal(image, of[i]) for of in every].index(True) for i, image in enumerate(images)]
    assert len(set(which)) > 1


@kinds(GeneratorSpec)
def test_generator_takes_other_sides_and_grey(kind):
    images = built(kind, image_size=(28, 36), channels=1).eval().sample(seeded(0))
    assert images.shape == (1, 1, 28, 36)
    with pytest.raises(ValueError, match="image_size: got"):
        kind(image_size=(30, 30))


@pytest.mark.parametrize("truncation", [-0.1, 1.1, float("nan")])
def test_truncation_is_a_share(truncation):
    with pytest.raises(ValueError, match="truncation: got"):
        built(DCGANSpec).sample(seeded(0), truncation=truncation)


# ---- discriminators


@kinds(DiscriminatorSpec)
def test_discriminator_judges_each_image_by_itself_and_its_class(kind):
    net, batch = built(kind).eval(), batches(kind())(0)
    images = batch.images / 255
    logits = net(images, batch.labels)
    assert logits.shape == (4,) and logits.isfinite().all()
    assert torch.allclose(net(images[2:3], batch.labels[2:3]), logits[2:3], atol=1e-6)
    assert not torch.allclose(net(images, (batch.labels + 1) % 3), logits, atol=1e-6)
    assert net(images, batch.labels).shape == built(kind, classes=0)(images).shape
    with pytest.raises(ValueError, match="labels: got None"):
        net(images)
