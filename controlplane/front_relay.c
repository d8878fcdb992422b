/* The relay of bytes. Every event, whatever it was, runs the same pump: move what can be moved in
 * each direction, pass on the ends that were reached, then say what to wait for. A client that has
 * not sent its whole request costs a place here but no thread of the web server.
 *
 * On the front's thread. Must never wait, never buffer beyond its two fixed buffers, and never
 * change a byte: a request is passed on as it is, or answered here and not at all. */
#include "controlplane/front_relay.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "controlplane/front_hold.h"
#include "controlplane/front_tls.h"
#include "controlplane/metrics.h"

#define UP_SIZE   (32u * 1024u) /* a request's head and body as long as the API takes them */
#define DOWN_SIZE (32u * 1024u)
#define ROUNDS    16 /* of one pump, then others have their turn */

#define HANDSHAKE_MAX_S 10
#define HOLD_MAX_S      15 /* until the first request is whole */
#define REQUEST_MAX_S   90 /* from a byte of the client to one of the web server */
#define STALL_MAX_S     30 /* a client that does not take its answer */
#define IDLE_MAX_S      60
#define LINGER_MAX_S    2 /* after the answer's end, for the client to read it before a reset */

struct buffer {
    size_t begin, end;
    uint8_t *data;
    size_t size;
};

struct relay {
    struct list node;
    struct relay_host *host;
    struct peer peer;
    int client_fd, inner_fd; /* inner_fd -1: the request is being held, or was answered here */
    SSL *ssl;                /* NULL: plain */
    struct event *client_read, *client_write, *inner_read, *inner_write;
    uint16_t port; /* of inner_fd; 0: not in the table */
    bool is_shaking_hands;
    bool ssl_wants_read, ssl_wants_write; /* for the other direction */
    bool client_ended;                    /* it sends no more */
    bool inner_ended;
    bool inner_shut; /* told that the client sends no more */
    bool inner_deaf; /* it takes no more: what the client still sends is dropped */
    bool client_shut;
    bool is_broken; /* the client is gone */
    uint64_t since_ns, moved_ns, asked_ns, taken_ns, shut_ns;
    struct buffer up, down;
    uint8_t up_data[UP_SIZE];
    uint8_t down_data[DOWN_SIZE];
};

static void pump(struct relay *relay);

/* ---- life ---- */

static void on_event(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    pump(context);
}

static struct event *watch(struct relay *relay, int fd, short what)
{
    struct event *event =
        event_new(relay->host->base, fd, (short)(what | EV_PERSIST), on_event, relay);
    CHECK(event != NULL);
    return event;
}

static void close_inner(struct relay *relay)
{
    if (relay->inner_fd < 0)
        return;
    event_free(relay->inner_read);
    event_free(relay->inner_write);
    if (relay->port != 0)
        peer_table_remove(relay->host->peers, relay->port);
    close(relay->inner_fd);
    relay->inner_fd = -1;
}

static void end(struct relay *relay)
{
    close_inner(relay);
    event_free(relay->client_read);
    event_free(relay->client_write);
    SSL_free(relay->ssl);
    close(relay->client_fd);
    list_remove(&relay->node);
    relay->host->count--;
    control_metrics_add(CONTROL_METRIC_FRONT_CONNECTIONS, -1);
    free(relay);
}

void relay_begin(struct relay_host *host, int fd, const struct peer *peer, bool is_tls)
{
    static const int one = 1;
    struct relay *relay = malloc(sizeof *relay);
    CHECK(relay != NULL);
    memset(relay, 0,
           offsetof(struct relay, up_data)); /* the buffers are only read as far as filled */
    relay->host = host;
    relay->peer = *peer;
    relay->client_fd = fd;
    relay->inner_fd = -1;
    relay->up = (struct buffer){.data = relay->up_data, .size = UP_SIZE};
    relay->down = (struct buffer){.data = relay->down_data, .size = DOWN_SIZE};
    relay->since_ns = relay->moved_ns = clock_now_ns();
    relay->client_read = watch(relay, fd, EV_READ);
    relay->client_write = watch(relay, fd, EV_WRITE);
    list_append(&host->relays, &relay->node);
    host->count++;
    control_metrics_add(CONTROL_METRIC_FRONT_CONNECTIONS, 1);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* a unix socket says no */
    if (is_tls) {
        relay->is_shaking_hands = true;
        relay->ssl = front_tls_accept(host->tls, fd);
        if (relay->ssl == NULL) {
            end(relay);
            return;
        }
    }
    pump(relay);
}

