/* The virtual tables: every form of statement, decoded again and compared; and the formulas, by
 * vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>

#include "dataplane/config.h"
#include "dataplane/topology_build.h"
#include "dataplane/virtual.h"
#include "proto/cql_response.h"

#define MURMUR3 "org.apache.cassandra.dht.Murmur3Partitioner"

/* The cluster behind: two hosts, read as a 3.11 or a 4.x node would answer. */

struct cell_text { /* a column of the fake cluster with its values */
    const char *name;
    uint16_t type;
    const char
        *values[2]; /* text; a dotted quad for inet, digits for int, one character for uuid */
};

static const struct cell_text local_311[] = {
    {"key", 13, {"local"}},
    {"bootstrapped", 13, {"COMPLETED"}},
    {"broadcast_address", 16, {"10.0.0.1"}},
    {"cluster_name", 13, {"Test Cluster"}},
    {"cql_version", 13, {"3.4.4"}},
    {"data_center", 13, {"dc1"}},
    {"gossip_generation", 9, {"1700"}},
    {"host_id", 12, {"a"}},
    {"listen_address", 16, {"10.0.0.1"}},
    {"native_protocol_version", 13, {"4"}},
    {"partitioner", 13, {MURMUR3}},
    {"rack", 13, {"r1"}},
    {"release_version", 13, {"3.11.19"}},
    {"rpc_address", 16, {"10.0.0.1"}},
    {"schema_version", 12, {"s"}},
    {"thrift_version", 13, {"20.1.0"}},
};

static const struct cell_text local_4[] = {
    {"key", 13, {"local"}},
    {"broadcast_port", 9, {"7001"}},
    {"data_center", 13, {"dc1"}},
    {"host_id", 12, {"a"}},
    {"listen_port", 9, {"7001"}},
    {"partitioner", 13, {MURMUR3}},
    {"rack", 13, {"r1"}},
    {"release_version", 13, {"4.1.3"}},
    {"rpc_address", 16, {"10.0.0.1"}},
    {"rpc_port", 9, {"9042"}},
    {"schema_version", 12, {"s"}},
};

static const struct cell_text peers_any[] = {
    {"peer", 16, {"10.0.0.2"}},
    {"data_center", 13, {"dc1"}},
    {"host_id", 12, {"b"}},
    {"preferred_ip", 16, {NULL}},
    {"rack", 13, {"r2"}},
    {"release_version", 13, {"3.11.20"}},
    {"rpc_address", 16, {"10.0.0.2"}},
    {"schema_version", 12, {NULL}},
};

static void put_text(struct dynbuf *out, const char *text)
{
    cql_put_string(out, text, strlen(text));
}

static void put_cell(struct dynbuf *out, uint16_t type, const char *text)
{
    uint8_t bytes[16] = {0};
    if (text == NULL) {
        cql_put_i32(out, -1);
    } else if (type == 16) {
        assert_int_equal(inet_pton(AF_INET, text, bytes), 1);
        cql_put_i32(out, 4);
        dynbuf_append(out, bytes, 4);
    } else if (type == 12) {
        memset(bytes, text[0], sizeof bytes);
        cql_put_i32(out, 16);
        dynbuf_append(out, bytes, 16);
    } else if (type == 9) {
        cql_put_i32(out, 4);
        cql_put_i32(out, atoi(text));
    } else {
        cql_put_i32(out, (int32_t)strlen(text));
        dynbuf_append_text(out, text);
    }
}

static void put_rows(struct dynbuf *out, const struct cell_text *columns, size_t count,
                     int32_t rows)
{
    dynbuf_init(out, 65536);
    cql_put_i32(out, CQL_RESULT_ROWS);
    cql_put_i32(out, 1);
    cql_put_i32(out, (int32_t)count);
    put_text(out, "system");
    put_text(out, "x");
    for (size_t i = 0; i < count; i++) {
        put_text(out, columns[i].name);
        cql_put_u16(out, columns[i].type);
    }
    cql_put_i32(out, rows);
    for (int32_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < count; i++)
            put_cell(out, columns[i].type, columns[i].values[row]);
    }
}

static struct topology *make_topology(bool is_four, bool has_peer)
{
    struct dynbuf local, peers, reason;
    char datacenter[256] = "";
    put_rows(&local, is_four ? local_4 : local_311,
             is_four ? ARRAY_COUNT(local_4) : ARRAY_COUNT(local_311), 1);
    put_rows(&peers, peers_any, ARRAY_COUNT(peers_any), has_peer ? 1 : 0);
    dynbuf_init(&reason, 512);
    struct topology_facts facts = {
        .port = 9042,
        .is_assigned = true,
        .proxy_count = 1,
        .local = {local.data, local.length},
        .peers = {peers.data, peers.length},
    };
    struct topology *topology = topology_build(&facts, datacenter, &reason);
    assert_non_null(topology);
    dynbuf_fini(&local);
    dynbuf_fini(&peers);
    dynbuf_fini(&reason);
    return topology;
}

/* Three proxies, this one the second. */
struct world {
    struct topology *topology;
    struct virtual_hosts *hosts;
};

static struct world world;

static struct virtual_hosts *make_hosts(const char *addresses, int index)
{
    struct config config = {0};
    char list[256];
    snprintf(list, sizeof list, "%s", addresses);
    config.proxy_addresses = list;
    config.proxy_index = index;
    config.proxy_num_tokens = 8;
    config.query_port = 14002;
    return virtual_hosts_new(&config);
}

