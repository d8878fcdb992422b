/* The registry of prepared statements and the workers' caches: what is found, what is replaced,
 * what is evicted when, and that threads do not disturb each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pthread.h>

#include "dataplane/edits.h"
#include "dataplane/prepared.h"

/* The registry's number of shards; a limit is divided among them. Ids with the same first eight
 * bytes fall into the same shard, and have the same hash in every table. */
#define SHARDS 16

static const struct statement_class read_class = {.class = REQUEST_READ};
static const struct statement_class write_class = {.class = REQUEST_WRITE, .write_type = WRITE_CAS};

struct id {
    uint8_t bytes[CQL_ID_MAX + 1];
    size_t length;
};

static struct cql_span span_of(const struct id *id)
{
    return (struct cql_span){id->bytes, id->length};
}

/* Sixteen bytes, the n-th of one shard; all of a shard have the same hash. */
static struct id id_in_shard(uint8_t shard, uint32_t n)
{
    struct id id = {.length = 16};
    id.bytes[7] = (uint8_t)(shard << 4); /* the registry divides by the high bits */
    memcpy(id.bytes + 8, &n, sizeof n);
    return id;
}

/* Sixteen bytes that look like an MD5 sum: scattered over all shards. */
static struct id id_scattered(uint64_t n)
{
    struct id id = {.length = 16};
    uint64_t x = (n + 1) * 0x9e3779b97f4a7c15ULL;
    x ^= x >> 31;
    memcpy(id.bytes, &x, sizeof x);
    memcpy(id.bytes + 8, &n, sizeof n);
    return id;
}

static struct id target_of(const struct id *origin)
{
    struct id id = *origin;
    for (size_t i = 0; i < id.length; i++)
        id.bytes[i] ^= 0xff;
    return id;
}

static struct prepared *entry(const struct id *origin, const struct id *target,
                              struct statement_class statement, const char *text)
{
    return prepared_new(&(struct prepared_facts){
        .ids = {span_of(origin), span_of(target)},
        .statement = statement,
        .text = {(const uint8_t *)text, strlen(text)},
    });
}

/* Adds an entry under origin with the given target id; returns the change of the count. */
static struct prepared_change add_counted(struct prepared_registry *registry, struct id origin,
                                          struct id target)
{
    struct prepared *prepared = entry(&origin, &target, read_class, "");
    assert_non_null(prepared);
    struct prepared_change change = prepared_registry_add(registry, prepared);
    prepared_put(prepared);
    return change;
}

static int add(struct prepared_registry *registry, struct id origin, struct id target)
{
    return add_counted(registry, origin, target).entries;
}

static int add_one(struct prepared_registry *registry, struct id origin)
{
    return add(registry, origin, target_of(&origin));
}

static bool has(struct prepared_registry *registry, struct id origin)
{
    struct prepared *found = prepared_registry_find(registry, span_of(&origin));
    bool is_found = found != NULL;
    if (is_found) {
        assert_int_equal(found->ids[CLUSTER_ORIGIN].length, origin.length);
        assert_memory_equal(found->ids[CLUSTER_ORIGIN].bytes, origin.bytes, origin.length);
    }
    prepared_put(found);
    return is_found;
}

/* Like has, but leaves no trace that the entry was used. */
static bool is_there(struct prepared_registry *registry, struct id origin)
{
    struct id target = target_of(&origin);
    struct prepared *found = prepared_registry_find_by(registry, CLUSTER_TARGET, span_of(&target));
    bool is_found = found != NULL;
    prepared_put(found);
    return is_found;
}

static void test_new(void **state)
{
    struct id origin = id_scattered(1), target = id_scattered(2);
    (void)state;
    struct prepared *prepared = entry(&origin, &target, write_class, "SELECT 1");
    assert_non_null(prepared);
    assert_int_equal(prepared->traits.statement.class, REQUEST_WRITE);
    assert_int_equal(prepared->traits.statement.write_type, WRITE_CAS);
    assert_int_equal(prepared->ids[CLUSTER_TARGET].length, 16);
    assert_memory_equal(prepared->ids[CLUSTER_TARGET].bytes, target.bytes, 16);
    assert_int_equal(prepared->text_length, 8);
    assert_memory_equal(prepared->text, "SELECT 1", 8);
    prepared_put(prepared);
    prepared_put(NULL);
}

