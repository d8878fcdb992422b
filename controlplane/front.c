/* Listening, counting, and the loop of the front's thread; the relaying itself is front_relay.c.
 * Must never let in more than its tables hold, and never wait for anybody. */
#include "controlplane/front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/link.h"
#include "common/log.h"
#include "controlplane/front_relay.h"
#include "controlplane/front_tls.h"
#include "controlplane/metrics.h"

#define TICK_MS        500
#define STOP_TICK_MS   20
#define STOP_MAX_MS    500
#define ACCEPTS_A_TIME 32
#define LISTEN_BACKLOG 256

struct front {
    struct event_base *base;
    struct event *tcp_event, *local_event, *wake_event, *tick_event;
    int tcp_fd, wake_fd;
    int port;
    struct link_listener local;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t mutex; /* guards the two below */
    bool must_stop, must_reload;

    /* The thread's own. */
    struct relay_host host;
    uint64_t stop_ns, watched_ns; /* stop_ns 0: not stopping */
};

/* ---- who connects ---- */

static void describe(const struct sockaddr_storage *address, struct peer *peer)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const char *text = NULL;
    if (address->ss_family == AF_INET)
        text = inet_ntop(AF_INET, &v4->sin_addr, peer->address, sizeof peer->address);
    else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        text = inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, peer->address, sizeof peer->address);
    else if (address->ss_family == AF_INET6)
        text = inet_ntop(AF_INET6, &v6->sin6_addr, peer->address, sizeof peer->address);
    CHECK(text != NULL);
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static bool has_room(struct front *front, const struct peer *peer)
{
    if (!peer->is_local && !is_loopback(peer->address) &&
        relay_count_from(&front->host, peer->address) >= FRONT_PER_ADDRESS_MAX)
        return false;
    return front->host.count < PEER_TABLE_MAX || relay_make_room(&front->host);
}

static void accept_one(struct front *front, int fd, struct peer *peer)
{
    struct link_peer process = {.uid = (uid_t)-1};
    if (peer->is_local) {
        (void)!link_peer_is_trusted(fd, &process); /* access.c judges the user; none is nobody */
        peer->uid = process.uid;
    }
    if (!has_room(front, peer)) {
        control_metrics_add(CONTROL_METRIC_FRONT_REFUSED, 1);
        LOG_WARN("client_refused", "address=%s reason=\"too many connections\"", peer->address);
        close(fd);
        return;
    }
    relay_begin(&front->host, fd, peer, peer->is_tls);
}

static void on_acceptable(evutil_socket_t listener, short what, void *context)
{
    struct front *front = context;
    (void)what;
    for (int i = 0; i < ACCEPTS_A_TIME; i++) {
        struct sockaddr_storage address = {0};
        socklen_t length = sizeof address;
        struct peer peer = {.is_local = listener == front->local.fd};
        int fd =
            accept4(listener, (struct sockaddr *)&address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                /* Out of descriptors: listening on would spin. The tick tries again. */
                LOG_ERROR("accept_failed", "reason=\"%s\"", strerror(errno));
                event_del(peer.is_local ? front->local_event : front->tcp_event);
            }
            return;
        }
        if (!peer.is_local) {
            describe(&address, &peer);
            peer.is_tls = front->host.tls != NULL;
        }
        accept_one(front, fd, &peer);
    }
}

/* ---- the loop ---- */

static void listen_again(struct front *front)
{
    event_add(front->tcp_event, NULL);
    if (front->local_event != NULL)
        event_add(front->local_event, NULL);
}

static void begin_to_stop(struct front *front)
{
    static const struct timeval tick = {.tv_usec = STOP_TICK_MS * 1000};
    front->stop_ns = clock_now_ns();
    event_del(front->tcp_event);
    if (front->local_event != NULL)
        event_del(front->local_event);
    event_add(front->tick_event, &tick);
}

static void on_wake(evutil_socket_t fd, short what, void *context)
{
    struct front *front = context;
    uint64_t count;
    (void)what;
    (void)!read(fd, &count, sizeof count);
    pthread_mutex_lock(&front->mutex);
    bool must_stop = front->must_stop;
    bool must_reload = front->must_reload;
    front->must_reload = false;
    pthread_mutex_unlock(&front->mutex);
    if (must_reload && front->host.tls != NULL)
        front_tls_reload(front->host.tls);
    if (must_stop)
        begin_to_stop(front);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    struct front *front = context;
    uint64_t now_ns = clock_now_ns();
    (void)fd;
    (void)what;
    relay_tick(&front->host, now_ns);
    if (front->stop_ns != 0) {
        if (front->host.count == 0 || now_ns - front->stop_ns > STOP_MAX_MS * NS_PER_MS)
            event_base_loopbreak(front->base);
        return;
    }
    if (front->host.tls != NULL && now_ns - front->watched_ns >= NS_PER_S) {
        front->watched_ns = now_ns;
        front_tls_watch(front->host.tls);
    }
    listen_again(front);
}

