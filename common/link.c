/* The framed unix-socket link. Runs on the thread of its event_base, never blocks it, holds no
 * lock.
 *
 * A link that dies while its owner is sending is reported later, from the event loop: so the owner
 * never sees its state change below its feet. A freed link is unlinked at once but its memory goes
 * only when no frame of ours is on the stack. */
#include "common/link.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/dynbuf.h"

#define HEADER_LENGTH  4
#define READ_CHUNK     16384
#define READS_PER_WAKE 8

struct link {
    int fd;
    struct event *read_event;
    struct event *write_event;
    struct event *death_event; /* reports on_closed from the loop */
    struct link_hooks hooks;
    struct dynbuf input;
    struct dynbuf output;
    uint64_t last_received_ns;
    const char *death; /* NULL while alive */
    bool busy;         /* one of our event handlers is on the stack */
    bool freed;
};

static void destroy(struct link *link)
{
    if (link->read_event != NULL)
        event_free(link->read_event);
    if (link->write_event != NULL)
        event_free(link->write_event);
    if (link->death_event != NULL)
        event_free(link->death_event);
    if (link->fd >= 0)
        close(link->fd);
    dynbuf_fini(&link->input);
    dynbuf_fini(&link->output);
    free(link);
}

/* Stops all traffic; the owner hears of it from the loop. */
static void die(struct link *link, const char *reason)
{
    if (link->death != NULL)
        return;
    link->death = reason;
    event_del(link->read_event);
    event_del(link->write_event);
    event_active(link->death_event, EV_TIMEOUT, 0);
}

static void leave(struct link *link)
{
    link->busy = false;
    if (link->freed)
        destroy(link);
}

static void on_death(evutil_socket_t fd, short what, void *context)
{
    struct link *link = context;
    (void)fd;
    (void)what;
    link->busy = true;
    if (!link->freed)
        link->hooks.on_closed(link->hooks.context, link->death);
    leave(link);
}

static uint32_t frame_length(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Hands out every whole message in the input. */
static void deliver(struct link *link)
{
    size_t at = 0;
    while (!link->freed && link->death == NULL && link->input.length - at >= HEADER_LENGTH) {
        size_t length = frame_length(link->input.data + at);
        if (length == 0 || length > LINK_MESSAGE_MAX) {
            die(link, length == 0 ? "empty message" : "message too long");
            break;
        }
        if (link->input.length - at - HEADER_LENGTH < length)
            break;
        link->last_received_ns = clock_now_ns();
        link->hooks.on_message(link->hooks.context,
                               (const char *)link->input.data + at + HEADER_LENGTH, length);
        at += HEADER_LENGTH + length;
    }
    dynbuf_consume(&link->input, at);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct link *link = context;
    uint8_t chunk[READ_CHUNK];
    (void)what;
    link->busy = true;
    for (int turn = 0; turn < READS_PER_WAKE && !link->freed && link->death == NULL; turn++) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got > 0) {
            if (dynbuf_append(&link->input, chunk, (size_t)got))
                deliver(link);
            else
                die(link, "out of memory");
        } else if (got == 0) {
            die(link, "closed by the peer");
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            die(link, "read failed");
        }
    }
    /* An idle link holds no buffer. */
    if (link->input.length == 0)
        dynbuf_fini(&link->input);
    leave(link);
}

/* Writes what the kernel takes. */
static void flush(struct link *link)
{
    while (link->output.length > 0) {
        ssize_t wrote = send(link->fd, link->output.data, link->output.length, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN) {
            event_add(link->write_event, NULL);
            return;
        }
        if (wrote < 0) {
            die(link, "write failed");
            return;
        }
        dynbuf_consume(&link->output, (size_t)wrote);
    }
    dynbuf_fini(&link->output);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct link *link = context;
    (void)fd;
    (void)what;
    link->busy = true;
    flush(link);
    leave(link);
}

struct link *link_new(struct event_base *base, int fd, const struct link_hooks *hooks)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        close(fd);
        return NULL;
    }
    link->fd = fd;
    link->hooks = *hooks;
    link->last_received_ns = clock_now_ns();
    /* Room for the message in progress and one read beyond it. */
    dynbuf_init(&link->input, HEADER_LENGTH + LINK_MESSAGE_MAX + READ_CHUNK);
    dynbuf_init(&link->output, LINK_QUEUE_MAX);
    link->read_event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, link);
    link->write_event = event_new(base, fd, EV_WRITE, on_writable, link);
    link->death_event = event_new(base, -1, 0, on_death, link);
    if (link->read_event == NULL || link->write_event == NULL || link->death_event == NULL ||
        event_add(link->read_event, NULL) != 0) {
        destroy(link);
        return NULL;
    }
    return link;
}

