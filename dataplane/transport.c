/* Transports: the system calls below a stream. Runs on the thread of the stream's loop. Never
 * blocks, never calls its owner, knows no events. */
#include "dataplane/transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/tls.h"

/* Unacknowledged data for this long means the path is gone, even if no reset ever comes (tcp(7),
 * TCP_USER_TIMEOUT). */
#define PATH_TIMEOUT_MS 30000

void transport_init(struct transport *transport)
{
    *transport = (struct transport){.fd = -1};
}

void transport_secure(struct transport *transport, struct tls_connection *tls)
{
    CHECK(!transport_is_open(transport));
    tls_free(transport->tls);
    transport->tls = tls;
}

bool transport_adopt(struct transport *transport, int fd)
{
    int on = 1;
    unsigned int path_timeout = PATH_TIMEOUT_MS;
    CHECK(!transport_is_open(transport));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &path_timeout, sizeof path_timeout);
    transport->fd = fd;
    if (transport->tls == NULL || tls_set_socket(transport->tls, fd))
        return true;
    transport_close(transport);
    return false;
}

bool transport_connect(struct transport *transport, const struct sockaddr *address,
                       socklen_t length, const char **error)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *error = strerror(errno);
        transport_close(transport);
        return false;
    }
    if (!transport_adopt(transport, fd)) {
        *error = "out of memory";
        return false;
    }
    if (connect(fd, address, length) == 0 || errno == EINPROGRESS)
        return true;
    *error = strerror(errno);
    transport_close(transport);
    return false;
}

const char *transport_connect_error(const struct transport *transport)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(transport->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error == 0 ? NULL : strerror(error);
}

void transport_close(struct transport *transport)
{
    if (transport->tls != NULL) {
        if (transport->fd >= 0)
            tls_say_goodbye(transport->tls);
        tls_free(transport->tls);
        transport->tls = NULL;
    }
    if (transport->fd >= 0)
        close(transport->fd);
    transport->fd = -1;
}

void transport_end_writing(struct transport *transport)
{
    if (transport->tls != NULL)
        tls_say_goodbye(transport->tls);
    shutdown(transport->fd, SHUT_WR);
}

ssize_t transport_handshake(struct transport *transport)
{
    return transport->tls == NULL ? 1 : tls_handshake(transport->tls);
}

bool transport_has_unsent(const struct transport *transport)
{
    return transport->tls != NULL && tls_has_unsent(transport->tls);
}

bool transport_has_more(const struct transport *transport)
{
    return transport->tls != NULL && tls_has_more(transport->tls);
}

ssize_t transport_discard(struct transport *transport, void *to, size_t size)
{
    ssize_t got;
    do
        got = recv(transport->fd, to, size, 0);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        return got;
    return errno == EAGAIN ? TRANSPORT_WANTS_READ : TRANSPORT_FAILED;
}

ssize_t transport_read(struct transport *transport, void *to, size_t size)
{
    return transport->tls == NULL ? transport_discard(transport, to, size)
                                  : tls_read(transport->tls, to, size);
}

ssize_t transport_write(struct transport *transport, const struct iovec *parts, size_t count,
                        uint8_t *scratch)
{
    if (transport->tls != NULL)
        return tls_write(transport->tls, parts, count, scratch);

    /* sendmsg() does not write to what it sends; its struct is shared with recvmsg(). */
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
    ssize_t sent;
    do
        sent = sendmsg(transport->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    return errno == EAGAIN ? TRANSPORT_WANTS_WRITE : TRANSPORT_FAILED;
}

const char *transport_error(const struct transport *transport)
{
    return transport->tls == NULL ? strerror(errno) : tls_error(transport->tls);
}
