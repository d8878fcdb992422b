/* What clusters send: the parts in front of a response body, errors and ids, and SUPPORTED. The
 * first byte is the header's flags. Properties: nothing outside the body is read (it lies in a
 * block of its exact size); all that is handed out lies inside it; the SUPPORTED made of any bytes
 * is a well-formed multimap with exactly one, empty, COMPRESSION and no version that the proxy does
 * not speak. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/supported.h"
#include "dataplane/versions.h"
#include "proto/cql_response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct cql_span span, const uint8_t *body, size_t size)
{
    CHECK(span.data == NULL ? span.length == 0
                            : span.data >= body && span.data <= body + size &&
                                  span.length <= (size_t)(body + size - span.data));
}

static void check_cursor(const struct cql_cursor *cursor, const uint8_t *body, size_t size)
{
    CHECK(cursor->at >= body && cursor->at <= body + size && cursor->end == body + size);
}

static void check_body(struct cql_header header, const uint8_t *body)
{
    size_t size = header.body_length;
    struct cql_cursor cursor = cql_open_response(header, body);
    check_cursor(&cursor, body, size);
    if (!cursor.failed) {
        /* Whole to its last byte: one less, and it is broken. */
        size_t read = (size_t)(cursor.at - body);
        header.body_length = (uint32_t)read;
        CHECK(!cql_open_response(header, body).failed);
        header.body_length = (uint32_t)(read - 1);
        CHECK(read == 0 || cql_open_response(header, body).failed);
    }
    /* An ERROR, and a RESULT/Prepared or SET_KEYSPACE. */
    const char *name = cql_error_name(cql_read_i32(&cursor));
    CHECK(name != NULL && name[0] != '\0');
    check_inside(cql_read_string(&cursor), body, size);
    struct cql_span id = cql_read_string(&cursor);
    check_inside(id, body, size);
    CHECK(!cursor.failed || id.data == NULL);
    check_inside(cql_read_long_string(&cursor), body, size);
    check_inside(cql_read_bytes(&cursor), body, size);
    check_cursor(&cursor, body, size);
}

static void check_supported(uint8_t *body, size_t size)
{
    const struct topology origin = {.cluster = CLUSTER_ORIGIN};
    const struct topology target = {
        .cluster = CLUSTER_TARGET, .supported_body = body, .supported_length = size};
    struct dynbuf out;
    unsigned compressions = 0;
    dynbuf_init(&out, 2 * size + 64); /* never more than was received, and COMPRESSION */
    uint8_t versions = versions_of_node((struct cql_span){body, size}, CQL_VERSION_COMMON);
    supported_build(&origin, &target, versions, &out);
    CHECK(!out.failed && out.length <= size + 17);
    struct cql_cursor cursor = cql_cursor_over(out.data, out.length);
    for (uint16_t left = cql_read_u16(&cursor); left > 0; left--) {
        struct cql_span key = cql_read_string(&cursor);
        uint16_t values = cql_read_u16(&cursor);
        CHECK(!cursor.failed);
        if (cql_span_equals(key, "COMPRESSION")) {
            CHECK(values == 0);
            compressions++;
        }
        for (; values > 0; values--) {
            struct cql_span value = cql_read_string(&cursor);
            CHECK(!cql_span_equals(key, "PROTOCOL_VERSIONS") ||
                  (versions & versions_find(value)) != 0);
        }
    }
    CHECK(!cursor.failed && cql_cursor_left(&cursor) == 0 && compressions == 1);
    dynbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct cql_header header = {.version = 4,
                                .is_response = true,
                                .flags = data[0],
                                .opcode = CQL_OPCODE_RESULT,
                                .body_length = (uint32_t)(size - 1)};
    uint8_t *body = malloc(header.body_length);
    CHECK(body != NULL);
    memcpy(body, data + 1, header.body_length);
    check_body(header, body);
    check_supported(body, header.body_length);
    free(body);
    return 0;
}