static int set_up(void **state)
{
    (void)state;
    world.topology = make_topology(false, true);
    world.hosts = make_hosts("127.0.0.1,127.0.0.2, 127.0.0.3", 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    topology_put(world.topology);
    virtual_hosts_free(world.hosts);
    return 0;
}

static enum virtual_table table_of(const char *text)
{
    struct cql_scan scan;
    cql_scan(text, strlen(text), &scan);
    enum virtual_table table = virtual_classify(&scan, "system");
    assert_int_not_equal(table, VIRTUAL_NONE);
    return table;
}

struct reply {
    struct dynbuf body;
    struct cql_rows rows;
    uint8_t opcode;
};

static void ask_in(const struct world *where, struct reply *reply, const char *text,
                   const struct virtual_value *values, size_t count)
{
    dynbuf_init(&reply->body, 1u << 20);
    reply->opcode = 0xee;
    /* A heap copy of the exact size: reads past the text are seen. */
    size_t length = strlen(text);
    char *copy = malloc(length + 1);
    assert_non_null(copy);
    char *exact = realloc(copy, length == 0 ? 1 : length);
    assert_non_null(exact);
    memcpy(exact, text, length);
    virtual_query(where->hosts, where->topology, table_of(text), exact, length, values, count, 4,
                  &reply->body, &reply->opcode);
    free(exact);
    reply->rows = (struct cql_rows){0};
    if (reply->opcode == CQL_OPCODE_RESULT)
        assert_true(cql_rows_decode(reply->body.data, reply->body.length, &reply->rows));
    else
        assert_int_equal(reply->opcode, CQL_OPCODE_ERROR);
}

static void ask_values(struct reply *reply, const char *text, const struct virtual_value *values,
                       size_t count)
{
    ask_in(&world, reply, text, values, count);
}

static void ask(struct reply *reply, const char *text)
{
    ask_values(reply, text, NULL, 0);
}

static void forget(struct reply *reply)
{
    cql_rows_fini(&reply->rows);
    dynbuf_fini(&reply->body);
}

static void assert_error(const struct reply *reply, int32_t code, const char *part)
{
    assert_int_equal(reply->opcode, CQL_OPCODE_ERROR);
    struct cql_cursor cursor = cql_cursor_over(reply->body.data, reply->body.length);
    int32_t got = cql_read_i32(&cursor);
    struct cql_span message = cql_read_string(&cursor);
    assert_false(cursor.failed);
    assert_int_equal(cql_cursor_left(&cursor), 0);
    if (got != code || memmem(message.data, message.length, part, strlen(part)) == NULL)
        fail_msg("expected 0x%04x %s, got 0x%04x %.*s", (unsigned)code, part, (unsigned)got,
                 (int)message.length, (const char *)message.data);
}

/* The result as text: column names, then rows, cells by their type; -: null. */
static void render(const struct reply *reply, struct dynbuf *out)
{
    const struct cql_rows *rows = &reply->rows;
    char text[INET6_ADDRSTRLEN];
    dynbuf_init(out, 65536);
    if (reply->opcode != CQL_OPCODE_RESULT) {
        dynbuf_append_text(out, "error");
        return;
    }
    for (int column = 0; column < rows->column_count; column++) {
        struct cql_span name = rows->columns[column].name;
        dynbuf_printf(out, "%s%.*s", column == 0 ? "" : ",", (int)name.length,
                      (const char *)name.data);
    }
    for (int row = 0; row < rows->row_count; row++) {
        for (int column = 0; column < rows->column_count; column++) {
            struct cql_span cell = cql_rows_cell(rows, row, column);
            dynbuf_append_text(out, column == 0 ? "|" : ",");
            if (cell.data == NULL) {
                dynbuf_append_text(out, "-");
                continue;
            }
            switch (cql_load_u16(rows->columns[column].type.data)) {
            case 2:
                assert_int_equal(cell.length, 8);
                dynbuf_printf(out, "%u", cql_load_u32(cell.data + 4));
                break;
            case 9:
                assert_int_equal(cell.length, 4);
                dynbuf_printf(out, "%d", (int)cql_load_u32(cell.data));
                break;
            case 12:
                assert_int_equal(cell.length, 16);
                dynbuf_printf(out, "%02x%02x", cell.data[0], cell.data[1]);
                break;
            case 13:
                dynbuf_append(out, cell.data, cell.length);
                break;
            case 16:
                inet_ntop(cell.length == 4 ? AF_INET : AF_INET6, cell.data, text, sizeof text);
                dynbuf_append_text(out, text);
                break;
            default:
                dynbuf_printf(out, "<%zu>", cell.length);
            }
        }
    }
}

static void assert_reply(const struct reply *reply, const char *text, const char *expected)
{
    struct dynbuf shown;
    render(reply, &shown);
    if (strcmp(dynbuf_text(&shown), expected) != 0)
        fail_msg("%s:\n  got      %s\n  expected %s", text, dynbuf_text(&shown), expected);
    dynbuf_fini(&shown);
}

static void test_formulas(void **state)
{
    (void)state;
    static const struct {
        const char *address, *id;
    } ids[] = {
        {"127.0.0.1", "70ce2f37-9d6d-5010-98d8-80fe51a498ed"},
        {"127.0.0.2", "3d89fc3f-6076-51b1-9580-24975aa4ba0a"},
        {"127.0.0.3", "1f7b13e3-4795-5e09-983f-378814fb0f2d"},
        {"::ffff:127.0.0.3", "1f7b13e3-4795-5e09-983f-378814fb0f2d"},
    };
    char text[37];
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        assert_true(virtual_host_id(ids[i].address, text));
        assert_string_equal(text, ids[i].id);
    }
    assert_true(virtual_host_id("::1", text));
    assert_false(virtual_host_id("localhost", text));
    assert_false(virtual_host_id("", text));

    assert_true(virtual_token(8, 1, 0, 0) == INT64_MIN);
    assert_true(virtual_token(8, 1, 0, 1) == -6917529027641081856);
    assert_true(virtual_token(8, 1, 0, 2) == -4611686018427387904);
    assert_true(virtual_token(8, 1, 0, 7) == 6917529027641081856);
    assert_true(virtual_token(8, 3, 0, 1) == -6917529027641081858);
    assert_true(virtual_token(8, 3, 0, 2) == -4611686018427387908);
    assert_true(virtual_token(8, 3, 1, 0) == -8454757700450211158);
    assert_true(virtual_token(8, 3, 2, 7) == 8454757700450211142);
    assert_true(virtual_token(1, 1, 0, 0) == INT64_MIN);
}

