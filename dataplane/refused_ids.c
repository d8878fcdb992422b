/* What clients were told nobody knows. Used by one worker. Must never grow with what a client
 * sends. */
#include "dataplane/refused_ids.h"

#include <stdlib.h>

struct refused_ids {
    uint32_t count, next; /* next: the place of the one to be noted */
    uint8_t ids[REFUSED_IDS_MAX][PREPARED_ID_USUAL];
};

static const struct cql_span none = {NULL, 0};

static struct cql_span id_at(const struct refused_ids *refused, uint32_t place)
{
    return (struct cql_span){refused->ids[place], PREPARED_ID_USUAL};
}

static bool has(const struct refused_ids *refused, struct cql_span id)
{
    for (uint32_t i = 0; i < refused->count && id.length == PREPARED_ID_USUAL; i++)
        if (memcmp(refused->ids[i], id.data, id.length) == 0)
            return true;
    return false;
}

void refused_ids_add(struct refused_ids **refused, struct cql_span id)
{
    if (*refused == NULL)
        *refused = calloc(1, sizeof **refused);
    struct refused_ids *all = *refused;
    if (all == NULL || id.length != PREPARED_ID_USUAL || has(all, id))
        return;
    memcpy(all->ids[all->next], id.data, id.length);
    all->next = (all->next + 1) % REFUSED_IDS_MAX;
    if (all->count < REFUSED_IDS_MAX)
        all->count++;
}

void refused_ids_free(struct refused_ids *refused)
{
    free(refused);
}

/* Clients know a statement by that id which a cluster now calls by one of ids. */
static bool is_known_as(struct prepared_registry *registry, struct cql_span id,
                        const struct cql_span ids[CLUSTER_COUNT])
{
    struct prepared *entry = prepared_registry_find(registry, id);
    bool is_same = false;
    for (int i = 0; i < CLUSTER_COUNT && entry != NULL; i++)
        is_same |= ids[i].length > 0 && (entry->traits.missing & 1u << i) == 0 &&
                   prepared_id_is(&entry->ids[i], ids[i]);
    prepared_put(entry);
    return is_same;
}

struct cql_span refused_ids_match(const struct refused_ids *refused,
                                  struct prepared_registry *registry,
                                  const struct cql_span ids[CLUSTER_COUNT])
{
    if (refused == NULL)
        return none;
    for (int i = 0; i < CLUSTER_COUNT; i++)
        if (has(refused, ids[i]))
            return ids[i];
    for (uint32_t i = 0; i < refused->count; i++)
        if (is_known_as(registry, id_at(refused, i), ids))
            return id_at(refused, i);
    return none;
}
