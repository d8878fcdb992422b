/* The stub's answers: chosen by opcode and by the first letters of a statement, copied from canned
 * bodies. Threads share them read-only. Nothing here may look further into a request than it must:
 * the stub has to be much cheaper than what stands in front of it. */
#include "tests/bench/answers.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "proto/cql_compression.h"
#include "proto/cql_segment.h"

enum { RESULT_VOID = 1, RESULT_ROWS = 2, RESULT_PREPARED = 4 };
enum { ROWS_GLOBAL = 1, ROWS_NO_METADATA = 4 };
enum { TYPE_INT = 0x09, TYPE_VARCHAR = 0x0d, TYPE_UUID = 0x0c, TYPE_INET = 0x10, TYPE_SET = 0x22 };
enum { PREPARED_ID_BYTES = 16, STATEMENT_HEAD = 256 };

#define ERROR_PROTOCOL 0x000A

static void put_string(struct wire_bytes *to, const char *text)
{
    wire_append_u16(to, (uint16_t)strlen(text));
    wire_append(to, text, strlen(text));
}

static void put_bytes(struct wire_bytes *to, const void *data, size_t length)
{
    wire_append_u32(to, (uint32_t)length);
    wire_append(to, data, length);
}

static void put_text(struct wire_bytes *to, const char *text)
{
    put_bytes(to, text, strlen(text));
}

static void put_column(struct wire_bytes *to, const char *name, uint16_t type)
{
    put_string(to, name);
    wire_append_u16(to, type);
    if (type == TYPE_SET)
        wire_append_u16(to, TYPE_VARCHAR);
}

static void open_columns(struct wire_bytes *to, uint32_t count, const char *keyspace,
                         const char *table)
{
    wire_append_u32(to, ROWS_GLOBAL);
    wire_append_u32(to, count);
    put_string(to, keyspace);
    put_string(to, table);
}

struct system_column {
    const char *name;
    uint16_t type;
};

static const struct system_column local_columns[] = {
    {"key", TYPE_VARCHAR},
    {"broadcast_address", TYPE_INET},
    {"cluster_name", TYPE_VARCHAR},
    {"cql_version", TYPE_VARCHAR},
    {"data_center", TYPE_VARCHAR},
    {"host_id", TYPE_UUID},
    {"listen_address", TYPE_INET},
    {"native_protocol_version", TYPE_VARCHAR},
    {"partitioner", TYPE_VARCHAR},
    {"rack", TYPE_VARCHAR},
    {"release_version", TYPE_VARCHAR},
    {"rpc_address", TYPE_INET},
    {"schema_version", TYPE_UUID},
    {"tokens", TYPE_SET},
};

static const struct system_column peers_columns[] = {
    {"peer", TYPE_INET},
    {"data_center", TYPE_VARCHAR},
    {"host_id", TYPE_UUID},
    {"rack", TYPE_VARCHAR},
    {"release_version", TYPE_VARCHAR},
    {"rpc_address", TYPE_INET},
    {"schema_version", TYPE_UUID},
    {"tokens", TYPE_SET},
};

static void put_system_columns(struct wire_bytes *to, const char *table,
                               const struct system_column *columns, size_t count)
{
    wire_append_u32(to, RESULT_ROWS);
    open_columns(to, (uint32_t)count, "system", table);
    for (size_t i = 0; i < count; i++)
        put_column(to, columns[i].name, columns[i].type);
}

static void make_local(struct wire_bytes *to, const char *cluster_name, uint32_t address)
{
    uint8_t host_id[16] = {0x0b, 0xe4, 0xc4, 0, 0, 0, 0x40, 0, 0x80};
    memcpy(host_id + 12, &address, sizeof address);
    put_system_columns(to, "local", local_columns, ARRAY_COUNT(local_columns));
    wire_append_u32(to, 1);
    put_text(to, "local");
    put_bytes(to, &address, sizeof address);
    put_text(to, cluster_name);
    put_text(to, "3.4.5");
    put_text(to, "datacenter1");
    put_bytes(to, host_id, sizeof host_id);
    put_bytes(to, &address, sizeof address);
    put_text(to, "5");
    put_text(to, "org.apache.cassandra.dht.Murmur3Partitioner");
    put_text(to, "rack1");
    put_text(to, "4.1.0");
    put_bytes(to, &address, sizeof address);
    put_bytes(to, host_id, sizeof host_id);
    wire_append_u32(to, 4 + 4 + 1); /* a set of one token: "0" */
    wire_append_u32(to, 1);
    put_text(to, "0");
}

