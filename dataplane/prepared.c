/* The prepared statement registry and the workers' caches of it. The registry may be called by any
 * worker; a cache by its own only. The mutexes are taken at PREPARE and at a worker's first use of
 * an id, never in the steady state. */
#include "dataplane/prepared.h"

#include <pthread.h>
#include <string.h>

#define SHARDS        16
#define SHARD_BUCKETS 4096

struct shard {
    pthread_mutex_t mutex;
    struct prepared *buckets[SHARD_BUCKETS];
    struct list clock; /* oldest first; the eviction hand starts at the front */
    size_t count;
};

struct prepared_registry {
    size_t shard_entries_max;
    struct shard shards[SHARDS];
};

/* Ids are MD5 sums, so their own bytes are the hash; anything else a server may send still works,
 * only slower. */
static uint64_t hash_id(struct cql_span id)
{
    uint64_t hash = 0xcbf29ce484222325ULL ^ id.length;
    if (id.length >= 8) {
        memcpy(&hash, id.data, sizeof hash);
    } else {
        for (size_t i = 0; i < id.length; i++)
            hash = (hash ^ id.data[i]) * 0x100000001b3ULL;
    }
    return hash ^ hash >> 29;
}

static bool id_equals(const struct prepared_id *id, struct cql_span other)
{
    return id->length == other.length && memcmp(id->bytes, other.data, other.length) == 0;
}

static struct cql_span id_span(const struct prepared_id *id)
{
    return (struct cql_span){id->bytes, id->length};
}

struct prepared_registry *prepared_registry_new(size_t entries_max)
{
    struct prepared_registry *registry = calloc(1, sizeof *registry);
    CHECK(registry != NULL);
    registry->shard_entries_max = entries_max / SHARDS > 0 ? entries_max / SHARDS : 1;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&registry->shards[i].mutex, NULL);
        list_init(&registry->shards[i].clock);
    }
    return registry;
}

void prepared_registry_free(struct prepared_registry *registry)
{
    if (registry == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &registry->shards[i];
        for (struct list *node; (node = list_take_first(&shard->clock)) != NULL;)
            prepared_put(CONTAINER_OF(node, struct prepared, link));
        pthread_mutex_destroy(&shard->mutex);
    }
    free(registry);
}

struct prepared *prepared_new(struct cql_span origin_id, struct cql_span target_id,
                              struct statement_class statement, const char *text,
                              size_t text_length)
{
    if (origin_id.length > CQL_ID_MAX || target_id.length > CQL_ID_MAX || origin_id.length == 0)
        return NULL;
    struct prepared *prepared = malloc(sizeof *prepared + text_length);
    if (prepared == NULL)
        return NULL;
    *prepared = (struct prepared){.statement = statement, .text_length = text_length};
    atomic_init(&prepared->references, 1);
    list_init(&prepared->link);
    prepared->ids[CLUSTER_ORIGIN].length = (uint8_t)origin_id.length;
    memcpy(prepared->ids[CLUSTER_ORIGIN].bytes, origin_id.data, origin_id.length);
    prepared->ids[CLUSTER_TARGET].length = (uint8_t)target_id.length;
    if (target_id.length > 0)
        memcpy(prepared->ids[CLUSTER_TARGET].bytes, target_id.data, target_id.length);
    if (text_length > 0)
        memcpy(prepared->text, text, text_length);
    return prepared;
}

static struct prepared *prepared_get(struct prepared *prepared)
{
    atomic_fetch_add_explicit(&prepared->references, 1, memory_order_relaxed);
    return prepared;
}

void prepared_put(struct prepared *prepared)
{
    if (prepared != NULL &&
        atomic_fetch_sub_explicit(&prepared->references, 1, memory_order_acq_rel) == 1)
        free(prepared);
}

/* The link that points at the entry with this id, or the NULL at the chain's end. */
static struct prepared **find_link(struct shard *shard, uint64_t hash, struct cql_span origin_id)
{
    struct prepared **link = &shard->buckets[(hash / SHARDS) % SHARD_BUCKETS];
    while (*link != NULL && !id_equals(&(*link)->ids[CLUSTER_ORIGIN], origin_id))
        link = &(*link)->next;
    return link;
}

static void unlink_entry(struct shard *shard, struct prepared **link)
{
    struct prepared *entry = *link;
    CHECK(entry != NULL);
    atomic_store_explicit(&entry->is_replaced, true, memory_order_release);
    *link = entry->next;
    list_remove(&entry->link);
    shard->count--;
    prepared_put(entry);
}

/* Second chance: an entry used since the hand last came by goes to the back once more. When all are
 * used, the hand comes round and takes the oldest. */
