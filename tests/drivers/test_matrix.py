"""One test a cell of docs/drivers.md: a driver's program, run through a proxy between real clusters."""

import itertools
import os
import subprocess

import pytest

from certificates import STORE_PASSWORD
from install import Unavailable
from matrix import CHECKS, cells
from tap import Tap

SECONDS = 120
CELLS = cells()
_numbers = itertools.count()


def environment(cell, world, server):
    """What the program is told; see README.md."""
    told = {"CQL_ADDRESS": server.address, "CQL_PORT": str(server.port), "CQL_KEYSPACE": f"driver_{next(_numbers)}"}
    if cell.driver.asks:
        told |= {"CQL_PROTOCOL": str(cell.driver.asks), "CQL_COMPRESSION": "none"}
    if cell.mode == "lz4":
        told["CQL_COMPRESSION"] = "lz4"
    if cell.mode == "authentication":
        told |= {"CQL_USERNAME": "cassandra", "CQL_PASSWORD": "cassandra"}
    if cell.mode == "TLS":
        told |= {"CQL_CA": str(world.made.ca_pem), "CQL_TRUST_STORE": str(world.made.trust_p12), "CQL_STORE_PASSWORD": STORE_PASSWORD}
    return told


def run(command, told):
    """The lines that the program printed as a dict of the first word to the rest, and everything it printed."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("CQL_")}
    try:
        result = subprocess.run(command, env={**inherited, **told}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False)
        output = result.stdout
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace") + f"\nended after {SECONDS} s"
    lines = [line.split(" ", 1) for line in output.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2}, output


@pytest.mark.parametrize(("setting", "cell"), [((cell.pair, cell.mode == "authentication"), cell) for cell in CELLS],
                         ids=[cell.key for cell in CELLS])
def test_cell(world, cell, installation, results):
    try:
        command = installation.of(cell.driver.program)
    except Unavailable as reason:
        results[cell.key] = "not run"
        pytest.skip(f"{cell.driver.title}: {reason}")
    if cell.mode == "TLS":
        said, output = run(command, environment(cell, world, world.tls))
    else:
        with Tap(world.plain) as tap:
            said, output = run(command, environment(cell, world, tap))
    failed = [check for check in CHECKS if said.get(check) != "ok"]
    protocol = said.get("protocol")
    results[cell.key] = "**FAILED** " + ("to connect" if protocol is None else ", ".join(failed)) if failed else f"v{protocol}"
    assert not failed, f"{', '.join(failed)} failed:\n{output}"
    assert protocol == str(cell.protocol), f"settled on version {protocol}, not {cell.protocol}"
    if cell.mode != "TLS":
        assert {version for version, _ in tap.agreed} == {cell.protocol}
    if cell.mode == "lz4":
        # The processes of cqlsh's COPY do without.
        assert "lz4" in {compression for _, compression in tap.agreed}, "the proxy was not asked to compress, or would not"
