"""The fuzzers and load tests run, a few cases of each: by hand, or with `make slow`, they run for longer."""

import json
import time

import fuzz
import pytest
import studio_hostile


@pytest.mark.parametrize("name", fuzz.KINDS)
def test_fuzz_reads_damaged_files_of_each_kind(name, tmp_path):
    found = fuzz.run(name, 8, 1, tmp_path / "kept")
    assert name in fuzz.KINDS and found["results"] + found["errors"] == 8 and not found["failures"] and not (tmp_path / "kept").exists()


@pytest.mark.parametrize("how", ["wrong", "silent", "slow"])
def test_fuzz_finds_what_is_no_clear_error(how, tmp_path, monkeypatch, capsys):
    whole = bytes(range(256))

    def read(path):
        data = path.read_bytes()
        if data == whole:
            return
        if how == "slow":
            try:
                time.sleep(9)
            except Exception:
                raise ValueError("swallowed") from None
        raise KeyError("a") if how == "wrong" else ValueError("")

    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setitem(fuzz.KINDS, "bad", lambda folder: fuzz.Kind(fuzz.written(folder, {"a": whole}), read))
    found = fuzz.run("bad", 2, 0, tmp_path / "kept")
    assert found["failures"] and found["failures"] == len(list((tmp_path / "kept").iterdir())) and not found["errors"]
    assert {"wrong": "KeyError", "silent": "ValueError: ", "slow": "TooLong"}[how] in capsys.readouterr().err


def test_malformed_requests_are_the_same_for_a_seed():
    made = [studio_hostile.case(3, number) for number in range(400)]
    assert made == [studio_hostile.case(3, number) for number in range(400)]
    assert len({one.kind for one in made}) == len(studio_hostile.KINDS) + 1
    assert made != [studio_hostile.case(4, number) for number in range(400)]


@pytest.mark.slow
def test_studio_fuzz_and_load(tmp_path, capsys):
    pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install 'bitmosaic[dev]'")
    pytest.importorskip("uvicorn", reason="the studio is not installed: pip install 'bitmosaic[web]'")
    out = ["--out", str(tmp_path / "studio.json")]
    import studio_fuzz
    import studio_load

    assert studio_fuzz.main(["--count", "150", *out]) == 0, capsys.readouterr().err
    assert studio_load.main(["--clients", "4", "--seconds", "3", "--rounds", "1", "--batches", "1", *out]) == 0
    assert studio_load.main(["--clients", "4", "--seconds", "3", "--rounds", "1", "--mixed", *out]) == 0
    found = json.loads((tmp_path / "studio.json").read_text())
    assert set(found) == {"fuzz", "load", "mixed"} and found["load"]["images_compared"] > 0 and not found["fuzz"]["failures"]
