/* Host assignment and the building of topologies from rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/assign.h"
#include "dataplane/topology_build.h"
#include "proto/cql_response.h"

static void test_assignment(void **state)
{
    (void)state;
    for (size_t hosts = 1; hosts <= 12; hosts++) {
        for (size_t proxies = 1; proxies <= 12; proxies++) {
            size_t owners[12] = {0};
            for (size_t proxy = 0; proxy < proxies; proxy++) {
                size_t mine = 0;
                for (size_t host = 0; host < hosts; host++) {
                    if (assign_is_mine(host, hosts, proxy, proxies)) {
                        mine++;
                        owners[host]++;
                    }
                }
                assert_true(mine >= 1);
                if (proxies <= hosts)
                    assert_in_range(mine, hosts / proxies, hosts / proxies + 1);
                else
                    assert_int_equal(mine, 1);
            }
            for (size_t host = 0; host < hosts; host++) {
                assert_true(owners[host] >= 1);
                if (proxies <= hosts)
                    assert_int_equal(owners[host], 1);
            }
        }
    }
    /* Five hosts, two proxies; then one host too few. */
    static const bool expected[5] = {false, true, false, true, false};
    for (size_t host = 0; host < 5; host++)
        assert_int_equal(assign_is_mine(host, 5, 1, 2), expected[host]);
    assert_true(assign_is_mine(0, 2, 2, 3));
    assert_false(assign_is_mine(1, 2, 2, 3));
}

static void assert_order(size_t nodes, size_t spares, size_t turn, const char *down,
                         const char *expected)
{
    uint32_t order[8];
    bool is_down[8];
    char got[9] = "";
    for (size_t i = 0; i < nodes + spares; i++)
        is_down[i] = strchr(down, (int)('0' + i)) != NULL;
    assign_order(order, nodes, spares, turn, is_down);
    for (size_t i = 0; i < nodes + spares; i++)
        got[i] = (char)('0' + order[i]);
    assert_string_equal(got, expected);
}

/* Assigned nodes first, spare ones next, both from the connection's turn on; then those that are
 * down. */
static void test_order(void **state)
{
    (void)state;
    assert_order(1, 0, 0, "", "0");
    assert_order(1, 0, 7, "0", "0");
    assert_order(3, 0, 0, "", "012");
    assert_order(3, 0, 4, "", "120");
    assert_order(2, 3, 0, "", "01234");
    assert_order(2, 3, 1, "", "10342");
    assert_order(2, 3, 0, "0", "12340");
    assert_order(2, 3, 0, "01", "23401");
    assert_order(2, 3, 0, "024", "13024");
    assert_order(2, 3, 0, "01234", "01234");
    assert_order(2, 1, (size_t)UINT32_MAX, "", "102");
}

static void test_shuffle(void **state)
{
    (void)state;
    size_t firsts[6] = {0};
    for (uint64_t seed = 0; seed < 600; seed++) {
        size_t order[6] = {0, 1, 2, 3, 4, 5}, again[6] = {0, 1, 2, 3, 4, 5};
        unsigned seen = 0;
        assign_shuffle(order, 6, seed);
        assign_shuffle(again, 6, seed);
        assert_memory_equal(order, again, sizeof order);
        for (size_t i = 0; i < 6; i++)
            seen |= 1u << order[i];
        assert_int_equal(seen, 63);
        firsts[order[0]]++;
    }
    for (size_t i = 0; i < 6; i++)
        assert_in_range(firsts[i], 50, 150);
}

/* Rows for the tests: text cells as they are, inet cells as four bytes, ids by their last byte. */
struct host_row {
    const char *peer, *rpc, *listen; /* NULL: null; "-": the column is there with an odd length */
    const char *datacenter, *rack;
    int id; /* 0: null */
};

static void put_text(struct dynbuf *out, const char *text)
{
    cql_put_string(out, text, strlen(text));
}

static void put_text_cell(struct dynbuf *out, const char *text)
{
    cql_put_i32(out, text == NULL ? -1 : (int32_t)strlen(text));
    if (text != NULL)
        dynbuf_append_text(out, text);
}

static void put_inet_cell(struct dynbuf *out, const char *text)
{
    struct topology_node node;
    if (text == NULL || strcmp(text, "-") == 0) {
        put_text_cell(out, text);
        return;
    }
    assert_true(topology_node_from_text(&node, text, 1));
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&node.address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&node.address;
    bool is_v4 = node.address.ss_family == AF_INET;
    cql_put_i32(out, is_v4 ? 4 : 16);
    dynbuf_append(out, is_v4 ? (const void *)&v4->sin_addr : (const void *)&v6->sin6_addr,
                  is_v4 ? 4 : 16);
}

