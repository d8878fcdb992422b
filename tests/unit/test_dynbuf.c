/* The growable buffer: content, its ceiling, and that a failed append changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/dynbuf.h"

static void empty_is_an_empty_text(void **state)
{
    (void)state;
    struct dynbuf buffer;
    dynbuf_init(&buffer, 10);
    assert_string_equal(dynbuf_text(&buffer), "");
    assert_true(dynbuf_append(&buffer, NULL, 0));
    assert_int_equal(buffer.length, 0);
    dynbuf_fini(&buffer);
}

static void grows_and_stays_terminated(void **state)
{
    (void)state;
    struct dynbuf buffer;
    dynbuf_init(&buffer, 100000);
    for (int i = 0; i < 10000; i++) {
        char byte = (char)('a' + i % 26);
        assert_true(dynbuf_append(&buffer, &byte, 1));
        assert_int_equal(buffer.data[buffer.length], 0);
    }
    for (int i = 0; i < 10000; i++)
        assert_int_equal(buffer.data[i], 'a' + i % 26);
    dynbuf_fini(&buffer);
}

static void the_ceiling_is_exact(void **state)
{
    (void)state;
    struct dynbuf buffer;
    dynbuf_init(&buffer, 8);
    assert_true(dynbuf_append(&buffer, "12345678", 8));
    assert_false(buffer.failed);
    assert_false(dynbuf_append(&buffer, "9", 1));
    assert_true(buffer.failed);
    assert_string_equal(dynbuf_text(&buffer), "12345678");
    dynbuf_fini(&buffer);
}

static void a_failure_sticks_until_reset(void **state)
{
    (void)state;
    struct dynbuf buffer;
    dynbuf_init(&buffer, 4);
    assert_false(dynbuf_append_text(&buffer, "too long"));
    assert_false(dynbuf_append_text(&buffer, "ok"));
    assert_false(dynbuf_printf(&buffer, "%d", 1));
    assert_int_equal(buffer.length, 0);
    dynbuf_reset(&buffer);
    assert_true(dynbuf_append_text(&buffer, "ok"));
    assert_string_equal(dynbuf_text(&buffer), "ok");
    dynbuf_fini(&buffer);
    assert_int_equal(buffer.maximum, 4);
    assert_true(dynbuf_append_text(&buffer, "4byt"));
    dynbuf_fini(&buffer);
}

static void a_huge_length_is_refused_without_wrapping(void **state)
{
    (void)state;
    struct dynbuf buffer;
    dynbuf_init(&buffer, 1 << 20);
    assert_true(dynbuf_append_text(&buffer, "x"));
    assert_false(dynbuf_append(&buffer, "y", SIZE_MAX));
    assert_int_equal(buffer.length, 1);
    dynbuf_fini(&buffer);
}

static void printf_measures_first(void **state)
{
    (void)state;
    struct dynbuf buffer;
    dynbuf_init(&buffer, 1000);
    assert_true(dynbuf_printf(&buffer, "%0*d|", 500, 7));
    assert_int_equal(buffer.length, 501);
    assert_true(dynbuf_printf(&buffer, "%s", ""));
    assert_false(dynbuf_printf(&buffer, "%0*d", 500, 7));
    assert_int_equal(buffer.length, 501);
    assert_int_equal(buffer.data[500], '|');
    dynbuf_fini(&buffer);
}

static void consume_drops_from_the_front(void **state)
{
    (void)state;
    struct dynbuf buffer;
    dynbuf_init(&buffer, 100);
    dynbuf_consume(&buffer, 0);
    assert_true(dynbuf_append_text(&buffer, "abcdef"));
    dynbuf_consume(&buffer, 2);
    assert_string_equal(dynbuf_text(&buffer), "cdef");
    dynbuf_consume(&buffer, 4);
    assert_string_equal(dynbuf_text(&buffer), "");
    dynbuf_fini(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_is_an_empty_text),
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(the_ceiling_is_exact),
        cmocka_unit_test(a_failure_sticks_until_reset),
        cmocka_unit_test(a_huge_length_is_refused_without_wrapping),
        cmocka_unit_test(printf_measures_first),
        cmocka_unit_test(consume_drops_from_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
