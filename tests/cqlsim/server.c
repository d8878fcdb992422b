/* Listeners and the loop turn: handlers only queue, everything is written at the end of the turn,
 * the doomed are freed after that. One thread owns it all. */
#include "server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"

static void on_acceptable(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct listener *listener = argument;
    for (int i = 0; i < 64; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
                LOG_WARN("accept_failed", "errno=%d", errno);
            return;
        }
        int on = 1;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connection_open(listener->server, listener->node, client);
    }
}

static bool listener_start(struct listener *listener)
{
    const struct node *node = listener->node;
    uint16_t port = listener->server->engine.cluster.port;
    struct sockaddr_storage address = {0};
    socklen_t length;
    if (node->ip_length == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        memcpy(&v4->sin_addr, node->ip, 4);
        length = sizeof *v4;
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        memcpy(&v6->sin6_addr, node->ip, 16);
        length = sizeof *v6;
    }
    int on = 1;
    listener->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd >= 0)
        setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, length) != 0 ||
        listen(listener->fd, 1024) != 0) {
        LOG_ERROR("listen_failed", "address=%s port=%u reason=\"%s\"", node->address, port,
                  strerror(errno));
        if (listener->fd >= 0)
            close(listener->fd);
        return false;
    }
    listener->event = event_new(listener->server->base, listener->fd, EV_READ | EV_PERSIST,
                                on_acceptable, listener);
    CHECK(listener->event != NULL && event_add(listener->event, NULL) == 0);
    return true;
}

static void listener_stop(struct listener *listener)
{
    if (listener->event == NULL)
        return;
    event_free(listener->event);
    listener->event = NULL;
    close(listener->fd);
}

bool server_listen_on(struct server *server, const struct node *node)
{
    for (size_t i = 0; i < server->listener_count; i++)
        if (server->listeners[i].node == node)
            return listener_start(&server->listeners[i]);
    struct listener *listener = &server->listeners[server->listener_count++];
    *listener = (struct listener){.server = server, .node = node, .fd = -1};
    return listener_start(listener);
}

bool server_listen(struct server *server)
{
    const struct cluster *cluster = &server->engine.cluster;
    for (size_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i].served && !server_listen_on(server, &cluster->nodes[i]))
            return false;
    return true;
}

bool server_refuse(struct server *server, const struct node *node, bool refuse)
{
    bool ok = true;
    for (size_t i = 0; i < server->listener_count; i++) {
        struct listener *listener = &server->listeners[i];
        if (node != NULL && listener->node != node)
            continue;
        if (refuse)
            listener_stop(listener);
        else if (listener->event == NULL)
            ok = listener_start(listener) && ok;
    }
    return ok;
}

void server_run(struct server *server)
{
    while (!server->stopping) {
        event_base_loop(server->base, EVLOOP_ONCE);
        struct list *node;
        while ((node = list_take_first(&server->dirty)) != NULL)
            connection_flush(CONTAINER_OF(node, struct connection, dirty));
        while ((node = list_take_first(&server->doomed)) != NULL)
            connection_free(CONTAINER_OF(node, struct connection, doomed));
    }
}

void server_close(struct server *server)
{
    for (size_t i = 0; i < server->listener_count; i++)
        listener_stop(&server->listeners[i]);
    struct list *node;
    while ((node = list_first(&server->connections)) != NULL)
        connection_free(CONTAINER_OF(node, struct connection, node));
    prepared_clear(&server->prepared);
    arena_fini(&server->scratch);
    arena_fini(&server->names);
    tls_close(server->tls);
    server->tls = NULL;
}

void server_broadcast(struct server *server, unsigned mask, const struct dynbuf *body)
{
    struct list *all = &server->connections;
    for (struct list *node = all->next; node != all; node = node->next) {
        struct connection *connection = CONTAINER_OF(node, struct connection, node);
        if ((connection->registered & mask) == 0 || connection->closing ||
            server->muted[connection->at->index])
            continue;
        size_t start =
            connection_begin_frame(connection, (uint8_t)connection->version, -1, OP_EVENT);
        dynbuf_append(&connection->out, body->data, body->length);
        connection_end_frame(connection, start);
    }
}

void server_schema_event(struct server *server, const struct schema_change *change)
{
    struct dynbuf body;
    dynbuf_init(&body, 4096);
    wire_put_string(&body, "SCHEMA_CHANGE");
    wire_put_string(&body, change->change);
    wire_put_string(&body, change->target);
    wire_put_string(&body, change->keyspace);
    if (change->name[0] != '\0')
        wire_put_string(&body, change->name);
    server_broadcast(server, EVENT_SCHEMA, &body);
    dynbuf_fini(&body);
}
