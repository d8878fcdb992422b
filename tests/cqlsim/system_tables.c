/* System tables: their definitions, in CQL, and the rows made each time one is read, as seen from
 * the node the client is connected to. Owned by the main thread. */
#include "system_tables.h"

#include <stdio.h>

#include "execute.h"
#include "parser.h"
#include "wire.h"

#define FILL_COLUMNS 64

static const char *const definitions[] = {
    "CREATE TABLE system.local (key text PRIMARY KEY, bootstrapped text, broadcast_address inet,"
    " cluster_name text, cql_version text, data_center text, gossip_generation int, host_id uuid,"
    " listen_address inet, native_protocol_version text, partitioner text, rack text,"
    " release_version text, rpc_address inet, schema_version uuid, thrift_version text,"
    " tokens set<text>, truncated_at map<uuid, blob>)",
    "CREATE TABLE system.peers (peer inet PRIMARY KEY, data_center text, host_id uuid,"
    " preferred_ip inet, rack text, release_version text, rpc_address inet, schema_version uuid,"
    " tokens set<text>)",
    "CREATE TABLE system.size_estimates (keyspace_name text, table_name text, range_start text,"
    " range_end text, mean_partition_size bigint, partitions_count bigint,"
    " PRIMARY KEY (keyspace_name, table_name, range_start, range_end))",
    "CREATE TABLE system.available_ranges (keyspace_name text PRIMARY KEY, ranges set<blob>)",
    "CREATE TABLE system.built_views (keyspace_name text, view_name text,"
    " PRIMARY KEY (keyspace_name, view_name))",
    "CREATE TABLE system.\"IndexInfo\" (table_name text, index_name text,"
    " PRIMARY KEY (table_name, index_name))",
    "CREATE TABLE system_schema.keyspaces (keyspace_name text PRIMARY KEY, durable_writes boolean,"
    " replication frozen<map<text, text>>)",
    "CREATE TABLE system_schema.columns (keyspace_name text, table_name text, column_name text,"
    " clustering_order text, column_name_bytes blob, kind text, position int, type text,"
    " PRIMARY KEY (keyspace_name, table_name, column_name))",
    "CREATE TABLE system_schema.indexes (keyspace_name text, table_name text, index_name text,"
    " kind text, options frozen<map<text, text>>,"
    " PRIMARY KEY (keyspace_name, table_name, index_name))",
    "CREATE TABLE system_schema.triggers (keyspace_name text, table_name text, trigger_name text,"
    " options frozen<map<text, text>>, PRIMARY KEY (keyspace_name, table_name, trigger_name))",
    "CREATE TABLE system_schema.types (keyspace_name text, type_name text,"
    " field_names frozen<list<text>>, field_types frozen<list<text>>,"
    " PRIMARY KEY (keyspace_name, type_name))",
    "CREATE TABLE system_schema.functions (keyspace_name text, function_name text,"
    " argument_types frozen<list<text>>, argument_names frozen<list<text>>, body text,"
    " called_on_null_input boolean, language text, return_type text,"
    " PRIMARY KEY (keyspace_name, function_name, argument_types))",
    "CREATE TABLE system_schema.aggregates (keyspace_name text, aggregate_name text,"
    " argument_types frozen<list<text>>, final_func text, initcond text, return_type text,"
    " state_func text, state_type text,"
    " PRIMARY KEY (keyspace_name, aggregate_name, argument_types))",
    "CREATE TABLE system_schema.dropped_columns (keyspace_name text, table_name text,"
    " column_name text, dropped_time timestamp, kind text, type text,"
    " PRIMARY KEY (keyspace_name, table_name, column_name))",
    "CREATE TABLE system_auth.roles (role text PRIMARY KEY, can_login boolean,"
    " is_superuser boolean, member_of set<text>, salted_hash text)",
    "CREATE TABLE system_traces.sessions (session_id uuid PRIMARY KEY, client inet, command text,"
    " coordinator inet, duration int, parameters map<text, text>, request text,"
    " started_at timestamp)",
    "CREATE TABLE system_traces.events (session_id uuid, event_id timeuuid, activity text,"
    " source inet, source_elapsed int, thread text, PRIMARY KEY (session_id, event_id))",
};

