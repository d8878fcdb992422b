/* Streams that speak TLS where their side of the proxy does: what one thread needs for it, and how
 * it opens connections so that nobody else has to ask whether TLS is on. */
#pragma once

#include <stdbool.h>

#include "common/check.h"
#include "dataplane/cluster_id.h"
#include "dataplane/tls_side.h"

struct metrics_block;
struct stream;
struct tls_context;
struct tls_sessions;
struct topology_node;

/* Belongs to one thread; its stream_loop points to it. */
struct tls_thread {
    struct metrics_block *metrics;
    struct tls_context *contexts[TLS_SIDE_COUNT]; /* NULL: that side is plain */
    struct tls_sessions *sessions[CLUSTER_COUNT];
};

void tls_thread_init(struct tls_thread *thread, struct metrics_block *metrics);
void tls_thread_fini(struct tls_thread *thread);
/* New connections use context (taken by reference; NULL: plain), old ones keep theirs. */
void tls_thread_switch(struct tls_thread *thread, enum tls_side side, struct tls_context *context);

/* stream_adopt for a client that was accepted. */
MUST_CHECK bool tls_stream_adopt(struct stream *stream, int fd);
/* stream_connect to a node of a cluster. */
MUST_CHECK bool tls_stream_connect(struct stream *stream, enum cluster_id cluster,
                                   const struct topology_node *node, const char **error);
