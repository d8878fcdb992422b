/* The publisher thread: one event_base, one link a data plane. Others reach it through the
 * mutex-guarded wanted state and an eventfd. It never waits for a data plane, and a data plane that
 * misbehaves costs only its own link. */
#include "controlplane/publisher.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/link.h"
#include "common/list.h"
#include "common/log.h"
#include "controlplane/following.h"
#include "controlplane/metrics.h"
#include "controlplane/offers.h"

#define TICK_MS      1000
#define PEERS_MAX    (FLEET_CONNECTED_MAX + 32)
#define HELLO_MAX_MS 5000
#define MESSAGE_MAX  65536

struct peer {
    struct list node;
    struct publisher *publisher;
    struct link *link;
    struct link_peer process;
    uint64_t connection; /* its number */
    uint64_t since_ns, last_ping_ns;
    struct offers offers;
    bool is_known; /* said HELLO */
};

struct publisher {
    struct event_base *base;
    struct event *accept_event, *wake_event, *tick_event;
    struct link_listener listener;
    struct fleet *fleet;
    struct events *events;
    struct publisher_hooks hooks;
    pthread_t thread;
    bool has_thread;
    int wake_fd;

    pthread_mutex_t mutex; /* guards the four below */
    struct routing_state wanted;
    uint64_t nonce; /* counts publishes, from 1: who answers n has seen all before n */
    bool adopt;
    bool stop;

    /* The thread's own. */
    struct list peers;
    unsigned peer_count;
    uint64_t last_connection;
};

static const char *quote(char buffer[600], const char *text)
{
    return log_quote(buffer, 600, text, strlen(text));
}

/* ---- talking ---- */

static bool send_message(struct peer *peer, const struct ctl_message *message)
{
    struct dynbuf text;
    dynbuf_init(&text, MESSAGE_MAX);
    bool sent =
        ctl_encode(message, &text) && link_send(peer->link, dynbuf_text(&text), text.length);
    dynbuf_fini(&text);
    return sent;
}

static void publish_dataplane(struct publisher *publisher, uint64_t connection)
{
    struct dynbuf text;
    struct json_writer writer;
    dynbuf_init(&text, MESSAGE_MAX);
    json_writer_init(&writer, &text);
    pthread_mutex_lock(&publisher->mutex);
    struct routing_state wanted = publisher->wanted;
    pthread_mutex_unlock(&publisher->mutex);
    if (fleet_write_one(publisher->fleet, connection, &wanted, &writer) && !text.failed)
        events_publish(publisher->events, "dataplane", dynbuf_text(&text));
    dynbuf_fini(&text);
}

/* The whole list: for changes that touch entries without a connection. */
static void publish_dataplanes(struct publisher *publisher)
{
    struct dynbuf text;
    struct json_writer writer;
    dynbuf_init(&text, 1024 * 1024);
    json_writer_init(&writer, &text);
    pthread_mutex_lock(&publisher->mutex);
    struct routing_state wanted = publisher->wanted;
    pthread_mutex_unlock(&publisher->mutex);
    fleet_write(publisher->fleet, &wanted, &writer);
    if (!text.failed)
        events_publish(publisher->events, "dataplanes", dynbuf_text(&text));
    dynbuf_fini(&text);
}

static void drop_peer(struct peer *peer, const char *reason)
{
    struct publisher *publisher = peer->publisher;
    bool was_known = peer->is_known;
    char quoted[600];
    if (was_known) {
        LOG_WARN("dataplane_disconnected", "connection=%llu pid=%d reason=%s",
                 (unsigned long long)peer->connection, (int)peer->process.pid,
                 quote(quoted, reason));
        fleet_disconnect(publisher->fleet, peer->connection, reason);
    }
    link_free(peer->link);
    list_remove(&peer->node);
    publisher->peer_count--;
    free(peer);
    if (was_known)
        publish_dataplanes(publisher);
}

static void refuse_peer(struct peer *peer, const char *reason, const char *detail)
{
    struct ctl_message message = {.type = CTL_REFUSED};
    char quoted[600];
    snprintf(message.refused.reason, sizeof message.refused.reason, "%s", reason);
    snprintf(message.refused.detail, sizeof message.refused.detail, "%s", detail);
    (void)send_message(peer, &message);
    control_metrics_add(CONTROL_METRIC_LINKS_REFUSED, 1);
    LOG_WARN("dataplane_refused", "pid=%d reason=%s detail=%s", (int)peer->process.pid, reason,
             quote(quoted, detail));
    drop_peer(peer, reason);
}

