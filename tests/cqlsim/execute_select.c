/* SELECT: finds the rows, projects them, cuts them into pages. Owned by the main thread. A page's
 * size is bounded by the rows asked for and by the largest frame; a result beyond that is refused.
 */
#include <stdio.h>

#include "execution.h"
#include "restrictions.h"
#include "wire.h"

/* A result column and how to get its value. */
struct projected {
    enum {
        FROM_COLUMN,
        FROM_WRITETIME,
        FROM_TTL,
        FROM_TOKEN,
        FROM_COUNT,
        FROM_CONSTANT,
        FROM_MIN,
        FROM_MAX,
        FROM_SUM
    } source;
    const struct column *column;
    struct bytes constant; /* FROM_CONSTANT; the running value of an aggregate */
    int64_t number;        /* FROM_COUNT, FROM_SUM */
};

struct selection {
    struct execution *execution;
    const struct table *table; /* where the rows are: for system tables not the definition */
    struct restrictions restrictions;
    struct projected *projected;
    struct result_column *columns;
    size_t count;
    bool aggregate;
    bool distinct;
    bool only_statics; /* nothing but partition and static columns is asked for */
    bool reversed;
    int64_t limit; /* rows still to give, < 0 none */
    int64_t partition_limit;
    int32_t page_size;

    struct dynbuf rows;
    int32_t row_count;
    struct bytes next_page;

    /* Where the page before ended. */
    bool resuming;
    struct partition_key resume_key;
    struct bytes *resume_row; /* NULL: the whole partition was done */
    int64_t resume_in_partition;
};

static void add_projection(struct selection *selection, const char *name,
                           const struct cql_type *type, struct projected projected)
{
    size_t count = selection->count;
    struct projected *slot = arena_push(selection->execution->arena, (void **)&selection->projected,
                                        &count, sizeof *slot);
    *slot = projected;
    struct result_column *column =
        arena_push(selection->execution->arena, (void **)&selection->columns, &selection->count,
                   sizeof *column);
    *column = (struct result_column){name, type};
}

static bool project_call(struct selection *selection, const struct selector *selector)
{
    struct execution *execution = selection->execution;
    const char *function = selector->name;
    const char *argument = selector->count > 0 ? selector->arguments[0] : "";
    const char *name = selector->alias;
    if (name == NULL) {
        bool inner = strlen(argument) > 2 && argument[strlen(argument) - 1] == ')';
        name = arena_printf(execution->arena, "system.%s(%s%s", function, inner ? "system." : "",
                            argument);
        if (strcmp(function, "writetime") == 0 || strcmp(function, "ttl") == 0)
            name = arena_printf(execution->arena, "%s(%s", function, argument);
        for (size_t i = 1; i < selector->count; i++)
            name = arena_printf(execution->arena, "%s, %s", name, selector->arguments[i]);
        name = arena_printf(execution->arena, "%s)", name);
    }
    if (strcmp(function, "token") == 0) {
        bool same = selector->count == selection->table->partition_count;
        for (size_t i = 0; i < selector->count && same; i++)
            same = strcmp(selector->arguments[i], selection->table->partition[i]->name) == 0;
        if (!same)
            return INVALID(
                execution->failure,
                "Invalid number of arguments or columns in call to function system.token");
        add_projection(selection, name, type_native(TYPE_BIGINT),
                       (struct projected){.source = FROM_TOKEN});
        return true;
    }
    bool nested = strlen(argument) > 2 && strcmp(argument + strlen(argument) - 2, "()") == 0;
    if (selector->count == 0 || nested) {
        struct term inner = {.kind = TERM_CALL};
        struct term *items = &inner;
        struct term call = {.kind = TERM_CALL, .text = bytes_text(function)};
        if (nested) {
            inner.text = bytes_text(arena_copy(execution->arena, argument, strlen(argument) - 2));
            call.items = &items;
            call.count = 1;
        }
        struct projected constant = {.source = FROM_CONSTANT};
        const struct cql_type *type;
        if (!function_call(execution, &call, &type, &constant.constant))
            return false;
        add_projection(selection, name, type, constant);
        return true;
    }
    static const struct {
        const char *name;
        int source;
    } functions[] = {{"writetime", FROM_WRITETIME},
                     {"ttl", FROM_TTL},
                     {"count", FROM_COUNT},
                     {"min", FROM_MIN},
                     {"max", FROM_MAX},
                     {"sum", FROM_SUM}};
    for (size_t i = 0; i < ARRAY_COUNT(functions); i++) {
        if (strcmp(functions[i].name, function) != 0 || selector->count != 1)
            continue;
        struct column *column;
        if (!execute_find_column(execution, selection->table, argument, &column))
            return false;
        struct projected projected = {.column = column, .constant = bytes_null()};
        projected.source = functions[i].source;
        const struct cql_type *type = column->type;
        if (projected.source == FROM_WRITETIME || projected.source == FROM_TTL) {
            if (column->kind <= COLUMN_CLUSTERING)
                return INVALID(execution->failure,
                               "Cannot use selection function %s on PRIMARY KEY part %s", function,
                               column->name);
            type = type_native(projected.source == FROM_TTL ? TYPE_INT : TYPE_BIGINT);
        } else {
            selection->aggregate = true;
            if (projected.source == FROM_COUNT)
                type = type_native(TYPE_BIGINT);
        }
        if (projected.source == FROM_SUM && type->id != TYPE_BIGINT && type->id != TYPE_INT &&
            type->id != TYPE_COUNTER)
            return INVALID(execution->failure, "sum() takes int, bigint and counter here");
        add_projection(selection, name, type, projected);
        return true;
    }
    return INVALID(execution->failure, "Unknown function '%.60s'", function);
}

