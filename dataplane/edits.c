/* Edits of request bodies. Pure but for the memory of the list; used by a worker on its own list
 * only. It must never look into the bodies: where to change what is for its callers to know. */
#include "dataplane/edits.h"

#include <stdlib.h>
#include <string.h>

/* What is kept from one request to the next. */
#define KEPT_EDITS  256
#define KEPT_BYTES  ((size_t)4096)
#define SMALL_SORTS 32

struct edit_block {
    struct edit_block *next;
    size_t used, capacity;
    uint8_t bytes[];
};

void edits_init(struct edits *edits)
{
    *edits = (struct edits){.list = NULL};
}

static void free_blocks(struct edits *edits, const struct edit_block *kept)
{
    while (edits->blocks != kept) {
        struct edit_block *block = edits->blocks;
        edits->blocks = block->next;
        free(block);
    }
}

void edits_fini(struct edits *edits)
{
    free_blocks(edits, NULL);
    free(edits->list);
    edits_init(edits);
}

void edits_clear(struct edits *edits)
{
    if (edits->capacity > KEPT_EDITS) {
        free(edits->list);
        edits->list = NULL;
        edits->capacity = 0;
    }
    edits->count = 0;
    edits->is_used = edits->is_unsorted = edits->is_split = edits->failed = false;
    edits->clusters = 0;
    memset(edits->growth, 0, sizeof edits->growth);
    /* The first block is the oldest and of the usual size, unless the first need was larger. */
    struct edit_block *oldest = edits->blocks;
    while (oldest != NULL && oldest->next != NULL)
        oldest = oldest->next;
    free_blocks(edits, oldest != NULL && oldest->capacity == KEPT_BYTES ? oldest : NULL);
    if (edits->blocks != NULL)
        edits->blocks->used = 0;
}

static bool grow(struct edits *edits)
{
    uint32_t capacity = edits->capacity == 0 ? KEPT_EDITS / 4 : 2 * edits->capacity;
    struct edit *list = realloc(edits->list, capacity * sizeof *list);
    if (list == NULL) {
        edits->failed = true;
        return false;
    }
    edits->list = list;
    edits->capacity = capacity;
    return true;
}

void edits_add(struct edits *edits, uint8_t clusters, uint32_t at, uint32_t removed,
               const void *bytes, uint32_t length)
{
    edits->is_used = true;
    if (UNLIKELY(edits->count == edits->capacity) && !grow(edits))
        return;
    struct edit *edit = &edits->list[edits->count];
    *edit = (struct edit){.at = at,
                          .removed = removed,
                          .length = length,
                          .order = edits->count,
                          .bytes = bytes,
                          .clusters = clusters};
    if (edits->count > 0 &&
        (at < edit[-1].at || (at == edit[-1].at && removed == 0 && edit[-1].removed > 0)))
        edits->is_unsorted = true;
    edits->count++;
    edits->clusters |= clusters;
    edits->is_split |= clusters != EDIT_BOTH;
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        if ((clusters & (1u << i)) != 0)
            edits->growth[i] += (int64_t)length - removed;
    }
}

uint8_t *edits_room(struct edits *edits, size_t length)
{
    struct edit_block *block = edits->blocks;
    edits->is_used = true;
    if (block == NULL || block->capacity - block->used < length) {
        size_t capacity = length > KEPT_BYTES ? length : KEPT_BYTES;
        block = malloc(sizeof *block + capacity);
        if (block == NULL) {
            edits->failed = true;
            return NULL;
        }
        *block = (struct edit_block){.next = edits->blocks, .capacity = capacity};
        edits->blocks = block;
    }
    uint8_t *room = block->bytes + block->used;
    block->used += length;
    return room;
}

static int compare(const void *left, const void *right)
{
    const struct edit *a = left, *b = right;
    if (a->at != b->at)
        return a->at < b->at ? -1 : 1;
    /* What is inserted stands before what is replaced. */
    if ((a->removed == 0) != (b->removed == 0))
        return a->removed == 0 ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

void edits_sort(struct edits *edits)
{
    edits->is_unsorted = false;
    if (edits->count > SMALL_SORTS) {
        qsort(edits->list, edits->count, sizeof *edits->list, compare);
        return;
    }
    for (uint32_t i = 1; i < edits->count; i++) {
        struct edit edit = edits->list[i];
        uint32_t to = i;
        for (; to > 0 && compare(&edit, &edits->list[to - 1]) < 0; to--)
            edits->list[to] = edits->list[to - 1];
        edits->list[to] = edit;
    }
}

bool edits_apply(const struct edits *edits, enum cluster_id cluster, const uint8_t *body,
                 size_t body_length,
                 bool (*give)(void *context, const uint8_t *bytes, size_t length, bool is_body),
                 void *context)
{
    size_t at = 0;
    for (uint32_t i = 0; i < edits->count; i++) {
        const struct edit *edit = &edits->list[i];
        if ((edit->clusters & (1u << cluster)) == 0)
            continue;
        CHECK(edit->at >= at && edit->removed <= body_length - edit->at);
        if (edit->at > at && !give(context, body + at, edit->at - at, true))
            return false;
        if (edit->length > 0 && !give(context, edit->bytes, edit->length, false))
            return false;
        at = (size_t)edit->at + edit->removed;
    }
    return at == body_length || give(context, body + at, body_length - at, true);
}

uint8_t *edits_copy(const struct edits *edits, enum cluster_id cluster, const uint8_t *body,
                    size_t body_length, uint8_t *to)
{
    size_t at = 0;
    for (uint32_t i = 0; i < edits->count; i++) {
        const struct edit *edit = &edits->list[i];
        if ((edit->clusters & (1u << cluster)) == 0)
            continue;
        CHECK(edit->at >= at && edit->removed <= body_length - edit->at);
        memcpy(to, body + at, edit->at - at);
        to += edit->at - at;
        if (edit->length > 0)
            memcpy(to, edit->bytes, edit->length);
        to += edit->length;
        at = (size_t)edit->at + edit->removed;
    }
    if (at < body_length)
        memcpy(to, body + at, body_length - at);
    return to + (body_length - at);
}
