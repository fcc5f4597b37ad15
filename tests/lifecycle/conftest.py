"""Servers under test with a hub and a platform on loopback; all of them end with the test."""
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
# The hub, and the platform that the SDK's tests use.
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "sdk")]

from app import App  # noqa: E402
from hub_stub import Hub  # noqa: E402
from platforms import Platform  # noqa: E402


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="session")
def one_platform():
    return Platform()


@pytest.fixture
def platform(one_platform):
    one_platform.reset()
    yield one_platform
    one_platform.release()


@pytest.fixture
def app(tmp_path):
    """Makes servers: `app("--model", "demo", hub=hub, AUTOSTART="1")`; each is started by `start`."""
    made = []

    def make(*words, folder=tmp_path, **further):
        made.append(App(folder, *words, **further))
        return made[-1]

    yield make
    failures = []
    for one in made:
        try:
            one.close()
        except AssertionError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
