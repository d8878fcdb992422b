"""A control plane on a disk of its own that is too small, or says no."""

import os
import pathlib
import subprocess

import pytest

from .programs import BIN, Control


NAMESPACE = ["unshare", "--mount", "--propagation", "private"] + (["--map-root-user"] if os.geteuid() != 0 else [])


class CrampedControl(Control):
    """A control plane whose database lies on a small disk of its own, in a mount namespace nobody else sees."""

    script = 'mount -t tmpfs -o size=512k tmpfs "$1" && exec "$2"'
    first = ""  # a database to begin with

    def __init__(self, lab, address):
        super().__init__(lab, "control", address, {})
        self.place = lab.directory / "disk"
        self.place.mkdir()
        self.settings["CONTROL_DATABASE"] = str(self.place / "control.sqlite")

    def command(self):
        return [*NAMESPACE, "sh", "-c", self.script, "sh", str(self.place), str(BIN / "cloudgate-control"), self.first]

    def inside(self, name):
        """A file of that disk, seen from here."""
        return pathlib.Path(f"/proc/{self.pid}/root{self.place}/{name}")


def can_mount():
    trial = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, timeout=20)
    return trial.returncode == 0


# Some containers forbid mounts; test_store_faults.c plays full disks there all the same, on SQLite's own file calls.
needs_mounts = pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount a disk of his own")
