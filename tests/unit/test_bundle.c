/* Secure-connect bundles: what a zip must hold, and what of a metadata answer is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>
#include <zip.h>

#include "dataplane/bundle_data.h"

struct entry {
    const char *name, *text;
    size_t length; /* 0: of text */
};

static void write_zip(const char *path, const struct entry *entries, size_t count)
{
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(zip);
    for (size_t i = 0; i < count; i++) {
        size_t length = entries[i].length > 0 ? entries[i].length : strlen(entries[i].text);
        zip_source_t *source = zip_source_buffer(zip, entries[i].text, length, 0);
        assert_true(zip_file_add(zip, entries[i].name, source, 0) >= 0);
    }
    assert_int_equal(zip_close(zip), 0);
}

static const char *open_error(const char *path, const struct entry *entries, size_t count)
{
    static char text[512];
    struct dynbuf error;
    dynbuf_init(&error, sizeof text - 1);
    write_zip(path, entries, count);
    assert_null(bundle_open(path, &error));
    snprintf(text, sizeof text, "%s", dynbuf_text(&error));
    dynbuf_fini(&error);
    return text;
}

#define ASSERT_IN(text, part)                                                                      \
    if (strstr(text, part) == NULL)                                                                \
    fail_msg("\"%s\" is not in \"%s\"", part, text)

static void test_zip(void **state)
{
    char path[] = "/tmp/test_bundle_XXXXXX";
    struct dynbuf error;
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct entry entries[] = {
        {"config.json", "{\"host\":\"db.example\",\"port\":29080,\"keyspace\":\"x\"}", 0},
        {"ca.crt", "the authority", 0},
        {"cert", "the certificate", 0},
        {"key", "the key", 0},
    };
    dynbuf_init(&error, 512);
    write_zip(path, entries, 4);
    struct bundle *bundle = bundle_open(path, &error);
    assert_string_equal(dynbuf_text(&error), "");
    assert_non_null(bundle);
    assert_string_equal(bundle->host, "db.example");
    assert_int_equal(bundle->port, 29080);
    assert_string_equal(bundle_authorities(bundle).text, "the authority");
    assert_string_equal(bundle_certificate(bundle).text, "the certificate");
    assert_string_equal(bundle_key(bundle).text, "the key");
    assert_int_equal(bundle_key(bundle).length, 7);
    assert_string_equal(bundle_key(bundle).file, path);
    bundle_free(bundle);

    ASSERT_IN(open_error(path, entries, 3), "it has no key");
    ASSERT_IN(open_error(path, entries + 1, 3), "it has no config.json");
    static const char *const configs[] = {
        "{\"host\":\"db.example\"}",
        "{\"port\":1}",
        "{\"host\":\"db.example\",\"port\":0}",
        "{\"host\":\"db.example\",\"port\":65536}",
        "{\"host\":\"db.example\",\"port\":\"1\"}",
        "{\"host\":\"\",\"port\":1}",
        "{\"host\":\"a/b\",\"port\":1}",
        "{\"host\":\"a@b\",\"port\":1}",
        "{\"host\":7,\"port\":1}",
        "[]",
    };
    for (size_t i = 0; i < ARRAY_COUNT(configs); i++) {
        entries[0].text = configs[i];
        ASSERT_IN(open_error(path, entries, 4), "its config.json has no usable host and port");
    }
    entries[0].text = "no JSON";
    ASSERT_IN(open_error(path, entries, 4), "its config.json is no JSON");
    entries[0].text = configs[0];
    /* A zip of a few bytes that would unpack to very many. */
    char *huge = calloc(1, 64u << 20);
    assert_non_null(huge);
    entries[0] = (struct entry){"config.json", huge, 64u << 20};
    ASSERT_IN(open_error(path, entries, 4), "its config.json is larger than 256 KiB");
    free(huge);
    unlink(path);
    dynbuf_fini(&error);
}

static void test_metadata(void **state)
{
    static const char body[] =
        "{\"version\":1,\"contact_info\":{\"type\":\"sni_proxy\",\"local_dc\":\"here\","
        "\"sni_proxy_address\":\"proxy.example:29042\",\"contact_points\":"
        "[\"11111111-1111-1111-1111-111111111111\",\"22222222-2222-2222-2222-222222222222\","
        "\"11111111-1111-1111-1111-111111111111\"]}}";
    struct bundle_contacts contacts;
    struct dynbuf error;
    (void)state;
    dynbuf_init(&error, 512);
    assert_true(bundle_read_metadata(body, sizeof body - 1, &contacts, &error));
    assert_string_equal(contacts.datacenter, "here");
    assert_string_equal(contacts.proxy_host, "proxy.example");
    assert_int_equal(contacts.proxy_port, 29042);
    assert_int_equal(contacts.nodes.count, 2);
    assert_string_equal(contacts.nodes.nodes[1].name, "22222222-2222-2222-2222-222222222222");
    assert_string_equal(contacts.nodes.nodes[1].server_name, "proxy.example");
    assert_true(contacts.nodes.nodes[1].is_behind_sni);
    node_list_fini(&contacts.nodes);
    /* Cut anywhere it is refused, not misread. */
    for (size_t length = 0; length < sizeof body - 1; length++) {
        dynbuf_reset(&error);
        char *copy = malloc(length + 1);
        assert_non_null(copy);
        memcpy(copy, body, length);
        assert_false(bundle_read_metadata(copy, length, &contacts, &error));
        assert_true(error.length > 0);
        free(copy);
    }
    dynbuf_fini(&error);
}

static void test_proxy_addresses(void **state)
{
    static const struct {
        const char *address, *host; /* host NULL: refused */
    } cases[] = {
        {"a:1", "a"},           {"10.0.0.1:65535", "10.0.0.1"},
        {"[::1]:29042", "::1"}, {"a", NULL},
        {":1", NULL},           {"a:", NULL},
        {"a:0", NULL},          {"a:65536", NULL},
        {"a:1x", NULL},         {"a:-1", NULL},
        {"a b:1", NULL},        {"[]:1", NULL},
        {"a/b:1", NULL},        {"a:99999999999999999999", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char body[512];
        struct bundle_contacts contacts;
        struct dynbuf error;
        dynbuf_init(&error, 512);
        int length = snprintf(body, sizeof body,
                              "{\"contact_info\":{\"local_dc\":\"d\",\"sni_proxy_address\":\"%s\","
                              "\"contact_points\":[\"h\"]}}",
                              cases[i].address);
        bool is_read = bundle_read_metadata(body, (size_t)length, &contacts, &error);
        if (is_read != (cases[i].host != NULL))
            fail_msg("%s: %s", cases[i].address, dynbuf_text(&error));
        if (is_read) {
            assert_string_equal(contacts.proxy_host, cases[i].host);
            node_list_fini(&contacts.nodes);
        }
        dynbuf_fini(&error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zip),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_proxy_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
