/* WHERE and IF conditions. Owned by the main thread. Everything that is not a way to find rows is
 * checked row by row: slow and right, which is what a double needs. */
#include "restrictions.h"

#include <stdlib.h>

#include "wire.h"

#define MAX_ASKED 100000

static bool evaluate_in(struct execution *execution, const struct term *term,
                        const struct cql_type *type, const char *column, struct filter *filter)
{
    if (term->kind == TERM_TUPLE) {
        filter->values = arena_alloc(execution->arena, term->count * sizeof *filter->values);
        filter->count = term->count;
        for (size_t i = 0; i < term->count; i++)
            if (!term_evaluate_present(execution, term->items[i], type, column, &filter->values[i]))
                return false;
        return true;
    }
    const struct cql_type *list = type_collection(execution->arena, TYPE_LIST, type);
    const char *name = arena_printf(execution->arena, "in(%s)", column);
    struct bytes value;
    if (!term_evaluate(execution, term, list, name, &value))
        return false;
    if (value.length == BYTES_UNSET)
        return INVALID(execution->failure, "Invalid unset value for column %s", column);
    struct type_walk walk;
    struct bytes element;
    type_walk_start(&walk, list, value);
    while (type_walk_next(&walk, &element, NULL)) {
        struct bytes *slot =
            arena_push(execution->arena, (void **)&filter->values, &filter->count, sizeof *slot);
        *slot = element;
    }
    return true;
}

static bool resolve_token(struct execution *execution, const struct table *table,
                          const struct relation *relation, struct filter *filter)
{
    bool same = relation->count == table->partition_count;
    for (size_t i = 0; i < relation->count && same; i++)
        same = strcmp(relation->columns[i], table->partition[i]->name) == 0;
    if (!same)
        return INVALID(
            execution->failure,
            "The token() function must be applied to all partition key components or none of them");
    if (relation->op > OP_GE)
        return INVALID(execution->failure, "Unsupported operator on the token function");
    filter->values = arena_alloc(execution->arena, sizeof *filter->values);
    filter->count = 1;
    return term_evaluate_present(execution, relation->value, type_native(TYPE_BIGINT),
                                 "partition key token", filter->values);
}

/* The type of what a relation compares with: elements for CONTAINS and [key]. */
static bool compared_type(struct execution *execution, const struct relation *relation,
                          const struct column *column, const struct cql_type **type)
{
    *type = column->type;
    if (relation->op != OP_CONTAINS && relation->op != OP_CONTAINS_KEY && relation->key == NULL)
        return true;
    if (!type_is_collection(column->type))
        return INVALID(execution->failure, "Cannot use CONTAINS or [] on non-collection column %s",
                       column->name);
    bool wants_map = relation->op == OP_CONTAINS_KEY || relation->key != NULL;
    if (wants_map && column->type->id != TYPE_MAP)
        return INVALID(execution->failure, "Column %s is not a map", column->name);
    *type = column->type->parts[relation->op == OP_CONTAINS_KEY ? 0 : column->type->count - 1];
    return true;
}

static bool resolve_column(struct execution *execution, const struct table *table,
                           const struct relation *relation, struct filter *filter)
{
    struct column *column;
    if (!execute_find_column(execution, table, relation->columns[0], &column))
        return false;
    filter->column = column;
    const struct cql_type *type;
    if (!compared_type(execution, relation, column, &type))
        return false;
    filter->key = bytes_null();
    filter->has_key = relation->key != NULL;
    if (filter->has_key && !term_evaluate_present(execution, relation->key, column->type->parts[0],
                                                  column->name, &filter->key))
        return false;
    if (relation->op == OP_IN)
        return evaluate_in(execution, relation->value, type, column->name, filter);
    filter->values = arena_alloc(execution->arena, sizeof *filter->values);
    filter->count = 1;
    if (column->kind == COLUMN_PARTITION && relation->op == OP_EQ &&
        relation->value->kind == TERM_MARKER && execution->partition_markers != NULL)
        execution->partition_markers[column->position] = (int32_t)relation->value->marker;
    return column->kind <= COLUMN_CLUSTERING
               ? term_evaluate_present(execution, relation->value, type, column->name,
                                       filter->values)
               : term_evaluate(execution, relation->value, type, column->name, filter->values);
}

