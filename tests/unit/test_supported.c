/* SUPPORTED as the proxy offers it: reduced, and well formed whatever the target had sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <cmocka.h>

#include "dataplane/supported.h"
#include "dataplane/versions.h"
#include "proto/cql_response.h"

static void put_text(struct dynbuf *out, const char *text)
{
    cql_put_string(out, text, strlen(text));
}

static void put_entry(struct dynbuf *out, const char *key, const char *const *values)
{
    uint16_t count = 0;
    while (values[count] != NULL)
        count++;
    put_text(out, key);
    cql_put_u16(out, count);
    for (uint16_t i = 0; i < count; i++)
        put_text(out, values[i]);
}

/* v3 and v4. */
static uint8_t offered(void)
{
    return versions_of_node((struct cql_span){NULL, 0}, 4);
}

/* Builds from the first length bytes of body, in a heap block of that size. */
static void build(const uint8_t *body, size_t length, struct dynbuf *out)
{
    uint8_t *copy = malloc(length);
    assert_non_null(copy);
    if (length > 0)
        memcpy(copy, body, length);
    const struct topology origin = {.cluster = CLUSTER_ORIGIN};
    const struct topology target = {
        .cluster = CLUSTER_TARGET, .supported_body = copy, .supported_length = length};
    supported_build(&origin, &target, offered(), out);
    free(copy);
}

/* The whole of out is one multimap; COMPRESSION stands in it once, and, since the origin of these
 * tests has said nothing, is empty. */
static void check_well_formed(const struct dynbuf *out)
{
    assert_false(out->failed);
    struct cql_cursor cursor = cql_cursor_over(out->data, out->length);
    int compressions = 0;
    for (uint16_t left = cql_read_u16(&cursor); left > 0; left--) {
        struct cql_span key = cql_read_string(&cursor);
        uint16_t values = cql_read_u16(&cursor);
        if (cql_span_equals(key, "COMPRESSION")) {
            compressions++;
            assert_int_equal(values, 0);
        }
        for (; values > 0; values--) {
            struct cql_span value = cql_read_string(&cursor);
            if (cql_span_equals(key, "PROTOCOL_VERSIONS"))
                assert_true(cql_span_equals(value, "3/v3") || cql_span_equals(value, "4/v4"));
        }
        assert_false(cursor.failed);
    }
    assert_false(cursor.failed);
    assert_int_equal(cql_cursor_left(&cursor), 0);
    assert_int_equal(compressions, 1);
}

static void put_sample(struct dynbuf *out)
{
    cql_put_u16(out, 4);
    put_entry(out, "PROTOCOL_VERSIONS",
              (const char *const[]){"3/v3", "4/v4", "5/v5", "6/v6-beta", "65/dse-v1", NULL});
    put_entry(out, "COMPRESSION", (const char *const[]){"snappy", "lz4", NULL});
    put_entry(out, "CQL_VERSION", (const char *const[]){"3.4.7", NULL});
    put_entry(out, "EMPTY", (const char *const[]){NULL});
}

static void test_reduced(void **state)
{
    struct dynbuf body, want, out;
    (void)state;
    dynbuf_init(&body, 4096);
    dynbuf_init(&want, 4096);
    dynbuf_init(&out, 4096);
    put_sample(&body);
    cql_put_u16(&want, 4);
    put_entry(&want, "PROTOCOL_VERSIONS", (const char *const[]){"3/v3", "4/v4", NULL});
    put_entry(&want, "CQL_VERSION", (const char *const[]){"3.4.7", NULL});
    put_entry(&want, "EMPTY", (const char *const[]){NULL});
    put_entry(&want, "COMPRESSION", (const char *const[]){NULL});
    dynbuf_append_text(&out, "what was there before is gone");
    build(body.data, body.length, &out);
    assert_int_equal(out.length, want.length);
    assert_memory_equal(out.data, want.data, want.length);
    check_well_formed(&out);
    dynbuf_fini(&body);
    dynbuf_fini(&want);
    dynbuf_fini(&out);
}

/* Keys of out's entries, joined by spaces. */
static void keys_of(const struct dynbuf *out, struct dynbuf *keys)
{
    struct cql_cursor cursor = cql_cursor_over(out->data, out->length);
    dynbuf_reset(keys);
    for (uint16_t left = cql_read_u16(&cursor); left > 0; left--) {
        struct cql_span key = cql_read_string(&cursor);
        dynbuf_append(keys, key.data, key.length);
        dynbuf_append_text(keys, " ");
        for (uint16_t values = cql_read_u16(&cursor); values > 0; values--)
            (void)cql_read_string(&cursor);
    }
}

/* Cut at every byte: still well formed, and no key appears that the target never sent. */
static void test_truncated_at_every_byte(void **state)
{
    static const char *const allowed[] = {
        "COMPRESSION ",
        "PROTOCOL_VERSIONS COMPRESSION ",
        "PROTOCOL_VERSIONS CQL_VERSION COMPRESSION ",
        "PROTOCOL_VERSIONS CQL_VERSION EMPTY COMPRESSION ",
    };
    struct dynbuf body, out, keys;
    (void)state;
    dynbuf_init(&body, 4096);
    dynbuf_init(&out, 4096);
    dynbuf_init(&keys, 4096);
    put_sample(&body);
    for (size_t length = 0; length <= body.length; length++) {
        bool is_allowed = false;
        build(body.data, length, &out);
        check_well_formed(&out);
        keys_of(&out, &keys);
        for (size_t i = 0; i < ARRAY_COUNT(allowed); i++)
            is_allowed = is_allowed || strcmp(dynbuf_text(&keys), allowed[i]) == 0;
        if (!is_allowed)
            fail_msg("%zu bytes: keys %s", length, dynbuf_text(&keys));
    }
    dynbuf_fini(&body);
    dynbuf_fini(&out);
    dynbuf_fini(&keys);
}