/* Sends what is wanted, if this peer was not sent it yet (or again, when forced). */
static void push(struct peer *peer, bool again)
{
    struct publisher *publisher = peer->publisher;
    struct ctl_message message = {.type = CTL_SNAPSHOT};
    pthread_mutex_lock(&publisher->mutex);
    struct routing_state wanted = publisher->wanted;
    uint64_t nonce = publisher->nonce;
    bool adopt = publisher->adopt;
    pthread_mutex_unlock(&publisher->mutex);
    if (!peer->is_known || (peer->offers.newest == nonce && !again))
        return;
    routing_snapshot(&wanted, nonce, adopt, &message.snapshot);
    offers_make(&peer->offers, &message.snapshot, clock_now_ns());
    (void)fleet_offer(publisher->fleet, peer->connection, nonce, peer->offers.times);
    control_metrics_add(CONTROL_METRIC_SNAPSHOTS_SENT, 1);
    (void)send_message(peer, &message); /* a dead link reports itself */
}

/* ---- listening ---- */

static void on_hello(struct peer *peer, const struct ctl_hello *hello)
{
    struct publisher *publisher = peer->publisher;
    uint64_t replaced;
    char quoted[600];
    char detail[128];
    if (peer->is_known) {
        refuse_peer(peer, "second_hello", "HELLO is said once");
        return;
    }
    if (hello->protocol != CTL_PROTOCOL) {
        snprintf(detail, sizeof detail, "this control plane speaks protocol %d, not %llu",
                 CTL_PROTOCOL, (unsigned long long)hello->protocol);
        refuse_peer(peer, "protocol", detail);
        return;
    }
    if (hello->instance[0] == '\0') {
        refuse_peer(peer, "instance", "HELLO must name an instance");
        return;
    }
    if (!fleet_connect(publisher->fleet, peer->connection, hello, &replaced)) {
        refuse_peer(peer, "full", "this control plane serves as many data planes as it can");
        return;
    }
    peer->is_known = true;
    LOG_INFO("dataplane_connected", "connection=%llu address=%s pid=%llu applied_revision=%llu",
             (unsigned long long)peer->connection, quote(quoted, hello->address),
             (unsigned long long)hello->pid, (unsigned long long)hello->applied_revision);
    for (struct list *node = publisher->peers.next, *next;
         replaced != 0 && node != &publisher->peers; node = next) {
        struct peer *other = CONTAINER_OF(node, struct peer, node);
        next = node->next;
        if (other->connection == replaced) {
            other->is_known = false; /* its entry belongs to the new connection now */
            refuse_peer(other, "replaced", "the same instance connected again");
            break;
        }
    }
    if (hello->applied_store_id[0] == '\0')
        publisher->hooks.on_unseeded(publisher->hooks.context, hello);
    push(peer, false);
    publish_dataplanes(publisher);
}

static void on_stats(struct peer *peer, const struct ctl_stats *stats)
{
    struct publisher *publisher = peer->publisher;
    struct dynbuf text;
    struct json_writer writer;
    const char *member;
    enum fleet_told told = fleet_stats(publisher->fleet, peer->connection, stats, &member);
    if (told == FLEET_TOLD_NONSENSE) {
        char detail[128];
        snprintf(detail, sizeof detail, "STATS: member \"%s\" is no histogram", member);
        refuse_peer(peer, "bad_message", detail);
    }
    if (told != FLEET_TOLD_NEWS)
        return;
    dynbuf_init(&text, MESSAGE_MAX);
    json_writer_init(&writer, &text);
    if (fleet_write_stats(publisher->fleet, peer->connection, &writer) && !text.failed)
        events_publish(publisher->events, "stats", dynbuf_text(&text));
    dynbuf_fini(&text);
}

/* true: the answer is news. false: it is not, or the peer was dropped for it. */
static bool is_news(struct peer *peer, enum offers_verdict verdict, const char *why)
{
    if (verdict == OFFERS_FALSE)
        refuse_peer(peer, "bad_answer", why);
    return verdict == OFFERS_NEWS;
}

static void on_ack(struct peer *peer, const struct ctl_ack *ack)
{
    char why[256] = "";
    if (!is_news(peer, offers_take_ack(&peer->offers, ack, why, sizeof why), why))
        return;
    control_metrics_add(CONTROL_METRIC_SNAPSHOTS_ACKED, 1);
    if (ack->nonce == peer->offers.newest)
        control_metrics_observe(CONTROL_HISTOGRAM_ACK, clock_now_ns() - peer->offers.made_ns);
    if (fleet_ack(peer->publisher->fleet, peer->connection, ack))
        publish_dataplane(peer->publisher, peer->connection);
}