static void make_row(struct wire_bytes *to, bool is_bare, size_t value_bytes)
{
    wire_append_u32(to, RESULT_ROWS);
    if (is_bare) {
        wire_append_u32(to, ROWS_NO_METADATA);
        wire_append_u32(to, 1);
    } else {
        open_columns(to, 1, "bench", "kv");
        put_column(to, "v", TYPE_VARCHAR);
    }
    wire_append_u32(to, 1);
    wire_append_u32(to, (uint32_t)value_bytes);
    wire_append_value(to, value_bytes);
}

static void put_option(struct wire_bytes *to, const char *name, uint16_t count)
{
    put_string(to, name);
    wire_append_u16(to, count);
}

static void make_supported(struct wire_bytes *to)
{
    wire_append_u16(to, 3);
    put_option(to, "CQL_VERSION", 1);
    put_string(to, "3.4.5");
    put_option(to, "COMPRESSION", 1);
    put_string(to, "lz4");
    put_option(to, "PROTOCOL_VERSIONS", 2);
    put_string(to, "4/v4");
    put_string(to, "5/v5");
}

static void make_error(struct wire_bytes *to, const char *message)
{
    wire_append_u32(to, ERROR_PROTOCOL);
    put_string(to, message);
}

static void seal(struct answer *answer, uint8_t opcode)
{
    answer->opcode = opcode;
    size_t length = answer->plain.end;
    if (length == 0)
        return;
    size_t bound = cql_deflated_bound(CQL_COMPRESSION_LZ4, length);
    wire_reserve(&answer->lz4, bound);
    answer->lz4.end =
        cql_deflate(CQL_COMPRESSION_LZ4, answer->plain.data, length, answer->lz4.data);
}

void answers_make(struct answers *answers, const char *cluster_name, uint32_t address,
                  size_t value_bytes)
{
    *answers = (struct answers){0};
    make_error(&answers->error_version.plain,
               "Invalid or unsupported protocol version; supported versions are (4/v4, 5/v5)");
    seal(&answers->error_version, CQL_OPCODE_ERROR);
    make_error(&answers->error_request.plain, "this stub does not answer such requests");
    seal(&answers->error_request, CQL_OPCODE_ERROR);
    seal(&answers->ready, CQL_OPCODE_READY);
    make_supported(&answers->supported.plain);
    seal(&answers->supported, CQL_OPCODE_SUPPORTED);
    wire_append_u32(&answers->nothing.plain, RESULT_VOID);
    seal(&answers->nothing, CQL_OPCODE_RESULT);
    make_row(&answers->row_bare.plain, true, value_bytes);
    seal(&answers->row_bare, CQL_OPCODE_RESULT);
    make_row(&answers->row.plain, false, value_bytes);
    seal(&answers->row, CQL_OPCODE_RESULT);
    make_local(&answers->local.plain, cluster_name, address);
    seal(&answers->local, CQL_OPCODE_RESULT);
    put_system_columns(&answers->peers.plain, "peers", peers_columns, ARRAY_COUNT(peers_columns));
    wire_append_u32(&answers->peers.plain, 0);
    seal(&answers->peers, CQL_OPCODE_RESULT);
}

static void put_frame(struct wire *wire, const struct wire_frame *request, uint8_t version,
                      uint8_t flags, uint8_t opcode, const struct wire_bytes *body)
{
    uint8_t *to = wire_put(wire, CQL_HEADER_BYTES + body->end);
    cql_header_store(to, (struct cql_header){.version = version,
                                             .is_response = true,
                                             .flags = flags,
                                             .stream = request->header.stream,
                                             .opcode = opcode,
                                             .body_length = (uint32_t)body->end});
    if (body->end > 0)
        memcpy(to + CQL_HEADER_BYTES, body->data, body->end);
}

static void give(struct wire *wire, const struct wire_frame *request, const struct answer *answer)
{
    bool is_lz4 = wire->is_lz4 && !wire->is_segmented && answer->lz4.end > 0;
    put_frame(wire, request, request->header.version, is_lz4 ? CQL_FLAG_COMPRESSED : 0,
              answer->opcode, is_lz4 ? &answer->lz4 : &answer->plain);
}

/* The first bytes of a request's body, inflated when they must be. */
static struct cql_span body_head(const struct wire_frame *request, uint8_t room[STATEMENT_HEAD])
{
    size_t length = request->header.body_length;
    if (!(request->header.flags & CQL_FLAG_COMPRESSED))
        return (struct cql_span){request->body, length};
    length = cql_inflate_head(CQL_COMPRESSION_LZ4, request->body, length, room, STATEMENT_HEAD);
    return (struct cql_span){room, length};
}

/* The statement of a QUERY or PREPARE, or as much of it as is there. */
static struct cql_span statement_of(struct cql_span body)
{
    if (body.length < 4)
        return (struct cql_span){NULL, 0};
    size_t length = cql_load_u32(body.data);
    size_t there = body.length - 4;
    return (struct cql_span){body.data + 4, length < there ? length : there};
}

