/* Keeps the history on disk, on a thread of its own: nobody else ever waits for that disk. What
 * cannot be written stays in memory and is written when it can be. */
#pragma once

#include "controlplane/history.h"

struct history_keeper;

/* Reads what path holds into history before it returns, then begins to keep it. Never fails: a file
 * that cannot be used is a line in the log, and is tried again. */
struct history_keeper *history_keeper_new(const char *path, struct history *history);
/* Writes what is new a last time. NULL is allowed. */
void history_keeper_free(struct history_keeper *keeper);
