/* The store: routing state and audit log in one SQLite file. Thread-safe: one connection behind one
 * mutex. A change and its audit row are one transaction, on disk before the call returns; a process
 * killed at any moment leaves the old or the new state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/json.h"
#include "controlplane/routing.h"

struct store;

enum store_verdict {
    STORE_CHANGED,   /* committed; the state is the new one */
    STORE_UNCHANGED, /* nothing to do; the state is the present one */
    STORE_STALE,     /* If-Match does not fit; the state is the present one */
    STORE_FAILED,    /* SQLite said no; nothing was changed; error says why */
};

struct store_actor {
    const char *name;       /* peer address, or who else */
    const char *user_agent; /* "" when unknown */
};

/* Opens or creates the file and brings its schema up to date. NULL: error holds one line that names
 * the file (a newer schema, another program's file, a damaged file and one in use elsewhere
 * included). */
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

/* The newest limit audit rows, newest first, with an id below before (0: no bound), as the elements
 * of an array the caller has begun. false: error is set. */
MUST_CHECK bool store_write_audit(struct store *store, unsigned limit, uint64_t before,
                                  struct json_writer *writer, char *error, size_t error_size);