static void test_id_lengths(void **state)
{
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS * 256);
    struct id empty = {.length = 0}, longest = {.length = CQL_ID_MAX},
              too_long = {.length = CQL_ID_MAX + 1};
    assert_null(entry(&empty, &longest, read_class, ""));
    assert_null(entry(&too_long, &longest, read_class, ""));
    assert_null(entry(&longest, &too_long, read_class, ""));
    /* The first bytes are all the same, so each id is a prefix of the next. */
    for (size_t length = 1; length <= CQL_ID_MAX; length++) {
        struct id id = {.length = length};
        memset(id.bytes, 0x5a, length);
        assert_false(has(registry, id));
        assert_int_equal(add_one(registry, id), 1);
    }
    for (size_t length = 1; length <= CQL_ID_MAX; length++) {
        struct id id = {.length = length};
        memset(id.bytes, 0x5a, length);
        assert_true(has(registry, id));
        id.bytes[length - 1] ^= 1;
        assert_false(has(registry, id));
    }
    assert_false(has(registry, empty));
    assert_null(prepared_registry_find(registry, span_of(&too_long)));
    prepared_registry_free(registry);
    prepared_registry_free(NULL);
}

static void test_replacement(void **state)
{
    struct id origin = id_scattered(1), first = id_scattered(2), second = id_scattered(3);
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS);
    assert_int_equal(add(registry, origin, first), 1);
    struct prepared *old = prepared_registry_find(registry, span_of(&origin));
    assert_int_equal(add(registry, origin, second), 0);
    struct prepared *new = prepared_registry_find(registry, span_of(&origin));
    assert_ptr_not_equal(old, new);
    assert_true(atomic_load(&old->is_replaced));
    assert_false(atomic_load(&new->is_replaced));
    assert_memory_equal(old->ids[CLUSTER_TARGET].bytes, first.bytes, 16); /* still whole */
    assert_memory_equal(new->ids[CLUSTER_TARGET].bytes, second.bytes, 16);
    assert_null(prepared_registry_find_by(registry, CLUSTER_TARGET, span_of(&first)));
    prepared_put(old);
    prepared_put(new);
    prepared_registry_free(registry);
}

/* Clients may know a statement by another id than the origin's; the origin's is then nobody's. */
static void test_the_id_clients_know(void **state)
{
    struct id origin = id_scattered(1), target = id_scattered(2), third = id_scattered(3);
    static const uint8_t others[] = {EDIT_TARGET, EDIT_ORIGIN, EDIT_BOTH};
    const struct id *known[] = {&origin, &target, &third};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        struct prepared_registry *registry = prepared_registry_new(1024);
        struct prepared *made = prepared_new(&(struct prepared_facts){
            .id = span_of(known[i]), .ids = {span_of(&origin), span_of(&target)}});
        assert_non_null(made);
        assert_int_equal(made->traits.other_ids, others[i]);
        (void)prepared_registry_add(registry, made);
        for (size_t j = 0; j < ARRAY_COUNT(known); j++) {
            struct prepared *found = prepared_registry_find(registry, span_of(known[j]));
            assert_ptr_equal(found, i == j ? made : NULL);
            prepared_put(found);
        }
        prepared_put(made);
        prepared_registry_free(registry);
    }
}

