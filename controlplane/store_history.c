/* Points of the history as rows, each in the place that its time gives it, so that the file stops
 * growing when the longest time is full. A power cut may cost the last seconds, never the file
 * (WAL, synchronous=NORMAL). One thread at a time. Must never touch a file that is not ours. */
#include "controlplane/store_history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/store_internal.h"

#define APPLICATION_ID 0x43474831 /* "CGH1" */
#define VERSION        1
#define BUSY_MS        200
#define CELL_BYTES     4

static const char schema[] = "CREATE TABLE points (step_s INTEGER NOT NULL, slot INTEGER NOT NULL,"
                             " begin_s INTEGER NOT NULL, seconds INTEGER NOT NULL,"
                             " detail INTEGER NOT NULL, "
#define TRAFFIC(symbol, member, detail) #member " INTEGER NOT NULL, "
#include "controlplane/traffic.def"
#undef TRAFFIC
                             "latency_origin BLOB, latency_target BLOB, latency_shadow BLOB,"
                             " PRIMARY KEY (step_s, slot)) STRICT";

#define COLUMNS_BEFORE 4 /* of a row as it is read: step_s, begin_s, seconds, detail */

static const char select_all[] = "SELECT step_s, begin_s, seconds, detail, "
#define TRAFFIC(symbol, member, detail) #member ", "
#include "controlplane/traffic.def"
#undef TRAFFIC
                                 "latency_origin, latency_target, latency_shadow FROM points";

static const char replace[] =
    "REPLACE INTO points (step_s, begin_s, seconds, detail, "
#define TRAFFIC(symbol, member, detail) #member ", "
#include "controlplane/traffic.def"
#undef TRAFFIC
    "latency_origin, latency_target, latency_shadow, slot) VALUES (?, ?, ?, ?, "
#define TRAFFIC(symbol, member, detail) "?, "
#include "controlplane/traffic.def"
#undef TRAFFIC
    "?, ?, ?, ?)";

struct store_history {
    sqlite3 *db;
    sqlite3_stmt *replace;
    char path[4096];
};

static bool is_damage(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

/* ---- rows ---- */

static bool bind_latency(sqlite3_stmt *statement, int column, const struct latency *latency)
{
    uint8_t bytes[LATENCY_CELLS * CELL_BYTES];
    uint32_t any = 0;
    for (size_t i = 0; i < LATENCY_CELLS; i++) {
        any |= latency->cells[i];
        for (unsigned byte = 0; byte < CELL_BYTES; byte++)
            bytes[i * CELL_BYTES + byte] = (uint8_t)(latency->cells[i] >> (8 * byte));
    }
    if (any == 0)
        return sqlite3_bind_null(statement, column) == SQLITE_OK;
    return sqlite3_bind_blob(statement, column, bytes, sizeof bytes, SQLITE_TRANSIENT) == SQLITE_OK;
}

static void read_latency(sqlite3_stmt *statement, int column, struct latency *latency)
{
    const uint8_t *bytes = sqlite3_column_blob(statement, column);
    if (bytes == NULL || sqlite3_column_bytes(statement, column) != LATENCY_CELLS * CELL_BYTES)
        return;
    for (size_t i = 0; i < LATENCY_CELLS; i++)
        for (unsigned byte = 0; byte < CELL_BYTES; byte++)
            latency->cells[i] |= (uint32_t)bytes[i * CELL_BYTES + byte] << (8 * byte);
}

static bool write_point(sqlite3_stmt *statement, const struct history_point *point)
{
    int column = 1;
    int64_t slot = 0;
    for (size_t level = 0; level < HISTORY_LEVELS; level++)
        if (history_step(level) == point->step_s)
            slot = point->begin_s % history_span(level) / point->step_s;
    sqlite3_reset(statement);
    bool good = sqlite3_bind_int64(statement, column++, point->step_s) == SQLITE_OK &&
                sqlite3_bind_int64(statement, column++, point->begin_s) == SQLITE_OK &&
                sqlite3_bind_int64(statement, column++, point->seconds) == SQLITE_OK &&
                sqlite3_bind_int64(statement, column++, point->traffic.has_detail) == SQLITE_OK;
    for (size_t i = 0; i < TRAFFIC_COUNT; i++)
        good = good && sqlite3_bind_int64(statement, column++,
                                          (sqlite3_int64)point->traffic.counts[i]) == SQLITE_OK;
    for (size_t side = 0; side < TRAFFIC_SIDES; side++)
        good = good && bind_latency(statement, column++, &point->traffic.latencies[side]);
    good = good && sqlite3_bind_int64(statement, column, slot) == SQLITE_OK &&
           sqlite3_step(statement) == SQLITE_DONE;
    return good;
}

static bool read_points(sqlite3 *db, struct history *history)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_ERROR;
    if (sqlite3_prepare_v2(db, select_all, -1, &statement, NULL) != SQLITE_OK)
        return false;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct history_point point = {
            .step_s = (unsigned)sqlite3_column_int(statement, 0),
            .begin_s = sqlite3_column_int64(statement, 1),
            .seconds = (uint32_t)sqlite3_column_int(statement, 2),
            .traffic = {.has_detail = sqlite3_column_int(statement, 3) != 0},
        };
        int column = COLUMNS_BEFORE;
        for (size_t i = 0; i < TRAFFIC_COUNT; i++)
            point.traffic.counts[i] = (uint64_t)sqlite3_column_int64(statement, column++);
        for (size_t side = 0; side < TRAFFIC_SIDES; side++)
            read_latency(statement, column++, &point.traffic.latencies[side]);
        (void)!history_put(history, &point); /* of a level there is no more: it stays where it is */
    }
    sqlite3_finalize(statement);
    return step == SQLITE_DONE;
}

