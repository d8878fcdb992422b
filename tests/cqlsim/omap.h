/* An ordered map of pointers (a skip list): partitions by token, rows by clustering key. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define OMAP_LEVELS 16

/* Order of a looked-up key against a stored item: negative, zero or positive. */
typedef int omap_compare_fn(const void *context, const void *key, const void *item);

struct omap_node {
    void *item;
    struct omap_node *previous; /* NULL at the first */
    uint8_t height;
    struct omap_node *next[];
};

struct omap {
    omap_compare_fn *compare;
    const void *context;
    size_t count;
    uint32_t seed;
    struct omap_node *last;
    struct omap_node *heads[OMAP_LEVELS];
};

void omap_init(struct omap *map, omap_compare_fn *compare, const void *context);
/* Frees the nodes; the items are the caller's. */
void omap_fini(struct omap *map);

/* NULL when absent. */
void *omap_find(const struct omap *map, const void *key);
/* The key must not be present. */
void omap_insert(struct omap *map, const void *key, void *item);
/* First node whose item is not before key, or NULL. */
struct omap_node *omap_seek(const struct omap *map, const void *key);
static inline struct omap_node *omap_first(const struct omap *map)
{
    return map->heads[0];
}
static inline struct omap_node *omap_next(const struct omap_node *node)
{
    return node->next[0];
}