static void test_find_by_target(void **state)
{
    struct id origin = id_scattered(1), target = id_scattered(2), none = {.length = 0};
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(1024);
    for (uint64_t n = 100; n < 200; n++)
        add_one(registry, id_scattered(n));
    add(registry, origin, target);
    struct prepared *found = prepared_registry_find_by(registry, CLUSTER_TARGET, span_of(&target));
    assert_non_null(found);
    assert_memory_equal(found->ids[CLUSTER_ORIGIN].bytes, origin.bytes, 16);
    prepared_put(found);
    assert_null(prepared_registry_find_by(registry, CLUSTER_TARGET, span_of(&origin)));
    /* A statement the proxy answers itself has no id on the target; no answer may name it. */
    add(registry, id_scattered(3), none);
    assert_null(prepared_registry_find_by(registry, CLUSTER_TARGET, span_of(&none)));
    assert_null(prepared_registry_find_by(registry, CLUSTER_TARGET, (struct cql_span){NULL, 0}));
    prepared_registry_free(registry);
}

static void test_limit(void **state)
{
    enum { PER_SHARD = 8 };
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS * PER_SHARD);
    for (uint32_t n = 0; n < PER_SHARD; n++)
        assert_int_equal(add_one(registry, id_in_shard(1, n)), 1);
    for (uint32_t n = 0; n < PER_SHARD; n++)
        assert_true(is_there(registry, id_in_shard(1, n))); /* at the limit all are there */
    assert_int_equal(add_one(registry, id_in_shard(1, PER_SHARD)), 0);
    assert_false(is_there(registry, id_in_shard(1, 0))); /* beyond it the oldest goes */
    for (uint32_t n = 1; n <= PER_SHARD; n++)
        assert_true(is_there(registry, id_in_shard(1, n)));
    /* What was evicted may come back; replacing evicts nobody. */
    assert_int_equal(add_one(registry, id_in_shard(1, 0)), 0);
    assert_false(is_there(registry, id_in_shard(1, 1)));
    assert_int_equal(add_one(registry, id_in_shard(1, 0)), 0);
    assert_true(is_there(registry, id_in_shard(1, 2)));
    /* Other shards are not touched. */
    assert_int_equal(add_one(registry, id_in_shard(2, 0)), 1);
    assert_true(is_there(registry, id_in_shard(1, 2)));
    prepared_registry_free(registry);
}

/* At the limit nobody goes, one past it somebody does and is counted, and comes back. */
static void test_evictions_are_counted(void **state)
{
    enum { PER_SHARD = 8 };
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS * PER_SHARD);
    struct prepared_change change;
    for (uint32_t n = 0; n < PER_SHARD; n++) {
        change = add_counted(registry, id_in_shard(1, n), id_scattered(n));
        assert_int_equal(change.entries, 1);
        assert_int_equal(change.evicted, 0);
    }
    change = add_counted(registry, id_in_shard(1, 3), id_scattered(99)); /* a replacement */
    assert_int_equal(change.entries, 0);
    assert_int_equal(change.evicted, 0);
    change = add_counted(registry, id_in_shard(1, PER_SHARD), id_scattered(100));
    assert_int_equal(change.entries, 0);
    assert_int_equal(change.evicted, 1);
    assert_false(has(registry, id_in_shard(1, 0)));
    change = add_counted(registry, id_in_shard(1, 0), id_scattered(0));
    assert_int_equal(change.evicted, 1);
    assert_true(has(registry, id_in_shard(1, 0)));
    prepared_registry_free(registry);
}

/* Texts have a limit of their own, and a long one may push out many short ones. */
static void test_text_limit(void **state)
{
    enum { LONGEST = PREPARED_BYTES_MAX / SHARDS / PREPARED_TEXT_MAX, SHORT = 64 };
    static char text[PREPARED_TEXT_MAX + 1];
    struct prepared_change change;
    uint32_t n = 0;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(PREPARED_ENTRIES_MAX);
    memset(text, 'x', PREPARED_TEXT_MAX);
    for (; n < LONGEST + 2; n++) {
        struct id id = id_in_shard(1, n);
        bool is_short = n == 0 || n == 1; /* the first two share the room of a long one */
        struct prepared *prepared =
            entry(&id, &id, read_class, is_short ? text + PREPARED_TEXT_MAX - SHORT : text);
        assert_int_equal(prepared->text_length, is_short ? SHORT : PREPARED_TEXT_MAX);
        change = prepared_registry_add(registry, prepared);
        prepared_put(prepared);
        assert_int_equal(change.evicted, n == LONGEST + 1 ? 2 : 0);
    }
    assert_int_equal(change.entries, -1);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(has(registry, id_in_shard(1, i)), i >= 2);
    prepared_registry_free(registry);
}

