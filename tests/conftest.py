"""What tests share: one thread, as parts are tiny and no bitwise claim should hang on a thread count; a limit of processor time."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, and for every process that a test starts

import pytest  # noqa: E402
import torch  # noqa: E402
from cost import Cost  # noqa: E402
from PIL import Image  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--cost", metavar="FILE", help="write the processor time of every test, dearest first")


def pytest_configure(config):
    torch.set_num_threads(1)
    config.pluginmanager.register(Cost(None if hasattr(config, "workerinput") else config.getoption("--cost")), "cost")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def nothing_is_left():
    """What a test sets for its process it puts back: the next may be any other, since workers share the tests out."""
    before = dict(os.environ), os.getcwd()
    yield
    left = {name for name, _ in set(os.environ.items()) ^ set(before[0].items())}
    assert not [name for name in left if not name.startswith(("PYTEST", "TORCH", "_TORCH", "TRITON", "KMP"))], "environment"
    assert torch.get_num_threads() == 1 and not torch.distributed.is_initialized(), "torch's processes or threads"
    assert torch.get_default_dtype() == torch.float32 and os.getcwd() == before[1], "type or folder"


@pytest.fixture(autouse=True)
def no_layout(request):
    """matplotlib lays the curves of three stages out in seconds; tests that are not marked `curves` get a plain picture in their place."""
    from bitmosaic.evaluate import curves

    with pytest.MonkeyPatch.context() as patched:  # one of its own: `monkeypatch` would be undone after `nothing_is_left` looks
        if "curves" not in request.keywords:
            patched.setattr(curves, "_draw", lambda panels, heading, runs=None: Image.new("RGB", (48 * len(panels), 48)))
        yield