static bool project(struct selection *selection, const struct statement *statement)
{
    struct execution *execution = selection->execution;
    for (size_t i = 0; i < selection->table->column_count && statement->selector_count == 0; i++) {
        const struct column *column = selection->table->columns[i];
        add_projection(selection, column->name, column->type,
                       (struct projected){.source = FROM_COLUMN, .column = column});
    }
    for (size_t i = 0; i < statement->selector_count; i++) {
        const struct selector *selector = &statement->selectors[i];
        struct column *column;
        switch (selector->kind) {
        case SELECT_COLUMN:
            if (!execute_find_column(execution, selection->table, selector->name, &column))
                return false;
            add_projection(selection, selector->alias ? selector->alias : column->name,
                           column->type,
                           (struct projected){.source = FROM_COLUMN, .column = column});
            break;
        case SELECT_COUNT_STAR:
            selection->aggregate = true;
            add_projection(selection, selector->alias ? selector->alias : "count",
                           type_native(TYPE_BIGINT), (struct projected){.source = FROM_COUNT});
            break;
        case SELECT_CALL:
            if (!project_call(selection, selector))
                return false;
            break;
        case SELECT_TERM:
            return INVALID(execution->failure,
                           "Constants in the select clause are not supported by this server");
        }
    }
    selection->only_statics = true;
    for (size_t i = 0; i < selection->count; i++) {
        const struct column *column = selection->projected[i].column;
        if (column != NULL && (column->kind == COLUMN_CLUSTERING || column->kind == COLUMN_REGULAR))
            selection->only_statics = false;
        if (selection->distinct && (column == NULL || !selection->only_statics))
            return INVALID(execution->failure, "SELECT DISTINCT queries must only request "
                                               "partition key columns and/or static columns");
    }
    return true;
}

static struct bytes i64_bytes(struct execution *execution, int64_t number)
{
    uint8_t bytes[8];
    wire_store_i64(bytes, number);
    return bytes_of(arena_copy(execution->arena, bytes, 8), 8);
}

static void put_projected(struct selection *selection, struct projected *projected,
                          const struct partition *partition, const struct row *row)
{
    struct dynbuf *out = &selection->rows;
    int64_t now = selection->execution->now;
    const struct column *column = projected->column;
    const struct cell *cell = NULL;
    switch (projected->source) {
    case FROM_WRITETIME:
    case FROM_TTL:
        cell = storage_cell(partition, column->kind == COLUMN_STATIC ? partition->statics : row,
                            column->cell, now);
        if (cell == NULL || (projected->source == FROM_TTL && cell->expires == 0)) {
            wire_put_i32(out, -1);
        } else if (projected->source == FROM_TTL) {
            wire_put_i32(out, 4);
            wire_put_i32(out, (int32_t)(cell->expires - now));
        } else {
            wire_put_i32(out, 8);
            wire_put_i64(out, cell->timestamp);
        }
        break;
    case FROM_TOKEN:
        wire_put_i32(out, 8);
        wire_put_i64(out, partition->token);
        break;
    case FROM_CONSTANT:
        wire_put_bytes(out, projected->constant);
        break;
    default:
        wire_put_bytes(out, restrictions_column_value(column, partition, row, now));
    }
}

