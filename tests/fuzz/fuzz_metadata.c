/* Frame headers and what RESULT bodies say about columns and pages. Properties: a header is read
 * back as it was written; all that is found lies inside the body; a shorter beginning of a body
 * says the same or that it is too short; columns have one form. */
#include <stdlib.h>
#include <string.h>

#include "proto/cql_metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct cql_span span, const uint8_t *body, size_t size)
{
    CHECK(span.data == NULL || (span.data >= body && span.data <= body + size &&
                                span.length <= (size_t)(body + size - span.data)));
}

static void check_prepared(struct cql_header header, const uint8_t *body)
{
    struct cql_prepared_result prepared;
    if (!cql_read_prepared(header, body, &prepared))
        return;
    check_inside(prepared.id, body, header.body_length);
    check_inside(prepared.metadata_id, body, header.body_length);
    check_inside(prepared.result_metadata, body, header.body_length);
    struct dynbuf once, twice;
    dynbuf_init(&once, 65536);
    dynbuf_init(&twice, 65536);
    bool is_good = cql_metadata_columns(prepared.result_metadata, &once);
    CHECK(is_good == cql_metadata_columns(prepared.result_metadata, &twice));
    CHECK(!is_good || (once.length == twice.length &&
                       (once.length == 0 || memcmp(once.data, twice.data, once.length) == 0)));
    dynbuf_fini(&once);
    dynbuf_fini(&twice);
}

static void check_paging(struct cql_header header, const uint8_t *body)
{
    uint32_t offset = 0, length = 0, part_offset = 0, part_length = 0;
    enum cql_paging whole = cql_find_paging(header, body, header.body_length, &offset, &length);
    if (whole == CQL_PAGING_FOUND)
        CHECK((uint64_t)offset + 4 <= header.body_length && cql_load_u32(body + offset) == length);
    for (size_t cut = 0; cut < header.body_length; cut += 1 + header.body_length / 32) {
        enum cql_paging part = cql_find_paging(header, body, cut, &part_offset, &part_length);
        CHECK(part == CQL_PAGING_MORE || part == whole);
        CHECK(part != CQL_PAGING_FOUND || (part_offset == offset && part_length == length));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < CQL_HEADER_BYTES)
        return 0;
    uint8_t bytes[CQL_HEADER_BYTES];
    struct cql_header header = cql_header_load(data);
    cql_header_store(bytes, header);
    CHECK(memcmp(bytes, data, sizeof bytes) == 0);
    size_t length = size - CQL_HEADER_BYTES;
    uint8_t *body = malloc(length + 1); /* on its own, so that a read too far is seen */
    CHECK(body != NULL);
    memcpy(body, data + CQL_HEADER_BYTES, length);
    header.body_length = (uint32_t)length;
    header.flags &= (uint8_t)~CQL_FLAG_COMPRESSED;
    body = realloc(body, length == 0 ? 1 : length);
    CHECK(body != NULL);
    check_prepared(header, body);
    check_paging(header, body);
    free(body);
    return 0;
}
