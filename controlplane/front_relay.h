/* One client of the front and its connection to the web server: bytes go through both ways, at the
 * pace of the slower end, within bounded memory and time. On the front's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/check.h"
#include "common/list.h"
#include "controlplane/peer_table.h"

struct event_base;
struct front_tls;
struct relay;

/* What the relays of one front share. */
struct relay_host {
    struct event_base *base;
    struct front_tls *tls; /* NULL: plain */
    struct peer_table *peers;
    uint16_t inner_port; /* of the web server, on 127.0.0.1 */
    struct list relays;  /* of all, the oldest first */
    unsigned count;
    uint64_t last_complaint_ns; /* about handshakes: at most one line a second */
    unsigned complaints;        /* not written since */
};

/* Takes fd over, a non-blocking stream socket. is_tls: it begins with a handshake. */
void relay_begin(struct relay_host *host, int fd, const struct peer *peer, bool is_tls);
/* Ends those whose time is up. */
void relay_tick(struct relay_host *host, uint64_t now_ns);
/* Ends the oldest that has not sent a whole request yet. false: there is none. */
bool relay_make_room(struct relay_host *host);
/* How many come from this address. */
unsigned relay_count_from(const struct relay_host *host, const char *address);
void relay_end_all(struct relay_host *host);
