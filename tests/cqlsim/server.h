/* The server as a whole: listeners, connections, what they share. One thread. */
#pragma once

#include <event2/event.h>

#include "common/dynbuf.h"
#include "compression.h"
#include "faults.h"
#include "last_request.h"
#include "prepared.h"
#include "tls.h"
#include "wire.h"

#define SERVER_MAX_USERS    8
#define SERVER_MAX_VERSIONS 5

#define CONNECTION_HIGH_WATER    (4U * 1024 * 1024)
#define CONNECTION_KEEP_CAPACITY (256U * 1024)

enum { EVENT_TOPOLOGY = 1, EVENT_STATUS = 2, EVENT_SCHEMA = 4 };

enum connection_state { STATE_NEW, STATE_AUTHENTICATING, STATE_READY };

struct listener {
    struct server *server;
    const struct node *node;
    struct event *event; /* NULL while refusing */
    int fd;
};

struct connection {
    struct list node;
    struct list dirty;  /* has output to write at the end of the turn */
    struct list doomed; /* is freed at the end of the turn */
    struct server *server;
    const struct node *at;
    int fd;
    struct tls_session *tls; /* NULL: plain TCP */
    struct event *readable;
    struct event *writable;
    struct dynbuf in;
    struct dynbuf envelopes; /* out of segments, not yet handled */
    struct dynbuf out;       /* envelopes on their way to wire */
    struct dynbuf wire;      /* bytes to send */
    size_t sent;             /* of wire */
    struct list deferred;
    size_t deferred_bytes;
    struct list pagers; /* paging.h */
    size_t pager_count;
    enum connection_state state;
    unsigned version; /* 0 until the first frame */
    enum compression compression;
    bool segmented; /* v5, past READY or AUTHENTICATE */
    bool switches;  /* will be, once the answer to STARTUP is written */
    bool split;     /* the last segment held a part of an envelope */
    unsigned registered;
    bool paused;  /* not reading: too much output waits */
    bool closing; /* close once out is written */
    char keyspace[SCHEMA_NAME_MAX + 1];
};

struct user {
    const char *name;
    const char *password;
};

struct server {
    struct event_base *base;
    struct engine engine;
    struct listener listeners[CLUSTER_MAX_NODES];
    bool muted[CLUSTER_MAX_NODES]; /* by index: accepts, but never reads or writes */
    struct tls *tls;               /* NULL: plain TCP */
    struct arena names;            /* of nodes added while we run */
    size_t listener_count;
    struct list connections;
    struct list dirty;
    struct list doomed;
    size_t open;
    uint64_t accepted;
    struct prepared_registry prepared;
    struct faults faults;
    struct last_requests last_requests;
    struct user users[SERVER_MAX_USERS];
    size_t user_count;
    unsigned versions[SERVER_MAX_VERSIONS]; /* spoken, rising */
    size_t version_count;
    unsigned beta; /* listed, but refused; 0: none */
    bool compresses[COMPRESSION_LIMIT];
    size_t segment_limit;   /* payload of the segments we write */
    bool segment_alone;     /* one envelope a segment, even if more would fit */
    struct dynbuf inflated; /* the compressed request being handled */
    struct arena scratch;   /* reset after each request */
    uint64_t by_opcode[OP_LIMIT];
    uint64_t by_version[UINT8_MAX + 1];
    uint64_t by_compression[COMPRESSION_LIMIT]; /* connections that agreed on it */
    uint64_t by_class[CLASS_LIMIT]; /* statements on tables that are not system tables */
    uint64_t system_statements;
    uint64_t errors;
    uint64_t protocol_errors;
    bool stopping;
};

/* server.c */
/* Opens a listener for every served node; false after logging why not. */
MUST_CHECK bool server_listen(struct server *server);
/* The same for one more node. */
MUST_CHECK bool server_listen_on(struct server *server, const struct node *node);
/* Stops (or starts again) accepting on node's address; every address when node is NULL. */
MUST_CHECK bool server_refuse(struct server *server, const struct node *node, bool refuse);
/* Runs until server->stopping. */
void server_run(struct server *server);
void server_close(struct server *server);
/* Sends an EVENT body to all who registered for mask. */
void server_broadcast(struct server *server, unsigned mask, const struct dynbuf *body);
void server_schema_event(struct server *server, const struct schema_change *change);

/* connection.c */
void connection_open(struct server *server, const struct node *node, int fd);
/* Frees it and all it holds at the end of the turn. */
void connection_doom(struct connection *connection);
void connection_free(struct connection *connection);
/* Stops reading, writes what waits, then closes. */
void connection_close_after_output(struct connection *connection);
void connection_mark_dirty(struct connection *connection);
/* Writes what waits; only server.c calls it, at the end of the turn. */
void connection_flush(struct connection *connection);
/* Reserves a frame's header at the end of out and returns where it starts. */
size_t connection_begin_frame(struct connection *connection, uint8_t version, int16_t stream,
                              uint8_t opcode);
void connection_end_frame(struct connection *connection, size_t start);
/* Takes the bytes of out from start back and puts them out after delay_ms, or when
 * connection_release is called if delay_ms is 0. */
void connection_defer(struct connection *connection, size_t start, uint32_t delay_ms);
/* Bytes that are no envelope, as they are. */
void connection_put_raw(struct connection *connection, const void *data, size_t length);
/* Stops reading until output has drained. */
void connection_pause(struct connection *connection);
/* Stops or goes on reading as server->muted says. */
void connection_hear(struct connection *connection);
/* Puts out all that was held; says how many answers. */
size_t connection_release(struct connection *connection);

/* request.c: one whole frame. */
void request_handle(struct connection *connection, const struct wire_header *header,
                    const uint8_t *body);
/* Answers with an ERROR frame and closes the connection after it. */
void request_protocol_error(struct connection *connection, uint8_t version, int16_t stream,
                            const char *message);

/* control.c */
struct control;
struct control *control_open(struct server *server, const char *path);
void control_close(struct control *control);
