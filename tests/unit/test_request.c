/* Requests in flight: slots at the limit and beyond it, reuse, and the answer that is held. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/preparation.h"
#include "dataplane/request.h"

/* Sanitizers report a hopeless allocation instead of letting it fail; here it is meant to fail. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_slots_up_to_limit(void **state)
{
    static const uint32_t limits[] = {1, 2, 15, 16, 17, 100, 2048, 32768};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(limits); i++) {
        uint32_t limit = limits[i];
        struct request_pool pool;
        struct request_table table;
        struct request **requests = calloc(limit, sizeof(struct request *));
        bool *is_taken = calloc(limit, sizeof *is_taken);
        assert_true(requests != NULL && is_taken != NULL);
        request_pool_init(&pool);
        request_table_init(&table, limit);
        assert_int_equal(table.capacity, 0); /* a session that asks nothing costs nothing */
        for (uint32_t n = 0; n < limit; n++) {
            requests[n] = request_begin(&table, &pool);
            assert_non_null(requests[n]);
            uint16_t slot = requests[n]->slot;
            assert_true(slot < limit && !is_taken[slot]);
            is_taken[slot] = true;
            assert_ptr_equal(table.slots[slot], requests[n]);
            assert_int_equal(table.used, n + 1);
        }
        assert_null(request_begin(&table, &pool)); /* limit + 1 */
        assert_null(request_begin(&table, &pool));
        assert_int_equal(table.used, limit);
        /* One ends: exactly one may begin, on the slot that has become free. */
        uint16_t slot = requests[limit / 2]->slot;
        request_end(&table, &pool, requests[limit / 2]);
        assert_null(table.slots[slot]);
        requests[limit / 2] = request_begin(&table, &pool);
        assert_non_null(requests[limit / 2]);
        assert_int_equal(requests[limit / 2]->slot, slot);
        assert_null(request_begin(&table, &pool));
        for (uint32_t n = 0; n < limit; n++)
            request_end(&table, &pool, requests[n]);
        assert_int_equal(table.used, 0);
        assert_true(table.capacity <= limit);
        request_table_fini(&table);
        assert_int_equal(table.limit, limit);
        request_pool_fini(&pool);
        free(requests);
        free(is_taken);
    }
}

/* Nothing of an earlier request shows in a later one that gets its memory. */
static void test_reused_request_is_zeroed(void **state)
{
    static const uint8_t frame[REQUEST_HELD_INLINE + 1] = {1};
    struct request_pool pool;
    struct request_table table;
    (void)state;
    request_pool_init(&pool);
    request_table_init(&table, 4);
    struct request *request = request_begin(&table, &pool);
    uint16_t slot = request->slot;
    request->started_ns = 1;
    request->client_stream = 77;
    request->opcode = 9;
    request->is_expired = true;
    request->statement.class = REQUEST_WRITE;
    request->consistency = 4;
    request->answerer = CLUSTER_TARGET;
    request->outcomes[CLUSTER_ORIGIN] = request->outcomes[CLUSTER_TARGET] = OUTCOME_ERROR;
    request->preparation = preparation_new((struct statement_class){.class = REQUEST_READ},
                                           (struct cql_span){(const uint8_t *)"x", 1}, "ks");
    assert_true(request_hold(request, CLUSTER_TARGET, frame, sizeof frame));
    request_end(&table, &pool, request);

    struct request *again = request_begin(&table, &pool);
    assert_ptr_equal(again, request); /* from the pool, not from malloc */
    assert_int_equal(again->slot, slot);
    assert_int_equal(again->started_ns, 0);
    assert_int_equal(again->client_stream, 0);
    assert_int_equal(again->opcode, 0);
    assert_false(again->is_expired);
    assert_int_equal(again->statement.class, REQUEST_READ);
    assert_int_equal(again->consistency, 0);
    assert_int_equal(again->answerer, CLUSTER_ORIGIN);
    assert_int_equal(again->outcomes[CLUSTER_ORIGIN], OUTCOME_NOT_ASKED);
    assert_int_equal(again->outcomes[CLUSTER_TARGET], OUTCOME_NOT_ASKED);
    assert_null(again->prepared);
    assert_null(again->preparation);
    assert_null(again->held);
    assert_int_equal(again->held_length, 0);
    assert_true(list_is_empty(&again->deadline));
    request_end(&table, &pool, again);
    request_table_fini(&table);
    request_pool_fini(&pool);
}

