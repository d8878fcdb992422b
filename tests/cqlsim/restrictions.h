/* A WHERE clause taken apart: which partitions, from which row on, and what each row must satisfy.
 */
#pragma once

#include "execution.h"

/* One condition on one column (or on token(..)) with its values worked out. */
struct filter {
    const struct column *column; /* NULL: token */
    enum relation_op op;
    struct bytes key; /* column[key], else null */
    bool has_key;
    struct bytes *values; /* one; IN: any number */
    size_t count;
};

struct restrictions {
    struct filter *filters;
    size_t filter_count;
    const struct filter **partition;  /* per partition column its = or IN, or NULL */
    const struct filter **clustering; /* per clustering column its = or IN, or NULL */
    bool partition_complete;          /* every partition column has = or IN */
    bool has_token;
    bool needs_filtering; /* not answerable by key alone */
};

/* Works out relations against table; fails on unknown columns and values of the wrong type. */
MUST_CHECK bool restrictions_resolve(struct execution *execution, const struct table *table,
                                     const struct relation *relations, size_t count,
                                     struct restrictions *restrictions);

/* The partition keys = and IN ask for, sorted by token, without doubles; values holds
 * partition_count values for each. Only when partition_complete. */
struct asked_partition {
    struct partition_key key;
    struct bytes *values;
};
MUST_CHECK bool restrictions_partitions(struct execution *execution, const struct table *table,
                                        const struct restrictions *restrictions,
                                        struct asked_partition **asked, size_t *count);

/* Does the row (NULL: only static values exist) satisfy every filter? */
bool restrictions_accept(const struct restrictions *restrictions, const struct partition *partition,
                         const struct row *row, int64_t now);
/* The same for one filter. */
bool restrictions_filter_accepts(const struct filter *filter, const struct partition *partition,
                                 const struct row *row, int64_t now);
/* A column's value in a row; null when there is none. */
struct bytes restrictions_column_value(const struct column *column,
                                       const struct partition *partition, const struct row *row,
                                       int64_t now);
