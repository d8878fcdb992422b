/* The changes of one request on its way to the clusters: a list of splices over its plain body,
 * each for one cluster or both. Pure values; a worker owns one list and uses it again for every
 * request, so that the steady state allocates nothing.
 *
 *   body   ....[removed]........[removed]....
 *   sent   ....new bytes........new..........      to the clusters of each edit; others see the
 * body
 *
 * Bytes are borrowed: of something that outlives the request's writing (a pinned prepared
 * statement), or room taken from the list itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "dataplane/cluster_id.h"

#define EDIT_ORIGIN (1u << CLUSTER_ORIGIN)
#define EDIT_TARGET (1u << CLUSTER_TARGET)
#define EDIT_BOTH   (EDIT_ORIGIN | EDIT_TARGET)

struct edit {
    uint32_t at;      /* offset in the plain body */
    uint32_t removed; /* bytes of the body that are left out there */
    uint32_t length;  /* of what takes their place */
    uint32_t order;   /* of being added: edits at one place are applied in this order */
    const uint8_t *bytes;
    uint8_t clusters; /* EDIT_*: who sees it */
};

struct edit_block;

struct edits {
    struct edit *list;
    uint32_t count, capacity;
    bool is_used; /* something was added or taken since the last reset */
    bool is_unsorted;
    bool failed;                   /* memory ran out: the request must not be sent */
    uint8_t clusters;              /* EDIT_*: who sees any change */
    bool is_split;                 /* some change is for one cluster only */
    int64_t growth[CLUSTER_COUNT]; /* of the body, by cluster */
    struct edit_block *blocks;     /* room that was taken, newest first */
};

void edits_init(struct edits *edits);
void edits_fini(struct edits *edits);

/* Forgets all edits and room. Memory an unusual request needed is given back. */
void edits_clear(struct edits *edits);

/* The same, for nothing when nothing was changed. */
static inline void edits_reset(struct edits *edits)
{
    if (edits->is_used)
        edits_clear(edits);
}

/* Adds one: at offset `at` of the body, `removed` bytes give way to `length` bytes. Edits may come
 * in any order, those of one cluster must not overlap. Insertions at one place stand in the order
 * they were added, before what an edit at that place removes. */
void edits_add(struct edits *edits, uint8_t clusters, uint32_t at, uint32_t removed,
               const void *bytes, uint32_t length);

/* length bytes to fill, kept until edits_reset. NULL: memory ran out (edits->failed). */
uint8_t *edits_room(struct edits *edits, size_t length);

void edits_sort(struct edits *edits);

/* Sorts what came out of order. To be called once before the edits are applied. */
static inline void edits_seal(struct edits *edits)
{
    if (UNLIKELY(edits->is_unsorted))
        edits_sort(edits);
}

/* There are changes, and both clusters see all of them. */
static inline bool edits_are_shared(const struct edits *edits)
{
    return edits->clusters == EDIT_BOTH && !edits->is_split;
}

/* The edits were applied for good: nobody sees a change any more. Room stays taken. */
static inline void edits_settle(struct edits *edits)
{
    edits->clusters = 0;
}

static inline bool edits_touch(const struct edits *edits, enum cluster_id cluster)
{
    return (edits->clusters & (1u << cluster)) != 0;
}

/* The body as cluster sees it, piece by piece in order: give is called with runs of the body
 * (is_body, bytes points into it) and with new bytes. Returns what give returned last: it stops at
 * the first false. */
MUST_CHECK bool edits_apply(
    const struct edits *edits, enum cluster_id cluster, const uint8_t *body, size_t body_length,
    bool (*give)(void *context, const uint8_t *bytes, size_t length, bool is_body), void *context);
/* The same into one buffer of at least body_length + growth bytes. Returns its end. */
uint8_t *edits_copy(const struct edits *edits, enum cluster_id cluster, const uint8_t *body,
                    size_t body_length, uint8_t *to);
