"""`bitmosaic report` and `info` of folders in which something odd stands: left out and told, or an error that says what and where."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from bitmosaic.cli import main
from bitmosaic.recipes import fashion

GOOD = {"count": 4, "psnr": 20.0, "ssim": 0.5, "bits": {"entropy": [1.0, 0.5], "mean": [0.5, 0.1], "dead": []}}


@pytest.fixture
def run(tmp_path):
    """A folder as training leaves it behind, without the training."""
    folder = tmp_path / "run"
    (folder / "tokenizer" / "pictures").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run": fashion().to_json(), "images": ""}))
    lines = [{"step": 10 * i, "loss": 1.0 / i, "seconds": i, "images_per_second": 5.0, "memory_gib": 1.0} for i in (1, 2, 3)]
    (folder / "tokenizer" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "tokenizer" / "events.jsonl").write_text('{"step": 0, "event": "started"}\n')
    (folder / "tokenizer" / "report.json").write_text(json.dumps(GOOD))
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "tokenizer" / "pictures" / "step-000010.png")
    return folder


def report(run, capsys):
    """The exit status, the page, and what stands in the error's line."""
    out = run.parent / "page"
    status = main(["report", str(run), "--out", str(out)])
    return status, (out / "report.html").read_text() if (out / "report.html").exists() else "", capsys.readouterr().err


def test_the_page_of_a_run_with_nothing_odd(run, capsys):
    status, page, _ = report(run, capsys)
    assert status == 0 and "1 started" in page and "step 10" in page and "PSNR 20.00 dB" in page and "eft out" not in page


def bits(**odd):
    return {**GOOD, "bits": odd}


@pytest.mark.parametrize(
    "odd",
    [
        [], 7, None, {}, {**GOOD, "psnr": "high"}, {**GOOD, "psnr": None}, {**GOOD, "count": "four"}, {**GOOD, "bits": []}, bits(),
        bits(entropy=[], dead=[]), bits(entropy=["1"], dead=[]), bits(entropy=1, dead=[]), bits(entropy=[math.nan], dead=[]),
        bits(entropy=[0.5], dead=3),
    ],
)  # fmt: skip
def test_an_odd_report_of_a_tokenizer_is_an_error_that_names_it(run, capsys, odd):
    (run / "tokenizer" / "report.json").write_text(json.dumps(odd))
    status, page, error = report(run, capsys)
    assert status == 2 and not page and "report.json" in error and "remove it" in error
    assert main(["info", str(run)]) == 2 and "report.json" in capsys.readouterr().err


def test_codes_that_are_not_binary_have_no_use_of_bits(run, capsys):
    (run / "tokenizer" / "report.json").write_text(json.dumps({**GOOD, "bits": None}))
    status, page, _ = report(run, capsys)
    assert status == 0 and "PSNR 20.00 dB" in page and main(["info", str(run)]) == 0


def test_events_that_cannot_be_read_are_left_out_and_counted(run, capsys):
    odd = ["[]", "7", "null", "[" * 100_000, "1" * 5000, "\x00", '{"step": 3}', '{"event": "x", "step": NaN}']
    odd += [f'{{"event": {event}, "step": 1}}' for event in ('["x"]', "null", "{}", "1")]
    odd += [f'{{"event": "x", "step": {step}}}' for step in ('"five"', "[1]", "true", "null")]
    with (run / "tokenizer" / "events.jsonl").open("a") as file:
        file.write("\n".join([*odd, '{"step": 20, "event": "stopped"}', ""]))
    status, page, _ = report(run, capsys)
    assert status == 0 and "1 started, 1 stopped" in page and f"left out: {len(odd)} lines of events.jsonl" in page


def test_what_an_event_says_is_shown_as_it_stands(run, capsys):
    with (run / "tokenizer" / "events.jsonl").open("a") as file:
        file.write('{"step": 20, "event": "<b>\\ud800", "more": {"a": [1]}, "$title": "\\udfff"}\n')
    status, page, _ = report(run, capsys)
    assert status == 0 and "&lt;b&gt;" in page and "<b>\\" not in page


def test_pictures_of_other_names_are_left_out_and_told(run, capsys):
    pictures = run / "tokenizer" / "pictures"
    names = ["step--1.png", "step-.png", "step-1 0.png", "step-1-2.png", "step-abc.png", "step-²2.png"]
    for name in names:
        (pictures / name).write_bytes((pictures / "step-000010.png").read_bytes())
    status, page, _ = report(run, capsys)
    assert status == 0 and page.count("step 10<") == 1 and f"left out: {', '.join(names)}" in page


def test_a_picture_that_is_none_is_left_out_and_told(run, capsys, tmp_path):
    pictures = run / "tokenizer" / "pictures"
    (pictures / "step-000020.png").mkdir()
    (pictures / "step-000030.png").write_text("root:x:0")
    (pictures / "step-000040.png").symlink_to(tmp_path / "nowhere")
    status, page, _ = report(run, capsys)
    assert status == 0 and "step 10<" in page and "left out: step-000020.png, step-000030.png, step-000040.png" in page


def test_pictures_stand_in_the_order_of_their_steps(run, capsys):
    pictures = run / "tokenizer" / "pictures"
    for step in ("1000000", "0999999"):
        (pictures / f"step-{step}.png").write_bytes((pictures / "step-000010.png").read_bytes())
    _, page, _ = report(run, capsys)
    assert page.index("step 10<") < page.index("step 999,999<") < page.index("step 1,000,000<")


@pytest.mark.parametrize(
    "odd",
    [
        '{"step": Infinity}', '{"step": 1e400}', "[" * 100_000, '{"step": null}', '{"step": 1' + "0" * 30 + "}",
        '{"step": 40, "loss": 1' + "0" * 400 + "}", "\x00",
    ],
)
def test_an_odd_line_of_metrics_is_an_error_that_names_it(run, capsys, odd):
    with (run / "tokenizer" / "metrics.jsonl").open("a") as file:
        file.write(odd + "\n")
    status, _, error = report(run, capsys)
    assert status == 2 and "line 4 of" in error and "metrics.jsonl" in error
    assert main(["info", str(run)]) == 2


@pytest.mark.parametrize(
    "odd",
    [
        {"$\\frac{": 1.0, "\ud800": 1.0}, {"seconds": math.inf}, {"seconds": math.nan}, {"images_per_second": 1e308},
    ],
)  # fmt: skip
def test_odd_values_of_metrics_are_drawn_or_left_out(run, capsys, odd):
    with (run / "tokenizer" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, "loss": 1.0, **odd}) + "\n")
    status, page, error = report(run, capsys)
    assert status == 0 and "Curves of the tokenizer" in page, error
    assert main(["info", str(run)]) == 0
