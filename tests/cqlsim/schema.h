/* Keyspaces, tables and columns: what exists, not what it holds (storage.h). */
#pragma once

#include "common/list.h"
#include "omap.h"
#include "types.h"

#define SCHEMA_NAME_MAX 48

struct engine;
struct node;

enum column_kind { COLUMN_PARTITION, COLUMN_CLUSTERING, COLUMN_STATIC, COLUMN_REGULAR };

struct column {
    const char *name;
    const struct cql_type *type;
    enum column_kind kind;
    size_t position;        /* among the partition or clustering columns */
    bool reversed;          /* clustering order DESC */
    size_t cell;            /* place in a row's cells; static and regular only, never reused */
    const char *index_name; /* secondary index on it, or NULL */
};

struct table {
    struct keyspace *keyspace;
    struct list node;
    struct arena arena; /* everything here that is not data */
    const char *name;
    uint8_t id[16];
    const char *comment;
    bool is_counter;
    struct column **columns; /* in the order of SELECT *: keys, clustering, static, regular */
    size_t column_count;
    struct column **partition;
    size_t partition_count;
    struct column **clustering;
    size_t clustering_count;
    size_t cell_count;
    struct omap partitions;
    /* System tables are made when they are read: fills the empty table as seen from node. */
    void (*generate)(struct table *table, struct engine *engine, const struct node *node);
};

struct keyspace {
    struct list node;
    struct arena arena;
    const char *name;
    bool is_system;
    bool durable_writes;
    const char **replication; /* keys and values alternate */
    size_t replication_count; /* of both together */
    struct list tables;
    struct cql_type **types;
    size_t type_count;
};

struct schema {
    struct list keyspaces;
    uint8_t version[16];
};

void schema_init(struct schema *schema);
void schema_fini(struct schema *schema);
/* A new version uuid: after every change. */
void schema_touch(struct schema *schema);

struct keyspace *schema_keyspace(const struct schema *schema, const char *name);
struct table *schema_table(const struct keyspace *keyspace, const char *name);
struct column *schema_column(const struct table *table, const char *name);
struct cql_type *schema_type(const struct keyspace *keyspace, const char *name);

struct keyspace *schema_add_keyspace(struct schema *schema, const char *name);
void schema_set_replication(struct keyspace *keyspace, const char *const *pairs, size_t count);
void schema_drop_keyspace(struct keyspace *keyspace);

/* An empty table without columns, part of keyspace. */
struct table *schema_add_table(struct keyspace *keyspace, const char *name);
/* A copy of table's definition without data, in no keyspace's list; for generated tables. */
struct table *schema_shadow(const struct table *table);
/* Copies name and type. Partition and clustering columns come in key order. */
struct column *schema_add_column(struct table *table, const char *name, const struct cql_type *type,
                                 enum column_kind kind);
void schema_drop_column(struct table *table, struct column *column);
void schema_drop_table(struct table *table);

/* 16 bytes that look like a version 4 uuid. */
void schema_random_uuid(uint8_t uuid[16]);