static void test_classify(void **state)
{
    (void)state;
    static const struct {
        const char *text, *keyspace;
        enum virtual_table table;
    } vectors[] = {
        {"SELECT * FROM system.local", "", VIRTUAL_LOCAL},
        {"SELECT * FROM System.LOCAL", "ks", VIRTUAL_LOCAL},
        {"SELECT * FROM \"system\".\"peers\"", "", VIRTUAL_PEERS},
        {"SELECT * FROM system.peers_v2", "", VIRTUAL_PEERS_V2},
        {"SELECT * FROM local", "system", VIRTUAL_LOCAL},
        {"SELECT * FROM local", "", VIRTUAL_NONE},
        {"SELECT * FROM local", "System", VIRTUAL_NONE},
        {"SELECT * FROM ks.local", "system", VIRTUAL_NONE},
        {"SELECT * FROM \"System\".local", "system", VIRTUAL_NONE},
        {"SELECT * FROM system.\"Local\"", "", VIRTUAL_NONE},
        {"SELECT * FROM system.peers_v3", "", VIRTUAL_NONE},
        {"SELECT * FROM system_schema.local", "", VIRTUAL_NONE},
        {"SELECT * FROM system.", "", VIRTUAL_NONE},
        {"DELETE FROM system.local", "", VIRTUAL_NONE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct cql_scan scan;
        cql_scan(vectors[i].text, strlen(vectors[i].text), &scan);
        assert_int_equal(virtual_classify(&scan, vectors[i].keyspace), vectors[i].table);
    }
    static const char nul[] = "SELECT * FROM system.\"local\0\"";
    struct cql_scan scan;
    cql_scan(nul, sizeof nul - 1, &scan);
    assert_int_equal(virtual_classify(&scan, ""), VIRTUAL_NONE);
}

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } vectors[] = {
        {"SELECT * FROM system.local",
         "key,bootstrapped,broadcast_address,cluster_name,cql_version,data_center,gossip_"
         "generation,"
         "host_id,listen_address,native_protocol_version,partitioner,rack,release_version,"
         "rpc_address,schema_version,thrift_version,tokens,truncated_at"
         "|local,COMPLETED,127.0.0.2,Test Cluster,3.4.4,dc1,1700,3d89,127.0.0.2,4," MURMUR3
         ",rack0,3.11.20,127.0.0.2,-,20.1.0,<191>,-"},
        {"SELECT * FROM system.peers",
         "peer,data_center,host_id,preferred_ip,rack,release_version,rpc_address,schema_version,"
         "tokens|127.0.0.1,dc1,70ce,127.0.0.1,rack0,3.11.19,127.0.0.1,7373,<175>"
         "|127.0.0.3,dc1,1f7b,127.0.0.3,rack0,3.11.19,127.0.0.3,7373,<191>"},
        {"SELECT * FROM system.peers_v2",
         "peer,peer_port,data_center,host_id,native_address,native_port,preferred_ip,"
         "preferred_port,rack,release_version,schema_version,tokens"
         "|127.0.0.1,7000,dc1,70ce,127.0.0.1,14002,127.0.0.1,7000,rack0,3.11.19,7373,<175>"
         "|127.0.0.3,7000,dc1,1f7b,127.0.0.3,14002,127.0.0.3,7000,rack0,3.11.19,7373,<191>"},
        {"select rack from local;", "rack|rack0"},
        {"SELECT Rack, \"rack\", rack AS \"Two\"\"Q\", rack as three FROM system.local",
         "rack,rack,Two\"Q,three|rack0,rack0,rack0,rack0"},
        {"SELECT DISTINCT peer FROM system.peers", "peer|127.0.0.1|127.0.0.3"},
        {"SELECT count(*) FROM system.local", "count|1"},
        {"SELECT COUNT(1) FROM system.peers", "count|2"},
        {"SELECT Count ( * ) AS n, count(*) FROM system.peers_v2", "n,count|2,2"},
        {"SELECT count(*), peer, rack FROM system.peers", "count,peer,rack|2,127.0.0.1,rack0"},
        {"SELECT peer, count(*), rack FROM system.peers WHERE peer='9.9.9.9'",
         "peer,count,rack|-,0,-"},
        {"SELECT key, *, key FROM system.local WHERE key='nolocal'",
         "key,key,bootstrapped,broadcast_address,cluster_name,cql_version,data_center,"
         "gossip_generation,host_id,listen_address,native_protocol_version,partitioner,rack,"
         "release_version,rpc_address,schema_version,thrift_version,tokens,truncated_at,key"},
        {"SELECT key FROM system.local WHERE key='local'", "key|local"},
        {"SELECT key FROM system.local WHERE key=$$local$$", "key|local"},
        {"SELECT key FROM system.local WHERE key='LOCAL'", "key"},
        {"SELECT key FROM system.local WHERE key='it''s'", "key"},
        {"SELECT key FROM system.local WHERE key IN ('x','local')", "key|local"},
        {"SELECT key FROM system.local WHERE key IN ()", "key"},
        {"SELECT peer FROM system.peers WHERE peer='127.0.0.3'", "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer = '::ffff:127.0.0.3'", "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer = '127.0.0.2'", "peer"},
        {"SELECT peer FROM system.peers WHERE peer IN ('127.0.0.1', '127.0.0.3') LIMIT 1",
         "peer|127.0.0.1"},
        {"SELECT peer FROM system.peers WHERE host_id = 1f7b13e3-4795-5E09-983f-378814fb0f2d",
         "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE rack='rack0' AND data_center='dc1' AND "
         "peer='127.0.0.1' ALLOW FILTERING",
         "peer|127.0.0.1"},
        {"SELECT peer FROM system.peers WHERE schema_version=550e8400-e29b-41d4-a716-446655440000",
         "peer"},
        {"SELECT key FROM system.local WHERE gossip_generation > 1699 AND gossip_generation <= "
         "1700",
         "key|local"},
        {"SELECT key FROM system.local WHERE gossip_generation < 1700", "key"},
        {"SELECT key FROM system.local WHERE gossip_generation >= -2147483648", "key|local"},
        {"SELECT peer FROM system.peers_v2 WHERE peer='127.0.0.1' AND peer_port=7000",
         "peer|127.0.0.1"},
        {"SELECT peer FROM system.peers_v2 WHERE native_port IN (1, 14002)",
         "peer|127.0.0.1|127.0.0.3"},
        {"SELECT peer FROM system.peers ORDER BY peer DESC, rack LIMIT 5",
         "peer|127.0.0.1|127.0.0.3"},
        {"SELECT peer FROM system.peers PER PARTITION LIMIT 1", "peer|127.0.0.1|127.0.0.3"},
        {"SELECT peer FROM system.peers PER PARTITION LIMIT 1 LIMIT 1 ALLOW FILTERING",
         "peer|127.0.0.1"},
        {"SELECT count(*) FROM system.peers LIMIT 1", "count|2"},
        {"SELECT rack FROM system.local USING TIMEOUT 30s", "rack|rack0"},
        {"SELECT rack FROM system.local BYPASS CACHE USING TIMEOUT 1h30m;", "rack|rack0"},
        {"/* a */ SELECT rack -- b\n FROM system.local // c\n WHERE key='local' -- end",
         "rack|rack0"},
        {"SELECT rack FROM system.local;;", "rack|rack0"},
        {"SELECT rack FROM system . local ;", "rack|rack0"},
        {"SELECT rack AS \"count\", count(*) AS \"rack\" FROM system.local", "count,rack|rack0,1"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct reply reply;
        ask(&reply, vectors[i].text);
        assert_reply(&reply, vectors[i].text, vectors[i].expected);
        forget(&reply);
    }
}

