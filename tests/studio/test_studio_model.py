"""The studio's model thread: what is joined, who goes first, what goes wrong; its OpenAPI document and its command line."""

import threading
import time

import pytest
import torch
from quick import quick_pipeline
from studio_server import Limits

from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.samplers import Step

pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install 'bitmosaic[dev]'")

from bitmosaic.web import requests  # noqa: E402
from bitmosaic.web.batch import Batch, Call, SamplingTask  # noqa: E402
from bitmosaic.web.guard import is_loopback  # noqa: E402
from bitmosaic.web.job import ClientGone  # noqa: E402
from bitmosaic.web.limits import RequestError  # noqa: E402
from bitmosaic.web.model import Model  # noqa: E402
from bitmosaic.web.openapi import document  # noqa: E402


class Counting:
    """A sampler that notes the sizes of its batches, and fails where a code is 1."""

    def __init__(self, rounds, seconds=0.0):
        self.rounds, self.seconds, self.sizes, self.ends = rounds, seconds, [], []

    def __call__(self, codes, known, labels, generators):
        self.sizes.append(len(codes))
        for i in range(1, self.rounds + 1):
            time.sleep(self.seconds)
            if codes.digits.any():
                raise ValueError("a code is 1")
            noise = torch.stack([torch.rand(known.shape[1:], generator=rng) for rng in generators])
            if i == self.rounds:
                self.ends.append(time.monotonic())
            yield Step(i, self.rounds, codes, known, noise)


def wanted(model, ask, images=1, key="same", value=0, seconds=30.0):
    job = model.admit(images, seconds)
    codes = Codes(torch.full((images, 2, 2, 3), value, dtype=torch.uint8), (2,) * 3)
    generators = [torch.Generator().manual_seed(i) for i in range(images)]
    return SamplingTask(job, key, ask, codes, torch.zeros(images, 2, 2, dtype=torch.bool), None, generators)


def together(model, asked):
    """The last steps, or errors, of all, asked for at once."""
    found = [None] * len(asked)

    def run(i):
        try:
            *_, found[i] = model.complete(asked[i])
        except Exception as error:
            found[i] = error
        model.leave(asked[i].job)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_what_waits_is_joined_and_each_gets_its_own():
    ask, model, found = Counting(2), Model(batch=8, wait=0.2), []
    asked = [wanted(model, ask, images) for images in (1, 2, 1, 3)]
    waiting = threading.Thread(target=lambda: found.extend(together(model, asked)))
    waiting.start()
    while len(model._wanted) < 4:  # on a busy machine they come one after another, and the first would not be waited for
        time.sleep(0.001)
    with model:
        waiting.join()
    assert ask.sizes == [7]
    assert [len(step.codes) for step in found] == [1, 2, 1, 3]
    expected = torch.stack([torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(i))[1] for i in range(3)])
    assert all(torch.equal(step.entropy, expected[: len(step.codes)]) for step in found)
    assert model.admitted == 0 and model.images == 7


def test_other_keys_are_not_joined_and_batches_have_a_size():
    ask, model = Counting(1), Model(batch=4, wait=0.1)
    asked = [wanted(model, ask, 2, key) for key in "aabbb"]
    with model:
        assert all(isinstance(step, Step) for step in together(model, asked))
    assert max(ask.sizes) <= 4 and sum(ask.sizes) == 10 and len(ask.sizes) >= 3


def test_one_that_fails_spoils_nothing_for_others():
    ask, model = Counting(3), Model(batch=8, wait=0.2)
    asked = [wanted(model, ask, value=value) for value in (0, 1, 0)]
    with model:
        found = together(model, asked)
    assert [type(one) for one in found] == [Step, ValueError, Step]
    expected = [torch.rand(2, 2, generator=rng) for rng in [torch.Generator().manual_seed(0)] for _ in range(3)][-1]
    assert torch.equal(found[0].entropy[0], expected), "the noise began anew"


def test_a_small_batch_does_not_wait_for_a_large_one():
    slow, fast, model = Counting(20, 0.05), Counting(3, 0.002), Model(batch=8, wait=0.01)
    with model:
        first = threading.Thread(target=together, args=(model, [wanted(model, slow, 8, "slow")]))
        first.start()
        while not slow.sizes:
            time.sleep(0.001)
        together(model, [wanted(model, fast, 1, "fast")])
        first.join()
    assert fast.ends[0] < slow.ends[0]


