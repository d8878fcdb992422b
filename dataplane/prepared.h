/* The registry of prepared statements: from the id clients know (the origin's) to each cluster's id
 * and the class decided at PREPARE. One per process, sharded, bounded, entries immutable; each
 * worker reads through its own cache without a lock.
 *
 *   worker: prepared_cache_find ─hit─► handle          (no lock, no shared write)
 *                    └─miss─► registry shard (mutex) ─► counted entry, remembered in the cache */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "dataplane/classify.h"
#include "proto/cql_cursor.h"
#include "proto/cql_response.h"

struct prepared_id {
    uint8_t length;
    uint8_t bytes[CQL_ID_MAX];
};

struct prepared {
    _Atomic uint32_t references;
    _Atomic bool is_replaced; /* the registry let go of it (a newer entry has taken its id, or it
                                 was evicted): look the id up again */
    _Atomic bool is_used;     /* since the eviction hand last came by */
    struct list link;         /* registry: the shard's clock */
    struct prepared *next;    /* registry: the bucket's chain */
    struct prepared_id ids[CLUSTER_COUNT];
    struct statement_class statement;
    size_t text_length; /* REQUEST_VIRTUAL: the statement, to answer it from; else 0 */
    char text[];
};

struct prepared_registry;

/* entries_max: over all shards. Never NULL. */
struct prepared_registry *prepared_registry_new(size_t entries_max);
void prepared_registry_free(struct prepared_registry *registry);

/* Makes an entry with one reference, the caller's; text may be NULL. NULL: out of memory, or an id
 * over CQL_ID_MAX bytes. */
struct prepared *prepared_new(struct cql_span origin_id, struct cql_span target_id,
                              struct statement_class statement, const char *text,
                              size_t text_length);
void prepared_put(struct prepared *prepared);

/* Adds the entry, or replaces the one with the same origin id; may evict another. The registry
 * takes its own reference. Returns by how much the number of entries changed. */
int prepared_registry_add(struct prepared_registry *registry, struct prepared *prepared);
/* By the client's id: an entry with a reference for the caller, or NULL. */
struct prepared *prepared_registry_find(struct prepared_registry *registry,
                                        struct cql_span origin_id);
/* By the target's id, which only an UNPREPARED answer to a BATCH needs: walks the registry. An
 * empty id is nobody's. */
struct prepared *prepared_registry_find_by_target(struct prepared_registry *registry,
                                                  struct cql_span target_id);

/* A worker's use of an entry; counted without atomics since it never leaves the worker. */
struct prepared_handle {
    struct prepared *prepared;
    uint32_t uses;
    bool is_cached;
};

#define PREPARED_CACHE_SLOTS 1024

struct prepared_cache {
    struct prepared_registry *registry;
    struct prepared_handle *slots[PREPARED_CACHE_SLOTS];
};

void prepared_cache_init(struct prepared_cache *cache, struct prepared_registry *registry);
void prepared_cache_fini(struct prepared_cache *cache);
/* The entry by the client's id, used until prepared_cache_release; NULL: unknown. */
struct prepared_handle *prepared_cache_find(struct prepared_cache *cache,
                                            struct cql_span origin_id);
void prepared_cache_release(struct prepared_handle *handle); /* NULL is allowed */
