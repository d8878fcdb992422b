/* The publisher: listens on CONTROL_SOCKET, speaks the control link with every data plane, pushes
 * the present snapshot to each. Runs a thread and an event_base of its own; what it learns goes
 * into the fleet and the event bus. Wire format: docs/control-link.md. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "controlplane/events.h"
#include "controlplane/fleet.h"
#include "controlplane/routing.h"

struct publisher;

struct publisher_hooks {
    void *context;
    /* A data plane without a store of its own said HELLO: a chance to seed an untouched store from
     * it (may call publisher_publish). Runs on the publisher's thread, before the data plane is
     * sent anything. */
    void (*on_unseeded)(void *context, const struct ctl_hello *hello);
};

/* Binds the socket (so that a failure stops the start) and starts the thread. state: what is pushed
 * first. NULL: error is set. */
struct publisher *publisher_new(const char *socket_path, const struct routing_state *state,
                                struct fleet *fleet, struct events *events,
                                const struct publisher_hooks *hooks, char *error,
                                size_t error_size);
/* Makes state what every data plane is sent, at once. adopt: data planes of another store or a
 * newer revision are to obey too, until the next publish. Calls must come in order of revision.
 * Returns the nonce of this snapshot, for fleet_wait. Any thread. */
uint64_t publisher_publish(struct publisher *publisher, const struct routing_state *state,
                           bool adopt);
/* The nonce of the snapshot that is published now. */
uint64_t publisher_nonce(struct publisher *publisher);
/* Stops the thread, closes all links, removes the socket file, frees. NULL is allowed. */
void publisher_free(struct publisher *publisher);