/* ---- the file ---- */

static bool configure(sqlite3 *db)
{
    sqlite3_busy_timeout(db, BUSY_MS);
    return store_run(db, "PRAGMA locking_mode = EXCLUSIVE") &&
           store_run(db, "PRAGMA trusted_schema = OFF") &&
           store_run(db, "PRAGMA journal_mode = WAL") &&
           store_run(db, "PRAGMA synchronous = NORMAL") &&
           store_run(db, "PRAGMA wal_autocheckpoint = 100") &&
           store_run(db, "PRAGMA journal_size_limit = 1048576") &&
           store_run(db, "PRAGMA mmap_size = 0");
}

/* Ours, new, or neither; then error is set. */
static bool check_identity(const char *path, sqlite3 *db, bool *is_new, char *error,
                           size_t error_size)
{
    int64_t tables = store_number(db, "SELECT count(*) FROM sqlite_schema", -1);
    if (tables < 0)
        return store_explain(path, db, "read it", error, error_size);
    int64_t application = store_number(db, "PRAGMA application_id", -1);
    int64_t version = store_number(db, "PRAGMA user_version", -1);
    *is_new = tables == 0 && application == 0 && version == 0;
    if (*is_new || (application == APPLICATION_ID && version == VERSION))
        return true;
    if (application == APPLICATION_ID)
        snprintf(error, error_size,
                 "%s is of another version of this program; remove it, or set "
                 "CONTROL_METRICS_HISTORY to another path",
                 path);
    else
        snprintf(error, error_size,
                 "%s is not a history of metrics; set CONTROL_METRICS_HISTORY to another path",
                 path);
    return false;
}

static bool create(sqlite3 *db)
{
    char sql[96];
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             APPLICATION_ID, VERSION);
    return store_run(db, "BEGIN IMMEDIATE") && store_run(db, schema) && store_run(db, sql) &&
           store_run(db, "COMMIT");
}

static bool is_whole(sqlite3 *db)
{
    sqlite3_stmt *statement = NULL;
    char answer[16] = "";
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        store_copy_column(answer, sizeof answer, statement, 0);
    sqlite3_finalize(statement);
    return strcmp(answer, "ok") == 0;
}

/* false: error is set, or *is_damaged. */
static bool open_file(struct store_history *store, struct history *history, bool *is_damaged,
                      char *error, size_t error_size)
{
    bool is_new = false;
    bool good = sqlite3_open_v2(store->path, &store->db,
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                                NULL) == SQLITE_OK &&
                configure(store->db);
    if (!good)
        store_explain(store->path, store->db, "open the history of metrics", error, error_size);
    good = good && check_identity(store->path, store->db, &is_new, error, error_size);
    if (good && is_new) {
        good = create(store->db);
        if (!good)
            store_explain(store->path, store->db, "begin the history of metrics", error,
                          error_size);
    } else if (good) {
        *is_damaged = !is_whole(store->db) || !read_points(store->db, history);
    }
    good = good && !*is_damaged;
    if (good && sqlite3_prepare_v3(store->db, replace, -1, SQLITE_PREPARE_PERSISTENT,
                                   &store->replace, NULL) != SQLITE_OK)
        *is_damaged = true; /* ours by its marks, and yet without our table */
    *is_damaged = *is_damaged || (store->db != NULL && is_damage(sqlite3_errcode(store->db)));
    return good && !*is_damaged;
}

static void close_file(struct store_history *store)
{
    sqlite3_finalize(store->replace);
    sqlite3_close(store->db);
    store->replace = NULL;
    store->db = NULL;
}

static void set_aside(const struct store_history *store)
{
    char to[sizeof store->path + 16], log[sizeof store->path + 16];
    char quoted[600];
    snprintf(to, sizeof to, "%s.damaged", store->path);
    if (rename(store->path, to) != 0)
        (void)unlink(store->path);
    snprintf(log, sizeof log, "%s-wal", store->path); /* of no use without the file */
    (void)unlink(log);
    LOG_WARN("history_damaged", "file=%s set_aside_as=.damaged; the history begins anew",
             log_quote(quoted, sizeof quoted, store->path, strlen(store->path)));
}

struct store_history *store_history_open(const char *path, struct history *history, char *error,
                                         size_t error_size)
{
    struct store_history *store = calloc(1, sizeof *store);
    bool is_damaged = false;
    CHECK(store != NULL);
    snprintf(store->path, sizeof store->path, "%s", path);
    bool good = open_file(store, history, &is_damaged, error, error_size);
    if (is_damaged) {
        close_file(store);
        set_aside(store);
        is_damaged = false;
        good = open_file(store, history, &is_damaged, error, error_size);
        if (is_damaged)
            snprintf(error, error_size, "%s is damaged and cannot be set aside", path);
    }
    if (!good) {
        store_history_close(store);
        return NULL;
    }
    return store;
}

void store_history_close(struct store_history *store)
{
    if (store == NULL)
        return;
    close_file(store);
    free(store);
}

bool store_history_write(struct store_history *store, const struct history_point *points,
                         size_t count, bool *is_damaged, char *error, size_t error_size)
{
    bool good = store_run(store->db, "BEGIN IMMEDIATE");
    for (size_t i = 0; i < count && good; i++)
        good = write_point(store->replace, &points[i]);
    good = good && store_run(store->db, "COMMIT");
    *is_damaged = !good && is_damage(sqlite3_errcode(store->db));
    if (good)
        return true;
    store_explain(store->path, store->db, "keep the history of metrics", error, error_size);
    sqlite3_reset(store->replace);
    if (!sqlite3_get_autocommit(store->db))
        (void)!store_run(store->db, "ROLLBACK");
    return false;
}
