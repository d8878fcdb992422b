#!/usr/bin/env python3
"""Writes the generated tables of docs/ from the .def files the programs themselves expand.

    scripts/generate-docs.py           rewrites docs/configuration.md and docs/metrics.md where they differ
    scripts/generate-docs.py --check   changes nothing; exit 1 and the names of the files when they differ

The C preprocessor expands the tables, so a row means here what it means to the compiler. A table stands in its document between
two marker lines; all other text is written by hand.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

SETTING_MACROS = """
#define SETTING_INT(e, f, d, low, high, m) @@ "int" #e #d #low #high m
#define SETTING_BOOL(e, f, d, m) @@ "bool" #e #d "" "" m
#define SETTING_TEXT(e, f, d, m) @@ "text" #e d "" "" m
#define SETTING_TEXT_NONEMPTY(e, f, d, m) @@ "nonempty" #e d "" "" m
#define SETTING_REQUIRED(e, f, m) @@ "required" #e "" "" "" m
#define SETTING_SECRET(e, f, m) @@ "secret" #e "" "" "" m
#define SETTING_LOG_LEVEL(e, f, d, m) @@ "level" #e d "" "" m
"""
METRIC_MACROS = "#define METRIC(symbol, type, name, labels, help) @@ #type name labels help\n"


def rows(macros, path):
    """The rows of a table file, each a list of strings. Every field of a row is exactly one string literal."""
    source = macros + f'#include "{path}"\n'
    expanded = subprocess.run(
        ["cc", "-E", "-P", "-x", "c", "-I", str(ROOT), "-"], input=source, capture_output=True, text=True, check=True
    ).stdout
    literal = re.compile(r'"((?:[^"\\]|\\.)*)"')
    return [
        [re.sub(r"\\(.)", r"\1", field) for field in literal.findall(row)] for row in expanded.split("@@")[1:]
    ]


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def settings_table(path):
    lines = ["| Variable | Default | Allowed | Meaning |", "| --- | --- | --- | --- |"]
    allowed = {
        "bool": "`true` or `false`",
        "text": "a text",
        "nonempty": "a text that is not empty",
        "required": "a text; may be empty",
        "secret": "a text; may be empty; never shown",
        "level": "a level",
    }
    for kind, name, default, low, high, meaning in rows(SETTING_MACROS, path):
        what = f"{low} to {high}" if kind == "int" else allowed[kind]
        fallback = "*required*" if kind in ("required", "secret") else f"`{default}`" if default else "empty"
        lines.append(f"| `{name}` | {fallback} | {what} | {cell(meaning)} |")
    return "\n".join(lines)


def metrics_table(path):
    families = {}
    for kind, name, labels, help_text in rows_of_metrics(path):
        family = families.setdefault(name, (kind.lower(), help_text, []))
        if labels:
            family[2].append(labels)
    lines = ["| Name | Type | Labels | Meaning |", "| --- | --- | --- | --- |"]
    for name, (kind, help_text, labels) in families.items():
        values = {}
        for key, value in re.findall(r'(\w+)="([^"]*)"', ",".join(labels)):
            values.setdefault(key, {})[value] = None
        shown = "; ".join(f"`{key}`: {', '.join(of_key)}" for key, of_key in values.items())
        lines.append(f"| `zdm_{name}` | {kind} | {cell(shown)} | {cell(help_text)} |")
    return "\n".join(lines)


def rows_of_metrics(path):
    """Labels may be written as several literals in a row (a quoted value from another table): join what stands between."""
    for fields in rows(METRIC_MACROS, path):
        yield fields[0], fields[1], "".join(fields[2:-1]), fields[-1]


def fill(document, marker, table):
    begin, end = f"<!-- begin {marker} -->", f"<!-- end {marker} -->"
    if begin not in document or end not in document:
        raise SystemExit(f"no markers for {marker}")
    head, rest = document.split(begin, 1)
    tail = rest.split(end, 1)[1]
    return f"{head}{begin}\n{table}\n{end}{tail}"


def main():
    check = "--check" in sys.argv[1:]
    tables = {
        "docs/configuration.md": [
            ("cloudgate-proxy", lambda: settings_table("dataplane/config.def")),
            ("cloudgate-control", lambda: settings_table("controlplane/config.def")),
        ],
        "docs/metrics.md": [("metrics", lambda: metrics_table("dataplane/metrics.def"))],
    }
    stale = []
    for name, parts in tables.items():
        path = ROOT / name
        old = new = path.read_text(encoding="utf-8")
        for marker, table in parts:
            new = fill(new, marker, table())
        if new == old:
            continue
        stale.append(name)
        if not check:
            path.write_text(new, encoding="utf-8")
    if check and stale:
        raise SystemExit("out of date, run scripts/generate-docs.py: " + " ".join(stale))
    print("written: " + " ".join(stale) if stale else "up to date")


if __name__ == "__main__":
    main()
