/* The table under the registry of prepared statements and the workers' caches: linear probing, at
 * most seven eighths full, since memory that is not touched costs nothing and a further slot of the
 * same line next to nothing; no tombstones. Belongs to whoever holds the registry shard's lock or
 * to one worker. Growing is paid where something is added, never where it is looked up. */
#include "dataplane/prepared_table.h"

#include <stdlib.h>

#define SLOTS_MIN 16

/* What a table without memory looks at, so that lookups need no case for it. Never written. */
static struct prepared_slot no_slots[1];

void prepared_table_init(struct prepared_table *table)
{
    *table = (struct prepared_table){.slots = no_slots};
}

void prepared_table_fini(struct prepared_table *table)
{
    if (table->slots != no_slots)
        free(table->slots);
    prepared_table_init(table);
}

static void put(struct prepared_table *table, struct prepared_slot what)
{
    size_t at = what.hash;
    while (table->slots[at & table->mask].item != NULL)
        at++;
    table->slots[at & table->mask] = what;
    table->count++;
}

static bool resize(struct prepared_table *table, size_t slots)
{
    struct prepared_table old = *table;
    struct prepared_slot *fresh = calloc(slots, sizeof *fresh);
    if (fresh == NULL)
        return false;
    *table = (struct prepared_table){.slots = fresh, .mask = slots - 1};
    for (size_t i = 0; i <= old.mask; i++) {
        if (old.slots[i].item != NULL)
            put(table, old.slots[i]);
    }
    prepared_table_fini(&old);
    return true;
}

bool prepared_table_add(struct prepared_table *table, uint64_t hash, void *item)
{
    size_t slots = table->mask + 1;
    /* A table that cannot grow is filled up to the one free slot that ends every search. */
    if ((table->count + 1) * 8 > slots * 7 &&
        !resize(table, slots < SLOTS_MIN ? SLOTS_MIN : slots * 2) && table->count + 1 >= slots)
        return false;
    put(table, (struct prepared_slot){.hash = hash, .item = item});
    return true;
}

void prepared_table_remove(struct prepared_table *table, struct prepared_slot *slot)
{
    size_t hole = (size_t)(slot - table->slots);
    CHECK(slot->item != NULL);
    /* Whatever stands behind the hole and belongs at or before it moves up. */
    for (size_t at = hole; table->slots[at = (at + 1) & table->mask].item != NULL;) {
        size_t wanted = table->slots[at].hash & table->mask;
        if (((at - wanted) & table->mask) >= ((at - hole) & table->mask)) {
            table->slots[hole] = table->slots[at];
            hole = at;
        }
    }
    table->slots[hole].item = NULL;
    table->count--;
}

void prepared_table_shrink(struct prepared_table *table)
{
    size_t slots = table->mask + 1;
    while (slots > SLOTS_MIN && table->count * 8 < slots)
        slots /= 2;
    if (slots < table->mask + 1)
        (void)resize(table, slots); /* without memory it stays as it is */
}