static void *run(void *context)
{
    struct front *front = context;
    event_base_dispatch(front->base);
    relay_end_all(&front->host);
    return NULL;
}

static void wake(struct front *front)
{
    uint64_t one = 1;
    CHECK(write(front->wake_fd, &one, sizeof one) == sizeof one);
}

/* ---- life ---- */

static bool listen_tcp(struct front *front, const struct control_config *config, char *error,
                       size_t error_size)
{
    static const int one = 1, zero = 0;
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)config->http_port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)config->http_port)};
    bool is_v6 = inet_pton(AF_INET6, config->http_address, &v6.sin6_addr) == 1;
    CHECK(is_v6 || inet_pton(AF_INET, config->http_address, &v4.sin_addr) == 1);
    struct sockaddr *address = is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    socklen_t length = is_v6 ? sizeof v6 : sizeof v4;
    front->tcp_fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (front->tcp_fd >= 0) {
        (void)setsockopt(front->tcp_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (is_v6) /* so that :: is every address, IPv4 too */
            (void)setsockopt(front->tcp_fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    }
    if (front->tcp_fd < 0 || bind(front->tcp_fd, address, length) != 0 ||
        listen(front->tcp_fd, LISTEN_BACKLOG) != 0 ||
        getsockname(front->tcp_fd, address, &length) != 0) {
        snprintf(error, error_size,
                 "CONTROL_HTTP_ADDRESS and CONTROL_HTTP_PORT: cannot listen at %s port %d: %s",
                 config->http_address, config->http_port, strerror(errno));
        return false;
    }
    front->port = ntohs(is_v6 ? v6.sin6_port : v4.sin_port);
    return true;
}

static bool listen_local(struct front *front, const struct control_config *config, char *error,
                         size_t error_size)
{
    char reason[400];
    if (config->api_socket[0] == '\0' ||
        link_listen(&front->local, config->api_socket, reason, sizeof reason))
        return true;
    snprintf(error, error_size, "CONTROL_API_SOCKET: %s", reason);
    return false;
}

static struct event *watch(struct front *front, int fd, short what, event_callback_fn call)
{
    struct event *event = event_new(front->base, fd, (short)(what | EV_PERSIST), call, front);
    CHECK(event != NULL);
    return event;
}

static void start(struct front *front)
{
    static const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    struct event_config *options = event_config_new();
    CHECK(options != NULL && event_config_set_flag(options, EVENT_BASE_FLAG_NOLOCK) == 0);
    front->base = front->host.base = event_base_new_with_config(options);
    event_config_free(options);
    CHECK(front->base != NULL);
    front->tcp_event = watch(front, front->tcp_fd, EV_READ, on_acceptable);
    if (front->local.fd >= 0)
        front->local_event = watch(front, front->local.fd, EV_READ, on_acceptable);
    front->wake_event = watch(front, front->wake_fd, EV_READ, on_wake);
    front->tick_event = watch(front, -1, 0, on_tick);
    listen_again(front);
    CHECK(event_add(front->wake_event, NULL) == 0 && event_add(front->tick_event, &tick) == 0);
    CHECK(pthread_create(&front->thread, NULL, run, front) == 0);
    front->has_thread = true;
}

struct front *front_new(const struct control_config *config, uint16_t inner_port,
                        struct peer_table *peers, char *error, size_t error_size)
{
    struct front *front = calloc(1, sizeof *front);
    CHECK(front != NULL);
    front->tcp_fd = front->local.fd = -1;
    front->host.peers = peers;
    front->host.inner_port = inner_port;
    list_init(&front->host.relays);
    pthread_mutex_init(&front->mutex, NULL);
    front->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(front->wake_fd >= 0);
    bool is_good = true;
    if (config->tls_cert_path[0] != '\0') {
        front->host.tls = front_tls_new(config->tls_cert_path, config->tls_key_path,
                                        config->tls_client_ca_path, error, error_size);
        is_good = front->host.tls != NULL;
    }
    if (!is_good || !listen_tcp(front, config, error, error_size) ||
        !listen_local(front, config, error, error_size)) {
        front_free(front);
        return NULL;
    }
    start(front);
    return front;
}

int front_port(const struct front *front)
{
    return front->port;
}

static void tell(struct front *front, bool *word)
{
    pthread_mutex_lock(&front->mutex);
    *word = true;
    pthread_mutex_unlock(&front->mutex);
    wake(front);
}

void front_reload(struct front *front)
{
    tell(front, &front->must_reload);
}

void front_free(struct front *front)
{
    if (front == NULL)
        return;
    if (front->has_thread) {
        tell(front, &front->must_stop);
        pthread_join(front->thread, NULL);
        event_free(front->tcp_event);
        if (front->local_event != NULL)
            event_free(front->local_event);
        event_free(front->wake_event);
        event_free(front->tick_event);
        event_base_free(front->base);
    }
    if (front->tcp_fd >= 0)
        close(front->tcp_fd);
    link_listener_close(&front->local);
    front_tls_free(front->host.tls);
    close(front->wake_fd);
    pthread_mutex_destroy(&front->mutex);
    free(front);
}
