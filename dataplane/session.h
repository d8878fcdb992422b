/* A session: one client connection with its two upstreams.
 *
 *   ACCEPTED ─STARTUP─► OPENING ─both clusters answered─► AUTH ⇄ AUTH_SENT ─► SECONDARY ─► READY
 *                          └─no authentication needed───────────────────────► SECONDARY ─► READY
 *   READY ─drain─► DRAINING
 *   REFUSED: over the client limit, one answer and out
 *   any ─► DOOMED, freed at the turn's end
 *
 *   OPENING    both upstreams connect and send the client's STARTUP
 *   AUTH       the auth-primary's AUTHENTICATE or AUTH_CHALLENGE is with the client
 *   AUTH_SENT  the client's token is with the auth-primary
 *   SECONDARY  the auth-primary's last word is held back until the other side is ready too
 *
 * A cluster that is not in use takes no part in any of this; its upstream is opened behind the
 * client when it comes into use (upstream_use.c).
 *
 * Files: session.c its life and its replies; handshake.c up to READY; dispatch.c requests; answer.c
 * answers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "dataplane/metrics.h"
#include "dataplane/request.h"
#include "dataplane/stream.h"
#include "dataplane/upstream.h"
#include "proto/cql_compression.h"
#include "proto/cql_frame.h"

struct worker;
struct shadow;

enum session_state {
    SESSION_ACCEPTED,
    SESSION_OPENING,
    SESSION_AUTH,
    SESSION_AUTH_SENT,
    SESSION_SECONDARY,
    SESSION_READY,
    SESSION_DRAINING,
    SESSION_REFUSED,
    SESSION_CLOSING, /* the last reply is being flushed */
    SESSION_DOOMED,
};

enum close_reason {
#define CLOSE_REASON(symbol, text, is_fault) CLOSE_##symbol,
#include "dataplane/close_reasons.def"
#undef CLOSE_REASON
    CLOSE_REASON_COUNT
};

/* Largest request that is accepted, as Cassandra's own default (native_transport_max_frame_size
 * of 4.1 and later). */
#define SESSION_REQUEST_MAX ((uint32_t)16 * 1024 * 1024)

/* Largest frame of a client that is not ready yet. */
#define SESSION_HANDSHAKE_MAX ((uint32_t)32 * 1024)

/* Replies of the proxy that wait for a large answer to end; above this the client is not read. */
#define SESSION_DEFERRED_MAX ((size_t)64 * 1024)

#define KEYSPACE_MAX 222

struct token { /* a SASL token kept for reopening; wiped when dropped */
    uint8_t *data;
    size_t length;
};

struct session {
    struct worker *worker;
    struct list link; /* worker->sessions */
    struct list doomed;
    enum session_state state;
    enum close_reason close_reason;
    bool is_over_limit;
    bool is_sent_away;                /* draining since its client has to connect anew */
    uint8_t canary_number;            /* route.h: whether canary reads are for it */
    uint8_t version;                  /* protocol version of the client, fixed by its STARTUP */
    enum cql_compression compression; /* agreed on in STARTUP */
    uint64_t accepted_ns;
    uint32_t survey_round; /* of the last survey it was in: timing.h */
    struct stream client;
    uint32_t client_skip; /* body bytes of a refused request still to come */
    struct upstream upstreams[CLUSTER_COUNT];
    struct upstream *lock;           /* in the middle of a large frame to the client; NULL: none */
    struct dynbuf deferred;          /* replies of the proxy made meanwhile */
    struct shadow *shadow;           /* NULL until the first copy of a read */
    struct refused_ids *refused_ids; /* of prepared statements */
    struct request_table requests;
    uint32_t unanswered; /* requests of the client that have no answer yet */

    /* Handshake. */
    uint8_t opened; /* 1 << cluster: in use at its STARTUP; the others come in later */
    enum cluster_id auth_primary;
    bool
        is_swapped; /* the auth-primary was sent the proxy's credentials for it, not the client's */
    int16_t handshake_stream; /* the client's stream id the handshake must answer */
    uint8_t *startup_body;
    uint32_t startup_length;
    uint8_t startup_flags;
    struct token tokens[CLUSTER_COUNT];
    struct dynbuf
        refusal; /* the secondary's authentication error, repeated for every later frame */

    char keyspace[KEYSPACE_MAX + 1];
    uint8_t *register_body; /* to repeat when an upstream is reopened */
    uint32_t register_length;
    bool is_registered;
    char peer[64];
};

/* Takes over an accepted socket. NULL: out of memory, the socket is closed. is_refused: over the
 * client limit. */