static void test_metadata(void **state)
{
    (void)state;
    struct reply reply;
    ask(&reply, "SELECT host_id, tokens, truncated_at, rpc_address, count(*) FROM system.local");
    static const struct {
        uint8_t bytes[6];
        size_t length;
    } types[] = {
        {{0, 12}, 2}, {{0, 34, 0, 13}, 4}, {{0, 33, 0, 12, 0, 3}, 6}, {{0, 16}, 2}, {{0, 2}, 2}};
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        const struct cql_column *column = &reply.rows.columns[i];
        assert_true(cql_span_equals(column->keyspace, "system"));
        assert_true(cql_span_equals(column->table, "local"));
        assert_int_equal(column->type.length, types[i].length);
        assert_memory_equal(column->type.data, types[i].bytes, types[i].length);
    }
    /* The tokens, one by one: this is proxy 1 of 3. */
    struct cql_span tokens = cql_rows_cell(&reply.rows, 0, 1);
    struct cql_cursor cursor = cql_cursor_over(tokens.data, tokens.length);
    assert_int_equal(cql_read_i32(&cursor), 8);
    for (unsigned t = 0; t < 8; t++) {
        char text[32];
        snprintf(text, sizeof text, "%lld", (long long)virtual_token(8, 3, 1, t));
        assert_true(cql_span_equals(cql_read_bytes(&cursor), text));
    }
    assert_false(cursor.failed);
    assert_int_equal(cql_cursor_left(&cursor), 0);
    forget(&reply);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t code;
        const char *part;
    } vectors[] = {
        {"SELECT foo FROM system.local", CQL_ERROR_INVALID, "Undefined column name foo"},
        {"SELECT foo, bar FROM system.local", CQL_ERROR_INVALID, "Undefined column name foo"},
        {"SELECT rack, \"Rack\" FROM system.local", CQL_ERROR_INVALID,
         "Undefined column name Rack"},
        {"SELECT dse_version FROM system.local", CQL_ERROR_INVALID,
         "Undefined column name dse_version"},
        {"SELECT rpc_port FROM system.local", CQL_ERROR_INVALID, "Undefined column name rpc_port"},
        {"SELECT key FROM system.peers", CQL_ERROR_INVALID, "Undefined column name key"},
        {"SELECT \"\xff\t\" FROM system.local", CQL_ERROR_INVALID, "Undefined column name ??"},
        {"SELECT rack FROM system.local WHERE foo = 1", CQL_ERROR_INVALID,
         "Undefined column name foo"},
        {"SELECT rack FROM system.local ORDER BY foo", CQL_ERROR_INVALID,
         "Undefined column name foo"},
        {"SELECT JSON * FROM system.local", CQL_ERROR_INVALID, "SELECT JSON is not supported"},
        {"SELECT DISTINCT JSON rack FROM system.local", CQL_ERROR_INVALID, "JSON"},
        {"SELECT token(key) FROM system.local", CQL_ERROR_INVALID, "the function token()"},
        {"SELECT now() FROM system.local", CQL_ERROR_INVALID,
         "the function now() is not supported by the proxy on system.local"},
        {"SELECT count(rack) FROM system.local", CQL_ERROR_INVALID, "the function count()"},
        {"SELECT writetime(rack), ttl(rack) FROM system.peers", CQL_ERROR_INVALID, "writetime()"},
        {"SELECT CAST(rack AS text) FROM system.local", CQL_ERROR_INVALID, "casts"},
        {"SELECT (int) rack FROM system.local", CQL_ERROR_INVALID, "casts"},
        {"SELECT tokens[1] FROM system.local", CQL_ERROR_INVALID, "element"},
        {"SELECT a.b FROM system.local", CQL_ERROR_INVALID, "field"},
        {"SELECT rack + 1 FROM system.local", CQL_ERROR_INVALID, "arithmetic"},
        {"SELECT 'x' FROM system.local", CQL_ERROR_INVALID, "literals"},
        {"SELECT -1 FROM system.local", CQL_ERROR_INVALID, "literals"},
        {"SELECT ? FROM system.local", CQL_ERROR_INVALID, "bind markers"},
        {"SELECT rack FROM system.local GROUP BY key", CQL_ERROR_INVALID, "GROUP BY"},
        {"SELECT rack FROM system.local ORDER BY rack ANN OF [1]", CQL_ERROR_INVALID, "ANN OF"},
        {"SELECT rack FROM system.local WHERE token(key) > 1", CQL_ERROR_INVALID, "token()"},
        {"SELECT rack FROM system.local WHERE (key) = ('local')", CQL_ERROR_INVALID, "parentheses"},
        {"SELECT rack FROM system.local WHERE key != 'x'", CQL_ERROR_INVALID, "!="},
        {"SELECT rack FROM system.local WHERE key NOT IN ('x')", CQL_ERROR_INVALID, "NOT"},
        {"SELECT rack FROM system.local WHERE key LIKE 'x'", CQL_ERROR_INVALID, "LIKE"},
        {"SELECT rack FROM system.local WHERE tokens CONTAINS '1'", CQL_ERROR_INVALID, "CONTAINS"},
        {"SELECT rack FROM system.local WHERE tokens = {'1'}", CQL_ERROR_INVALID, "collections"},
        {"SELECT rack FROM system.local WHERE tokens = '1'", CQL_ERROR_INVALID, "tokens"},
        {"SELECT rack FROM system.local WHERE tokens['a'] = 1", CQL_ERROR_INVALID, "elements"},
        {"SELECT rack FROM system.local WHERE key = 'a' OR key = 'b'", CQL_ERROR_INVALID, "OR"},
        {"SELECT rack FROM system.local WHERE key = f('a')", CQL_ERROR_INVALID, "functions"},
        {"SELECT rack FROM system.local WHERE key = null", CQL_ERROR_INVALID, "null"},
        {"SELECT rack FROM system.local WHERE key > 'a'", CQL_ERROR_INVALID, "key of type text"},
        {"SELECT rack FROM system.local WHERE key = 1", CQL_ERROR_INVALID, "key of type text"},
        {"SELECT rack FROM system.local WHERE key = -1", CQL_ERROR_INVALID, "key of type text"},
        {"SELECT rack FROM system.local WHERE host_id = 'x'", CQL_ERROR_INVALID, "type uuid"},
        {"SELECT peer FROM system.peers WHERE peer = 'host'", CQL_ERROR_INVALID, "type inet"},
        {"SELECT peer FROM system.peers WHERE peer = "
         "'1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18'",
         CQL_ERROR_INVALID, "type inet"},
        {"SELECT rack FROM system.local WHERE gossip_generation = 2147483648", CQL_ERROR_INVALID,
         "type int"},
        {"SELECT rack FROM system.local WHERE gossip_generation = -2147483649", CQL_ERROR_INVALID,
         "type int"},
        {"SELECT rack FROM system.local WHERE gossip_generation = 99999999999999999999999999",
         CQL_ERROR_INVALID, "type int"},
        {"SELECT rack FROM system.local WHERE gossip_generation = 0x10", CQL_ERROR_INVALID,
         "type int"},
        {"SELECT rack FROM system.local LIMIT 0", CQL_ERROR_INVALID, "strictly positive"},
        {"SELECT rack FROM system.local LIMIT -1", CQL_ERROR_INVALID, "strictly positive"},
        {"SELECT rack FROM system.local PER PARTITION LIMIT 0", CQL_ERROR_INVALID,
         "strictly positive"},
        {"SELECT rack FROM system.local LIMIT 2147483648", CQL_ERROR_INVALID, "LIMIT"},
        {"SELECT rack FROM system.local WHERE key = ?", CQL_ERROR_INVALID,
         "Invalid amount of bind variables: expected 1 but got 0"},
        {"SELECT rack FROM system.local USING TIMEOUT ?", CQL_ERROR_INVALID, "TIMEOUT"},
        {"SELECT rack FROM system.local LIMIT 'x'", CQL_ERROR_SYNTAX, "LIMIT"},
        {"SELECT rack FROM system.local LIMIT 1 LIMIT 2", CQL_ERROR_SYNTAX, "twice"},
        {"SELECT rack FROM system.local garbage", CQL_ERROR_SYNTAX, "garbage"},
        {"SELECT rack FROM system.local; DROP TABLE x", CQL_ERROR_SYNTAX, "drop"},
        {"SELECT rack FROM system.local WHERE", CQL_ERROR_SYNTAX, "end of statement"},
        {"SELECT rack FROM system.local WHERE key", CQL_ERROR_SYNTAX, "IN"},
        {"SELECT rack FROM system.local WHERE key =", CQL_ERROR_SYNTAX, "a value"},
        {"SELECT rack FROM system.local WHERE key = 'open", CQL_ERROR_SYNTAX, "a value"},
        {"SELECT rack FROM system.local WHERE key IN 'x'", CQL_ERROR_SYNTAX, "'('"},
        {"SELECT rack FROM system.local WHERE key IN ('x'", CQL_ERROR_SYNTAX, "')'"},
        {"SELECT rack FROM system.local ALLOW", CQL_ERROR_SYNTAX, "FILTERING"},
        {"SELECT rack FROM system.local PER PARTITION 1", CQL_ERROR_SYNTAX, "PARTITION LIMIT"},
        {"SELECT rack, FROM system.local", CQL_ERROR_SYNTAX, "FROM"},
        {"SELECT rack AS FROM system.local", CQL_ERROR_SYNTAX, "FROM"},
        {"SELECT * AS x FROM system.local", CQL_ERROR_SYNTAX, "FROM"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct reply reply;
        print_message("%s\n", vectors[i].text);
        ask(&reply, vectors[i].text);
        assert_error(&reply, vectors[i].code, vectors[i].part);
        forget(&reply);
    }
}

