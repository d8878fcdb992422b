/* INSERT, UPDATE and DELETE, with and without conditions. Owned by the main thread. A statement is
 * worked out completely before it changes anything, so that a refused one leaves no trace. */
#include "execution.h"
#include "restrictions.h"
#include "wire.h"

/* A column to write, worked out. */
struct change {
    const struct column *column;
    enum assignment_op op;
    bool has_key;
    struct bytes key;
    struct bytes value; /* null deletes, unset leaves alone */
};

struct write {
    struct execution *execution;
    const struct statement *statement;
    struct table *table;
    struct change *changes;
    size_t change_count;
    struct restrictions where;
    struct restrictions conditions;
    struct asked_partition *asked;
    size_t asked_count;
    struct bytes **rows; /* clustering keys asked for */
    size_t row_count;
    bool whole_rows; /* the clustering key is not complete: partition or range */
    struct stamp stamp;
};

/* What a value assigned this way must be: an element, a counter step, a set of map keys. */
static bool value_type(struct execution *execution, const struct column *column,
                       const struct assignment *assignment, const struct cql_type **type)
{
    *type = column->type;
    if (assignment->key != NULL) {
        if (!type_is_collection(column->type) || column->type->frozen ||
            column->type->id == TYPE_SET)
            return INVALID(execution->failure, "Invalid operation on non-map, non-list column %s",
                           column->name);
        *type = column->type->parts[column->type->count - 1];
        return true;
    }
    bool counter = column->type->id == TYPE_COUNTER;
    if (assignment->op == ASSIGN_SET) {
        if (counter && assignment->value != NULL)
            return INVALID(execution->failure,
                           "Cannot set the value of counter column %s (counters can only be "
                           "incremented/decremented, not set)",
                           column->name);
        return true;
    }
    if (!counter && (!type_is_collection(column->type) || column->type->frozen))
        return INVALID(execution->failure,
                       "Invalid operation (%s = %s %c ..) for non counter column %s", column->name,
                       column->name, assignment->op == ASSIGN_SUBTRACT ? '-' : '+', column->name);
    if (assignment->op == ASSIGN_PREPEND && column->type->id != TYPE_LIST)
        return INVALID(execution->failure, "Cannot prepend to column %s: it is no list",
                       column->name);
    if (assignment->op == ASSIGN_SUBTRACT && column->type->id == TYPE_MAP)
        *type = type_collection(execution->arena, TYPE_SET, column->type->parts[0]);
    return true;
}

static bool resolve_change(struct write *write, const struct assignment *assignment,
                           const struct column *column)
{
    struct execution *execution = write->execution;
    struct change change = {.column = column,
                            .op = assignment->op,
                            .key = bytes_null(),
                            .value = bytes_null(),
                            .has_key = assignment->key != NULL};
    const struct cql_type *type;
    if (!value_type(execution, column, assignment, &type))
        return false;
    if (change.has_key) {
        bool list = column->type->id == TYPE_LIST;
        const char *name =
            arena_printf(execution->arena, "%s(%s)", list ? "idx" : "key", column->name);
        if (!term_evaluate_present(execution, assignment->key,
                                   list ? type_native(TYPE_INT) : column->type->parts[0], name,
                                   &change.key))
            return false;
    }
    if (assignment->value != NULL &&
        !term_evaluate(execution, assignment->value, type, column->name, &change.value))
        return false;
    struct change *slot =
        arena_push(execution->arena, (void **)&write->changes, &write->change_count, sizeof *slot);
    *slot = change;
    return true;
}

/* INSERT's columns: the key's become = restrictions, the rest changes. */
static bool resolve_insert(struct write *write)
{
    struct execution *execution = write->execution;
    const struct statement *statement = write->statement;
    struct relation *relations = NULL;
    size_t count = 0;
    if (write->table->is_counter)
        return INVALID(execution->failure,
                       "INSERT statements are not allowed on counter tables, use UPDATE instead");
    for (size_t i = 0; i < statement->assignment_count; i++) {
        const struct assignment *assignment = &statement->assignments[i];
        struct column *column;
        if (!execute_find_column(execution, write->table, assignment->column, &column))
            return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(statement->assignments[j].column, assignment->column) == 0)
                return INVALID(execution->failure, "The column names contains duplicates");
        if (column->kind > COLUMN_CLUSTERING) {
            if (!resolve_change(write, assignment, column))
                return false;
            continue;
        }
        struct relation *relation =
            arena_push(execution->arena, (void **)&relations, &count, sizeof *relation);
        *relation = (struct relation){.columns = (const char **)(uintptr_t)&assignment->column,
                                      .count = 1,
                                      .op = OP_EQ,
                                      .value = assignment->value};
    }
    return restrictions_resolve(execution, write->table, relations, count, &write->where);
}

