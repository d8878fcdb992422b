/* The changes of the routing state as operations: a view of the audit log, which has a row for each
 * of them. Any thread. */
#include <stdio.h>
#include <string.h>

#include "controlplane/store_internal.h"
#include "controlplane/store_operations.h"

/* An adoption may repeat a revision: the row that made it is the first. SQLite takes the other
 * columns from the row that min() found. */
static const char query[] =
    "SELECT revision, time_ms, actor, action, reason, phase_before, phase_after, forced, min(id)"
    " FROM audit WHERE action IN ('create', 'seed', 'change', 'adopt', 'restore')"
    "  AND revision BETWEEN ?1 AND ?2"
    " GROUP BY revision ORDER BY revision DESC LIMIT ?3";

static const char *text_of(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text == NULL ? "" : text;
}

static void take_row(sqlite3_stmt *statement, store_take_operation take, void *context)
{
    struct store_operation operation = {
        .revision = (uint64_t)sqlite3_column_int64(statement, 0),
        .time_ms = sqlite3_column_int64(statement, 1),
        .actor = text_of(statement, 2),
        .action = text_of(statement, 3),
        .reason = text_of(statement, 4),
        .phase_before = text_of(statement, 5),
        .phase_after = text_of(statement, 6),
        .forced = sqlite3_column_int(statement, 7) != 0,
    };
    take(context, &operation);
}

bool store_operations(struct store *store, uint64_t first, uint64_t last, unsigned limit,
                      store_take_operation take, void *context, char *error, size_t error_size)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_ERROR;
    pthread_mutex_lock(&store->mutex);
    if (sqlite3_prepare_v2(store->db, query, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)first) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)last) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 3, limit) == SQLITE_OK)
        while ((step = sqlite3_step(statement)) == SQLITE_ROW)
            take_row(statement, take, context);
    if (step != SQLITE_DONE)
        store_explain(store->path, store->db, "read the operations", error, error_size);
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->mutex);
    return step == SQLITE_DONE;
}
