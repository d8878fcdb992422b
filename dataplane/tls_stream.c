/* Opening streams, under TLS or plain as their side is set up. Runs on the thread of the stream's
 * loop. Decides nothing about TLS itself. */
#include "dataplane/tls_stream.h"

#include <unistd.h>

#include "dataplane/stream.h"
#include "dataplane/tls.h"
#include "dataplane/topology.h"

void tls_thread_init(struct tls_thread *thread, struct metrics_block *metrics)
{
    *thread = (struct tls_thread){.metrics = metrics};
    for (int i = 0; i < CLUSTER_COUNT; i++)
        thread->sessions[i] = tls_sessions_new();
}

void tls_thread_fini(struct tls_thread *thread)
{
    for (int i = 0; i < CLUSTER_COUNT; i++)
        tls_sessions_free(thread->sessions[i]);
    for (int i = 0; i < TLS_SIDE_COUNT; i++)
        tls_context_put(thread->contexts[i]);
    *thread = (struct tls_thread){0};
}

void tls_thread_switch(struct tls_thread *thread, enum tls_side side, struct tls_context *context)
{
    struct tls_context *old = thread->contexts[side];
    thread->contexts[side] = tls_context_get(context);
    tls_context_put(old);
}

bool tls_stream_adopt(struct stream *stream, int fd)
{
    const struct tls_thread *thread = stream->loop->tls;
    struct tls_context *context = thread == NULL ? NULL : thread->contexts[TLS_PROXY];
    if (context != NULL) {
        struct tls_connection *tls = tls_accept(context, thread->metrics);
        if (tls == NULL) {
            close(fd);
            return false;
        }
        stream_secure(stream, tls);
    }
    return stream_adopt(stream, fd);
}

bool tls_stream_connect(struct stream *stream, enum cluster_id cluster,
                        const struct topology_node *node, const char **error)
{
    const struct tls_thread *thread = stream->loop->tls;
    struct tls_context *context = thread == NULL ? NULL : thread->contexts[tls_side_of(cluster)];
    if (context != NULL) {
        struct tls_connection *tls =
            tls_connect(context, thread->metrics, thread->sessions[cluster], node);
        if (tls == NULL) {
            *error = "no TLS connection can be made for it: out of memory, or a bad name";
            return false;
        }
        stream_secure(stream, tls);
    }
    return stream_connect(stream, (const struct sockaddr *)&node->address, node->address_length,
                          error);
}
