/* The frames the load generator sends, made before anything is measured: a handful of keys for each
 * kind of request, so that sending one is a copy. Must never differ from what a driver sends in
 * what it makes a proxy do: consistency, page size, bound values, timestamp. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/check.h"
#include "common/clock.h"
#include "proto/cql_compression.h"
#include "tests/bench/cqlload.h"

enum { KIND_READ, KIND_WRITE };
enum {
    FLAG_VALUES = 0x01,
    FLAG_SKIP_METADATA = 0x02,
    FLAG_PAGE_SIZE = 0x04,
    FLAG_TIMESTAMP = 0x20
};
enum { CONSISTENCY_LOCAL_QUORUM = 6, PAGE_SIZE = 5000, KEYS = 64, KEYS_OF_LARGE = 4 };
#define LARGE_VALUE_BYTES (64u * 1024)

static void put_flags(struct wire_bytes *to, uint8_t version, uint8_t flags)
{
    if (cql_version_has_int_flags(version))
        wire_append_u32(to, flags);
    else
        wire_append(to, &flags, 1);
}

/* Consistency, flags and what they announce. */
static void put_parameters(struct wire_bytes *body, const struct load_options *options, int kind,
                           uint32_t key)
{
    bool is_stamped = kind == KIND_WRITE && options->has_timestamps;
    uint8_t flags =
        (uint8_t)((options->is_plain ? 0 : FLAG_VALUES) | (kind == KIND_READ ? FLAG_PAGE_SIZE : 0) |
                  (kind == KIND_READ && !options->is_plain ? FLAG_SKIP_METADATA : 0) |
                  (is_stamped ? FLAG_TIMESTAMP : 0));
    wire_append_u16(body, CONSISTENCY_LOCAL_QUORUM);
    put_flags(body, options->version, flags);
    if (!options->is_plain) {
        wire_append_u16(body, kind == KIND_READ ? 1 : 2);
        wire_append_u32(body, 4);
        wire_append_u32(body, key);
        if (kind == KIND_WRITE) {
            wire_append_u32(body, options->value_bytes);
            wire_append_value(body, options->value_bytes);
        }
    }
    if (kind == KIND_READ)
        wire_append_u32(body, PAGE_SIZE);
    if (is_stamped) {
        uint64_t stamp = (uint64_t)clock_wall_us();
        wire_append_u32(body, (uint32_t)(stamp >> 32));
        wire_append_u32(body, (uint32_t)stamp);
    }
}

static void put_statement(struct wire_bytes *body, const struct load_options *options, int kind,
                          uint32_t key)
{
    char text[128];
    snprintf(text, sizeof text,
             kind == KIND_READ ? "SELECT v FROM bench.kv WHERE k = %u"
                               : "INSERT INTO bench.kv (k, v) VALUES (%u, '",
             key);
    bool is_write = kind == KIND_WRITE;
    wire_append_u32(body, (uint32_t)(strlen(text) + (is_write ? options->value_bytes + 2 : 0)));
    wire_append(body, text, strlen(text));
    if (is_write) {
        wire_append_value(body, options->value_bytes);
        wire_append(body, "')", 2);
    }
}

/* The statement to prepare: a table of its own for each, as many texts as are wanted. */
static void put_prepare(struct wire_bytes *body, const struct load_options *options, int kind,
                        unsigned index)
{
    char table[32], text[128];
    snprintf(table, sizeof table, index == 0 ? "kv" : "kv%u", index);
    if (kind == KIND_READ)
        snprintf(text, sizeof text, "SELECT v FROM bench.%s WHERE k = ?", table);
    else
        snprintf(text, sizeof text, "INSERT INTO bench.%s (k, v) VALUES (?, ?)", table);
    wire_append_u32(body, (uint32_t)strlen(text));
    wire_append(body, text, strlen(text));
    if (cql_version_has_metadata_id(options->version))
        wire_append_u32(body, 0);
}

