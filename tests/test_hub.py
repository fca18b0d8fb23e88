"""Pipelines from the hub: a small server that answers as the hub does, and the client library as users have it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import warm

from bitmosaic import Pipeline
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.media import Waves
from bitmosaic.pipelines import hub
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.priors.maskgit import MaskGITSpec
from bitmosaic.samplers import MaskGITSamplerSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.tokenizers.vqvae import VQVAESpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny"


@pytest.fixture(scope="module")
def pipeline(request):
    """Of pictures, or of what a test asks for by its parameter."""
    torch.manual_seed(0)
    if getattr(request, "param", "pictures") == "sound":
        tokenizer = VQVAESpec(Waves(2000), (128,), 2, (8,), width=8, residual_blocks=1).build()
        prior = MaskGITSpec(tokenizer.spec.grid, tokenizer.radix[0], 3, 2, 16, ClassConditionSpec(3)).build()
        return Pipeline(tokenizer, prior, MaskGITSamplerSpec(steps=2))
    tokenizer = BinaryAutoencoderSpec((8, 8), 1, 6, 8, (1, 1), 1, (), 8, groups=4).build()
    prior = MaskedPriorSpec((4, 4), 6, condition=ClassConditionSpec(3)).build()
    return Pipeline(tokenizer, prior, EntropyOrderedSpec(steps=2, evaluations=2))


@pytest.fixture
def repository(pipeline, tmp_path):
    """The files of NAME, and what was asked for, on a server of this machine."""
    pytest.importorskip("huggingface_hub", reason="pip install 'bitmosaic[hub]'")
    pipeline.save_pretrained(tmp_path / "remote")
    (tmp_path / "remote" / "unrelated.bin").write_bytes(b"x" * 1000)
    files = {p.relative_to(tmp_path / "remote").as_posix(): p for p in (tmp_path / "remote").rglob("*") if p.is_file()}
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            asked.append(self.path)
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{NAME}"):
                listed = [{"rfilename": name, "size": p.stat().st_size} for name, p in files.items()]
                content = json.dumps({"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": listed}).encode()
                if "/tree/" in path:
                    content = json.dumps(
                        [{"type": "file", "path": n, "size": p.stat().st_size, "oid": "0" * 40} for n, p in files.items()]
                    ).encode()
                kind = "application/json"
            elif path.startswith(f"/{NAME}/resolve/") and path.split("/", 5)[5] in files:
                content, kind = files[path.split("/", 5)[5]].read_bytes(), "application/octet-stream"
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield address, asked, tmp_path
    server.shutdown()
    server.server_close()


def run(code: str, address: str, cache) -> subprocess.CompletedProcess:
    """Code in a process of its own, whose hub is `address`."""
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return warm.run([sys.executable, "-c", code], env=environment)


@pytest.mark.parametrize("pipeline", ["pictures", "sound"], indirect=True)
def test_a_pipeline_is_downloaded_once_and_then_at_hand_without_the_hub(repository, pipeline):
    address, asked, folder = repository
    code = (
        f"import torch; from bitmosaic import hub; p = hub.from_pretrained({NAME!r});"
        "torch.save(p(1, 5, output_type='pt'), 'IMAGE')"
    ).replace("IMAGE", str(folder / "image"))
    done = run(code, address, folder / "home")
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(folder / "image"), pipeline(1, 5, output_type="pt"))
    assert any("safetensors" in path for path in asked) and not any("unrelated.bin" in path for path in asked if "resolve" in path)
    (folder / "image").unlink()
    done = run(code.replace(f"{NAME!r}", f"{NAME!r}, offline=True"), "http://127.0.0.1:9", folder / "home")
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(folder / "image"), pipeline(1, 5, output_type="pt"))


@pytest.mark.parametrize("name", ["someone/else", "not a name", "too/many/parts"])
def test_what_cannot_be_had_is_told_in_one_line(repository, name):
    address, _, folder = repository
    code = f"from bitmosaic import hub\ntry: hub.from_pretrained({name!r})\nexcept ValueError as error: print(error)"
    done = run(code, address, folder / "home")
    assert done.stdout.startswith(f"{name}: cannot be had from the hub (") and len(done.stdout.splitlines()) == 1, done.stderr


def test_without_the_library_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'bitmosaic\[hub\]'"):
        hub.from_pretrained(NAME)