static bool resolve_assignments(struct write *write)
{
    const struct statement *statement = write->statement;
    for (size_t i = 0; i < statement->assignment_count; i++) {
        const struct assignment *assignment = &statement->assignments[i];
        struct column *column;
        if (!execute_find_column(write->execution, write->table, assignment->column, &column))
            return false;
        if (column->kind <= COLUMN_CLUSTERING)
            return statement->kind == STATEMENT_DELETE
                       ? INVALID(write->execution->failure,
                                 "Invalid identifier %s for deletion (should not be a PRIMARY KEY "
                                 "part)",
                                 column->name)
                       : INVALID(write->execution->failure, "PRIMARY KEY part %s found in SET part",
                                 column->name);
        if (!resolve_change(write, assignment, column))
            return false;
    }
    return restrictions_resolve(write->execution, write->table, statement->relations,
                                statement->relation_count, &write->where);
}

static bool only_statics(const struct write *write)
{
    for (size_t i = 0; i < write->change_count; i++)
        if (write->changes[i].column->kind != COLUMN_STATIC)
            return false;
    return write->change_count > 0;
}

/* The key must be complete, except that DELETE may name a partition or a range of rows and that
 * static columns need only the partition. */
static bool check_key(struct write *write)
{
    struct execution *execution = write->execution;
    const struct table *table = write->table;
    const struct restrictions *where = &write->where;
    bool insert = write->statement->kind == STATEMENT_INSERT;
    for (size_t i = 0; i < table->partition_count; i++)
        if (where->partition[i] == NULL)
            return INVALID(execution->failure,
                           insert ? "Missing mandatory PRIMARY KEY part %s"
                                  : "Some partition key parts are missing: %s",
                           table->partition[i]->name);
    for (size_t i = 0; i < where->filter_count; i++) {
        const struct column *column = where->filters[i].column;
        if (column == NULL || column->kind > COLUMN_CLUSTERING)
            return INVALID(execution->failure, "Non PRIMARY KEY columns found in where clause: %s ",
                           column == NULL ? "token" : column->name);
    }
    const struct column *missing = NULL;
    for (size_t i = 0; i < table->clustering_count && missing == NULL; i++)
        if (where->clustering[i] == NULL)
            missing = table->clustering[i];
    write->whole_rows = missing != NULL;
    if (missing == NULL || only_statics(write))
        return true;
    if (write->statement->kind == STATEMENT_DELETE && write->change_count == 0)
        return !where->needs_filtering ||
               INVALID(execution->failure,
                       "PRIMARY KEY column \"%s\" cannot be restricted as preceding column \"%s\" "
                       "is not restricted",
                       table->clustering[table->clustering_count - 1]->name, missing->name);
    return INVALID(execution->failure,
                   insert ? "Missing mandatory PRIMARY KEY part %s"
                          : "Some clustering keys are missing: %s",
                   missing->name);
}