/* The connection to the web server: bound first, so that the table knows its port before the server
 * can see it. */
static void open_inner(struct relay *relay)
{
    static const int one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in there = here;
    socklen_t length = sizeof here;
    there.sin_port = htons(relay->host->inner_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_bound = fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof here) == 0 &&
                    getsockname(fd, (struct sockaddr *)&here, &length) == 0;
    uint16_t port = ntohs(here.sin_port);
    bool is_noted = is_bound && peer_table_add(relay->host->peers, port, &relay->peer);
    if (is_noted &&
        (connect(fd, (struct sockaddr *)&there, sizeof there) == 0 || errno == EINPROGRESS)) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        relay->inner_fd = fd;
        relay->port = port;
        relay->inner_read = watch(relay, fd, EV_READ);
        relay->inner_write = watch(relay, fd, EV_WRITE);
        return;
    }
    LOG_WARN("relay_failed", "reason=\"%s\"", strerror(errno));
    if (is_noted)
        peer_table_remove(relay->host->peers, port);
    if (fd >= 0)
        close(fd);
    relay->is_broken = true;
}

/* ---- TLS ---- */

static void complain(struct relay *relay, int kind)
{
    struct relay_host *host = relay->host;
    uint64_t now_ns = clock_now_ns();
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    char quoted[200];
    if (reason == NULL)
        reason = kind == SSL_ERROR_SYSCALL ? "the client went away" : "no reason given";
    control_metrics_add(CONTROL_METRIC_TLS_HANDSHAKES_FAILED, 1);
    ERR_clear_error();
    if (now_ns - host->last_complaint_ns < NS_PER_S) {
        host->complaints++;
        return;
    }
    LOG_WARN("tls_handshake_failed", "address=%s reason=%s more=%u", relay->peer.address,
             log_quote(quoted, sizeof quoted, reason, strlen(reason)), host->complaints);
    host->last_complaint_ns = now_ns;
    host->complaints = 0;
}

/* What an SSL call that moved nothing wants. false: it wants nothing more, the end or an error. */
static bool ssl_waits(struct relay *relay, int result, bool *is_end)
{
    int kind = SSL_get_error(relay->ssl, result);
    *is_end = kind == SSL_ERROR_ZERO_RETURN;
    relay->ssl_wants_read |= kind == SSL_ERROR_WANT_READ;
    relay->ssl_wants_write |= kind == SSL_ERROR_WANT_WRITE;
    return kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE;
}

static void shake_hands(struct relay *relay)
{
    bool is_end;
    ERR_clear_error();
    int result = SSL_do_handshake(relay->ssl);
    if (result == 1) {
        relay->is_shaking_hands = false;
        relay->since_ns = clock_now_ns();
    } else if (!ssl_waits(relay, result, &is_end)) {
        complain(relay, SSL_get_error(relay->ssl, result));
        relay->is_broken = true;
    }
}

/* ---- moving bytes: each returns whether anything moved ---- */

/* Reads from the client into memory; 0 bytes and *is_end: it sends no more. */
static size_t take_from_client(struct relay *relay, uint8_t *data, size_t room)
{
    bool is_end = false;
    ssize_t got;
    if (relay->ssl != NULL) {
        ERR_clear_error();
        got = SSL_read(relay->ssl, data, (int)room);
        if (got <= 0 && !ssl_waits(relay, (int)got, &is_end)) {
            relay->client_ended = true;
            relay->is_broken |= !is_end;
        }
    } else {
        got = recv(relay->client_fd, data, room, 0);
        if (got == 0)
            relay->client_ended = true;
        else if (got < 0 && errno != EAGAIN && errno != EINTR)
            relay->client_ended = relay->is_broken = true;
    }
    return got > 0 ? (size_t)got : 0;
}