static struct virtual_value value_of(const char *name, const void *data, size_t length)
{
    return (struct virtual_value){.name = {(const uint8_t *)name, name == NULL ? 0 : strlen(name)},
                                  .value = {data, length}};
}

static void test_bound_values(void **state)
{
    (void)state;
    static const uint8_t address[] = {127, 0, 0, 3}, one[] = {0, 0, 0, 1}, zero[] = {0, 0, 0, 0};
    static const uint8_t mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1};
    static const uint8_t list[] = {0, 0, 0, 2, 0, 0, 0, 4, 127, 0, 0, 3, 0, 0, 0, 4, 127, 0, 0, 1};
    static const struct {
        const char *text;
        struct {
            const char *name;
            const void *data;
            size_t length;
        } values[3];
        size_t count;
        const char *expected; /* an error: its text after a '!' */
    } vectors[] = {
        {"SELECT peer FROM system.peers WHERE peer = ?", {{NULL, address, 4}}, 1, "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer = ?", {{NULL, mapped, 16}}, 1, "peer|127.0.0.1"},
        {"SELECT peer FROM system.peers WHERE peer = :p",
         {{NULL, address, 4}},
         1,
         "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer = :P", {{"p", address, 4}}, 1, "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer = :\"P\"",
         {{"P", address, 4}},
         1,
         "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer = ?",
         {{"x", zero, 4}, {"peer", address, 4}},
         2,
         "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer IN ?",
         {{NULL, list, 20}},
         1,
         "peer|127.0.0.1|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer IN ?",
         {{"in(peer)", list, 20}},
         1,
         "peer|127.0.0.1|127.0.0.3"},
        {"SELECT peer FROM system.peers WHERE peer IN (?, ?)",
         {{NULL, address, 4}, {NULL, zero, 4}},
         2,
         "peer|127.0.0.3"},
        {"SELECT peer FROM system.peers LIMIT ?", {{NULL, one, 4}}, 1, "peer|127.0.0.1"},
        {"SELECT peer FROM system.peers LIMIT ?", {{"[limit]", one, 4}}, 1, "peer|127.0.0.1"},
        {"SELECT peer FROM system.peers LIMIT ?", {{NULL, NULL, 0}}, 1, "peer|127.0.0.1|127.0.0.3"},
        {"SELECT peer FROM system.peers PER PARTITION LIMIT ? LIMIT ?",
         {{NULL, one, 4}, {NULL, one, 4}},
         2,
         "peer|127.0.0.1"},
        {"SELECT key FROM system.local WHERE key = ?", {{NULL, "local", 5}}, 1, "key|local"},
        {"SELECT key FROM system.local WHERE key = ?", {{NULL, "", 0}}, 1, "key"},
        {"SELECT key FROM system.local WHERE gossip_generation > ?",
         {{NULL, one, 4}},
         1,
         "key|local"},
        {"SELECT peer FROM system.peers LIMIT ?", {{NULL, zero, 4}}, 1, "!strictly positive"},
        {"SELECT peer FROM system.peers LIMIT ?", {{NULL, zero, 3}}, 1, "![limit] of type int"},
        {"SELECT peer FROM system.peers WHERE peer = ?",
         {{NULL, address, 3}},
         1,
         "!Invalid value for column peer of type inet: expected 4 or 16 bytes but got 3"},
        {"SELECT peer FROM system.peers WHERE peer = ?", {{NULL, NULL, 0}}, 1, "!null value"},
        {"SELECT peer FROM system.peers WHERE peer = ? AND rack = ?",
         {{NULL, address, 4}},
         1,
         "!expected 2 but got 1"},
        {"SELECT peer FROM system.peers", {{NULL, address, 4}}, 1, "!expected 0 but got 1"},
        {"SELECT peer FROM system.peers WHERE peer = :a",
         {{"b", address, 4}},
         1,
         "!no value is given for bind marker a"},
        {"SELECT peer FROM system.peers WHERE peer IN ?", {{NULL, list, 19}}, 1, "!do not add up"},
        {"SELECT peer FROM system.peers WHERE peer IN ?", {{NULL, list, 12}}, 1, "!do not add up"},
        {"SELECT peer FROM system.peers WHERE peer IN ?", {{NULL, list, 3}}, 1, "!do not add up"},
        {"SELECT peer FROM system.peers WHERE peer IN ?", {{NULL, NULL, 0}}, 1, "!null value"},
        {"SELECT peer FROM system.peers WHERE host_id IN ?",
         {{NULL, list, 20}},
         1,
         "!expected 16 bytes"},
        {"SELECT key FROM system.local WHERE host_id = ?", {{NULL, list, 15}}, 1, "!type uuid"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct virtual_value values[3];
        struct reply reply;
        for (size_t j = 0; j < vectors[i].count; j++)
            values[j] = value_of(vectors[i].values[j].name, vectors[i].values[j].data,
                                 vectors[i].values[j].length);
        ask_values(&reply, vectors[i].text, values, vectors[i].count);
        if (vectors[i].expected[0] == '!')
            assert_error(&reply, CQL_ERROR_INVALID, vectors[i].expected + 1);
        else
            assert_reply(&reply, vectors[i].text, vectors[i].expected);
        forget(&reply);
    }
}

