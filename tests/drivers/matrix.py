"""What is run: each driver's program, in each mode, between each pair of clusters; and how docs/drivers.md shows what came of it.

The tables here are the only place that says which cells there are. `matrix.py write RESULTS` writes the page from the results that
a run left behind, `matrix.py check RESULTS` says whether the page is what such a run writes.
"""

import dataclasses
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "drivers.md"

# Each program prints a line for each of these.
CHECKS = {
    "simple": "statements as text, with and without values; an error's code",
    "prepared": "prepared statements",
    "batch": "logged and unlogged batches of prepared and plain statements",
    "paging": "a result of several pages, text and prepared",
    "lwt": "lightweight transactions: what applied and what was there instead",
    "use": "`USE` or its like, the session's keyspace, and from v5 on a request's own",
    "events": "a table that another session creates appears in the driver's metadata",
    "load": "500 writes and 1,500 reads, up to 300 in flight, each answer compared with its question",
    "large": "values of 200 KB, both ways",
    "nulls": "null and unset values",
    "collections": "lists, sets and maps",
}

# Versions of origin and target, and the highest protocol version that both speak.
PAIRS = {("3.11", "5.0"): 4, ("5.0", "5.0"): 5}

MODES = {
    "defaults": "as the driver is without being told anything but an address",
    "lz4": "LZ4 compression asked for",
    "TLS": "TLS to the proxy and from the proxy to both clusters, certificates and host names verified",
    "authentication": "both clusters ask for a user and a password",
}


@dataclasses.dataclass(frozen=True)
class Driver:
    """A row. `highest` is the highest Cassandra protocol version the driver speaks, `asks` the one it is told to use if any."""

    name: str
    program: str
    manifest: str
    version: str  # an expression for the version in the manifest
    highest: int
    asks: int | None = None
    lacks: tuple = ()  # modes the driver does not have

    @property
    def title(self):
        found = re.search(self.version, (ROOT / self.manifest).read_text())
        return f"{self.name} {found.group(1)}" + (f", v{self.asks}" if self.asks else "")


PYTHON = ("Python cassandra-driver", "python", "tests/requirements.txt", r"cassandra-driver==(\S+)")
DRIVERS = (
    Driver(*PYTHON, highest=5),
    Driver(*PYTHON, highest=3, asks=3),
    Driver(*PYTHON, highest=4, asks=4),
    Driver(*PYTHON, highest=5, asks=5),
    Driver("cqlsh", "cqlsh", "tests/requirements.txt", r"cqlsh==(\S+)", highest=5),
    Driver("Node cassandra-driver", "node", "tests/drivers/node/package.json", r'"cassandra-driver": "(.*)"', highest=4, lacks=("lz4",)),
    Driver("gocql", "go", "tests/drivers/go/go.mod", r"gocql-driver/v2 v(\S+)", highest=5),
    Driver("Java driver", "java", "tests/drivers/java/pom.xml", r"java-driver-core</artifactId>\s*<version>(.*)</version>", highest=5),
    Driver("Rust scylla", "rust", "tests/drivers/rust/Cargo.toml", r'scylla = \{ version = "=(.*?)"', highest=4),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cell:
    pair: tuple
    mode: str
    driver: Driver

    @property
    def key(self):
        return f"{'-'.join(self.pair)} {self.mode} {self.driver.title}"

    @property
    def protocol(self):
        """The version that must be settled on; None when the driver insists on one that a cluster lacks."""
        both = PAIRS[self.pair]
        return None if (self.driver.asks or 0) > both else min(both, self.driver.highest)


def cells():
    """Every cell that can be, clusters that need restarting outermost."""
    return [Cell(pair, mode, driver) for pair in PAIRS for mode in MODES for driver in DRIVERS
            if mode not in driver.lacks and Cell(pair, mode, driver).protocol is not None]


def page(results):
    """docs/drivers.md, from a dict of Cell.key to text."""
    lines = [
        "# Drivers",
        "",
        "Every driver below does the same eleven things through the proxy, between real clusters. This page is written by",
        "`scripts/drivers.sh --write-docs`; how it works is in [tests/drivers](../tests/drivers/README.md). A cell names the protocol version that",
        "driver and proxy settled on when all went well. A driver that can speak more than both clusters is led down to what both speak.",
    ]
    for pair in PAIRS:
        lines += ["", f"## Apache Cassandra {pair[0]} to {pair[1]}", "", "| driver | " + " | ".join(MODES) + " |"]
        lines.append("| --- " * (len(MODES) + 1) + "|")
        for driver in DRIVERS:
            row = [driver.title]
            for mode in MODES:
                cell = Cell(pair, mode, driver)
                if cell.protocol is None:
                    row.append(f"needs v{driver.asks} of both")
                elif mode in driver.lacks:
                    row.append("not in the driver")
                else:
                    row.append(results.get(cell.key, "not run"))
            lines.append("| " + " | ".join(row) + " |")
    lines += ["", "## Modes", ""]
    lines += [f"- **{mode}**: {meaning}." for mode, meaning in MODES.items()]
    lines += ["", "The Python driver and cqlsh compress by themselves when the package `lz4` is installed, as it is here; the rows with a protocol",
              "version do so only under *lz4*. The Rust driver reads the schema when it is told to, not when it is sent an event."]
    lines += ["", "## Checks", ""]
    lines += [f"- **{check}**: {meaning}." for check, meaning in CHECKS.items()]
    return "\n".join(lines) + "\n"


def main():
    action, path = sys.argv[1:]
    text = page(json.loads(pathlib.Path(path).read_text()))
    if action == "write":
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not what this run found; write it anew: scripts/drivers.sh --write-docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
