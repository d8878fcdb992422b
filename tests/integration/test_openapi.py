"""The API against its own description: Schemathesis makes requests out of docs/openapi.json, right ones and wrong ones, and compares every
answer with it: no status, type, header or body that is not described, no 500."""

import copy
import json
import pathlib
import re
import subprocess
import sys

from support.control_plane import ADMIN_TOKEN, ROOT
from support.waiting import wait_until

SPECIFICATION = ROOT / "docs/openapi.json"
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "allow_header_conformance", "unsupported_method")  # fmt: skip


def schemathesis(control, folder, specification, *options):
    """Deterministic: the same requests each time. Event streams do not end, so they have plays of their own."""
    program = pathlib.Path(sys.executable).with_name("st")
    assert program.exists(), "Schemathesis is not installed: see tests/requirements.txt"
    command = [program, "run", specification, "--url", f"http://127.0.0.1:{control.port}", "-H", f"Authorization: Bearer {ADMIN_TOKEN}",
               "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--generation-deterministic", "--no-shrink",
               "--continue-on-failure", "--suppress-health-check", "all", "--exclude-path", "/api/v1/events", "--request-timeout", "20",
               "--no-color", *options]  # fmt: skip
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    return result.returncode, result.stdout + result.stderr


def test_every_answer_is_as_described(control, dataplane, tmp_path):
    plane = dataplane(features="routing,write_switches,canary_reads,live_settings")
    plane.send(type="STATS", reads_origin=5, reads_target=6, writes=7, failed_reads=1, failed_writes=2, client_connections=3)
    wait_until(lambda: control.dataplanes() and control.dataplanes()[0]["stats"], "there is something to show")
    code, output = schemathesis(control, tmp_path, SPECIFICATION, "--max-examples", "15")
    assert code == 0, output[-20000:]
    operations = sum(method in ("get", "put", "post", "patch", "delete")
                     for path, entry in json.loads(SPECIFICATION.read_text())["paths"].items() for method in entry)  # fmt: skip
    assert re.search(rf"Tested: {operations - 1}\b", output), output[-3000:]
    assert int(re.search(r"(\d+) generated", output)[1]) > 500
    assert control.get("/health/liveness") == {"status": "UP"}


def test_an_answer_that_is_not_described_is_noticed(control, tmp_path):
    """The judge itself: without a status, with another type, with another body, with a member too many."""
    whole = json.loads(SPECIFICATION.read_text())
    for spoil in (
        lambda answers: answers.update({"204": answers.pop("200")}),
        lambda answers: answers["200"].update(content={"text/plain": {"schema": {"type": "string"}}}),
        lambda answers: answers["200"].update(content={"application/json": {"schema": {"type": "array"}}}),
        lambda answers: answers["200"].update(content={"application/json": {"schema": {"type": "object", "maxProperties": 0}}}),
    ):
        spoilt = copy.deepcopy(whole)
        spoil(spoilt["paths"]["/health/liveness"]["get"]["responses"])
        (tmp_path / "spoilt.json").write_text(json.dumps(spoilt))
        code, output = schemathesis(control, tmp_path, "spoilt.json", "--include-path", "/health/liveness", "--max-examples", "2")
        assert code == 1 and "GET /health/liveness" in output, output[-3000:]
