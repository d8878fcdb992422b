/* CREATE, ALTER, DROP and TRUNCATE. Owned by the main thread. */
#include <ctype.h>

#include "execution.h"
#include "execute.h"

static bool check_name(struct execution *execution, const char *what, const char *name)
{
    if (strlen(name) > SCHEMA_NAME_MAX || name[0] == '\0')
        return INVALID(execution->failure,
                       "%s names shouldn't be more than %d characters long (got \"%.60s\")", what,
                       SCHEMA_NAME_MAX, name);
    for (const char *at = name; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && *at != '_')
            return INVALID(execution->failure, "\"%.60s\" is not a valid %s name", name, what);
    return true;
}

static void changed(struct execution *execution, const char *change, const char *target,
                    const char *keyspace, const char *name)
{
    schema_touch(&execution->engine->schema);
    execution->outcome = OUTCOME_SCHEMA_CHANGE;
    execution->change = (struct schema_change){
        change, target, arena_text(execution->arena, keyspace), arena_text(execution->arena, name)};
}

static bool already_exists(struct execution *execution, const char *keyspace, const char *table)
{
    struct failure *failure = execution->failure;
    if (table[0] == '\0')
        failure_set(failure, CQL_ALREADY_EXISTS, "Cannot add existing keyspace \"%s\"", keyspace);
    else
        failure_set(failure, CQL_ALREADY_EXISTS,
                    "Cannot add already existing table \"%s\" to keyspace \"%s\"", table, keyspace);
    snprintf(failure->keyspace, sizeof failure->keyspace, "%.63s", keyspace);
    snprintf(failure->table, sizeof failure->table, "%.63s", table);
    return false;
}

/* The keyspace a DDL statement is about; system ones are refused. */
static bool find_keyspace(struct execution *execution, const struct statement *statement,
                          struct keyspace **keyspace)
{
    const char *name = statement->keyspace != NULL ? statement->keyspace : execution->keyspace;
    if (name == NULL)
        return INVALID(execution->failure, "No keyspace has been specified. USE a keyspace, or "
                                           "explicitly specify keyspace.tablename");
    *keyspace = schema_keyspace(&execution->engine->schema, name);
    if (*keyspace != NULL && (*keyspace)->is_system)
        return failure_set(execution->failure, CQL_UNAUTHORIZED,
                           "%s keyspace is not user-modifiable.", name);
    return true;
}

static bool apply_keyspace_options(struct execution *execution, struct keyspace *keyspace,
                                   const struct statement *statement, bool apply, bool *replication)
{
    for (size_t i = 0; i < statement->property_count; i++) {
        const struct property *property = &statement->properties[i];
        if (strcmp(property->name, "durable_writes") == 0) {
            if (apply)
                keyspace->durable_writes = property->value->text.length == 4;
            continue;
        }
        if (strcmp(property->name, "replication") != 0)
            return failure_set(execution->failure, CQL_SYNTAX_ERROR, "Unknown property '%.60s'",
                               property->name);
        const struct term *map = property->value;
        if (map->kind != TERM_MAP)
            return failure_set(execution->failure, CQL_SYNTAX_ERROR,
                               "Invalid value for property 'replication'. It should be a map");
        const char **pairs = arena_alloc(execution->arena, map->count * sizeof *pairs);
        for (size_t j = 0; j < map->count; j++) {
            if (map->items[j]->kind != TERM_LITERAL)
                return failure_set(execution->failure, CQL_SYNTAX_ERROR,
                                   "Invalid value for property 'replication'");
            pairs[j] = (const char *)map->items[j]->text.data;
            if (strcmp(pairs[j], "class") == 0)
                *replication = true;
            /* system_schema shows the full name of the strategy. */
            bool is_class = j % 2 == 1 && strcmp(pairs[j - 1], "class") == 0;
            if (is_class && strchr(pairs[j], '.') == NULL)
                pairs[j] =
                    arena_printf(execution->arena, "org.apache.cassandra.locator.%s", pairs[j]);
        }
        if (apply)
            schema_set_replication(keyspace, pairs, map->count);
    }
    return true;
}

