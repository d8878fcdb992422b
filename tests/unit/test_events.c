/* The event bus: what readers get, in order, and how they begin again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "controlplane/events.h"

#define ROOM (256u * 1024u)

static void test_events_come_in_order(void **state)
{
    struct events *events = events_new();
    uint64_t cursor = events_newest(events);
    struct dynbuf out;
    (void)state;
    dynbuf_init(&out, ROOM);
    assert_int_equal(events_read(events, &cursor, 0, &out), EVENTS_NONE);
    events_publish(events, "a", "1");
    events_publish(events, "b", "2");
    assert_int_equal(events_read(events, &cursor, 0, &out), EVENTS_SOME);
    assert_string_equal(dynbuf_text(&out),
                        "id: 1\nevent: a\ndata: 1\n\nid: 2\nevent: b\ndata: 2\n\n");
    assert_int_equal(cursor, 2);
    events_close(events);
    assert_int_equal(events_read(events, &cursor, 0, &out), EVENTS_ENDED);
    dynbuf_fini(&out);
    events_free(events);
}

static void test_who_falls_behind_begins_again(void **state)
{
    struct events *events = events_new();
    uint64_t cursor = 0;
    struct dynbuf out;
    (void)state;
    dynbuf_init(&out, ROOM);
    for (int i = 0; i < 600; i++)
        events_publish(events, "a", "1");
    assert_int_equal(events_read(events, &cursor, 0, &out), EVENTS_LOST);
    assert_int_equal(cursor, 600);
    assert_int_equal(out.length, 0);
    dynbuf_fini(&out);
    events_free(events);
}

/* The list of very many data planes: too long to keep, but readers must not miss that it changed.
 */
static void test_an_event_too_long_to_keep_is_not_passed_over(void **state)
{
    struct events *events = events_new();
    uint64_t cursor = 0;
    struct dynbuf out;
    char *text = malloc(200 * 1024);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', 200 * 1024 - 1);
    text[200 * 1024 - 1] = '\0';
    dynbuf_init(&out, ROOM);
    events_publish(events, "a", "1");
    events_publish(events, "dataplanes", text);
    events_publish(events, "b", "2");
    assert_int_equal(events_read(events, &cursor, 0, &out), EVENTS_LOST);
    assert_int_equal(cursor, 3);
    assert_int_equal(out.length, 0);
    events_publish(events, "c", "3");
    assert_int_equal(events_read(events, &cursor, 0, &out), EVENTS_SOME);
    assert_string_equal(dynbuf_text(&out), "id: 4\nevent: c\ndata: 3\n\n");
    free(text);
    dynbuf_fini(&out);
    events_free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_come_in_order),
        cmocka_unit_test(test_who_falls_behind_begins_again),
        cmocka_unit_test(test_an_event_too_long_to_keep_is_not_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
