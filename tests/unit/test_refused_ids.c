/* Ids that a client was told nobody knows: which one it is answered with when it prepares again,
 * and how many are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/refused_ids.h"

static const struct cql_span none = {NULL, 0};

/* Of the usual length. Good until the next but nine. */
static struct cql_span id_of(uint32_t number)
{
    static uint8_t bytes[10][PREPARED_ID_USUAL];
    static unsigned next;
    uint8_t *id = bytes[next++ % 10];
    memset(id, 0x5a, PREPARED_ID_USUAL);
    memcpy(id, &number, sizeof number);
    return (struct cql_span){id, PREPARED_ID_USUAL};
}

static void assert_matches(const struct refused_ids *refused, struct prepared_registry *registry,
                           struct cql_span origin, struct cql_span target, struct cql_span want)
{
    const struct cql_span ids[CLUSTER_COUNT] = {origin, target};
    struct cql_span got = refused_ids_match(refused, registry, ids);
    assert_int_equal(got.length, want.length);
    if (want.length > 0)
        assert_memory_equal(got.data, want.data, want.length);
}

static void test_the_id_of_either_cluster(void **state)
{
    struct prepared_registry *registry = prepared_registry_new(100);
    struct refused_ids *refused = NULL;
    (void)state;
    assert_matches(refused, registry, id_of(1), id_of(2), none);
    refused_ids_add(&refused, id_of(2));
    assert_matches(refused, registry, id_of(1), id_of(2), id_of(2));
    assert_matches(refused, registry, id_of(2), id_of(1), id_of(2));
    assert_matches(refused, registry, id_of(1), id_of(3), none);
    assert_matches(refused, registry, id_of(1), none, none);
    assert_matches(refused, registry, none, id_of(2), id_of(2));
    refused_ids_free(refused);
    prepared_registry_free(registry);
}

static void add(struct prepared_registry *registry, struct cql_span id, struct cql_span origin,
                struct cql_span target, uint8_t missing)
{
    struct prepared *prepared = prepared_new(
        &(struct prepared_facts){.id = id, .ids = {origin, target}, .missing = missing});
    assert_non_null(prepared);
    (void)prepared_registry_add(registry, prepared);
    prepared_put(prepared);
}

/* A client knows the origin's id, and prepares again while the target alone is in use. */
static void test_an_id_no_cluster_in_use_has(void **state)
{
    struct prepared_registry *registry = prepared_registry_new(100);
    struct refused_ids *refused = NULL;
    (void)state;
    add(registry, none, id_of(1), id_of(2), 0);
    refused_ids_add(&refused, id_of(1));
    refused_ids_add(&refused, id_of(77)); /* of which the registry knows nothing */
    assert_matches(refused, registry, none, id_of(2), id_of(1));
    assert_matches(refused, registry, none, id_of(3), none);
    /* What an entry says of a cluster that did not prepare it is no id of that cluster. */
    refused_ids_add(&refused, id_of(10));
    add(registry, id_of(10), id_of(11), id_of(11), 1u << CLUSTER_ORIGIN);
    assert_matches(refused, registry, id_of(11), id_of(12), none);
    assert_matches(refused, registry, id_of(12), id_of(11), id_of(10));
    refused_ids_free(refused);
    prepared_registry_free(registry);
}

static void test_the_latest_are_kept(void **state)
{
    struct prepared_registry *registry = prepared_registry_new(100);
    struct refused_ids *refused = NULL;
    (void)state;
    for (uint32_t i = 1; i <= REFUSED_IDS_MAX; i++)
        for (int again = 0; again < 3; again++)
            refused_ids_add(&refused, id_of(i));
    assert_matches(refused, registry, id_of(1), none, id_of(1));
    refused_ids_add(&refused, id_of(REFUSED_IDS_MAX + 1));
    assert_matches(refused, registry, id_of(1), none, none);
    assert_matches(refused, registry, id_of(2), none, id_of(2));
    assert_matches(refused, registry, id_of(REFUSED_IDS_MAX + 1), none, id_of(REFUSED_IDS_MAX + 1));
    refused_ids_free(refused);
    prepared_registry_free(registry);
}

static void test_ids_of_other_lengths_are_not_kept(void **state)
{
    struct prepared_registry *registry = prepared_registry_new(100);
    struct refused_ids *refused = NULL;
    (void)state;
    for (size_t length = 0; length <= CQL_ID_MAX; length++) {
        uint8_t bytes[CQL_ID_MAX] = {1};
        struct cql_span id = {bytes, length};
        refused_ids_add(&refused, id);
        assert_matches(refused, registry, id, none, length == PREPARED_ID_USUAL ? id : none);
    }
    refused_ids_free(refused);
    refused_ids_free(NULL);
    prepared_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_id_of_either_cluster),
        cmocka_unit_test(test_an_id_no_cluster_in_use_has),
        cmocka_unit_test(test_the_latest_are_kept),
        cmocka_unit_test(test_ids_of_other_lengths_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