static void test_count_never_exceeds_limit(void **state)
{
    enum { LIMIT = 160, ADDED = 2000 };
    int count = 0, found = 0;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(LIMIT);
    for (uint64_t n = 0; n < ADDED; n++) {
        count += add_one(registry, id_scattered(n));
        assert_true(count <= LIMIT);
    }
    for (uint64_t n = 0; n < ADDED; n++)
        found += is_there(registry, id_scattered(n));
    assert_int_equal(found, count); /* the changes returned add up to what is really there */
    assert_int_equal(count, LIMIT);
    prepared_registry_free(registry);
}

static void test_second_chance(void **state)
{
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS * 3);
    for (uint32_t n = 0; n < 3; n++)
        add_one(registry, id_in_shard(1, n));
    assert_true(has(registry, id_in_shard(1, 0))); /* used: spared once */
    add_one(registry, id_in_shard(1, 3));
    assert_true(is_there(registry, id_in_shard(1, 0)));
    assert_false(is_there(registry, id_in_shard(1, 1)));
    add_one(registry, id_in_shard(1, 4));
    assert_false(is_there(registry, id_in_shard(1, 2)));
    assert_true(is_there(registry, id_in_shard(1, 0)));
    add_one(registry, id_in_shard(1, 5)); /* unused since: its turn has come */
    assert_false(is_there(registry, id_in_shard(1, 0)));
    prepared_registry_free(registry);
}

/* When everything is in use the oldest goes, not the newest: a statement just prepared is about to
 * be executed. */
static void test_all_used(void **state)
{
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS * 3);
    for (uint32_t n = 0; n < 3; n++)
        add_one(registry, id_in_shard(1, n));
    for (uint32_t n = 0; n < 3; n++)
        assert_true(has(registry, id_in_shard(1, n)));
    add_one(registry, id_in_shard(1, 3));
    assert_false(is_there(registry, id_in_shard(1, 0)));
    for (uint32_t n = 1; n <= 3; n++)
        assert_true(is_there(registry, id_in_shard(1, n)));
    prepared_registry_free(registry);
}

/* ---- caches ---- */

static void test_cache_hit_and_miss(void **state)
{
    struct id id = id_scattered(1);
    static struct prepared_cache cache;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(1024);
    prepared_cache_init(&cache, registry);
    assert_null(prepared_cache_find(&cache, span_of(&id)));
    add_one(registry, id); /* a miss is not remembered */
    struct prepared_handle *first = prepared_cache_find(&cache, span_of(&id));
    struct prepared_handle *second = prepared_cache_find(&cache, span_of(&id));
    assert_non_null(first);
    assert_ptr_equal(first, second);
    assert_int_equal(first->uses, 2);
    /* Registry and cache hold one reference each, however many uses there are. */
    assert_int_equal(atomic_load(&first->prepared->references), 2);
    prepared_cache_release(first);
    prepared_cache_release(second);
    prepared_cache_release(NULL);
    assert_ptr_equal(prepared_cache_find(&cache, span_of(&id)), first); /* unused, not forgotten */
    prepared_cache_release(first);
    prepared_cache_fini(&cache);
    prepared_registry_free(registry);
}