def test_memory_is_given_back_now_and_then_and_a_failure_ends_nothing(monkeypatch):
    from studio_server import serving

    from bitmosaic.web import app

    times = []

    def give_back():
        times.append(time.monotonic())
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(app, "GIVE_BACK", 0.01)
    monkeypatch.setattr(app, "give_back", give_back)
    with serving({"fashion": quick_pipeline()}) as server:
        end = time.monotonic() + 30
        while len(times) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        assert len(times) >= 3 and server.ask("/health").json["status"] == "ok"


def test_short_batches_are_waited_after_as_long_as_for_others():
    model = Model(batch=8, wait=0.05)
    parts = [wanted(model, Counting(1)) for _ in range(2)]
    model._wait_for(Batch(parts, 0.0))  # it took no time at all
    assert 0.03 < model._back_by - time.monotonic() <= 0.05
    model.wait = 0.0  # nobody is to wait
    model._wait_for(Batch(parts, 0.0))
    assert model._back_by <= time.monotonic()


def test_none_is_lost_that_comes_while_the_model_looks_at_what_waits():
    with Model(batch=8, wait=0.0) as model:
        asked, found = wanted(model, Counting(1), seconds=5.0), []
        with model._change:
            thread = threading.Thread(target=lambda: found.extend(model.complete(asked)))
            thread.start()
            time.sleep(0.2)  # it waits for the lock
            model._wanted = list(model._wanted)  # as _wait and _join do
        thread.join(10)
        model.leave(asked.job)
    assert len(found) == 1


def test_who_was_drawn_together_is_waited_for_until_answered():
    model = Model(batch=8, wait=0.05)  # its thread does not run: nothing changes but what is done here
    first, second, third = (wanted(model, Counting(1), key="same") for _ in range(3))
    batch = Batch([first, second], 0.0)
    batch.seconds = 1.0
    model._wait_for(batch)
    third.since -= 1.0
    assert 0.05 < model._hold([third]) <= 0.1  # a tenth of a second at most
    model.leave(first.job)
    assert model._hold([third]) > 0.05
    model.leave(second.job)
    assert model._hold([third]) <= 0.01  # so long nobody has asked
    model._stirred -= 1.0
    assert model._hold([third]) <= 0.0
    model._wait_for(Batch([first], 0.0))
    assert model._hold([third]) <= 0.0  # after one alone nobody is waited for


def test_who_asks_for_more_places_is_back():
    model = Model(batch=8, wait=0.05)
    parts = [wanted(model, Counting(1)) for _ in range(2)]
    batch = Batch(parts, 0.0)
    batch.seconds = 1.0
    model._wait_for(batch)
    for part in parts:
        model._put(Call(part.job, None, list, None))
    assert model._leaving == [part.job for part in parts]  # something short is asked for before the answer
    for part in parts:
        model._put(part)  # the next window of a large canvas
    assert not model._leaving
    model._wait_for(batch)  # they asked before the batch was over: their last step is told before that
    assert not model._leaving and model._hold(parts) <= 0.01


def test_short_calls_are_joined_and_fail_apart():
    model, sizes = Model(), []

    def half(items):
        sizes.append(len(items))
        return [10 // item for item in items]

    found, jobs = {}, [model.admit(1, 10.0) for _ in range(4)]

    def run(i, item):
        try:
            found[i] = model.call(jobs[i], half, item, "half")
        except ZeroDivisionError as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate((1, 2, 0, 5))]
    for thread in threads:
        thread.start()
    while len(model._calls) < 4:
        time.sleep(0.001)
    with model:
        for thread in threads:
            thread.join()
    assert [found[i] for i in (0, 1, 3)] == [10, 5, 2] and isinstance(found[2], ZeroDivisionError)
    assert sizes[0] == 4


def test_what_nobody_waits_for_is_not_begun():
    ask, model = Counting(2), Model()
    gone, late = wanted(model, ask), wanted(model, ask, seconds=0.01)
    gone.job.cancel()
    time.sleep(0.02)
    with model:
        found = together(model, [gone, late])
    assert ask.sizes == [] and isinstance(found[0], ClientGone) and isinstance(found[1], RequestError) and found[1].status == 408