static const char *const definitions_3[] = {
    "CREATE TABLE system_schema.tables (keyspace_name text, table_name text,"
    " bloom_filter_fp_chance double, caching frozen<map<text, text>>, cdc boolean, comment text,"
    " compaction frozen<map<text, text>>, compression frozen<map<text, text>>,"
    " crc_check_chance double, dclocal_read_repair_chance double, default_time_to_live int,"
    " extensions frozen<map<text, blob>>, flags frozen<set<text>>, gc_grace_seconds int, id uuid,"
    " max_index_interval int, memtable_flush_period_in_ms int, min_index_interval int,"
    " read_repair_chance double, speculative_retry text, PRIMARY KEY (keyspace_name, table_name))",
    "CREATE TABLE system_schema.views (keyspace_name text, view_name text, base_table_id uuid,"
    " base_table_name text, bloom_filter_fp_chance double, caching frozen<map<text, text>>,"
    " cdc boolean, comment text, compaction frozen<map<text, text>>,"
    " compression frozen<map<text, text>>, crc_check_chance double,"
    " dclocal_read_repair_chance double, default_time_to_live int,"
    " extensions frozen<map<text, blob>>, gc_grace_seconds int, id uuid,"
    " include_all_columns boolean, max_index_interval int, memtable_flush_period_in_ms int,"
    " min_index_interval int, read_repair_chance double, speculative_retry text,"
    " where_clause text, PRIMARY KEY (keyspace_name, view_name))",
};

static const char *const definitions_4[] = {
    "CREATE TABLE system.peers_v2 (peer inet, peer_port int, data_center text, host_id uuid,"
    " native_address inet, native_port int, preferred_ip inet, preferred_port int, rack text,"
    " release_version text, schema_version uuid, tokens set<text>, PRIMARY KEY (peer, peer_port))",
    "ALTER TABLE system.local ADD broadcast_port int, listen_port int, rpc_port int",
    "CREATE TABLE system_schema.tables (keyspace_name text, table_name text,"
    " additional_write_policy text, bloom_filter_fp_chance double,"
    " caching frozen<map<text, text>>, cdc boolean, comment text,"
    " compaction frozen<map<text, text>>, compression frozen<map<text, text>>,"
    " crc_check_chance double, default_time_to_live int, extensions frozen<map<text, blob>>,"
    " flags frozen<set<text>>, gc_grace_seconds int, id uuid, max_index_interval int,"
    " memtable_flush_period_in_ms int, min_index_interval int, read_repair text,"
    " speculative_retry text, PRIMARY KEY (keyspace_name, table_name))",
    "CREATE TABLE system_schema.views (keyspace_name text, view_name text,"
    " additional_write_policy text, base_table_id uuid, base_table_name text,"
    " bloom_filter_fp_chance double, caching frozen<map<text, text>>, cdc boolean, comment text,"
    " compaction frozen<map<text, text>>, compression frozen<map<text, text>>,"
    " crc_check_chance double, default_time_to_live int, extensions frozen<map<text, blob>>,"
    " gc_grace_seconds int, id uuid, include_all_columns boolean, max_index_interval int,"
    " memtable_flush_period_in_ms int, min_index_interval int, read_repair text,"
    " speculative_retry text, where_clause text, PRIMARY KEY (keyspace_name, view_name))",
    "CREATE TABLE system_virtual_schema.keyspaces (keyspace_name text PRIMARY KEY)",
    "CREATE TABLE system_virtual_schema.tables (keyspace_name text, table_name text, comment text,"
    " PRIMARY KEY (keyspace_name, table_name))",
    "CREATE TABLE system_virtual_schema.columns (keyspace_name text, table_name text,"
    " column_name text, clustering_order text, column_name_bytes blob, kind text, position int,"
    " type text, PRIMARY KEY (keyspace_name, table_name, column_name))",
};

