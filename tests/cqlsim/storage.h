/* Rows in memory, last write wins by timestamp. A collection is one cell: what two writers do to
 * one at the same time is decided for the whole, not for its elements. */
#pragma once

#include "schema.h"

#define STORAGE_NEVER INT64_MIN /* the timestamp of what never happened */

struct cell {
    uint8_t *data;
    int32_t length;    /* BYTES_NULL: deleted */
    int32_t ttl;       /* seconds, 0 none */
    int64_t timestamp; /* microseconds; STORAGE_NEVER when never written */
    int64_t expires;   /* wall-clock second, 0 never */
};

struct row {
    struct bytes *clustering; /* table->clustering_count of them; NULL in the static row */
    int64_t created;          /* INSERT's marker: keeps a row without cells visible */
    int64_t created_expires;
    int64_t deleted;
    size_t cell_count;
    struct cell *cells;
};

struct partition {
    int64_t token;
    struct bytes key;
    struct bytes *values; /* table->partition_count of them */
    int64_t deleted;
    struct row *statics; /* NULL until the first static write */
    struct omap rows;
};

struct partition_key {
    int64_t token;
    struct bytes key;
};

/* A bound on rows: a full clustering key or the first count values of one. */
struct clustering_key {
    const struct bytes *values;
    size_t count;
};

/* How a write stamps what it writes. */
struct stamp {
    int64_t timestamp;
    int32_t ttl;
    int64_t now; /* wall-clock second */
};

void storage_init(struct table *table);
/* Drops all rows. */
void storage_truncate(struct table *table);

/* The serialized partition key (composite when there are several columns) and its Murmur3 token. */
MUST_CHECK bool storage_key(const struct table *table, struct arena *arena,
                            const struct bytes *values, struct partition_key *key,
                            struct failure *failure);

struct partition *storage_find(const struct table *table, const struct partition_key *key);
struct partition *storage_get(struct table *table, const struct partition_key *key,
                              const struct bytes *values);
struct row *storage_find_row(const struct partition *partition, const struct bytes *clustering);
struct row *storage_get_row(struct table *table, struct partition *partition,
                            const struct bytes *clustering);
struct row *storage_get_static(struct partition *partition);

/* Last write wins; at the same timestamp a deletion beats a value and the larger value the smaller.
 */
void storage_write(struct row *row, size_t cell, struct bytes value, const struct stamp *stamp);
void storage_mark_created(struct row *row, const struct stamp *stamp);
void storage_delete_row(struct row *row, int64_t timestamp);
void storage_delete_partition(struct partition *partition, int64_t timestamp);

/* What a reader sees at second now: null when absent, deleted or expired. row may be NULL. */
struct bytes storage_value(const struct partition *partition, const struct row *row, size_t cell,
                           int64_t now);
const struct cell *storage_cell(const struct partition *partition, const struct row *row,
                                size_t cell, int64_t now);
bool storage_row_visible(const struct partition *partition, const struct row *row, int64_t now);

/* Order of rows in a partition: by clustering columns, DESC ones turned round. */
int storage_compare_clustering(const struct table *table, const struct clustering_key *a,
                               const struct bytes *b);
int storage_compare_partition(const struct partition_key *a, const struct partition_key *b);
