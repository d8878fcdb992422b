/* DESCRIBE, answered by the server from release 4 on. Owned by the main thread. */
#include <stdio.h>

#include "execution.h"
#include "wire.h"

static void put_name(struct dynbuf *out, const char *name)
{
    bool plain = name[0] >= 'a' && name[0] <= 'z';
    for (const char *at = name; *at != '\0'; at++)
        plain = plain && ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '_');
    dynbuf_printf(out, plain ? "%s" : "\"%s\"", name);
}

static void print_keyspace(struct dynbuf *out, const struct keyspace *keyspace)
{
    dynbuf_append_text(out, "CREATE KEYSPACE ");
    put_name(out, keyspace->name);
    dynbuf_append_text(out, " WITH replication = {");
    for (size_t i = 0; i < keyspace->replication_count; i += 2) {
        const char *value = strrchr(keyspace->replication[i + 1], '.');
        dynbuf_printf(out, "%s'%s': '%s'", i > 0 ? ", " : "", keyspace->replication[i],
                      value == NULL ? keyspace->replication[i + 1] : value + 1);
    }
    dynbuf_printf(out, "}  AND durable_writes = %s;", keyspace->durable_writes ? "true" : "false");
}

static void put_names(struct dynbuf *out, struct column *const *columns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        dynbuf_append_text(out, i > 0 ? ", " : "");
        put_name(out, columns[i]->name);
    }
}

static void print_table(struct dynbuf *out, const struct table *table)
{
    dynbuf_append_text(out, "CREATE TABLE ");
    put_name(out, table->keyspace->name);
    dynbuf_append_text(out, ".");
    put_name(out, table->name);
    dynbuf_append_text(out, " (\n");
    for (size_t i = 0; i < table->column_count; i++) {
        dynbuf_append_text(out, "    ");
        put_name(out, table->columns[i]->name);
        dynbuf_append_text(out, " ");
        type_print(out, table->columns[i]->type);
        dynbuf_append_text(out, table->columns[i]->kind == COLUMN_STATIC ? " static,\n" : ",\n");
    }
    dynbuf_append_text(out,
                       table->partition_count > 1 ? "    PRIMARY KEY ((" : "    PRIMARY KEY (");
    put_names(out, table->partition, table->partition_count);
    dynbuf_append_text(out, table->partition_count > 1 ? ")" : "");
    dynbuf_append_text(out, table->clustering_count > 0 ? ", " : "");
    put_names(out, table->clustering, table->clustering_count);
    dynbuf_append_text(out, ")\n)");
    for (size_t i = 0; i < table->clustering_count; i++) {
        dynbuf_append_text(out, i == 0 ? " WITH CLUSTERING ORDER BY (" : ", ");
        put_name(out, table->clustering[i]->name);
        dynbuf_append_text(out, table->clustering[i]->reversed ? " DESC" : " ASC");
    }
    dynbuf_append_text(out, table->clustering_count > 0 ? ");" : ";");
}

struct description {
    struct dynbuf rows;
    int32_t count;
    bool with_text;
};

static void put_row(struct description *description, const char *keyspace, const char *type,
                    const char *name, const struct dynbuf *text)
{
    wire_put_bytes(&description->rows, bytes_text(keyspace));
    wire_put_bytes(&description->rows, bytes_text(type));
    wire_put_bytes(&description->rows, bytes_text(name));
    if (description->with_text)
        wire_put_bytes(&description->rows, bytes_text(dynbuf_text(text)));
    description->count++;
}

static void describe_keyspace(struct description *description, const struct keyspace *keyspace,
                              const char *only_table, bool listed)
{
    struct dynbuf text;
    dynbuf_init(&text, WIRE_MAX_BODY);
    if (only_table == NULL) {
        print_keyspace(&text, keyspace);
        put_row(description, keyspace->name, "keyspace", keyspace->name, &text);
    }
    const struct list *tables = &keyspace->tables;
    for (const struct list *one = tables->next; one != tables && !listed; one = one->next) {
        const struct table *table = CONTAINER_OF(one, struct table, node);
        if (only_table != NULL && strcmp(only_table, table->name) != 0)
            continue;
        dynbuf_reset(&text);
        print_table(&text, table);
        put_row(description, keyspace->name, "table", table->name, &text);
    }
    dynbuf_fini(&text);
}