static void put_hosts(struct dynbuf *out, const char *partitioner, const struct host_row *rows,
                      size_t count)
{
    static const char *const names[] = {"peer",           "broadcast_address", "rpc_address",
                                        "listen_address", "data_center",       "rack",
                                        "host_id",        "partitioner",       "cluster_name"};
    static const uint16_t types[] = {16, 16, 16, 16, 13, 13, 12, 13, 13};
    dynbuf_init(out, 65536);
    cql_put_i32(out, CQL_RESULT_ROWS);
    cql_put_i32(out, 1);
    cql_put_i32(out, ARRAY_COUNT(names));
    put_text(out, "system");
    put_text(out, "x");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        put_text(out, names[i]);
        cql_put_u16(out, types[i]);
    }
    cql_put_i32(out, (int32_t)count);
    for (size_t i = 0; i < count; i++) {
        uint8_t id[16] = {[15] = (uint8_t)rows[i].id};
        put_inet_cell(out, rows[i].peer);
        put_inet_cell(out, rows[i].peer);
        put_inet_cell(out, rows[i].rpc);
        put_inet_cell(out, rows[i].listen);
        put_text_cell(out, rows[i].datacenter);
        put_text_cell(out, rows[i].rack);
        cql_put_i32(out, rows[i].id == 0 ? -1 : 16);
        if (rows[i].id != 0)
            dynbuf_append(out, id, 16);
        put_text_cell(out, partitioner);
        put_text_cell(out, "Title");
    }
    assert_false(out->failed);
}

#define MURMUR3 "org.apache.cassandra.dht.Murmur3Partitioner"

struct build {
    const char *wanted; /* datacenter; NULL: any */
    const char *partitioner;
    const struct host_row *local;
    const struct host_row *peers;
    size_t peer_count;
    bool is_unassigned;
    size_t proxy_index, proxy_count;
    char datacenter[256];
    char reason[512];
};

static struct topology *build(struct build *build)
{
    struct dynbuf local, peers, reason;
    put_hosts(&local, build->partitioner == NULL ? MURMUR3 : build->partitioner, build->local, 1);
    put_hosts(&peers, MURMUR3, build->peers, build->peer_count);
    dynbuf_init(&reason, 512);
    struct topology_facts facts = {
        .cluster = CLUSTER_TARGET,
        .requires_authentication = true,
        .protocol_version = 4,
        .port = 9999,
        .is_assigned = !build->is_unassigned,
        .local_datacenter = build->wanted,
        .proxy_index = build->proxy_index,
        .proxy_count = build->proxy_count == 0 ? 1 : build->proxy_count,
        .seed = 7,
        .local = {local.data, local.length},
        .peers = {peers.data, peers.length},
        .supported = {(const uint8_t *)"sup", 3},
    };
    assert_true(topology_node_from_text(&facts.endpoint, "10.9.9.9", 9999));
    struct topology *topology = topology_build(&facts, build->datacenter, &reason);
    snprintf(build->reason, sizeof build->reason, "%s", dynbuf_text(&reason));
    dynbuf_fini(&local);
    dynbuf_fini(&peers);
    dynbuf_fini(&reason);
    return topology;
}

static const struct topology_node *node_of(const struct topology *topology, int id)
{
    char text[37];
    snprintf(text, sizeof text, "00000000-0000-0000-0000-0000000000%02x", id);
    for (size_t i = 0; i < topology->host_count; i++) {
        if (strcmp(topology->hosts[i].host_id, text) == 0)
            return &topology->hosts[i].node;
    }
    return NULL;
}