/* One row in the making: values by the place of their column in table->columns. */
struct fill {
    struct table *table;
    struct bytes values[FILL_COLUMNS];
};

static void fill_start(struct fill *fill, struct table *table)
{
    fill->table = table;
    for (size_t i = 0; i < FILL_COLUMNS; i++)
        fill->values[i] = bytes_null();
}

/* Columns this release does not have are passed over. */
static void fill_set(struct fill *fill, const char *name, struct bytes value)
{
    for (size_t i = 0; i < fill->table->column_count && i < FILL_COLUMNS; i++)
        if (strcmp(fill->table->columns[i]->name, name) == 0)
            fill->values[i] = arena_bytes(&fill->table->arena, value);
}

static void fill_text(struct fill *fill, const char *name, const char *text)
{
    fill_set(fill, name, bytes_text(text));
}

static void fill_int(struct fill *fill, const char *name, int32_t number)
{
    uint8_t bytes[4];
    wire_store_i32(bytes, number);
    fill_set(fill, name, bytes_of(bytes, 4));
}

static void fill_bool(struct fill *fill, const char *name, bool value)
{
    fill_set(fill, name, bytes_of(value ? "\1" : "\0", 1));
}

static void fill_double(struct fill *fill, const char *name, double number)
{
    int64_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint8_t bytes[8];
    wire_store_i64(bytes, bits);
    fill_set(fill, name, bytes_of(bytes, 8));
}

/* A list, set or map of texts, brought into its type's order. */
static void fill_texts(struct fill *fill, const char *name, const char *const *texts, size_t count)
{
    const struct column *column = schema_column(fill->table, name);
    if (column == NULL)
        return;
    struct dynbuf out;
    dynbuf_init(&out, WIRE_MAX_BODY);
    wire_put_i32(&out, (int32_t)(count / column->type->count));
    for (size_t i = 0; i < count; i++)
        wire_put_bytes(&out, bytes_text(texts[i]));
    fill_set(
        fill, name,
        collection_normalize(&fill->table->arena, column->type, bytes_of(out.data, out.length)));
    dynbuf_fini(&out);
}

/* Stores the row and starts the next one. */
static void fill_row(struct fill *fill)
{
    struct table *table = fill->table;
    struct partition_key key;
    struct failure failure;
    /* Keys come first among the columns. */
    const struct bytes *clustering = fill->values + table->partition_count;
    CHECK(storage_key(table, &table->arena, fill->values, &key, &failure));
    struct partition *partition = storage_get(table, &key, fill->values);
    struct row *row = storage_get_row(table, partition, clustering);
    struct stamp stamp = {.timestamp = 1};
    storage_mark_created(row, &stamp);
    for (size_t i = table->partition_count + table->clustering_count; i < table->column_count; i++)
        if (fill->values[i].length >= 0)
            storage_write(row, table->columns[i]->cell, fill->values[i], &stamp);
    fill_start(fill, table);
}

static void fill_tokens(struct fill *fill, const struct engine *engine, const struct node *node)
{
    char texts[CLUSTER_TOKENS_PER_NODE][24];
    const char *tokens[CLUSTER_TOKENS_PER_NODE];
    for (size_t i = 0; i < CLUSTER_TOKENS_PER_NODE; i++) {
        snprintf(texts[i], sizeof texts[i], "%lld",
                 (long long)cluster_token(&engine->cluster, node, i));
        tokens[i] = texts[i];
    }
    fill_texts(fill, "tokens", tokens, CLUSTER_TOKENS_PER_NODE);
}