static bool resolve_using(struct write *write)
{
    struct execution *execution = write->execution;
    struct bytes value;
    write->stamp = (struct stamp){.timestamp = execution->timestamp, .now = execution->now};
    const struct statement *statement = write->statement;
    bool conditional =
        statement->if_not_exists || statement->if_exists || statement->condition_count > 0;
    /* Paxos has its own clock, whatever timestamp came with the request. */
    if (conditional && !execution->preparing)
        write->stamp.timestamp = engine_timestamp(execution->engine);
    if (statement->timestamp != NULL) {
        if (conditional)
            return INVALID(execution->failure,
                           "Cannot provide custom timestamp for conditional updates");
        if (write->table->is_counter)
            return INVALID(execution->failure,
                           "Cannot provide custom timestamp for counter updates");
        if (!term_evaluate(execution, statement->timestamp, type_native(TYPE_BIGINT), "[timestamp]",
                           &value))
            return false;
        if (value.length == 8)
            write->stamp.timestamp = wire_load_i64(value.data);
        else if (!execution->preparing && value.length != BYTES_UNSET)
            return INVALID(execution->failure, "Invalid null value of timestamp");
        if (write->stamp.timestamp == STORAGE_NEVER)
            return INVALID(execution->failure, "Timestamp out of bound");
    }
    if (statement->ttl == NULL)
        return true;
    if (!term_evaluate(execution, statement->ttl, type_native(TYPE_INT), "[ttl]", &value))
        return false;
    int32_t ttl = value.length == 4 ? wire_load_i32(value.data) : 0;
    if (ttl < 0)
        return INVALID(execution->failure, "A TTL must be greater or equal to 0, but was %d", ttl);
    if (ttl > 630720000)
        return INVALID(execution->failure, "ttl is too large. requested (%d) maximum (630720000)",
                       ttl);
    write->stamp.ttl = ttl;
    return true;
}

static bool resolve(struct write *write)
{
    struct execution *execution = write->execution;
    const struct statement *statement = write->statement;
    bool ok =
        statement->kind == STATEMENT_INSERT ? resolve_insert(write) : resolve_assignments(write);
    if (!ok || !resolve_using(write) || !check_key(write))
        return false;
    /* Conditions may not disturb what WHERE found out about the partition key's markers. */
    int32_t *markers = execution->partition_markers;
    execution->partition_markers = NULL;
    ok = restrictions_resolve(execution, write->table, statement->conditions,
                              statement->condition_count, &write->conditions);
    execution->partition_markers = markers;
    for (size_t i = 0; i < write->conditions.filter_count && ok; i++) {
        const struct column *column = write->conditions.filters[i].column;
        if (column == NULL || column->kind <= COLUMN_CLUSTERING)
            ok = INVALID(execution->failure, "PRIMARY KEY column '%s' cannot have IF conditions",
                         column == NULL ? "token" : column->name);
    }
    return ok;
}

/* Every clustering key that = and IN ask for. */
static bool ask_rows(struct write *write)
{
    const struct table *table = write->table;
    struct arena *arena = write->execution->arena;
    size_t total = 1;
    for (size_t i = 0; i < table->clustering_count; i++) {
        total *= write->where.clustering[i]->count;
        if (total > 100000)
            return INVALID(write->execution->failure, "Too many rows in IN restrictions");
    }
    write->row_count = total;
    write->rows = arena_alloc(arena, total * sizeof *write->rows);
    for (size_t i = 0; i < total; i++) {
        write->rows[i] = arena_alloc(arena, table->clustering_count * sizeof **write->rows);
        size_t rest = i;
        for (size_t j = 0; j < table->clustering_count; j++) {
            const struct filter *filter = write->where.clustering[j];
            write->rows[i][j] = filter->values[rest % filter->count];
            rest /= filter->count;
        }
    }
    return true;
}

/* The new value of a changed cell, given the current one. */
static bool changed_value(struct write *write, const struct change *change, struct bytes current,
                          struct bytes *value)
{
    struct arena *arena = write->execution->arena;
    const struct cql_type *type = change->column->type;
    *value = change->value;
    if (change->has_key)
        return collection_put(arena, type, current, change->key, change->value, value) ||
               INVALID(write->execution->failure, "List index out of bound in column %s",
                       change->column->name);
    if (change->op == ASSIGN_SET)
        return true;
    if (type->id == TYPE_COUNTER) {
        if (change->value.length != 8)
            return INVALID(write->execution->failure, "Invalid null value for counter increment");
        uint64_t step = (uint64_t)wire_load_i64(change->value.data);
        uint64_t sum = current.length == 8 ? (uint64_t)wire_load_i64(current.data) : 0;
        uint8_t *bytes = arena_alloc(arena, 8);
        wire_store_i64(bytes, (int64_t)(change->op == ASSIGN_ADD ? sum + step : sum - step));
        *value = bytes_of(bytes, 8);
    } else if (change->op == ASSIGN_ADD) {
        *value = collection_add(arena, type, current, change->value);
    } else if (change->op == ASSIGN_PREPEND) {
        *value = collection_prepend(arena, type, current, change->value);
    } else {
        *value = collection_subtract(arena, type, current, change->value);
    }
    return true;
}

