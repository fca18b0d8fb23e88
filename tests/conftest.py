"""What tests share: one thread, since the parts are tiny and bitwise claims should not hang on a thread count; the studio's page."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, and for every process that a test starts

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def nothing_is_left():
    """What a test sets for its process it puts back: the next may be any other, since workers share the tests out."""
    before = dict(os.environ), os.getcwd()
    yield
    left = {name for name, _ in set(os.environ.items()) ^ set(before[0].items())}
    assert not [name for name in left if not name.startswith(("PYTEST", "TORCH", "TRITON", "KMP"))], "environment"
    assert torch.get_num_threads() == 1 and not torch.distributed.is_initialized(), "torch's processes or threads"
    assert torch.get_default_dtype() == torch.float32 and os.getcwd() == before[1], "type or folder"


@pytest.fixture(scope="module")
def pipelines():
    """What the studio of `page` serves."""
    from bitmosaic import Pipeline

    return {"fashion": Pipeline.from_pretrained("fashion")}


@pytest.fixture(scope="module")
def studio(pipelines):
    """The address of a studio."""
    from studio_server import serving

    with serving(pipelines) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def browser():
    """Chromium."""
    from studio_browser import chromium

    with chromium() as found:
        yield found


@pytest.fixture
def page(browser, studio):
    """The studio's page, as a visitor opens it."""
    from studio_browser import opened

    with opened(browser, studio) as found:
        yield found
