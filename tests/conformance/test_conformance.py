"""Every case of the table, asked of every server in every version it holds for."""

from conversation import Talk, hold

import table


def test_the_table_is_large_enough():
    assert sum(len(case.versions) for case in table.CASES) >= 250


def test_case(server, version, case):
    with Talk(server, version, table.KEYSPACE) as talk:
        hold(talk, case)
