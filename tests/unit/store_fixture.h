/* What the tests of the store share: a folder that goes when the test ends, a store in it, changes,
 * and SQL of the test's own. Include after cmocka.h. */
#pragma once

#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/store.h"

struct place {
    char directory[64];
    char path[96];
};

static inline int place_set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    log_init("test", LOG_LEVEL_WARN);
    snprintf(place->directory, sizeof place->directory, "/tmp/cloudgate-store-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof place->path, "%s/control.db", place->directory);
    *state = place;
    return 0;
}

static inline void place_empty(const struct place *place)
{
    char path[400];
    DIR *directory = opendir(place->directory);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", place->directory, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(directory);
}

static inline int place_tear_down(void **state)
{
    struct place *place = *state;
    place_empty(place);
    rmdir(place->directory);
    free(place);
    return 0;
}

static inline struct store *place_open(const struct place *place)
{
    char error[512] = "";
    struct store *store = store_open(place->path, error, sizeof error);
    if (store == NULL)
        fail_msg("%s", error);
    return store;
}

static inline enum store_verdict place_set_reads(struct store *store, bool value,
                                                 const char *if_match, struct routing_state *state)
{
    static const struct store_actor tester = {.name = "tester", .user_agent = "unit \"test\""};
    char error[256];
    struct routing_patch patch = {.has_forward_reads_to_target = true,
                                  .forward_reads_to_target = value};
    return store_change(store, &patch, if_match, false, &tester, state, error, sizeof error);
}

static inline void place_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    char *problem = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &problem) != SQLITE_OK)
        fail_msg("%s: %s", sql, problem);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The first column of the first row. */
static inline int64_t place_number(const char *path, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return number;
}

static const struct {
    int version;
    const char *statements;
} place_migrations[] = {
#define MIGRATION(version, statements)                     {version, statements},
#define MIGRATION_WITH(version, statements, convert, then) {version, statements},
#include "controlplane/migrations.def"
#undef MIGRATION
#undef MIGRATION_WITH
};

/* A store as the version before the audit chain left it: three revisions, three rows. */
static inline void place_schema_2(const char *path)
{
    for (size_t i = 0; i < ARRAY_COUNT(place_migrations); i++)
        if (place_migrations[i].version <= 2)
            place_sql(path, place_migrations[i].statements);
    place_sql(path, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                    "PRAGMA application_id = 1128743729; PRAGMA user_version = 2;"
                    "INSERT INTO routing VALUES (1, '00000000-0000-4000-8000-000000000002', 3, 1,"
                    " 1, 'operator', 20);"
                    "INSERT INTO audit VALUES"
                    " (1, 1000, 'cloudgate-control', '', 'create', 1, NULL,"
                    "  '{\"revision\":1,\"forward_reads_to_target\":false}'),"
                    " (2, 2000, 'x''y', 'agent', 'change', 2,"
                    "  '{\"revision\":1,\"forward_reads_to_target\":false}',"
                    "  '{\"revision\":2,\"forward_reads_to_target\":true}'),"
                    " (3, 3000, '10.0.0.1', 'agent', 'change', 3,"
                    "  '{\"revision\":2,\"forward_reads_to_target\":true,"
                    "\"shadow_read_percent\":0}',"
                    "  '{\"revision\":3,\"forward_reads_to_target\":true,"
                    "\"shadow_read_percent\":20}')");
}