static void evict_one(struct shard *shard)
{
    for (size_t tries = shard->count + 1; tries > 0; tries--) {
        struct prepared *oldest = CONTAINER_OF(list_first(&shard->clock), struct prepared, link);
        if (tries > 1 && atomic_exchange_explicit(&oldest->is_used, false, memory_order_relaxed)) {
            list_remove(&oldest->link);
            list_append(&shard->clock, &oldest->link);
            continue;
        }
        struct cql_span id = id_span(&oldest->ids[CLUSTER_ORIGIN]);
        unlink_entry(shard, find_link(shard, hash_id(id), id));
        return;
    }
}

int prepared_registry_add(struct prepared_registry *registry, struct prepared *prepared)
{
    struct cql_span id = id_span(&prepared->ids[CLUSTER_ORIGIN]);
    uint64_t hash = hash_id(id);
    struct shard *shard = &registry->shards[hash % SHARDS];
    pthread_mutex_lock(&shard->mutex);
    int before = (int)shard->count;
    struct prepared **link = find_link(shard, hash, id);
    if (*link != NULL)
        unlink_entry(shard, link);
    else if (shard->count >= registry->shard_entries_max)
        evict_one(shard);
    struct prepared **bucket = &shard->buckets[(hash / SHARDS) % SHARD_BUCKETS];
    prepared_get(prepared);
    prepared->next = *bucket;
    *bucket = prepared;
    list_append(&shard->clock, &prepared->link);
    shard->count++;
    int change = (int)shard->count - before;
    pthread_mutex_unlock(&shard->mutex);
    return change;
}

struct prepared *prepared_registry_find(struct prepared_registry *registry,
                                        struct cql_span origin_id)
{
    uint64_t hash = hash_id(origin_id);
    struct shard *shard = &registry->shards[hash % SHARDS];
    pthread_mutex_lock(&shard->mutex);
    struct prepared *found = *find_link(shard, hash, origin_id);
    if (found != NULL) {
        prepared_get(found);
        atomic_store_explicit(&found->is_used, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->mutex);
    return found;
}

struct prepared *prepared_registry_find_by_target(struct prepared_registry *registry,
                                                  struct cql_span target_id)
{
    struct prepared *found = NULL;
    /* Statements the proxy answers itself have no id on the target. */
    if (target_id.length == 0)
        return NULL;
    for (size_t i = 0; i < SHARDS && found == NULL; i++) {
        struct shard *shard = &registry->shards[i];
        pthread_mutex_lock(&shard->mutex);
        for (struct list *node = shard->clock.next; node != &shard->clock && found == NULL;
             node = node->next) {
            struct prepared *entry = CONTAINER_OF(node, struct prepared, link);
            if (id_equals(&entry->ids[CLUSTER_TARGET], target_id))
                found = prepared_get(entry);
        }
        pthread_mutex_unlock(&shard->mutex);
    }
    return found;
}

/* ---- a worker's cache ---- */

void prepared_cache_init(struct prepared_cache *cache, struct prepared_registry *registry)
{
    *cache = (struct prepared_cache){.registry = registry};
}

static void free_if_unused(struct prepared_handle *handle)
{
    if (handle->uses > 0 || handle->is_cached)
        return;
    prepared_put(handle->prepared);
    free(handle);
}

static void uncache(struct prepared_handle **slot)
{
    struct prepared_handle *handle = *slot;
    if (handle == NULL)
        return;
    *slot = NULL;
    handle->is_cached = false;
    free_if_unused(handle);
}

void prepared_cache_fini(struct prepared_cache *cache)
{
    for (size_t i = 0; i < PREPARED_CACHE_SLOTS; i++)
        uncache(&cache->slots[i]);
}

struct prepared_handle *prepared_cache_find(struct prepared_cache *cache, struct cql_span origin_id)
{
    struct prepared_handle **slot = &cache->slots[hash_id(origin_id) % PREPARED_CACHE_SLOTS];
    struct prepared_handle *handle = *slot;
    if (LIKELY(handle != NULL && id_equals(&handle->prepared->ids[CLUSTER_ORIGIN], origin_id) &&
               !atomic_load_explicit(&handle->prepared->is_replaced, memory_order_acquire))) {
        if (!atomic_load_explicit(&handle->prepared->is_used, memory_order_relaxed))
            atomic_store_explicit(&handle->prepared->is_used, true, memory_order_relaxed);
        handle->uses++;
        return handle;
    }
    struct prepared *found = prepared_registry_find(cache->registry, origin_id);
    if (found == NULL)
        return NULL;
    handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        prepared_put(found);
        return NULL;
    }
    uncache(slot);
    *handle = (struct prepared_handle){.prepared = found, .uses = 1, .is_cached = true};
    *slot = handle;
    return handle;
}

void prepared_cache_release(struct prepared_handle *handle)
{
    if (handle == NULL)
        return;
    handle->uses--;
    free_if_unused(handle);
}