static void test_build(void **state)
{
    (void)state;
    static const struct host_row local = {"10.0.0.1", "10.0.0.1", NULL, "dc1", "r2", 5};
    static const struct host_row peers[] = {
        {"10.0.0.2", "10.1.0.2", NULL, "dc1", "r1", 9},
        {"10.0.0.3", "0.0.0.0", NULL, "dc1", "r1", 3},
        {"10.0.0.4", NULL, NULL, "dc1", "r3", 1},
        {"10.0.0.5", "10.0.0.5", NULL, "dc2", "r1", 2},  /* another datacenter */
        {"10.0.0.6", "10.0.0.6", NULL, NULL, "r1", 20},  /* skipped */
        {"10.0.0.7", "10.0.0.7", NULL, "dc1", NULL, 21}, /* skipped */
        {"10.0.0.8", "10.0.0.8", NULL, "dc1", "r1", 0},  /* skipped */
        {"-", "-", NULL, "dc1", "r1", 22},               /* no address: skipped */
        {"::", "::", NULL, "dc1", "r1", 23},             /* skipped */
        {"fe80::1", "::", NULL, "dc1", "r9", 24},
        {"10.0.0.9", "10.0.0.9", NULL, "dc1", "r9", 5},   /* the local host again */
        {"10.0.0.10", "10.0.0.10", NULL, "dc1", "r1", 9}, /* an id twice: the later row wins */
    };
    struct build request = {.local = &local, .peers = peers, .peer_count = ARRAY_COUNT(peers)};
    struct topology *topology = build(&request);
    assert_non_null(topology);
    assert_string_equal(request.datacenter, "dc1");
    assert_string_equal(topology->cluster_title, "Title");
    assert_true(topology->requires_authentication);
    assert_int_equal(topology->supported_length, 3);
    assert_int_equal(topology->host_count, 5);
    static const char *const racks[] = {"r1", "r1", "r2", "r3", "r9"};
    static const uint8_t ids[] = {3, 9, 5, 1, 24};
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(topology->hosts[i].rack, racks[i]);
        assert_ptr_equal(node_of(topology, ids[i]), &topology->hosts[i].node);
    }
    assert_int_equal(topology->hosts[2].local_row, 0);
    assert_int_equal(topology->hosts[1].peers_row, 11);
    assert_string_equal(node_of(topology, 5)->name, "10.0.0.1:9999");
    assert_string_equal(node_of(topology, 9)->name, "10.0.0.10:9999");
    assert_string_equal(node_of(topology, 3)->name, "10.0.0.3:9999");
    assert_string_equal(node_of(topology, 1)->name, "10.0.0.4:9999");
    assert_string_equal(node_of(topology, 24)->name, "[fe80::1]:9999");
    assert_int_equal(topology->node_count, 5);
    assert_int_equal(topology->spare_count, 0);
    struct topology *second = topology_get(topology);
    topology_put(topology);
    assert_int_equal(second->host_count, 5);
    topology_put(second);
    topology_put(NULL);
}

/* The setting's datacenter if a node is in it, else the endpoint's; then for good. */
static void test_datacenter(void **state)
{
    static const struct host_row local = {"10.0.0.1", "10.0.0.1", NULL, "dc1", "r1", 1};
    static const struct host_row peers[] = {
        {"10.0.0.2", "10.0.0.2", NULL, "dc2", "r1", 2},
        {"10.0.0.3", "10.0.0.3", NULL, "dc2", "r1", 3},
    };
    static const struct {
        const char *wanted, *before, *chosen;
        size_t hosts;
    } vectors[] = {
        {NULL, "", "dc1", 1},         {"", "", "dc1", 1},    {"dc1", "", "dc1", 1},
        {"dc2", "", "dc2", 2},        {"DC2", "", "dc1", 1}, {"nowhere", "", "dc1", 1},
        {"dc2", "dc1", "dc1", 1}, /* chosen before it was known: stays */
        {"nowhere", "dc2", "dc2", 2},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct build request = {
            .local = &local, .peers = peers, .peer_count = 2, .wanted = vectors[i].wanted};
        snprintf(request.datacenter, sizeof request.datacenter, "%s", vectors[i].before);
        struct topology *topology = build(&request);
        assert_non_null(topology);
        assert_string_equal(request.datacenter, vectors[i].chosen);
        assert_int_equal(topology->host_count, vectors[i].hosts);
        topology_put(topology);
    }
    struct build gone = {.local = &local, .datacenter = "dc2"};
    assert_null(build(&gone));
    assert_non_null(strstr(gone.reason, "no host of datacenter dc2 is left"));
}