static void test_hostile(void **state)
{
    static const struct {
        uint8_t body[24];
        size_t length;
    } vectors[] = {
        {{0xff, 0xff}, 2},
        {{0xff, 0xff, 0xff, 0xff, 'a'}, 5},
        {{0, 1, 0, 1, 'k', 0xff, 0xff}, 7},
        {{0, 1, 0, 1, 'k', 0xff, 0xff, 0xff, 0xff, 'v'}, 10},
        {{0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 14},
    };
    struct dynbuf out;
    (void)state;
    dynbuf_init(&out, 4096);
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        build(vectors[i].body, vectors[i].length, &out);
        check_well_formed(&out);
    }
    dynbuf_fini(&out);
}

/* As many entries as a multimap can count: ours must not make the count wrap. */
static void test_full_count(void **state)
{
    struct dynbuf body, out;
    (void)state;
    dynbuf_init(&body, 1 << 20);
    dynbuf_init(&out, 1 << 20);
    for (unsigned count = UINT16_MAX - 1; count <= UINT16_MAX; count++) {
        dynbuf_reset(&body);
        cql_put_u16(&body, (uint16_t)count);
        for (unsigned i = 0; i < count; i++) {
            put_text(&body, "k");
            cql_put_u16(&body, 0);
        }
        build(body.data, body.length, &out);
        check_well_formed(&out);
        assert_int_equal(cql_load_u16(out.data), UINT16_MAX);
    }
    dynbuf_fini(&body);
    dynbuf_fini(&out);
}

/* The compressions both offer, in the origin's order, of those the proxy can open. */
static void test_compressions(void **state)
{
    static const struct {
        const char *origin[5], *target[5], *want[3];
    } cases[] = {
        {{"snappy", "lz4"}, {"snappy", "lz4"}, {"snappy", "lz4"}},
        {{"lz4", "snappy"}, {"snappy", "lz4"}, {"lz4", "snappy"}},
        {{"snappy", "lz4"}, {"lz4"}, {"lz4"}},
        {{"lz4"}, {"snappy"}, {NULL}},
        {{NULL}, {"snappy", "lz4"}, {NULL}},
        {{"snappy", "lz4"}, {NULL}, {NULL}},
        {{"zstd", "LZ4", "none"}, {"none", "zstd", "lz4"}, {"LZ4"}},
    };
    struct dynbuf bodies[CLUSTER_COUNT], want, out;
    (void)state;
    for (int i = 0; i < CLUSTER_COUNT; i++)
        dynbuf_init(&bodies[i], 4096);
    dynbuf_init(&want, 4096);
    dynbuf_init(&out, 4096);
    for (size_t c = 0; c < ARRAY_COUNT(cases); c++) {
        struct topology topologies[CLUSTER_COUNT];
        dynbuf_reset(&want);
        cql_put_u16(&want, 1);
        put_entry(&want, "COMPRESSION", cases[c].want);
        for (int i = 0; i < CLUSTER_COUNT; i++) {
            dynbuf_reset(&bodies[i]);
            cql_put_u16(&bodies[i], 1);
            put_entry(&bodies[i], "COMPRESSION", i == 0 ? cases[c].origin : cases[c].target);
            topologies[i] = (struct topology){.supported_body = bodies[i].data,
                                              .supported_length = bodies[i].length};
        }
        supported_build(&topologies[CLUSTER_ORIGIN], &topologies[CLUSTER_TARGET], offered(), &out);
        assert_int_equal(out.length, want.length);
        assert_memory_equal(out.data, want.data, want.length);
        for (int i = 0; i < CLUSTER_COUNT; i++) {
            const char *const *names = i == 0 ? cases[c].origin : cases[c].target;
            bool has_lz4 = false;
            for (size_t k = 0; names[k] != NULL; k++)
                has_lz4 = has_lz4 || strcasecmp(names[k], "lz4") == 0;
            assert_int_equal(supported_has_compression(&topologies[i], CQL_COMPRESSION_LZ4),
                             has_lz4);
            /* A body cut short names nothing it has not, and is never read past. */
            for (size_t length = 0; length < bodies[i].length; length++) {
                uint8_t *cut = malloc(length + (length == 0));
                struct topology broken = {.supported_body = cut, .supported_length = length};
                memcpy(cut, bodies[i].data, length);
                if (supported_has_compression(&broken, CQL_COMPRESSION_LZ4))
                    assert_true(has_lz4);
                free(cut);
            }
        }
    }
    for (int i = 0; i < CLUSTER_COUNT; i++)
        dynbuf_fini(&bodies[i]);
    dynbuf_fini(&want);
    dynbuf_fini(&out);
}

/* No SUPPORTED has been seen yet. */
static void test_absent(void **state)
{
    const struct topology none = {.supported_body = NULL};
    struct dynbuf out;
    (void)state;
    dynbuf_init(&out, 4096);
    supported_build(&none, &none, offered(), &out);
    check_well_formed(&out);
    dynbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduced),      cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_hostile),      cmocka_unit_test(test_full_count),
        cmocka_unit_test(test_compressions), cmocka_unit_test(test_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
