/* A framed, two-way message link over a unix socket (docs/control-link.md): u32 big-endian length,
 * then that many bytes.
 *
 * Lives on one event_base and its thread. Lengths are capped, memory grows with bytes received and
 * never by a length announced, and a peer that does not read is closed once its queue is full. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/check.h"

#define LINK_MESSAGE_MAX (1024u * 1024u) /* bytes of one message */
#define LINK_QUEUE_MAX   (4u * 1024u * 1024u)

struct event_base;
struct link;

struct link_hooks {
    void *context;
    /* One whole message; text is valid during the call only. May call link_send and link_free. */
    void (*on_message)(void *context, const char *text, size_t length);
    /* The link is dead and says nothing more; reason is for the log. The callee calls link_free
     * (now or later). Not called after link_free. Never called from within link_send. */
    void (*on_closed)(void *context, const char *reason);
};

/* Takes fd over (a connected, non-blocking stream socket). NULL: out of memory; fd is closed. */
struct link *link_new(struct event_base *base, int fd, const struct link_hooks *hooks);
/* Queues and sends one message (length <= LINK_MESSAGE_MAX). false: too long, the link is dead, or
 * the peer's queue is full; in the last case the link is closed, and on_closed follows. */
bool link_send(struct link *link, const char *text, size_t length);
/* When the last whole message arrived, clock_now_ns time: for noticing a peer that went silent, or
 * of which the rest of a frame will never come. */
uint64_t link_last_received_ns(const struct link *link);
/* Closes and frees; harmless inside the hooks (the memory outlives the call). NULL is allowed.
 * Messages queued but not yet taken by the kernel are lost. */
void link_free(struct link *link);

/* ---- unix sockets ---- */

struct link_peer { /* who connected, as the kernel saw it at connect time */
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

/* SO_PEERCRED. true: the peer runs as our user or as root. peer is filled when the kernel knows. */
MUST_CHECK bool link_peer_is_trusted(int fd, struct link_peer *peer);

struct link_listener {
    int fd;
    char path[108];
    dev_t device;
    ino_t inode;
};

/* Listens at path (mode 0660), non-blocking. A socket file nobody listens on any more is replaced;
 * a live one, or a file that is no socket, never. false: error holds one line that names the path.
 */
MUST_CHECK bool link_listen(struct link_listener *listener, const char *path, char *error,
                            size_t error_size);
/* Closes, and removes the socket file if it is still ours. */
void link_listener_close(struct link_listener *listener);

/* A non-blocking connected socket, or -1 with errno (EAGAIN: the listener is busy). */
int link_connect(const char *path);
