/* A hash table that grows and shrinks: from the hash of a statement's id to the one thing its owner
 * keeps under it. Open addressing, the hash beside the pointer, so that a lookup stays in one cache
 * line until it has found what it looks for. Pure but for memory; the owner locks, if at all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"

struct prepared_slot {
    uint64_t hash;
    void *item; /* NULL: the slot is free */
};

struct prepared_table {
    struct prepared_slot *slots;
    size_t mask; /* number of slots - 1 */
    size_t count;
};

/* Allocates nothing. */
void prepared_table_init(struct prepared_table *table);
/* Items are the owner's. */
void prepared_table_fini(struct prepared_table *table);

/* The first slot at or after *at whose hash this is, NULL: there is none. *at: starts as the hash;
 * raise it by one to look on, when the slot is of another id with the same hash. */
static inline struct prepared_slot *prepared_table_match(const struct prepared_table *table,
                                                         uint64_t hash, size_t *at)
{
    for (;; ++*at) {
        struct prepared_slot *slot = &table->slots[*at & table->mask];
        if (slot->item == NULL)
            return NULL;
        if (slot->hash == hash)
            return slot;
    }
}

/* Puts item into a slot of its own; slots found before are no longer valid. false: out of memory
 * and full. */
MUST_CHECK bool prepared_table_add(struct prepared_table *table, uint64_t hash, void *item);
/* Frees a slot. Others may move into it and towards it, so look at the same slot again when walking
 * over the table. */
void prepared_table_remove(struct prepared_table *table, struct prepared_slot *slot);
/* Gives memory back where most slots have become free; slots found before are no longer valid. */
void prepared_table_shrink(struct prepared_table *table);
