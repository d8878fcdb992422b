/* Request slots and their pool. One worker's; no lock. Requests come from a free list, so the
 * steady state allocates nothing. */
#include "dataplane/request.h"

#include <string.h>

#include "dataplane/preparation.h"

#define FIRST_SLOTS 16

void request_pool_init(struct request_pool *pool)
{
    list_init(&pool->free);
}

void request_pool_fini(struct request_pool *pool)
{
    for (struct list *node; (node = list_take_first(&pool->free)) != NULL;)
        free(CONTAINER_OF(node, struct request, deadline));
}

void request_table_init(struct request_table *table, uint32_t limit)
{
    *table = (struct request_table){.limit = limit};
}

void request_table_fini(struct request_table *table)
{
    CHECK(table->used == 0);
    free(table->slots);
    free(table->free_slots);
    *table = (struct request_table){.limit = table->limit};
}

static bool grow(struct request_table *table)
{
    uint32_t capacity = table->capacity == 0 ? FIRST_SLOTS : 2 * table->capacity;
    if (capacity > table->limit)
        capacity = table->limit;
    if (capacity == table->capacity)
        return false;
    struct request **slots = realloc(table->slots, capacity * sizeof *slots);
    if (slots == NULL)
        return false;
    table->slots = slots;
    uint16_t *free_slots = realloc(table->free_slots, capacity * sizeof *free_slots);
    if (free_slots == NULL)
        return false;
    table->free_slots = free_slots;
    for (uint32_t slot = capacity; slot-- > table->capacity;) {
        slots[slot] = NULL;
        free_slots[table->free_count++] = (uint16_t)slot;
    }
    table->capacity = capacity;
    return true;
}

struct request *request_begin(struct request_table *table, struct request_pool *pool)
{
    if (table->free_count == 0 && !grow(table))
        return NULL;
    struct list *node = list_take_first(&pool->free);
    struct request *request =
        node != NULL ? CONTAINER_OF(node, struct request, deadline) : malloc(sizeof *request);
    if (request == NULL)
        return NULL;
    uint16_t slot = table->free_slots[--table->free_count];
    memset(request, 0, offsetof(struct request, held_inline));
    list_init(&request->deadline);
    request->slot = slot;
    table->slots[slot] = request;
    table->used++;
    return request;
}

void request_end(struct request_table *table, struct request_pool *pool, struct request *request)
{
    request_drop_held(request);
    prepared_cache_release(request->prepared);
    if (UNLIKELY(request->preparation != NULL))
        preparation_free(request->preparation);
    table->slots[request->slot] = NULL;
    table->free_slots[table->free_count++] = request->slot;
    table->used--;
    list_remove(&request->deadline);
    list_prepend(&pool->free, &request->deadline);
}

bool request_hold(struct request *request, enum cluster_id from, const uint8_t *frame,
                  size_t length)
{
    request_drop_held(request);
    uint8_t *copy = length <= REQUEST_HELD_INLINE ? request->held_inline : malloc(length);
    if (copy == NULL)
        return false;
    memcpy(copy, frame, length);
    request->held = copy;
    request->held_length = (uint32_t)length;
    request->held_from = from;
    return true;
}

void request_drop_held(struct request *request)
{
    if (request->held != NULL && request->held != request->held_inline)
        free(request->held);
    request->held = NULL;
    request->held_length = 0;
}