static void on_nack(struct peer *peer, const struct ctl_nack *nack)
{
    char reason[600], detail[600], why[256] = "";
    if (!is_news(peer, offers_take_nack(&peer->offers, nack, why, sizeof why), why))
        return;
    control_metrics_add(CONTROL_METRIC_SNAPSHOTS_NACKED, 1);
    LOG_WARN("snapshot_refused", "connection=%llu reason=%s detail=%s in_force=%llu",
             (unsigned long long)peer->connection, quote(reason, nack->reason),
             quote(detail, nack->detail), (unsigned long long)nack->revision);
    if (fleet_nack(peer->publisher->fleet, peer->connection, nack))
        publish_dataplane(peer->publisher, peer->connection);
}

static void on_message(void *context, const char *text, size_t length)
{
    struct peer *peer = context;
    struct ctl_message message;
    char error[256];
    switch (ctl_decode(text, length, &message, error, sizeof error)) {
    case CTL_UNKNOWN:
        LOG_DEBUG("control_message_ignored", "connection=%llu",
                  (unsigned long long)peer->connection);
        return;
    case CTL_BAD:
        refuse_peer(peer, "bad_message", error);
        return;
    case CTL_GOOD:
        break;
    }
    if (!peer->is_known && message.type != CTL_HELLO) {
        refuse_peer(peer, "no_hello", "HELLO must come first");
        return;
    }
    switch (message.type) {
    case CTL_HELLO:
        on_hello(peer, &message.hello);
        break;
    case CTL_ACK:
        on_ack(peer, &message.ack);
        break;
    case CTL_NACK:
        on_nack(peer, &message.nack);
        break;
    case CTL_STATS:
        on_stats(peer, &message.stats);
        break;
    case CTL_PING:
        break; /* its arrival was its meaning */
    default:
        refuse_peer(peer, "bad_message", "only a control plane sends this message");
        break;
    }
}

static void on_closed(void *context, const char *reason)
{
    drop_peer(context, reason);
}

static void accept_one(struct publisher *publisher, int fd)
{
    char quoted[600];
    struct link_peer process = {0};
    control_metrics_add(CONTROL_METRIC_LINKS_ACCEPTED, 1);
    if (!link_peer_is_trusted(fd, &process) || publisher->peer_count >= PEERS_MAX) {
        const char *reason =
            publisher->peer_count >= PEERS_MAX ? "too many links" : "runs as another user";
        LOG_WARN("link_refused", "pid=%d uid=%u reason=%s", (int)process.pid, (unsigned)process.uid,
                 quote(quoted, reason));
        control_metrics_add(CONTROL_METRIC_LINKS_REFUSED, 1);
        close(fd);
        return;
    }
    struct peer *peer = calloc(1, sizeof *peer);
    CHECK(peer != NULL);
    struct link_hooks hooks = {.context = peer, .on_message = on_message, .on_closed = on_closed};
    peer->publisher = publisher;
    peer->process = process;
    peer->connection = ++publisher->last_connection;
    peer->since_ns = peer->last_ping_ns = clock_now_ns();
    peer->link = link_new(publisher->base, fd, &hooks);
    if (peer->link == NULL) {
        free(peer);
        return;
    }
    list_append(&publisher->peers, &peer->node);
    publisher->peer_count++;
}

static void on_acceptable(evutil_socket_t listener, short what, void *context)
{
    struct publisher *publisher = context;
    (void)what;
    for (int i = 0; i < 32; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                /* Out of descriptors: listening on would spin. The tick tries again. */
                LOG_ERROR("accept_failed", "reason=\"%s\"", strerror(errno));
                event_del(publisher->accept_event);
            }
            return;
        }
        accept_one(publisher, fd);
    }
}

/* ---- the loop ---- */

static void on_wake(evutil_socket_t fd, short what, void *context)
{
    struct publisher *publisher = context;
    uint64_t count;
    (void)what;
    (void)!read(fd, &count, sizeof count);
    pthread_mutex_lock(&publisher->mutex);
    bool stop = publisher->stop;
    pthread_mutex_unlock(&publisher->mutex);
    if (stop) {
        event_base_loopbreak(publisher->base);
        return;
    }
    for (struct list *node = publisher->peers.next; node != &publisher->peers; node = node->next)
        push(CONTAINER_OF(node, struct peer, node), false);
}

/* What was refused, or not answered in time: frames get lost, and causes go away. */
static void offer_again(struct peer *peer)
{
    if (!peer->offers.is_refused) {
        control_metrics_add(CONTROL_METRIC_SNAPSHOTS_UNANSWERED, 1);
        LOG_WARN("snapshot_unanswered", "connection=%llu pid=%d nonce=%llu offers=%u",
                 (unsigned long long)peer->connection, (int)peer->process.pid,
                 (unsigned long long)peer->offers.newest, peer->offers.times);
    }
    push(peer, true);
    publish_dataplane(peer->publisher, peer->connection);
}