static void test_cache_sees_replacement(void **state)
{
    struct id origin = id_scattered(1), first = id_scattered(2), second = id_scattered(3);
    static struct prepared_cache cache;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(1024);
    prepared_cache_init(&cache, registry);
    add(registry, origin, first);
    struct prepared_handle *old = prepared_cache_find(&cache, span_of(&origin));
    add(registry, origin, second);
    struct prepared_handle *new = prepared_cache_find(&cache, span_of(&origin));
    assert_ptr_not_equal(old, new);
    assert_memory_equal(new->prepared->ids[CLUSTER_TARGET].bytes, second.bytes, 16);
    assert_memory_equal(old->prepared->ids[CLUSTER_TARGET].bytes, first.bytes, 16);
    prepared_cache_release(old);
    prepared_cache_release(new);
    prepared_cache_fini(&cache);
    prepared_registry_free(registry);
}

/* An entry that was evicted and then prepared anew, perhaps with another id on the target, must not
 * live on in a cache. */
static void test_cache_sees_eviction(void **state)
{
    struct id id = id_in_shard(1, 0), fresh = id_scattered(9);
    static struct prepared_cache cache;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS);
    prepared_cache_init(&cache, registry);
    add_one(registry, id);
    prepared_cache_release(prepared_cache_find(&cache, span_of(&id)));
    add_one(registry, id_in_shard(1, 1));
    assert_false(is_there(registry, id));
    add(registry, id, fresh);
    struct prepared_handle *handle = prepared_cache_find(&cache, span_of(&id));
    assert_non_null(handle);
    assert_memory_equal(handle->prepared->ids[CLUSTER_TARGET].bytes, fresh.bytes, 16);
    prepared_cache_release(handle);
    prepared_cache_fini(&cache);
    prepared_registry_free(registry);
}

/* As many as one likes: each is asked of the registry once, and nothing about the rest is touched
 * while the registry lets nothing go. */
static void test_cache_grows(void **state)
{
    enum { COUNT = 100000 };
    static struct prepared_cache cache;
    static struct prepared_handle *handles[COUNT];
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(PREPARED_ENTRIES_MAX);
    prepared_cache_init(&cache, registry);
    for (uint64_t n = 0; n < COUNT; n++) {
        struct id id = id_scattered(n);
        struct prepared_change change = add_counted(registry, id, target_of(&id));
        assert_int_equal(change.entries, 1);
        assert_int_equal(change.evicted, 0);
        handles[n] = prepared_cache_find(&cache, span_of(&id));
        assert_non_null(handles[n]);
        prepared_cache_release(handles[n]);
    }
    for (uint64_t n = 0; n < COUNT; n++) {
        struct id id = id_scattered(n);
        prepared_cache_expect(&cache, span_of(&id));
        assert_ptr_equal(prepared_cache_find(&cache, span_of(&id)), handles[n]);
        assert_int_equal(handles[n]->uses, 1);
        prepared_cache_release(handles[n]);
    }
    prepared_cache_fini(&cache);
    prepared_registry_free(registry);
}

static size_t cached(const struct prepared_cache *cache)
{
    size_t count = 0;
    for (size_t i = 0; i < PREPARED_CACHE_PARTS; i++)
        count += cache->parts[i].count;
    return count;
}

/* What the registry has let go of must not live on in the caches, however many there were. */
static void test_cache_lets_go(void **state)
{
    enum { LIMIT = 4096, COUNT = 20 * LIMIT };
    static struct prepared_cache cache;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(LIMIT);
    prepared_cache_init(&cache, registry);
    size_t most = 0;
    for (uint64_t n = 0; n < COUNT; n++) {
        add_one(registry, id_scattered(n));
        struct id id = id_scattered(n);
        struct prepared_handle *handle = prepared_cache_find(&cache, span_of(&id));
        assert_non_null(handle);
        prepared_cache_release(handle);
        most = cached(&cache) > most ? cached(&cache) : most;
    }
    assert_in_range(most, LIMIT, LIMIT * 3 / 2);
    /* Little is left of much: a worker that goes on with one statement gives the rest back. */
    struct id one = id_scattered(COUNT);
    for (uint64_t n = 0; n < 4 * LIMIT; n++) {
        add_one(registry, one);
        prepared_cache_release(prepared_cache_find(&cache, span_of(&one)));
    }
    assert_in_range(cached(&cache), 1, LIMIT);
    prepared_cache_fini(&cache);
    prepared_registry_free(registry);
}

