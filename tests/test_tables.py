"""BiGR's tables: what is compared, how it is told, and that a trial goes on where it was."""

import dataclasses

import pytest

from bitmosaic.images import fashion_mnist
from bitmosaic.samplers import RasterSpec
from bitmosaic.systems.base import Task
from bitmosaic.systems.bigr import claim, tables
from bitmosaic.systems.bigr import trials as bigr_trials
from bitmosaic.systems.bigr.trials import AT, CURVES, TABLES, prior_run, tokenizer_run, trials

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
    plain = {name: trial for name, trial in BY_NAME.items() if " " not in name}
    sizes = {name: sum(p.numel() for p in trial.prior.build().parameters()) for name, trial in plain.items()}
    assert max(sizes.values()) < 1.25 * min(sizes.values())
    base = BY_NAME["S3"].prior
    for name, trial in plain.items():
        other = trial.prior
        differs = [f.name for f in dataclasses.fields(base) if getattr(base, f.name) != getattr(other, f.name, getattr(base, f.name))]
        differs += [] if type(other) is type(base) else ["kind"]
        assert len(differs) == (0 if name == "S3" else 2 if name == "S0" else 1), (name, differs)  # S0 has another order and another head
        assert isinstance(trial.samplers.get("law"), RasterSpec) == (other.build().family == "causal")


def test_positions_are_all_that_differs_from_the_trial_without():
    with_them = [name for name in BY_NAME if name.endswith(" positions")]
    assert len(with_them) == 12
    for name in with_them:
        trial = BY_NAME[name]
        kind, _, steps, _ = name.split()
        twin = BY_NAME[kind if name in ("S3 K12 1000 positions", "S2 K12 1000 positions") else name.removesuffix(" positions")]
        assert dataclasses.replace(trial.prior, input_positions=False) == twin.prior and trial.steps == twin.steps == int(steps)
        assert not trial.samplers.keys() - twin.samplers.keys()


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


@pytest.mark.slow
def test_a_trial_is_measured_way_by_way_and_goes_on(tmp_path, monkeypatch):
    try:
        fashion_mnist()
    except ValueError as error:
        pytest.skip(str(error))
    two = dataclasses.replace(BY_NAME["S3"], samplers={"law": bigr_trials.LAW, "raster": bigr_trials.IN_ORDER})
    monkeypatch.setattr(claim, "trials", lambda: [two, BY_NAME["S0"]])
    task = Task("S3", 0, tmp_path, 0.002)
    first = list(claim.CLAIM.measure(task, {}))
    assert 0 < first[0]["probe"] < 1 and [list(more.get("samplings", {})) for more in first] == [[], ["law"], ["law", "raster"]]
    known = {**first[0], "samplings": {"law": first[1]["samplings"]["law"]}}  # as if it had been stopped there
    again = list(claim.CLAIM.measure(task, known))
    assert len(again) == 1 and again[0]["samplings"]["law"] == known["samplings"]["law"]
    assert again[0]["samplings"]["raster"]["frechet"] == pytest.approx(first[2]["samplings"]["raster"]["frechet"])
