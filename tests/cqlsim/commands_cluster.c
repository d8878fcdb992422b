/* Commands about nodes: which serve, which are there, what clients are told of them. Owned by the
 * main thread. */
#include "commands.h"

#include <arpa/inet.h>
#include <strings.h>

#define EVENT_MAX_BYTES 4096

/* A node we serve, by address; NULL with *ok false when there is none such, with *ok true for no
 * word. */
static const struct node *served_node(struct server *server, const char *word, bool *ok)
{
    *ok = word == NULL;
    for (size_t i = 0; word != NULL && i < server->listener_count; i++) {
        if (strcmp(server->listeners[i].node->address, word) == 0) {
            *ok = true;
            return server->listeners[i].node;
        }
    }
    return NULL;
}

void command_refuse(struct server *server, struct words *words, struct dynbuf *out)
{
    const char *word = command_word(words);
    bool on = word != NULL && strcasecmp(word, "on") == 0;
    bool ok;
    if (!on && (word == NULL || strcasecmp(word, "off") != 0)) {
        dynbuf_append_text(out, "error refuse takes on or off\n");
        return;
    }
    const struct node *node = served_node(server, command_word(words), &ok);
    if (!ok)
        dynbuf_append_text(out, "error no such address is served here\n");
    else if (server_refuse(server, node, on))
        dynbuf_append_text(out, "ok\n");
    else
        dynbuf_append_text(out, "error an address could not be opened again\n");
}

/* Drops the connections to node, or all when it is NULL; says how many. */
static size_t disconnect(struct server *server, const struct node *node)
{
    size_t count = 0;
    for (struct list *at = server->connections.next; at != &server->connections; at = at->next) {
        struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (node != NULL && connection->at != node)
            continue;
        connection_doom(connection);
        count++;
    }
    return count;
}

void command_disconnect(struct server *server, struct words *words, struct dynbuf *out)
{
    bool ok;
    const struct node *node = served_node(server, command_word(words), &ok);
    if (ok)
        dynbuf_printf(out, "ok %zu\n", disconnect(server, node));
    else
        dynbuf_append_text(out, "error no such address is served here\n");
}

void command_mute(struct server *server, struct words *words, struct dynbuf *out)
{
    const char *word = command_word(words);
    bool on = word != NULL && strcasecmp(word, "on") == 0;
    bool ok;
    if (!on && (word == NULL || strcasecmp(word, "off") != 0)) {
        dynbuf_append_text(out, "error mute takes on or off\n");
        return;
    }
    const struct node *node = served_node(server, command_word(words), &ok);
    if (!ok) {
        dynbuf_append_text(out, "error no such address is served here\n");
        return;
    }
    for (size_t i = 0; i < server->listener_count; i++)
        if (node == NULL || server->listeners[i].node == node)
            server->muted[server->listeners[i].node->index] = on;
    for (struct list *at = server->connections.next; at != &server->connections; at = at->next)
        connection_hear(CONTAINER_OF(at, struct connection, node));
    dynbuf_append_text(out, "ok\n");
}

static void node_event(struct server *server, unsigned mask, const char *change,
                       const struct node *node)
{
    struct dynbuf body;
    dynbuf_init(&body, EVENT_MAX_BYTES);
    wire_put_string(&body, mask == EVENT_STATUS ? "STATUS_CHANGE" : "TOPOLOGY_CHANGE");
    wire_put_string(&body, change);
    wire_put_u8(&body, (uint8_t)node->ip_length);
    dynbuf_append(&body, node->ip, node->ip_length);
    wire_put_i32(&body, server->engine.cluster.port);
    server_broadcast(server, mask, &body);
    dynbuf_fini(&body);
}

static void node_add(struct server *server, const char *address, struct words *words,
                     struct dynbuf *out)
{
    struct cluster *cluster = &server->engine.cluster;
    const struct node *like = &cluster->nodes[0];
    const char *rack = command_word(words);
    const char *datacenter = command_word(words);
    rack = rack == NULL ? like->rack : arena_text(&server->names, rack);
    datacenter = datacenter == NULL ? like->datacenter : arena_text(&server->names, datacenter);
    struct node *node = cluster_add_node(cluster, address, NULL, rack, datacenter, true);
    if (node == NULL) {
        dynbuf_append_text(out, "error it is no address, is there already, or is one too many\n");
        return;
    }
    if (!server_listen_on(server, node)) {
        node->gone = true;
        dynbuf_append_text(out, "error the address cannot be listened on\n");
        return;
    }
    node_event(server, EVENT_TOPOLOGY, "NEW_NODE", node);
    node_event(server, EVENT_STATUS, "UP", node);
    dynbuf_append_text(out, "ok\n");
}

