/* The prepared statement registry and the workers' caches of it. The registry may be called by any
 * worker; a cache by its own only. The mutexes are taken at PREPARE and at a worker's first use of
 * an id, never in the steady state. */
#include "dataplane/prepared.h"

#include <pthread.h>
#include <string.h>

#define SHARDS 16
/* Slots of a cache that are looked over for each entry the registry has let go of. */
#define SWEEP_SLOTS   32
#define BLOCK_HANDLES 255
/* Removals a single lookup pays for, at most. */
#define SWEEP_REMOVALS_MAX 16

struct shard {
    pthread_mutex_t mutex;
    struct prepared_table entries; /* of struct prepared, by the id clients know */
    struct list clock;             /* oldest first; the eviction hand starts at the front */
    size_t text_bytes;             /* of the entries' texts */
};

struct prepared_registry {
    /* Entries let go of so far. Workers read it at every lookup: it has a cache line without
     * anything that changes more often. */
    _Alignas(CACHE_LINE_PAIR) _Atomic uint64_t removals;
    size_t shard_entries_max;
    _Alignas(CACHE_LINE_PAIR) struct shard shards[SHARDS];
};

COLD static uint64_t hash_short_id(struct cql_span id)
{
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < id.length; i++)
        hash = (hash ^ id.data[i]) * 0x100000001b3ULL;
    return hash;
}

/* Ids are MD5 sums, so their own bytes are the hash; anything else a server may send still works,
 * only slower. */
static inline uint64_t hash_id(struct cql_span id)
{
    uint64_t hash;
    if (UNLIKELY(id.length < sizeof hash))
        return hash_short_id(id);
    memcpy(&hash, id.data, sizeof hash);
    return hash ^ hash >> 29;
}

/* Tables find their slots by the low bits, so what is divided is divided by the high ones. */
static size_t hash_share(uint64_t hash, size_t shares)
{
    return (hash >> 32) * shares >> 32;
}

static struct cql_span id_span(const struct prepared_id *id)
{
    return (struct cql_span){id->bytes, id->length};
}

struct prepared_registry *prepared_registry_new(size_t entries_max)
{
    struct prepared_registry *registry = cache_line_alloc(sizeof *registry);
    registry->shard_entries_max = entries_max / SHARDS > 0 ? entries_max / SHARDS : 1;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&registry->shards[i].mutex, NULL);
        prepared_table_init(&registry->shards[i].entries);
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
        prepared_table_fini(&shard->entries);
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
    struct cql_span id = facts->id.length > 0 ? facts->id : facts->ids[CLUSTER_ORIGIN];
    if (facts->ids[CLUSTER_ORIGIN].length == 0)
        return NULL;
    if (text.length > PREPARED_TEXT_MAX)
        text.length = 0;
    struct prepared *prepared = malloc(sizeof *prepared + text.length + keyspace.length + 1);
    if (prepared == NULL)
        return NULL;
    *prepared = (struct prepared){
        .traits = {.statement = facts->statement,
                   .columns_differ = facts->columns_differ || facts->missing != 0,
                   .missing = facts->missing,
                   .has_functions = facts->functions != NULL},
        .routing_serial = facts->routing_serial,
        .functions = facts->functions,
        .text_length = text.length,
    };
    atomic_init(&prepared->references, 1);
    list_init(&prepared->link);
    bool fits = set_id(&prepared->id, id);
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        fits = fits && set_id(&prepared->ids[i], facts->ids[i]) &&
               set_id(&prepared->metadata_ids[i], facts->metadata_ids[i]);
        if (!prepared_id_is(&prepared->ids[i], id))
            prepared->traits.other_ids |= (uint8_t)(1u << i);
    }
    if (!fits) {
        free(prepared);
        return NULL;
    }
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

/* The slot of the entry with this id, or NULL. */
static struct prepared_slot *find_slot(const struct shard *shard, uint64_t hash, struct cql_span id)
{
    struct prepared_slot *slot;
    for (size_t at = hash; (slot = prepared_table_match(&shard->entries, hash, &at)) != NULL;
         at++) {
        const struct prepared *entry = slot->item;
        if (prepared_id_is(&entry->id, id))
            return slot;
    }
    return NULL;
}

static void remove_entry(struct prepared_registry *registry, struct shard *shard,
                         struct prepared_slot *slot)
{
    CHECK(slot != NULL);
    struct prepared *entry = slot->item;
    atomic_store_explicit(&entry->is_replaced, true, memory_order_release);
    atomic_fetch_add_explicit(&registry->removals, 1, memory_order_release);
    prepared_table_remove(&shard->entries, slot);
    list_remove(&entry->link);
    shard->text_bytes -= entry->text_length;
    prepared_put(entry);
}

/* Second chance: an entry used since the hand last came by goes to the back once more. When all are
 * used, the hand comes round and takes the oldest. */
