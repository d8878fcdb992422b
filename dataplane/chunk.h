/* Byte chunks: what streams queue and keep. A pool belongs to one worker; chunks never cross
 * threads.
 *
 * A standard chunk is CHUNK_BYTES long and comes from the pool's free list. A large chunk holds one
 * frame that is bigger than that, is allocated and freed on its own, and may stand in several
 * output queues at once as views (counted), so that a large request is stored once though it goes
 * to two clusters. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"

#define CHUNK_BYTES (16 * 1024 - 64) /* with its header just under a power of two */

struct chunk {
    struct chunk *next;   /* in the free list or a stream's output queue */
    struct chunk *parent; /* a view: the large chunk whose bytes these are; NULL otherwise */
    uint8_t *bytes;
    uint32_t references; /* large chunks: itself and its views */
    size_t start, end;   /* unsent bytes are bytes[start, end) */
    size_t capacity;
};

struct chunk_pool {
    struct chunk *free_standard;
    struct chunk *free_views;
    size_t free_count;
    size_t large_bytes; /* held by large chunks now */
    size_t large_limit; /* they may not hold more: the pool's share of the process */
};

void chunk_pool_init(struct chunk_pool *pool, size_t large_limit);
void chunk_pool_fini(struct chunk_pool *pool);

/* An empty standard chunk, or NULL when memory is out. */
struct chunk *chunk_new(struct chunk_pool *pool);
/* An empty large chunk of the given capacity, or NULL when the pool's limit or memory is out. */
struct chunk *chunk_new_large(struct chunk_pool *pool, size_t capacity);
/* Enlarges a large chunk that has no views, content kept; false (and unchanged) when limit or
 * memory is out. */
MUST_CHECK bool chunk_grow(struct chunk_pool *pool, struct chunk **chunk, size_t capacity);
/* A view of parent's bytes [start, start + length); takes its own reference. NULL when memory is
 * out. */
struct chunk *chunk_view(struct chunk_pool *pool, struct chunk *parent, size_t start,
                         size_t length);
/* Drops one reference; NULL is allowed. */
void chunk_put(struct chunk_pool *pool, struct chunk *chunk);

static inline size_t chunk_room(const struct chunk *chunk)
{
    return chunk->capacity - chunk->end;
}
