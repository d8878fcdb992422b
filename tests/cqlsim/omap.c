/* Skip list with back links on the lowest level. Owned by one thread; holds no opinion about its
 * items. */
#include "omap.h"

#include <stdlib.h>

#include "common/check.h"

void omap_init(struct omap *map, omap_compare_fn *compare, const void *context)
{
    *map = (struct omap){.compare = compare, .context = context, .seed = 0x9E3779B9U};
}

void omap_fini(struct omap *map)
{
    struct omap_node *node = map->heads[0];
    while (node != NULL) {
        struct omap_node *next = node->next[0];
        free(node);
        node = next;
    }
    omap_init(map, map->compare, map->context);
}

/* Fills before[level] with the last node ahead of key on each level (NULL: the head). */
static struct omap_node *seek(const struct omap *map, const void *key, struct omap_node **before)
{
    struct omap_node *at = NULL;
    struct omap_node *next = NULL;
    for (int level = OMAP_LEVELS - 1; level >= 0; level--) {
        next = at == NULL ? map->heads[level] : at->next[level];
        while (next != NULL && map->compare(map->context, key, next->item) > 0) {
            at = next;
            next = at->next[level];
        }
        if (before != NULL)
            before[level] = at;
    }
    return next;
}

struct omap_node *omap_seek(const struct omap *map, const void *key)
{
    return seek(map, key, NULL);
}

void *omap_find(const struct omap *map, const void *key)
{
    struct omap_node *node = seek(map, key, NULL);
    if (node == NULL || map->compare(map->context, key, node->item) != 0)
        return NULL;
    return node->item;
}

static unsigned random_height(struct omap *map)
{
    map->seed ^= map->seed << 13;
    map->seed ^= map->seed >> 17;
    map->seed ^= map->seed << 5;
    unsigned height = 1;
    for (uint32_t bits = map->seed; (bits & 3) == 3 && height < OMAP_LEVELS; bits >>= 2)
        height++;
    return height;
}

void omap_insert(struct omap *map, const void *key, void *item)
{
    struct omap_node *before[OMAP_LEVELS];
    seek(map, key, before);
    unsigned height = random_height(map);
    struct omap_node *node = malloc(sizeof *node + height * sizeof(struct omap_node *));
    CHECK(node != NULL);
    node->item = item;
    node->height = (uint8_t)height;
    node->previous = before[0];
    for (unsigned level = 0; level < height; level++) {
        struct omap_node **link =
            before[level] == NULL ? &map->heads[level] : &before[level]->next[level];
        node->next[level] = *link;
        *link = node;
    }
    if (node->next[0] != NULL)
        node->next[0]->previous = node;
    else
        map->last = node;
    map->count++;
}