static void read_column(struct cql_cursor *cursor, const char *name, const void *type,
                        size_t length)
{
    assert_true(cql_span_equals(cql_read_string(cursor), name));
    const uint8_t *got = cql_cursor_take(cursor, length);
    assert_non_null(got);
    assert_memory_equal(got, type, length);
}

static void read_table(struct cql_cursor *cursor, const char *table)
{
    assert_true(cql_span_equals(cql_read_string(cursor), "system"));
    assert_true(cql_span_equals(cql_read_string(cursor), table));
}

static void test_prepare(void **state)
{
    (void)state;
    static const char text[] =
        "SELECT peer AS p, count(*) FROM system.peers WHERE rack = :r AND peer = ? AND "
        "host_id IN ? AND data_center IN (?, 'x') LIMIT ?";
    for (uint8_t version = 3; version <= 4; version++) {
        struct dynbuf body;
        uint8_t id[16], opcode;
        dynbuf_init(&body, 4096);
        virtual_prepare(world.hosts, world.topology, VIRTUAL_PEERS, text, strlen(text), "ks",
                        version, id, &body, &opcode);
        assert_int_equal(opcode, CQL_OPCODE_RESULT);
        struct cql_cursor cursor = cql_cursor_over(body.data, body.length);
        assert_int_equal(cql_read_i32(&cursor), CQL_RESULT_PREPARED);
        struct cql_span shown = cql_read_string(&cursor);
        assert_int_equal(shown.length, 16);
        assert_memory_equal(shown.data, id, 16);
        assert_int_equal(cql_read_i32(&cursor), 1);
        assert_int_equal(cql_read_i32(&cursor), 5);
        if (version == 4) {
            assert_int_equal(cql_read_i32(&cursor), 1);
            assert_int_equal(cql_read_u16(&cursor), 1);
        }
        read_table(&cursor, "peers");
        read_column(&cursor, "r", "\0\x0d", 2);
        read_column(&cursor, "peer", "\0\x10", 2);
        read_column(&cursor, "in(host_id)", "\0\x20\0\x0c", 4);
        read_column(&cursor, "data_center", "\0\x0d", 2);
        read_column(&cursor, "[limit]", "\0\x09", 2);
        assert_int_equal(cql_read_i32(&cursor), 1);
        assert_int_equal(cql_read_i32(&cursor), 2);
        read_table(&cursor, "peers");
        read_column(&cursor, "p", "\0\x10", 2);
        read_column(&cursor, "count", "\0\x02", 2);
        assert_false(cursor.failed);
        assert_int_equal(cql_cursor_left(&cursor), 0);
        dynbuf_fini(&body);
    }
    /* No markers: no table specification, no key. md5("SELECT rack FROM local" "system"). */
    static const char plain[] = "SELECT rack FROM local";
    static const uint8_t expected[16] = {0xee, 0x89, 0xdd, 0x97, 0x4c, 0xc2, 0x25, 0x71,
                                         0xc1, 0xeb, 0xb7, 0x51, 0x0b, 0x87, 0x2e, 0xa6};
    struct dynbuf body;
    uint8_t id[16], opcode;
    dynbuf_init(&body, 4096);
    virtual_prepare(world.hosts, world.topology, VIRTUAL_LOCAL, plain, strlen(plain), "system", 4,
                    id, &body, &opcode);
    assert_int_equal(opcode, CQL_OPCODE_RESULT);
    assert_memory_equal(id, expected, 16);
    struct cql_cursor cursor = cql_cursor_over(body.data, body.length);
    cql_read_i32(&cursor);
    cql_read_string(&cursor);
    for (int i = 0; i < 3; i++)
        assert_int_equal(cql_read_i32(&cursor), 0);
    assert_int_equal(cql_read_i32(&cursor), 1);
    assert_int_equal(cql_read_i32(&cursor), 1);
    read_table(&cursor, "local");
    read_column(&cursor, "rack", "\0\x0d", 2);
    assert_int_equal(cql_cursor_left(&cursor), 0);

    dynbuf_reset(&body);
    virtual_prepare(world.hosts, world.topology, VIRTUAL_LOCAL, "SELECT nope FROM local", 22, "", 4,
                    id, &body, &opcode);
    assert_int_equal(opcode, CQL_OPCODE_ERROR);
    dynbuf_fini(&body);
}

