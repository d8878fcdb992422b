"""What a person does in cqlsh, typed by a program; see ../README.md for the environment it reads and the lines it prints.

One cqlsh is fed everything; between the parts it prints a row that names the next, so that the output can be cut into them. COPY is
its bulk work: FROM writes through prepared statements, TO reads in several processes.
"""

import csv
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ENV = os.environ
KEYSPACE = ENV["CQL_KEYSPACE"]
ROWS = [[str(key), f"value {key}"] for key in range(1000, 1500)]
REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
LARGE = "0123456789" * 20_000

# Name, what is typed, and expressions that must be found in what is printed, in this order.
PARTS = (
    ("simple", "INSERT INTO t (k, v) VALUES (2, 'zwei ö'); SELECT k, v FROM t WHERE k = 2; SELECT nothing FROM t;",
     (r"2 \| zwei ö", r"\(1 rows\)", r"InvalidRequest.*(?i:undefined column)")),
    ("prepared", "COPY t (k, v) FROM '{directory}/in.csv' WITH NUMPROCESSES = 1;", (r"500 rows imported from 1 files",)),
    ("batch", "BEGIN BATCH INSERT INTO t (k, v) VALUES (30, 'logged'); INSERT INTO t (k, v) VALUES (31, 'too'); APPLY BATCH;\n"
     "BEGIN UNLOGGED BATCH INSERT INTO t (k, v) VALUES (40, 'unlogged'); DELETE FROM t WHERE k = 31; APPLY BATCH;\n"
     "SELECT k, v FROM t WHERE k IN (30, 31, 40);", (r"30 \| +logged\n", r"40 \| +unlogged\n", r"\(2 rows\)")),
    ("paging", "PAGING 100; SELECT k FROM t WHERE k > 999 ALLOW FILTERING; PAGING OFF;", (r"Page size: 100", r"\(500 rows\)")),
    ("lwt", "INSERT INTO t (k, v) VALUES (50, 'first') IF NOT EXISTS; INSERT INTO t (k, v) VALUES (50, 'second') IF NOT EXISTS;",
     (r"\[applied\]\n-+\n +True", r"False \| 50 \|.*first")),
    ("use", "USE system; SELECT key FROM local; USE {keyspace}; SELECT v FROM t WHERE k = 30;", (r" local\n", r" logged\n")),
    ("events", "CREATE TABLE announced (k int PRIMARY KEY, v text); DESCRIBE TABLE announced;",
     (r"CREATE TABLE {keyspace}\.announced \(\s+k int PRIMARY KEY,\s+v text",)),
    ("load", "COPY t (k, v) TO '{directory}/out.csv' WITH NUMPROCESSES = 2;", (r"\d+ rows exported to 1 files",)),
    ("large", "UPDATE t SET v = '" + LARGE + "' WHERE k = 60; SELECT v FROM t WHERE k = 60;", (f" {LARGE}\n",)),
    ("nulls", "INSERT INTO t (k, v) VALUES (70, null); SELECT k, v FROM t WHERE k = 70;", (r"70 \| null\n",)),
    ("collections", "UPDATE t SET l = [1, 2, 3], s = {{'b', 'a'}}, m = {{'x': 1}} WHERE k = 80; SELECT l, s, m FROM t WHERE k = 80;",
     (r"\[1, 2, 3\] \| \{{'a', 'b'\}} \| \{{'x': 1\}}",)),
)


def command(directory):
    """cqlsh with what the environment asks for, in a configuration file of its own."""
    program = pathlib.Path(sys.executable).parent / "cqlsh"
    words = [str(program), "--no-color", "--disable-history", "--cqlshrc", f"{directory}/cqlshrc", "--request-timeout", "20"]
    lines = []
    if ENV.get("CQL_PROTOCOL"):
        words += ["--protocol-version", ENV["CQL_PROTOCOL"]]
    if ENV.get("CQL_USERNAME"):
        words += ["-u", ENV["CQL_USERNAME"], "-p", ENV["CQL_PASSWORD"]]
    if ENV.get("CQL_CA"):
        words.append("--ssl")
        lines += ["[ssl]", f"certfile = {ENV['CQL_CA']}", "validate = true"]
        if ENV.get("CQL_CERT"):
            lines += [f"usercert = {ENV['CQL_CERT']}", f"userkey = {ENV['CQL_KEY']}"]
    (directory / "cqlshrc").write_text("\n".join(lines) + "\n")
    return [*words, ENV["CQL_ADDRESS"], ENV["CQL_PORT"]]


def typed(directory):
    text = [f"CREATE KEYSPACE {KEYSPACE} WITH replication = {REPLICATION};", f"USE {KEYSPACE};",
            "CREATE TABLE t (k int PRIMARY KEY, v text, l list<int>, s set<text>, m map<text, int>);",
            "CREATE TABLE parts (name text PRIMARY KEY);"]
    for name, statements, _ in PARTS:
        text.append(f"INSERT INTO parts (name) VALUES ('part {name}');")
        text.append(f"SELECT name FROM parts WHERE name = 'part {name}';")
        text.append(statements.format(directory=directory, keyspace=KEYSPACE))
    return "SHOW VERSION\n" + "\n".join(text) + "\n"


def missing(expressions, output):
    """The first expression that is not found after those before it; None when all are there."""
    position = 0
    for expression in expressions:
        match = re.compile(expression.format(keyspace=KEYSPACE)).search(output, position)
        if match is None:
            return expression
        position = match.end()
    return None


def verdict(name, expressions, output, directory):
    """None, or what is wrong."""
    absent = missing(expressions, output)
    if absent is not None:
        return f"no {absent[:80]!r} in {' '.join(output.split())[:300]!r}"
    if name == "load":
        with open(directory / "out.csv", newline="", encoding="utf-8") as file:
            copied = [row for row in csv.reader(file) if int(row[0]) >= 1000]
        if sorted(copied) != ROWS:
            return f"{len(copied)} rows came back, not the {len(ROWS)} that were written"
    return None


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cloudgate-cqlsh-"))
    try:
        with open(directory / "in.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(ROWS)
        # Errors and answers in one stream, in the order in which they came.
        result = subprocess.run(command(directory), input=typed(directory), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, env={**ENV, "PYTHONUNBUFFERED": "1"}, timeout=100, check=False)
        version = re.search(r"Native protocol v(\d)", result.stdout)
        if version is None:
            print("FAILED", " ".join(result.stdout.split())[-400:])
            return 1
        print("protocol", version.group(1))
        failed = 0
        for name, _, expressions in PARTS:
            start = re.search(rf"^ part {name}\n", result.stdout, re.MULTILINE)
            output = re.split(r"^ part \w+\n", result.stdout[start.end():], maxsplit=1, flags=re.MULTILINE)[0] if start else ""
            wrong = verdict(name, expressions, output, directory) if start else "cqlsh did not get there"
            print(name, f"FAILED {wrong}" if wrong else "ok")
            failed += wrong is not None
        return 1 if failed else 0
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