static bool is_select(struct cql_span statement)
{
    return statement.length > 0 && tolower(statement.data[0]) == 's';
}

static bool mentions(struct cql_span statement, const char *word)
{
    return memmem(statement.data, statement.length, word, strlen(word)) != NULL;
}

/* Like a real id, a digest: bytes spread evenly, because proxies hash by them. The last one says
 * what EXECUTE is answered with. */
static void put_prepared_id(struct wire_bytes *to, struct cql_span statement)
{
    uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a */
    for (size_t i = 0; i < statement.length; i++)
        hash = (hash ^ statement.data[i]) * 0x100000001b3ULL;
    uint8_t id[PREPARED_ID_BYTES];
    for (size_t half = 0; half < 2; half++) {
        hash = (hash ^ hash >> 31) * 0x9e3779b97f4a7c15ULL;
        hash ^= hash >> 29;
        memcpy(id + 8 * half, &hash, sizeof hash);
    }
    id[PREPARED_ID_BYTES - 1] = is_select(statement) ? 'R' : 'W';
    wire_append_u16(to, sizeof id);
    wire_append(to, id, sizeof id);
}

static bool executes_select(struct cql_span body)
{
    size_t last = 2 + PREPARED_ID_BYTES - 1;
    return body.length > last && body.data[last] == 'R';
}

static void give_prepared(struct wire *wire, const struct wire_frame *request,
                          struct cql_span statement)
{
    struct wire_bytes body = {0};
    bool is_read = is_select(statement);
    wire_append_u32(&body, RESULT_PREPARED);
    put_prepared_id(&body, statement);
    if (cql_version_has_metadata_id(request->header.version))
        put_prepared_id(&body, statement);
    wire_append_u32(&body, ROWS_GLOBAL);
    wire_append_u32(&body, is_read ? 1 : 2);
    wire_append_u32(&body, 1); /* one partition key column, the first */
    wire_append_u16(&body, 0);
    put_string(&body, "bench");
    put_string(&body, "kv");
    put_column(&body, "k", TYPE_INT);
    if (!is_read)
        put_column(&body, "v", TYPE_VARCHAR);
    if (is_read) {
        open_columns(&body, 1, "bench", "kv");
        put_column(&body, "v", TYPE_VARCHAR);
    } else {
        wire_append_u32(&body, 0);
        wire_append_u32(&body, 0);
    }
    put_frame(wire, request, request->header.version, 0, CQL_OPCODE_RESULT, &body);
    free(body.data);
}

static void give_query(const struct answers *answers, struct wire *wire,
                       const struct wire_frame *request, struct cql_span statement)
{
    if (!is_select(statement))
        give(wire, request, &answers->nothing);
    else if (!mentions(statement, "system"))
        give(wire, request, &answers->row);
    else if (mentions(statement, "system.local"))
        give(wire, request, &answers->local);
    else
        give(wire, request, &answers->peers);
}

/* READY still travels as it is; what follows is compressed and in segments. */
static void give_started(const struct answers *answers, struct wire *wire,
                         const struct wire_frame *request)
{
    struct cql_span body = {request->body, request->header.body_length};
    give(wire, request, &answers->ready);
    wire->is_lz4 = mentions(body, "lz4");
    wire->is_segmented = cql_version_has_segments(request->header.version);
}

void answers_give(const struct answers *answers, struct wire *wire,
                  const struct wire_frame *request)
{
    uint8_t room[STATEMENT_HEAD];
    uint8_t version = request->header.version;
    if (version != 4 && version != 5) {
        put_frame(wire, request, CQL_VERSION_COMMON, 0, CQL_OPCODE_ERROR,
                  &answers->error_version.plain);
        return;
    }
    struct cql_span head = body_head(request, room);
    switch (request->header.opcode) {
    case CQL_OPCODE_EXECUTE:
        give(wire, request, executes_select(head) ? &answers->row_bare : &answers->nothing);
        break;
    case CQL_OPCODE_QUERY:
        give_query(answers, wire, request, statement_of(head));
        break;
    case CQL_OPCODE_BATCH:
        give(wire, request, &answers->nothing);
        break;
    case CQL_OPCODE_PREPARE:
        give_prepared(wire, request, statement_of(head));
        break;
    case CQL_OPCODE_OPTIONS:
        give(wire, request, &answers->supported);
        break;
    case CQL_OPCODE_STARTUP:
        give_started(answers, wire, request);
        break;
    case CQL_OPCODE_REGISTER:
        give(wire, request, &answers->ready);
        break;
    default:
        give(wire, request, &answers->error_request);
        break;
    }
}
