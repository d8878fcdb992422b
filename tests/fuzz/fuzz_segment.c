/* Segments. Properties: a verdict on any bytes, and the same one for every shorter beginning until
 * it is reached; payloads lie inside; what we make is read back as it was, whole and in pieces; a
 * flipped bit is never taken for good. */
#include <stdlib.h>
#include <string.h>

#include "proto/cql_segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_anything(const uint8_t *data, size_t size, bool is_lz4)
{
    struct cql_segment segment;
    const char *reason = NULL;
    enum cql_segment_verdict verdict = cql_segment_read(data, size, is_lz4, &segment, &reason);
    if (verdict == CQL_SEGMENT_BAD) {
        CHECK(reason != NULL && reason[0] != '\0');
        return;
    }
    CHECK(segment.total <= CQL_SEGMENT_BYTES_MAX);
    if (verdict == CQL_SEGMENT_MORE) {
        CHECK(segment.total == 0 || segment.total > size);
        return;
    }
    CHECK(segment.total <= size && segment.length <= CQL_SEGMENT_PAYLOAD_MAX);
    CHECK(segment.payload >= data && segment.payload + segment.length <= data + size);
    CHECK(segment.inflated_length <= CQL_SEGMENT_PAYLOAD_MAX);
    if (segment.inflated_length > 0) {
        uint8_t *plain = malloc(segment.inflated_length);
        CHECK(plain != NULL);
        bool is_good = cql_segment_inflate(&segment, plain);
        (void)is_good;
        free(plain);
    }
    for (size_t cut = 0; cut < segment.total; cut += 1 + segment.total / 64) {
        struct cql_segment shorter;
        CHECK(cql_segment_read(data, cut, is_lz4, &shorter, &reason) == CQL_SEGMENT_MORE);
    }
}

static void make_and_read(const uint8_t *payload, size_t length, bool is_lz4, uint32_t flip)
{
    uint8_t *bytes = malloc(CQL_SEGMENT_BYTES_MAX + CQL_SEGMENT_DEFLATED_MAX);
    CHECK(bytes != NULL);
    size_t header = cql_segment_header_bytes(is_lz4);
    size_t sent = is_lz4 ? cql_segment_deflate(payload, length, bytes + header) : 0;
    size_t inflated = sent == 0 ? 0 : length;
    if (sent == 0) {
        memcpy(bytes + header, payload, length);
        sent = length;
    }
    CHECK(sent <= length);
    cql_segment_put_header(bytes, is_lz4, sent, inflated, (flip & 1) != 0);
    uint32_t crc = cql_segment_crc_add(cql_segment_crc_begin(), bytes + header, sent / 2);
    crc = cql_segment_crc_add(crc, bytes + header + sent / 2, sent - sent / 2);
    cql_segment_put_trailer(bytes + header + sent, crc);
    size_t total = header + sent + CQL_SEGMENT_TRAILER_BYTES;
    struct cql_segment segment;
    const char *reason;
    CHECK(cql_segment_read(bytes, total, is_lz4, &segment, &reason) == CQL_SEGMENT_DONE);
    CHECK(segment.total == total && segment.is_self_contained == ((flip & 1) != 0));
    if (inflated > 0) {
        uint8_t *plain = malloc(length);
        CHECK(plain != NULL && segment.inflated_length == length);
        CHECK(cql_segment_inflate(&segment, plain) && memcmp(plain, payload, length) == 0);
        free(plain);
    } else {
        CHECK(segment.length == length && memcmp(segment.payload, payload, length) == 0);
    }
    bytes[(flip / 8) % total] ^= (uint8_t)(1u << (flip % 8));
    CHECK(cql_segment_read(bytes, total, is_lz4, &segment, &reason) != CQL_SEGMENT_DONE);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t flip = 0;
    read_anything(data, size, false);
    read_anything(data, size, true);
    if (size <= sizeof flip || size > CQL_SEGMENT_PAYLOAD_MAX)
        return 0;
    memcpy(&flip, data, sizeof flip);
    make_and_read(data + sizeof flip, size - sizeof flip, (flip & 2) != 0, flip);
    return 0;
}
