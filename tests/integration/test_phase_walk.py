"""The whole walk through the phases and back with two real data planes under load: every step is in force when the call returns,
reads and writes go where the phase says, no request fails."""

import json

import pytest

from support.control_plane import ctl
from support.load import Load, reads_from

# The shares make every read count.
LINE = ["passthrough", "dual_write", "shadow_read", "canary_read", "target_primary", "target_only"]
STEPS = LINE + LINE[-2::-1] + ["dual_write"]
SHARES = {"shadow_read": {"shadow_read_percent": 100}, "canary_read": {"canary_read_percent": 100}}
READS_FROM_TARGET = ("canary_read", "target_primary", "target_only")
WRITES_TO = {"passthrough": ["origin"], "target_only": ["target"]}
REASON = "the play walks"


def by_rest(control, phase):
    status, answer = control.move(phase, confirm=phase, force=True, reason=REASON, **SHARES.get(phase, {}))
    assert status == 200, answer


def by_command(control, phase):
    share = ["--percent", "100"] if phase in SHARES else []
    code, _, err = ctl(control, "phase", "set", phase, "--confirm", phase, "--force", "--reason", REASON, *share)
    assert code == 0, err


@pytest.mark.parametrize("move", [by_rest, by_command])
def test_the_walk_under_load(fleet, named_pair, move):
    control, proxies = fleet
    with proxies[0].connect() as one, proxies[1].connect() as two, Load(proxies[0], "ks") as load, Load(proxies[1], "ks") as other:
        for number, phase in enumerate(STEPS):
            move(control, phase)
            state = control.routing()
            assert state["phase"] == phase and all(plane["applied_revision"] == state["revision"] for plane in control.dataplanes())
            expected = "target" if phase in READS_FROM_TARGET else "origin"
            assert [reads_from(client, "ks") for client in (one, two)] == [expected] * 2, phase
            for key, client in ((100 + number, one), (200 + number, two)):
                client.rows(f"INSERT INTO ks.kv (k, v) VALUES ({key}, '{phase}')")
                wrote = [cluster.name for cluster in named_pair if cluster.rows(f"SELECT v FROM ks.kv WHERE k = {key}")]
                assert wrote == WRITES_TO.get(phase, ["origin", "target"]), phase
    load.check(at_least=20)
    other.check(at_least=20)
    rows = control.get(f"/api/v1/audit?limit={len(STEPS)}")["entries"]
    assert [row["phase_after"] for row in rows][::-1] == STEPS and all(row["reason"] == REASON for row in rows)


def test_live_settings_are_in_force_when_the_call_returns(fleet):
    control, proxies = fleet
    status, _, answer = control.call("PATCH", "/api/v1/settings", {"max_clients": 2})
    assert status == 200 and json.loads(answer)["max_clients"] == 2
    assert all(plane["applied_revision"] == control.routing()["revision"] for plane in control.dataplanes())
