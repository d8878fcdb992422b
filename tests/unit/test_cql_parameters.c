/* Query parameters: in every version and with every set of flags, what is there is found where it
 * stands, what is not there has a place, and a body that ends anywhere too early is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cql_request.h"

struct bytes {
    uint8_t data[512];
    size_t length;
};

static void put(struct bytes *to, const void *data, size_t length)
{
    assert_true(length <= sizeof to->data - to->length);
    if (length > 0)
        memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void put_number(struct bytes *to, uint64_t value, int bytes)
{
    while (bytes-- > 0) {
        uint8_t byte = (uint8_t)(value >> (8 * bytes));
        put(to, &byte, 1);
    }
}

static void put_text(struct bytes *to, const char *text, int length_bytes)
{
    put_number(to, strlen(text), length_bytes);
    put(to, text, strlen(text));
}

#define TIMESTAMP 0x0102030405060708LL

static const uint32_t all_flags[] = {
    CQL_QUERY_VALUES,       CQL_QUERY_SKIP_METADATA,      CQL_QUERY_PAGE_SIZE,
    CQL_QUERY_PAGING_STATE, CQL_QUERY_SERIAL_CONSISTENCY, CQL_QUERY_TIMESTAMP,
    CQL_QUERY_NAMES,        CQL_QUERY_KEYSPACE,           CQL_QUERY_NOW_IN_SECONDS,
    CQL_QUERY_PAGE_BYTES,   CQL_QUERY_CONTINUOUS_PAGING,
};

static bool is_known(uint8_t version, uint8_t opcode, uint32_t flag)
{
    bool is_dse = version == CQL_VERSION_DSE1 || version == CQL_VERSION_DSE2;
    if (opcode == CQL_OPCODE_BATCH && (flag & (CQL_QUERY_SERIAL_CONSISTENCY | CQL_QUERY_TIMESTAMP |
                                               CQL_QUERY_KEYSPACE | CQL_QUERY_NOW_IN_SECONDS)) == 0)
        return false;
    switch (flag) {
    case CQL_QUERY_KEYSPACE:
        return version == 5 || version == CQL_VERSION_DSE2;
    case CQL_QUERY_NOW_IN_SECONDS:
        return version == 5;
    case CQL_QUERY_PAGE_BYTES:
    case CQL_QUERY_CONTINUOUS_PAGING:
        return is_dse;
    default:
        return true;
    }
}

/* Writes the parameters from the flags on, and what must be found into *expected. */
static void put_parameters(struct bytes *to, uint8_t version, uint8_t opcode, uint32_t flags,
                           struct cql_parameters *expected)
{
    bool is_batch = opcode == CQL_OPCODE_BATCH;
    memset(expected, 0, sizeof *expected);
    expected->flags = flags;
    expected->flags_offset = (uint32_t)to->length;
    expected->flags_bytes = version >= 5 ? 4 : 1;
    put_number(to, flags, expected->flags_bytes);
    expected->count_offset = (uint32_t)to->length;
    if ((flags & CQL_QUERY_VALUES) != 0 && !is_batch) {
        expected->values_count = 3;
        put_number(to, 3, 2);
    }
    expected->values_offset = (uint32_t)to->length;
    for (int i = 0; i < expected->values_count; i++) {
        if ((flags & CQL_QUERY_NAMES) != 0)
            put_text(to, "name", 2);
        if (i == 1)
            put_number(to, UINT32_MAX - 1, 4); /* not set */
        else
            put_text(to, "value", 4);
    }
    expected->values_end = (uint32_t)to->length;
    if ((flags & CQL_QUERY_PAGE_SIZE) != 0) {
        expected->page_size = 5000;
        put_number(to, 5000, 4);
    }
    expected->paging_offset = (uint32_t)to->length;
    if ((flags & CQL_QUERY_PAGING_STATE) != 0) {
        expected->paging_state.length = 5;
        put_text(to, "state", 4);
    }
    if ((flags & CQL_QUERY_SERIAL_CONSISTENCY) != 0) {
        expected->serial_consistency = 9;
        put_number(to, 9, 2);
    }
    expected->timestamp_offset = (uint32_t)to->length;
    if ((flags & CQL_QUERY_TIMESTAMP) != 0) {
        expected->timestamp = TIMESTAMP;
        put_number(to, TIMESTAMP, 8);
    }
    expected->keyspace_offset = (uint32_t)to->length;
    if ((flags & CQL_QUERY_KEYSPACE) != 0) {
        expected->keyspace.length = 2;
        put_text(to, "ks", 2);
    }
    if ((flags & CQL_QUERY_NOW_IN_SECONDS) != 0)
        put_number(to, 1700000000, 4);
    if ((flags & CQL_QUERY_CONTINUOUS_PAGING) != 0) {
        put_number(to, 10, 4);
        put_number(to, 20, 4);
        if (version == CQL_VERSION_DSE2)
            put_number(to, 4, 4);
    }
    expected->end = (uint32_t)to->length;
}

