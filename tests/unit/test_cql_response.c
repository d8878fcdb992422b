/* Response bodies: what the flags put in front is skipped exactly or found broken; the names of
 * errors; the bodies the proxy makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cql_response.h"

#define MARK 0x11223344

static const uint8_t tracing[16] = "0123456789abcde";
static const uint8_t warnings[] = {0, 2, 0, 3, 'o', 'n', 'e', 0, 0};
static const uint8_t payload[] = {0,   2, 0, 1, 'k', 0,    0,    0,    2,
                                  'v', 0, 0, 1, 'n', 0xff, 0xff, 0xff, 0xff};
static const uint8_t mark[] = {0x11, 0x22, 0x33, 0x44};

static size_t put(uint8_t *to, size_t at, const uint8_t *part, size_t length)
{
    memcpy(to + at, part, length);
    return at + length;
}

static void test_open_truncated_at_every_byte(void **state)
{
    (void)state;
    for (int flags = 0; flags < 16; flags++) {
        uint8_t bytes[128];
        size_t length = 0;
        if ((flags & CQL_FLAG_TRACING) != 0)
            length = put(bytes, length, tracing, sizeof tracing);
        if ((flags & CQL_FLAG_WARNING) != 0)
            length = put(bytes, length, warnings, sizeof warnings);
        if ((flags & CQL_FLAG_CUSTOM_PAYLOAD) != 0)
            length = put(bytes, length, payload, sizeof payload);
        size_t prefix = length;
        length = put(bytes, length, mark, sizeof mark);
        for (size_t cut = 0; cut <= length; cut++) {
            uint8_t *body = malloc(cut);
            assert_non_null(body);
            memcpy(body, bytes, cut);
            struct cql_cursor cursor = cql_open_response(
                (struct cql_header){.flags = (uint8_t)flags, .body_length = (uint32_t)cut}, body);
            if (cursor.failed != (cut < prefix))
                fail_msg("flags %d: %zu of %zu bytes: failed %d", flags, cut, prefix,
                         cursor.failed);
            int32_t value = cql_read_i32(&cursor);
            assert_int_equal(value, cut == length ? MARK : 0);
            assert_int_equal(cursor.failed, cut < length);
            free(body);
        }
    }
}

static void test_open_lies(void **state)
{
    static const struct {
        uint8_t flags;
        uint8_t body[12];
        size_t length;
    } lies[] = {
        {CQL_FLAG_WARNING, {0xff, 0xff}, 2},
        {CQL_FLAG_WARNING, {0, 1, 0xff, 0xff, 'a'}, 5},
        {CQL_FLAG_CUSTOM_PAYLOAD, {0xff, 0xff, 0, 0}, 4},
        {CQL_FLAG_CUSTOM_PAYLOAD, {0, 1, 0, 0, 0x7f, 0xff, 0xff, 0xff}, 8},
        {CQL_FLAG_TRACING, {0}, 12},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(lies); i++) {
        uint8_t *body = malloc(lies[i].length);
        assert_non_null(body);
        memcpy(body, lies[i].body, lies[i].length);
        struct cql_cursor cursor = cql_open_response(
            (struct cql_header){.flags = lies[i].flags, .body_length = (uint32_t)lies[i].length},
            body);
        assert_true(cursor.failed);
        /* A failed cursor stays failed and yields nothing. */
        assert_int_equal(cql_read_u8(&cursor), 0);
        assert_int_equal(cql_read_u16(&cursor), 0);
        assert_null(cql_read_string(&cursor).data);
        assert_null(cql_read_long_string(&cursor).data);
        assert_null(cql_read_bytes(&cursor).data);
        assert_true(cursor.failed);
        free(body);
    }
}

/* Native protocol v4, section 9, and the two codes v5 adds. */
static const struct {
    int32_t code;
    const char *name;
} errors[] = {
    {0x0000, "SERVER_ERROR"},      {0x000A, "PROTOCOL_ERROR"},
    {0x0100, "BAD_CREDENTIALS"},   {0x1000, "UNAVAILABLE"},
    {0x1001, "OVERLOADED"},        {0x1002, "IS_BOOTSTRAPPING"},
    {0x1003, "TRUNCATE_ERROR"},    {0x1100, "WRITE_TIMEOUT"},
    {0x1200, "READ_TIMEOUT"},      {0x1300, "READ_FAILURE"},
    {0x1400, "FUNCTION_FAILURE"},  {0x1500, "WRITE_FAILURE"},
    {0x1600, "CDC_WRITE_FAILURE"}, {0x1700, "CAS_WRITE_UNKNOWN"},
    {0x2000, "SYNTAX_ERROR"},      {0x2100, "UNAUTHORIZED"},
    {0x2200, "INVALID"},           {0x2300, "CONFIG_ERROR"},
    {0x2400, "ALREADY_EXISTS"},    {0x2500, "UNPREPARED"},
    {0x2501, "UNKNOWN"},           {-1, "UNKNOWN"},
    {INT32_MIN, "UNKNOWN"},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++)
        assert_string_equal(cql_error_name(errors[i].code), errors[i].name);
}

static void test_pieces(void **state)
{
    static const uint8_t want[] = {0,    0,    0x11, 0,    0,    2,    'n', 'o', 0xab,
                                   0x12, 0x34, 0xff, 0xff, 0xff, 0xfe, 0,   0};
    struct dynbuf body;
    (void)state;
    dynbuf_init(&body, 1024);
    cql_put_error(&body, CQL_ERROR_WRITE_TIMEOUT, "no");
    cql_put_u8(&body, 0xab);
    cql_put_u16(&body, 0x1234);
    cql_put_i32(&body, -2);
    cql_put_string(&body, NULL, 0);
    assert_false(body.failed);
    assert_int_equal(body.length, sizeof want);
    assert_memory_equal(body.data, want, sizeof want);
    dynbuf_fini(&body);
}

/* The length of a [string] has two bytes; what does not fit is cut, never written with a length
 * that has wrapped. */
static void test_string_limit(void **state)
{
    static const struct {
        size_t length, kept;
    } vectors[] = {{65534, 65534}, {65535, 65535}, {65536, 65535}, {70000, 65535}};
    struct dynbuf body;
    char *text = malloc(70000);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', 70000);
    dynbuf_init(&body, 100000);
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        dynbuf_reset(&body);
        cql_put_string(&body, text, vectors[i].length);
        assert_int_equal(body.length, 2 + vectors[i].kept);
        assert_int_equal(cql_load_u16(body.data), vectors[i].kept);
    }
    dynbuf_fini(&body);
    free(text);
}

/* A body that does not fit is marked as failed, and no later piece hides that. */
static void test_overflow(void **state)
{
    struct dynbuf body;
    (void)state;
    dynbuf_init(&body, 8);
    cql_put_error(&body, CQL_ERROR_SERVER, "too long for this");
    cql_put_u8(&body, 1);
    assert_true(body.failed);
    assert_true(body.length <= 8);
    dynbuf_fini(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_truncated_at_every_byte),
        cmocka_unit_test(test_open_lies),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_string_limit),
        cmocka_unit_test(test_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
