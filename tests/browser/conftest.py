"""Fixtures of the browser plays: those of the integration plays, and a browser. --screenshots DIR keeps pictures for people."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

from browser import MODULES, Browser  # noqa: E402
from support.programs import Lab  # noqa: E402
from support.waiting import wait_until  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--screenshots", help="the folder pictures of the dashboard are written to")


@pytest.fixture(scope="session")
def pictures(request, tmp_path_factory):
    given = request.config.getoption("--screenshots")
    folder = pathlib.Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def place(lab):
    """control, proxy: both planes connected to each other, between two clusters that name themselves."""
    control = lab.control().start()
    state = lab.directory / "state"
    state.mkdir()
    proxy = lab.proxy(*lab.named_pair(), CONTROL_SOCKET=str(control.socket_path), STATE_DIRECTORY=str(state)).start()
    wait_until(lambda: [plane for plane in control.dataplanes() if plane["in_sync"]], "the proxy follows")
    return control, proxy


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if not (MODULES / "node_modules/playwright-core").is_dir():
        raise pytest.UsageError(f"{MODULES} lacks playwright-core: copy tests/browser/package*.json there and run npm ci")
    browser = Browser(tmp_path_factory.mktemp("chromium") / "browser.log")
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium):
    """Pages of a play share nothing with those of another but the process."""
    yield chromium
    chromium.close_pages()
