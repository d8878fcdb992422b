/* Chunk pools. One worker's; never shared between threads; the free list makes the steady state
 * free of malloc. */
#include "dataplane/chunk.h"

#include <string.h>

/* A pool keeps at most this many free chunks, about 16 MiB: more than a loop turn's work, little
 * enough to give memory back. */
#define FREE_CHUNKS_MAX 1024

void chunk_pool_init(struct chunk_pool *pool, size_t large_limit)
{
    *pool = (struct chunk_pool){.large_limit = large_limit};
}

static void free_list(struct chunk *chunk)
{
    while (chunk != NULL) {
        struct chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void chunk_pool_fini(struct chunk_pool *pool)
{
    free_list(pool->free_standard);
    free_list(pool->free_views);
    *pool = (struct chunk_pool){0};
}

struct chunk *chunk_new(struct chunk_pool *pool)
{
    struct chunk *chunk = pool->free_standard;
    if (chunk != NULL) {
        pool->free_standard = chunk->next;
        pool->free_count--;
    } else {
        chunk = malloc(sizeof *chunk + CHUNK_BYTES);
        if (chunk == NULL)
            return NULL;
    }
    *chunk =
        (struct chunk){.bytes = (uint8_t *)(chunk + 1), .references = 1, .capacity = CHUNK_BYTES};
    return chunk;
}

struct chunk *chunk_new_large(struct chunk_pool *pool, size_t capacity)
{
    CHECK(capacity > CHUNK_BYTES);
    if (capacity > pool->large_limit - pool->large_bytes)
        return NULL;
    struct chunk *chunk = malloc(sizeof *chunk + capacity);
    if (chunk == NULL)
        return NULL;
    pool->large_bytes += capacity;
    *chunk = (struct chunk){.bytes = (uint8_t *)(chunk + 1), .references = 1, .capacity = capacity};
    return chunk;
}

bool chunk_grow(struct chunk_pool *pool, struct chunk **chunk, size_t capacity)
{
    struct chunk *old = *chunk;
    CHECK(old->references == 1 && old->parent == NULL && old->capacity > CHUNK_BYTES);
    size_t extra = capacity - old->capacity;
    if (extra > pool->large_limit - pool->large_bytes)
        return false;
    struct chunk *grown = realloc(old, sizeof *grown + capacity);
    if (grown == NULL)
        return false;
    pool->large_bytes += extra;
    grown->bytes = (uint8_t *)(grown + 1);
    grown->capacity = capacity;
    *chunk = grown;
    return true;
}

struct chunk *chunk_view(struct chunk_pool *pool, struct chunk *parent, size_t start, size_t length)
{
    struct chunk *view = pool->free_views;
    if (view != NULL)
        pool->free_views = view->next;
    else
        view = malloc(sizeof *view);
    if (view == NULL)
        return NULL;
    CHECK(start + length <= parent->end);
    parent->references++;
    *view = (struct chunk){
        .parent = parent,
        .bytes = parent->bytes + start,
        .references = 1,
        .end = length,
        .capacity = length,
    };
    return view;
}

void chunk_put(struct chunk_pool *pool, struct chunk *chunk)
{
    if (chunk == NULL || --chunk->references > 0)
        return;
    if (chunk->parent != NULL) {
        chunk_put(pool, chunk->parent);
        chunk->next = pool->free_views;
        pool->free_views = chunk;
    } else if (chunk->capacity > CHUNK_BYTES) {
        pool->large_bytes -= chunk->capacity;
        free(chunk);
    } else if (pool->free_count >= FREE_CHUNKS_MAX) {
        free(chunk);
    } else {
        chunk->next = pool->free_standard;
        pool->free_standard = chunk;
        pool->free_count++;
    }
}
