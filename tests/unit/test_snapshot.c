/* Counted snapshots: a copy of their own, freed by the last holder whichever thread that is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pthread.h>

#include "dataplane/snapshot.h"

#define ROUNDS  20000
#define THREADS 3

static void test_copy(void **state)
{
    (void)state;
    struct snapshot value = {.store_id = "store",
                             .revision = UINT64_MAX,
                             .digest = "abc",
                             .forward_reads_to_target = true};
    atomic_init(&value.references, 99);
    struct snapshot *snapshot = snapshot_new(&value);
    memset(&value, 0, sizeof value);
    assert_int_equal(atomic_load(&snapshot->references), 1);
    assert_string_equal(snapshot->store_id, "store");
    assert_true(snapshot->revision == UINT64_MAX);
    assert_string_equal(snapshot->digest, "abc");
    assert_true(snapshot->forward_reads_to_target);
    assert_false(snapshot->forward_system_queries_to_target);
    assert_ptr_equal(snapshot_get(snapshot), snapshot);
    assert_int_equal(atomic_load(&snapshot->references), 2);
    snapshot_put(snapshot);
    assert_int_equal(atomic_load(&snapshot->references), 1);
    snapshot_put(snapshot);
    snapshot_put(NULL);
}

static void test_clusters(void **state)
{
    (void)state;
    for (int reads = 0; reads < 2; reads++) {
        for (int system = 0; system < 2; system++) {
            const struct snapshot snapshot = {.forward_reads_to_target = reads == 1,
                                              .forward_system_queries_to_target = system == 1};
            assert_int_equal(snapshot_primary(&snapshot), reads ? CLUSTER_TARGET : CLUSTER_ORIGIN);
            assert_int_equal(snapshot_system_cluster(&snapshot),
                             system ? CLUSTER_TARGET : CLUSTER_ORIGIN);
        }
    }
}

static void *get_and_put(void *context)
{
    struct snapshot *snapshot = context;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(snapshot_get(snapshot)->revision == 7);
        snapshot_put(snapshot);
    }
    snapshot_put(snapshot);
    return NULL;
}

/* Each thread owns one reference and drops it last: whoever is the last frees it, once. */
static void test_threads(void **state)
{
    pthread_t threads[THREADS];
    (void)state;
    struct snapshot *snapshot = snapshot_new(&(struct snapshot){.revision = 7});
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_and_put, snapshot_get(snapshot)), 0);
    snapshot_put(snapshot);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_clusters),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
