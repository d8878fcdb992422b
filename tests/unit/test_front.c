/* What the front decides by itself: when a first request is whole, and who is behind a port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "controlplane/front_hold.h"
#include "controlplane/peer_table.h"

static bool is_over(const char *text, size_t capacity)
{
    return front_hold_is_over((const uint8_t *)text, strlen(text), capacity);
}

static void test_a_request_is_held_until_it_is_whole(void **state)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char post[] = "POST / HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:  5\r\n\r\n12345";
    (void)state;
    for (size_t length = 0; length < sizeof get - 1; length++)
        assert_false(front_hold_is_over((const uint8_t *)get, length, 1000));
    assert_true(is_over(get, 1000));
    for (size_t length = 0; length < sizeof post - 1; length++)
        assert_false(front_hold_is_over((const uint8_t *)post, length, 1000));
    assert_true(is_over(post, 1000));
    assert_true(is_over("GET / HTTP/1.0\n\n", 1000));
}

static void test_what_is_unclear_goes_through(void **state)
{
    (void)state;
    assert_true(is_over("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 1000));
    assert_true(is_over("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 1000));
    assert_true(
        is_over("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", 1000));
    /* More than fits is not waited for. */
    assert_true(is_over("GET / HTTP/1.1\r\nX: yyyy", 23));
    assert_false(is_over("P / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 1000));
    assert_true(is_over("P / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 55));
}

static void test_ports_are_known_until_they_are_removed(void **state)
{
    struct peer_table *table = peer_table_new();
    struct peer peer = {.address = "10.0.0.1", .is_tls = true}, found;
    (void)state;
    assert_false(peer_table_find(table, 40000, &found));
    assert_true(peer_table_add(table, 40000, &peer));
    assert_false(peer_table_add(table, 40000, &peer)); /* one peer a port */
    assert_true(peer_table_find(table, 40000, &found));
    assert_string_equal(found.address, "10.0.0.1");
    assert_true(found.is_tls && !found.is_local);
    peer_table_remove(table, 40000);
    peer_table_remove(table, 40000);
    assert_false(peer_table_find(table, 40000, &found));
    peer_table_free(table);
}

static void test_the_table_is_bounded_and_used_again(void **state)
{
    struct peer_table *table = peer_table_new();
    struct peer peer = {.uid = 5, .is_local = true}, found;
    (void)state;
    for (int turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < PEER_TABLE_MAX; i++)
            assert_true(peer_table_add(table, (uint16_t)(30000 + i), &peer));
        assert_false(peer_table_add(table, 65535, &peer));
        for (unsigned i = 0; i < PEER_TABLE_MAX; i++) {
            assert_true(peer_table_find(table, (uint16_t)(30000 + i), &found) && found.uid == 5);
            peer_table_remove(table, (uint16_t)(30000 + i));
        }
    }
    peer_table_free(table);
}

static struct front_fault fault(const char *text)
{
    return front_hold_fault((const uint8_t *)text, strlen(text));
}

/* What is wrong with a head, told by a word; NULL: nothing that the front would see. */
static void test_faults_of_heads(void **state)
{
    static const struct {
        const char *head;
        const char *word;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", NULL},
        {"GET / HTTP/1.1\nHost:x\n\n", NULL},
        {"GET  /a?b HTTP/1.1\r\nEmpty:\r\nX: a : b\r\n\r\n body : x\r\n", NULL},
        {"GET / HTTP/1.1\r\n\r\n", NULL},
        {"GET", NULL},
        {"GET\r\n\r\n", NULL},
        {"GET / HTTP/1.1\r\nX-Half", NULL},
        {"TRACE / HTTP/1.1\r\n\r\n", "method"},
        {"get / HTTP/1.1\r\n\r\n", "method"},
        {"GE / HTTP/1.1\r\n\r\n", "method"},
        {"GETS / HTTP/1.1\r\n\r\n", "method"},
        {"OPTIONS / HTTP/1.1\r\n\r\n", NULL},
        {"\r\n\r\n", "empty line"},
        {"\nGET / HTTP/1.1\r\n\r\n", "empty line"},
        {" GET / HTTP/1.1\r\n\r\n", "path"},
        {"GET * HTTP/1.1\r\n\r\n", "path"},
        {"GET http://x/ HTTP/1.1\r\n\r\n", "path"},
        {"CONNECT x:1 HTTP/1.1\r\n\r\n", "path"},
        {"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", "folded"},
        {"GET / HTTP/1.1\r\n\tX: a\r\n\r\n", "folded"},
        {"GET / HTTP/1.1\r\nX\r\n\r\n", "colon"},
        {"GET / HTTP/1.1\r\n: a\r\n\r\n", "name"},
        {"GET / HTTP/1.1\r\nX : a\r\n\r\n", "blank"},
        {"GET / HTTP/1.1\r\nX\t: a\r\n\r\n", "blank"},
        {"GET / HTTP/1.1\r\nX: a\r\nY: \r\n: a\r\n\r\n", "name"},
    };
    char answer[FRONT_HOLD_ANSWER_MAX];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct front_fault why = fault(cases[i].head);
        if (cases[i].word == NULL) {
            assert_int_equal(why.status, 0);
            continue;
        }
        assert_non_null(why.detail);
        assert_non_null(strstr(why.detail, cases[i].word));
        assert_int_equal(why.status, strcmp(cases[i].word, "method") == 0 ? 405 : 400);
        size_t length = front_hold_answer(why, answer);
        assert_int_equal(length, strlen(answer));
        assert_non_null(strstr(answer, why.detail));
        assert_true((strstr(answer, "\r\nAllow: GET, ") != NULL) == (why.status == 405));
    }
}

static void test_lines_of_a_head_are_counted(void **state)
{
    char head[4096];
    (void)state;
    for (int lines = FRONT_HOLD_LINES_MAX; lines <= FRONT_HOLD_LINES_MAX + 1; lines++) {
        size_t used = (size_t)snprintf(head, sizeof head, "GET / HTTP/1.1\r\n");
        for (int i = 0; i < lines; i++)
            used += (size_t)snprintf(head + used, sizeof head - used, "X-%d: y\r\n", i);
        snprintf(head + used, sizeof head - used, "\r\n");
        assert_true((fault(head).status == 0) == (lines == FRONT_HOLD_LINES_MAX));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults_of_heads),
        cmocka_unit_test(test_lines_of_a_head_are_counted),
        cmocka_unit_test(test_a_request_is_held_until_it_is_whole),
        cmocka_unit_test(test_what_is_unclear_goes_through),
        cmocka_unit_test(test_ports_are_known_until_they_are_removed),
        cmocka_unit_test(test_the_table_is_bounded_and_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