static void ask_world(const struct world *where, const char *text, const char *expected)
{
    struct reply reply;
    ask_in(where, &reply, text, NULL, 0);
    assert_reply(&reply, text, expected);
    forget(&reply);
}

static void test_other_clusters(void **state)
{
    (void)state;
    /* Cassandra 4 without peers, one proxy with an IPv6 address. */
    struct world four = {make_topology(true, false), make_hosts("fd00::1", 0)};
    ask_world(&four, "SELECT * FROM system.local",
              "key,broadcast_address,data_center,host_id,listen_address,partitioner,rack,"
              "release_version,rpc_address,schema_version,tokens,truncated_at,broadcast_port,"
              "listen_port,rpc_port|local,fd00::1,dc1,0262,fd00::1," MURMUR3
              ",rack0,4.1.3,fd00::1,7373,<174>,-,7001,7001,14002");
    ask_world(&four, "SELECT * FROM system.peers",
              "peer,data_center,host_id,preferred_ip,rack,release_version,rpc_address,"
              "schema_version,tokens");
    ask_world(&four, "SELECT count(*), peer FROM system.peers", "count,peer|0,-");
    topology_put(four.topology);
    virtual_hosts_free(four.hosts);

    /* A single node behind two proxies: the other's row borrows from system.local. */
    struct world two = {make_topology(true, false), make_hosts("127.0.0.1,127.0.0.2", 0)};
    ask_world(&two, "SELECT peer, release_version, schema_version FROM system.peers",
              "peer,release_version,schema_version|127.0.0.2,4.1.3,7373");
    ask_world(&two, "SELECT peer, peer_port, native_port FROM system.peers_v2",
              "peer,peer_port,native_port|127.0.0.2,7001,14002");
    topology_put(two.topology);
    virtual_hosts_free(two.hosts);
}

