/* The virtual tables: first byte chooses the table, the next up to 32 bytes are bound values, the
 * rest is the statement. Properties: there is always exactly one answer, a result that can be
 * decoded or an error with a text; what prepares also answers. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/config.h"
#include "dataplane/topology_build.h"
#include "dataplane/virtual.h"
#include "proto/cql_response.h"

#define VALUE_BYTES 32
#define VALUES_MAX  4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct virtual_hosts *hosts;
static struct topology *topology;

static void put_text(struct dynbuf *out, const char *text)
{
    cql_put_string(out, text, strlen(text));
}

/* One row: a name, a type and a value each. */
static void put_row(struct dynbuf *out)
{
    static const struct {
        const char *name;
        uint16_t type;
        const char *value;
        int32_t length;
    } columns[] = {
        {"key", 13, "local", 5},
        {"data_center", 13, "dc1", 3},
        {"rack", 13, "r1", 2},
        {"host_id", 12, "0123456789abcdef", 16},
        {"peer", 16, "\x0a\0\0\1", 4},
        {"rpc_address", 16, "\x0a\0\0\1", 4},
        {"gossip_generation", 9, "\0\0\x10\0", 4},
        {"partitioner", 13, "Murmur3Partitioner", 18},
    };
    dynbuf_init(out, 4096);
    cql_put_i32(out, CQL_RESULT_ROWS);
    cql_put_i32(out, 1);
    cql_put_i32(out, ARRAY_COUNT(columns));
    put_text(out, "system");
    put_text(out, "x");
    for (size_t i = 0; i < ARRAY_COUNT(columns); i++) {
        put_text(out, columns[i].name);
        cql_put_u16(out, columns[i].type);
    }
    cql_put_i32(out, 1);
    for (size_t i = 0; i < ARRAY_COUNT(columns); i++) {
        cql_put_i32(out, columns[i].length);
        dynbuf_append(out, columns[i].value, (size_t)columns[i].length);
    }
}

static void set_up(void)
{
    char addresses[] = "127.0.0.1,127.0.0.2,fd00::3";
    struct config config = {
        .proxy_addresses = addresses, .proxy_index = 1, .proxy_num_tokens = 8, .query_port = 14002};
    hosts = virtual_hosts_new(&config);
    struct dynbuf row, reason;
    char datacenter[256] = "";
    put_row(&row);
    dynbuf_init(&reason, 512);
    struct topology_facts facts = {.port = 9042,
                                   .is_assigned = true,
                                   .proxy_count = 1,
                                   .local = {row.data, row.length},
                                   .peers = {row.data, row.length}};
    topology = topology_build(&facts, datacenter, &reason);
    CHECK(topology != NULL);
    dynbuf_fini(&row);
    dynbuf_fini(&reason);
}

static void check_error(const struct dynbuf *body)
{
    struct cql_cursor cursor = cql_cursor_over(body->data, body->length);
    int32_t code = cql_read_i32(&cursor);
    struct cql_span message = cql_read_string(&cursor);
    CHECK(code == CQL_ERROR_SYNTAX || code == CQL_ERROR_INVALID || code == CQL_ERROR_SERVER);
    CHECK(message.length > 0 && !cursor.failed && cql_cursor_left(&cursor) == 0);
}

/* Values of 0 to 16 bytes, or null, positional. */
static size_t read_values(const uint8_t *data, size_t size, struct virtual_value *values)
{
    struct cql_cursor cursor = cql_cursor_over(data, size);
    size_t count = cql_read_u8(&cursor) % (VALUES_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        uint8_t length = cql_read_u8(&cursor);
        const uint8_t *bytes = length > 16 ? NULL : cql_cursor_take(&cursor, length);
        values[i] = (struct virtual_value){.value = {bytes, bytes == NULL ? 0 : length}};
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (hosts == NULL)
        set_up();
    if (size < 1 + VALUE_BYTES)
        return 0;
    enum virtual_table table = (enum virtual_table)(VIRTUAL_LOCAL + data[0] % 3);
    struct virtual_value values[VALUES_MAX];
    size_t value_count = read_values(data + 1, VALUE_BYTES, values);
    size_t length = size - 1 - VALUE_BYTES;
    char *text = malloc(length == 0 ? 1 : length);
    CHECK(text != NULL);
    memcpy(text, data + 1 + VALUE_BYTES, length);

    struct dynbuf body;
    uint8_t opcode = 0xff, prepared = 0xff, id[16];
    dynbuf_init(&body, 1u << 20);
    virtual_query(hosts, topology, table, text, length, values, value_count, 4, &body, &opcode);
    CHECK(!body.failed);
    if (opcode == CQL_OPCODE_RESULT) {
        struct cql_rows rows;
        bool is_good = cql_rows_decode(body.data, body.length, &rows);
        CHECK(is_good && rows.row_count <= 2);
        cql_rows_fini(&rows);
    } else {
        CHECK(opcode == CQL_OPCODE_ERROR);
        check_error(&body);
    }
    dynbuf_reset(&body);
    virtual_prepare(hosts, topology, table, text, length, "", (uint8_t)(3 + data[0] % 2), id, &body,
                    &prepared);
    CHECK(!body.failed && (prepared == CQL_OPCODE_RESULT || opcode == CQL_OPCODE_ERROR));
    if (prepared == CQL_OPCODE_ERROR)
        check_error(&body);
    dynbuf_fini(&body);
    free(text);
    return 0;
}
