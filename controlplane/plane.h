/* The control plane as one object: store, fleet, publisher and event bus, and the one way the
 * routing state changes. Thread-safe. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "controlplane/config.h"
#include "controlplane/events.h"
#include "controlplane/fleet.h"
#include "controlplane/store.h"

#define PLANE_ACK_TIMEOUT_MS 5000

struct plane;

struct plane_change {
    enum store_verdict verdict;
    struct routing_state state; /* after the change (or as it is, when there was none) */
    uint64_t nonce;             /* of the snapshot that carries it */
    bool is_everywhere;         /* every connected data plane has it in force */
    char error[512];            /* STORE_FAILED only */
};

/* Opens the store and starts the publisher. NULL: error holds one line. */
struct plane *plane_new(const struct control_config *config, char *error, size_t error_size);
/* Ends all waits and streams; requests that come later are answered as usual. */
void plane_close(struct plane *plane);
void plane_free(struct plane *plane); /* NULL is allowed */

/* Stores patch (when if_match allows), pushes it, and waits for the data planes up to
 * PLANE_ACK_TIMEOUT_MS. adopt: they are to obey even if they come from another store or are ahead.
 */
void plane_change_routing(struct plane *plane, const struct routing_patch *patch,
                          const char *if_match, bool adopt, const struct store_actor *actor,
                          struct plane_change *result);

struct store *plane_store(struct plane *plane);
struct fleet *plane_fleet(struct plane *plane);
struct events *plane_events(struct plane *plane);
bool plane_is_closing(struct plane *plane);
