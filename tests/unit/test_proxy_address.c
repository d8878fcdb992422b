/* Items of PROXY_ADDRESSES, and names of the proxy's own that are resolved at start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/config.h"
#include "dataplane/proxy_address.h"
#include "dataplane/start_names.h"
#include "dataplane/virtual.h"
#include "dataplane/virtual_hosts.h"

static void test_what_is_an_address(void **state)
{
    static const struct {
        const char *text, *host;
        bool is_literal, is_ipv4;
        uint16_t port;
    } vectors[] = {
        {"10.0.0.1", "10.0.0.1", true, true, 0},
        {"10.0.0.1:9042", "10.0.0.1", true, true, 9042},
        {"::1", "::1", true, false, 0},
        {"[::1]", "::1", true, false, 0},
        {"[::1]:65535", "::1", true, false, 65535},
        {"2001:db8::9042", "2001:db8::9042", true, false, 0},
        {"::ffff:10.0.0.1", "::ffff:10.0.0.1", true, true, 0},
        {"proxy-2.example.com", "proxy-2.example.com", false, false, 0},
        {"proxy_2:1", "proxy_2", false, false, 1},
        {"7layers", "7layers", false, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct proxy_address address;
        char text[PROXY_ADDRESS_TEXT_MAX + 1];
        assert_true(proxy_address_parse(vectors[i].text, strlen(vectors[i].text), &address));
        assert_string_equal(address.host, vectors[i].host);
        assert_int_equal(address.is_literal, vectors[i].is_literal);
        assert_int_equal(proxy_address_is_ipv4(&address), vectors[i].is_ipv4);
        assert_int_equal(address.port, vectors[i].port);
        struct proxy_address again;
        proxy_address_format(&address, text);
        assert_true(proxy_address_parse(text, strlen(text), &again));
        assert_memory_equal(&again, &address, sizeof again);
    }
}

static void test_what_is_none(void **state)
{
    static const char *const vectors[] = {
        "",
        "256.0.0.1",
        "10.0.0",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:",
        ":9042",
        "10.0.0.1:9x",
        "10.0.0.1:+9042",
        "[::1",
        "[::1]9042",
        "[::1]:",
        "[name]:1",
        "a b",
        "-a",
        ".a",
        "a:b:c",
        "[10.0.0.1]",
        "name:9042:",
        "1:2:3:4:5:6:7:8:9",
    };
    struct proxy_address address;
    char longest[PROXY_ADDRESS_HOST_MAX + 2];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++)
        if (proxy_address_parse(vectors[i], strlen(vectors[i]), &address))
            fail_msg("taken for an address: %s", vectors[i]);
    memset(longest, 'a', sizeof longest);
    assert_true(proxy_address_parse(longest, PROXY_ADDRESS_HOST_MAX, &address));
    assert_false(proxy_address_parse(longest, PROXY_ADDRESS_HOST_MAX + 1, &address));
}

/* The vectors without a port are zdm-proxy's; with one, the two bytes of the port follow. */
static void test_host_ids_tell_ports_apart(void **state)
{
    char plain[37], one[37], other[37];
    (void)state;
    assert_true(virtual_host_id("127.0.0.1", plain));
    assert_string_equal(plain, "70ce2f37-9d6d-5010-98d8-80fe51a498ed");
    assert_true(virtual_host_id("127.0.0.1:9042", one));
    assert_true(virtual_host_id("127.0.0.1:9043", other));
    assert_string_not_equal(plain, one);
    assert_string_not_equal(one, other);
    assert_true(virtual_host_id("127.0.0.1:9042", other));
    assert_string_equal(one, other);
}

static void resolve(const char *query, const char *addresses, const char *expected,
                    const char *problem)
{
    struct config config = {.query_address = strdup(query),
                            .metrics_address = strdup("localhost"),
                            .proxy_addresses = strdup(addresses)};
    struct dynbuf error;
    dynbuf_init(&error, 1024);
    bool is_good = start_names_resolve(&config, &error);
    assert_int_equal(is_good, problem == NULL);
    if (problem != NULL)
        assert_non_null(strstr(dynbuf_text(&error), problem));
    else
        assert_string_equal(config.proxy_addresses, expected);
    if (problem == NULL)
        assert_string_equal(config.query_address, "127.0.0.1");
    dynbuf_fini(&error);
    free(config.query_address);
    free(config.metrics_address);
    free(config.proxy_addresses);
}

static void test_names_are_resolved(void **state)
{
    (void)state;
    resolve("localhost", "10.0.0.1, localhost:9042 ,[::1]:9042,::1",
            "10.0.0.1,127.0.0.1:9042,[::1]:9042,::1", NULL);
    resolve("127.0.0.1", "127.0.0.1:1,localhost:2", "127.0.0.1:1,127.0.0.1:2", NULL);
    resolve("127.0.0.1", "127.0.0.1:1,localhost:1", NULL, "lists the proxy 127.0.0.1:1 twice");
    resolve("not one", "127.0.0.1", NULL, "PROXY_QUERY_ADDRESS=\"not one\"");
    resolve("127.0.0.1:9042", "127.0.0.1", NULL, "PROXY_QUERY_ADDRESS");
}

/* No list: the address clients connect to, in the form zdm-proxy gives it. */
static void test_the_listener_may_stand_for_the_list(void **state)
{
    struct config config = {
        .query_address = strdup("localhost"),
        .metrics_address = strdup("127.0.0.2"),
        .proxy_addresses = strdup("127.0.0.1"),
        .derives_proxy_addresses = true,
    };
    struct dynbuf error;
    (void)state;
    dynbuf_init(&error, 1024);
    assert_true(start_names_resolve(&config, &error));
    assert_string_equal(config.proxy_addresses, "127.0.0.1");
    dynbuf_fini(&error);
    free(config.query_address);
    free(config.metrics_address);
    free(config.proxy_addresses);
}

/* zdm-proxy's vector for an address that comes from its listener: four bytes, not sixteen. */
static void test_a_derived_address_counts_with_four_bytes(void **state)
{
    static const uint8_t expected[16] = {0xc9, 0x30, 0x8a, 0x60, 0xf5, 0x74, 0x52, 0x4c,
                                         0xa3, 0xf7, 0x02, 0xb9, 0x2c, 0xe2, 0xa5, 0x74};
    char listener[] = "127.0.0.1", list[] = "127.0.0.1";
    struct config config = {
        .query_address = listener,
        .query_port = 9042,
        .proxy_addresses = list,
        .derives_proxy_addresses = true,
        .proxy_num_tokens = 8,
    };
    struct virtual_hosts *hosts = virtual_hosts_new(&config);
    (void)state;
    assert_memory_equal(hosts->hosts[0].id, expected, sizeof expected);
    virtual_hosts_free(hosts);
    config.derives_proxy_addresses = false;
    hosts = virtual_hosts_new(&config);
    assert_memory_not_equal(hosts->hosts[0].id, expected, sizeof expected);
    assert_int_equal(hosts->hosts[0].port, 9042);
    virtual_hosts_free(hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_an_address),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_host_ids_tell_ports_apart),
        cmocka_unit_test(test_names_are_resolved),
        cmocka_unit_test(test_the_listener_may_stand_for_the_list),
        cmocka_unit_test(test_a_derived_address_counts_with_four_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