/* (a, b) = (x, y) is a = x AND b = y; other comparisons of several columns are refused. */
static bool resolve_tuple(struct execution *execution, const struct table *table,
                          const struct relation *relation, struct restrictions *restrictions)
{
    if (relation->op != OP_EQ || relation->value->kind != TERM_TUPLE ||
        relation->value->count != relation->count)
        return INVALID(
            execution->failure,
            "Multi-column relations other than (a, b) = (x, y) are not supported by this server");
    for (size_t i = 0; i < relation->count; i++) {
        struct relation single = {.columns = &relation->columns[i],
                                  .count = 1,
                                  .op = OP_EQ,
                                  .value = relation->value->items[i]};
        struct filter *filter = arena_push(execution->arena, (void **)&restrictions->filters,
                                           &restrictions->filter_count, sizeof *filter);
        if (!resolve_column(execution, table, &single, filter))
            return false;
    }
    return true;
}

/* Finds the filters that lead to rows and decides whether they are enough. */
static bool classify(struct execution *execution, const struct table *table,
                     struct restrictions *restrictions)
{
    size_t pointers = table->partition_count + table->clustering_count;
    const struct filter **direct = arena_alloc(execution->arena, pointers * sizeof *direct);
    restrictions->partition = direct;
    restrictions->clustering = direct + table->partition_count;
    bool *ranged = arena_alloc(execution->arena, pointers * sizeof *ranged);
    bool indexed = false;
    bool other = false;
    size_t partition_found = 0;
    for (size_t i = 0; i < restrictions->filter_count; i++) {
        const struct filter *filter = &restrictions->filters[i];
        const struct column *column = filter->column;
        if (column == NULL) {
            restrictions->has_token = true;
            continue;
        }
        if (column->kind > COLUMN_CLUSTERING) {
            indexed |= column->index_name != NULL && filter->op == OP_EQ;
            other |= column->index_name == NULL || filter->op != OP_EQ;
            continue;
        }
        size_t at = column->position;
        bool is_partition = column->kind == COLUMN_PARTITION;
        if (filter->op != OP_EQ && filter->op != OP_IN) {
            other |= is_partition || filter->op > OP_GE;
            if (!is_partition)
                ranged[table->partition_count + at] = true;
            continue;
        }
        const struct filter **slot =
            is_partition ? &restrictions->partition[at] : &restrictions->clustering[at];
        if (*slot != NULL)
            return INVALID(
                execution->failure,
                "%s cannot be restricted by more than one relation if it includes an Equal",
                column->name);
        *slot = filter;
        partition_found += is_partition;
    }
    restrictions->partition_complete = partition_found == table->partition_count;
    restrictions->needs_filtering =
        other || (partition_found > 0 && !restrictions->partition_complete && !indexed);
    bool open = false;
    bool any_clustering = false;
    for (size_t i = 0; i < table->clustering_count; i++) {
        bool range = ranged[table->partition_count + i];
        bool restricted = restrictions->clustering[i] != NULL || range;
        any_clustering |= restricted;
        restrictions->needs_filtering |= restricted && open && !indexed;
        open |= !restricted || range;
    }
    if (any_clustering && !restrictions->partition_complete && !indexed)
        restrictions->needs_filtering = true;
    return true;
}

bool restrictions_resolve(struct execution *execution, const struct table *table,
                          const struct relation *relations, size_t count,
                          struct restrictions *restrictions)
{
    *restrictions = (struct restrictions){0};
    for (size_t i = 0; i < count; i++) {
        const struct relation *relation = &relations[i];
        if (relation->tuple) {
            if (!resolve_tuple(execution, table, relation, restrictions))
                return false;
            continue;
        }
        struct filter *filter = arena_push(execution->arena, (void **)&restrictions->filters,
                                           &restrictions->filter_count, sizeof *filter);
        filter->op = relation->op;
        bool ok = relation->token ? resolve_token(execution, table, relation, filter)
                                  : resolve_column(execution, table, relation, filter);
        if (!ok)
            return false;
    }
    return classify(execution, table, restrictions);
}

