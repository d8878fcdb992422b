"""A proxy that follows a control plane, between two clusters, for plays that go to either end of the line of phases."""

import itertools

from .waiting import wait_until

ENDS = {"passthrough": ("origin", "target"), "target_only": ("target", "origin")}
SPLIT = {"passthrough": "dual_write", "target_only": "target_primary"}
PACE = {
    "HEARTBEAT_RETRY_INTERVAL_MIN_MS": "50",
    "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "500",
    "HEARTBEAT_INTERVAL_MS": "500",
    "CLUSTER_CONNECTION_TIMEOUT_MS": "2000",
    "REQUEST_TIMEOUT_MS": "2000",
    "READINESS_REQUIRES_BOTH": "true",
}
SCHEMA = (
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
)
KEYS = itertools.count(2000000)


class Walk:
    """A proxy that follows a control plane, between two clusters; row 1 of ks.kv names its cluster."""

    def __init__(self, lab, clusters=None, **settings):
        self.lab = lab
        self.clusters = dict(zip(("origin", "target"), clusters or lab.named_pair(), strict=True))
        self.control = lab.control().start()
        self.state = lab.directory / "state"
        self.state.mkdir()
        self.proxy = lab.proxy(*self.clusters.values(), CONTROL_SOCKET=str(self.control.socket_path),
                               STATE_DIRECTORY=str(self.state), **{**PACE, **settings}).start()  # fmt: skip
        self.follow()

    def follow(self):
        wait_until(lambda: [plane for plane in self.control.dataplanes() if plane["in_sync"]], "the proxy follows")

    def go(self, phase):
        self.control.force(phase)

    def to(self, end):
        """To an end of the line by allowed moves; the cluster in use and the idle one."""
        if end == "target_only":
            self.go("target_primary")
        self.go(end)
        return (self.clusters[name] for name in ENDS[end])

    def has(self, cluster, key):
        return cluster.rows(f"SELECT v FROM ks.kv WHERE k = {key}") == [[b"x"]]

    def upstreams(self, name):
        """Connections for requests to that cluster."""
        metrics = self.proxy.metrics()
        return sum(value for series, value in metrics.items() if series.startswith(f"zdm_{name}_connections_total"))

    def comes_back(self, cluster):
        """A cluster that was killed, with its schema: it had it in memory only."""
        cluster.start()
        cluster.query(*SCHEMA, f"INSERT INTO ks.kv (k, v) VALUES (1, '{cluster.name}')")


def write(client):
    key = next(KEYS)
    client.query(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'x')")
    return key