/* What system.local and the peers tables have in common. */
static void fill_node(struct fill *fill, const struct engine *engine, const struct node *node)
{
    struct bytes ip = bytes_of(node->ip, node->ip_length);
    fill_text(fill, "data_center", node->datacenter);
    fill_text(fill, "rack", node->rack);
    fill_set(fill, "host_id", bytes_of(node->host_id, 16));
    fill_text(fill, "release_version", engine->cluster.release_version);
    fill_set(fill, "schema_version", bytes_of(engine->schema.version, 16));
    fill_set(fill, "rpc_address", ip);
    fill_set(fill, "native_address", ip);
    fill_int(fill, "native_port", engine->cluster.port);
    fill_int(fill, "rpc_port", engine->cluster.port);
    fill_tokens(fill, engine, node);
}

static void make_local(struct table *table, struct engine *engine, const struct node *node)
{
    struct fill fill;
    fill_start(&fill, table);
    fill_text(&fill, "key", "local");
    fill_text(&fill, "bootstrapped", "COMPLETED");
    fill_set(&fill, "broadcast_address", bytes_of(node->ip, node->ip_length));
    fill_set(&fill, "listen_address", bytes_of(node->ip, node->ip_length));
    fill_text(&fill, "cluster_name", engine->cluster.name);
    fill_text(&fill, "cql_version", cluster_cql_version(&engine->cluster));
    fill_int(&fill, "gossip_generation", 1700000000);
    fill_text(&fill, "native_protocol_version", engine->cluster.release_major >= 4 ? "5" : "4");
    fill_text(&fill, "partitioner", "org.apache.cassandra.dht.Murmur3Partitioner");
    fill_text(&fill, "thrift_version", "20.1.0");
    fill_int(&fill, "broadcast_port", 7000);
    fill_int(&fill, "listen_port", 7000);
    fill_node(&fill, engine, node);
    fill_row(&fill);
}

static void make_peers(struct table *table, struct engine *engine, const struct node *node)
{
    struct fill fill;
    fill_start(&fill, table);
    for (size_t i = 0; i < engine->cluster.node_count; i++) {
        const struct node *peer = &engine->cluster.nodes[i];
        if (peer == node || peer->gone)
            continue;
        fill_set(&fill, "peer", bytes_of(peer->ip, peer->ip_length));
        fill_int(&fill, "peer_port", 7000);
        fill_node(&fill, engine, peer);
        fill_row(&fill);
    }
}

static void make_keyspaces(struct table *table, struct engine *engine, const struct node *node)
{
    (void)node;
    struct fill fill;
    struct list *all = &engine->schema.keyspaces;
    fill_start(&fill, table);
    for (struct list *at = all->next; at != all; at = at->next) {
        const struct keyspace *keyspace = CONTAINER_OF(at, struct keyspace, node);
        fill_text(&fill, "keyspace_name", keyspace->name);
        fill_bool(&fill, "durable_writes", keyspace->durable_writes);
        fill_texts(&fill, "replication", keyspace->replication, keyspace->replication_count);
        fill_row(&fill);
    }
}