static int compare_asked(const void *a, const void *b)
{
    return storage_compare_partition(&((const struct asked_partition *)a)->key,
                                     &((const struct asked_partition *)b)->key);
}

bool restrictions_partitions(struct execution *execution, const struct table *table,
                             const struct restrictions *restrictions,
                             struct asked_partition **asked, size_t *count)
{
    size_t total = 1;
    for (size_t i = 0; i < table->partition_count; i++) {
        total *= restrictions->partition[i]->count;
        if (total > MAX_ASKED)
            return INVALID(execution->failure, "Too many partition keys in IN restrictions");
    }
    *asked = arena_alloc(execution->arena, total * sizeof **asked);
    for (size_t i = 0; i < total; i++) {
        struct asked_partition *one = &(*asked)[i];
        one->values = arena_alloc(execution->arena, table->partition_count * sizeof *one->values);
        size_t rest = i;
        for (size_t j = 0; j < table->partition_count; j++) {
            const struct filter *filter = restrictions->partition[j];
            one->values[j] = filter->values[rest % filter->count];
            rest /= filter->count;
        }
        if (!storage_key(table, execution->arena, one->values, &one->key, execution->failure))
            return false;
    }
    if (total > 1)
        qsort(*asked, total, sizeof **asked, compare_asked);
    size_t kept = 0;
    for (size_t i = 0; i < total; i++)
        if (kept == 0 || compare_asked(&(*asked)[kept - 1], &(*asked)[i]) != 0)
            (*asked)[kept++] = (*asked)[i];
    *count = kept;
    return true;
}

struct bytes restrictions_column_value(const struct column *column,
                                       const struct partition *partition, const struct row *row,
                                       int64_t now)
{
    switch (column->kind) {
    case COLUMN_PARTITION:
        return partition->values[column->position];
    case COLUMN_CLUSTERING:
        return row == NULL ? bytes_null() : row->clustering[column->position];
    case COLUMN_STATIC:
        return storage_value(partition, partition->statics, column->cell, now);
    default:
        return storage_value(partition, row, column->cell, now);
    }
}

static bool satisfies(enum relation_op op, int order)
{
    switch (op) {
    case OP_EQ:
        return order == 0;
    case OP_LT:
        return order < 0;
    case OP_LE:
        return order <= 0;
    case OP_GT:
        return order > 0;
    case OP_GE:
        return order >= 0;
    default:
        return order != 0;
    }
}

bool restrictions_filter_accepts(const struct filter *filter, const struct partition *partition,
                                 const struct row *row, int64_t now)
{
    if (filter->column == NULL) {
        int64_t bound = wire_load_i64(filter->values[0].data);
        return satisfies(filter->op, partition->token < bound ? -1 : partition->token > bound);
    }
    const struct cql_type *type = filter->column->type;
    struct bytes value = restrictions_column_value(filter->column, partition, row, now);
    if (filter->op == OP_CONTAINS || filter->op == OP_CONTAINS_KEY)
        return value.length >= 0 && filter->values[0].length >= 0 &&
               collection_contains(type, value, filter->values[0], filter->op == OP_CONTAINS_KEY);
    if (filter->has_key) {
        value = collection_get(type, value, filter->key);
        type = type->parts[1];
    }
    for (size_t i = 0; i < filter->count; i++) {
        struct bytes wanted = filter->values[i];
        if (value.length < 0 || wanted.length < 0) {
            bool both = value.length < 0 && wanted.length < 0;
            if (filter->op == OP_NE ? !both : both && (filter->op == OP_EQ || filter->op == OP_IN))
                return true;
        } else if (satisfies(filter->op == OP_IN ? OP_EQ : filter->op,
                             type_compare(type, value, wanted))) {
            return true;
        }
    }
    return false;
}

bool restrictions_accept(const struct restrictions *restrictions, const struct partition *partition,
                         const struct row *row, int64_t now)
{
    for (size_t i = 0; i < restrictions->filter_count; i++)
        if (!restrictions_filter_accepts(&restrictions->filters[i], partition, row, now))
            return false;
    return true;
}
