/* The frame header's nine bytes and the opcode table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cql_frame.h"

static const struct {
    uint8_t bytes[CQL_HEADER_BYTES];
    struct cql_header header;
} vectors[] = {
    {{0x04, 0, 0, 0, 0x05, 0, 0, 0, 0}, {4, false, 0, 0, CQL_OPCODE_OPTIONS, 0}},
    {{0x83, 0x0f, 0x01, 0x02, 0x08, 0, 1, 2, 3}, {3, true, 0x0f, 258, CQL_OPCODE_RESULT, 66051}},
    {{0x84, 0, 0xff, 0xff, 0x0c, 0, 0, 0, 1}, {4, true, 0, -1, CQL_OPCODE_EVENT, 1}},
    {{0x03, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
     {3, false, 0xff, INT16_MAX, 0xff, UINT32_MAX}},
    {{0xff, 1, 0x80, 0x00, 0, 0x80, 0, 0, 0}, {0x7f, true, 1, INT16_MIN, 0, 0x80000000u}},
    {{0x00, 0, 0, 0, 0, 0, 0, 0, 0}, {0, false, 0, 0, 0, 0}},
};

static void test_header_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const struct cql_header *want = &vectors[i].header;
        struct cql_header got = cql_header_load(vectors[i].bytes);
        uint8_t stored[CQL_HEADER_BYTES];
        assert_int_equal(got.version, want->version);
        assert_int_equal(got.is_response, want->is_response);
        assert_int_equal(got.flags, want->flags);
        assert_int_equal(got.stream, want->stream);
        assert_int_equal(got.opcode, want->opcode);
        assert_int_equal(got.body_length, want->body_length);
        cql_header_store(stored, *want);
        assert_memory_equal(stored, vectors[i].bytes, sizeof stored);
    }
}

/* Native protocol v4, section 2.4. */
static const struct {
    uint8_t opcode;
    char direction;
    const char *name;
} opcodes[] = {
    {0x00, 'r', "ERROR"},        {0x01, 'q', "STARTUP"},        {0x02, 'r', "READY"},
    {0x03, 'r', "AUTHENTICATE"}, {0x05, 'q', "OPTIONS"},        {0x06, 'r', "SUPPORTED"},
    {0x07, 'q', "QUERY"},        {0x08, 'r', "RESULT"},         {0x09, 'q', "PREPARE"},
    {0x0A, 'q', "EXECUTE"},      {0x0B, 'q', "REGISTER"},       {0x0C, 'r', "EVENT"},
    {0x0D, 'q', "BATCH"},        {0x0E, 'r', "AUTH_CHALLENGE"}, {0x0F, 'q', "AUTH_RESPONSE"},
    {0x10, 'r', "AUTH_SUCCESS"}, {0xFF, 'q', "REVISE_REQUEST"},
};

static void test_opcodes(void **state)
{
    (void)state;
    for (int opcode = 0; opcode < 256; opcode++) {
        char direction = '-';
        const char *name = "UNKNOWN";
        for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++) {
            if (opcodes[i].opcode == opcode) {
                direction = opcodes[i].direction;
                name = opcodes[i].name;
            }
        }
        assert_string_equal(cql_opcode_name((uint8_t)opcode), name);
        assert_int_equal(cql_opcode_is_request((uint8_t)opcode), direction == 'q');
        assert_int_equal(cql_opcode_is_response((uint8_t)opcode), direction == 'r');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_vectors),
        cmocka_unit_test(test_opcodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