static void accumulate(struct selection *selection, const struct partition *partition,
                       const struct row *row)
{
    for (size_t i = 0; i < selection->count; i++) {
        struct projected *projected = &selection->projected[i];
        const struct column *column = projected->column;
        struct bytes value = column == NULL ? bytes_of("", 0)
                                            : restrictions_column_value(column, partition, row,
                                                                        selection->execution->now);
        if (value.length < 0)
            continue;
        struct bytes so_far = projected->constant;
        switch (projected->source) {
        case FROM_COUNT:
            projected->number++;
            break;
        case FROM_SUM:
            projected->number += value.length == 4   ? wire_load_i32(value.data)
                                 : value.length == 8 ? wire_load_i64(value.data)
                                                     : 0;
            break;
        case FROM_MIN:
            if (so_far.length < 0 || type_compare(column->type, value, so_far) < 0)
                projected->constant = value;
            break;
        case FROM_MAX:
            if (so_far.length < 0 || type_compare(column->type, value, so_far) > 0)
                projected->constant = value;
            break;
        case FROM_COLUMN:
            if (so_far.length < 0)
                projected->constant = value;
            break;
        default:
            break;
        }
    }
}

static void put_aggregates(struct selection *selection)
{
    for (size_t i = 0; i < selection->count; i++) {
        struct projected *projected = &selection->projected[i];
        struct bytes value = projected->constant;
        if (projected->source == FROM_COUNT || projected->source == FROM_SUM) {
            value = i64_bytes(selection->execution, projected->number);
            if (selection->columns[i].type->id == TYPE_INT)
                value = (struct bytes){value.data + 4, 4};
        }
        wire_put_bytes(&selection->rows, value);
    }
    selection->row_count = 1;
}

/* Position after the row just given: partition key, rows given of it, clustering values, limit
 * left. */
static void remember_page(struct selection *selection, const struct partition *partition,
                          const struct row *row, int64_t in_partition)
{
    struct dynbuf state;
    dynbuf_init(&state, WIRE_MAX_BODY);
    wire_put_i64(&state, selection->limit);
    wire_put_i64(&state, in_partition);
    wire_put_i64(&state, partition->token);
    wire_put_bytes(&state, partition->key);
    wire_put_u8(&state, row != NULL);
    for (size_t i = 0; row != NULL && i < selection->table->clustering_count; i++)
        wire_put_bytes(&state, row->clustering[i]);
    CHECK(!state.failed);
    selection->next_page =
        arena_bytes(selection->execution->arena, bytes_of(state.data, state.length));
    dynbuf_fini(&state);
}

static bool recall_page(struct selection *selection)
{
    struct execution *execution = selection->execution;
    struct bytes state = execution->paging_state;
    if (state.length < 0)
        return true;
    struct wire_reader reader = {state.data, state.data + state.length, false};
    selection->resuming = true;
    selection->limit = wire_i64(&reader);
    selection->resume_in_partition = wire_i64(&reader);
    selection->resume_key.token = wire_i64(&reader);
    selection->resume_key.key = wire_bytes(&reader);
    bool ok = selection->resume_key.key.length >= 0;
    if (wire_u8(&reader) != 0) {
        size_t count = selection->table->clustering_count;
        selection->resume_row =
            arena_alloc(execution->arena, count * sizeof *selection->resume_row);
        for (size_t i = 0; i < count && ok && !reader.failed; i++) {
            struct failure ignored;
            selection->resume_row[i] = wire_bytes(&reader);
            ok = selection->resume_row[i].length >= 0 &&
                 type_validate(selection->table->clustering[i]->type, selection->resume_row[i],
                               &ignored);
        }
    }
    if (!ok || reader.failed || wire_left(&reader) > 0)
        return failure_set(execution->failure, CQL_PROTOCOL_ERROR,
                           "Invalid value for the paging state");
    return true;
}