static bool create_keyspace(struct execution *execution, const struct statement *statement)
{
    bool replication = false;
    if (!check_name(execution, "Keyspace", statement->keyspace) ||
        !apply_keyspace_options(execution, NULL, statement, false, &replication))
        return false;
    struct keyspace *keyspace = schema_keyspace(&execution->engine->schema, statement->keyspace);
    if (keyspace != NULL)
        return statement->if_not_exists || already_exists(execution, statement->keyspace, "");
    if (!replication)
        return failure_set(execution->failure, CQL_CONFIG_ERROR,
                           "Missing mandatory replication strategy class");
    keyspace = schema_add_keyspace(&execution->engine->schema, statement->keyspace);
    CHECK(apply_keyspace_options(execution, keyspace, statement, true, &replication));
    changed(execution, "CREATED", "KEYSPACE", keyspace->name, "");
    return true;
}

static bool alter_keyspace(struct execution *execution, const struct statement *statement)
{
    struct keyspace *keyspace = NULL;
    bool replication = false;
    if (!find_keyspace(execution, statement, &keyspace))
        return false;
    if (keyspace == NULL)
        return INVALID(execution->failure, "Unknown keyspace %s", statement->keyspace);
    if (!apply_keyspace_options(execution, keyspace, statement, false, &replication) ||
        !apply_keyspace_options(execution, keyspace, statement, true, &replication))
        return false;
    changed(execution, "UPDATED", "KEYSPACE", keyspace->name, "");
    return true;
}

static bool drop_keyspace(struct execution *execution, const struct statement *statement)
{
    struct keyspace *keyspace = NULL;
    if (!find_keyspace(execution, statement, &keyspace))
        return false;
    if (keyspace == NULL)
        return statement->if_exists ||
               failure_set(execution->failure, CQL_CONFIG_ERROR,
                           "Cannot drop non existing keyspace '%.48s'.", statement->keyspace);
    schema_drop_keyspace(keyspace);
    changed(execution, "DROPPED", "KEYSPACE", statement->keyspace, "");
    return true;
}

/* Puts user types in place of their names, all the way down. */
static bool resolve_type(struct execution *execution, const struct keyspace *keyspace,
                         const struct cql_type *type, const struct cql_type **resolved)
{
    *resolved = type;
    if (type_is_native(type))
        return true;
    struct cql_type *copy = arena_alloc(execution->arena, sizeof *copy);
    if (type->id == TYPE_UDT) {
        const struct cql_type *user = schema_type(keyspace, type->name);
        if (user == NULL)
            return INVALID(execution->failure, "Unknown type %s.%.60s", keyspace->name, type->name);
        *copy = *user;
        copy->frozen = type->frozen;
        *resolved = copy;
        return true;
    }
    *copy = *type;
    copy->parts = arena_alloc(execution->arena, type->count * sizeof *copy->parts);
    for (size_t i = 0; i < type->count; i++) {
        if (!resolve_type(execution, keyspace, type->parts[i], &copy->parts[i]))
            return false;
        if (copy->parts[i]->id == TYPE_COUNTER)
            return INVALID(execution->failure, "Counters are not allowed inside collections");
        if (type->id != TYPE_TUPLE && !type->frozen && type_is_collection(copy->parts[i]) &&
            !copy->parts[i]->frozen)
            return INVALID(execution->failure,
                           "Non-frozen collections are not allowed inside collections: %s",
                           type_text(execution->arena, copy));
    }
    *resolved = copy;
    return true;
}

static const struct column_definition *defined(const struct statement *statement, const char *name)
{
    for (size_t i = 0; i < statement->column_count; i++)
        if (strcmp(statement->columns[i].name, name) == 0)
            return &statement->columns[i];
    return NULL;
}

