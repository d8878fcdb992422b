/* Partitions, rows and cells. Owned by the main thread. Deleted things stay as tombstones until
 * TRUNCATE or DROP, so that a late write with an old timestamp cannot bring them back. */
#include "storage.h"

#include <stdlib.h>

#include "murmur3.h"

static int compare_i64(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

int storage_compare_partition(const struct partition_key *a, const struct partition_key *b)
{
    int order = compare_i64(a->token, b->token);
    return order != 0 ? order : bytes_compare(a->key, b->key);
}

static int compare_partition(const void *context, const void *key, const void *item)
{
    (void)context;
    const struct partition *partition = item;
    struct partition_key other = {partition->token, partition->key};
    return storage_compare_partition(key, &other);
}

int storage_compare_clustering(const struct table *table, const struct clustering_key *a,
                               const struct bytes *b)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct column *column = table->clustering[i];
        int order = type_compare(column->type, a->values[i], b[i]);
        if (order != 0)
            return column->reversed ? -order : order;
    }
    return 0;
}

static int compare_row(const void *context, const void *key, const void *item)
{
    return storage_compare_clustering(context, key, ((const struct row *)item)->clustering);
}

void storage_init(struct table *table)
{
    omap_init(&table->partitions, compare_partition, table);
}

static void free_row(struct row *row)
{
    if (row == NULL)
        return;
    for (size_t i = 0; i < row->cell_count; i++)
        free(row->cells[i].data);
    free(row->cells);
    free(row);
}

void storage_truncate(struct table *table)
{
    for (struct omap_node *node = omap_first(&table->partitions); node != NULL;
         node = omap_next(node)) {
        struct partition *partition = node->item;
        for (struct omap_node *row = omap_first(&partition->rows); row != NULL;
             row = omap_next(row))
            free_row(row->item);
        omap_fini(&partition->rows);
        free_row(partition->statics);
        free(partition);
    }
    omap_fini(&table->partitions);
}

bool storage_key(const struct table *table, struct arena *arena, const struct bytes *values,
                 struct partition_key *key, struct failure *failure)
{
    size_t total = 0;
    bool composite = table->partition_count > 1;
    for (size_t i = 0; i < table->partition_count; i++)
        total += (size_t)values[i].length + 3;
    if (total > UINT16_MAX + 3U * table->partition_count)
        return INVALID(failure, "Key length of %zu is longer than maximum of 65535", total);
    uint8_t *data = arena_alloc(arena, total);
    size_t used = 0;
    for (size_t i = 0; i < table->partition_count; i++) {
        size_t length = (size_t)values[i].length;
        if (composite) {
            data[used++] = (uint8_t)(length >> 8);
            data[used++] = (uint8_t)length;
        }
        if (length > 0)
            memcpy(data + used, values[i].data, length);
        used += length;
        if (composite)
            data[used++] = 0;
    }
    if (used == 0)
        return INVALID(failure, "Key may not be empty");
    key->key = bytes_of(data, used);
    key->token = murmur3_token(data, used);
    return true;
}

struct partition *storage_find(const struct table *table, const struct partition_key *key)
{
    return omap_find(&table->partitions, key);
}

/* Copies count values behind their array, all in one piece of memory that begins with head bytes.
 */
static void *with_values(size_t head, const struct bytes *values, size_t count, size_t extra,
                         struct bytes **copied, uint8_t **rest)
{
    size_t total = head + count * sizeof *values + extra;
    for (size_t i = 0; i < count; i++)
        total += (size_t)values[i].length;
    uint8_t *memory = calloc(1, total);
    CHECK(memory != NULL);
    *copied = (struct bytes *)(void *)(memory + head);
    uint8_t *at = memory + head + count * sizeof *values;
    for (size_t i = 0; i < count; i++) {
        (*copied)[i] = (struct bytes){at, values[i].length};
        if (values[i].length > 0)
            memcpy(at, values[i].data, (size_t)values[i].length);
        at += values[i].length;
    }
    *rest = at;
    return memory;
}

struct partition *storage_get(struct table *table, const struct partition_key *key,
                              const struct bytes *values)
{
    struct partition *partition = storage_find(table, key);
    if (partition != NULL)
        return partition;
    struct bytes *copied;
    uint8_t *rest;
    partition = with_values(sizeof *partition, values, table->partition_count,
                            (size_t)key->key.length, &copied, &rest);
    memcpy(rest, key->key.data, (size_t)key->key.length);
    partition->token = key->token;
    partition->key = (struct bytes){rest, key->key.length};
    partition->values = copied;
    partition->deleted = STORAGE_NEVER;
    omap_init(&partition->rows, compare_row, table);
    omap_insert(&table->partitions, key, partition);
    return partition;
}

