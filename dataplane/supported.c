/* The SUPPORTED body, from those the control connections got. Pure. */
#include "dataplane/supported.h"

#include "dataplane/versions.h"
#include "proto/cql_response.h"

static void put_count(struct dynbuf *out, size_t at, uint16_t count)
{
    if (!out->failed)
        cql_store_u16(out->data + at, count);
}

/* The entry's values: a [string list] at the cursor. false: there is no such entry. */
static bool find_entry(const struct topology *topology, const char *wanted,
                       struct cql_cursor *cursor)
{
    if (topology->supported_body == NULL)
        return false;
    *cursor = cql_cursor_over(topology->supported_body, topology->supported_length);
    for (uint16_t left = cql_read_u16(cursor); left > 0 && !cursor->failed; left--) {
        if (cql_span_equals(cql_read_string(cursor), wanted))
            return !cursor->failed;
        for (uint16_t values = cql_read_u16(cursor); values > 0 && !cursor->failed; values--)
            (void)cql_read_string(cursor);
    }
    return false;
}

bool supported_has_compression(const struct topology *topology, enum cql_compression compression)
{
    struct cql_cursor cursor;
    if (!find_entry(topology, "COMPRESSION", &cursor))
        return false;
    for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed; left--) {
        enum cql_compression offered;
        struct cql_span name = cql_read_string(&cursor);
        if (!cursor.failed && cql_compression_find(name, &offered) && offered == compression)
            return true;
    }
    return false;
}

static void put_compressions(const struct topology *origin, const struct topology *target,
                             struct dynbuf *out)
{
    struct cql_cursor cursor;
    uint16_t kept = 0;
    size_t count_at = out->length;
    cql_put_u16(out, 0);
    if (!find_entry(origin, "COMPRESSION", &cursor))
        return;
    for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed; left--) {
        enum cql_compression offered;
        struct cql_span name = cql_read_string(&cursor);
        if (cursor.failed || !cql_compression_find(name, &offered) ||
            offered == CQL_COMPRESSION_NONE || !supported_has_compression(target, offered))
            continue;
        cql_put_string(out, name.data, name.length);
        kept++;
    }
    put_count(out, count_at, kept);
}

void supported_build(const struct topology *origin, const struct topology *target, uint8_t versions,
                     struct dynbuf *out)
{
    struct cql_cursor cursor = cql_cursor_over(target->supported_body, target->supported_length);
    uint16_t entries = 0;
    dynbuf_reset(out);
    cql_put_u16(out, 0);
    /* One less than a count can say: COMPRESSION comes on top. */
    for (uint16_t left = cql_read_u16(&cursor); left > 0 && entries < UINT16_MAX - 1; left--) {
        struct cql_span key = cql_read_string(&cursor);
        uint16_t values = cql_read_u16(&cursor);
        if (cursor.failed)
            break;
        bool is_skipped = cql_span_equals(key, "COMPRESSION");
        bool is_versions = cql_span_equals(key, "PROTOCOL_VERSIONS");
        size_t count_at = 0;
        uint16_t kept = 0;
        if (!is_skipped) {
            cql_put_string(out, key.data, key.length);
            count_at = out->length;
            cql_put_u16(out, 0);
        }
        for (; values > 0 && !cursor.failed; values--) {
            struct cql_span value = cql_read_string(&cursor);
            if (is_skipped || cursor.failed ||
                (is_versions && (versions_find(value) & versions) == 0))
                continue;
            cql_put_string(out, value.data, value.length);
            kept++;
        }
        if (!is_skipped) {
            put_count(out, count_at, kept);
            entries++;
        }
    }
    cql_put_string(out, "COMPRESSION", 11);
    put_compressions(origin, target, out);
    put_count(out, 0, (uint16_t)(entries + 1));
}