static void put_table(struct fill *fill, const struct table *table)
{
    static const char *const caching[] = {"keys", "ALL", "rows_per_partition", "NONE"};
    static const char *const compaction[] = {
        "class",         "org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy",
        "max_threshold", "32",
        "min_threshold", "4"};
    static const char *const compression[] = {"chunk_length_in_kb", "64", "class",
                                              "org.apache.cassandra.io.compress.LZ4Compressor"};
    static const char *const flags[] = {"compound", "counter"};
    fill_text(fill, "keyspace_name", table->keyspace->name);
    fill_text(fill, "table_name", table->name);
    fill_set(fill, "id", bytes_of(table->id, 16));
    fill_text(fill, "comment", table->comment);
    fill_double(fill, "bloom_filter_fp_chance", 0.01);
    fill_double(fill, "crc_check_chance", 1.0);
    fill_double(fill, "dclocal_read_repair_chance", 0.1);
    fill_double(fill, "read_repair_chance", 0.0);
    fill_text(fill, "read_repair", "BLOCKING");
    fill_text(fill, "speculative_retry", "99PERCENTILE");
    fill_text(fill, "additional_write_policy", "99p");
    fill_int(fill, "default_time_to_live", 0);
    fill_int(fill, "gc_grace_seconds", 864000);
    fill_int(fill, "max_index_interval", 2048);
    fill_int(fill, "min_index_interval", 128);
    fill_int(fill, "memtable_flush_period_in_ms", 0);
    fill_texts(fill, "caching", caching, ARRAY_COUNT(caching));
    fill_texts(fill, "compaction", compaction, ARRAY_COUNT(compaction));
    fill_texts(fill, "compression", compression, ARRAY_COUNT(compression));
    fill_texts(fill, "flags", flags, table->is_counter ? 2 : 1);
    fill_texts(fill, "extensions", NULL, 0);
    fill_row(fill);
}

static void put_columns(struct fill *fill, const struct table *table)
{
    static const char *const kinds[] = {"partition_key", "clustering", "static", "regular"};
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = table->columns[i];
        bool key = column->kind <= COLUMN_CLUSTERING;
        fill_text(fill, "keyspace_name", table->keyspace->name);
        fill_text(fill, "table_name", table->name);
        fill_text(fill, "column_name", column->name);
        fill_text(fill, "column_name_bytes", column->name);
        fill_text(fill, "clustering_order",
                  column->kind != COLUMN_CLUSTERING ? "none"
                  : column->reversed                ? "desc"
                                                    : "asc");
        fill_text(fill, "kind", kinds[column->kind]);
        fill_int(fill, "position", key ? (int32_t)column->position : -1);
        fill_text(fill, "type", type_text(&fill->table->arena, column->type));
        fill_row(fill);
    }
}

static void put_indexes(struct fill *fill, const struct table *table)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = table->columns[i];
        if (column->index_name == NULL)
            continue;
        const char *options[] = {"target", column->name};
        fill_text(fill, "keyspace_name", table->keyspace->name);
        fill_text(fill, "table_name", table->name);
        fill_text(fill, "index_name", column->index_name);
        fill_text(fill, "kind", "COMPOSITES");
        fill_texts(fill, "options", options, ARRAY_COUNT(options));
        fill_row(fill);
    }
}

static void for_each_table(struct table *into, struct engine *engine,
                           void (*put)(struct fill *fill, const struct table *table))
{
    struct fill fill;
    struct list *all = &engine->schema.keyspaces;
    fill_start(&fill, into);
    for (struct list *at = all->next; at != all; at = at->next) {
        struct list *tables = &CONTAINER_OF(at, struct keyspace, node)->tables;
        for (struct list *one = tables->next; one != tables; one = one->next)
            put(&fill, CONTAINER_OF(one, struct table, node));
    }
}

static void make_tables(struct table *table, struct engine *engine, const struct node *node)
{
    (void)node;
    for_each_table(table, engine, put_table);
}

static void make_columns(struct table *table, struct engine *engine, const struct node *node)
{
    (void)node;
    for_each_table(table, engine, put_columns);
}

static void make_indexes(struct table *table, struct engine *engine, const struct node *node)
{
    (void)node;
    for_each_table(table, engine, put_indexes);
}

static void make_types(struct table *table, struct engine *engine, const struct node *node)
{
    (void)node;
    struct fill fill;
    struct list *all = &engine->schema.keyspaces;
    fill_start(&fill, table);
    for (struct list *at = all->next; at != all; at = at->next) {
        const struct keyspace *keyspace = CONTAINER_OF(at, struct keyspace, node);
        for (size_t i = 0; i < keyspace->type_count; i++) {
            const struct cql_type *type = keyspace->types[i];
            const char **texts = arena_alloc(&table->arena, type->count * sizeof *texts);
            for (size_t j = 0; j < type->count; j++)
                texts[j] = type_text(&table->arena, type->parts[j]);
            fill_text(&fill, "keyspace_name", keyspace->name);
            fill_text(&fill, "type_name", type->name);
            fill_texts(&fill, "field_names", type->fields, type->count);
            fill_texts(&fill, "field_types", texts, type->count);
            fill_row(&fill);
        }
    }
}

