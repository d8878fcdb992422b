/* The engine's front: which kind of statement it is, who runs it, and PREPARE. Owned by the main
 * thread. */
#include "execute.h"

#include <time.h>

#include "system_tables.h"
#include "wire.h"

#define KIND_PREPARED 4

static const char *const class_names[CLASS_LIMIT] = {"select", "insert", "update", "delete",
                                                     "batch",  "use",    "ddl"};

const char *execute_class_name(enum statement_class class)
{
    return class_names[class];
}

enum statement_class execute_class(const struct statement *statement)
{
    switch (statement->kind) {
    case STATEMENT_SELECT:
    case STATEMENT_DESCRIBE:
        return CLASS_SELECT;
    case STATEMENT_INSERT:
        return CLASS_INSERT;
    case STATEMENT_UPDATE:
        return CLASS_UPDATE;
    case STATEMENT_DELETE:
        return CLASS_DELETE;
    case STATEMENT_BATCH:
        return CLASS_BATCH;
    case STATEMENT_USE:
        return CLASS_USE;
    default:
        return CLASS_DDL;
    }
}

bool execute_is_system(const struct statement *statement, const char *keyspace)
{
    const char *name = statement->keyspace != NULL ? statement->keyspace : keyspace;
    if (statement->kind == STATEMENT_DESCRIBE)
        return true;
    return name != NULL && (strcmp(name, "system") == 0 || strncmp(name, "system_", 7) == 0);
}

void engine_init(struct engine *engine)
{
    *engine = (struct engine){0};
    schema_init(&engine->schema);
}

bool engine_start(struct engine *engine, struct failure *failure)
{
    return system_tables_create(engine, failure);
}

void engine_fini(struct engine *engine)
{
    schema_fini(&engine->schema);
}

int64_t engine_timestamp(struct engine *engine)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t stamp = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    if (stamp <= engine->last_timestamp)
        stamp = engine->last_timestamp + 1;
    engine->last_timestamp = stamp;
    return stamp;
}

bool execute_find_table(struct execution *execution, const struct statement *statement,
                        struct table **table)
{
    const char *name = statement->keyspace != NULL ? statement->keyspace : execution->keyspace;
    if (name == NULL)
        return INVALID(execution->failure, "No keyspace has been specified. USE a keyspace, or "
                                           "explicitly specify keyspace.tablename");
    struct keyspace *keyspace = schema_keyspace(&execution->engine->schema, name);
    if (keyspace == NULL)
        return INVALID(execution->failure, "Keyspace %.60s does not exist", name);
    *table = schema_table(keyspace, statement->table);
    if (*table == NULL)
        return INVALID(execution->failure, "unconfigured table %.60s", statement->table);
    execution->table = *table;
    if (execution->preparing && execution->partition_markers == NULL) {
        size_t count = (*table)->partition_count;
        execution->partition_markers =
            arena_alloc(execution->arena, count * sizeof *execution->partition_markers);
        for (size_t i = 0; i < count; i++)
            execution->partition_markers[i] = -1;
    }
    return true;
}

bool execute_find_column(struct execution *execution, const struct table *table, const char *name,
                         struct column **column)
{
    *column = schema_column(table, name);
    return *column != NULL || INVALID(execution->failure, "Undefined column name %.60s", name);
}

static bool execute_use(struct execution *execution, const struct statement *statement)
{
    if (schema_keyspace(&execution->engine->schema, statement->keyspace) == NULL)
        return INVALID(execution->failure, "Keyspace '%.60s' does not exist", statement->keyspace);
    execution->outcome = OUTCOME_SET_KEYSPACE;
    execution->use = statement->keyspace;
    return true;
}

static bool dispatch(struct execution *execution, const struct statement *statement)
{
    execution->markers =
        arena_alloc(execution->arena, (statement->marker_count + 1) * sizeof *execution->markers);
    execution->marker_count = statement->marker_count;
    switch (execute_class(statement)) {
    case CLASS_SELECT:
        return statement->kind == STATEMENT_DESCRIBE ? execute_describe(execution, statement)
                                                     : execute_select(execution, statement);
    case CLASS_INSERT:
    case CLASS_UPDATE:
    case CLASS_DELETE:
        return execute_write(execution, statement);
    case CLASS_BATCH:
        return execute_batch(execution, statement);
    case CLASS_USE:
        return execute_use(execution, statement);
    default:
        return execute_ddl(execution, statement);
    }
}

bool execute_statement(struct execution *execution, const struct statement *statement)
{
    execution->preparing = false;
    execution->outcome = OUTCOME_VOID;
    if (execution->value_count != statement->marker_count)
        return INVALID(execution->failure,
                       "Invalid amount of bind variables: expected %zu, got %zu",
                       statement->marker_count, execution->value_count);
    return dispatch(execution, statement);
}

/* Marker numbers of the whole partition key; v4 and later. */
static void put_partition_markers(struct execution *execution, struct dynbuf *out)
{
    bool known = execution->table != NULL && execution->partition_markers != NULL;
    size_t count = known ? execution->table->partition_count : 0;
    for (size_t i = 0; i < count; i++)
        if (execution->partition_markers[i] < 0)
            count = 0;
    wire_put_i32(out, (int32_t)count);
    for (size_t i = 0; i < count; i++)
        wire_put_u16(out, (uint16_t)execution->partition_markers[i]);
}

bool execute_prepare(struct execution *execution, const struct statement *statement,
                     const uint8_t id[16])
{
    struct dynbuf *out = execution->out;
    struct dynbuf result;
    dynbuf_init(&result, WIRE_MAX_BODY);
    execution->preparing = true;
    execution->out = &result;
    bool ok = dispatch(execution, statement);
    for (size_t i = 0; i < execution->marker_count && ok; i++)
        if (execution->markers[i].type == NULL || execution->table == NULL)
            ok = INVALID(execution->failure, "Markers are not allowed here");
    if (ok && result.length == 0)
        result_put_metadata(execution, &result, NULL, 0);
    execution->out = out;
    if (!ok) {
        dynbuf_fini(&result);
        return false;
    }
    wire_put_i32(out, KIND_PREPARED);
    wire_put_short_bytes(out, bytes_of(id, 16));
    if (wire_has_metadata_ids(execution->version))
        wire_put_short_bytes(out, bytes_of(execution->result_id, 16));
    size_t count = execution->marker_count;

    wire_put_i32(out, count > 0 ? 1 : 0);
    wire_put_i32(out, (int32_t)count);
    if (execution->version >= 4)
        put_partition_markers(execution, out);
    if (count > 0) {
        wire_put_string(out, execution->table->keyspace->name);
        wire_put_string(out, execution->table->name);
    }
    for (size_t i = 0; i < count; i++) {
        wire_put_string(out, execution->markers[i].name);
        type_put_option(out, execution->markers[i].type);
    }
    dynbuf_append(out, result.data, result.length);
    dynbuf_fini(&result);
    return true;
}