static bool read_client(struct relay *relay)
{
    uint8_t dropped[4096];
    struct buffer *up = &relay->up;
    if (relay->client_ended || relay->is_shaking_hands)
        return false;
    if (relay->inner_deaf || relay->client_shut)
        return take_from_client(relay, dropped, sizeof dropped) > 0;
    if (up->begin > 0 && up->begin == up->end)
        up->begin = up->end = 0;
    if (up->end == up->size)
        return false;
    size_t got = take_from_client(relay, up->data + up->end, up->size - up->end);
    up->end += got;
    if (got > 0 && relay->asked_ns == 0)
        relay->asked_ns = clock_now_ns();
    return got > 0;
}

/* The request has come: to the web server with it, or an answer at once. */
static void let_through(struct relay *relay)
{
    struct front_fault fault = front_hold_fault(relay->up.data, relay->up.end);
    if (fault.status == 0) {
        open_inner(relay);
        return;
    }
    relay->down.end = front_hold_answer(fault, (char *)relay->down.data);
    relay->taken_ns = clock_now_ns();
    relay->inner_ended = relay->inner_deaf = true;
    LOG_INFO("request_refused", "address=%s reason=\"%s\"", relay->peer.address, fault.detail);
}

static bool write_inner(struct relay *relay)
{
    struct buffer *up = &relay->up;
    bool moved = false;
    if (relay->inner_fd < 0 && !relay->inner_ended && up->begin < up->end &&
        (relay->client_ended || front_hold_is_over(up->data, up->end, up->size)))
        let_through(relay);
    if (relay->inner_fd < 0 || relay->inner_deaf)
        return false;
    if (up->begin < up->end) {
        ssize_t sent =
            send(relay->inner_fd, up->data + up->begin, up->end - up->begin, MSG_NOSIGNAL);
        if (sent > 0) {
            up->begin += (size_t)sent;
            moved = true;
        } else if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN) {
            relay->inner_deaf = true;
        }
    }
    if (relay->client_ended && up->begin == up->end && !relay->inner_shut) {
        relay->inner_shut = true;
        (void)shutdown(relay->inner_fd, SHUT_WR);
    }
    return moved;
}

static bool read_inner(struct relay *relay)
{
    struct buffer *down = &relay->down;
    if (relay->inner_fd < 0 || relay->inner_ended)
        return false;
    if (down->begin == down->end)
        down->begin = down->end = 0;
    if (down->end == down->size)
        return false;
    ssize_t got = recv(relay->inner_fd, down->data + down->end, down->size - down->end, 0);
    if (got > 0) {
        if (down->begin == down->end)
            relay->taken_ns = clock_now_ns();
        down->end += (size_t)got;
        relay->asked_ns = 0;
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR && errno != ENOTCONN)) {
        relay->inner_ended = true;
    }
    return got > 0;
}

