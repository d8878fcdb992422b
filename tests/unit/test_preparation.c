/* From two PREPARED answers to a registry entry: ids, metadata ids, and whether the clusters mean
 * the same columns; paging states of Rows, and the tags put before them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/paging_tag.h"
#include "dataplane/preparation.h"
#include "proto/cql_metadata.h"
#include "proto/cql_response.h"

static void put_text(struct dynbuf *body, const char *text)
{
    cql_put_string(body, text, strlen(text));
}

/* A column: its name and type; type_b only for maps. */
struct column {
    const char *name;
    uint16_t type, type_b;
};

static void put_columns(struct dynbuf *body, const char *table, bool is_global,
                        const struct column *columns, int count)
{
    if (is_global) {
        put_text(body, "ks");
        put_text(body, table);
    }
    for (int i = 0; i < count; i++) {
        if (!is_global) {
            put_text(body, "ks");
            put_text(body, table);
        }
        put_text(body, columns[i].name);
        cql_put_u16(body, columns[i].type);
        if (columns[i].type == 0x21)
            cql_put_u16(body, 0x0d);
        if (columns[i].type >= 0x20)
            cql_put_u16(body, columns[i].type_b);
    }
}

/* A PREPARED body with two bind variables. */
static struct cql_header put_prepared(struct dynbuf *body, uint8_t version, const char *id,
                                      const char *metadata_id, bool is_global,
                                      const struct column *columns, int count)
{
    static const struct column variables[] = {{"k", 0x09, 0}, {"m", 0x21, 0x09}};
    dynbuf_init(body, 65536);
    cql_put_i32(body, CQL_RESULT_PREPARED);
    put_text(body, id);
    if (cql_version_has_metadata_id(version))
        put_text(body, metadata_id);
    cql_put_i32(body, CQL_METADATA_GLOBAL_TABLE);
    cql_put_i32(body, 2);
    if (version >= 4) {
        cql_put_i32(body, 1);
        cql_put_u16(body, 0);
    }
    put_columns(body, "t", true, variables, 2);
    cql_put_i32(body, count == 0 ? CQL_METADATA_NO_COLUMNS : is_global ? 1 : 0);
    cql_put_i32(body, count);
    if (count > 0)
        put_columns(body, "t", is_global, columns, count);
    return (struct cql_header){.version = version,
                               .is_response = true,
                               .opcode = CQL_OPCODE_RESULT,
                               .body_length = (uint32_t)body->length};
}

static const struct column two[] = {{"k", 0x09, 0}, {"v", 0x20, 0x0d}};
static const struct column swapped[] = {{"v", 0x20, 0x0d}, {"k", 0x09, 0}};
static const struct column other_type[] = {{"k", 0x09, 0}, {"v", 0x22, 0x0d}};
static const struct column other_inner[] = {{"k", 0x09, 0}, {"v", 0x20, 0x09}};
static const struct column other_name[] = {{"k", 0x09, 0}, {"w", 0x20, 0x0d}};

static struct prepared *prepare(uint8_t version, const struct column *origin, int origin_count,
                                const struct column *target, int target_count)
{
    struct dynbuf from_origin, from_target;
    struct preparation *preparation =
        preparation_new((struct statement_class){.class = REQUEST_READ},
                        (struct cql_span){(const uint8_t *)"SELECT 1", 8}, "ks");
    assert_non_null(preparation);
    struct cql_header origin_header =
        put_prepared(&from_origin, version, "origin-id", "origin-meta", true, origin, origin_count);
    struct cql_header target_header = put_prepared(&from_target, version, "target-id",
                                                   "target-meta", false, target, target_count);
    preparation_note_target(preparation, target_header, from_target.data);
    struct prepared *prepared = preparation_finish(preparation, origin_header, from_origin.data,
                                                   (struct cql_span){NULL, 0}, NULL);
    dynbuf_fini(&from_origin);
    dynbuf_fini(&from_target);
    preparation_free(preparation);
    return prepared;
}