static void tend(struct peer *peer, uint64_t now_ns)
{
    uint64_t silent_ns = now_ns - link_last_received_ns(peer->link);
    if (!peer->is_known && now_ns - peer->since_ns > HELLO_MAX_MS * NS_PER_MS) {
        refuse_peer(peer, "no_hello", "no HELLO came in time");
        return;
    }
    if (silent_ns > CTL_PEER_TIMEOUT_MS * NS_PER_MS) {
        drop_peer(peer, "the data plane went silent");
        return;
    }
    if (fleet_set_silent(peer->publisher->fleet, peer->connection,
                         silent_ns > FOLLOWING_SILENT_MS * NS_PER_MS))
        publish_dataplane(peer->publisher, peer->connection);
    if (offers_is_due(&peer->offers, now_ns))
        offer_again(peer);
    if (now_ns - peer->last_ping_ns >= CTL_PING_INTERVAL_MS * NS_PER_MS) {
        struct ctl_message message = {.type = CTL_PING};
        peer->last_ping_ns = now_ns;
        (void)send_message(peer, &message);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    struct publisher *publisher = context;
    uint64_t now_ns = clock_now_ns();
    (void)fd;
    (void)what;
    for (struct list *node = publisher->peers.next, *next; node != &publisher->peers; node = next) {
        next = node->next;
        tend(CONTAINER_OF(node, struct peer, node), now_ns);
    }
    event_add(publisher->accept_event, NULL);
}

static void *run(void *context)
{
    struct publisher *publisher = context;
    event_base_dispatch(publisher->base);
    while (!list_is_empty(&publisher->peers)) {
        struct peer *peer = CONTAINER_OF(list_first(&publisher->peers), struct peer, node);
        list_remove(&peer->node);
        link_free(peer->link);
        free(peer);
    }
    return NULL;
}

static void wake(struct publisher *publisher)
{
    uint64_t one = 1;
    CHECK(write(publisher->wake_fd, &one, sizeof one) == sizeof one);
}

struct publisher *publisher_new(const char *socket_path, const struct routing_state *state,
                                struct fleet *fleet, struct events *events,
                                const struct publisher_hooks *hooks, char *error, size_t error_size)
{
    static const struct timeval tick = {.tv_sec = TICK_MS / 1000};
    struct publisher *publisher = calloc(1, sizeof *publisher);
    CHECK(publisher != NULL);
    publisher->fleet = fleet;
    publisher->events = events;
    publisher->hooks = *hooks;
    publisher->wanted = *state;
    publisher->nonce = 1;
    list_init(&publisher->peers);
    pthread_mutex_init(&publisher->mutex, NULL);
    publisher->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(publisher->wake_fd >= 0);
    if (!link_listen(&publisher->listener, socket_path, error, error_size)) {
        publisher_free(publisher);
        return NULL;
    }
    publisher->base = event_base_new();
    CHECK(publisher->base != NULL);
    publisher->accept_event = event_new(publisher->base, publisher->listener.fd,
                                        EV_READ | EV_PERSIST, on_acceptable, publisher);
    publisher->wake_event =
        event_new(publisher->base, publisher->wake_fd, EV_READ | EV_PERSIST, on_wake, publisher);
    publisher->tick_event = event_new(publisher->base, -1, EV_PERSIST, on_tick, publisher);
    CHECK(event_add(publisher->accept_event, NULL) == 0 &&
          event_add(publisher->wake_event, NULL) == 0 &&
          event_add(publisher->tick_event, &tick) == 0);
    CHECK(pthread_create(&publisher->thread, NULL, run, publisher) == 0);
    publisher->has_thread = true;
    return publisher;
}

uint64_t publisher_publish(struct publisher *publisher, const struct routing_state *state,
                           bool adopt)
{
    pthread_mutex_lock(&publisher->mutex);
    publisher->wanted = *state;
    publisher->adopt = adopt;
    uint64_t nonce = ++publisher->nonce;
    pthread_mutex_unlock(&publisher->mutex);
    wake(publisher);
    return nonce;
}

uint64_t publisher_nonce(struct publisher *publisher)
{
    pthread_mutex_lock(&publisher->mutex);
    uint64_t nonce = publisher->nonce;
    pthread_mutex_unlock(&publisher->mutex);
    return nonce;
}

void publisher_free(struct publisher *publisher)
{
    if (publisher == NULL)
        return;
    if (publisher->has_thread) {
        pthread_mutex_lock(&publisher->mutex);
        publisher->stop = true;
        pthread_mutex_unlock(&publisher->mutex);
        wake(publisher);
        pthread_join(publisher->thread, NULL);
        event_free(publisher->accept_event);
        event_free(publisher->wake_event);
        event_free(publisher->tick_event);
        event_base_free(publisher->base);
    }
    if (publisher->listener.fd >= 0)
        link_listener_close(&publisher->listener);
    close(publisher->wake_fd);
    pthread_mutex_destroy(&publisher->mutex);
    free(publisher);
}