def test_at_the_end_what_was_asked_is_done_and_no_more_is_taken():
    ask, model = Counting(5, 0.02), Model(wait=0.0)
    found = []
    with model:
        asked = wanted(model, ask)
        thread = threading.Thread(target=lambda: found.extend(together(model, [asked])))
        thread.start()
        while not ask.sizes:
            time.sleep(0.001)
    thread.join()
    assert isinstance(found[0], Step) and found[0].index == 5
    with pytest.raises(RequestError, match="shutting down"):
        next(model.complete(wanted(model, ask)))


def test_the_document_describes_every_route_and_every_answer():
    import jsonschema
    from studio_server import serving


    with serving({"fashion": quick_pipeline()}) as server:
        told = server.ask("/openapi.json").json
        assert told == document(Limits())
        image = {"image": "fashion:1"}
        asked = {
            "generate": {"class": "bag"}, "inpaint": {**image, "mask": {"box": [0, 0, 9, 9]}}, "outpaint": {**image, "padding": 1},
            "edit": {**image, "mask": {"places": [[0, 1]]}, "class": 3}, "interpolate": {"classes": ["bag", 1], "frames": 2},
            "enrich": {**image, "repeats": 1}, "encode": image, "features": dict(image), "neighbours": {**image, "count": 1},
        }  # fmt: skip
        asked["decode"] = {"codes": server.ask("/v1/encode", asked["encode"]).json["codes"]}
        assert asked.keys() == requests.JOBS.keys()
        for name, body in asked.items():
            if name in requests.DRAWN:
                body["settings"] = {"steps": 2, "evaluations": 2}
            post = told["paths"][f"/v1/{name}"]["post"]
            _check(told, post["requestBody"]["content"]["application/json"]["schema"], body)
            answer = server.ask(f"/v1/{name}", body)
            assert answer.status == 200, answer.data
            _check(told, post["responses"]["200"]["content"]["application/json"]["schema"], answer.json)
            wrong = server.ask(f"/v1/{name}", {**body, "nonsense": 1})
            _check(told, post["responses"]["422"]["content"]["application/json"]["schema"], wrong.json)
            with pytest.raises(jsonschema.ValidationError):
                _check(told, post["requestBody"]["content"]["application/json"]["schema"], {**body, "nonsense": 1})
        for path in ("/v1/pipelines", "/health"):
            schema = told["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            _check(told, schema, server.ask(path).json)
        known = told["paths"]["/v1/bundled/{number}"]["get"]["responses"]["200"]
        assert "x-class" in server.ask("/v1/bundled/3").headers and known["headers"].keys() == {"X-Class"}
        routes = {route.path.replace(":int", "") for route in _routes(server)} - {"/", "/static"}
        assert routes == told["paths"].keys()


def _check(told, schema, value):
    import jsonschema

    whole = {**schema, "components": told["components"]}
    jsonschema.Draft202012Validator.check_schema(whole)
    jsonschema.validate(value, whole, jsonschema.Draft202012Validator)


def _routes(server):
    from bitmosaic.web.app import application

    return application(server.studio).routes


@pytest.mark.parametrize("field, value", [("count", 65), ("count", 0), ("seed", -1), ("seed", 1.5), ("format", "gif"), ("timeout", 61)])
def test_the_document_refuses_what_the_service_refuses(field, value):
    import jsonschema

    told, body = document(Limits()), {field: value}
    with pytest.raises(RequestError):
        requests.read(requests.Generate, body, Limits())
    with pytest.raises(jsonschema.ValidationError):
        _check(told, {"$ref": "#/components/schemas/Generate"}, body)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--host", "0.0.0.0"], "give --token"),
        (["--host", "no such host", "--token", "a-token-of-the-tests"], "cannot listen on"),
        (["--token", ""], "got one of 0 characters"),
        (["--token", "x"], "got one of 1 characters"),
        (["--host", "0.0.0.0", "--token", "fifteen-letters"], "give at least 16"),
        (["--token", "a" * 40], "1 different ones"),
        (["--token", " a-token-of-the-tests "], "holds blanks"),
        (["--token", "ein-sehr-schöner-Schlüssel"], "beyond ASCII"),
        (["--port", "70000"], "from 0 to 65535"),
        (["--batch", "8"], "give at least --count, 64 images"),
        (["--seconds", "0"], "seconds: got 0"),
        (["no-such-pipeline"], "no pipeline no-such-pipeline"),
        (["fashion", "fashion"], "rename a folder"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, message, capsys, monkeypatch):
    monkeypatch.delenv("BITMOSAIC_TOKEN", raising=False)
    assert main(["studio", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_which_hosts_are_this_machine():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org", "localhost.example.org", "")))
