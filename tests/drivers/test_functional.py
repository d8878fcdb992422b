"""The tour of functional.py, run directly on the origin and through the proxy: each answer must be the same to the byte, but for the
name of the keyspace and where the table says that time goes by."""

import itertools

import pytest

from functional import parsed
from matrix import PAIRS
from support import wire

SECONDS = 30
REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
CASES = [((pair, False), version, style) for pair, highest in PAIRS.items() for version in range(4, highest + 1)
         for style in ("query", "prepared")]
_numbers = itertools.count(100)


def ask(connection, statement, is_prepared, **options):
    """A wire.Result, or the wire.ServerError that came instead."""
    try:
        if is_prepared:
            return connection.execute(connection.prepare(statement), timeout=SECONDS, **options)
        return connection.query(statement, timeout=SECONDS, **options)
    except wire.ServerError as error:
        return error


def paged(connection, statement, is_prepared, size):
    """Every row, and the pages they came in."""
    rows, sizes, state, answer = [], [], None, None
    while answer is None or state is not None:
        answer = ask(connection, statement, is_prepared, page_size=size, paging_state=state)
        if isinstance(answer, wire.ServerError):
            return answer, sizes
        rows += answer.rows
        sizes.append(len(answer.rows))
        state = answer.paging_state
    return answer._replace(rows=rows), sizes


def kept(answer, sizes, moves, ks):
    """What of an answer must be the same wherever it was asked for."""
    if isinstance(answer, wire.ServerError):
        return "error", answer.code, answer.message.replace(ks, "KS"), answer.details.replace(ks.encode(), b"KS")
    if sizes is None and not moves:
        return "result", answer.frame.body.replace(ks.encode(), b"KS"), answer.frame.warnings
    rows = [[None if value is None else len(value) for value in row] for row in answer.rows] if moves else answer.rows
    return answer.kind, answer.columns, answer.types, rows, sizes


def is_expected(expectation, answer):
    if isinstance(answer, wire.ServerError):
        return expectation == f"0x{answer.code:04X}"
    if answer.kind == "ROWS":
        return expectation.rstrip("~").split(" per ")[0] == str(len(answer.rows))
    return expectation == {"SCHEMA_CHANGE": "schema", "VOID": "void", "SET_KEYSPACE": "use"}.get(answer.kind)


def tour(connection, ks, origin, style):
    """A (statement, what came) of each step; what came is also held against the table's expectation."""
    connection.query(f"CREATE KEYSPACE {ks} WITH replication = {REPLICATION}", timeout=SECONDS)
    found = []
    for expectation, statement, is_common in parsed(ks, origin):
        is_prepared = style == "prepared" and is_common and expectation not in ("schema", "use", "0x2400")
        sizes = None
        if " per " in expectation:
            answer, sizes = paged(connection, statement, is_prepared, int(expectation.split(" per ")[1]))
        else:
            answer = ask(connection, statement, is_prepared)
        came = answer if isinstance(answer, wire.ServerError) else f"{answer.kind} {len(answer.rows or [])}"
        assert is_expected(expectation, answer), f"{statement}: expected {expectation}, came {came}"
        found.append((statement.replace(ks, "KS"), kept(answer, sizes, "~" in expectation, ks)))
    return found


@pytest.mark.parametrize(("setting", "version", "style"), CASES,
                         ids=[f"{'-'.join(setting[0])} v{version} {style}" for setting, version, style in CASES])
def test_answers_through_the_proxy_are_those_of_the_cluster(world, setting, version, style):
    origin = setting[0][0]
    with wire.Connection(world.origin.address, world.origin.port, version=version) as connection:
        directly = tour(connection.startup(), f"tour_{next(_numbers)}", origin, style)
    with wire.Connection(world.plain.address, world.plain.port, version=version) as connection:
        proxied = tour(connection.startup(), f"tour_{next(_numbers)}", origin, style)
    assert len(directly) > 100
    different = [f"{statement}\n  directly  {one}\n  proxied   {other}" for (statement, one), (_, other) in zip(directly, proxied, strict=True)
                 if one != other]
    assert not different, "\n".join(different)
