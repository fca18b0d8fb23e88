"""The studio as a process: killed in the middle of its work it leaves nothing behind, told to end it finishes what runs."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import warm

pytest.importorskip("starlette", reason="the studio is not installed: pip install 'bitmosaic[web]'")
pytest.importorskip("uvicorn", reason="the studio is not installed: pip install 'bitmosaic[web]'")

LONG = {"class": "bag", "count": 4, "settings": {"steps": 49, "evaluations": 5}}
SHORT = {"class": "bag", "seed": 3, "settings": {"steps": 3, "evaluations": 3}}
EDGE = "edge"


@contextlib.contextmanager
def started(folder, port=0, log=subprocess.DEVNULL):
    """A studio whose temporary files would lie in `folder`, and its port."""
    words = [sys.executable, "-m", "bitmosaic", "studio", "--port", str(port)]
    process = warm.Child(
        words,
        stdout=subprocess.PIPE,
        stderr=log,
        env={**os.environ, "TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process, int(re.search(r"http://127.0.0.1:(\d+)/", process.stdout.readline())[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def connection(port):
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60))


def asked(port, path, body=None, kind="application/json", accept="application/json"):
    """Status and JSON."""
    with connection(port) as found:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        found.request("GET" if body is None else "POST", path, data, {"Content-Type": kind, "Accept": accept})
        answer = found.getresponse()
        return answer.status, json.loads(answer.read())


def stream(found, body):
    """An answer whose events can be read, the first of them read."""
    found.request("POST", "/v1/generate", json.dumps(body).encode(), {"Content-Type": "application/json", "Accept": "text/event-stream"})
    answer = found.getresponse()
    assert answer.status == 200 and answer.readline() == b"event: begin\n"
    return answer


def files(folder):
    """What lies there, torch's empty folder aside."""
    return [path for path in folder.rglob("*") if not path.is_dir()]


def upload():
    """A form with a picture that is too large to be kept in memory while it comes in."""
    picture = b"BM" + b"\x00" * 3_000_000
    parts = {'name="request"': b"{}", 'name="image"; filename="a.bmp"': picture}
    found = b"".join(
        f"--{EDGE}\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + data + b"\r\n" for name, data in parts.items()
    )
    return found + f"--{EDGE}--\r\n".encode()


def test_killed_at_work_and_started_again_it_works_and_told_to_end_it_finishes(tmp_path):
    with started(tmp_path) as (process, port), connection(port) as found, connection(port) as other:
        before = asked(port, "/v1/generate", SHORT)[1]["images"]
        status, told = asked(port, "/v1/encode", upload(), f"multipart/form-data; boundary={EDGE}")
        assert status == 400 and "no picture" in told["error"]
        stream(found, LONG)
        form = upload()
        other.putrequest("POST", "/v1/encode")
        other.putheader("Content-Type", f"multipart/form-data; boundary={EDGE}")
        other.putheader("Content-Length", str(len(form)))
        other.endheaders(form[:-100])
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not files(tmp_path)
    with started(tmp_path, port) as (process, again), connection(again) as found, connection(again) as idle:
        assert again == port and asked(port, "/v1/generate", SHORT)[1]["images"] == before
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        events = stream(found, LONG)
        waiting = []
        thread = threading.Thread(target=lambda: waiting.append(asked(port, "/v1/generate", {**SHORT, "count": 2})))
        thread.start()
        while asked(port, "/health")[1]["images_waited_for"] < 6:
            time.sleep(0.01)
        process.terminate()
        lines = events.read().decode().splitlines()
        thread.join()
        assert process.wait(30) in (0, -signal.SIGTERM)  # uvicorn ends by the signal itself, when all is done
        assert [line for line in lines if line.startswith("event: ")][-1] == "event: result"
        assert len(json.loads(lines[-2].removeprefix("data: "))["images"]) == 4
        assert waiting[0][0] == 200 and waiting[0][1]["images"][0]["image"] == before[0]["image"]
        with pytest.raises(ConnectionRefusedError):
            asked(port, "/health")
        assert not files(tmp_path)


def test_told_to_end_while_it_is_idle_it_ends_at_once(tmp_path):
    with started(tmp_path) as (process, port), connection(port) as idle:
        idle.request("GET", "/health")
        assert json.loads(idle.getresponse().read())["status"] == "ok"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130, -signal.SIGINT) and time.monotonic() - start < 10


def interrupted(folder, times, body=LONG):
    """(exit status, seconds from the last Ctrl-C on, what was logged, what the stream gave) with a stream, a job and an idle client."""
    log = folder / "log"
    with log.open("w") as file, started(folder, log=file) as (process, port), connection(port) as found, connection(port) as idle:
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        events, beside = stream(found, body), []
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(connection(port))
            client.request("POST", "/v1/generate", json.dumps(body).encode(), {"Content-Type": "application/json"})
            while asked(port, "/health")[1]["images_waited_for"] < 2 * body["count"]:
                time.sleep(0.01)
            for pause in times:
                time.sleep(pause)
                start = time.monotonic()
                process.send_signal(signal.SIGINT)
            status = process.wait(60)
            took = time.monotonic() - start
            with contextlib.suppress(http.client.HTTPException, ConnectionError):
                beside.append(client.getresponse().status)
            read = b""
            with contextlib.suppress(http.client.HTTPException, ConnectionError):
                while line := events.readline():
                    read += line
        return status, took, log.read_text(), read, beside


def test_one_ctrl_c_finishes_what_runs(tmp_path):
    status, _, log, read, beside = interrupted(tmp_path, [0.0])
    assert status == 130 and b"event: result" in read and beside == [200]
    assert "Traceback" not in log and re.search("ends when [23] requests are answered; Ctrl-C ends it at once", log)


@pytest.mark.parametrize("times", [[0.0, 0.5], [0.0, 0.05], [0.0, 0.3, 0.05, 0.05]], ids=["later", "soon", "four times"])
def test_a_second_ctrl_c_ends_it_at_once(tmp_path, times):
    long = {"class": "bag", "count": 32, "settings": {"steps": 128, "evaluations": 256}}
    status, took, log, read, beside = interrupted(tmp_path, times, long)
    assert status == 130 and took < 5 and b"event: result" not in read and not beside
    assert "Traceback" not in log and "Error" not in log and re.search("ended at once; [23] requests cut off", log)
    assert not files(tmp_path / "cache")


@pytest.mark.parametrize("pause", [0.02, 0.15, 0.4])
def test_ctrl_c_twice_while_it_is_idle_makes_no_traceback(tmp_path, pause):
    log = tmp_path / "log"
    with log.open("w") as file, started(tmp_path, log=file) as (process, _):
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(pause)
        assert process.wait(20) in (130, -signal.SIGINT)  # by the signal itself where Python is all but gone
    assert "Traceback" not in log.read_text() and "Exception" not in log.read_text()
