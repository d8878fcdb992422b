/* Segments: vectors made with other implementations of the checksums, every prefix, every corrupt
 * byte, limits, compression. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cql_segment.h"

/* From Python: header fields little-endian; CRC24 by eight shifts a byte; zlib.crc32 of
 * fa2d55ca + payload; lz4.block.compress(b"a" * 200, store_size=False). */
static const struct {
    const char *hex;
    bool is_lz4, is_self_contained;
    const char *payload;
    size_t inflated_length;
} vectors[] = {
    {"0000026a36c4d37e7744", false, true, "", 0},
    {"0700003488f37365676d656e74b97306ec", false, false, "segment", 0},
    {"0700000000a4c16e7365676d656e74b97306ec", true, false, "segment", 0},
    {"0b009001040c756c1f610100af506161616161a26c1cad", true, true, NULL, 200},
};

static size_t from_hex(const char *hex, uint8_t *to)
{
    size_t length = strlen(hex) / 2;
    for (size_t i = 0; i < length; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        to[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return length;
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint8_t bytes[64], made[64], inflated[256];
        size_t length = from_hex(vectors[i].hex, bytes);
        size_t header = cql_segment_header_bytes(vectors[i].is_lz4);
        struct cql_segment segment;
        const char *reason = NULL;
        for (size_t part = 0; part < length; part++) {
            assert_int_equal(cql_segment_read(bytes, part, vectors[i].is_lz4, &segment, &reason),
                             CQL_SEGMENT_MORE);
            assert_int_equal(segment.total, part < header ? 0 : length);
        }
        assert_int_equal(cql_segment_read(bytes, length, vectors[i].is_lz4, &segment, &reason),
                         CQL_SEGMENT_DONE);
        assert_int_equal(segment.total, length);
        assert_int_equal(segment.is_self_contained, vectors[i].is_self_contained);
        assert_int_equal(segment.inflated_length, vectors[i].inflated_length);
        if (vectors[i].payload != NULL) {
            assert_int_equal(segment.length, strlen(vectors[i].payload));
            assert_memory_equal(segment.payload, vectors[i].payload, segment.length);
        } else {
            assert_true(cql_segment_inflate(&segment, inflated));
            for (size_t at = 0; at < vectors[i].inflated_length; at++)
                assert_int_equal(inflated[at], 'a');
        }
        cql_segment_put_header(made, vectors[i].is_lz4, segment.length, segment.inflated_length,
                               segment.is_self_contained);
        memcpy(made + header, segment.payload, segment.length);
        cql_segment_put_trailer(
            made + header + segment.length,
            cql_segment_crc_add(cql_segment_crc_begin(), segment.payload, segment.length));
        assert_memory_equal(made, bytes, length);
    }
}

static size_t make(uint8_t *to, bool is_lz4, const uint8_t *payload, size_t length,
                   size_t inflated_length)
{
    size_t header = cql_segment_header_bytes(is_lz4);
    uint32_t crc = cql_segment_crc_begin();
    cql_segment_put_header(to, is_lz4, length, inflated_length, true);
    memcpy(to + header, payload, length);
    for (size_t at = 0; at < length;) { /* in pieces: the checksum is the same */
        size_t part = length - at < 1000 ? length - at : 1000;
        crc = cql_segment_crc_add(crc, payload + at, part);
        at += part;
    }
    cql_segment_put_trailer(to + header + length, crc);
    return header + length + CQL_SEGMENT_TRAILER_BYTES;
}

/* The longest payload, whose checksum was made elsewhere too. */
static void test_longest(void **state)
{
    uint8_t *payload = malloc(CQL_SEGMENT_PAYLOAD_MAX), *bytes = malloc(CQL_SEGMENT_BYTES_MAX);
    uint8_t *deflated = malloc(CQL_SEGMENT_DEFLATED_MAX);
    uint8_t *inflated = malloc(CQL_SEGMENT_PAYLOAD_MAX);
    static const uint8_t crc[] = {0x57, 0xd4, 0xdd, 0x2b};
    static const uint8_t header[] = {0xff, 0xff, 0x03, 0x25, 0x40, 0x47};
    struct cql_segment segment;
    const char *reason = NULL;
    (void)state;
    assert_true(payload != NULL && bytes != NULL && deflated != NULL && inflated != NULL);
    memset(payload, 'x', CQL_SEGMENT_PAYLOAD_MAX);
    size_t length = make(bytes, false, payload, CQL_SEGMENT_PAYLOAD_MAX, 0);
    assert_memory_equal(bytes, header, sizeof header);
    assert_memory_equal(bytes + length - sizeof crc, crc, sizeof crc);
    assert_int_equal(cql_segment_read(bytes, length, false, &segment, &reason), CQL_SEGMENT_DONE);
    assert_int_equal(segment.length, CQL_SEGMENT_PAYLOAD_MAX);

    size_t deflated_length = cql_segment_deflate(payload, CQL_SEGMENT_PAYLOAD_MAX, deflated);
    assert_in_range(deflated_length, 1, 2000);
    length = make(bytes, true, deflated, deflated_length, CQL_SEGMENT_PAYLOAD_MAX);
    assert_int_equal(cql_segment_read(bytes, length, true, &segment, &reason), CQL_SEGMENT_DONE);
    assert_int_equal(segment.inflated_length, CQL_SEGMENT_PAYLOAD_MAX);
    assert_true(cql_segment_inflate(&segment, inflated));
    assert_memory_equal(inflated, payload, CQL_SEGMENT_PAYLOAD_MAX);
    segment.inflated_length--;
    assert_false(cql_segment_inflate(&segment, inflated)); /* longer than announced */
    segment.inflated_length++;
    segment.length--;
    assert_false(cql_segment_inflate(&segment, inflated)); /* shorter */

    uint32_t x = 7; /* what does not shrink stays as it is */
    for (size_t i = 0; i < CQL_SEGMENT_PAYLOAD_MAX; i++)
        payload[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
    assert_int_equal(cql_segment_deflate(payload, CQL_SEGMENT_PAYLOAD_MAX, deflated), 0);
    assert_int_equal(cql_segment_deflate((const uint8_t *)"aaaaaaaaaaaaaaaa", 16, deflated), 0);
    free(payload);
    free(bytes);
    free(deflated);
    free(inflated);
}

/* One wrong byte anywhere is found, whatever its value. */
static void test_every_corrupt_byte(void **state)
{
    (void)state;
    for (int is_lz4 = 0; is_lz4 < 2; is_lz4++) {
        uint8_t payload[300], bytes[400];
        for (size_t i = 0; i < sizeof payload; i++)
            payload[i] = (uint8_t)(i * 7);
        size_t length = make(bytes, is_lz4, payload, sizeof payload, 0);
        for (size_t at = 0; at < length; at++) {
            for (unsigned change = 1; change < 256; change++) {
                uint8_t *copy = malloc(length); /* so that a sanitizer sees the end */
                struct cql_segment segment;
                const char *reason = NULL;
                assert_non_null(copy);
                memcpy(copy, bytes, length);
                copy[at] ^= (uint8_t)change;
                assert_int_equal(cql_segment_read(copy, length, is_lz4, &segment, &reason),
                                 CQL_SEGMENT_BAD);
                assert_non_null(reason);
                free(copy);
            }
        }
    }
}

/* A block that lies about its length, however its bytes are, costs nothing but itself. */
static void test_bad_blocks(void **state)
{
    uint32_t x = 3;
    (void)state;
    for (int round = 0; round < 5000; round++) {
        uint8_t *block = malloc(40), *to = malloc(200);
        assert_true(block != NULL && to != NULL);
        size_t length = (size_t)round % 40;
        for (size_t i = 0; i < length; i++)
            block[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
        struct cql_segment segment = {
            .payload = block, .length = length, .inflated_length = 1 + x % 200};
        if (cql_segment_inflate(&segment, to))
            assert_true(segment.inflated_length <= 255 * length);
        free(block);
        free(to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_longest),
        cmocka_unit_test(test_every_corrupt_byte),
        cmocka_unit_test(test_bad_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
