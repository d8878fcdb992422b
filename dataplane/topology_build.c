/* Builds topologies on the main thread. It must take any bytes a cluster sends: a host it cannot
 * use is skipped with a warning, a cluster it cannot use is refused with a reason. */
#include "dataplane/topology_build.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "dataplane/assign.h"
#include "dataplane/versions.h"

/* A cluster may send any number of broken rows; a log may not be filled with them. */
#define SKIPPED_LOGGED_MAX 16

bool topology_node_from_inet(struct topology_node *node, struct cql_span inet, int port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];
    memset(node, 0, sizeof *node);
    if (inet.length == 16 && memcmp(inet.data, mapped, sizeof mapped) == 0)
        inet = (struct cql_span){inet.data + 12, 4};
    if (inet.length == 4) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        memcpy(&address.sin_addr, inet.data, 4);
        memcpy(&node->address, &address, sizeof address);
        node->address_length = sizeof address;
        inet_ntop(AF_INET, inet.data, text, sizeof text);
        snprintf(node->name, sizeof node->name, "%s:%d", text, port);
        return true;
    }
    if (inet.length == 16) {
        struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        memcpy(&address.sin6_addr, inet.data, 16);
        memcpy(&node->address, &address, sizeof address);
        node->address_length = sizeof address;
        inet_ntop(AF_INET6, inet.data, text, sizeof text);
        snprintf(node->name, sizeof node->name, "[%s]:%d", text, port);
        return true;
    }
    return false;
}

bool topology_node_from_text(struct topology_node *node, const char *literal, int port)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, literal, bytes) == 1)
        return topology_node_from_inet(node, (struct cql_span){bytes, 4}, port);
    if (inet_pton(AF_INET6, literal, bytes) == 1)
        return topology_node_from_inet(node, (struct cql_span){bytes, 16}, port);
    return false;
}

static struct cql_span cell(const struct cql_rows *rows, int row, const char *column)
{
    return cql_rows_cell(rows, row, cql_rows_column(rows, column));
}

/* An address one can dial: present, of a known length, and not the wildcard. */
static bool is_dialable(struct cql_span inet)
{
    static const uint8_t wildcard[16];
    return (inet.length == 4 || inet.length == 16) && memcmp(inet.data, wildcard, inet.length) != 0;
}

static bool is_wildcard(struct cql_span inet)
{
    return (inet.length == 4 || inet.length == 16) && !is_dialable(inet);
}

static bool address_local(const struct topology *topology, const struct topology_facts *facts,
                          struct topology_node *node)
{
    struct cql_span inet = cell(&topology->local, 0, "rpc_address");
    if (is_wildcard(inet)) {
        static const char *const others[] = {"broadcast_address", "listen_address"};
        for (size_t i = 0; i < ARRAY_COUNT(others) && !is_dialable(inet); i++)
            inet = cell(&topology->local, 0, others[i]);
    }
    if (is_dialable(inet))
        return topology_node_from_inet(node, inet, facts->port);
    /* Cassandra 2.0 has no rpc_address in system.local; what we dialled is known to work. */
    *node = facts->endpoint;
    return true;
}

static bool address_peer(const struct topology *topology, int row, int port,
                         struct topology_node *node)
{
    struct cql_span inet = cell(&topology->peers, row, "rpc_address");
    if (!is_dialable(inet))
        inet = cell(&topology->peers, row, "peer");
    return is_dialable(inet) && topology_node_from_inet(node, inet, port);
}

static void format_uuid(struct cql_span uuid, char text[37])
{
    size_t used = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[used++] = '-';
        snprintf(text + used, 3, "%02x", uuid.data[i]);
        used += 2;
    }
}

/* Under which name a host is dialled: behind an SNI proxy its id at the proxy's address, else its
 * own address, with the name of the contact point that has led there, if one has. */
static void settle_identity(struct topology_host *host, const struct topology_facts *facts)
{
    if (facts->endpoint.is_behind_sni) {
        host->node = facts->endpoint;
        for (size_t i = 0; i < facts->known_count; i++)
            if (strcmp(facts->known[i].name, host->host_id) == 0)
                host->node = facts->known[i];
        memcpy(host->node.name, host->host_id, sizeof host->host_id);
        return;
    }
    for (size_t i = 0; i < facts->known_count; i++)
        if (strcmp(facts->known[i].name, host->node.name) == 0)
            memcpy(host->node.server_name, facts->known[i].server_name,
                   sizeof host->node.server_name);
}

/* Reads one row into *host; *why names what is missing when it cannot be used. datacenter receives
 * a borrowed span. */
