/* The registry of prepared statements, shared by all connections. Owned by the main thread;
 * bounded. */
#include "prepared.h"

#include <stdlib.h>

#include "digest.h"
#include "parser.h"

void prepared_init(struct prepared_registry *registry)
{
    *registry = (struct prepared_registry){0};
    list_init(&registry->all);
}

void prepared_clear(struct prepared_registry *registry)
{
    struct list *node;
    while ((node = list_first(&registry->all)) != NULL)
        prepared_remove(registry, CONTAINER_OF(node, struct prepared, node));
}

static void make_id(const char *salt, const char *keyspace, struct bytes query, uint8_t id[16])
{
    digest_md5(keyspace, keyspace == NULL ? 0 : strlen(keyspace), query.data, (size_t)query.length,
               id);
    if (salt != NULL)
        digest_md5(salt, strlen(salt), id, 16, id);
}

static struct prepared **bucket(struct prepared_registry *registry, const uint8_t id[16])
{
    return &registry->buckets[(unsigned)(id[0] << 8 | id[1]) % PREPARED_BUCKETS];
}

struct prepared *prepared_find(struct prepared_registry *registry, const uint8_t id[16])
{
    struct prepared *prepared = *bucket(registry, id);
    while (prepared != NULL && memcmp(prepared->id, id, 16) != 0)
        prepared = prepared->next_in_bucket;
    return prepared;
}

void prepared_remove(struct prepared_registry *registry, struct prepared *prepared)
{
    struct prepared **link = bucket(registry, prepared->id);
    while (*link != prepared)
        link = &(*link)->next_in_bucket;
    *link = prepared->next_in_bucket;
    list_remove(&prepared->node);
    registry->count--;
    arena_fini(&prepared->arena);
    free(prepared);
}

struct prepared *prepared_add(struct prepared_registry *registry, const char *keyspace,
                              struct bytes query, struct failure *failure)
{
    uint8_t id[16];
    make_id(registry->salt, keyspace, query, id);
    struct prepared *prepared = prepared_find(registry, id);
    if (prepared != NULL)
        return prepared;
    prepared = calloc(1, sizeof *prepared);
    CHECK(prepared != NULL);
    arena_init(&prepared->arena);
    prepared->statement =
        parser_parse(&prepared->arena, (const char *)query.data, (size_t)query.length, failure);
    if (prepared->statement == NULL) {
        arena_fini(&prepared->arena);
        free(prepared);
        return NULL;
    }
    memcpy(prepared->id, id, sizeof id);
    prepared->text = arena_copy(&prepared->arena, query.data, (size_t)query.length);
    if (keyspace != NULL)
        prepared->keyspace = arena_text(&prepared->arena, keyspace);
    prepared->next_in_bucket = *bucket(registry, id);
    *bucket(registry, id) = prepared;
    list_append(&registry->all, &prepared->node);
    registry->count++;
    if (registry->count > PREPARED_MAX) {
        struct list *oldest = list_first(&registry->all);
        CHECK(oldest != NULL);
        prepared_remove(registry, CONTAINER_OF(oldest, struct prepared, node));
    }
    return prepared;
}