static bool write_client(struct relay *relay)
{
    struct buffer *down = &relay->down;
    ssize_t sent;
    bool is_end;
    if (down->begin == down->end || relay->is_shaking_hands)
        return false;
    if (relay->ssl != NULL) {
        ERR_clear_error();
        sent = SSL_write(relay->ssl, down->data + down->begin, (int)(down->end - down->begin));
        if (sent <= 0 && !ssl_waits(relay, (int)sent, &is_end))
            relay->is_broken = true;
    } else {
        sent =
            send(relay->client_fd, down->data + down->begin, down->end - down->begin, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            relay->is_broken = true;
    }
    if (sent <= 0)
        return false;
    down->begin += (size_t)sent;
    relay->taken_ns = clock_now_ns();
    return true;
}

/* ---- the pump ---- */

static void want(struct event *event, bool is_wanted)
{
    bool is_pending = event_pending(event, EV_READ | EV_WRITE, NULL) != 0;
    if (is_wanted && !is_pending)
        CHECK(event_add(event, NULL) == 0);
    else if (!is_wanted && is_pending)
        event_del(event);
}

static void wait_for_more(struct relay *relay)
{
    bool drops = relay->inner_deaf || relay->client_shut;
    bool reads = !relay->client_ended && !relay->is_shaking_hands &&
                 (drops || relay->up.end < relay->up.size || relay->up.begin == relay->up.end);
    want(relay->client_read, reads || relay->ssl_wants_read);
    want(relay->client_write,
         relay->ssl_wants_write || (relay->down.begin < relay->down.end && !relay->ssl_wants_read));
    if (relay->inner_fd < 0)
        return;
    want(relay->inner_read, !relay->inner_ended && (relay->down.end < relay->down.size ||
                                                    relay->down.begin == relay->down.end));
    want(relay->inner_write, !relay->inner_deaf && relay->up.begin < relay->up.end);
}

/* Everything of the web server has been passed on: the client is told so, and what it still sends
 * is read for a moment, since a close with unread bytes would take the answer back. */
static void pass_on_end(struct relay *relay)
{
    if (!relay->inner_ended || relay->down.begin < relay->down.end || relay->client_shut)
        return;
    relay->client_shut = true;
    relay->shut_ns = clock_now_ns();
    close_inner(relay);
    if (relay->ssl != NULL)
        (void)SSL_shutdown(relay->ssl); /* if there is no room for the goodbye, it goes without */
    (void)shutdown(relay->client_fd, SHUT_WR);
}

static void pump(struct relay *relay)
{
    bool moved = true;
    relay->ssl_wants_read = relay->ssl_wants_write = false;
    if (relay->is_shaking_hands)
        shake_hands(relay);
    for (int round = 0; moved && round < ROUNDS && !relay->is_broken; round++) {
        moved = read_client(relay);
        moved |= write_inner(relay);
        moved |= read_inner(relay);
        moved |= write_client(relay);
        pass_on_end(relay);
        if (moved)
            relay->moved_ns = clock_now_ns();
    }
    bool is_silent = relay->client_ended && relay->inner_fd < 0 &&
                     relay->down.begin == relay->down.end; /* nothing came, nothing will */
    if (relay->is_broken || is_silent) {
        end(relay);
        return;
    }
    wait_for_more(relay);
    if (moved) /* more may be waiting inside TLS, where no event tells of it */
        event_active(relay->client_read, EV_READ, 0);
}

/* ---- time ---- */

static bool is_past(uint64_t since_ns, unsigned seconds, uint64_t now_ns)
{
    return now_ns > since_ns + seconds * NS_PER_S;
}

static const char *overdue(const struct relay *relay, uint64_t now_ns)
{
    if (relay->is_shaking_hands)
        return is_past(relay->since_ns, HANDSHAKE_MAX_S, now_ns) ? "handshake" : NULL;
    if (relay->client_shut)
        return is_past(relay->shut_ns, LINGER_MAX_S, now_ns) ? "" : NULL;
    if (relay->inner_fd < 0)
        return is_past(relay->since_ns, HOLD_MAX_S, now_ns) ? "slow_request" : NULL;
    if (relay->down.begin < relay->down.end && is_past(relay->taken_ns, STALL_MAX_S, now_ns))
        return "not_reading";
    if (relay->asked_ns != 0)
        return is_past(relay->asked_ns, REQUEST_MAX_S, now_ns) ? "slow_request" : NULL;
    return is_past(relay->moved_ns, IDLE_MAX_S, now_ns) ? "" : NULL;
}

void relay_tick(struct relay_host *host, uint64_t now_ns)
{
    for (struct list *node = host->relays.next, *next; node != &host->relays; node = next) {
        struct relay *relay = CONTAINER_OF(node, struct relay, node);
        const char *reason = overdue(relay, now_ns);
        next = node->next;
        if (reason == NULL)
            continue;
        if (reason[0] != '\0') {
            control_metrics_add(CONTROL_METRIC_FRONT_OVERDUE, 1);
            LOG_INFO("client_dropped", "address=%s reason=%s", relay->peer.address, reason);
        }
        end(relay);
    }
}

bool relay_make_room(struct relay_host *host)
{
    for (struct list *node = host->relays.next; node != &host->relays; node = node->next) {
        struct relay *relay = CONTAINER_OF(node, struct relay, node);
        if (relay->inner_fd >= 0)
            continue;
        end(relay);
        return true;
    }
    return false;
}

unsigned relay_count_from(const struct relay_host *host, const char *address)
{
    unsigned count = 0;
    for (const struct list *node = host->relays.next; node != &host->relays; node = node->next)
        count += strcmp(CONTAINER_OF(node, struct relay, node)->peer.address, address) == 0;
    return count;
}

void relay_end_all(struct relay_host *host)
{
    while (!list_is_empty(&host->relays))
        end(CONTAINER_OF(list_first(&host->relays), struct relay, node));
}