static void test_same_and_other_columns(void **state)
{
    static const struct {
        const struct column *columns;
        int count;
        bool differ;
    } targets[] = {
        {two, 2, false},       {swapped, 2, true}, {other_type, 2, true}, {other_inner, 2, true},
        {other_name, 2, true}, {two, 1, true},     {NULL, 0, true},
    };
    static const uint8_t versions[] = {3, 4, 5, CQL_VERSION_DSE1, CQL_VERSION_DSE2};
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
            struct prepared *prepared =
                prepare(versions[v], two, 2, targets[i].columns, targets[i].count);
            assert_non_null(prepared);
            assert_int_equal(prepared->traits.columns_differ, targets[i].differ);
            assert_int_equal(prepared->traits.other_ids, 1u << CLUSTER_TARGET);
            bool has_ids = cql_version_has_metadata_id(versions[v]);
            assert_int_equal(prepared->metadata_ids[CLUSTER_ORIGIN].length, has_ids ? 11 : 0);
            if (has_ids)
                assert_memory_equal(prepared->metadata_ids[CLUSTER_TARGET].bytes, "target-meta",
                                    11);
            assert_string_equal(prepared->keyspace, "ks");
            assert_int_equal(prepared->text_length, 8);
            /* The id as it stands on the wire. */
            assert_memory_equal(&prepared->ids[CLUSTER_ORIGIN], "\0\x09origin-id", 11);
            prepared_put(prepared);
        }
        struct prepared *write = prepare(versions[v], NULL, 0, NULL, 0);
        assert_false(write->traits.columns_differ);
        prepared_put(write);
    }
}

/* Prepared on one cluster, the other being idle: known by that one's id, marked as missing on the
 * other, without metadata ids. */
static void test_prepared_on_one(void **state)
{
    (void)state;
    for (int missing = 0; missing < CLUSTER_COUNT; missing++) {
        struct dynbuf body;
        struct preparation *preparation =
            preparation_new((struct statement_class){.class = REQUEST_READ},
                            (struct cql_span){(const uint8_t *)"SELECT 1", 8}, "ks");
        assert_non_null(preparation);
        preparation->missing = (uint8_t)(1u << missing);
        struct cql_header header = put_prepared(&body, 5, "only-id", "only-meta", true, two, 2);
        if (missing == CLUSTER_ORIGIN)
            preparation_note_target(preparation, header, body.data);
        struct prepared *prepared =
            preparation_finish(preparation, header, body.data, (struct cql_span){NULL, 0}, NULL);
        assert_non_null(prepared);
        assert_int_equal(prepared->traits.missing, 1u << missing);
        assert_true(prepared->traits.columns_differ);
        assert_int_equal(prepared->traits.other_ids, 0);
        for (int i = 0; i < CLUSTER_COUNT; i++) {
            assert_memory_equal(&prepared->ids[i], "\0\x07only-id", 9);
            assert_int_equal(prepared->metadata_ids[i].length, 0);
        }
        prepared_put(prepared);
        preparation_free(preparation);
        dynbuf_fini(&body);
    }
}

static void test_answers_cut_anywhere(void **state)
{
    (void)state;
    for (int version = 3; version <= 5; version++) {
        struct dynbuf body;
        struct cql_header header =
            put_prepared(&body, (uint8_t)version, "id", "meta", true, two, 2);
        for (size_t length = 0; length < body.length; length++) {
            struct preparation *preparation = preparation_new(
                (struct statement_class){.class = REQUEST_READ}, (struct cql_span){NULL, 0}, "");
            uint8_t *cut = malloc(length + 1);
            assert_non_null(cut);
            memcpy(cut, body.data, length);
            struct cql_header shorter = header;
            shorter.body_length = (uint32_t)length;
            preparation_note_target(preparation, shorter, cut);
            assert_false(preparation->has_columns);
            struct prepared *prepared = preparation_finish(preparation, header, body.data,
                                                           (struct cql_span){NULL, 0}, NULL);
            /* Without an id there is no entry; without its columns they count as different. */
            assert_int_equal(prepared != NULL, preparation->id.length > 0);
            assert_true(prepared == NULL || prepared->traits.columns_differ);
            prepared_put(prepared);
            preparation_free(preparation);
            free(cut);
        }
        dynbuf_fini(&body);
    }
}

static void test_types_nested_without_end(void **state)
{
    struct dynbuf metadata, columns;
    (void)state;
    dynbuf_init(&metadata, 65536);
    dynbuf_init(&columns, 65536);
    cql_put_i32(&metadata, CQL_METADATA_GLOBAL_TABLE);
    cql_put_i32(&metadata, 1);
    put_text(&metadata, "ks");
    put_text(&metadata, "t");
    put_text(&metadata, "deep");
    for (int i = 0; i < 20000; i++)
        cql_put_u16(&metadata, 0x20);
    cql_put_u16(&metadata, 0x09);
    assert_false(cql_metadata_columns((struct cql_span){metadata.data, metadata.length}, &columns));
    dynbuf_fini(&metadata);
    dynbuf_fini(&columns);
}

/* ---- paging ---- */

