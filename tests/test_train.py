"""Training from images to a pipeline: it resumes by itself, refuses what does not fit, and tells of broken images."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from bitmosaic.cli import main
from bitmosaic.codec import SCALE_IMAGES, PriorCoder
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.images.specs import FolderSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec, load_feature_net, save_feature_net
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.pipelines import Pipeline
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.checkpoint import checkpoints
from bitmosaic.train.code_store import CodeStore
from bitmosaic.train.run import Run
from bitmosaic.train.stages import CodesStage, FeaturesStage, FileFeatures, PriorStage, TokenizerStage, TrainedFeatures
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.train import train
from bitmosaic.train.training import Training


def tiny_run(folder, checkpoint_seconds=1e9) -> Run:
    """Of all stages. Checkpoints, which take longer than the steps, are of the last alone unless asked for."""
    steps = Training(steps=6, batch_size=4, log_every=2, pictures_every=4, checkpoint_seconds=checkpoint_seconds, warmup_steps=2)
    tokenizer = TokenizerStage(
        tokenizer=BinaryAutoencoderSpec(image_size=(16, 16), channels=3, bits=4, width=8, multipliers=(1, 1), embedding=8, groups=4),
        tokenizer_losses=TokenizerLosses(perceptual_weight=0.1, discriminator=PatchGANSpec(3, 8, 1), adversarial_start=2),
        tokenizer_training=steps,
    )
    prior = PriorStage(
        prior=MaskedPriorSpec((8, 8), 4, condition=ClassConditionSpec(2), dropout=0.1),
        prior_training=steps,
        sampler=EntropyOrderedSpec(steps=3, evaluations=4),
    )
    features = FeaturesStage(TrainedFeatures(ConvClassifierSpec(3, 2, (8, 8)), steps))
    return Run("tiny", FolderSpec(str(folder), (16, 16), 3), (features, tokenizer, CodesStage(2), prior), flip=True)


@pytest.fixture
def folder(tmp_path):
    sample = fashion_sample()
    for name, label in (("bag", 8), ("shirt", 6)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in (sample.labels == label).nonzero().flatten()[:8].tolist():
            to_pil(sample.image(i)).save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path / "data"


def silent(text: str) -> None:
    pass


def lines(path):
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second", "memory_gib")} for line in kept]


def same_weights(a: Pipeline, b: Pipeline) -> bool:
    pairs = [(a.tokenizer, b.tokenizer), (a.prior, b.prior)]
    return all(torch.equal(x, y) for m, n in pairs for x, y in zip(m.state_dict().values(), n.state_dict().values(), strict=True))


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_images_to_pipeline_and_resume_bitwise(folder, tmp_path, killed):
    run = tiny_run(folder, checkpoint_seconds=0)
    whole = train(run, tmp_path / "whole", silent)
    for name in ("curves-tokenizer.png", "curves-prior.png", "pipeline/config.json", "tokenizer/report.json", "features.safetensors"):
        assert (tmp_path / "whole" / name).is_file(), name
    assert list((tmp_path / "whole" / "prior" / "pictures").glob("*.png"))
    load_feature_net(tmp_path / "whole" / "features.safetensors")
    assert whole.class_names == ("bag", "shirt")
    codes = CodeStore.of_run(tmp_path / "whole" / "codes").some(SCALE_IMAGES)
    assert whole.logit_scale == PriorCoder.fit(whole.prior, codes).scale and whole.static is not None

    if not killed:
        return
    # the state a kill leaves behind: an older checkpoint of each stage, metrics that ran on, a half-written checkpoint
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "whole", broken)
    shutil.rmtree(broken / "pipeline")
    newest = checkpoints(broken / "prior" / "checkpoints")[-1]
    newest.rename(newest.with_name(".step-00000006.new"))
    with (broken / "prior" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    again = train(run, broken, silent)
    assert same_weights(whole, again)
    assert lines(broken / "prior" / "metrics.jsonl") == lines(tmp_path / "whole" / "prior" / "metrics.jsonl")

    shutil.rmtree(broken / "tokenizer" / "final")
    shutil.rmtree(broken / "pipeline")
    shutil.rmtree(broken / "prior")
    shutil.rmtree(broken / "codes")
    shutil.rmtree(checkpoints(broken / "tokenizer" / "checkpoints")[-1])
    assert same_weights(whole, train(run, broken, silent))


def test_another_run_or_other_images_are_refused(folder, tmp_path):
    run = tiny_run(folder)
    train(run, tmp_path / "out", silent)
    with pytest.raises(ValueError, match=r"run\.prior_training\.learning_rate was 0\.001, now 0\.5"):
        train(run.changed(prior_training=replace(run.prior_training, learning_rate=0.5)), tmp_path / "out", silent)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="no run.json"):
        train(run, tmp_path / "mine", silent)
    (folder / "bag" / "new.png").write_bytes(next((folder / "shirt").glob("*.png")).read_bytes())
    with pytest.raises(ValueError, match="images have changed"):
        train(run, tmp_path / "out", silent)


def test_broken_image_is_told_once(folder, tmp_path, capsys):
    (folder / "bag" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    told = []
    pipeline = train(tiny_run(folder), tmp_path / "out", told.append)
    stages = ("features", "tokenizer", "codes")  # each names it once, the prior reads codes
    assert capsys.readouterr().out.count("broken.png") + sum("broken.png" in line for line in told) == len(stages)
    assert len(pipeline(["bag", None, {"bag": 0.5, "shirt": 0.5}])) == 3


def test_without_classes(folder, tmp_path):
    run = tiny_run(folder / "bag")
    run = run.changed(tokenizer_losses=TokenizerLosses(), prior=replace(run.prior, condition=NoConditionSpec())).without("features")
    pipeline = train(run, tmp_path / "out", silent)
    assert pipeline.class_names == ()
    assert len(pipeline(seeds=[3, 4])) == 2
    with pytest.raises(ValueError, match="without classes"):
        pipeline("bag")


def test_a_prior_may_leave_the_classes_of_a_folder_aside(folder, tmp_path):
    run = tiny_run(folder)
    run = run.changed(prior=replace(run.prior, condition=NoConditionSpec()))
    pipeline = train(run, tmp_path / "out", silent, "cpu")
    assert pipeline.class_names == () and pipeline(None, 0, output_type="pt").isfinite().all()


def test_a_feature_network_that_does_not_fit_is_told_before_anything_is_written(folder, tmp_path):
    grey = tmp_path / "grey.safetensors"
    save_feature_net(ConvClassifierSpec(1, 2, (4,)).build(), grey)
    for path, why in ((grey, "fails on images of .3, 16, 16."), (tmp_path / "none.safetensors", "is not a file")):
        run = tiny_run(folder).changed(features=FileFeatures(str(path)))
        with pytest.raises(ValueError, match=why):
            train(run, tmp_path / "out", silent, "cpu")
        assert not (tmp_path / "out").exists()


def test_averaged_weights_have_learned_even_where_the_run_is_shorter_than_their_interval(folder, tmp_path):
    run = tiny_run(folder)
    few = replace(run.tokenizer_training, ema_every=10**6)
    train(run.changed(tokenizer_training=few), tmp_path / "out", silent, "cpu")
    torch.manual_seed(few.seed)
    fresh = run.tokenizer.build().state_dict()
    made = Pipeline.from_pretrained(tmp_path / "out" / "pipeline").tokenizer.state_dict()
    assert any(not torch.equal(made[name], fresh[name]) for name in fresh)


def test_images_must_fit_the_run(folder, tmp_path):
    run = tiny_run(folder)
    wrong = [
        (run.changed(data=FolderSpec(str(folder), (32, 32), 3)), "do not fit a tokenizer"),
        (run.changed(data=FolderSpec(str(folder), (16, 16), 1)), "do not fit a tokenizer"),
        (run.changed(prior=replace(run.prior, condition=ClassConditionSpec(5))), "images have 2 classes"),
        (run.changed(features=replace(run.features, net=ConvClassifierSpec(3, 7, (8, 8)))), "needs 2 classes"),
        (run.changed(features=FileFeatures(str(tmp_path / "none.safetensors"))), "is not a file"),
    ]
    for bad, message in wrong:
        with pytest.raises(ValueError, match=message):
            train(bad, tmp_path / "out", silent)
        assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="lies inside the images"):
        train(run, folder / "runs" / "mine", silent)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
@pytest.mark.filterwarnings("ignore")  # the compiler's own, about complex products and small matrices
def test_compiled_training_reaches_a_pipeline(folder, tmp_path):
    run = tiny_run(folder)
    compiled = replace(run.prior_training, compile=True)
    pipeline = train(run.changed(prior_training=compiled, tokenizer_training=compiled), tmp_path / "out", silent)
    assert len(pipeline("bag", [1, 2])) == 2


def test_a_run_as_a_page(folder, tmp_path, capsys):
    run = tiny_run(folder)
    train(run, tmp_path / "one", silent)
    shutil.copytree(tmp_path / "one", tmp_path / "two & more")
    described = json.loads((tmp_path / "two & more" / "run.json").read_text())
    described["run"]["stages"][-1]["prior_training"]["learning_rate"] = 0.25
    (tmp_path / "two & more" / "run.json").write_text(json.dumps(described))
    shutil.rmtree(tmp_path / "two & more" / "pipeline")
    with (tmp_path / "two & more" / "prior" / "events.jsonl").open("a") as file:
        file.write('{"step": 5, "event": "skipped", "loss": "<nan>"}\n[]\n{"step"')
    runs = [str(tmp_path / "one"), str(tmp_path / "two & more")]
    assert main(["report", *runs, "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert "two &amp; more" in page and "prior_training.learning_rate" in page and "0.001, now 0.25" in page
    assert page.count('src="data:image/png') >= 3 + 2 * 4 and "http" not in page
    assert "1 started, 1 skipped" in page and "loss &lt;nan&gt;" in page and "at step 6 of 6" in page and "prior done" in page
    assert main(["report", *runs, "--out", str(tmp_path / "page")]) == 0, "it may be made again"
    assert main(["report", str(folder)]) == 2 and main(["report"]) == 2
    assert "holds no run.json" in capsys.readouterr().err
