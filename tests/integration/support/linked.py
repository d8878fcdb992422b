"""A control plane and a proxy with a relay between them, for plays of what may happen to the frames of the control link."""

import json

from .link_relay import LinkRelay
from .load import reads_from
from .waiting import wait_until

EACH_WAY = [("to_dataplane", "SNAPSHOT"), ("to_control", "ACK")]


class Linked:
    def __init__(self, lab):
        self.lab = lab
        self.origin, self.target = lab.named_pair()
        self.control = lab.control().start()
        self.state = lab.directory / "state"
        self.state.mkdir()
        self.relay = LinkRelay(lab.directory / "relay.sock", self.control.socket_path)
        self.proxy = lab.proxy(
            self.origin, self.target, CONTROL_SOCKET=self.relay.path, STATE_DIRECTORY=str(self.state)
        )

    def entry(self):
        (entry,) = self.control.dataplanes()
        return entry

    def applied(self):
        return int(self.proxy.metric("zdm_routing_revision"))

    def follows(self, timeout=25):
        """The planes agree: in the control plane's words, in the proxy's, and by who answers reads."""

        def agree():
            wanted, entry = self.control.routing(), self.entry()
            assert (entry["state"], entry["in_sync"]) == ("follows", True), entry
            return entry["applied_revision"] == self.applied() == wanted["revision"] and wanted

        wanted = wait_until(agree, "both planes have the same state", timeout)
        with self.proxy.connect() as client:
            assert reads_from(client, "ks") == ("target" if wanted["forward_reads_to_target"] else "origin")
        saved = json.loads((self.state / "last-good.json").read_text())
        assert saved["revision"] == wanted["revision"]
        return wanted

    def change(self, is_away=False, wait=5):
        """Moves the reads. 200 means that they have moved where the data plane is connected; 202 names who has not followed."""
        to_target = not self.control.routing()["forward_reads_to_target"]
        status, _, body = self.control.call("PATCH", f"/api/v1/routing?wait={wait}", {"forward_reads_to_target": to_target})
        answer = json.loads(body)
        if status == 200:
            assert is_away or self.applied() >= answer["revision"], "called acknowledged, and is not in force"
        else:
            assert status == 202 and answer["pending"], (status, answer)
        return status

    def wait_state(self, state, *words, timeout=15):
        def told():
            entry = self.entry()
            assert entry["state"] == state, entry
            assert all(word in entry["detail"] for word in words), entry
            return entry

        return wait_until(told, f"the control plane says {state}: {words}", timeout)