static bool read_host(const struct topology *topology, const struct topology_facts *facts,
                      bool is_local, int row, struct topology_host *host,
                      struct cql_span *datacenter, const char **why)
{
    const struct cql_rows *rows = is_local ? &topology->local : &topology->peers;
    struct cql_span host_id = cell(rows, row, "host_id");
    struct cql_span rack = cell(rows, row, "rack");
    *datacenter = cell(rows, row, "data_center");
    *why = host_id.length != 16       ? "host_id"
           : datacenter->length == 0  ? "data_center"
           : rack.length == 0         ? "rack"
           : datacenter->length > 255 ? "data_center of at most 255 bytes"
           : rack.length > 255        ? "rack of at most 255 bytes"
                                      : NULL;
    if (*why != NULL)
        return false;
    memset(host, 0, sizeof *host);
    format_uuid(host_id, host->host_id);
    memcpy(host->rack, rack.data, rack.length);
    host->local_row = is_local ? row : -1;
    host->peers_row = is_local ? -1 : row;
    *why = "address";
    if (!(is_local ? address_local(topology, facts, &host->node)
                   : address_peer(topology, row, facts->port, &host->node)))
        return false;
    settle_identity(host, facts);
    return true;
}

static void warn_skipped(const struct topology_facts *facts, int row, const struct cql_rows *peers,
                         const char *why)
{
    struct topology_node node;
    bool is_named = topology_node_from_inet(&node, cell(peers, row, "peer"), facts->port);
    LOG_WARN("host_skipped",
             "cluster=%s peer=%s reason=\"its row in system.peers has no usable %s\"",
             cluster_name(facts->cluster), is_named ? node.name : "unknown", why);
}

static int compare_host_ids(const void *left, const void *right)
{
    const struct topology_host *a = left;
    const struct topology_host *b = right;
    int by_id = strcmp(a->host_id, b->host_id);
    if (by_id != 0)
        return by_id;
    if (a->local_row != b->local_row)
        return a->local_row >= 0 ? -1 : 1;
    return a->peers_row > b->peers_row ? -1 : 1;
}

/* The same host twice: the local row wins over a row of peers, a later row of peers over an earlier
 * one. */
static void drop_duplicates(struct topology *topology)
{
    struct topology_host *hosts = topology->hosts;
    size_t kept = 0;
    qsort(hosts, topology->host_count, sizeof *hosts, compare_host_ids);
    for (size_t i = 0; i < topology->host_count; i++) {
        if (kept == 0 || strcmp(hosts[kept - 1].host_id, hosts[i].host_id) != 0)
            hosts[kept++] = hosts[i];
    }
    topology->host_count = kept;
}

static int compare_hosts(const void *left, const void *right)
{
    const struct topology_host *a = left;
    const struct topology_host *b = right;
    int by_rack = strcmp(a->rack, b->rack);
    return by_rack != 0 ? by_rack : strcmp(a->host_id, b->host_id);
}

static bool is_datacenter_known(const struct topology *topology, const char *name)
{
    bool is_known = cql_span_equals(cell(&topology->local, 0, "data_center"), name);
    for (int row = 0; row < topology->peers.row_count && !is_known; row++)
        is_known = cql_span_equals(cell(&topology->peers, row, "data_center"), name);
    return is_known;
}

/* Once per process: the setting's, if there is such a one, else that of the node at hand. */
static void choose_datacenter(const struct topology *topology, const struct topology_facts *facts,
                              struct cql_span local, char datacenter[256])
{
    const char *wanted = facts->local_datacenter == NULL ? "" : facts->local_datacenter;
    memcpy(datacenter, local.data, local.length);
    datacenter[local.length] = '\0';
    if (wanted[0] == '\0' || strcmp(wanted, datacenter) == 0)
        return;
    if (strlen(wanted) < 256 && is_datacenter_known(topology, wanted)) {
        snprintf(datacenter, 256, "%s", wanted);
        return;
    }
    char asked[300], taken[300];
    LOG_WARN("datacenter_unknown",
             "cluster=%s wanted=%s using=%s reason=\"no node is in the "
             "datacenter named by the setting\"",
             cluster_name(facts->cluster), log_quote(asked, sizeof asked, wanted, strlen(wanted)),
             log_quote(taken, sizeof taken, datacenter, strlen(datacenter)));
}

static bool collect_hosts(struct topology *topology, const struct topology_facts *facts,
                          char datacenter[256], struct dynbuf *reason)
{
    struct topology_host host;
    struct cql_span where;
    const char *why;
    if (!read_host(topology, facts, true, 0, &host, &where, &why)) {
        dynbuf_printf(reason, "its system.local has no usable %s", why);
        return false;
    }
    if (datacenter[0] == '\0')
        choose_datacenter(topology, facts, where, datacenter);
    /* Bounded by the bytes that were received: each row took some. */
    topology->hosts = calloc((size_t)topology->peers.row_count + 1, sizeof *topology->hosts);
    CHECK(topology->hosts != NULL);
    if (cql_span_equals(where, datacenter))
        topology->hosts[topology->host_count++] = host;
    size_t skipped = 0;
    for (int row = 0; row < topology->peers.row_count; row++) {
        if (!read_host(topology, facts, false, row, &host, &where, &why)) {
            if (skipped++ < SKIPPED_LOGGED_MAX)
                warn_skipped(facts, row, &topology->peers, why);
        } else if (cql_span_equals(where, datacenter)) {
            topology->hosts[topology->host_count++] = host;
        }
    }
    drop_duplicates(topology);
    if (topology->host_count == 0) {
        dynbuf_printf(reason, "no host of datacenter %s is left", datacenter);
        return false;
    }
    qsort(topology->hosts, topology->host_count, sizeof *topology->hosts, compare_hosts);
    return true;
}

