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
#define SETTING_INT(e, f, d, low, high, ...) @@ "int" #e #d #low #high __VA_ARGS__
#define SETTING_DOUBLE(e, f, d, low, high, ...) @@ "double" #e #d #low #high __VA_ARGS__
#define SETTING_BOOL(e, f, d, ...) @@ "bool" #e #d "" "" __VA_ARGS__
#define SETTING_TEXT(e, f, d, ...) @@ "text" #e d "" "" __VA_ARGS__
#define SETTING_TEXT_NONEMPTY(e, f, d, ...) @@ "nonempty" #e d "" "" __VA_ARGS__
#define SETTING_REQUIRED(e, f, ...) @@ "required" #e "" "" "" __VA_ARGS__
#define SETTING_SECRET(e, f, ...) @@ "secret" #e "" "" "" __VA_ARGS__
#define SETTING_SECRET_OPTIONAL(e, f, ...) @@ "secret" #e "" "" "" __VA_ARGS__
#define SETTING_LOG_LEVEL(e, f, d, ...) @@ "level" #e d "" "" __VA_ARGS__
#define SETTING_CHOICE(e, f, d, ...) @@ "choice" #e d "" "" __VA_ARGS__
#define SETTING_NUMBERS(e, f, d, ...) @@ "numbers" #e d "" "" __VA_ARGS__
#define ACCEPTED(suffix, d, why) @@ "accepted" #suffix #d "" "" why
#define ZDM(suffix) "@zdm" #suffix
#define ZDM_DEFAULT(text) "@default" text
#define ZDM_EMPTY(text) "@empty" text
#define ZDM_WORDS(a, ours, b, other) "@words" a ours b other
#define CHOICES(...) "@choices" __VA_ARGS__
#define NOTE(text) "@note" text
"""
METRIC_MACROS = """
#define METRIC(symbol, type, name, labels, help) @@ #type name labels help
#define HISTOGRAM(symbol, name, help) @@ "histogram" name "" help
"""


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


ALLOWED = {
    "bool": "`true` or `false`",
    "text": "a text",
    "nonempty": "a text that is not empty",
    "required": "a text; may be empty",
    "secret": "a text; may be empty; never shown",
    "level": "a level",
    "numbers": "rising numbers above 0, separated by commas",
}


def settings(path):
    """(kind, name, default, low, high, meaning, attributes by name) of each row."""
    for kind, name, default, low, high, meaning, *rest in rows(SETTING_MACROS, path):
        attributes, values = {}, []
        for field in rest:
            if field.startswith("@"):
                values = attributes.setdefault(field[1:], [])
            else:
                values.append(field)
        yield kind, name, default, low, high, meaning, attributes


def settings_table(path):
    with_zdm = any(attributes.get("zdm") for *_, attributes in settings(path))
    second = " The `ZDM_` name, the key in a file |" if with_zdm else ""
    lines = [f"| Variable |{second} Default | Allowed | Meaning |", "| --- |" + (" --- |" if with_zdm else "") + " --- | --- | --- |"]
    for kind, name, default, low, high, meaning, attributes in settings(path):
        if kind == "accepted":
            continue
        what = f"{low} to {high}" if kind in ("int", "double") else ALLOWED.get(kind)
        if kind == "choice":
            what = ", ".join(f"`{choice}`" for choice in attributes["choices"])
        fallback = "*required*" if kind in ("required", "secret") else f"`{default}`" if default else "empty"
        if kind == "numbers":
            fallback = fallback.replace(",", ", ")
        note = attributes.get("note")
        if note:
            meaning += f" ({note[0]})"
        zdm = attributes.get("zdm", [""])[0]
        cells = ["`ZDM_" + zdm + "`, `" + zdm.lower() + "`" if zdm else ""] if with_zdm else []
        cells = [f"`{name}`", *cells, fallback, what, cell(meaning)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def accepted_table(path):
    lines = ["| Variable, key | Default there | Why it has no effect here |", "| --- | --- | --- |"]
    for kind, name, default, _, _, why, _ in settings(path):
        if kind == "accepted":
            lines.append(f"| `ZDM_{name}`, `{name.lower()}` | `{default}` | {cell(why)} |")
    return "\n".join(lines)


def metrics_table(path, prefix):
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
        lines.append(f"| `{prefix}{name}` | {kind} | {cell(shown)} | {cell(help_text)} |")
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
            ("accepted", lambda: accepted_table("dataplane/config.def")),
            ("cloudgate-control", lambda: settings_table("controlplane/config.def")),
        ],
        "docs/metrics.md": [
            ("metrics", lambda: metrics_table("dataplane/metrics.def", "zdm_")),
            ("control metrics", lambda: metrics_table("controlplane/metrics.def", "cloudgate_control_")),
        ],
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
