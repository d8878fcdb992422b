/* The SQLite file of the history: its own, beside the state's, as its loss must not matter. One
 * thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "controlplane/history.h"

struct store_history;

/* Opens or makes the file and puts what it holds into history. A damaged file is renamed to
 * PATH.damaged (one that is there goes) and a new one begun. NULL: error holds one line; the file
 * is left as it is. */
struct store_history *store_history_open(const char *path, struct history *history, char *error,
                                         size_t error_size);
void store_history_close(struct store_history *store); /* NULL is allowed */
/* Writes points over those of their places, all or none. false: error holds one line. *is_damaged:
 * the file is of no more use; opening it anew sets it aside. */
MUST_CHECK bool store_history_write(struct store_history *store, const struct history_point *points,
                                    size_t count, bool *is_damaged, char *error, size_t error_size);