/* Ending takes the request off the list of deadlines it stands on, and two tables share a pool. */
static void test_end_leaves_lists(void **state)
{
    struct request_pool pool;
    struct request_table first, second;
    struct list deadlines;
    (void)state;
    request_pool_init(&pool);
    request_table_init(&first, 4);
    request_table_init(&second, 4);
    list_init(&deadlines);
    struct request *a = request_begin(&first, &pool), *b = request_begin(&second, &pool);
    list_append(&deadlines, &a->deadline);
    list_append(&deadlines, &b->deadline);
    request_end(&first, &pool, a);
    assert_ptr_equal(list_first(&deadlines), &b->deadline);
    assert_ptr_equal(b->deadline.next, &deadlines);
    struct request *c = request_begin(&second, &pool);
    assert_ptr_equal(c, a);
    assert_int_not_equal(c->slot, b->slot);
    request_end(&second, &pool, b);
    assert_true(list_is_empty(&deadlines));
    request_end(&second, &pool, c);
    request_table_fini(&first);
    request_table_fini(&second);
    request_pool_fini(&pool);
}

static void test_prepared_is_released(void **state)
{
    static const uint8_t id[16] = {1};
    static struct prepared_cache cache;
    struct cql_span span = {id, sizeof id};
    struct request_pool pool;
    struct request_table table;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(16);
    struct prepared *prepared = prepared_new(
        &(struct prepared_facts){.ids = {span, span}, .statement = {.class = REQUEST_WRITE}});
    prepared_registry_add(registry, prepared);
    prepared_put(prepared);
    prepared_cache_init(&cache, registry);
    request_pool_init(&pool);
    request_table_init(&table, 4);
    struct request *request = request_begin(&table, &pool);
    request->prepared = prepared_cache_find(&cache, span);
    struct prepared_handle *handle = request->prepared;
    assert_int_equal(handle->uses, 1);
    request_end(&table, &pool, request);
    assert_int_equal(handle->uses, 0);
    request_table_fini(&table);
    request_pool_fini(&pool);
    prepared_cache_fini(&cache);
    prepared_registry_free(registry);
}

static void test_held_inline_and_heap(void **state)
{
    static const size_t lengths[] = {
        1, REQUEST_HELD_INLINE - 1, REQUEST_HELD_INLINE, REQUEST_HELD_INLINE + 1, 65536, 9};
    uint8_t *frame = malloc(65536);
    struct request_pool pool;
    struct request_table table;
    (void)state;
    assert_non_null(frame);
    request_pool_init(&pool);
    request_table_init(&table, 4);
    struct request *request = request_begin(&table, &pool);
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        size_t length = lengths[i];
        enum cluster_id from = i % 2 == 0 ? CLUSTER_ORIGIN : CLUSTER_TARGET;
        memset(frame, (int)i + 1, length);
        assert_true(request_hold(request, from, frame, length)); /* in place of what was held */
        memset(frame, 0, length);                                /* it is a copy */
        assert_int_equal(request->held == request->held_inline, length <= REQUEST_HELD_INLINE);
        assert_int_equal(request->held_length, length);
        assert_int_equal(request->held_from, from);
        for (size_t at = 0; at < length; at++)
            assert_int_equal(request->held[at], i + 1);
    }
    request_drop_held(request);
    assert_null(request->held);
    assert_int_equal(request->held_length, 0);
    request_drop_held(request);
    request_end(&table, &pool, request);
    request_table_fini(&table);
    request_pool_fini(&pool);
    free(frame);
}

static void test_hold_without_memory(void **state)
{
    static const uint8_t frame[16] = {1};
    struct request_pool pool;
    struct request_table table;
    (void)state;
    request_pool_init(&pool);
    request_table_init(&table, 1);
    struct request *request = request_begin(&table, &pool);
    assert_true(request_hold(request, CLUSTER_ORIGIN, frame, sizeof frame));
    assert_false(request_hold(request, CLUSTER_ORIGIN, frame, SIZE_MAX / 4));
    assert_null(request->held);
    assert_int_equal(request->held_length, 0);
    request_end(&table, &pool, request);
    request_table_fini(&table);
    request_pool_fini(&pool);
}

static void test_awaited(void **state)
{
    (void)state;
    for (int origin = OUTCOME_NOT_ASKED; origin <= OUTCOME_EXPIRED; origin++) {
        for (int target = OUTCOME_NOT_ASKED; target <= OUTCOME_EXPIRED; target++) {
            const struct request request = {
                .outcomes = {(enum outcome)origin, (enum outcome)target}};
            assert_int_equal(request_is_awaited(&request),
                             origin == OUTCOME_AWAITED || target == OUTCOME_AWAITED);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_up_to_limit),
        cmocka_unit_test(test_reused_request_is_zeroed),
        cmocka_unit_test(test_end_leaves_lists),
        cmocka_unit_test(test_prepared_is_released),
        cmocka_unit_test(test_held_inline_and_heap),
        cmocka_unit_test(test_hold_without_memory),
        cmocka_unit_test(test_awaited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
