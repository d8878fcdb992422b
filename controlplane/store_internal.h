/* What the store_*.c files share: the connection and small helpers around SQLite. Nobody else
 * includes this. The mutex is held in every function here unless it says otherwise. */
#pragma once

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "controlplane/store.h"

#define STORE_APPLICATION_ID 0x43474331 /* "CGC1" */

struct store {
    pthread_mutex_t mutex;
    sqlite3 *db;
    char path[4096];
    struct routing_state state;   /* as committed */
    bool has_defaults;            /* never seeded nor changed */
    struct store_audit_head head; /* as committed */
    struct store_audit_head next; /* as the open transaction has it */
    pthread_mutex_t copy_mutex;   /* one backup at a time; taken before mutex */
};

/* --- store.c: SQLite in fewer words --- */

/* One line that names the file, what could not be done and what an operator can do about it, from
 * the connection's last error. Returns false. */
bool store_explain(const char *path, sqlite3 *db, const char *doing, char *error,
                   size_t error_size);
MUST_CHECK bool store_run(sqlite3 *db, const char *sql);
/* First column of the first row, or fallback when there is no row or the statement fails. */
int64_t store_number(sqlite3 *db, const char *sql, int64_t fallback);
/* A column as text, cut to size; "" for NULL. */
void store_copy_column(char *out, size_t size, sqlite3_stmt *statement, int column);
/* BEGIN IMMEDIATE … COMMIT around a change and its audit row. After a failure between the two:
 * store_explain first, then store_roll_back, which also reads back what the file says. */
MUST_CHECK bool store_begin(struct store *store);
MUST_CHECK bool store_commit(struct store *store);
void store_roll_back(struct store *store);
/* The row of the routing state. */
MUST_CHECK bool store_load_state(sqlite3 *db, struct routing_state *state, bool *has_defaults);
MUST_CHECK bool store_save_state(struct store *store, const struct routing_state *state,
                                 const char *source);

/* --- store_audit.c --- */

struct store_audit_row {
    const char *action; /* a word; docs/audit.md lists them */
    const struct store_actor *actor;
    uint64_t revision;
    const char *phase_before; /* NULL: it was none, or is not known */
    const char *phase_after;
    const char *before; /* JSON, or NULL: nothing was before */
    const char *after;
};

/* Appends a row within the transaction that is open, and moves the head. */
MUST_CHECK bool store_audit_add(struct store *store, const struct store_audit_row *row);
/* The row and nothing else, as a transaction of its own; its revision is the present one. false:
 * error says why not. */
MUST_CHECK bool store_audit_note(struct store *store, struct store_audit_row *row, char *error,
                                 size_t error_size);
/* store_audit_add with a time of its own: rows of a time before the chain. */
MUST_CHECK bool store_audit_add_at(struct store *store, const struct store_audit_row *row,
                                   int64_t time_ms);
/* A change of the routing state. before: NULL for the first row of a store. */
MUST_CHECK bool store_audit_routing(struct store *store, const char *action,
                                    const struct store_actor *actor,
                                    const struct routing_state *before,
                                    const struct routing_state *after);
MUST_CHECK bool store_audit_load_head(sqlite3 *db, struct store_audit_head *head);
/* Reads the head when a store is opened. A head that does not fit the last row is a line in the
 * log, no failure: routing must go on, and what is wrong is for the whole check to find. */
MUST_CHECK bool store_audit_open(struct store *store, char *error, size_t error_size);
/* Migration 3: gives the rows of older schemas their place in the chain. */
MUST_CHECK bool store_audit_convert(struct store *store);
/* Checks the rows of any connection against each other, against the head and against expect
 * ("ID:HASH", or NULL). Needs no mutex when nobody else uses db. */
void store_audit_check(sqlite3 *db, pthread_mutex_t *mutex, const char *expect,
                       struct store_audit_verdict *verdict);

/* --- store_since.c --- */

/* Notes, within the open transaction, which members of the state row changes. */
MUST_CHECK bool store_since_note(sqlite3 *db, const struct store_audit_row *row, int64_t time_ms);

/* --- store_keys.c --- */

/* Notes, within the open transaction, that the key's request is being done. */
MUST_CHECK bool store_key_note(struct store *store, const struct store_key *key, int64_t time_ms);

/* --- store_schema.c --- */

/* Settings of a connection that is the only one of its file. */
MUST_CHECK bool store_configure(sqlite3 *db);
/* Is this a store of ours, no newer than this program? version: its schema, 0 for an empty file. */
MUST_CHECK bool store_check_identity(const char *path, sqlite3 *db, int64_t *version, char *error,
                                     size_t error_size);
MUST_CHECK bool store_check_integrity(const char *path, sqlite3 *db, char *error,
                                      size_t error_size);
/* Brings the schema up to date, and gives a new store its first state. */
MUST_CHECK bool store_migrate(struct store *store, char *error, size_t error_size);

/* --- store_backup.c --- */

/* Copies all of db into a new file at to (what is there goes), on disk and whole when this returns
 * true; a file that is not whole is removed. mutex: released between steps, or NULL. */
MUST_CHECK bool store_copy(sqlite3 *db, pthread_mutex_t *mutex, const char *to, char *error,
                           size_t error_size);
/* Removes what a backup left that was killed with its process. */
void store_backup_sweep(const char *path);
