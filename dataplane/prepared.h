/* The registry of prepared statements: from the id clients know to each cluster's ids and what was
 * decided at PREPARE. That id is the origin's, unless the client knew the statement by another
 * before (refused_ids.h). One per process, sharded, bounded, entries immutable; each
 * worker reads through its own cache without a lock.
 *
 *   worker: prepared_cache_find ─hit─► handle          (no lock; nothing shared is written)
 *                    └─miss─► registry shard (mutex) ─► counted entry, remembered in the cache
 *
 * Both grow with what they hold. A cache has room for everything its worker has used, so that with
 * any number of statements each is asked of the registry once. What the registry lets go of, a
 * cache lets go of a little at a time, as its worker executes: it never keeps alive more than about
 * half as much again as it has in use. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/cache_line.h"
#include "common/list.h"
#include "dataplane/classify.h"
#include "dataplane/functions.h"
#include "dataplane/prepared_table.h"
#include "proto/cql_cursor.h"
#include "proto/cql_response.h"

/* The struct's first 2 + length bytes are the id as [short bytes] on the wire. */
struct prepared_id {
    uint8_t length_high; /* 0 */
    uint8_t length;
    uint8_t bytes[CQL_ID_MAX];
};

static inline bool prepared_id_is(const struct prepared_id *id, struct cql_span other)
{
    return id->length == other.length && memcmp(id->bytes, other.data, other.length) == 0;
}

/* Statements the process remembers; a driver that meets a forgotten one prepares it again. */
#define PREPARED_ENTRIES_MAX ((size_t)256 * 1024)

/* Longest statement text that is kept, and how much text all entries together may keep: a registry
 * over that evicts. */
#define PREPARED_TEXT_MAX  ((size_t)16 * 1024)
#define PREPARED_BYTES_MAX ((size_t)64 * 1024 * 1024)

/* What every EXECUTE must know; most need to know no more of a statement. */
struct prepared_traits {
    struct statement_class statement;
    uint8_t other_ids;   /* 1 << cluster: it knows the statement by another id than clients */
    bool columns_differ; /* the clusters' result metadata describe different columns */
    bool has_functions;  /* values EXECUTE must add */
    uint8_t missing; /* 1 << cluster: where it was not prepared, since that cluster was idle; the
                        client has the other one's id and metadata. Implies columns_differ */
};

struct prepared {
    _Atomic uint32_t references;
    _Atomic bool is_replaced; /* the registry let go of it (a newer entry has taken its id, or it
                                 was evicted): look the id up again */
    _Atomic bool is_used;     /* since the eviction hand last came by */
    struct prepared_traits traits;
    uint64_t routing_serial;         /* of the routing state it was prepared by */
    struct function_plan *functions; /* NULL: none */
    struct prepared_id id;           /* by which clients know it: the key */
    struct prepared_id ids[CLUSTER_COUNT];
    struct prepared_id metadata_ids[CLUSTER_COUNT]; /* of the result metadata; empty: none known */
    struct list link;                               /* registry: the shard's clock */
    const char *keyspace;                           /* the one it was prepared under, "" for none */
    size_t text_length;                             /* 0: longer than PREPARED_TEXT_MAX, not kept */
    char text[]; /* the statement, for those who answer it or prepare it again */
};

/* What an entry is made of; spans are copied. */
struct prepared_facts {
    struct cql_span id;                 /* by which clients know it; empty: the origin's */
    struct cql_span ids[CLUSTER_COUNT]; /* the target's may be empty: it does not know it */
    struct cql_span metadata_ids[CLUSTER_COUNT];
    bool columns_differ;
    uint8_t missing; /* its id is the other's: most often it will be, and nothing is sent by it */
    uint64_t routing_serial; /* of the routing state that says what is missing */
    struct statement_class statement;
    struct function_plan *functions; /* malloc'd; becomes the entry's, if one is made */
    struct cql_span text;
    struct cql_span keyspace;
};

struct prepared_registry;

/* entries_max: over all shards. Never NULL. */
struct prepared_registry *prepared_registry_new(size_t entries_max);
void prepared_registry_free(struct prepared_registry *registry);

/* Makes an entry with one reference, the caller's. NULL: out of memory, or an id is over CQL_ID_MAX
 * bytes, or the origin's is empty. */
struct prepared *prepared_new(const struct prepared_facts *facts);
void prepared_put(struct prepared *prepared);

struct prepared_change {
    int entries;      /* by how much their number changed */
    unsigned evicted; /* how many had to go to make room */
};

/* Adds the entry, or replaces the one with the same id; may evict others. What only newer
 * protocol versions tell (metadata ids) is taken over from the replaced entry when the new one
 * lacks it; one that is missing on a cluster does not replace one that is not, and was prepared by
 * a newer routing state: workers do not switch in the same instant, and clients of those who have
 * would be asked to prepare it over and over. The registry takes its own reference. Without memory
 * the entry is not added: as if it had been evicted at once. */
struct prepared_change prepared_registry_add(struct prepared_registry *registry,
                                             struct prepared *prepared);
/* By the client's id: an entry with a reference for the caller, or NULL. */
struct prepared *prepared_registry_find(struct prepared_registry *registry, struct cql_span id);
/* By a cluster's id, which only an UNPREPARED answer to a BATCH needs: walks the registry. An empty
 * id is nobody's. */
struct prepared *prepared_registry_find_by(struct prepared_registry *registry,
                                           enum cluster_id cluster, struct cql_span id);

#define PREPARED_ID_USUAL 16

/* A worker's use of an entry: a cache line that spares most requests a look at the entry itself.
 * It never leaves the worker, so it is counted without atomics. */
struct prepared_handle {
    _Alignas(CACHE_LINE) union {
        struct prepared *prepared;
        struct prepared_handle *next_free;
    };
    uint64_t removals_seen; /* of the registry's, when it was last asked whether it has the entry */
    uint32_t uses;
    bool is_cached;
    uint8_t id_length;
    uint16_t place; /* in its block */
    struct prepared_traits traits;
    uint8_t id[PREPARED_ID_USUAL]; /* the client's, where it is of the usual length */
};
_Static_assert(sizeof(struct prepared_handle) == CACHE_LINE, "a handle fits into a cache line");

/* A cache grows in parts, each on its own, so that growing never takes a worker long. */
#define PREPARED_CACHE_PARTS 64

struct prepared_cache {
    struct prepared_registry *registry;
    struct prepared_table parts[PREPARED_CACHE_PARTS]; /* of struct prepared_handle */
    struct prepared_block *blocks;                     /* that handles are taken from */
    struct prepared_handle *free_handles;
    uint64_t removals_seen; /* of the registry's; each one pays for a piece of the sweep */
    size_t sweep_part;      /* where the sweep goes on */
    size_t sweep_slot;
};

void prepared_cache_init(struct prepared_cache *cache, struct prepared_registry *registry);
/* Every handle must have been released before. */
void prepared_cache_fini(struct prepared_cache *cache);
/* The entry by the client's id, used until prepared_cache_release; NULL: unknown. */
struct prepared_handle *prepared_cache_find(struct prepared_cache *cache, struct cql_span id);
/* The entry by this id is about to be looked for: what memory holds of the way to it is fetched
 * while other work is done. Any bytes will do. */
void prepared_cache_expect(const struct prepared_cache *cache, struct cql_span id);
void prepared_cache_release(struct prepared_handle *handle); /* NULL is allowed */
