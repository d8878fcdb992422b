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
    size_t text_bytes; /* of the entries' texts */
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

static bool set_id(struct prepared_id *id, struct cql_span span)
{
    if (span.length > CQL_ID_MAX)
        return false;
    id->length = (uint8_t)span.length;
    if (span.length > 0)
        memcpy(id->bytes, span.data, span.length);
    return true;
}

struct prepared *prepared_new(const struct prepared_facts *facts)
{
    struct cql_span text = facts->text, keyspace = facts->keyspace;
    if (facts->ids[CLUSTER_ORIGIN].length == 0)
        return NULL;
    if (text.length > PREPARED_TEXT_MAX)
        text.length = 0;
    struct prepared *prepared = malloc(sizeof *prepared + text.length + keyspace.length + 1);
    if (prepared == NULL)
        return NULL;
    *prepared = (struct prepared){
        .statement = facts->statement,
        .columns_differ = facts->columns_differ,
        .functions = facts->functions,
        .text_length = text.length,
    };
    atomic_init(&prepared->references, 1);
    list_init(&prepared->link);
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        if (!set_id(&prepared->ids[i], facts->ids[i]) ||
            !set_id(&prepared->metadata_ids[i], facts->metadata_ids[i])) {
            free(prepared);
            return NULL;
        }
    }
    prepared->ids_differ =
        !prepared_id_is(&prepared->ids[CLUSTER_TARGET], id_span(&prepared->ids[CLUSTER_ORIGIN]));
    if (text.length > 0)
        memcpy(prepared->text, text.data, text.length);
    char *kept = prepared->text + text.length;
    if (keyspace.length > 0)
        memcpy(kept, keyspace.data, keyspace.length);
    kept[keyspace.length] = '\0';
    prepared->keyspace = kept;
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
        atomic_fetch_sub_explicit(&prepared->references, 1, memory_order_acq_rel) == 1) {
        free(prepared->functions);
        free(prepared);
    }
}

/* The link that points at the entry with this id, or the NULL at the chain's end. */
static struct prepared **find_link(struct shard *shard, uint64_t hash, struct cql_span origin_id)
{
    struct prepared **link = &shard->buckets[(hash / SHARDS) % SHARD_BUCKETS];
    while (*link != NULL && !prepared_id_is(&(*link)->ids[CLUSTER_ORIGIN], origin_id))
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
    shard->text_bytes -= entry->text_length;
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

/* A client of a version without metadata ids has prepared what one with them is using. */
static void take_over_metadata_ids(struct prepared *prepared, const struct prepared *before)
{
    if (prepared->metadata_ids[CLUSTER_ORIGIN].length > 0 ||
        !prepared_id_is(&before->ids[CLUSTER_TARGET], id_span(&prepared->ids[CLUSTER_TARGET])))
        return;
    memcpy(prepared->metadata_ids, before->metadata_ids, sizeof prepared->metadata_ids);
}

int prepared_registry_add(struct prepared_registry *registry, struct prepared *prepared)
{
    struct cql_span id = id_span(&prepared->ids[CLUSTER_ORIGIN]);
    uint64_t hash = hash_id(id);
    struct shard *shard = &registry->shards[hash % SHARDS];
    pthread_mutex_lock(&shard->mutex);
    int before = (int)shard->count;
    struct prepared **link = find_link(shard, hash, id);
    if (*link != NULL) {
        take_over_metadata_ids(prepared, *link);
        unlink_entry(shard, link);
    }
    while (shard->count > 0 &&
           (shard->count >= registry->shard_entries_max ||
            shard->text_bytes + prepared->text_length > PREPARED_BYTES_MAX / SHARDS))
        evict_one(shard);
    struct prepared **bucket = &shard->buckets[(hash / SHARDS) % SHARD_BUCKETS];
    prepared_get(prepared);
    prepared->next = *bucket;
    *bucket = prepared;
    list_append(&shard->clock, &prepared->link);
    shard->count++;
    shard->text_bytes += prepared->text_length;
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
            if (prepared_id_is(&entry->ids[CLUSTER_TARGET], target_id))
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
    if (LIKELY(handle != NULL &&
               prepared_id_is(&handle->prepared->ids[CLUSTER_ORIGIN], origin_id) &&
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