static void evict_one(struct prepared_registry *registry, struct shard *shard)
{
    for (size_t tries = shard->entries.count + 1; tries > 0; tries--) {
        struct prepared *oldest = CONTAINER_OF(list_first(&shard->clock), struct prepared, link);
        if (tries > 1 && atomic_exchange_explicit(&oldest->is_used, false, memory_order_relaxed)) {
            list_remove(&oldest->link);
            list_append(&shard->clock, &oldest->link);
            continue;
        }
        struct cql_span id = id_span(&oldest->id);
        remove_entry(registry, shard, find_slot(shard, hash_id(id), id));
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

static bool is_behind(const struct prepared *prepared, const struct prepared *present)
{
    return prepared->traits.missing != 0 && present->traits.missing == 0 &&
           prepared->routing_serial < present->routing_serial;
}

struct prepared_change prepared_registry_add(struct prepared_registry *registry,
                                             struct prepared *prepared)
{
    struct cql_span id = id_span(&prepared->id);
    uint64_t hash = hash_id(id);
    struct shard *shard = &registry->shards[hash_share(hash, SHARDS)];
    struct prepared_change change = {0};
    pthread_mutex_lock(&shard->mutex);
    size_t before = shard->entries.count;
    struct prepared_slot *slot = find_slot(shard, hash, id);
    if (slot != NULL && is_behind(prepared, slot->item)) {
        pthread_mutex_unlock(&shard->mutex);
        return change;
    }
    if (slot != NULL) {
        take_over_metadata_ids(prepared, slot->item);
        remove_entry(registry, shard, slot);
    }
    while (shard->entries.count > 0 &&
           (shard->entries.count >= registry->shard_entries_max ||
            shard->text_bytes + prepared->text_length > PREPARED_BYTES_MAX / SHARDS)) {
        evict_one(registry, shard);
        change.evicted++;
    }
    if (prepared_table_add(&shard->entries, hash, prepared)) {
        prepared_get(prepared);
        list_append(&shard->clock, &prepared->link);
        shard->text_bytes += prepared->text_length;
    } else {
        change.evicted++;
    }
    change.entries = (int)shard->entries.count - (int)before;
    pthread_mutex_unlock(&shard->mutex);
    return change;
}

struct prepared *prepared_registry_find(struct prepared_registry *registry, struct cql_span id)
{
    uint64_t hash = hash_id(id);
    struct shard *shard = &registry->shards[hash_share(hash, SHARDS)];
    pthread_mutex_lock(&shard->mutex);
    const struct prepared_slot *slot = find_slot(shard, hash, id);
    struct prepared *found = slot == NULL ? NULL : slot->item;
    if (found != NULL) {
        prepared_get(found);
        atomic_store_explicit(&found->is_used, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->mutex);
    return found;
}

struct prepared *prepared_registry_find_by(struct prepared_registry *registry,
                                           enum cluster_id cluster, struct cql_span id)
{
    struct prepared *found = NULL;
    /* Statements the proxy answers itself have no id on the target. */
    if (id.length == 0)
        return NULL;
    for (size_t i = 0; i < SHARDS && found == NULL; i++) {
        struct shard *shard = &registry->shards[i];
        pthread_mutex_lock(&shard->mutex);
        for (struct list *node = shard->clock.next; node != &shard->clock && found == NULL;
             node = node->next) {
            struct prepared *entry = CONTAINER_OF(node, struct prepared, link);
            if (prepared_id_is(&entry->ids[cluster], id))
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
    for (size_t i = 0; i < PREPARED_CACHE_PARTS; i++)
        prepared_table_init(&cache->parts[i]);
}

/* Handles lie close together, in blocks that stay until the end. */
struct prepared_block {
    struct prepared_cache *cache;
    struct prepared_block *next;
    struct prepared_handle handles[BLOCK_HANDLES];
};

static bool add_block(struct prepared_cache *cache)
{
    struct prepared_block *block = aligned_alloc(CACHE_LINE, sizeof *block);
    if (block == NULL)
        return false;
    block->cache = cache;
    block->next = cache->blocks;
    cache->blocks = block;
    for (uint16_t place = BLOCK_HANDLES; place-- > 0;) {
        struct prepared_handle *handle = &block->handles[place];
        handle->place = place;
        handle->next_free = cache->free_handles;
        cache->free_handles = handle;
    }
    return true;
}

/* A handle of the entry, with its reference. */
static struct prepared_handle *new_handle(struct prepared_cache *cache, struct prepared *prepared,
                                          uint64_t removals)
{
    if (cache->free_handles == NULL && !add_block(cache))
        return NULL;
    struct prepared_handle *handle = cache->free_handles;
    const struct prepared_id *id = &prepared->id;
    cache->free_handles = handle->next_free;
    *handle = (struct prepared_handle){
        .prepared = prepared,
        .removals_seen = removals,
        .place = handle->place,
        .id_length = id->length,
        .traits = prepared->traits,
    };
    memcpy(handle->id, id->bytes, sizeof handle->id);
    return handle;
}

COLD static void free_handle(struct prepared_handle *handle)
{
    struct prepared_cache *cache =
        CONTAINER_OF(handle, struct prepared_block, handles[handle->place])->cache;
    prepared_put(handle->prepared);
    handle->next_free = cache->free_handles;
    cache->free_handles = handle;
}

static void free_if_unused(struct prepared_handle *handle)
{
    if (UNLIKELY(handle->uses == 0 && !handle->is_cached))
        free_handle(handle);
}

static void let_go(struct prepared_handle *handle)
{
    handle->is_cached = false;
    free_if_unused(handle);
}

COLD static void uncache(struct prepared_table *part, struct prepared_slot *slot)
{
    struct prepared_handle *handle = slot->item;
    prepared_table_remove(part, slot);
    let_go(handle);
}

void prepared_cache_fini(struct prepared_cache *cache)
{
    for (size_t i = 0; i < PREPARED_CACHE_PARTS; i++) {
        struct prepared_table *part = &cache->parts[i];
        for (size_t slot = 0; slot <= part->mask; slot++) {
            if (part->slots[slot].item != NULL)
                let_go(part->slots[slot].item);
        }
        prepared_table_fini(part);
    }
    for (struct prepared_block *block; (block = cache->blocks) != NULL;) {
        cache->blocks = block->next;
        free(block);
    }
}

static bool is_stale(const struct prepared_handle *handle)
{
    return atomic_load_explicit(&handle->prepared->is_replaced, memory_order_acquire);
}

/* Looks over the next slots for what the registry no longer has. */
static void sweep(struct prepared_cache *cache, size_t slots)
{
    for (; slots > 0; slots--) {
        struct prepared_table *part = &cache->parts[cache->sweep_part];
        if (cache->sweep_slot > part->mask) {
            prepared_table_shrink(part);
            cache->sweep_part = (cache->sweep_part + 1) % PREPARED_CACHE_PARTS;
            cache->sweep_slot = 0;
            continue;
        }
        struct prepared_slot *slot = &part->slots[cache->sweep_slot];
        if (slot->item != NULL && is_stale(slot->item))
            uncache(part, slot); /* and look again: another may have moved here */
        else
            cache->sweep_slot++;
    }
}

COLD static void catch_up(struct prepared_cache *cache, uint64_t removals)
{
    uint64_t missed = removals - cache->removals_seen;
    if (missed > SWEEP_REMOVALS_MAX)
        missed = SWEEP_REMOVALS_MAX;
    cache->removals_seen += missed;
    sweep(cache, (size_t)missed * SWEEP_SLOTS);
}

/* The first use, or the first since the registry has let go of what was cached. */
COLD static struct prepared_handle *find_anew(struct prepared_cache *cache,
                                              struct prepared_table *part, uint64_t hash,
                                              struct cql_span id, uint64_t removals)
{
    struct prepared *found = prepared_registry_find(cache->registry, id);
    if (found == NULL)
        return NULL;
    struct prepared_handle *handle = new_handle(cache, found, removals);
    if (handle == NULL) {
        prepared_put(found);
        return NULL;
    }
    handle->uses = 1;
    handle->is_cached = prepared_table_add(part, hash, handle);
    return handle;
}

static bool handle_is(const struct prepared_handle *handle, struct cql_span id)
{
    if (handle->id_length != id.length)
        return false;
    if (LIKELY(id.length == PREPARED_ID_USUAL))
        return memcmp(handle->id, id.data, PREPARED_ID_USUAL) == 0;
    return prepared_id_is(&handle->prepared->id, id);
}

/* Only when the registry has let go of something can it be this, and only for it to choose what
 * else to let go of must it know what is used. */
COLD static bool is_current(struct prepared_handle *handle, uint64_t removals)
{
    handle->removals_seen = removals;
    if (is_stale(handle))
        return false;
    atomic_store_explicit(&handle->prepared->is_used, true, memory_order_relaxed);
    return true;
}

struct prepared_handle *prepared_cache_find(struct prepared_cache *cache, struct cql_span id)
{
    uint64_t hash = hash_id(id);
    struct prepared_table *part = &cache->parts[hash_share(hash, PREPARED_CACHE_PARTS)];
    struct prepared_slot *slot;
    uint64_t removals = atomic_load_explicit(&cache->registry->removals, memory_order_acquire);
    if (UNLIKELY(removals != cache->removals_seen))
        catch_up(cache, removals);
    for (size_t at = hash; (slot = prepared_table_match(part, hash, &at)) != NULL; at++) {
        struct prepared_handle *handle = slot->item;
        if (UNLIKELY(!handle_is(handle, id)))
            continue;
        if (UNLIKELY(handle->removals_seen != removals) && !is_current(handle, removals)) {
            uncache(part, slot);
            break;
        }
        handle->uses++;
        return handle;
    }
    return find_anew(cache, part, hash, id, removals);
}

void prepared_cache_expect(const struct prepared_cache *cache, struct cql_span id)
{
    uint64_t hash = hash_id(id);
    const struct prepared_table *part = &cache->parts[hash_share(hash, PREPARED_CACHE_PARTS)];
    __builtin_prefetch(&part->slots[hash & part->mask]);
}

void prepared_cache_release(struct prepared_handle *handle)
{
    if (handle == NULL)
        return;
    handle->uses--;
    free_if_unused(handle);
}