/* Puts [short bytes] id, and in v5 that of the result metadata, as PREPARED gave them. */
static bool put_prepared_ids(struct wire_bytes *body, const struct load_options *options,
                             struct load_channel *channel, int kind, unsigned index)
{
    struct wire_bytes prepare = {0};
    struct wire_bytes plain = {0};
    struct wire_frame answer;
    put_prepare(&prepare, options, kind, index);
    bool is_answered =
        load_channel_call(channel, options->version, CQL_OPCODE_PREPARE, &prepare, &answer);
    free(prepare.data);
    if (!is_answered || answer.header.opcode != CQL_OPCODE_RESULT)
        return false;
    const uint8_t *data = answer.body;
    size_t length = answer.header.body_length;
    if (answer.header.flags & CQL_FLAG_COMPRESSED) {
        const char *reason;
        size_t inflated;
        if (!cql_inflated_length(CQL_COMPRESSION_LZ4, data, length, 1u << 20, &inflated, &reason))
            return false;
        wire_reserve(&plain, inflated);
        if (!cql_inflate(CQL_COMPRESSION_LZ4, data, length, plain.data, inflated, &reason)) {
            free(plain.data);
            return false;
        }
        data = plain.data;
        length = inflated;
    }
    struct cql_cursor cursor = cql_cursor_over(data, length);
    bool is_prepared = cql_read_i32(&cursor) == 4;
    int ids = cql_version_has_metadata_id(options->version) ? 2 : 1;
    for (int i = 0; i < ids && is_prepared; i++) {
        struct cql_span id = cql_read_string(&cursor);
        wire_append_u16(body, (uint16_t)id.length);
        wire_append(body, id.data, id.length);
    }
    free(plain.data);
    return is_prepared && !cursor.failed;
}

/* Header and body as they go onto the wire; v4 bodies are compressed here, v5 segments later. */
static void make_frame(struct wire_bytes *frame, const struct load_options *options,
                       const struct wire_bytes *body)
{
    bool is_compressed = options->is_lz4 && !cql_version_has_segments(options->version);
    size_t length = body->end;
    wire_reserve(frame,
                 CQL_HEADER_BYTES +
                     (is_compressed ? cql_deflated_bound(CQL_COMPRESSION_LZ4, length) : length));
    if (is_compressed)
        length =
            cql_deflate(CQL_COMPRESSION_LZ4, body->data, length, frame->data + CQL_HEADER_BYTES);
    else
        memcpy(frame->data + CQL_HEADER_BYTES, body->data, length);
    cql_header_store(frame->data,
                     (struct cql_header){
                         .version = options->version,
                         .flags = is_compressed ? CQL_FLAG_COMPRESSED : 0,
                         .opcode = options->is_plain ? CQL_OPCODE_QUERY : CQL_OPCODE_EXECUTE,
                         .body_length = (uint32_t)length,
                     });
    frame->end = CQL_HEADER_BYTES + length;
}

bool load_requests_make(struct load_requests *requests, const struct load_options *options,
                        struct load_channel *channel, const char **reason)
{
    size_t keys = options->value_bytes > LARGE_VALUE_BYTES ? KEYS_OF_LARGE : KEYS;
    requests->per_kind = options->statements > keys ? options->statements : keys;
    for (int kind = KIND_READ; kind <= KIND_WRITE; kind++) {
        struct wire_bytes *frames = calloc(requests->per_kind, sizeof *frames);
        struct wire_bytes ids = {0};
        CHECK(frames != NULL);
        requests->frames[kind] = frames;
        if (options->read_share == (kind == KIND_READ ? 0 : 100))
            continue; /* none of this kind is ever sent */
        for (size_t i = 0; i < requests->per_kind; i++) {
            struct wire_bytes body = {0};
            if (options->is_plain) {
                put_statement(&body, options, kind, (uint32_t)(100000 + i));
            } else {
                if (i < options->statements) {
                    ids.begin = ids.end = 0;
                    *reason = "a statement could not be prepared";
                    if (!put_prepared_ids(&ids, options, channel, kind, (unsigned)i))
                        return false;
                }
                wire_append(&body, ids.data, ids.end);
            }
            put_parameters(&body, options, kind, (uint32_t)i);
            make_frame(&frames[i], options, &body);
            free(body.data);
        }
        free(ids.data);
    }
    return true;
}
