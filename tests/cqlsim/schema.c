/* The catalogue. Owned by the main thread. It frees data with the table that holds it and never
 * decides whether a change is allowed: execute_ddl does. */
#include "schema.h"

#include <stdlib.h>
#include <sys/random.h>

#include "storage.h"

void schema_random_uuid(uint8_t uuid[16])
{
    CHECK(getrandom(uuid, 16, 0) == 16);
    uuid[6] = (uint8_t)((uuid[6] & 0x0F) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3F) | 0x80);
}

void schema_init(struct schema *schema)
{
    list_init(&schema->keyspaces);
    schema_touch(schema);
}

void schema_touch(struct schema *schema)
{
    schema_random_uuid(schema->version);
}

void schema_fini(struct schema *schema)
{
    struct list *node;
    while ((node = list_first(&schema->keyspaces)) != NULL)
        schema_drop_keyspace(CONTAINER_OF(node, struct keyspace, node));
}

struct keyspace *schema_keyspace(const struct schema *schema, const char *name)
{
    for (struct list *node = schema->keyspaces.next; node != &schema->keyspaces;
         node = node->next) {
        struct keyspace *keyspace = CONTAINER_OF(node, struct keyspace, node);
        if (strcmp(keyspace->name, name) == 0)
            return keyspace;
    }
    return NULL;
}

struct table *schema_table(const struct keyspace *keyspace, const char *name)
{
    for (struct list *node = keyspace->tables.next; node != &keyspace->tables; node = node->next) {
        struct table *table = CONTAINER_OF(node, struct table, node);
        if (strcmp(table->name, name) == 0)
            return table;
    }
    return NULL;
}

struct column *schema_column(const struct table *table, const char *name)
{
    for (size_t i = 0; i < table->column_count; i++)
        if (strcmp(table->columns[i]->name, name) == 0)
            return table->columns[i];
    return NULL;
}

struct cql_type *schema_type(const struct keyspace *keyspace, const char *name)
{
    for (size_t i = 0; i < keyspace->type_count; i++)
        if (strcmp(keyspace->types[i]->name, name) == 0)
            return keyspace->types[i];
    return NULL;
}

struct keyspace *schema_add_keyspace(struct schema *schema, const char *name)
{
    struct keyspace *keyspace = calloc(1, sizeof *keyspace);
    CHECK(keyspace != NULL);
    arena_init(&keyspace->arena);
    keyspace->name = arena_text(&keyspace->arena, name);
    keyspace->durable_writes = true;
    list_init(&keyspace->tables);
    list_append(&schema->keyspaces, &keyspace->node);
    return keyspace;
}

void schema_set_replication(struct keyspace *keyspace, const char *const *pairs, size_t count)
{
    keyspace->replication = arena_alloc(&keyspace->arena, count * sizeof *keyspace->replication);
    keyspace->replication_count = count;
    for (size_t i = 0; i < count; i++)
        keyspace->replication[i] = arena_text(&keyspace->arena, pairs[i]);
}

void schema_drop_keyspace(struct keyspace *keyspace)
{
    struct list *node;
    while ((node = list_first(&keyspace->tables)) != NULL)
        schema_drop_table(CONTAINER_OF(node, struct table, node));
    list_remove(&keyspace->node);
    arena_fini(&keyspace->arena);
    free(keyspace);
}

static struct table *new_table(struct keyspace *keyspace, const char *name)
{
    struct table *table = calloc(1, sizeof *table);
    CHECK(table != NULL);
    arena_init(&table->arena);
    table->keyspace = keyspace;
    table->name = arena_text(&table->arena, name);
    table->comment = "";
    schema_random_uuid(table->id);
    list_init(&table->node);
    storage_init(table);
    return table;
}

struct table *schema_add_table(struct keyspace *keyspace, const char *name)
{
    struct table *table = new_table(keyspace, name);
    list_append(&keyspace->tables, &table->node);
    return table;
}

struct table *schema_shadow(const struct table *table)
{
    struct table *shadow = new_table(table->keyspace, table->name);
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = table->columns[i];
        struct column *copy = schema_add_column(shadow, column->name, column->type, column->kind);
        copy->reversed = column->reversed;
        copy->cell = column->cell;
    }
    shadow->cell_count = table->cell_count;
    return shadow;
}

static void push_column(struct arena *arena, struct column ***columns, size_t *count,
                        struct column *column)
{
    struct column **slot = arena_push(arena, (void **)columns, count, sizeof *slot);
    *slot = column;
}

static bool sorts_before(const struct column *a, const struct column *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind;
    if (a->kind <= COLUMN_CLUSTERING)
        return a->position < b->position;
    return strcmp(a->name, b->name) < 0;
}

struct column *schema_add_column(struct table *table, const char *name, const struct cql_type *type,
                                 enum column_kind kind)
{
    struct column *column = arena_alloc(&table->arena, sizeof *column);
    column->name = arena_text(&table->arena, name);
    column->type = type_copy(&table->arena, type);
    column->kind = kind;
    if (kind == COLUMN_PARTITION) {
        column->position = table->partition_count;
        push_column(&table->arena, &table->partition, &table->partition_count, column);
    } else if (kind == COLUMN_CLUSTERING) {
        column->position = table->clustering_count;
        push_column(&table->arena, &table->clustering, &table->clustering_count, column);
    } else {
        column->cell = table->cell_count++;
    }
    if (type->id == TYPE_COUNTER)
        table->is_counter = true;
    push_column(&table->arena, &table->columns, &table->column_count, column);
    for (size_t i = table->column_count - 1; i > 0 && sorts_before(column, table->columns[i - 1]);
         i--) {
        table->columns[i] = table->columns[i - 1];
        table->columns[i - 1] = column;
    }
    return column;
}

void schema_drop_column(struct table *table, struct column *column)
{
    /* A new array: arena_push takes a count that is a power of two for a full one. */
    struct column **kept = NULL;
    size_t count = 0;
    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i] != column)
            push_column(&table->arena, &kept, &count, table->columns[i]);
    table->columns = kept;
    table->column_count = count;
}

void schema_drop_table(struct table *table)
{
    storage_truncate(table);
    list_remove(&table->node);
    arena_fini(&table->arena);
    free(table);
}