/* Ids of other lengths than the usual one, each the beginning of the next. */
static void test_cache_id_lengths(void **state)
{
    static struct prepared_cache cache;
    struct id empty = {.length = 0}, too_long = {.length = CQL_ID_MAX + 1};
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS * 256);
    prepared_cache_init(&cache, registry);
    for (int round = 0; round < 2; round++) {
        for (size_t length = 1; length <= CQL_ID_MAX; length++) {
            struct id id = {.length = length};
            memset(id.bytes, 0x5a, length);
            if (round == 0)
                add_one(registry, id);
            struct prepared_handle *handle = prepared_cache_find(&cache, span_of(&id));
            assert_non_null(handle);
            assert_int_equal(handle->prepared->ids[CLUSTER_ORIGIN].length, length);
            prepared_cache_release(handle);
            id.bytes[length - 1] ^= 1;
            assert_null(prepared_cache_find(&cache, span_of(&id)));
        }
    }
    assert_int_equal(cached(&cache), CQL_ID_MAX);
    assert_null(prepared_cache_find(&cache, span_of(&empty)));
    assert_null(prepared_cache_find(&cache, span_of(&too_long)));
    prepared_cache_fini(&cache);
    prepared_registry_free(registry);
}

static void add_prepared_by(struct prepared_registry *registry, uint64_t routing_serial,
                            uint8_t missing)
{
    struct id id = id_scattered(7);
    struct prepared *prepared = prepared_new(&(struct prepared_facts){
        .ids = {span_of(&id), span_of(&id)},
        .missing = missing,
        .routing_serial = routing_serial,
        .statement = write_class,
    });
    assert_non_null(prepared);
    (void)prepared_registry_add(registry, prepared);
    prepared_put(prepared);
}

static uint8_t missing_now(struct prepared_registry *registry)
{
    struct id id = id_scattered(7);
    struct prepared *found = prepared_registry_find(registry, span_of(&id));
    assert_non_null(found);
    uint8_t missing = found->traits.missing;
    prepared_put(found);
    return missing;
}

/* A worker that still goes by the old routing state takes nothing from those who have switched. */
static void test_what_an_older_state_prepared(void **state)
{
    enum { MISSING = 1u << CLUSTER_TARGET };
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(PREPARED_ENTRIES_MAX);
    add_prepared_by(registry, 4, MISSING);
    assert_int_equal(missing_now(registry), MISSING);
    add_prepared_by(registry, 5, 0);
    assert_int_equal(missing_now(registry), 0);
    add_prepared_by(registry, 4, MISSING);
    assert_int_equal(missing_now(registry), 0);
    add_prepared_by(registry, 4, 0);
    add_prepared_by(registry, 6, MISSING);
    assert_int_equal(missing_now(registry), MISSING);
    prepared_registry_free(registry);
}

/* What a request uses stays whole though registry and cache let go of it. */
static void test_handle_outlives_all(void **state)
{
    struct id id = id_in_shard(1, 0), target = target_of(&id);
    static struct prepared_cache cache;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(SHARDS);
    prepared_cache_init(&cache, registry);
    add_one(registry, id);
    struct prepared_handle *handle = prepared_cache_find(&cache, span_of(&id));
    for (uint32_t n = 1; n < 10; n++) { /* same cache slot and shard */
        struct id other = id_in_shard(1, n);
        add_one(registry, other);
        struct prepared_handle *taken = prepared_cache_find(&cache, span_of(&other));
        assert_non_null(taken);
        prepared_cache_release(taken);
    }
    assert_false(is_there(registry, id));
    assert_false(handle->is_cached);
    prepared_registry_free(registry);
    assert_int_equal(atomic_load(&handle->prepared->references), 1);
    assert_memory_equal(handle->prepared->ids[CLUSTER_TARGET].bytes, target.bytes, 16);
    prepared_cache_release(handle);
    prepared_cache_fini(&cache);
}

