/* The store: routing state and audit log in one SQLite file. Thread-safe: one connection behind one
 * mutex. A change and its audit row are one transaction, on disk before the call returns; a process
 * killed at any moment leaves the old or the new state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/json.h"
#include "controlplane/audit_chain.h"
#include "controlplane/routing.h"

struct store;
struct store_key;

enum store_verdict {
    STORE_CHANGED,   /* committed; the state is the new one */
    STORE_UNCHANGED, /* nothing to do; the state is the present one */
    STORE_STALE,     /* If-Match does not fit; the state is the present one */
    STORE_FAILED,    /* SQLite said no; nothing was changed; error says why */
};

/* Who wants a change, and what of it the audit row is to tell. */
struct store_actor {
    const char *name;            /* token:NAME@ADDRESS, uid:N, or who else */
    const char *user_agent;      /* "" when unknown */
    const char *request_id;      /* NULL: none */
    const char *reason;          /* in the operator's words; NULL: none given */
    bool forced;                 /* past checks that did not hold */
    const struct store_key *key; /* noted with the change (store_keys.h); NULL: none */
};

/* Opens or creates the file and brings its schema up to date, after a copy of the old one. NULL:
 * error holds one line that names the file and what to do (a newer schema, another program's file,
 * a damaged file, one that cannot be written and one in use elsewhere included). */
struct store *store_open(const char *path, char *error, size_t error_size);
void store_close(struct store *store); /* NULL is allowed */

void store_read(struct store *store, struct routing_state *state);
/* One operator's change. adopt: also an audit row of its own when nothing changes. */
enum store_verdict store_change(struct store *store, const struct routing_patch *patch,
                                const char *if_match, bool adopt, const struct store_actor *actor,
                                struct routing_state *state, char *error, size_t error_size);
/* Takes over a data plane's start values if the store still has its defaults, once: STORE_CHANGED
 * when that made a new revision, STORE_UNCHANGED when the values were the same or the store has
 * long been somebody's. *seeded: this call decided the seed. */
enum store_verdict store_seed(struct store *store, const struct routing_patch *values,
                              const char *actor, bool *seeded, struct routing_state *state,
                              char *error, size_t error_size);

/* Notes in the audit log that a data plane is forgotten. before: a JSON object of what was known of
 * it. false: error says why not. */
MUST_CHECK bool store_note_forgotten(struct store *store, const char *before,
                                     const struct store_actor *actor, char *error,
                                     size_t error_size);

/* --- since when (store_since.c) --- */

struct store_since {
    uint64_t revision; /* that brought the present value */
    int64_t time_ms;
};

/* Since when the present value of what holds: a member of the routing state, or "phase". What never
 * changed holds since the store was made. false: error is set. */
MUST_CHECK bool store_since(struct store *store, const char *what, struct store_since *since,
                            char *error, size_t error_size);

/* --- the audit log (store_audit.c); docs/audit.md --- */

/* The last row: whoever notes it elsewhere can later tell that no row up to it was changed or
 * removed. Ids count from 1 without a gap, so id is also the number of rows. */
struct store_audit_head {
    uint64_t id;
    char hash[AUDIT_HASH_SIZE];
};

struct store_audit_verdict {
    bool is_whole;
    bool was_read;    /* false: SQLite said no, detail says why */
    uint64_t entries; /* that fit, from the first row on */
    struct store_audit_head head;
    char detail[400]; /* of what does not fit: the first row of it, and why */
};

/* Where a reader of the whole log stands. */
struct store_audit_cursor {
    uint64_t after_id;
    bool is_done;
};

void store_audit_head(struct store *store, struct store_audit_head *head);
/* The newest limit audit rows, newest first, with an id below before (0: no bound), as the elements
 * of an array the caller has begun. false: error is set. */
MUST_CHECK bool store_write_audit(struct store *store, unsigned limit, uint64_t before,
                                  struct json_writer *writer, char *error, size_t error_size);
/* Puts the cursor before the first row made at time_ms or later. */
MUST_CHECK bool store_audit_seek(struct store *store, int64_t time_ms,
                                 struct store_audit_cursor *cursor, char *error, size_t error_size);
/* Appends the next rows in canonical form, a line each, oldest first; lines needs room for at least
 * AUDIT_LINE_MAX bytes. false: error is set. */
MUST_CHECK bool store_audit_page(struct store *store, struct store_audit_cursor *cursor,
                                 struct dynbuf *lines, char *error, size_t error_size);
/* Checks every row. expect: a head noted elsewhere ("ID:HASH"), or NULL. Changes may go on. */
void store_audit_verify(struct store *store, const char *expect,
                        struct store_audit_verdict *verdict);
/* The same for a file that no control plane has open. */
void store_audit_verify_file(const char *path, const char *expect,
                             struct store_audit_verdict *verdict);

/* --- backup and restore (store_backup.c) --- */

/* A whole copy of the store as it is now, with an audit row that tells of it: a descriptor, the
 * caller's to close, of a checked file that has no name any more. Changes may go on meanwhile.
 * false: error is set; *is_busy: because another backup is being made. */
MUST_CHECK bool store_backup(struct store *store, const struct store_actor *actor, int *fd,
                             uint64_t *bytes, bool *is_busy, char *error, size_t error_size);

struct store_restored {
    struct routing_state state;
    char aside[4096];  /* the former file's new name, "" when there was none */
    char warning[400]; /* "": the audit log of the backup is whole */
};

/* Puts the backup at from in the place of the store at path, which must not be in use; the former
 * file stays beside it. The restored store gets an audit row. false: error is set, path is as it
 * was. */
MUST_CHECK bool store_restore(const char *path, const char *from, const char *actor,
                              struct store_restored *restored, char *error, size_t error_size);