static struct cql_header put_rows(struct dynbuf *body, uint8_t flags, uint32_t metadata_flags,
                                  const char *paging_state)
{
    dynbuf_init(body, 65536);
    if ((flags & CQL_FLAG_TRACING) != 0)
        dynbuf_append(body, "0123456789abcdef", 16);
    if ((flags & CQL_FLAG_WARNING) != 0) {
        cql_put_u16(body, 1);
        put_text(body, "mind the gap");
    }
    cql_put_i32(body, CQL_RESULT_ROWS);
    cql_put_i32(body, (int32_t)metadata_flags);
    cql_put_i32(body, 1);
    if (paging_state != NULL) {
        cql_put_i32(body, (int32_t)strlen(paging_state));
        dynbuf_append(body, paging_state, strlen(paging_state));
    }
    cql_put_i32(body, 0);
    return (struct cql_header){.version = 4,
                               .flags = flags,
                               .is_response = true,
                               .opcode = CQL_OPCODE_RESULT,
                               .body_length = (uint32_t)body->length};
}

static void test_where_the_paging_state_stands(void **state)
{
    (void)state;
    for (uint8_t flags = 0; flags <= 0x0a; flags = (uint8_t)(flags + 2)) {
        struct dynbuf body;
        uint32_t offset, length;
        if ((flags & CQL_FLAG_CUSTOM_PAYLOAD) != 0)
            continue;
        struct cql_header header = put_rows(&body, flags, CQL_METADATA_MORE_PAGES, "state");
        size_t prefix = ((flags & CQL_FLAG_TRACING) != 0 ? 16 : 0) +
                        ((flags & CQL_FLAG_WARNING) != 0 ? 2 + 2 + 12 : 0);
        for (size_t there = 0; there <= body.length; there++) {
            enum cql_paging found = cql_find_paging(header, body.data, there, &offset, &length);
            assert_int_equal(found, there < prefix + 16 ? CQL_PAGING_MORE : CQL_PAGING_FOUND);
            if (found == CQL_PAGING_FOUND) {
                assert_int_equal(offset, prefix + 12);
                assert_int_equal(length, 5);
            }
        }
        dynbuf_fini(&body);
    }
}

static void test_no_paging_state(void **state)
{
    static const struct {
        uint32_t flags;
        const char *state;
    } none[] = {
        {0, NULL},
        {CQL_METADATA_NO_COLUMNS, NULL},
        {CQL_METADATA_MORE_PAGES, ""},
        {CQL_METADATA_MORE_PAGES | CQL_METADATA_CONTINUOUS, "state"},
    };
    uint32_t offset, length;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(none); i++) {
        struct dynbuf body;
        struct cql_header header = put_rows(&body, 0, none[i].flags, none[i].state);
        assert_int_equal(cql_find_paging(header, body.data, body.length, &offset, &length),
                         CQL_PAGING_NONE);
        dynbuf_fini(&body);
    }
    /* A state longer than the answer is nobody's. */
    struct dynbuf body;
    struct cql_header header = put_rows(&body, 0, CQL_METADATA_MORE_PAGES, "state");
    cql_store_u32(body.data + 12, 10);
    assert_int_equal(cql_find_paging(header, body.data, body.length, &offset, &length),
                     CQL_PAGING_NONE);
    dynbuf_fini(&body);
}

static void test_tags(void **state)
{
    uint8_t tagged[PAGING_TAG_BYTES + 3];
    enum cluster_id cluster;
    (void)state;
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        memcpy(tagged, paging_tag((enum cluster_id)i), PAGING_TAG_BYTES);
        memcpy(tagged + PAGING_TAG_BYTES, "abc", 3);
        assert_true(paging_tag_read((struct cql_span){tagged, sizeof tagged}, &cluster));
        assert_int_equal(cluster, i);
        assert_true(paging_tag_read((struct cql_span){tagged, PAGING_TAG_BYTES}, &cluster));
        assert_false(paging_tag_read((struct cql_span){tagged, PAGING_TAG_BYTES - 1}, &cluster));
        for (size_t byte = 0; byte < PAGING_TAG_BYTES; byte++) {
            tagged[byte] ^= 0x80;
            assert_false(paging_tag_read((struct cql_span){tagged, sizeof tagged}, &cluster));
            tagged[byte] ^= 0x80;
        }
    }
    assert_false(paging_tag_read((struct cql_span){NULL, 0}, &cluster));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_and_other_columns),
        cmocka_unit_test(test_prepared_on_one),
        cmocka_unit_test(test_answers_cut_anywhere),
        cmocka_unit_test(test_types_nested_without_end),
        cmocka_unit_test(test_where_the_paging_state_stands),
        cmocka_unit_test(test_no_paging_state),
        cmocka_unit_test(test_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
