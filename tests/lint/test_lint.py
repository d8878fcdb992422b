"""Rules of the house that a compiler does not check: the order of dependencies, what a file may contain, documents that keep up
with the tables. Each failure lists every offender with file and line."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# Each may include itself and what stands to its left.
FOLDERS_ALLOWED = {
    "common": {"common"},
    "proto": {"common", "proto"},
    "dataplane": {"common", "proto", "dataplane"},
    "controlplane": {"common", "proto", "controlplane"},
    "tests/cqlsim": {"common", "tests"},  # nothing of proto/: a bug must not hide by being on both sides
}

# Functions from values to values, and what they are made of: no sockets, no event loop.
DATAPLANE_CORE = {
    "assign",
    "classify",
    "cluster_id",
    "cluster_settings",
    "config",
    "config_checks",
    "config_tls",
    "config_yaml",
    "control_body",
    "edits",
    "functions",
    "functions_names",
    "functions_prepared",
    "merge",
    "metrics",
    "node_health",
    "options",
    "paging_tag",
    "preparation",
    "prepared",
    "prepared_table",
    "proxy_address",
    "route",
    "snapshot",
    "snapshot_message",
    "supported",
    "text_list",
    "tls_side",
    "topology",
    "topology_build", "trace_limit",
    "versions",
    "virtual",
    "virtual_bind",
    "virtual_hosts",
    "virtual_parse",
    "virtual_row",
    "write_timestamp",
}

# Third-party headers and the only files (by pattern) that may include them.
HEADER_HOMES = {
    "event2/": r"common/(link|mailbox)\.|controlplane/(publisher|front(_relay)?)\.|dataplane/(?!(%s)\.)|tests/" % "|".join(sorted(DATAPLANE_CORE)),
    "openssl/": r"proto/ctl_codec|dataplane/(tls(_context)?|agent|function_source|virtual(_\w+)?|prepared|plain_token)\."
    r"|controlplane/(store_schema|audit_chain|token|tokens|access|first_token|front_tls|front_relay|json_body|api_tokens|idempotency)\.|tests/",
    "sqlite3.h": r"controlplane/store(_\w+)?\.[ch]$|tests/unit/",
    "civetweb.h": r"controlplane/http\.c$",
    "jsmn.h": r"common/json\.c$",
    "curl/": r"controlplane/ctl/|dataplane/bundle_fetch\.|tests/",
    "zip.h": r"dataplane/bundle\.|tests/",
    "yaml.h": r"common/yaml_settings\.|dataplane/config_\w+\.|tests/",
    "lz4.h": r"proto/cql_(compression|segment)\.|tests/",
    "snappy-c.h": r"proto/cql_compression\.|tests/",
    "libdeflate.h": r"proto/cql_segment\.|tests/",
    "zlib.h": r"tests/",
    "assert.h": r"$^",  # CHECK stays on in every build; assert does not
}

LINES_MAX = 900
COLUMNS_MAX = 150
# Where an address in a file may lead: standards, the upstream projects themselves, and examples.
ADDRESS_HOSTS = re.compile(
    r"localhost|10\.\d+\.\d+\.\d+|127\.\d+\.\d+\.\d+|0\.0\.0\.0|(\w+\.)*example(\.(com|org|net))?|www\.w3\.org|"
    r"(\w+\.)*apache\.org|github\.com|json-schema\.org|spec\.openapis\.org|keepachangelog\.com|semver\.org|www\.rfc-editor\.org"
)
MACHINE_PATHS = re.compile(r"(?<![\w.$}/-])/(work|home/\w+)/")
PLACEHOLDERS = re.compile(r"\b(TODO|FIXME|XXX|HACK|TBD)\b|(?i:lorem ipsum|not implemented yet)")


def tracked_files():
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


TRACKED = tracked_files()
C_FILES = [name for name in TRACKED if name.endswith((".c", ".h", ".def"))]


def text_of(name):
    data = (ROOT / name).read_bytes()
    return None if b"\0" in data else data.decode("utf-8")


def lines_of(names):
    for name in names:
        for number, line in enumerate((text_of(name) or "").splitlines(), 1):
            yield name, number, line


def refuse(offenders):
    if offenders:
        pytest.fail("\n" + "\n".join(offenders), pytrace=False)


def includes(names):
    for name, number, line in lines_of(names):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield name, number, match[1], match[2]


def test_there_is_something_to_check():
    assert len(C_FILES) > 30


def test_folders_include_only_to_their_left():
    offenders = []
    for name, number, quote, header in includes(C_FILES):
        folder = "tests/cqlsim" if name.startswith("tests/cqlsim/") else name.split("/")[0]
        allowed = FOLDERS_ALLOWED.get(folder)
        if allowed and quote == '"' and "/" in header and header.split("/")[0] not in allowed:
            offenders.append(f"{name}:{number}: {folder} must not include {header}")
    refuse(offenders)


def test_own_headers_are_named_from_the_root():
    offenders = []
    for name, number, quote, header in includes(C_FILES):
        if quote == '"' and not (ROOT / header).is_file() and not name.startswith("tests/"):
            offenders.append(f"{name}:{number}: no file {header}")
    refuse(offenders)


def test_the_pure_core_of_the_data_plane_stays_pure():
    offenders = []
    for name, number, quote, header in includes(C_FILES):
        path = pathlib.PurePath(name)
        if path.parent.name != "dataplane" or path.stem not in DATAPLANE_CORE:
            continue
        if quote == '"' and header.startswith("dataplane/") and header.endswith(".h"):
            if pathlib.PurePath(header).stem not in DATAPLANE_CORE:
                offenders.append(f"{name}:{number}: core includes {header}")
    refuse(offenders)


def test_third_party_headers_stay_in_their_homes():
    offenders = []
    for name, number, quote, header in includes(C_FILES):
        for prefix, home in HEADER_HOMES.items():
            if quote == "<" and header.startswith(prefix) and not re.match(home, name):
                offenders.append(f"{name}:{number}: {header} has no place here")
    refuse(offenders)


def test_unbounded_calls_are_banned():
    """The compiler refuses most of these; this also covers code that a build leaves out."""
    always = "strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|tmpnam|mktemp"
    offenders = []
    for name in C_FILES:
        names = always if name.startswith("tests/") else f"{always}|atoi|atol|rand|system"
        banned = re.compile(rf"\b({names})\s*\(")
        without_comments = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m[0].count("\n"), text_of(name), flags=re.S)
        without_strings = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', without_comments)
        for number, line in enumerate(without_strings.splitlines(), 1):
            match = banned.search(line)
            if match:
                offenders.append(f"{name}:{number}: {match[1]}")
    refuse(offenders)


def test_files_have_a_readable_size():
    offenders = []
    for name in TRACKED:
        if not name.endswith((".c", ".h", ".py", ".sh", ".mjs", ".js", ".css", ".html")):
            continue
        lines = text_of(name).splitlines()
        if len(lines) > LINES_MAX:
            offenders.append(f"{name}: {len(lines)} lines, at most {LINES_MAX}")
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX:
                offenders.append(f"{name}:{number}: {len(line)} columns, at most {COLUMNS_MAX}")
    refuse(offenders)


def test_sources_say_what_they_are_for():
    offenders = [name for name in C_FILES if not text_of(name).startswith("/*")]
    offenders += [name for name in C_FILES if name.endswith(".h") and "#pragma once" not in text_of(name)]
    refuse(offenders)


def test_no_placeholders():
    offenders = []
    for name, number, line in lines_of(TRACKED):
        if name != "tests/lint/test_lint.py" and PLACEHOLDERS.search(line):
            offenders.append(f"{name}:{number}: {line.strip()}")
    refuse(offenders)


def test_no_machine_of_ours_is_named():
    offenders = []
    for name, number, line in lines_of(TRACKED):
        if name == "tests/lint/test_lint.py":
            continue
        if MACHINE_PATHS.search(line):
            offenders.append(f"{name}:{number}: a path of one machine: {line.strip()}")
        for host in re.findall(r"\w+://(?:[^/@\s]*@)?([A-Za-z][\w.-]*\.[A-Za-z]{2,}|\d+\.\d+\.\d+\.\d+)", line):
            if not ADDRESS_HOSTS.fullmatch(host):
                offenders.append(f"{name}:{number}: an address nobody agreed on: {host}")
    refuse(offenders)


def test_text_files_are_clean():
    offenders = []
    for name, number, line in lines_of(TRACKED):
        if line != line.rstrip() and not name.endswith(".md"):
            offenders.append(f"{name}:{number}: blanks at the end")
        if re.match(r"(<<<<<<<|>>>>>>>) ", line):
            offenders.append(f"{name}:{number}: a merge marker")
    for name in TRACKED:
        text = text_of(name)
        if text and not text.endswith("\n"):
            offenders.append(f"{name}: no newline at the end")
    refuse(offenders)


def test_generated_documents_are_up_to_date():
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts/generate-docs.py"), "--check"], capture_output=True, text=True
    )
    if result.returncode:
        pytest.fail(result.stderr.strip(), pytrace=False)


def test_every_setting_in_the_documents_exists():
    """The prose names settings too; a renamed one must not live on there."""
    known = set()
    for table in ("dataplane/config.def", "controlplane/config.def"):
        known.update(re.findall(r"^SETTING_\w+\((\w+),", text_of(table), flags=re.M))
        known.update("ZDM_" + name for name in re.findall(r"\b(?:ZDM|ACCEPTED)\((\w+)", text_of(table)))
    known.add("ZDM_METRICS_ENABLE")  # named as one that does not exist
    prefixes = ("ZDM_", "METRICS_", "PROXY_", "ORIGIN_", "TARGET_", "HEARTBEAT_", "FORWARD_", "READINESS_", "REQUEST_TIMEOUT", "CONTROL_")
    offenders = []
    for name, number, line in lines_of(n for n in TRACKED if n.endswith(".md")):
        for word in re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", line):
            if word.startswith(prefixes) and word not in known:
                offenders.append(f"{name}:{number}: no setting {word}")
    refuse(offenders)
