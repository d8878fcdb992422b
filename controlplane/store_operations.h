/* The changes of the routing state, as the audit log tells of them. Thread-safe like the rest of
 * the store. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "controlplane/store.h"

/* One change. The texts are "" where the row has none, and live as long as the call. */
struct store_operation {
    uint64_t revision; /* it made; also its id */
    int64_t time_ms;
    const char *actor, *action, *reason, *phase_before, *phase_after;
    bool forced;
};

/* Must not call the store. */
typedef void (*store_take_operation)(void *context, const struct store_operation *operation);

/* Hands over the newest limit changes of the revisions first to last, newest first. false: error is
 * set. */
MUST_CHECK bool store_operations(struct store *store, uint64_t first, uint64_t last, unsigned limit,
                                 store_take_operation take, void *context, char *error,
                                 size_t error_size);