static bool write_cells(struct write *write, struct partition *partition, struct row *row)
{
    struct stamp stamp = write->stamp;
    for (size_t i = 0; i < write->change_count; i++) {
        const struct change *change = &write->changes[i];
        if (change->value.length == BYTES_UNSET)
            continue;
        struct row *into =
            change->column->kind == COLUMN_STATIC ? storage_get_static(partition) : row;
        struct bytes current = storage_value(partition, into, change->column->cell, stamp.now);
        struct bytes value;
        if (!changed_value(write, change, current, &value))
            return false;
        /* Counters and collection changes build on what is there, whatever its timestamp. */
        bool additive = change->op != ASSIGN_SET || change->has_key;
        const struct cell *cell = storage_cell(partition, into, change->column->cell, stamp.now);
        struct stamp own = stamp;
        if (additive && cell != NULL && cell->timestamp >= own.timestamp)
            own.timestamp = cell->timestamp + 1;
        if (write->table->is_counter)
            own.ttl = 0;
        storage_write(into, change->column->cell, value, &own);
    }
    return true;
}

static bool apply_row(struct write *write, struct partition *partition,
                      const struct bytes *clustering)
{
    bool statics = only_statics(write);
    enum statement_kind kind = write->statement->kind;
    if (kind == STATEMENT_DELETE && write->change_count == 0) {
        storage_delete_row(storage_get_row(write->table, partition, clustering),
                           write->stamp.timestamp);
        return true;
    }
    struct row *row = NULL;
    if (!statics || (kind == STATEMENT_INSERT && !write->whole_rows))
        row = storage_get_row(write->table, partition, clustering);
    if (kind == STATEMENT_INSERT && row != NULL)
        storage_mark_created(row, &write->stamp);
    return write_cells(write, partition, row);
}

/* DELETE of a partition or of the rows of one that WHERE selects. */
static void delete_rows(struct write *write, struct partition *partition)
{
    bool restricted = false;
    for (size_t i = 0; i < write->where.filter_count; i++)
        restricted |= write->where.filters[i].column->kind == COLUMN_CLUSTERING;
    if (!restricted) {
        storage_delete_partition(partition, write->stamp.timestamp);
        return;
    }
    for (struct omap_node *node = omap_first(&partition->rows); node != NULL;
         node = omap_next(node))
        if (restrictions_accept(&write->where, partition, node->item, write->stamp.now))
            storage_delete_row(node->item, write->stamp.timestamp);
}

static bool apply(struct write *write)
{
    for (size_t i = 0; i < write->asked_count; i++) {
        struct partition *partition =
            storage_get(write->table, &write->asked[i].key, write->asked[i].values);
        if (write->whole_rows && write->statement->kind == STATEMENT_DELETE &&
            write->change_count == 0) {
            delete_rows(write, partition);
        } else if (write->whole_rows) {
            if (!apply_row(write, partition, NULL))
                return false;
        } else {
            for (size_t j = 0; j < write->row_count; j++)
                if (!apply_row(write, partition, write->rows[j]))
                    return false;
        }
    }
    return true;
}

/* The answer to a conditional write: [applied], and when it was not, what stood in the way. */
static void put_applied(struct write *write, bool applied, const struct partition *partition,
                        const struct row *row)
{
    struct execution *execution = write->execution;
    const struct table *table = write->table;
    struct result_column *columns = NULL;
    size_t count = 0;
    struct dynbuf rows;
    dynbuf_init(&rows, WIRE_MAX_BODY);
    struct result_column *slot =
        arena_push(execution->arena, (void **)&columns, &count, sizeof *slot);
    *slot = (struct result_column){"[applied]", type_native(TYPE_BOOLEAN)};
    wire_put_bytes(&rows, bytes_of(applied ? "\1" : "\0", 1));
    bool exists = row != NULL || (partition != NULL && partition->statics != NULL);
    for (size_t i = 0; !applied && exists && i < table->column_count; i++) {
        const struct column *column = table->columns[i];
        bool wanted = write->statement->if_not_exists;
        for (size_t j = 0; j < write->conditions.filter_count; j++)
            wanted |= write->conditions.filters[j].column == column;
        if (!wanted)
            continue;
        slot = arena_push(execution->arena, (void **)&columns, &count, sizeof *slot);
        *slot = (struct result_column){column->name, column->type};
        wire_put_bytes(&rows, restrictions_column_value(column, partition, row, write->stamp.now));
    }
    /* Whether it is applied decides about the columns: always described, never a change. */
    execution->skip_metadata = false;
    execution->metadata_id = bytes_null();
    result_put_rows(execution, columns, count, bytes_null(), &rows, 1);
    dynbuf_fini(&rows);
}