bool link_send(struct link *link, const char *text, size_t length)
{
    if (link->freed || link->death != NULL || length == 0 || length > LINK_MESSAGE_MAX)
        return false;
    bool was_idle = link->output.length == 0;
    if (link->output.length + HEADER_LENGTH + length > LINK_QUEUE_MAX) {
        die(link, "the peer does not read");
        return false;
    }
    uint8_t header[HEADER_LENGTH] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16),
                                     (uint8_t)(length >> 8), (uint8_t)length};
    if (!dynbuf_append(&link->output, header, sizeof header) ||
        !dynbuf_append(&link->output, text, length)) {
        die(link, "out of memory");
        return false;
    }
    if (was_idle)
        flush(link);
    return link->death == NULL;
}

uint64_t link_last_received_ns(const struct link *link)
{
    return link->last_received_ns;
}

void link_free(struct link *link)
{
    if (link == NULL || link->freed)
        return;
    link->freed = true;
    event_del(link->read_event);
    event_del(link->write_event);
    event_del(link->death_event);
    close(link->fd);
    link->fd = -1;
    if (!link->busy)
        destroy(link);
}

/* ---- unix sockets ---- */

bool link_peer_is_trusted(int fd, struct link_peer *peer)
{
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
        return false;
    *peer =
        (struct link_peer){.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
    return peer->uid == 0 || peer->uid == geteuid();
}

static bool set_address(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address->sun_path)
        return false;
    memcpy(address->sun_path, path, length + 1);
    return true;
}

int link_connect(const char *path)
{
    struct sockaddr_un address;
    if (!set_address(&address, path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        int cause = errno;
        close(fd);
        errno = cause;
        return -1;
    }
    return fd;
}

/* Makes way at path. The caller holds the directory's lock, so that two starting programs cannot
 * remove each other's file. */
static bool clear_path(const char *path, char *error, size_t error_size)
{
    struct stat status;
    if (lstat(path, &status) != 0) {
        if (errno == ENOENT)
            return true;
        snprintf(error, error_size, "%s: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(error, error_size, "%s exists and is not a socket", path);
        return false;
    }
    int fd = link_connect(path);
    if (fd >= 0 || errno == EAGAIN) {
        if (fd >= 0)
            close(fd);
        snprintf(error, error_size, "%s: another process is listening there", path);
        return false;
    }
    if (errno != ECONNREFUSED || unlink(path) != 0) {
        snprintf(error, error_size, "%s exists and cannot be replaced: %s", path, strerror(errno));
        return false;
    }
    return true;
}

/* Opens path's directory and locks it; -1 with the error said. */
static int lock_directory(const char *path, char *error, size_t error_size)
{
    char directory[sizeof((struct sockaddr_un *)0)->sun_path];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(directory, sizeof directory, ".");
    else
        snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path),
                 path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        snprintf(error, error_size, "%s: directory of the socket: %s", directory, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

bool link_listen(struct link_listener *listener, const char *path, char *error, size_t error_size)
{
    struct sockaddr_un address;
    *listener = (struct link_listener){.fd = -1};
    if (!set_address(&address, path)) {
        snprintf(error, error_size, "\"%s\": a socket path has 1 to %zu bytes", path,
                 sizeof address.sun_path - 1);
        return false;
    }
    int directory = lock_directory(path, error, error_size);
    if (directory < 0)
        return false;
    bool good = clear_path(path, error, error_size);
    if (good) {
        struct stat status;
        listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        /* fchmod first, so that there is no moment with a wider mode; chmod again, as the umask may
         * have narrowed it. */
        good = listener->fd >= 0 && fchmod(listener->fd, 0660) == 0 &&
               bind(listener->fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
               chmod(path, 0660) == 0 && listen(listener->fd, 64) == 0 && lstat(path, &status) == 0;
        if (!good) {
            snprintf(error, error_size, "%s: %s", path, strerror(errno));
        } else {
            memcpy(listener->path, address.sun_path, sizeof listener->path);
            listener->device = status.st_dev;
            listener->inode = status.st_ino;
        }
    }
    close(directory);
    if (!good && listener->fd >= 0) {
        close(listener->fd);
        listener->fd = -1;
    }
    return good;
}

void link_listener_close(struct link_listener *listener)
{
    struct stat status;
    if (listener->fd < 0)
        return;
    close(listener->fd);
    listener->fd = -1;
    if (lstat(listener->path, &status) == 0 && status.st_dev == listener->device &&
        status.st_ino == listener->inode)
        unlink(listener->path);
}