static bool listed(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool check_key_column(struct execution *execution, const struct statement *statement,
                             const char *name, bool first_seen)
{
    const struct column_definition *column = defined(statement, name);
    if (column == NULL)
        return INVALID(execution->failure, "Unknown definition %.60s referenced in PRIMARY KEY",
                       name);
    if (!first_seen)
        return INVALID(execution->failure, "Column %s appears twice in the PRIMARY KEY", name);
    if (column->is_static)
        return INVALID(execution->failure, "Static column %s cannot be part of the PRIMARY KEY",
                       name);
    if (column->type->id == TYPE_COUNTER)
        return INVALID(execution->failure, "counter type is not supported for PRIMARY KEY part %s",
                       name);
    return (!type_is_collection(column->type) || column->type->frozen) ||
           INVALID(execution->failure,
                   "Invalid non-frozen collection type for PRIMARY KEY component %s", name);
}

static bool check_table(struct execution *execution, const struct keyspace *keyspace,
                        const struct statement *statement)
{
    size_t counters = 0;
    size_t others = 0;
    if (statement->partition_key_count == 0)
        return INVALID(execution->failure, "No PRIMARY KEY specifed (exactly one required)");
    for (size_t i = 0; i < statement->column_count; i++) {
        struct column_definition *column = &statement->columns[i];
        const struct cql_type *resolved;
        if (defined(statement, column->name) != column)
            return INVALID(execution->failure, "Multiple definition of identifier %.60s",
                           column->name);
        if (!resolve_type(execution, keyspace, column->type, &resolved))
            return false;
        bool key =
            listed(statement->partition_keys, statement->partition_key_count, column->name) ||
            listed(statement->clustering_keys, statement->clustering_key_count, column->name);
        counters += column->type->id == TYPE_COUNTER;
        others += !key && column->type->id != TYPE_COUNTER;
        if (column->is_static && statement->clustering_key_count == 0)
            return INVALID(execution->failure, "Static columns are only useful (and thus allowed) "
                                               "if the table has at least one clustering column");
    }
    if (counters > 0 && others > 0)
        return INVALID(execution->failure,
                       "Cannot mix counter and non counter columns in the same table");
    for (size_t i = 0; i < statement->partition_key_count; i++)
        if (!check_key_column(execution, statement, statement->partition_keys[i],
                              !listed(statement->partition_keys, i, statement->partition_keys[i])))
            return false;
    for (size_t i = 0; i < statement->clustering_key_count; i++) {
        const char *name = statement->clustering_keys[i];
        bool first = !listed(statement->clustering_keys, i, name) &&
                     !listed(statement->partition_keys, statement->partition_key_count, name);
        if (!check_key_column(execution, statement, name, first))
            return false;
    }
    for (size_t i = 0; i < statement->clustering_order_count; i++) {
        bool in_order =
            i < statement->clustering_key_count &&
            strcmp(statement->clustering_orders[i].column, statement->clustering_keys[i]) == 0;
        if (!in_order)
            return INVALID(execution->failure,
                           "Only clustering key columns can be defined in CLUSTERING ORDER "
                           "directive, in their order: %.60s",
                           statement->clustering_orders[i].column);
    }
    return true;
}

static void add_column(struct execution *execution, struct table *table,
                       const struct column_definition *definition, enum column_kind kind)
{
    const struct cql_type *type = NULL;
    CHECK(resolve_type(execution, table->keyspace, definition->type, &type));
    schema_add_column(table, definition->name, type, kind);
}

static bool create_table(struct execution *execution, const struct statement *statement)
{
    struct keyspace *keyspace = NULL;
    if (!find_keyspace(execution, statement, &keyspace))
        return false;
    if (keyspace == NULL)
        return INVALID(execution->failure, "Keyspace '%.60s' does not exist", statement->keyspace);
    if (!check_name(execution, "Table", statement->table))
        return false;
    if (schema_table(keyspace, statement->table) != NULL)
        return statement->if_not_exists ||
               already_exists(execution, keyspace->name, statement->table);
    if (!check_table(execution, keyspace, statement))
        return false;
    struct table *table = schema_add_table(keyspace, statement->table);
    for (size_t i = 0; i < statement->partition_key_count; i++)
        add_column(execution, table, defined(statement, statement->partition_keys[i]),
                   COLUMN_PARTITION);
    for (size_t i = 0; i < statement->clustering_key_count; i++)
        add_column(execution, table, defined(statement, statement->clustering_keys[i]),
                   COLUMN_CLUSTERING);
    for (size_t i = 0; i < statement->column_count; i++) {
        const struct column_definition *column = &statement->columns[i];
        if (schema_column(table, column->name) == NULL)
            add_column(execution, table, column,
                       column->is_static ? COLUMN_STATIC : COLUMN_REGULAR);
    }
    for (size_t i = 0; i < statement->clustering_order_count; i++)
        table->clustering[i]->reversed = statement->clustering_orders[i].descending;
    for (size_t i = 0; i < statement->property_count; i++)
        if (strcmp(statement->properties[i].name, "comment") == 0 &&
            statement->properties[i].value->kind == TERM_LITERAL)
            table->comment =
                arena_text(&table->arena, (const char *)statement->properties[i].value->text.data);
    changed(execution, "CREATED", "TABLE", keyspace->name, table->name);
    return true;
}

static bool find_user_table(struct execution *execution, const struct statement *statement,
                            struct table **table)
{
    struct keyspace *keyspace = NULL;
    return find_keyspace(execution, statement, &keyspace) &&
           execute_find_table(execution, statement, table);
}

static bool alter_table(struct execution *execution, const struct statement *statement)
{
    struct table *table;
    if (!find_user_table(execution, statement, &table))
        return false;
    for (size_t i = 0; i < statement->column_count; i++) {
        const struct column_definition *definition = &statement->columns[i];
        struct column *column = schema_column(table, definition->name);
        const struct cql_type *type;
        if (statement->alteration == ALTER_DROP && column == NULL)
            return INVALID(execution->failure, "Column %.60s was not found in table %s",
                           definition->name, table->name);
        if (statement->alteration == ALTER_DROP && column->kind <= COLUMN_CLUSTERING)
            return INVALID(execution->failure, "Cannot drop PRIMARY KEY part %.60s",
                           definition->name);
        if (statement->alteration != ALTER_ADD)
            continue;
        if (column != NULL || defined(statement, definition->name) != definition)
            return INVALID(execution->failure,
                           "Invalid column name %.60s because it conflicts with an existing column",
                           definition->name);
        if (!resolve_type(execution, table->keyspace, definition->type, &type))
            return false;
        if ((type->id == TYPE_COUNTER) != table->is_counter)
            return INVALID(execution->failure,
                           "Cannot mix counter and non counter columns in the same table");
    }
    for (size_t i = 0; i < statement->column_count; i++) {
        const struct column_definition *definition = &statement->columns[i];
        if (statement->alteration == ALTER_ADD)
            add_column(execution, table, definition,
                       definition->is_static ? COLUMN_STATIC : COLUMN_REGULAR);
        else
            schema_drop_column(table, schema_column(table, definition->name));
    }
    changed(execution, "UPDATED", "TABLE", table->keyspace->name, table->name);
    return true;
}

static bool drop_table(struct execution *execution, const struct statement *statement)
{
    struct keyspace *keyspace = NULL;
    if (!find_keyspace(execution, statement, &keyspace))
        return false;
    struct table *table = keyspace == NULL ? NULL : schema_table(keyspace, statement->table);
    if (table == NULL)
        return statement->if_exists ||
               INVALID(execution->failure, "unconfigured table %.60s", statement->table);
    changed(execution, "DROPPED", "TABLE", keyspace->name, table->name);
    schema_drop_table(table);
    return true;
}

static bool create_index(struct execution *execution, const struct statement *statement)
{
    struct table *table;
    struct column *column;
    if (!find_user_table(execution, statement, &table) ||
        !execute_find_column(execution, table, statement->index_target, &column))
        return false;
    if (column->index_name != NULL)
        return statement->if_not_exists ||
               INVALID(execution->failure, "Index %s already exists", column->index_name);
    column->index_name = statement->index_name != NULL
                             ? arena_text(&table->arena, statement->index_name)
                             : arena_printf(&table->arena, "%s_%s_idx", table->name, column->name);
    changed(execution, "UPDATED", "TABLE", table->keyspace->name, table->name);
    return true;
}

static bool drop_index(struct execution *execution, const struct statement *statement)
{
    struct keyspace *keyspace = NULL;
    if (!find_keyspace(execution, statement, &keyspace))
        return false;
    for (struct list *node = keyspace == NULL ? NULL : keyspace->tables.next;
         node != NULL && node != &keyspace->tables; node = node->next) {
        struct table *table = CONTAINER_OF(node, struct table, node);
        for (size_t i = 0; i < table->column_count; i++) {
            struct column *column = table->columns[i];
            if (column->index_name == NULL || strcmp(column->index_name, statement->table) != 0)
                continue;
            column->index_name = NULL;
            changed(execution, "UPDATED", "TABLE", keyspace->name, table->name);
            return true;
        }
    }
    return statement->if_exists ||
           INVALID(execution->failure, "Index '%.60s' could not be found", statement->table);
}

static bool create_type(struct execution *execution, const struct statement *statement)
{
    struct keyspace *keyspace = NULL;
    if (!find_keyspace(execution, statement, &keyspace))
        return false;
    if (keyspace == NULL)
        return INVALID(execution->failure, "Keyspace '%.60s' does not exist", statement->keyspace);
    if (!check_name(execution, "Type", statement->table))
        return false;
    if (schema_type(keyspace, statement->table) != NULL)
        return statement->if_not_exists ||
               INVALID(execution->failure, "A user type of name %s.%s already exists",
                       keyspace->name, statement->table);
    struct cql_type type = {.id = TYPE_UDT, .keyspace = keyspace->name, .name = statement->table};
    type.count = statement->column_count;
    type.parts = arena_alloc(execution->arena, type.count * sizeof *type.parts);
    type.fields = arena_alloc(execution->arena, type.count * sizeof *type.fields);
    for (size_t i = 0; i < type.count; i++) {
        type.fields[i] = statement->columns[i].name;
        if (!resolve_type(execution, keyspace, statement->columns[i].type, &type.parts[i]))
            return false;
    }
    struct cql_type **slot = arena_push(&keyspace->arena, (void **)&keyspace->types,
                                        &keyspace->type_count, sizeof *slot);
    *slot = (struct cql_type *)(uintptr_t)type_copy(&keyspace->arena, &type);
    changed(execution, "CREATED", "TYPE", keyspace->name, statement->table);
    return true;
}

static bool drop_type(struct execution *execution, const struct statement *statement)
{
    struct keyspace *keyspace = NULL;
    if (!find_keyspace(execution, statement, &keyspace))
        return false;
    for (size_t i = 0; keyspace != NULL && i < keyspace->type_count; i++) {
        if (strcmp(keyspace->types[i]->name, statement->table) != 0)
            continue;
        struct cql_type **kept = NULL;
        size_t count = 0;
        for (size_t j = 0; j < keyspace->type_count; j++)
            if (j != i)
                *(struct cql_type **)arena_push(&keyspace->arena, (void **)&kept, &count,
                                                sizeof *kept) = keyspace->types[j];
        keyspace->types = kept;
        keyspace->type_count = count;
        changed(execution, "DROPPED", "TYPE", keyspace->name, statement->table);
        return true;
    }
    return statement->if_exists ||
           INVALID(execution->failure, "No user type named %.60s exists.", statement->table);
}

static bool truncate_table(struct execution *execution, const struct statement *statement)
{
    struct table *table;
    if (!find_user_table(execution, statement, &table))
        return false;
    storage_truncate(table);
    return true;
}

bool execute_ddl(struct execution *execution, const struct statement *statement)
{
    if (execution->preparing)
        return true;
    execution->outcome = OUTCOME_VOID;
    switch (statement->kind) {
    case STATEMENT_CREATE_KEYSPACE:
        return create_keyspace(execution, statement);
    case STATEMENT_ALTER_KEYSPACE:
        return alter_keyspace(execution, statement);
    case STATEMENT_DROP_KEYSPACE:
        return drop_keyspace(execution, statement);
    case STATEMENT_CREATE_TABLE:
        return create_table(execution, statement);
    case STATEMENT_ALTER_TABLE:
        return alter_table(execution, statement);
    case STATEMENT_DROP_TABLE:
        return drop_table(execution, statement);
    case STATEMENT_CREATE_INDEX:
        return create_index(execution, statement);
    case STATEMENT_DROP_INDEX:
        return drop_index(execution, statement);
    case STATEMENT_CREATE_TYPE:
        return create_type(execution, statement);
    case STATEMENT_DROP_TYPE:
        return drop_type(execution, statement);
    default:
        return truncate_table(execution, statement);
    }
}
