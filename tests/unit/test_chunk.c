/* Chunks: pools, the limit on large ones, growth, and views that keep their parent alive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/chunk.h"

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

#define LARGE ((size_t)128 * 1024)

static void test_standard(void **state)
{
    struct chunk_pool pool;
    (void)state;
    chunk_pool_init(&pool, 0); /* the limit is for large chunks only */
    struct chunk *first = chunk_new(&pool), *second = chunk_new(&pool);
    assert_true(first != NULL && second != NULL && first != second);
    assert_int_equal(chunk_room(first), CHUNK_BYTES);
    memset(first->bytes, 0xaa, CHUNK_BYTES);
    first->start = 10;
    first->end = CHUNK_BYTES;
    assert_int_equal(chunk_room(first), 0);
    chunk_put(&pool, first);
    chunk_put(&pool, NULL);
    assert_int_equal(pool.free_count, 1);
    struct chunk *again = chunk_new(&pool); /* from the free list, and empty */
    assert_ptr_equal(again, first);
    assert_int_equal(again->start, 0);
    assert_int_equal(again->end, 0);
    assert_null(again->next);
    assert_null(again->parent);
    assert_int_equal(again->references, 1);
    assert_int_equal(pool.free_count, 0);
    assert_int_equal(pool.large_bytes, 0);
    chunk_put(&pool, again);
    chunk_put(&pool, second);
    chunk_pool_fini(&pool);
}

/* After a burst the pool gives memory back. */
static void test_free_list_is_bounded(void **state)
{
    enum { BURST = 1500 };
    struct chunk *chunks[BURST];
    struct chunk_pool pool;
    (void)state;
    chunk_pool_init(&pool, 0);
    for (int i = 0; i < BURST; i++)
        assert_non_null(chunks[i] = chunk_new(&pool));
    for (int i = 0; i < BURST; i++)
        chunk_put(&pool, chunks[i]);
    assert_true(pool.free_count <= 1024);
    size_t count = 0;
    for (const struct chunk *chunk = pool.free_standard; chunk != NULL; chunk = chunk->next)
        count++;
    assert_int_equal(count, pool.free_count);
    chunk_pool_fini(&pool);
}

static void test_large_limit(void **state)
{
    struct chunk_pool pool;
    (void)state;
    chunk_pool_init(&pool, 2 * LARGE);
    struct chunk *first = chunk_new_large(&pool, LARGE);
    struct chunk *second = chunk_new_large(&pool, LARGE); /* at the limit */
    assert_true(first != NULL && second != NULL);
    assert_int_equal(pool.large_bytes, 2 * LARGE);
    assert_null(chunk_new_large(&pool, CHUNK_BYTES + 1)); /* beyond it */
    assert_null(chunk_new_large(&pool, SIZE_MAX));
    chunk_put(&pool, first);
    assert_int_equal(pool.large_bytes, LARGE);
    assert_null(chunk_new_large(&pool, LARGE + 1));
    struct chunk *third = chunk_new_large(&pool, LARGE); /* recovery */
    assert_non_null(third);
    chunk_put(&pool, second);
    chunk_put(&pool, third);
    assert_int_equal(pool.large_bytes, 0);
    chunk_pool_fini(&pool);
}

