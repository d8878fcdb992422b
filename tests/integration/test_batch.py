"""Batches go to both clusters whole, whatever mix of text and prepared children they hold."""

import pytest

from support import wire


@pytest.fixture
def prepared(world, keyspace):
    with world.proxy.connect() as client:
        return client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")


def everywhere(world, keyspace):
    contents = [sorted(cluster.rows(f"SELECT k, v FROM {keyspace}.kv")) for cluster in (world.origin, world.target)]
    assert contents[0] == contents[1]
    return {int.from_bytes(k, "big"): v.decode() for k, v in contents[0]}


@pytest.mark.parametrize("kind", [0, 1])
def test_text_and_prepared_children(world, keyspace, prepared, kind):
    with world.proxy.connect() as client:
        result = client.batch(
            [
                (f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'text')", ()),
                (prepared, [wire.int_value(2), b"prepared"]),
                (f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)", [wire.int_value(3), b"bound"]),
                (prepared, [wire.int_value(4), b"again"]),
            ],
            kind,
        )
        assert result.kind == "VOID"
    assert everywhere(world, keyspace) == {1: "text", 2: "prepared", 3: "bound", 4: "again"}


def test_a_batch_as_text(world, keyspace):
    with world.proxy.connect() as client:
        client.query(
            f"BEGIN BATCH INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'a'); "
            f"UPDATE {keyspace}.kv SET v = 'b' WHERE k = 2 APPLY BATCH"
        )
    assert everywhere(world, keyspace) == {1: "a", 2: "b"}


def test_an_empty_batch_is_answered(world):
    with world.proxy.connect() as client:
        assert client.ask("BATCH", wire.batch_body([])).name in ("RESULT", "ERROR")


def test_one_unknown_child_rejects_all_and_changes_nothing(world, keyspace, prepared):
    unknown = b"\x55" * 16
    with world.proxy.connect() as client:
        children = [(prepared, [wire.int_value(1), b"x"]), (unknown, [])]
        code, _, details = client.error("BATCH", wire.batch_body(children))
        assert code == wire.UNPREPARED and details == wire.short_bytes(unknown)
    assert everywhere(world, keyspace) == {}


def test_a_large_batch(world, keyspace, prepared):
    with world.proxy.connect() as client:
        client.batch([(prepared, [wire.int_value(k), b"v" * 1000]) for k in range(500)])
    assert len(everywhere(world, keyspace)) == 500


def test_unqualified_names_in_a_batch_after_use(world, keyspace):
    with world.proxy.connect() as client:
        client.query(f"USE {keyspace}")
        client.batch([("INSERT INTO kv (k, v) VALUES (1, 'a')", ()), ("INSERT INTO kv (k, v) VALUES (2, 'b')", ())])
    assert everywhere(world, keyspace) == {1: "a", 2: "b"}


def test_a_truncated_batch_is_refused_and_the_connection_lives(world, keyspace, prepared):
    whole = wire.batch_body([(prepared, [wire.int_value(1), b"x"]), (f"INSERT INTO {keyspace}.kv (k, v) VALUES (2, 'y')", ())])
    with world.proxy.connect() as client:
        for length in range(len(whole)):
            frame = client.ask("BATCH", whole[:length])
            assert frame.name == "ERROR", f"a batch cut to {length} bytes was taken"
        client.query("SELECT * FROM system.local")
    assert everywhere(world, keyspace) == {}


def test_the_python_driver_with_a_batch(world, keyspace):
    from cassandra.query import BatchStatement

    with world.proxy.driver() as session:
        write = session.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        batch = BatchStatement()
        for k in range(10):
            batch.add(write, (k, "prepared"))
        batch.add(f"INSERT INTO {keyspace}.kv (k, v) VALUES (100, 'text')")
        session.execute(batch)
    assert len(everywhere(world, keyspace)) == 11
