/* Protocol versions: what a node says it speaks, what is blocked, where a client is led. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/versions.h"
#include "proto/cql_response.h"

static uint8_t speaks(const char *const *names, uint8_t control_version)
{
    struct dynbuf body;
    uint16_t count = 0;
    while (names[count] != NULL)
        count++;
    dynbuf_init(&body, 4096);
    cql_put_u16(&body, 2);
    cql_put_string(&body, "COMPRESSION", 11);
    cql_put_u16(&body, 1);
    cql_put_string(&body, "5/v5", 4); /* not a version here */
    cql_put_string(&body, "PROTOCOL_VERSIONS", 17);
    cql_put_u16(&body, count);
    for (uint16_t i = 0; i < count; i++)
        cql_put_string(&body, names[i], strlen(names[i]));
    uint8_t set = versions_of_node((struct cql_span){body.data, body.length}, control_version);
    for (size_t length = 0; length < body.length; length++) { /* however it is cut */
        uint8_t *copy = malloc(length + 1);
        assert_non_null(copy);
        memcpy(copy, body.data, length);
        uint8_t less = versions_of_node((struct cql_span){copy, length}, 3);
        assert_int_equal(less & ~(set | versions_of_node((struct cql_span){NULL, 0}, 3)), 0);
        free(copy);
    }
    dynbuf_fini(&body);
    return set;
}

static void expect(uint8_t set, const char *printed)
{
    struct dynbuf out;
    dynbuf_init(&out, 256);
    versions_print(set, &out);
    assert_string_equal(dynbuf_text(&out), printed);
    dynbuf_fini(&out);
}

static void test_what_a_node_speaks(void **state)
{
    (void)state;
    expect(speaks((const char *const[]){"3/v3", "4/v4", "5/v5-beta", NULL}, 4), "3/v3, 4/v4");
    expect(speaks((const char *const[]){"3/v3", "4/v4", "5/v5", "6/v6-beta", NULL}, 4),
           "3/v3, 4/v4, 5/v5");
    expect(
        speaks((const char *const[]){"3/v3", "4/v4", "5/v5-beta", "65/dse-v1", "66/dse-v2", NULL},
               4),
        "3/v3, 4/v4, 65/dse-v1, 66/dse-v2");
    expect(speaks((const char *const[]){"5/v5", NULL}, 4), "5/v5");
    expect(speaks((const char *const[]){NULL}, 4), "3/v3, 4/v4");
    expect(speaks((const char *const[]){"2/v2", "1/v1", NULL}, 3), "3/v3");
    expect(versions_of_node((struct cql_span){NULL, 0}, 4), "3/v3, 4/v4");
    expect(versions_of_node((struct cql_span){NULL, 0}, 3), "3/v3");
}

static void test_blocked(void **state)
{
    uint8_t set, one;
    char bad[64];
    (void)state;
    assert_true(versions_parse("", &set, bad));
    assert_int_equal(set, 0);
    assert_true(versions_parse(" V5 ,4,, dsev1", &set, bad));
    expect(set, "4/v4, 5/v5, 65/dse-v1");
    assert_true(versions_parse("2,v2", &set, bad));
    expect(set, "");
    assert_true(versions_parse("DSE_V2", &set, bad));
    assert_true(versions_parse("DseV2", &one, bad));
    assert_int_equal(set, one);
    assert_false(versions_parse("3,v6,4", &set, bad));
    assert_string_equal(bad, "v6");
    assert_false(versions_parse("66", &set, bad));
    assert_false(versions_parse("v", &set, bad));
}

static void test_where_a_client_is_led(void **state)
{
    uint8_t plain = speaks((const char *const[]){"3/v3", "4/v4", "5/v5", NULL}, 4);
    uint8_t dse = speaks((const char *const[]){"3/v3", "4/v4", "65/dse-v1", NULL}, 4);
    (void)state;
    assert_int_equal(versions_highest(plain, 66), 5);
    assert_int_equal(versions_highest(plain, 6), 5);
    assert_int_equal(versions_highest(plain, 2), 5);
    assert_int_equal(versions_highest(dse, 66), 65);
    assert_int_equal(versions_highest(dse, 5), 4); /* it may not know DSE's numbers */
    assert_int_equal(versions_highest(0, 4), 0);
    assert_true(versions_have(plain, 5) && versions_have(dse, 0x41));
    assert_false(versions_have(dse, 5) || versions_have(plain, 6) || versions_have(plain, 0) ||
                 versions_have(0xff, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_node_speaks),
        cmocka_unit_test(test_blocked),
        cmocka_unit_test(test_where_a_client_is_led),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
