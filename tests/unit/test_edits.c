/* Edits of a body: what each cluster sees, whatever the order they were added in, and that a list
 * used again remembers nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/edits.h"

static const uint8_t body[] = "0123456789";
#define BODY_LENGTH 10

struct text {
    char bytes[256];
    size_t length;
};

static bool collect(void *context, const uint8_t *bytes, size_t length, bool is_body)
{
    struct text *text = context;
    assert_true(length > 0);
    assert_int_equal(is_body, bytes >= body && bytes < body + sizeof body);
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    return true;
}

/* Both ways of applying give the same, and growth says how long it is. */
static void assert_seen(struct edits *edits, enum cluster_id cluster, const char *expected)
{
    struct text pieces = {.length = 0};
    uint8_t copy[256];
    edits_seal(edits);
    assert_false(edits->failed);
    assert_true(edits_apply(edits, cluster, body, BODY_LENGTH, collect, &pieces));
    size_t length = (size_t)(edits_copy(edits, cluster, body, BODY_LENGTH, copy) - copy);
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(copy, expected, length);
    assert_int_equal(pieces.length, length);
    assert_memory_equal(pieces.bytes, expected, length);
    assert_int_equal(BODY_LENGTH + edits->growth[cluster], length);
}

static void add(struct edits *edits, uint8_t clusters, uint32_t at, uint32_t removed,
                const char *bytes)
{
    edits_add(edits, clusters, at, removed, bytes, (uint32_t)strlen(bytes));
}

static void test_nothing(void **state)
{
    struct edits edits;
    (void)state;
    edits_init(&edits);
    assert_false(edits_touch(&edits, CLUSTER_ORIGIN));
    assert_seen(&edits, CLUSTER_ORIGIN, "0123456789");
    edits_fini(&edits);
}

static void test_each_cluster_sees_its_own(void **state)
{
    struct edits edits;
    (void)state;
    edits_init(&edits);
    add(&edits, EDIT_TARGET, 2, 3, "abcd");
    assert_false(edits_touch(&edits, CLUSTER_ORIGIN));
    assert_true(edits_touch(&edits, CLUSTER_TARGET));
    add(&edits, EDIT_BOTH, 10, 0, "end");
    add(&edits, EDIT_BOTH, 0, 1, "");
    assert_seen(&edits, CLUSTER_ORIGIN, "123456789end");
    assert_seen(&edits, CLUSTER_TARGET, "1abcd56789end");
    edits_fini(&edits);
}

static void test_one_place(void **state)
{
    struct edits edits;
    (void)state;
    edits_init(&edits);
    /* What is inserted at one place stands in the order of adding and before what is replaced. */
    add(&edits, EDIT_BOTH, 4, 2, "R");
    add(&edits, EDIT_BOTH, 4, 0, "a");
    add(&edits, EDIT_ORIGIN, 4, 0, "b");
    add(&edits, EDIT_TARGET, 6, 1, "S");
    assert_seen(&edits, CLUSTER_ORIGIN, "0123abR6789");
    assert_seen(&edits, CLUSTER_TARGET, "0123aRS789");
    edits_fini(&edits);
}

static void test_everything_replaced(void **state)
{
    struct edits edits;
    (void)state;
    edits_init(&edits);
    add(&edits, EDIT_BOTH, 0, BODY_LENGTH, "x");
    assert_seen(&edits, CLUSTER_TARGET, "x");
    edits_reset(&edits);
    add(&edits, EDIT_BOTH, 0, BODY_LENGTH, "");
    assert_seen(&edits, CLUSTER_TARGET, "");
    edits_fini(&edits);
}

static bool refuse(void *context, const uint8_t *bytes, size_t length, bool is_body)
{
    (void)bytes;
    (void)length;
    (void)is_body;
    return --*(int *)context > 0;
}

static void test_the_writer_may_stop(void **state)
{
    struct edits edits;
    (void)state;
    edits_init(&edits);
    add(&edits, EDIT_BOTH, 5, 1, "x");
    for (int stop_at = 1; stop_at <= 4; stop_at++) {
        int left = stop_at;
        assert_int_equal(edits_apply(&edits, CLUSTER_ORIGIN, body, BODY_LENGTH, refuse, &left),
                         stop_at == 4);
    }
    edits_fini(&edits);
}

/* Thousands of edits in any order, then a list like new. */
static void test_many_in_any_order(void **state)
{
    enum { COUNT = 5000 };
    static uint8_t large[COUNT * 2];
    static uint8_t sent[COUNT * 3];
    struct edits edits;
    (void)state;
    memset(large, '.', sizeof large);
    edits_init(&edits);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            /* 7 has no divisor in common with the count: every place comes once. */
            uint32_t place = i * 7 % COUNT;
            uint8_t *room = edits_room(&edits, 2);
            assert_non_null(room);
            room[0] = (uint8_t)place;
            room[1] = (uint8_t)(place >> 8);
            edits_add(&edits, EDIT_BOTH, 2 * place, 1, room, 2);
        }
        edits_seal(&edits);
        uint8_t *end = edits_copy(&edits, CLUSTER_TARGET, large, sizeof large, sent);
        assert_int_equal(end - sent, COUNT * 3);
        for (uint32_t i = 0; i < COUNT; i++) {
            assert_int_equal(sent[3 * i] | sent[3 * i + 1] << 8, i);
            assert_int_equal(sent[3 * i + 2], '.');
        }
        edits_reset(&edits);
        assert_int_equal(edits.count, 0);
        assert_int_equal(edits.growth[CLUSTER_TARGET], 0);
        assert_true(edits.capacity <= 256); /* what an unusual request needed is given back */
    }
    edits_fini(&edits);
}

static void test_room_of_any_size(void **state)
{
    static const size_t sizes[] = {1, 4096, 4095, 100000, 0, 16, 5000};
    struct edits edits;
    (void)state;
    edits_init(&edits);
    for (int round = 0; round < 2; round++) {
        uint8_t *rooms[ARRAY_COUNT(sizes)];
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            rooms[i] = edits_room(&edits, sizes[i]);
            assert_non_null(rooms[i]);
            memset(rooms[i], (int)i, sizes[i]);
        }
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(rooms[i][k], i);
        }
        edits_reset(&edits);
    }
    edits_fini(&edits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_each_cluster_sees_its_own),
        cmocka_unit_test(test_one_place),
        cmocka_unit_test(test_everything_replaced),
        cmocka_unit_test(test_the_writer_may_stop),
        cmocka_unit_test(test_many_in_any_order),
        cmocka_unit_test(test_room_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