static void describe_list(struct description *description, const struct execution *execution,
                          bool keyspaces)
{
    const struct list *all = &execution->engine->schema.keyspaces;
    for (const struct list *at = all->next; at != all; at = at->next) {
        const struct keyspace *keyspace = CONTAINER_OF(at, struct keyspace, node);
        if (keyspaces) {
            put_row(description, keyspace->name, "keyspace", keyspace->name, NULL);
            continue;
        }
        const struct list *tables = &keyspace->tables;
        for (const struct list *one = tables->next; one != tables; one = one->next)
            put_row(description, keyspace->name, "table",
                    CONTAINER_OF(one, struct table, node)->name, NULL);
    }
}

static bool describe_element(struct execution *execution, const struct statement *statement,
                             struct description *description)
{
    const struct schema *schema = &execution->engine->schema;
    const char *what = statement->describe_what;
    const char *name = statement->table;
    const struct keyspace *keyspace = NULL;
    if (strcmp(what, "schema") == 0 || strcmp(what, "full") == 0) {
        for (const struct list *at = schema->keyspaces.next; at != &schema->keyspaces;
             at = at->next) {
            keyspace = CONTAINER_OF(at, struct keyspace, node);
            if (!keyspace->is_system)
                describe_keyspace(description, keyspace, NULL, false);
        }
        return true;
    }
    const char *owner = statement->keyspace != NULL ? statement->keyspace : execution->keyspace;
    bool wants_keyspace = strcmp(what, "keyspace") == 0 || strcmp(what, "only") == 0;
    const char *keyspace_name = wants_keyspace && strcmp(name, what) != 0 ? name : owner;
    if (statement->keyspace == NULL && !wants_keyspace && schema_keyspace(schema, name) != NULL) {
        wants_keyspace = true;
        keyspace_name = name;
    }
    if (keyspace_name == NULL)
        return INVALID(execution->failure, "No keyspace specified and no current keyspace");
    keyspace = schema_keyspace(schema, keyspace_name);
    if (keyspace == NULL)
        return INVALID(execution->failure, "'%.60s' not found in keyspaces", keyspace_name);
    if (wants_keyspace) {
        describe_keyspace(description, keyspace, NULL, strcmp(what, "only") == 0);
        return true;
    }
    if (schema_table(keyspace, name) == NULL)
        return INVALID(execution->failure, "'%.60s' not found in keyspace '%s'", name,
                       keyspace->name);
    describe_keyspace(description, keyspace, name, false);
    return true;
}

static bool describe_cluster(struct execution *execution)
{
    const struct cql_type *text = type_native(TYPE_TEXT);
    const struct result_column columns[] = {
        {"cluster", text}, {"partitioner", text}, {"snitch", text}};
    struct dynbuf rows;
    dynbuf_init(&rows, 4096);
    wire_put_bytes(&rows, bytes_text(execution->engine->cluster.name));
    wire_put_bytes(&rows, bytes_text("org.apache.cassandra.dht.Murmur3Partitioner"));
    wire_put_bytes(&rows, bytes_text("org.apache.cassandra.locator.SimpleSnitch"));
    result_put_rows(execution, columns, 3, bytes_null(), &rows, 1);
    dynbuf_fini(&rows);
    return true;
}

bool execute_describe(struct execution *execution, const struct statement *statement)
{
    const char *what = statement->describe_what;
    if (execution->engine->cluster.release_major < 4)
        return failure_set(execution->failure, CQL_SYNTAX_ERROR,
                           "line 1:0 no viable alternative at input 'describe'");
    if (statement->table == NULL)
        return failure_set(execution->failure, CQL_SYNTAX_ERROR,
                           "line 1:8 no viable alternative at input '<EOF>'");
    /* The columns belong to no table; the metadata names the one they come closest to. */
    struct keyspace *system = schema_keyspace(&execution->engine->schema, "system_schema");
    execution->table = schema_table(system, "tables");
    if (execution->preparing)
        return true;
    if (strcmp(what, "cluster") == 0)
        return describe_cluster(execution);
    bool keyspaces = strcmp(what, "keyspaces") == 0;
    bool list = keyspaces || strcmp(what, "tables") == 0;
    struct description description = {.with_text = !list};
    dynbuf_init(&description.rows, WIRE_MAX_BODY - 65536);
    bool ok = true;
    if (list)
        describe_list(&description, execution, keyspaces);
    else
        ok = describe_element(execution, statement, &description);
    const struct cql_type *text = type_native(TYPE_TEXT);
    const struct result_column columns[] = {
        {"keyspace_name", text}, {"type", text}, {"name", text}, {"create_statement", text}};
    if (ok)
        result_put_rows(execution, columns, list ? 3 : 4, bytes_null(), &description.rows,
                        description.count);
    dynbuf_fini(&description.rows);
    return ok;
}
