"""What tests of the studio share: a service of the shipped pipeline, Chromium, and the page in it."""

import pytest


@pytest.fixture(scope="module")
def pipelines():
    """What the studio of `page` serves."""
    from quick import quick_pipeline

    return {"fashion": quick_pipeline()}


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
