"""What the studio's model thread joins under load, and how it shares its time."""

import threading
import time

import pytest
from test_studio_model import Counting, wanted

from bitmosaic.web.model import Model


def asking(model, ask, until, done, **more):
    """A client: an image, and when it has come, the next."""
    while time.monotonic() < until:
        one = wanted(model, ask, **more)
        *_, _ = model.complete(one)
        model.leave(one.job)
        done.append(time.monotonic())


def crowd(model, ask, clients, seconds):
    """Clients that have begun, and a list that grows with what they got."""
    done, until = [], time.monotonic() + seconds
    threads = [threading.Thread(target=asking, args=(model, ask, until, done)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    return threads, done


def test_under_load_batches_are_few_and_large():
    ask, model = Counting(4, 0.01), Model(batch=16, wait=0.01)
    with model:
        threads, done = crowd(model, ask, 16, 1.5)
        for thread in threads:
            thread.join()
    late = ask.sizes[len(ask.sizes) // 2 :]
    assert sum(late) / len(late) > 3 and len(done) == sum(ask.sizes)


def test_one_of_another_kind_does_not_wait_behind_those_that_could_be_joined():
    ask, model = Counting(1000, 0.005), Model(batch=64, wait=0.25)
    with model:
        asked = []
        for pause in (0.1, 0.6, 1.4, 0.02):  # three run, one after the other; the fourth waits a second for more of its kind
            asked.append(wanted(model, ask))
            model._put(asked[-1])
            time.sleep(pause)
        assert len(ask.sizes) == 3
        list(model.complete(wanted(model, Counting(1), key="other")))
        assert len(ask.sizes) == 3
        for one in asked:
            one.job.cancel()


def test_a_single_image_does_not_wait_for_many():
    ask, model = Counting(50, 0.01), Model(batch=64, wait=0.01)
    with model:
        many = threading.Thread(target=lambda: list(model.complete(wanted(model, ask, 64))))
        many.start()
        time.sleep(0.1)
        list(model.complete(wanted(model, Counting(3, 0.01), 1, key="other")))
        assert many.is_alive()
        many.join()


def test_who_wants_the_last_step_alone_is_told_no_other():
    ask, model = Counting(5), Model(batch=8, wait=0.1)
    some = [wanted(model, ask), wanted(model, ask)]
    some[1].every = False
    with model:
        for one in some:
            model._put(one)
        assert [[step.index for step in model.complete(one)] for one in some] == [[1, 2, 3, 4, 5], [5]]


def test_who_has_been_answered_together_is_joined_again():
    """Sixteen clients of a batch of sixteen: but for the first ones, all batches are full, once in three times on a busy machine."""
    seen = []
    for _ in range(3):
        ask, model = Counting(4, 0.01), Model(batch=16, wait=0.1)
        with model:
            threads, _ = crowd(model, ask, 16, 1.5)
            for thread in threads:
                thread.join()
        seen.append(ask.sizes)
        if sum(size == 16 for size in ask.sizes) >= len(ask.sizes) - 4:
            return
    raise AssertionError(seen)


def test_more_than_a_few_wait_for_the_end_of_those_of_their_kind():
    ask, model = Counting(40, 0.02), Model(batch=16, wait=0.01)
    with model:
        first, more = wanted(model, ask), wanted(model, ask, 6)
        model._put(first)
        while not ask.sizes:
            time.sleep(0.001)
        model._put(more)
        time.sleep(0.2)
        assert ask.sizes == [1], "they began beside it"
        list(model.complete(wanted(model, Counting(1), key="other")))  # another kind need not wait
        for one in (first, more):
            while one.job.take(one.inbox).index < 40:
                pass
    assert ask.sizes == [1, 6]


def streaming(model, ask, maps, until, done, images=4, key="stream"):
    """A page's stream, drawn again and again: after each step it asks for a map and a picture."""
    while time.monotonic() < until:
        one = wanted(model, ask, images, key)
        for _ in model.complete(one):
            model.call(one.job, lambda items: [time.sleep(maps) or True], None)
            model.call(one.job, lambda items: [time.sleep(maps / 4) or True for _ in items], None, "pixels", images)
            done.append(time.monotonic())
        model.leave(one.job)


@pytest.mark.parametrize("maps", [0.0, 0.05])
@pytest.mark.parametrize("images, keys", [(4, ("a", "b", "c")), (1, ("one",) * 3), (16, ("stream",) * 3)])
def test_one_image_beside_three_streams_has_its_share(maps, images, keys):
    """A quarter of the time, half as much again at most, whatever the streams ask for; and they go on."""
    rounds, each = 20, 0.01
    ask, model, done = Counting(5, 0.01), Model(batch=64, wait=0.02), []
    with model:
        alone = took_alone(model, rounds, each)
        streams = [threading.Thread(target=streaming, args=(model, ask, maps, time.monotonic() + 1.2, done, images, key)) for key in keys]
        for thread in streams:
            thread.start()
        time.sleep(0.5)
        start = time.monotonic()
        list(model.complete(wanted(model, Counting(rounds, each), key="one")))
        end = time.monotonic()
        for thread in streams:
            thread.join()
    assert end - start < 1.5 * 4 * alone + 4 * model.wait, (end - start, alone)
    assert sum(start < at < end for at in done) >= 3, "the streams stood still"


def took_alone(model, rounds, each):
    """Seconds that the same image takes with nobody beside it: on a busy machine a short sleep lasts longer."""
    start = time.monotonic()
    list(model.complete(wanted(model, Counting(rounds, each), key="one")))
    return time.monotonic() - start


def test_one_image_beside_three_who_ask_for_something_long_has_its_share():
    """Such as features, or encodings, one after another."""
    model, until = Model(wait=0.02), time.monotonic() + 1.5

    def run():
        while time.monotonic() < until:
            job = model.admit(1, 30.0)
            model.call(job, lambda items: [time.sleep(0.05) or True], None)
            model.leave(job)

    with model:
        alone = took_alone(model, 20, 0.01)
        until += alone
        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        start = time.monotonic()
        list(model.complete(wanted(model, Counting(20, 0.01))))
        took = time.monotonic() - start
        for thread in threads:
            thread.join()
    assert took < 1.5 * 4 * alone + 4 * model.wait, (took, alone)