struct session *session_new(struct worker *worker, int fd, const char *peer, bool is_refused);
/* Frees a doomed session. */
void session_free(struct session *session);

/* Ends the session now: closes all three sockets. */
void session_close(struct session *session, enum close_reason reason, const char *detail);
/* Lets the replies queued so far reach the client, then ends. */
void session_close_after_reply(struct session *session, enum close_reason reason,
                               const char *detail);
/* Answers new requests with OVERLOADED from now on and ends when nothing is in flight. */
void session_drain(struct session *session);
/* The same for a client that has to connect anew; reason says why. */
void session_send_away(struct session *session, enum close_reason reason);
/* While draining: ends if nothing is in flight. */
void session_end_if_idle(struct session *session);
/* Time limits that need no precision. Returns when it must be called again at the latest, if
 * nothing happens that asks for it (timing_survey_by) before; TIMING_NEVER: not at all. */
uint64_t session_survey(struct session *session);
/* The routing state has changed: the session's connections follow it. */
void session_follow_use(struct session *session);

/* Queues a frame made by the proxy. */
void session_reply(struct session *session, int16_t stream, uint8_t opcode, const void *body,
                   size_t length);
/* Queues an ERROR with only a message. */
void session_reply_error(struct session *session, int16_t stream, int32_t code, const char *format,
                         ...) PRINTF_LIKE(4, 5);
/* Passes bytes of an upstream's frame on to the client; false: the session is doomed. */
bool session_forward(struct session *session, const void *bytes, size_t length);
/* Keeps bytes for the client until session_unlock: nothing may come between the parts of a large
 * frame. */
void session_defer(struct session *session, const void *bytes, size_t length);
/* After bytes were queued for the client: stops reading the clusters when it does not keep up. */
void session_check_pressure(struct session *session);
/* The client may be sent whole frames again. */
void session_unlock(struct session *session);

/* ---- handshake.c ---- */
/* A frame that came before the session was ready. body is borrowed. */
void handshake_on_client_frame(struct session *session, struct cql_header header,
                               const uint8_t *body);
/* A cluster may have gone out of use: the handshake does not wait for it any longer. */
void handshake_follow_use(struct session *session);
/* The cluster has answered STARTUP (upstream->reply_*). */
void session_on_upstream_started(struct session *session, struct upstream *upstream);
/* The auth-primary has answered the client's token (upstream->reply_*). */
void session_on_auth_reply(struct session *session, struct upstream *upstream);
/* The proxy-driven handshake is over. */
void session_on_upstream_ready(struct session *session, struct upstream *upstream);
/* The cluster refused the proxy-driven handshake with an ERROR (upstream->reply_*), or something
 * unexpected happened (detail). */
void session_on_upstream_refused(struct session *session, struct upstream *upstream,
                                 const char *detail);
/* No node of the cluster could be reached. */
void session_on_upstream_failed(struct session *session, struct upstream *upstream);

/* ---- dispatch.c ---- */
/* The beginning of what comes after the request that is dispatched next: where it is an EXECUTE,
 * its statement is on the way from memory meanwhile. */
void dispatch_expect(const struct session *session, const uint8_t *bytes, size_t length);
/* A request of a ready (or draining) client. whole: the large chunk that frame lies in, or NULL.
 * frame is header and body. */
void dispatch_request(struct session *session, struct cql_header header, const uint8_t *frame,
                      struct chunk *whole);
/* Sends a heartbeat on one upstream; false: no slot. */
MUST_CHECK bool dispatch_heartbeat(struct session *session, struct upstream *upstream);
/* Sends the client's REGISTER on one upstream for the proxy itself; false: no slot. */
MUST_CHECK bool dispatch_register_again(struct session *session, struct upstream *upstream);

/* ---- answer.c ---- */
/* Answers a request that a cluster of its plan cannot take: upstream is not ready. */
void answer_unavailable(struct session *session, int16_t stream, uint16_t consistency,
                        const bool asked[CLUSTER_COUNT], const struct upstream *upstream);
/* Answers UNPREPARED with the id the client knows. */
void answer_unprepared(struct session *session, int16_t stream, struct cql_span id);
/* Bytes from a ready upstream; as stream_handlers.on_input. */
size_t answer_on_input(struct upstream *upstream, const uint8_t *data, size_t length, size_t *need);
/* The upstream is gone: everything that awaited it is settled. */
void answer_settle_lost(struct session *session, struct upstream *upstream);
/* Ends a request nobody waits for any more; nothing is sent. */
void answer_abandon(struct session *session, struct request *request);
/* The request has been awaited too long. */
void answer_expire(struct session *session, struct request *request);
