"""`bitmosaic reproduce bigr-tables`: what is compared, how it is told, and that it goes on where it was."""

import dataclasses
import json
import operator
import os
from functools import partial

import pytest

from bitmosaic.cli import main
from bitmosaic.commands import reproduce
from bitmosaic.systems.bigr import tables
from bitmosaic.images import ArrayImages, fashion_mnist, fashion_sample
from bitmosaic.systems.bigr import trials as bigr_trials
from bitmosaic.systems.bigr.trials import AT, CURVES, TABLES, prior_run, tokenizer_run, trials
from bitmosaic.samplers import RasterSpec

BY_NAME = {trial.name: trial for trial in trials()}


def test_every_row_is_trained_and_asked():
    for table in TABLES:
        for row in table.rows:
            if table.ranked != "probe":
                assert row.sampler in BY_NAME[row.trial].samplers, row
            assert row.trial in BY_NAME
    for name, values in CURVES.items():
        ways = ["law" if value == AT[name] else f"{name} {value:g}" for value in values]
        assert AT[name] in values and set(ways) <= set(BY_NAME["S3"].samplers)


def test_trials_differ_in_one_thing_at_a_time():
    sizes = {name: sum(p.numel() for p in trial.prior.build().parameters()) for name, trial in BY_NAME.items()}
    assert max(sizes.values()) < 1.25 * min(sizes.values())
    base = BY_NAME["S3"].prior
    for name, trial in BY_NAME.items():
        other = trial.prior
        differs = [f.name for f in dataclasses.fields(base) if getattr(base, f.name) != getattr(other, f.name, getattr(base, f.name))]
        differs += [] if type(other) is type(base) else ["kind"]
        assert len(differs) == (0 if name == "S3" else 2 if name == "S0" else 1), (name, differs)  # S0 has another order and another head
        assert isinstance(trial.samplers.get("law"), RasterSpec) == (other.build().family == "causal")


def test_runs_are_whole():
    for trial in trials():
        run = prior_run(tokenizer_run(trial.prior.bits, 100, 10), trial, 50, 2)
        assert (run.prior.bits, run.prior_training.steps, run.prior_training.seed) == (trial.prior.bits, 50, 2)
        assert run.tokenizer_losses.adversarial_start < run.tokenizer_training.steps


def row(text, fid, *ours, probe=None):
    return {"text": text, "paper": {"FID": fid} if fid else {}, "frechet": list(ours), "probe": probe or []}


def test_the_verdict_names_every_pair_once():
    rows = [row("a", 1.0, 5.0, 5.2), row("b: what it is", 2.0, 6.0, 6.1), row("**c**", 3.0, 5.1, 5.3), row("d", None, 9.0, 9.0)]
    text = tables.verdict(rows, "frechet")
    assert text == "As in the paper: a before b. The other way round here: b before c. Our seeds overlap: a before c."
    assert tables.verdict([row("a", 1.0, 5.0), row("b", 2.0, 6.0)], "frechet") == "One seed, so only a hint. As in the paper: a before b."
    assert tables.verdict([row("a", None, 5.0), row("b", None, 6.0)], "frechet") == "The paper has no figures to rank by."
    assert tables.verdict([row("a", 1.0), row("b", 2.0)], "frechet") == "Not measured yet."


def test_the_verdict_knows_where_more_is_better():
    rows = [{"text": name, "paper": {"probe": theirs}, "probe": [ours, ours]} for name, theirs, ours in (("a", 60, 0.8), ("b", 50, 0.7))]
    assert tables.verdict(rows, "probe") == "As in the paper: a before b."


def test_a_table_shows_what_there_is():
    text = tables.markdown([row("a", 1.5, 5.0, 5.5), row("b", None, 6.0)])
    assert text.splitlines() == [
        "|  | Frechet distance | paper: FID |", "|---|---|---|", "| a | 5.25 (5.00 to 5.50) | 1.5 |", "| b | 6.00 |  |",
    ]  # fmt: skip


def test_several_processes_do_what_one_does():
    reciprocal = partial(operator.truediv, 1)
    before = dict(os.environ)
    one = list(reproduce.each(reciprocal, list(range(1, 10)), 1))
    assert sorted(reproduce.each(reciprocal, list(range(1, 10)), 2)) == sorted(one)  # also where each of two has had its fourth
    for jobs in (1, 2):
        with pytest.raises(ZeroDivisionError):
            list(reproduce.each(reciprocal, [1, 0, 2], jobs))
    assert dict(os.environ) == before  # where bars are silenced for the processes, they are not for good


@pytest.fixture
def small(monkeypatch):
    """Two priors, one asked in two ways."""
    try:
        fashion_mnist()
    except ValueError as error:
        pytest.skip(str(error))
    few = [
        dataclasses.replace(BY_NAME["S3"], samplers={"law": bigr_tables.LAW, "raster": bigr_tables.IN_ORDER}),
        BY_NAME["S0"],
    ]
    monkeypatch.setattr(reproduce, "trials", lambda: few)
    monkeypatch.setattr(reproduce, "PROBED", (150, 150))
    test = fashion_sample()
    fewer = ArrayImages(test.pixels[:500], test.labels[:500], test.class_names)
    monkeypatch.setattr(reproduce, "fashion_sample", lambda: fewer)


def test_it_measures_goes_on_and_keeps_what_is_there(small, tmp_path, capsys):
    budget = ["--images", "130", "--feature-steps", "1", "--tokenizer-steps", "2", "--prior-steps", "2", "--samples", "50", "--seeds"]
    command = ["reproduce", "bigr-tables", "--jobs", "1", "--out", str(tmp_path / "out")]
    assert main([*command, *budget, "1"]) == 0, capsys.readouterr().err
    first = json.loads((tmp_path / "out" / "results" / "S3-0.json").read_text())
    assert set(first["samplings"]) == {"law", "raster"} and 0 < first["probe"] < 1
    text = (tmp_path / "out" / "tables.md").read_text()
    assert f"{first['samplings']['law']['frechet']:.2f}" in text and "Floor" in text
    del first["samplings"]["raster"]  # as if it had been stopped there
    (tmp_path / "out" / "results" / "S3-0.json").write_text(json.dumps(first))
    assert main([*command, *budget, "1"]) == 0
    again = json.loads((tmp_path / "out" / "results" / "S3-0.json").read_text())
    assert again["samplings"]["law"] == first["samplings"]["law"] and "raster" in again["samplings"]
    assert main([*command, *budget, "1", "--samples", "60"]) == 2  # other samples are not mixed with these
    assert "was begun with" in capsys.readouterr().err
    assert main(["reproduce", "bigr-tables", "--samples", "10", "--out", str(tmp_path / "other")]) == 2
    assert "samples at least 50" in capsys.readouterr().err and not (tmp_path / "other").exists()