static bool apply_conditional(struct write *write)
{
    const struct statement *statement = write->statement;
    bool single = write->asked_count == 1 && (write->whole_rows || write->row_count == 1);
    if (!single || (write->whole_rows && !only_statics(write)))
        return INVALID(
            write->execution->failure,
            "IN on the PRIMARY KEY and range deletions are not supported with conditional updates");
    int64_t now = write->stamp.now;
    const struct partition *partition = storage_find(write->table, &write->asked[0].key);
    const struct row *row = NULL;
    if (partition != NULL && !write->whole_rows)
        row = storage_find_row(partition, write->rows[0]);
    bool exists = partition != NULL &&
                  storage_row_visible(partition, write->whole_rows ? partition->statics : row, now);
    if (!exists)
        row = NULL;
    bool applied = statement->if_not_exists ? !exists : exists || !statement->if_exists;
    for (size_t i = 0; i < write->conditions.filter_count && applied; i++) {
        const struct filter *filter = &write->conditions.filters[i];
        if (partition != NULL) {
            applied = restrictions_filter_accepts(filter, partition, row, now);
        } else {
            struct partition nobody = {.deleted = STORAGE_NEVER};
            applied = restrictions_filter_accepts(filter, &nobody, NULL, now);
        }
    }
    if (applied && !apply(write))
        return false;
    put_applied(write, applied, partition, row);
    return true;
}

bool execute_write(struct execution *execution, const struct statement *statement)
{
    struct write write = {.execution = execution, .statement = statement};
    if (!execute_find_table(execution, statement, &write.table))
        return false;
    if (write.table->keyspace->is_system)
        return failure_set(execution->failure, CQL_UNAUTHORIZED,
                           "%s keyspace is not user-modifiable.", write.table->keyspace->name);
    if (!resolve(&write))
        return false;
    if (execution->preparing)
        return true;
    if (!restrictions_partitions(execution, write.table, &write.where, &write.asked,
                                 &write.asked_count) ||
        (!write.whole_rows && !ask_rows(&write)))
        return false;
    if (statement->if_not_exists || statement->if_exists || statement->condition_count > 0)
        return apply_conditional(&write);
    execution->outcome = OUTCOME_VOID;
    return apply(&write);
}

bool execute_batch(struct execution *execution, const struct statement *statement)
{
    if (statement->timestamp != NULL) {
        struct bytes value;
        if (!term_evaluate(execution, statement->timestamp, type_native(TYPE_BIGINT), "[timestamp]",
                           &value))
            return false;
        if (value.length == 8)
            execution->timestamp = wire_load_i64(value.data);
        for (size_t i = 0; i < statement->child_count; i++)
            if (statement->children[i]->timestamp != NULL)
                return INVALID(execution->failure, "Timestamp must be set either on BATCH or "
                                                   "individual statements");
    }
    struct dynbuf *out = execution->out;
    size_t start = out->length;
    for (size_t i = 0; i < statement->child_count; i++) {
        size_t before = out->length;
        if (!execute_write(execution, statement->children[i]))
            return false;
        /* Of several conditional answers the last is kept: they share one table's [applied]. */
        if (execution->outcome == OUTCOME_ROWS && before > start) {
            size_t length = out->length - before;
            memmove(out->data + start, out->data + before, length);
            out->length = start + length;
        }
    }
    if (out->length > start)
        execution->outcome = OUTCOME_ROWS;
    return true;
}