static void test_local_address(void **state)
{
    (void)state;
    static const struct {
        struct host_row row;
        const char *name;
    } vectors[] = {
        {{"10.0.0.1", "10.1.1.1", "10.2.2.2", "d", "r", 1}, "10.1.1.1:9999"},
        {{"10.0.0.1", "0.0.0.0", "10.2.2.2", "d", "r", 1}, "10.0.0.1:9999"},
        {{"0.0.0.0", "0.0.0.0", "10.2.2.2", "d", "r", 1}, "10.2.2.2:9999"},
        {{NULL, "::", "10.2.2.2", "d", "r", 1}, "10.2.2.2:9999"},
        {{NULL, "::", NULL, "d", "r", 1}, "10.9.9.9:9999"},
        {{"10.0.0.1", NULL, "10.2.2.2", "d", "r", 1}, "10.9.9.9:9999"},
        {{"10.0.0.1", "::ffff:10.3.3.3", NULL, "d", "r", 1}, "10.3.3.3:9999"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct build request = {.local = &vectors[i].row};
        struct topology *topology = build(&request);
        assert_non_null(topology);
        assert_string_equal(topology->nodes[0].name, vectors[i].name);
        topology_put(topology);
    }
}

static void test_assigned_nodes(void **state)
{
    (void)state;
    static const struct host_row local = {"10.0.0.1", "10.0.0.1", NULL, "d", "a", 1};
    static const struct host_row peers[] = {
        {"10.0.0.2", "10.0.0.2", NULL, "d", "b", 1 + 1},
        {"10.0.0.3", "10.0.0.3", NULL, "d", "c", 3},
        {"10.0.0.4", "10.0.0.4", NULL, "d", "d", 4},
    };
    struct build request = {
        .local = &local, .peers = peers, .peer_count = 3, .proxy_index = 1, .proxy_count = 3};
    struct topology *topology = build(&request);
    assert_int_equal(topology->node_count, 1);
    assert_string_equal(topology->nodes[0].name, "10.0.0.2:9999");
    assert_int_equal(topology->spare_count, 3);
    topology_put(topology);

    request.proxy_index = 0;
    topology = build(&request);
    assert_int_equal(topology->node_count, 2); /* hosts 0 and 3 */
    topology_put(topology);

    request.is_unassigned = true;
    topology = build(&request);
    assert_int_equal(topology->node_count, 1);
    assert_string_equal(topology->nodes[0].name, "10.9.9.9:9999");
    assert_int_equal(topology->spare_count, 4);
    topology_put(topology);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct host_row good = {"10.0.0.1", "10.0.0.1", NULL, "dc1", "r", 1};
    static const struct {
        struct host_row row;
        const char *reason;
    } vectors[] = {
        {{"10.0.0.1", "10.0.0.1", NULL, NULL, "r", 1},
         "its system.local has no usable data_center"},
        {{"10.0.0.1", "10.0.0.1", NULL, "d", NULL, 1}, "its system.local has no usable rack"},
        {{"10.0.0.1", "10.0.0.1", NULL, "d", "r", 0}, "its system.local has no usable host_id"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct build request = {.local = &vectors[i].row};
        assert_null(build(&request));
        assert_string_equal(request.reason, vectors[i].reason);
    }
    struct build request = {.local = &good, .partitioner = "org.x.ByteOrderedPartitioner"};
    assert_null(build(&request));
    assert_string_equal(request.reason,
                        "virtualization is enabled and partitioner is not Murmur3 or Random but "
                        "instead org.x.ByteOrderedPartitioner");
    request = (struct build){.local = &good, .partitioner = "RandomPartitioner"};
    topology_put(build(&request));
    assert_string_equal(request.datacenter, "dc1");
    /* The datacenter is kept, even when the control connection lands elsewhere. */
    static const struct host_row other = {"10.0.0.2", "10.0.0.2", NULL, "dc2", "r", 2};
    request.local = &other;
    request.peers = &good;
    request.peer_count = 1;
    struct topology *topology = build(&request);
    assert_non_null(topology);
    assert_int_equal(topology->host_count, 1);
    assert_string_equal(topology->nodes[0].name, "10.0.0.1:9999");
    topology_put(topology);
    request.peer_count = 0;
    assert_null(build(&request));
    assert_string_equal(request.reason, "no host of datacenter dc1 is left");

    struct topology_facts facts = {.proxy_count = 1, .local = {(const uint8_t *)"junk", 4}};
    struct dynbuf reason;
    char datacenter[256] = "";
    dynbuf_init(&reason, 200);
    assert_null(topology_build(&facts, datacenter, &reason));
    assert_true(reason.length > 0);
    dynbuf_fini(&reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assignment),     cmocka_unit_test(test_order),
        cmocka_unit_test(test_shuffle),        cmocka_unit_test(test_build),
        cmocka_unit_test(test_datacenter),     cmocka_unit_test(test_local_address),
        cmocka_unit_test(test_assigned_nodes), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