static void make_roles(struct table *table, struct engine *engine, const struct node *node)
{
    (void)engine;
    (void)node;
    struct fill fill;
    fill_start(&fill, table);
    fill_text(&fill, "role", "cassandra");
    fill_bool(&fill, "can_login", true);
    fill_bool(&fill, "is_superuser", true);
    fill_row(&fill);
}

static void make_nothing(struct table *table, struct engine *engine, const struct node *node)
{
    (void)table;
    (void)engine;
    (void)node;
}

static bool run_definitions(struct engine *engine, const char *const *texts, size_t count,
                            struct failure *failure)
{
    struct arena arena;
    arena_init(&arena);
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        struct statement *statement = parser_parse(&arena, texts[i], strlen(texts[i]), failure);
        struct execution execution = {
            .engine = engine, .arena = &arena, .failure = failure, .version = 4};
        ok = statement != NULL && execute_statement(&execution, statement);
    }
    arena_fini(&arena);
    return ok;
}

static void finish_keyspace(struct keyspace *keyspace)
{
    static const struct {
        const char *keyspace;
        const char *table;
        void (*make)(struct table *table, struct engine *engine, const struct node *node);
    } makers[] = {
        {"system", "local", make_local},          {"system", "peers", make_peers},
        {"system", "peers_v2", make_peers},       {"system_schema", "keyspaces", make_keyspaces},
        {"system_schema", "tables", make_tables}, {"system_schema", "columns", make_columns},
        {"system_schema", "types", make_types},   {"system_schema", "indexes", make_indexes},
        {"system_auth", "roles", make_roles},
    };
    keyspace->is_system = true;
    struct list *tables = &keyspace->tables;
    for (struct list *one = tables->next; one != tables; one = one->next) {
        struct table *table = CONTAINER_OF(one, struct table, node);
        table->generate = make_nothing;
        for (size_t i = 0; i < ARRAY_COUNT(makers); i++)
            if (strcmp(makers[i].keyspace, keyspace->name) == 0 &&
                strcmp(makers[i].table, table->name) == 0)
                table->generate = makers[i].make;
    }
}

bool system_tables_create(struct engine *engine, struct failure *failure)
{
    static const char *const names[] = {"system", "system_schema", "system_auth", "system_traces",
                                        "system_virtual_schema"};
    static const char *const local[] = {"class", "org.apache.cassandra.locator.LocalStrategy"};
    static const char *const simple[] = {"class", "org.apache.cassandra.locator.SimpleStrategy",
                                         "replication_factor", "1"};
    bool modern = engine->cluster.release_major >= 4;
    for (size_t i = 0; i < ARRAY_COUNT(names) - !modern; i++) {
        struct keyspace *keyspace = schema_add_keyspace(&engine->schema, names[i]);
        bool replicated = i == 2 || i == 3;
        schema_set_replication(keyspace, replicated ? simple : local, replicated ? 4 : 2);
    }
    bool ok = run_definitions(engine, definitions, ARRAY_COUNT(definitions), failure);
    ok = ok &&
         (modern ? run_definitions(engine, definitions_4, ARRAY_COUNT(definitions_4), failure)
                 : run_definitions(engine, definitions_3, ARRAY_COUNT(definitions_3), failure));
    for (size_t i = 0; i < ARRAY_COUNT(names) - !modern && ok; i++)
        finish_keyspace(schema_keyspace(&engine->schema, names[i]));
    return ok;
}