/* Takes one row into the result; false when the page or the limit is full. */
static bool give_row(struct selection *selection, const struct partition *partition,
                     const struct row *row, int64_t *in_partition)
{
    if (selection->aggregate) {
        accumulate(selection, partition, row);
        return true;
    }
    for (size_t i = 0; i < selection->count; i++)
        put_projected(selection, &selection->projected[i], partition, row);
    selection->row_count++;
    ++*in_partition;
    if (selection->limit > 0)
        selection->limit--;
    if (selection->limit == 0 || selection->rows.failed)
        return false;
    size_t size =
        selection->execution->page_in_bytes ? selection->rows.length : (size_t)selection->row_count;
    if (selection->page_size > 0 && size >= (size_t)selection->page_size) {
        remember_page(selection, partition, row, *in_partition);
        return false;
    }
    return true;
}

/* The leading = values of the clustering key, to start near the rows wanted. */
static size_t clustering_prefix(const struct selection *selection, struct bytes *values)
{
    size_t count = 0;
    while (count < selection->table->clustering_count) {
        const struct filter *filter = selection->restrictions.clustering[count];
        if (filter == NULL || filter->op != OP_EQ)
            break;
        values[count++] = filter->values[0];
    }
    return count;
}

static struct omap_node *first_row(struct selection *selection, const struct partition *partition,
                                   bool resume, const struct clustering_key *prefix)
{
    if (selection->reversed) {
        if (!resume)
            return partition->rows.last;
        struct clustering_key key = {selection->resume_row, selection->table->clustering_count};
        struct omap_node *node = omap_seek(&partition->rows, &key);
        return node == NULL ? partition->rows.last : node->previous;
    }
    if (!resume)
        return prefix->count == 0 ? omap_first(&partition->rows)
                                  : omap_seek(&partition->rows, prefix);
    struct clustering_key key = {selection->resume_row, selection->table->clustering_count};
    struct omap_node *node = omap_seek(&partition->rows, &key);
    bool same = node != NULL &&
                storage_compare_clustering(selection->table, &key,
                                           ((const struct row *)node->item)->clustering) == 0;
    return same ? omap_next(node) : node;
}

static bool has_statics(const struct partition *partition, int64_t now)
{
    return storage_row_visible(partition, partition->statics, now);
}

/* False when the result is full. */
static bool walk_partition(struct selection *selection, const struct partition *partition)
{
    const struct restrictions *restrictions = &selection->restrictions;
    int64_t now = selection->execution->now;
    struct partition_key here = {partition->token, partition->key};
    int64_t in_partition = 0;
    bool resume = false;
    if (selection->resuming) {
        int order = storage_compare_partition(&here, &selection->resume_key);
        if (order < 0 || (order == 0 && selection->resume_row == NULL))
            return true;
        resume = order == 0;
        in_partition = resume ? selection->resume_in_partition : 0;
    }
    struct bytes values[64];
    struct clustering_key prefix = {values, 0};
    if (selection->table->clustering_count <= ARRAY_COUNT(values))
        prefix.count = clustering_prefix(selection, values);
    bool any = false;
    struct omap_node *node = first_row(selection, partition, resume, &prefix);
    for (; node != NULL; node = selection->reversed ? node->previous : omap_next(node)) {
        const struct row *row = node->item;
        if (prefix.count > 0 && !selection->reversed &&
            storage_compare_clustering(selection->table, &prefix, row->clustering) != 0)
            break;
        if (!storage_row_visible(partition, row, now))
            continue;
        any = true;
        if (!restrictions_accept(restrictions, partition, row, now))
            continue;
        if (selection->partition_limit > 0 && in_partition >= selection->partition_limit)
            break;
        if (selection->distinct)
            return give_row(selection, partition, NULL, &in_partition);
        if (!give_row(selection, partition, row, &in_partition))
            return false;
    }
    bool statics_count = !any && !resume && prefix.count == 0 && has_statics(partition, now);
    if (statics_count && restrictions_accept(restrictions, partition, NULL, now))
        return give_row(selection, partition, NULL, &in_partition);
    return true;
}