static void start_row(struct row *row)
{
    row->created = STORAGE_NEVER;
    row->deleted = STORAGE_NEVER;
}

struct row *storage_find_row(const struct partition *partition, const struct bytes *clustering)
{
    const struct table *table = partition->rows.context;
    struct clustering_key key = {clustering, table->clustering_count};
    return omap_find(&partition->rows, &key);
}

struct row *storage_get_row(struct table *table, struct partition *partition,
                            const struct bytes *clustering)
{
    struct clustering_key key = {clustering, table->clustering_count};
    struct row *row = omap_find(&partition->rows, &key);
    if (row != NULL)
        return row;
    struct bytes *copied;
    uint8_t *rest;
    row = with_values(sizeof *row, clustering, table->clustering_count, 0, &copied, &rest);
    row->clustering = copied;
    start_row(row);
    omap_insert(&partition->rows, &key, row);
    return row;
}

struct row *storage_get_static(struct partition *partition)
{
    if (partition->statics == NULL) {
        partition->statics = calloc(1, sizeof *partition->statics);
        CHECK(partition->statics != NULL);
        start_row(partition->statics);
    }
    return partition->statics;
}

static int64_t expiry(const struct stamp *stamp)
{
    return stamp->ttl > 0 ? stamp->now + stamp->ttl : 0;
}

static void grow_cells(struct row *row, size_t count)
{
    struct cell *cells = realloc(row->cells, count * sizeof *cells);
    CHECK(cells != NULL);
    row->cells = cells;
    while (row->cell_count < count)
        cells[row->cell_count++] = (struct cell){.length = BYTES_NULL, .timestamp = STORAGE_NEVER};
}

void storage_write(struct row *row, size_t at, struct bytes value, const struct stamp *stamp)
{
    if (at >= row->cell_count)
        grow_cells(row, at + 1);
    struct cell *cell = &row->cells[at];
    if (stamp->timestamp < cell->timestamp)
        return;
    if (stamp->timestamp == cell->timestamp) {
        if (cell->length < 0)
            return;
        if (value.length >= 0 &&
            bytes_compare(value, (struct bytes){cell->data, cell->length}) <= 0)
            return;
    }
    if (value.length > cell->length) {
        uint8_t *data = realloc(cell->data, (size_t)value.length + 1);
        CHECK(data != NULL);
        cell->data = data;
    }
    if (value.length > 0)
        memmove(cell->data, value.data, (size_t)value.length);
    cell->length = value.length;
    cell->timestamp = stamp->timestamp;
    cell->ttl = value.length < 0 ? 0 : stamp->ttl;
    cell->expires = value.length < 0 ? 0 : expiry(stamp);
}

void storage_mark_created(struct row *row, const struct stamp *stamp)
{
    if (stamp->timestamp < row->created)
        return;
    row->created = stamp->timestamp;
    row->created_expires = expiry(stamp);
}

void storage_delete_row(struct row *row, int64_t timestamp)
{
    if (timestamp > row->deleted)
        row->deleted = timestamp;
}

void storage_delete_partition(struct partition *partition, int64_t timestamp)
{
    if (timestamp > partition->deleted)
        partition->deleted = timestamp;
}

static bool is_live(const struct partition *partition, const struct row *row, int64_t timestamp,
                    int64_t expires, int64_t now)
{
    return timestamp != STORAGE_NEVER && timestamp > partition->deleted &&
           timestamp > row->deleted && (expires == 0 || expires > now);
}

const struct cell *storage_cell(const struct partition *partition, const struct row *row, size_t at,
                                int64_t now)
{
    if (row == NULL || at >= row->cell_count)
        return NULL;
    const struct cell *cell = &row->cells[at];
    if (cell->length < 0 || !is_live(partition, row, cell->timestamp, cell->expires, now))
        return NULL;
    return cell;
}

struct bytes storage_value(const struct partition *partition, const struct row *row, size_t at,
                           int64_t now)
{
    const struct cell *cell = storage_cell(partition, row, at, now);
    return cell == NULL ? bytes_null() : (struct bytes){cell->data, cell->length};
}

bool storage_row_visible(const struct partition *partition, const struct row *row, int64_t now)
{
    if (row == NULL)
        return false;
    if (is_live(partition, row, row->created, row->created_expires, now))
        return true;
    for (size_t i = 0; i < row->cell_count; i++)
        if (storage_cell(partition, row, i, now) != NULL)
            return true;
    return false;
}