static void assert_parameters(const struct cql_parameters *got, struct cql_parameters expected,
                              const uint8_t *body)
{
    /* Spans are compared by place. */
    if (expected.paging_state.length > 0)
        expected.paging_state.data = body + expected.paging_offset + 4;
    if (expected.keyspace.length > 0)
        expected.keyspace.data = body + expected.keyspace_offset + 2;
    assert_int_equal(got->flags, expected.flags);
    assert_int_equal(got->flags_offset, expected.flags_offset);
    assert_int_equal(got->flags_bytes, expected.flags_bytes);
    assert_int_equal(got->count_offset, expected.count_offset);
    assert_int_equal(got->values_count, expected.values_count);
    assert_int_equal(got->values_offset, expected.values_offset);
    assert_int_equal(got->values_end, expected.values_end);
    assert_int_equal(got->page_size, expected.page_size);
    assert_int_equal(got->paging_offset, expected.paging_offset);
    assert_ptr_equal(got->paging_state.data, expected.paging_state.data);
    assert_int_equal(got->paging_state.length, expected.paging_state.length);
    assert_int_equal(got->serial_consistency, expected.serial_consistency);
    assert_int_equal(got->timestamp_offset, expected.timestamp_offset);
    assert_true(got->timestamp == expected.timestamp);
    assert_int_equal(got->keyspace_offset, expected.keyspace_offset);
    assert_ptr_equal(got->keyspace.data, expected.keyspace.data);
    assert_int_equal(got->keyspace.length, expected.keyspace.length);
    assert_int_equal(got->end, expected.end);
}

static const uint8_t versions[] = {3, 4, 5, CQL_VERSION_DSE1, CQL_VERSION_DSE2};

static void check(uint8_t version, uint8_t opcode, uint32_t flags)
{
    struct bytes bytes = {.length = 0};
    struct cql_parameters expected, got;
    const char *reason = NULL;
    put(&bytes, "front", 5);
    put_parameters(&bytes, version, opcode, flags, &expected);
    for (size_t length = 5; length <= bytes.length; length++) {
        struct cql_header header = {
            .version = version, .opcode = opcode, .body_length = (uint32_t)length};
        uint8_t *body = malloc(length); /* of the exact size, for the address sanitizer */
        assert_non_null(body);
        memcpy(body, bytes.data, length);
        bool is_read = cql_read_parameters(header, body, 5, &got, &reason);
        if (is_read != (length == bytes.length))
            fail_msg("version %u, opcode %u, flags %x: %zu of %zu bytes: %d", version, opcode,
                     flags, length, bytes.length, is_read);
        if (is_read)
            assert_parameters(&got, expected, body);
        else
            assert_non_null(reason);
        free(body);
    }
}

static void test_every_set_of_flags(void **state)
{
    static const uint8_t opcodes[] = {CQL_OPCODE_QUERY, CQL_OPCODE_EXECUTE, CQL_OPCODE_BATCH};
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        for (size_t o = 0; o < ARRAY_COUNT(opcodes); o++) {
            for (uint32_t set = 0; set < 1u << ARRAY_COUNT(all_flags); set++) {
                uint32_t flags = 0;
                bool is_possible = true;
                for (size_t i = 0; i < ARRAY_COUNT(all_flags); i++) {
                    if ((set & 1u << i) == 0)
                        continue;
                    flags |= all_flags[i];
                    is_possible &= is_known(versions[v], opcodes[o], all_flags[i]);
                }
                if (is_possible)
                    check(versions[v], opcodes[o], flags);
            }
        }
    }
}

/* What the proxy inserts where a timestamp is missing is read there afterwards, and all else is as
 * before. */
static void test_a_timestamp_put_in(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        uint32_t flags = CQL_QUERY_VALUES | CQL_QUERY_PAGE_SIZE | CQL_QUERY_SERIAL_CONSISTENCY;
        struct bytes bytes = {.length = 0}, again = {.length = 0};
        struct cql_parameters before, after;
        const char *reason;
        if (is_known(versions[v], CQL_OPCODE_QUERY, CQL_QUERY_KEYSPACE))
            flags |= CQL_QUERY_KEYSPACE;
        put_parameters(&bytes, versions[v], CQL_OPCODE_QUERY, flags, &before);
        struct cql_header header = {.version = versions[v],
                                    .opcode = CQL_OPCODE_QUERY,
                                    .body_length = (uint32_t)bytes.length};
        assert_true(cql_read_parameters(header, bytes.data, 0, &before, &reason));
        put(&again, bytes.data, before.timestamp_offset);
        put_number(&again, TIMESTAMP, 8);
        put(&again, bytes.data + before.timestamp_offset, bytes.length - before.timestamp_offset);
        assert_int_equal(cql_store_flags(again.data, versions[v], flags | CQL_QUERY_TIMESTAMP),
                         before.flags_bytes);
        assert_int_equal(cql_load_flags(again.data, before.flags_bytes),
                         flags | CQL_QUERY_TIMESTAMP);
        header.body_length += 8;
        assert_true(cql_read_parameters(header, again.data, 0, &after, &reason));
        assert_true(after.timestamp == TIMESTAMP);
        assert_int_equal(after.timestamp_offset, before.timestamp_offset);
        assert_int_equal(after.values_end, before.values_end);
        assert_int_equal(after.keyspace.length, before.keyspace.length);
        assert_int_equal(after.end, before.end + 8);
    }
}

