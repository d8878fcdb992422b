/* What is known of every data plane: who it is, what it has applied, its last error and its
 * counters. Thread-safe. Written by the publisher, read by the REST handlers. Never stored as
 * truth: it comes from HELLO, ACK and NACK alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/json.h"
#include "controlplane/gate.h"
#include "controlplane/history.h"
#include "controlplane/routing.h"
#include "proto/ctl_codec.h"
#include "proto/ctl_features.h"

#define FLEET_CONNECTED_MAX    256
#define FLEET_DISCONNECTED_MAX 32 /* the longest gone are forgotten first */

struct fleet;

struct fleet_summary {
    unsigned connected;
    unsigned in_sync; /* of those connected */
    unsigned disconnected;
};

/* history: is told of what happens; it outlives the fleet. */
struct fleet *fleet_new(struct history *history);
void fleet_free(struct fleet *fleet); /* NULL is allowed */
/* Ends every fleet_wait, now and later. */
void fleet_close(struct fleet *fleet);

/* HELLO. Each connection has a number of its own (never reused): what a connection that was
 * replaced still says is ignored. A disconnected entry of the same instance or address is taken
 * over. *replaced: the connection this one takes the place of, or 0. false: the fleet is full. */
MUST_CHECK bool fleet_connect(struct fleet *fleet, uint64_t connection,
                              const struct ctl_hello *hello, uint64_t *replaced);
void fleet_disconnect(struct fleet *fleet, uint64_t connection, const char *reason);
enum fleet_forgotten { FLEET_FORGOTTEN, FLEET_UNKNOWN, FLEET_CONNECTED };

/* Forgets a data plane (by its instance) that is not connected and will not come back. */
enum fleet_forgotten fleet_forget(struct fleet *fleet, const char *instance);
/* What fleet_forget would do now; what is known of the data plane (id, address, revision) as an
 * object, unless it is unknown. */
enum fleet_forgotten fleet_may_forget(struct fleet *fleet, const char *instance,
                                      struct json_writer *writer);
/* nonce was offered to it, for the times-th time. true, here and below: what is known of the data
 * plane changed. */
bool fleet_offer(struct fleet *fleet, uint64_t connection, uint64_t nonce, unsigned times);
/* Whether nothing has been heard of it for some seconds. */
bool fleet_set_silent(struct fleet *fleet, uint64_t connection, bool is_silent);
/* Answers that are known to be worth something (offers.h). */
bool fleet_ack(struct fleet *fleet, uint64_t connection, const struct ctl_ack *ack);
bool fleet_nack(struct fleet *fleet, uint64_t connection, const struct ctl_nack *nack);
/* What STATS said. */
enum fleet_told {
    FLEET_TOLD_NEWS,
    FLEET_TOLD_NOTHING,  /* totals of one process never fall: lower ones come late, and are ignored
                          */
    FLEET_TOLD_NONSENSE, /* *member names what of the message makes no sense */
};
MUST_CHECK enum fleet_told fleet_stats(struct fleet *fleet, uint64_t connection,
                                       const struct ctl_stats *stats, const char **member);
/* What happened before this process started, so that the gates remember failures. */
void fleet_recall(struct fleet *fleet);
/* The last STATS of a data plane, as an object that also names the connection. false: there are
 * none. */
bool fleet_write_stats(struct fleet *fleet, uint64_t connection, struct json_writer *writer);

/* A snapshot on its way to the data planes. */
struct publication {
    uint64_t nonce;
    uint64_t since_ns; /* when it was published: clock_now_ns */
};
/* Waits until every connected data plane has answered this snapshot or a later one, at most
 * timeout_ms. true: all of them acknowledged. One whose link broke after the publication, before it
 * acknowledged, may run on with the old state: it is waited for until it is back and has. */
bool fleet_wait(struct fleet *fleet, const struct publication *published, unsigned timeout_ms);

/* The first connected data plane that did not announce all of features. true: address (a label for
 * people) and *missing are set. */
bool fleet_lacks(struct fleet *fleet, uint32_t features, char *address, size_t address_size,
                 uint32_t *missing);
/* What the gates want to know: counts now, shares over the last minutes. since_phase_ms: wall clock
 * when the present phase began; failed writes are counted from then or over quiet_minutes,
 * whichever is shorter. */
void fleet_figures(struct fleet *fleet, const struct routing_state *state, int64_t since_phase_ms,
                   unsigned quiet_minutes, struct gate_figures *figures);
void fleet_summary(struct fleet *fleet, const struct routing_state *state,
                   struct fleet_summary *summary);
/* All data planes as one array of objects; in_sync is measured against state. */
void fleet_write(struct fleet *fleet, const struct routing_state *state,
                 struct json_writer *writer);
/* Those that fleet_wait waits for, as an array of {id, address, applied_revision, reason, detail}.
 */
void fleet_write_pending(struct fleet *fleet, const struct publication *published,
                         struct json_writer *writer);
/* One data plane as an object (as in fleet_write). false: unknown. */
bool fleet_write_one(struct fleet *fleet, uint64_t connection, const struct routing_state *state,
                     struct json_writer *writer);
