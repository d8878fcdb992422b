/* The hash table under the prepared statements: against a plain array, through growing, removing
 * and shrinking, with hashes that collide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/prepared_table.h"

static struct prepared_slot *find(const struct prepared_table *table, uint64_t hash, void *item)
{
    struct prepared_slot *slot;
    for (size_t at = hash; (slot = prepared_table_match(table, hash, &at)) != NULL; at++) {
        if (slot->item == item)
            return slot;
    }
    return NULL;
}

static void test_empty(void **state)
{
    struct prepared_table table;
    size_t at = 7;
    (void)state;
    prepared_table_init(&table);
    assert_null(prepared_table_match(&table, 7, &at));
    prepared_table_shrink(&table);
    prepared_table_fini(&table);
    assert_int_equal(table.count, 0);
}

/* Items are numbers; the hashes of all fall into few places, so that runs are long and wrap. */
static void against_an_array(uint64_t places)
{
    enum { ITEMS = 600, ROUNDS = 40000 };
    static char items[ITEMS];
    bool is_in[ITEMS] = {false};
    struct prepared_table table;
    uint64_t x = 1;
    size_t count = 0;
    prepared_table_init(&table);
    for (int round = 0; round < ROUNDS; round++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        size_t n = (x >> 33) % ITEMS;
        uint64_t hash = n % places - places / 2;
        struct prepared_slot *slot = find(&table, hash, &items[n]);
        assert_int_equal(slot != NULL, is_in[n]);
        /* Half of the time more goes in than out, then the other way round. */
        bool is_adding = (x >> 60) < (round / 5000 % 2 == 0 ? 12 : 4);
        if (is_in[n] && !is_adding) {
            prepared_table_remove(&table, slot);
            is_in[n] = false;
            count--;
        } else if (!is_in[n] && is_adding) {
            assert_true(prepared_table_add(&table, hash, &items[n]));
            is_in[n] = true;
            count++;
        }
        if (round % 1000 == 0)
            prepared_table_shrink(&table);
        assert_int_equal(table.count, count);
    }
    for (size_t n = 0; n < ITEMS; n++)
        assert_int_equal(find(&table, n % places - places / 2, &items[n]) != NULL, is_in[n]);
    prepared_table_fini(&table);
}

static void test_against_an_array(void **state)
{
    (void)state;
    against_an_array(1);
    against_an_array(13);
    against_an_array(600);
}

static void test_memory_follows_the_count(void **state)
{
    enum { COUNT = 10000 };
    static char items[COUNT];
    struct prepared_table table;
    (void)state;
    prepared_table_init(&table);
    for (uint64_t n = 0; n < COUNT; n++)
        assert_true(prepared_table_add(&table, n * 0x9e3779b97f4a7c15ULL, &items[n]));
    assert_in_range(table.mask + 1, COUNT * 8 / 7, COUNT * 16 / 7 + 1);
    for (uint64_t n = 0; n < COUNT - 10; n++)
        prepared_table_remove(&table, find(&table, n * 0x9e3779b97f4a7c15ULL, &items[n]));
    prepared_table_shrink(&table);
    assert_in_range(table.mask + 1, 16, 128);
    for (uint64_t n = COUNT - 10; n < COUNT; n++)
        assert_non_null(find(&table, n * 0x9e3779b97f4a7c15ULL, &items[n]));
    prepared_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_against_an_array),
        cmocka_unit_test(test_memory_follows_the_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