/* ---- threads ---- */

#define HAMMER_IDS    96
#define HAMMER_ROUNDS 30000

struct hammer {
    struct prepared_registry *registry;
    uint64_t seed;
    int count; /* sum of the changes this thread caused */
    int hits;
};

/* Each of few ids is prepared again and again, with target ids that all begin with the origin's, so
 * that a mix-up of entries shows. */
static void *hammer_run(void *context)
{
    struct hammer *hammer = context;
    struct prepared_cache *cache = calloc(1, sizeof *cache);
    struct prepared_handle *kept = NULL;
    uint64_t x = hammer->seed;
    CHECK(cache != NULL);
    prepared_cache_init(cache, hammer->registry);
    for (int round = 0; round < HAMMER_ROUNDS; round++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        struct id origin = id_scattered((x >> 33) % HAMMER_IDS);
        if ((x >> 60) == 0) {
            struct id target = origin;
            target.length = 24;
            memcpy(target.bytes + 16, &x, sizeof x);
            struct prepared *prepared = entry(&origin, &target, read_class, "");
            CHECK(prepared != NULL);
            hammer->count += prepared_registry_add(hammer->registry, prepared).entries;
            prepared_put(prepared);
            struct prepared *found =
                prepared_registry_find_by(hammer->registry, CLUSTER_TARGET, span_of(&target));
            prepared_put(found);
            continue;
        }
        struct prepared_handle *handle = prepared_cache_find(cache, span_of(&origin));
        if (handle == NULL)
            continue;
        hammer->hits++;
        for (int i = 0; i < CLUSTER_COUNT; i++)
            CHECK(memcmp(handle->prepared->ids[i].bytes, origin.bytes, 16) == 0);
        if (round % 16 == 0) {
            prepared_cache_release(kept);
            kept = handle;
        } else {
            prepared_cache_release(handle);
        }
    }
    if (kept != NULL)
        CHECK(kept->prepared->ids[CLUSTER_TARGET].length == 24);
    prepared_cache_release(kept);
    prepared_cache_fini(cache);
    free(cache);
    return NULL;
}

static void test_two_threads(void **state)
{
    enum { LIMIT = 64 };
    struct hammer hammers[2];
    pthread_t threads[2];
    int there = 0;
    (void)state;
    struct prepared_registry *registry = prepared_registry_new(LIMIT);
    for (int i = 0; i < 2; i++) {
        hammers[i] = (struct hammer){.registry = registry, .seed = 12345u + (unsigned)i};
        assert_int_equal(pthread_create(&threads[i], NULL, hammer_run, &hammers[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(hammers[0].hits > 0 && hammers[1].hits > 0);
    for (uint64_t n = 0; n < HAMMER_IDS; n++)
        there += has(registry, id_scattered(n));
    assert_int_equal(there, hammers[0].count + hammers[1].count);
    assert_true(there <= LIMIT);
    prepared_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_id_lengths),
        cmocka_unit_test(test_replacement),
        cmocka_unit_test(test_the_id_clients_know),
        cmocka_unit_test(test_find_by_target),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_evictions_are_counted),
        cmocka_unit_test(test_text_limit),
        cmocka_unit_test(test_count_never_exceeds_limit),
        cmocka_unit_test(test_second_chance),
        cmocka_unit_test(test_all_used),
        cmocka_unit_test(test_cache_hit_and_miss),
        cmocka_unit_test(test_cache_sees_replacement),
        cmocka_unit_test(test_cache_sees_eviction),
        cmocka_unit_test(test_cache_grows),
        cmocka_unit_test(test_cache_lets_go),
        cmocka_unit_test(test_cache_id_lengths),
        cmocka_unit_test(test_what_an_older_state_prepared),
        cmocka_unit_test(test_handle_outlives_all),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
