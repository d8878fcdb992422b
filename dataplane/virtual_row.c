/* Columns and cell values of the virtual tables, from the table in virtual_columns.def. Pure. A
 * value that would show a real address or port of the cluster must never come out of here. */
#include "dataplane/virtual_row.h"

#include <string.h>

#include "proto/cql_response.h"

/* Where the cluster does not say: the default storage_port. */
#define STORAGE_PORT_DEFAULT 7000

enum presence { PRESENCE_ALWAYS, PRESENCE_REAL };

enum source {
    SOURCE_ADDRESS,
    SOURCE_QUERY_PORT,
    SOURCE_STORAGE_PORT,
    SOURCE_HOST_ID,
    SOURCE_RACK,
    SOURCE_TOKENS,
    SOURCE_PARTITIONER,
    SOURCE_BORROWED,
    SOURCE_CONTROL,
    SOURCE_NOTHING,
};

struct virtual_column {
    enum virtual_table table;
    const char *name;
    enum virtual_type type;
    enum presence presence;
    enum source source;
};

static const struct virtual_column columns[] = {
#define VIRTUAL_COLUMN(table, name, type, presence, source)                                        \
    {VIRTUAL_##table, #name, VIRTUAL_TYPE_##type, PRESENCE_##presence, SOURCE_##source},
#include "dataplane/virtual_columns.def"
#undef VIRTUAL_COLUMN
};

/* Native protocol v4, section 4.2.5.2. */
static const struct {
    const char *name;
    uint8_t option[6];
    uint8_t length;
} types[] = {
    [VIRTUAL_TYPE_TEXT] = {"text", {0x00, 0x0d}, 2},
    [VIRTUAL_TYPE_INET] = {"inet", {0x00, 0x10}, 2},
    [VIRTUAL_TYPE_INT] = {"int", {0x00, 0x09}, 2},
    [VIRTUAL_TYPE_BIGINT] = {"bigint", {0x00, 0x02}, 2},
    [VIRTUAL_TYPE_UUID] = {"uuid", {0x00, 0x0c}, 2},
    [VIRTUAL_TYPE_BOOLEAN] = {"boolean", {0x00, 0x04}, 2},
    [VIRTUAL_TYPE_TEXT_SET] = {"set<text>", {0x00, 0x22, 0x00, 0x0d}, 4},
    [VIRTUAL_TYPE_UUID_BLOB_MAP] = {"map<uuid, blob>", {0x00, 0x21, 0x00, 0x0c, 0x00, 0x03}, 6},
};

const char *virtual_table_name(enum virtual_table table)
{
    return table == VIRTUAL_LOCAL ? "local" : table == VIRTUAL_PEERS ? "peers" : "peers_v2";
}

/* The cluster's own table behind the virtual one; peers_v2 stands on nothing, since 3.11 has none.
 */
static const struct cql_rows *real_rows(const struct topology *topology, enum virtual_table table)
{
    return table == VIRTUAL_LOCAL   ? &topology->local
           : table == VIRTUAL_PEERS ? &topology->peers
                                    : NULL;
}

static bool exists(const struct topology *topology, const struct virtual_column *column)
{
    if (column->presence == PRESENCE_ALWAYS)
        return true;
    const struct cql_rows *rows = real_rows(topology, column->table);
    return rows != NULL && cql_rows_column(rows, column->name) >= 0;
}

const struct virtual_column *virtual_column_next(const struct topology *topology,
                                                 enum virtual_table table,
                                                 const struct virtual_column *previous)
{
    const struct virtual_column *column = previous == NULL ? columns : previous + 1;
    for (; column < columns + ARRAY_COUNT(columns); column++) {
        if (column->table == table && exists(topology, column))
            return column;
    }
    return NULL;
}

const struct virtual_column *virtual_column_find(const struct topology *topology,
                                                 enum virtual_table table, struct cql_token name)
{
    char text[CQL_NAME_MAX + 1];
    size_t length;
    if (!cql_token_value(name, text, sizeof text, &length))
        return NULL;
    const struct virtual_column *column = NULL;
    while ((column = virtual_column_next(topology, table, column)) != NULL) {
        if (strlen(column->name) == length && memcmp(column->name, text, length) == 0)
            return column;
    }
    return NULL;
}

const char *virtual_column_name(const struct virtual_column *column)
{
    return column->name;
}

enum virtual_type virtual_column_type(const struct virtual_column *column)
{
    return column->type;
}

bool virtual_column_is_key(const struct virtual_column *column)
{
    return strcmp(column->name, column->table == VIRTUAL_LOCAL ? "key" : "peer") == 0;
}

const char *virtual_type_name(enum virtual_type type)
{
    return types[type].name;
}

void virtual_type_put(enum virtual_type type, struct dynbuf *out)
{
    dynbuf_append(out, types[type].option, types[type].length);
}

void virtual_column_put_type(const struct topology *topology, const struct virtual_column *column,
                             struct dynbuf *out)
{
    const struct cql_rows *rows = real_rows(topology, column->table);
    bool is_copied = column->source == SOURCE_BORROWED || column->source == SOURCE_CONTROL;
    int at = is_copied && rows != NULL ? cql_rows_column(rows, column->name) : -1;
    if (at >= 0)
        dynbuf_append(out, rows->columns[at].type.data, rows->columns[at].type.length);
    else
        virtual_type_put(column->type, out);
}

static struct cql_span control_cell(const struct topology *topology, const char *name)
{
    return cql_rows_cell(&topology->local, 0, cql_rows_column(&topology->local, name));
}

/* Virtual host i stands on real host i mod m. */
static struct cql_span borrowed_cell(const struct topology *topology, size_t proxy,
                                     const char *name)
{
    if (topology->host_count == 0)
        return (struct cql_span){NULL, 0};
    const struct topology_host *host = &topology->hosts[proxy % topology->host_count];
    if (host->local_row >= 0)
        return cql_rows_cell(&topology->local, host->local_row,
                             cql_rows_column(&topology->local, name));
    return cql_rows_cell(&topology->peers, host->peers_row,
                         cql_rows_column(&topology->peers, name));
}

static void put_storage_port(const struct topology *topology, struct dynbuf *value)
{
    struct cql_span port = control_cell(topology, "broadcast_port");
    if (port.length != 4)
        port = control_cell(topology, "listen_port");
    if (port.length == 4)
        dynbuf_append(value, port.data, 4);
    else
        cql_put_i32(value, STORAGE_PORT_DEFAULT);
}

bool virtual_value_put(const struct virtual_hosts *hosts, const struct topology *topology,
                       const struct virtual_column *column, size_t proxy, struct dynbuf *value)
{
    const struct virtual_host *host = &hosts->hosts[proxy];
    struct cql_span copied;
    switch (column->source) {
    case SOURCE_ADDRESS:
        dynbuf_append(value, host->address, host->address_length);
        return true;
    case SOURCE_QUERY_PORT:
        cql_put_i32(value, host->port);
        return true;
    case SOURCE_STORAGE_PORT:
        put_storage_port(topology, value);
        return true;
    case SOURCE_HOST_ID:
        dynbuf_append(value, host->id, sizeof host->id);
        return true;
    case SOURCE_RACK:
        dynbuf_append_text(value, VIRTUAL_RACK);
        return true;
    case SOURCE_TOKENS:
        virtual_hosts_put_tokens(hosts, proxy, value);
        return true;
    case SOURCE_PARTITIONER:
        dynbuf_append_text(value, VIRTUAL_PARTITIONER);
        return true;
    case SOURCE_BORROWED:
        copied = borrowed_cell(topology, proxy, column->name);
        break;
    case SOURCE_CONTROL:
        copied = control_cell(topology, column->name);
        break;
    default:
        return false;
    }
    dynbuf_append(value, copied.data, copied.length);
    return copied.data != NULL;
}