static void test_growth(void **state)
{
    struct chunk_pool pool;
    (void)state;
    chunk_pool_init(&pool, 3 * LARGE);
    struct chunk *chunk = chunk_new_large(&pool, LARGE);
    assert_non_null(chunk);
    for (size_t i = 0; i < LARGE; i++)
        chunk->bytes[i] = (uint8_t)(i * 7);
    chunk->start = 3;
    chunk->end = LARGE;
    assert_true(chunk_grow(&pool, &chunk, 3 * LARGE));
    assert_int_equal(pool.large_bytes, 3 * LARGE);
    assert_int_equal(chunk->capacity, 3 * LARGE);
    assert_int_equal(chunk->start, 3);
    assert_int_equal(chunk_room(chunk), 2 * LARGE);
    for (size_t i = 0; i < LARGE; i++)
        assert_int_equal(chunk->bytes[i], (uint8_t)(i * 7));
    memset(chunk->bytes + LARGE, 1, 2 * LARGE); /* all of it is ours */
    struct chunk *before = chunk;
    assert_false(chunk_grow(&pool, &chunk, 3 * LARGE + 1));
    assert_ptr_equal(chunk, before);
    assert_int_equal(chunk->capacity, 3 * LARGE);
    assert_int_equal(pool.large_bytes, 3 * LARGE);
    chunk_put(&pool, chunk);
    assert_int_equal(pool.large_bytes, 0);
    chunk_pool_fini(&pool);
}

static void test_without_memory(void **state)
{
    struct chunk_pool pool;
    (void)state;
    chunk_pool_init(&pool, SIZE_MAX);
    assert_null(chunk_new_large(&pool, SIZE_MAX / 4));
    assert_int_equal(pool.large_bytes, 0);
    struct chunk *chunk = chunk_new_large(&pool, LARGE);
    assert_non_null(chunk);
    chunk->bytes[LARGE - 1] = 42;
    assert_false(chunk_grow(&pool, &chunk, SIZE_MAX / 4));
    assert_int_equal(pool.large_bytes, LARGE);
    assert_int_equal(chunk->capacity, LARGE);
    assert_int_equal(chunk->bytes[LARGE - 1], 42);
    chunk_put(&pool, chunk);
    chunk_pool_fini(&pool);
}

static void test_views(void **state)
{
    struct chunk_pool pool;
    (void)state;
    chunk_pool_init(&pool, LARGE);
    struct chunk *parent = chunk_new_large(&pool, LARGE);
    assert_non_null(parent);
    for (size_t i = 0; i < LARGE; i++)
        parent->bytes[i] = (uint8_t)i;
    parent->end = LARGE;
    struct chunk *whole = chunk_view(&pool, parent, 0, LARGE);
    struct chunk *part = chunk_view(&pool, parent, 100, 50);
    struct chunk *empty = chunk_view(&pool, parent, LARGE, 0);
    assert_true(whole != NULL && part != NULL && empty != NULL);
    assert_int_equal(parent->references, 4);
    assert_ptr_equal(part->bytes, parent->bytes + 100);
    assert_int_equal(part->start, 0);
    assert_int_equal(part->end, 50);
    assert_int_equal(chunk_room(part), 0); /* nobody appends to a view */
    assert_int_equal(chunk_room(whole), 0);
    assert_int_equal(empty->end - empty->start, 0);
    assert_int_equal(pool.large_bytes, LARGE); /* views cost nothing of it */
    chunk_put(&pool, parent);                  /* its owner lets go first */
    chunk_put(&pool, whole);
    chunk_put(&pool, empty);
    assert_int_equal(pool.large_bytes, LARGE);
    assert_int_equal(part->bytes[49], 149);
    chunk_put(&pool, part);
    assert_int_equal(pool.large_bytes, 0);
    /* View headers are used again. */
    struct chunk *other = chunk_new_large(&pool, LARGE);
    assert_non_null(other);
    other->end = 1;
    struct chunk *view = chunk_view(&pool, other, 0, 1);
    assert_true(view == part || view == whole || view == empty);
    assert_ptr_equal(view->parent, other);
    assert_null(view->next);
    assert_int_equal(view->references, 1);
    chunk_put(&pool, view);
    assert_int_equal(other->references, 1);
    chunk_put(&pool, other);
    chunk_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standard),       cmocka_unit_test(test_free_list_is_bounded),
        cmocka_unit_test(test_large_limit),    cmocka_unit_test(test_growth),
        cmocka_unit_test(test_without_memory), cmocka_unit_test(test_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