static bool skip_child(void *context, const struct cql_batch_child *child)
{
    struct cql_batch_child *last = context;
    *last = *child;
    return true;
}

static void test_a_batch_s_children_and_parameters(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        struct bytes bytes = {.length = 0};
        struct cql_parameters expected, got;
        struct cql_batch batch;
        struct cql_batch_child child;
        const char *reason;
        put_number(&bytes, CQL_BATCH_LOGGED, 1);
        put_number(&bytes, 1, 2);
        put_number(&bytes, 1, 1);
        put_text(&bytes, "identity", 2);
        put_number(&bytes, 2, 2);
        put_text(&bytes, "one", 4);
        put_number(&bytes, UINT32_MAX, 4);
        size_t end = bytes.length;
        put_number(&bytes, 6, 2);
        put_parameters(&bytes, versions[v], CQL_OPCODE_BATCH, CQL_QUERY_SERIAL_CONSISTENCY,
                       &expected);
        struct cql_header header = {.version = versions[v],
                                    .opcode = CQL_OPCODE_BATCH,
                                    .body_length = (uint32_t)bytes.length};
        assert_true(cql_read_batch(header, bytes.data, &batch, skip_child, &child, &reason));
        assert_int_equal(child.kind_offset, 3);
        assert_int_equal(child.offset, 3 + 1 + 2);
        assert_int_equal(child.count_offset, 3 + 1 + 2 + 8);
        assert_int_equal(child.values_offset, child.count_offset + 2);
        assert_int_equal(child.values_count, 2);
        assert_int_equal(child.values_end, end);
        assert_int_equal(batch.flags, CQL_QUERY_SERIAL_CONSISTENCY);
        assert_int_equal(batch.flags_offset, end + 2);
        assert_true(cql_read_parameters(header, bytes.data, batch.flags_offset, &got, &reason));
        assert_parameters(&got, expected, bytes.data);
    }
}

static void test_metadata_ids_and_keyspaces(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        bool has_ids = versions[v] == 5 || versions[v] == CQL_VERSION_DSE2;
        struct bytes execute = {.length = 0}, prepare = {.length = 0};
        struct cql_statement_request request;
        const char *reason;
        put_text(&execute, "identity", 2);
        if (has_ids)
            put_text(&execute, "metadata", 2);
        put_number(&execute, 4, 2);
        put_number(&execute, CQL_QUERY_SKIP_METADATA, versions[v] >= 5 ? 4 : 1);
        struct cql_header header = {.version = versions[v],
                                    .opcode = CQL_OPCODE_EXECUTE,
                                    .body_length = (uint32_t)execute.length};
        assert_true(cql_read_execute(header, execute.data, &request, &reason));
        assert_int_equal(request.metadata_id.length, has_ids ? 8 : 0);
        assert_int_equal(request.consistency, 4);
        assert_int_equal(request.flags, CQL_QUERY_SKIP_METADATA);
        assert_int_equal(request.flags_offset, 2 + 8 + (has_ids ? 2 + 8 : 0) + 2);

        put_text(&prepare, "SELECT 1", 4);
        header.opcode = CQL_OPCODE_PREPARE;
        header.body_length = (uint32_t)prepare.length;
        assert_true(cql_read_prepare(header, prepare.data, &request, &reason));
        assert_null(request.keyspace.data);
        put_number(&prepare, CQL_PREPARE_KEYSPACE, 4);
        put_text(&prepare, "ks", 2);
        header.body_length = (uint32_t)prepare.length;
        assert_true(cql_read_prepare(header, prepare.data, &request, &reason));
        assert_int_equal(request.keyspace.length, has_ids ? 2 : 0);
        header.body_length--;
        assert_int_equal(cql_read_prepare(header, prepare.data, &request, &reason), !has_ids);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_set_of_flags),
        cmocka_unit_test(test_a_timestamp_put_in),
        cmocka_unit_test(test_a_batch_s_children_and_parameters),
        cmocka_unit_test(test_metadata_ids_and_keyspaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