/* Limits: what is too much is refused, and so is a result that does not fit. */
static void test_limits(void **state)
{
    (void)state;
    struct dynbuf text;
    struct reply reply;
    dynbuf_init(&text, 1u << 20);
    for (int extra = 0; extra < 2; extra++) {
        dynbuf_reset(&text);
        dynbuf_append_text(&text, "SELECT rack");
        for (int i = 1; i < 512 + extra; i++)
            dynbuf_append_text(&text, ",rack");
        dynbuf_append_text(&text, " FROM system.local");
        ask(&reply, dynbuf_text(&text));
        if (extra == 0)
            assert_int_equal(reply.rows.column_count, 512);
        else
            assert_error(&reply, CQL_ERROR_INVALID, "512 selectors");
        forget(&reply);

        dynbuf_reset(&text);
        dynbuf_append_text(&text, "SELECT rack FROM system.local WHERE key IN ('local'");
        for (int i = 1; i < 1024 + extra; i++)
            dynbuf_append_text(&text, ",'x'");
        dynbuf_append_text(&text, ")");
        ask(&reply, dynbuf_text(&text));
        if (extra == 0)
            assert_reply(&reply, "IN of 1024", "rack|rack0");
        else
            assert_error(&reply, CQL_ERROR_INVALID, "1024 values");
        forget(&reply);
    }
    dynbuf_reset(&text);
    dynbuf_append_text(&text, "SELECT *");
    for (int i = 1; i < 500; i++)
        dynbuf_append_text(&text, ",*");
    dynbuf_append_text(&text, " FROM system.local");
    ask(&reply, dynbuf_text(&text));
    assert_error(&reply, CQL_ERROR_INVALID, "4096 columns");
    forget(&reply);
    dynbuf_fini(&text);

    struct dynbuf small;
    uint8_t opcode;
    dynbuf_init(&small, 300);
    dynbuf_append_text(&small, "head");
    static const char all[] = "SELECT * FROM system.local";
    virtual_query(world.hosts, world.topology, VIRTUAL_LOCAL, all, strlen(all), NULL, 0, 4, &small,
                  &opcode);
    assert_int_equal(opcode, CQL_OPCODE_ERROR);
    assert_memory_equal(small.data, "head\0\0\0\0", 8);
    assert_false(small.failed);
    dynbuf_fini(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formulas), cmocka_unit_test(test_classify),
        cmocka_unit_test(test_answers),  cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_bound_values),
        cmocka_unit_test(test_prepare),  cmocka_unit_test(test_other_clusters),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