static void choose_nodes(struct topology *topology, const struct topology_facts *facts)
{
    size_t count = topology->host_count;
    size_t *order = calloc(count, sizeof *order);
    topology->nodes = calloc(count, sizeof *topology->nodes);
    topology->spare_nodes = calloc(count, sizeof *topology->spare_nodes);
    CHECK(order != NULL && topology->nodes != NULL && topology->spare_nodes != NULL);
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    assign_shuffle(order, count, facts->seed);
    if (!facts->is_assigned)
        topology->nodes[topology->node_count++] = facts->endpoint;
    for (size_t i = 0; i < count; i++) {
        const struct topology_node *node = &topology->hosts[order[i]].node;
        if (!facts->is_assigned) {
            if (strcmp(node->name, facts->endpoint.name) != 0)
                topology->spare_nodes[topology->spare_count++] = *node;
        } else if (assign_is_mine(order[i], count, facts->proxy_index, facts->proxy_count)) {
            topology->nodes[topology->node_count++] = *node;
        } else {
            topology->spare_nodes[topology->spare_count++] = *node;
        }
    }
    free(order);
    if (facts->find_health == NULL)
        return;
    for (size_t i = 0; i < topology->node_count; i++)
        topology->nodes[i].health = facts->find_health(facts->context, &topology->nodes[i]);
    for (size_t i = 0; i < topology->spare_count; i++)
        topology->spare_nodes[i].health =
            facts->find_health(facts->context, &topology->spare_nodes[i]);
}

static bool contains(struct cql_span text, const char *part)
{
    return text.length > 0 && memmem(text.data, text.length, part, strlen(part)) != NULL;
}

static bool check_partitioner(const struct topology *topology, struct dynbuf *reason)
{
    struct cql_span partitioner = cell(&topology->local, 0, "partitioner");
    if (contains(partitioner, "Murmur3Partitioner") || contains(partitioner, "RandomPartitioner"))
        return true;
    dynbuf_append_text(reason, "virtualization is enabled and partitioner is not Murmur3 or Random "
                               "but instead ");
    dynbuf_append(reason, partitioner.data, partitioner.length < 200 ? partitioner.length : 200);
    return false;
}

static uint8_t *copy_of(struct cql_span span)
{
    uint8_t *copy = malloc(span.length + 1);
    CHECK(copy != NULL);
    if (span.length > 0)
        memcpy(copy, span.data, span.length);
    return copy;
}

static bool fill(struct topology *topology, const struct topology_facts *facts,
                 char datacenter[256], struct dynbuf *reason)
{
    if (!cql_rows_decode(topology->local_body, facts->local.length, &topology->local) ||
        topology->local.row_count < 1) {
        dynbuf_append_text(reason,
                           "it answered SELECT * FROM system.local with no row one can read");
        return false;
    }
    if (!cql_rows_decode(topology->peers_body, facts->peers.length, &topology->peers)) {
        dynbuf_append_text(reason, "its answer to SELECT * FROM system.peers is malformed");
        return false;
    }
    struct cql_span title = cell(&topology->local, 0, "cluster_name");
    if (title.length > 0 && title.length < sizeof topology->cluster_title)
        memcpy(topology->cluster_title, title.data, title.length);
    if (!check_partitioner(topology, reason) || !collect_hosts(topology, facts, datacenter, reason))
        return false;
    choose_nodes(topology, facts);
    return true;
}

struct topology *topology_build(const struct topology_facts *facts, char datacenter[256],
                                struct dynbuf *reason)
{
    struct topology *topology = calloc(1, sizeof *topology);
    CHECK(topology != NULL);
    atomic_init(&topology->references, 1);
    topology->cluster = facts->cluster;
    topology->requires_authentication = facts->requires_authentication;
    topology->protocol_version = facts->protocol_version;
    topology->local_body = copy_of(facts->local);
    topology->peers_body = copy_of(facts->peers);
    topology->versions = versions_of_node(facts->supported, facts->protocol_version);
    topology->supported_body = copy_of(facts->supported);
    topology->supported_length = facts->supported.length;
    if (fill(topology, facts, datacenter, reason))
        return topology;
    topology_put(topology);
    return NULL;
}