static bool walk(struct selection *selection)
{
    struct execution *execution = selection->execution;
    const struct table *table = selection->table;
    if (selection->restrictions.partition_complete) {
        struct asked_partition *asked;
        size_t count;
        if (!restrictions_partitions(execution, table, &selection->restrictions, &asked, &count))
            return false;
        for (size_t i = 0; i < count; i++) {
            const struct partition *partition = storage_find(table, &asked[i].key);
            if (partition != NULL && !walk_partition(selection, partition))
                break;
        }
    } else {
        struct omap_node *node = selection->resuming
                                     ? omap_seek(&table->partitions, &selection->resume_key)
                                     : omap_first(&table->partitions);
        for (; node != NULL; node = omap_next(node))
            if (!walk_partition(selection, node->item))
                break;
    }
    if (selection->aggregate)
        put_aggregates(selection);
    return true;
}

/* LIMIT and the like: a positive int. */
static bool evaluate_limit(struct execution *execution, const struct term *term, const char *name,
                           int64_t *limit)
{
    struct bytes value;
    *limit = -1;
    if (term == NULL)
        return true;
    if (!term_evaluate(execution, term, type_native(TYPE_INT), name, &value))
        return false;
    if (execution->preparing || value.length == BYTES_UNSET)
        return true;
    if (value.length != 4)
        return INVALID(execution->failure, "Invalid null value of limit");
    *limit = wire_load_i32(value.data);
    return *limit > 0 || INVALID(execution->failure, "LIMIT must be strictly positive");
}

static bool resolve_ordering(struct selection *selection, const struct statement *statement)
{
    struct execution *execution = selection->execution;
    for (size_t i = 0; i < statement->ordering_count; i++) {
        const struct ordering *ordering = &statement->orderings[i];
        struct column *column;
        if (!execute_find_column(execution, selection->table, ordering->column, &column))
            return false;
        if (column->kind != COLUMN_CLUSTERING || column->position != i)
            return INVALID(execution->failure,
                           "Order by is currently only supported on the clustered columns of the "
                           "PRIMARY KEY, got %s",
                           column->name);
        bool reversed = ordering->descending != column->reversed;
        if (i > 0 && reversed != selection->reversed)
            return INVALID(execution->failure, "Unsupported order by relation");
        selection->reversed = reversed;
    }
    if (statement->ordering_count > 0 && !selection->restrictions.partition_complete)
        return INVALID(
            execution->failure,
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.");
    return true;
}

static bool resolve(struct selection *selection, const struct statement *statement)
{
    struct execution *execution = selection->execution;
    if (!project(selection, statement) ||
        !restrictions_resolve(execution, selection->table, statement->relations,
                              statement->relation_count, &selection->restrictions))
        return false;
    if (selection->restrictions.needs_filtering && !statement->allow_filtering)
        return INVALID(execution->failure,
                       "Cannot execute this query as it might involve data filtering and thus may "
                       "have unpredictable performance. If you want to execute this query despite "
                       "the performance unpredictability, use ALLOW FILTERING");
    return resolve_ordering(selection, statement) &&
           evaluate_limit(execution, statement->partition_limit, "[per_partition_limit]",
                          &selection->partition_limit) &&
           evaluate_limit(execution, statement->limit, "[limit]", &selection->limit);
}

static bool run(struct selection *selection)
{
    struct execution *execution = selection->execution;
    if (!recall_page(selection) || !walk(selection))
        return false;
    if (selection->rows.failed)
        return failure_set(execution->failure, CQL_SERVER_ERROR,
                           "The result is larger than a frame may be");
    result_put_rows(execution, selection->columns, selection->count, selection->next_page,
                    &selection->rows, selection->row_count);
    return true;
}

bool execute_select(struct execution *execution, const struct statement *statement)
{
    struct table *table;
    if (!execute_find_table(execution, statement, &table))
        return false;
    struct selection selection = {.execution = execution,
                                  .table = table,
                                  .distinct = statement->distinct,
                                  .page_size = execution->page_size,
                                  .next_page = bytes_null()};
    if (!resolve(&selection, statement))
        return false;
    if (execution->preparing) {
        result_put_metadata(execution, execution->out, selection.columns, selection.count);
        return true;
    }
    dynbuf_init(&selection.rows, WIRE_MAX_BODY - 65536);
    struct table *made = NULL;
    if (table->generate != NULL) {
        made = schema_shadow(table);
        table->generate(made, execution->engine, execution->node);
        /* The columns of the shadow have the same places as those the selection points at. */
        selection.table = made;
    }
    bool ok = run(&selection);
    dynbuf_fini(&selection.rows);
    if (made != NULL)
        schema_drop_table(made);
    return ok;
}
