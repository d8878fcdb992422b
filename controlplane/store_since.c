/* Since when the present value of each member of the routing state holds: a table that every change
 * keeps up to date, so that nobody has to search the audit log for it. */
#include <stdio.h>
#include <string.h>

#include "controlplane/store_internal.h"

/* Members are compared as JSON, so that a new one needs nothing here. */
static const char note_members[] =
    "INSERT INTO since (what, revision, time_ms)"
    " SELECT a.key, ?1, ?2 FROM json_each(?4) AS a"
    " WHERE a.key <> 'revision' AND NOT EXISTS"
    "  (SELECT 1 FROM json_each(?3) AS b WHERE b.key = a.key AND b.value IS a.value)"
    " ON CONFLICT (what) DO UPDATE SET revision = excluded.revision, time_ms = excluded.time_ms";

static const char note_phase[] =
    "INSERT INTO since (what, revision, time_ms) SELECT 'phase', ?1, ?2"
    " WHERE ?4 IS NOT NULL AND ?4 IS NOT ?3"
    " ON CONFLICT (what) DO UPDATE SET revision = excluded.revision, time_ms = excluded.time_ms";

static bool note(sqlite3 *db, const char *sql, uint64_t revision, int64_t time_ms,
                 const char *before, const char *after)
{
    sqlite3_stmt *statement = NULL;
    bool good = sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_bind_int64(statement, 1, (sqlite3_int64)revision) == SQLITE_OK &&
                sqlite3_bind_int64(statement, 2, time_ms) == SQLITE_OK &&
                sqlite3_bind_text(statement, 3, before, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_bind_text(statement, 4, after, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    return good;
}

bool store_since_note(sqlite3 *db, const struct store_audit_row *row, int64_t time_ms)
{
    return note(db, note_members, row->revision, time_ms, row->before, row->after) &&
           note(db, note_phase, row->revision, time_ms, row->phase_before, row->phase_after);
}

bool store_since(struct store *store, const char *what, struct store_since *since, char *error,
                 size_t error_size)
{
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&store->mutex);
    bool good = sqlite3_prepare_v2(store->db,
                                   "SELECT revision, time_ms FROM since WHERE what = ?1"
                                   " UNION ALL SELECT revision, time_ms FROM audit WHERE id = 1",
                                   -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_bind_text(statement, 1, what, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_ROW;
    if (good) {
        since->revision = (uint64_t)sqlite3_column_int64(statement, 0);
        since->time_ms = sqlite3_column_int64(statement, 1);
    } else {
        store_explain(store->path, store->db, "read since when", error, error_size);
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->mutex);
    return good;
}