/* node add ADDRESS [RACK [DATACENTER]], node remove|leave|down|up ADDRESS */
void command_node(struct server *server, struct words *words, struct dynbuf *out)
{
    const char *what = command_word(words);
    const char *address = command_word(words);
    if (what == NULL || address == NULL) {
        dynbuf_append_text(out,
                           "error node takes add, remove, leave, down or up, and an address\n");
        return;
    }
    if (strcasecmp(what, "add") == 0) {
        node_add(server, address, words, out);
        return;
    }
    bool ok;
    struct node *node = (struct node *)(uintptr_t)served_node(server, address, &ok);
    if (!ok || node->gone) {
        dynbuf_append_text(out, "error no such address is served here\n");
        return;
    }
    bool up = strcasecmp(what, "up") == 0;
    bool left = strcasecmp(what, "leave") == 0; /* out of the tables, but it goes on serving */
    bool removed = left || strcasecmp(what, "remove") == 0;
    if (!up && !removed && strcasecmp(what, "down") != 0) {
        dynbuf_append_text(out, "error node takes add, remove, leave, down or up\n");
        return;
    }
    if (!left && !server_refuse(server, node, !up)) {
        dynbuf_append_text(out, "error the address could not be opened again\n");
        return;
    }
    if (!up && !left)
        disconnect(server, node);
    node->gone = removed;
    if (!left)
        node_event(server, EVENT_STATUS, up ? "UP" : "DOWN", node);
    if (removed)
        node_event(server, EVENT_TOPOLOGY, "REMOVED_NODE", node);
    dynbuf_append_text(out, "ok\n");
}

/* ADDRESS:PORT, an IPv6 address in brackets, as [inet]. */
static bool put_inet(struct dynbuf *body, const char *text)
{
    char address[INET6_ADDRSTRLEN + 2];
    const char *colon = text == NULL ? NULL : strrchr(text, ':');
    uint64_t port;
    uint8_t ip[16];
    if (colon == NULL || !command_number(colon + 1, 65535, &port))
        return false;
    bool bracket = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    size_t length = (size_t)(colon - text) - (bracket ? 2 : 0);
    if (length >= sizeof address)
        return false;
    memcpy(address, text + bracket, length);
    address[length] = '\0';
    uint8_t size = inet_pton(AF_INET, address, ip) == 1    ? 4
                   : inet_pton(AF_INET6, address, ip) == 1 ? 16
                                                           : 0;
    wire_put_u8(body, size);
    dynbuf_append(body, ip, size);
    wire_put_i32(body, (int32_t)port);
    return size > 0;
}

void command_event(struct server *server, struct words *words, struct dynbuf *out)
{
    const char *type = command_word(words);
    const char *change = command_word(words);
    const char *where = command_word(words);
    unsigned mask = type == NULL                               ? 0
                    : strcasecmp(type, "STATUS_CHANGE") == 0   ? EVENT_STATUS
                    : strcasecmp(type, "TOPOLOGY_CHANGE") == 0 ? EVENT_TOPOLOGY
                    : strcasecmp(type, "SCHEMA_CHANGE") == 0   ? EVENT_SCHEMA
                                                               : 0;
    struct dynbuf body;
    dynbuf_init(&body, EVENT_MAX_BYTES);
    bool ok = mask != 0 && change != NULL && where != NULL;
    if (ok) {
        wire_put_string(&body, type);
        wire_put_string(&body, change);
        if (mask == EVENT_SCHEMA) {
            for (; where != NULL; where = command_word(words))
                wire_put_string(&body, where);
        } else {
            ok = put_inet(&body, where);
        }
    }
    if (ok)
        server_broadcast(server, mask, &body);
    dynbuf_append_text(
        out, ok ? "ok\n"
                : "error event takes STATUS_CHANGE|TOPOLOGY_CHANGE CHANGE ADDRESS:PORT or "
                  "SCHEMA_CHANGE CHANGE TARGET KEYSPACE [NAME]\n");
    dynbuf_fini(&body);
}
