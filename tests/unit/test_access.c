/* Tokens, roles, log-ins, the limit on failed ones, and what browsers may be tricked into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/clock.h"
#include "controlplane/login_limit.h"
#include "controlplane/request_guard.h"
#include "controlplane/role.h"
#include "controlplane/sessions.h"
#include "controlplane/token.h"

static void test_tokens_are_256_random_bits(void **state)
{
    char first[TOKEN_TEXT_SIZE], second[TOKEN_TEXT_SIZE];
    (void)state;
    for (int turn = 0; turn < 200; turn++) {
        assert_true(token_make(first) && token_make(second));
        assert_int_equal(strlen(first), TOKEN_TEXT_SIZE - 1);
        assert_memory_equal(first, TOKEN_PREFIX, strlen(TOKEN_PREFIX));
        assert_int_equal(strspn(first + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                           "0123456789-_"),
                         43);
        assert_string_not_equal(first, second);
        /* The last character holds four bits of the 256 and two zeros. */
        assert_non_null(strchr("AEIMQUYcgkosw048", first[TOKEN_TEXT_SIZE - 2]));
    }
}

static void test_hashes(void **state)
{
    uint8_t hash[TOKEN_HASH_SIZE], other[TOKEN_HASH_SIZE];
    static const uint8_t of_abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    (void)state;
    token_hash("abc", 3, hash);
    assert_memory_equal(hash, of_abc, sizeof of_abc);
    token_hash("abd", 3, other);
    assert_true(token_hash_equals(hash, hash));
    assert_false(token_hash_equals(hash, other));
    assert_true(token_text_equals("same", "same"));
    assert_false(token_text_equals("same", "samE"));
    assert_false(token_text_equals("same", "sam"));
    assert_false(token_text_equals("", "x"));
}

static void test_names_and_given_tokens(void **state)
{
    char text[TOKEN_GIVEN_MAX + 2];
    (void)state;
    assert_true(token_name_is_good("ci.deploy_2-x", 13));
    assert_false(token_name_is_good("", 0));
    assert_false(token_name_is_good("a b", 3));
    assert_false(token_name_is_good("a/b", 3));
    assert_false(token_name_is_good("a\0b", 3));
    memset(text, 'x', sizeof text);
    assert_true(token_name_is_good(
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", TOKEN_NAME_MAX));
    text[TOKEN_NAME_MAX + 1] = '\0';
    assert_false(token_name_is_good(text, TOKEN_NAME_MAX + 1));
    memset(text, 'x', sizeof text);
    assert_null(token_given_problem(text, TOKEN_GIVEN_MIN));
    assert_null(token_given_problem(text, TOKEN_GIVEN_MAX));
    assert_non_null(token_given_problem(text, TOKEN_GIVEN_MIN - 1));
    assert_non_null(token_given_problem(text, TOKEN_GIVEN_MAX + 1));
    text[5] = ' ';
    assert_non_null(token_given_problem(text, 40));
    text[5] = '\xc3';
    assert_non_null(token_given_problem(text, 40));
}

static void test_authorization_headers(void **state)
{
    size_t length = 0;
    (void)state;
    assert_string_equal(token_of_header("Bearer abc", &length), "abc");
    assert_int_equal(length, 3);
    assert_string_equal(token_of_header("bearer   abc", &length), "abc");
    assert_null(token_of_header("Bearer ", &length));
    assert_null(token_of_header("Bearer", &length));
    assert_null(token_of_header("Bearerabc", &length));
    assert_null(token_of_header("Bearer a b", &length));
    assert_null(token_of_header("Basic YTpi", &length));
    assert_null(token_of_header("", &length));
}

static void test_roles(void **state)
{
    enum role role;
    (void)state;
    assert_true(role_parse("operator", &role) && role == ROLE_OPERATOR);
    assert_true(ROLE_NONE < ROLE_VIEWER && ROLE_VIEWER < ROLE_OPERATOR &&
                ROLE_OPERATOR < ROLE_ADMIN);
    for (role = ROLE_VIEWER; role <= ROLE_ADMIN; role++) {
        enum role again;
        assert_true(role_parse(role_name(role), &again) && again == role);
        assert_non_null(strstr(role_or_above(role), role_name(role)));
    }
    assert_false(role_parse("none", &role));
    assert_false(role_parse("Admin", &role));
    assert_false(role_parse("", &role));
    assert_int_equal(role, ROLE_NONE);
    assert_int_equal(role_needed(ACCESS_ANYONE, false), ROLE_NONE);
    assert_int_equal(role_needed(ACCESS_METRICS, false), ROLE_VIEWER);
    assert_int_equal(role_needed(ACCESS_METRICS, true), ROLE_NONE);
    assert_int_equal(role_needed(ACCESS_ADMIN, true), ROLE_ADMIN);
}

static void test_cookies(void **state)
{
    size_t length = 99;
    const char *value;
    (void)state;
    assert_null(guard_cookie(NULL, "a", &length));
    assert_null(guard_cookie("", "a", &length));
    assert_null(guard_cookie("ab=1; ba=2; A=3", "a", &length));
    value = guard_cookie("x=y; a=value; z=1", "a", &length);
    assert_int_equal(length, 5);
    assert_memory_equal(value, "value", 5);
    value = guard_cookie("a=value ", "a", &length);
    assert_int_equal(length, 5);
    value = guard_cookie("a=", "a", &length);
    assert_non_null(value);
    assert_int_equal(length, 0);
    assert_null(guard_cookie("a=1; b=2; a=3", "a", &length)); /* planted beside ours */
    assert_null(guard_cookie("a", "a", &length));
    assert_null(guard_cookie(";;; ;", "a", &length));
}

static void test_requests_of_browsers(void **state)
{
    static const char csrf[] = "right";
    struct guard_headers headers = {.is_unsafe = true, .host = "127.0.0.1:14003"};
    (void)state;
    /* Without a cookie: only what is clearly foreign. */
    assert_int_equal(guard_browser(&headers, NULL), GUARD_GOOD);
    headers.fetch_site = "none";
    assert_int_equal(guard_browser(&headers, NULL), GUARD_GOOD);
    headers.fetch_site = "cross-site";
    assert_int_equal(guard_browser(&headers, NULL), GUARD_FOREIGN);
    headers.is_unsafe = false;
    assert_int_equal(guard_browser(&headers, NULL), GUARD_GOOD);
    headers.is_unsafe = true;
    headers.fetch_site = NULL;
    headers.origin = "null";
    assert_int_equal(guard_browser(&headers, NULL), GUARD_FOREIGN);
    /* With one: same origin, said by the browser, and the token. */
    headers.origin = NULL;
    headers.csrf = csrf;
    assert_int_equal(guard_browser(&headers, csrf), GUARD_UNKNOWN);
    headers.fetch_site = "none";
    assert_int_equal(guard_browser(&headers, csrf), GUARD_FOREIGN);
    headers.fetch_site = "same-site";
    assert_int_equal(guard_browser(&headers, csrf), GUARD_FOREIGN);
    headers.fetch_site = "same-origin";
    assert_int_equal(guard_browser(&headers, csrf), GUARD_GOOD);
    headers.csrf = "wrong";
    assert_int_equal(guard_browser(&headers, csrf), GUARD_CSRF);
    headers.csrf = NULL;
    assert_int_equal(guard_browser(&headers, csrf), GUARD_CSRF);
    headers.csrf = csrf;
    headers.fetch_site = NULL;
    headers.origin = "http://127.0.0.1:14003";
    assert_int_equal(guard_browser(&headers, csrf), GUARD_GOOD);
    headers.is_tls = true; /* the scheme belongs to the origin */
    assert_int_equal(guard_browser(&headers, csrf), GUARD_FOREIGN);
    headers.origin = "https://127.0.0.1:14003";
    assert_int_equal(guard_browser(&headers, csrf), GUARD_GOOD);
    headers.origin = "https://127.0.0.1:14003.example.com";
    assert_int_equal(guard_browser(&headers, csrf), GUARD_FOREIGN);
    headers.fetch_site = "same-origin"; /* behind a proxy that names us otherwise */
    assert_int_equal(guard_browser(&headers, csrf), GUARD_GOOD);
}

static void test_hosts(void **state)
{
    static const char names[] = "gate.example.com, other.example.com";
    (void)state;
    static const char *const good[] = {
        "127.0.0.1",   "127.0.0.1:14003", "localhost",        "LOCALHOST:1",          "[::1]",
        "[::1]:14003", "10.1.2.3",        "gate.example.com", "Other.Example.com:443"};
    static const char *const bad[] = {"evil.example.com",
                                      "",
                                      ":80",
                                      "localhost.evil.example.com",
                                      "127.0.0.1.evil.example.com",
                                      "[::1",
                                      "[x]",
                                      "127.0.0.1:80:80",
                                      "localhost:x",
                                      "gate.example.com.",
                                      "example.com",
                                      "127.1",
                                      "::1",
                                      "gate"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(guard_host(good[i], false, names));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(guard_host(bad[i], false, names));
    assert_true(guard_host("evil.example.com", true, ""));
    assert_true(guard_host(NULL, false, "")); /* no browser leaves it out */
}

static void test_failed_log_ins_wait_longer_and_longer(void **state)
{
    struct login_limit *limit = login_limit_new();
    uint64_t now = 1000 * NS_PER_S;
    (void)state;
    for (int i = 1; i < LOGIN_LIMIT_FREE; i++)
        assert_int_equal(login_limit_failed(limit, "10.0.0.1", now), 0);
    assert_int_equal(login_limit_failed(limit, "10.0.0.1", now), 1);
    assert_int_equal(login_limit_wait_s(limit, "10.0.0.1", now), 1);
    assert_int_equal(login_limit_wait_s(limit, "10.0.0.1", now + NS_PER_S), 0);
    assert_int_equal(login_limit_wait_s(limit, "10.0.0.2", now), 0);
    for (unsigned expected = 2; expected <= 256; expected *= 2)
        assert_int_equal(login_limit_failed(limit, "10.0.0.1", now), expected);
    for (int i = 0; i < 100; i++)
        assert_int_equal(login_limit_failed(limit, "10.0.0.1", now), LOGIN_LIMIT_WAIT_MAX);
    now += LOGIN_LIMIT_FORGET_S * NS_PER_S;
    assert_int_equal(login_limit_wait_s(limit, "10.0.0.1", now), 0);
    assert_int_equal(login_limit_failed(limit, "10.0.0.1", now), 0);
    login_limit_free(limit);
}

static void test_addresses_of_one_network_count_as_one(void **state)
{
    struct login_limit *limit = login_limit_new();
    char address[64];
    (void)state;
    for (int i = 0; i < LOGIN_LIMIT_FREE; i++) {
        snprintf(address, sizeof address, "2001:db8:1:2::%x", i + 1);
        (void)login_limit_failed(limit, address, 0);
    }
    assert_true(login_limit_wait_s(limit, "2001:db8:1:2:ffff::9", 0) > 0);
    assert_int_equal(login_limit_wait_s(limit, "2001:db8:1:3::1", 0), 0);
    for (int i = 0; i < LOGIN_LIMIT_FREE; i++)
        (void)login_limit_failed(limit, "::ffff:10.9.9.9", 0);
    assert_true(login_limit_wait_s(limit, "10.9.9.9", 0) > 0);
    login_limit_free(limit);
}

static void test_the_limit_is_bounded(void **state)
{
    struct login_limit *limit = login_limit_new();
    char address[64];
    (void)state;
    for (unsigned i = 0; i < LOGIN_LIMIT_FREE; i++)
        (void)login_limit_failed(limit, "9.9.9.9", 100 * NS_PER_S);
    for (unsigned i = 0; i < 3 * LOGIN_LIMIT_ADDRESSES; i++) {
        snprintf(address, sizeof address, "10.1.%u.%u", i / 250, i % 250);
        (void)login_limit_failed(limit, address, 90 * NS_PER_S);
    }
    assert_true(login_limit_wait_s(limit, "9.9.9.9", 100 * NS_PER_S) > 0);
    login_limit_free(limit);
}

static void test_sessions_end(void **state)
{
    struct sessions *sessions = sessions_new(60, 300);
    char id[SESSION_ID_SIZE], other[SESSION_ID_SIZE];
    struct session session, found;
    uint64_t now = 5 * NS_PER_S;
    (void)state;
    assert_true(sessions_begin(sessions, 7, now, id, &session));
    assert_true(sessions_begin(sessions, 8, now, other, &session));
    assert_string_not_equal(id, other);
    assert_true(sessions_find(sessions, id, strlen(id), true, now, &found));
    assert_int_equal(found.token_id, 7);
    assert_string_not_equal(found.csrf, session.csrf);
    assert_false(sessions_find(sessions, id, strlen(id) - 1, true, now, &found));
    assert_false(sessions_find(sessions, "", 0, true, now, &found));
    /* Idle: only uses count. */
    now += 59 * NS_PER_S;
    assert_true(sessions_find(sessions, id, strlen(id), true, now, &found));
    assert_true(sessions_find(sessions, other, strlen(other), false, now, &found));
    now += 59 * NS_PER_S;
    assert_true(sessions_find(sessions, id, strlen(id), true, now, &found));
    assert_false(sessions_find(sessions, other, strlen(other), true, now, &found));
    /* For good. */
    for (int i = 0; i < 3; i++) {
        now += 59 * NS_PER_S;
        assert_true(sessions_find(sessions, id, strlen(id), true, now, &found));
    }
    now += 30 * NS_PER_S;
    assert_false(sessions_find(sessions, id, strlen(id), true, now, &found));
    /* By word. */
    assert_true(sessions_begin(sessions, 7, now, id, &session));
    sessions_end(sessions, id, strlen(id));
    sessions_end(sessions, "unknown", 7);
    assert_false(sessions_find(sessions, id, strlen(id), true, now, &found));
    sessions_free(sessions);
}

static void test_sessions_are_bounded(void **state)
{
    struct sessions *sessions = sessions_new(1000, 1000);
    char first[SESSION_ID_SIZE], second[SESSION_ID_SIZE], id[SESSION_ID_SIZE];
    struct session session;
    (void)state;
    assert_true(sessions_begin(sessions, 1, 1, first, &session));
    assert_true(sessions_begin(sessions, 1, 2, second, &session));
    for (unsigned i = 2; i < SESSIONS_MAX; i++)
        assert_true(sessions_begin(sessions, 1, 3, id, &session));
    assert_true(sessions_find(sessions, first, strlen(first), true, 10, &session));
    assert_true(sessions_begin(sessions, 1, 11, id, &session));
    assert_true(sessions_find(sessions, first, strlen(first), true, 12, &session));
    assert_false(sessions_find(sessions, second, strlen(second), true, 12, &session));
    sessions_free(sessions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_are_256_random_bits),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_names_and_given_tokens),
        cmocka_unit_test(test_authorization_headers),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_requests_of_browsers),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_failed_log_ins_wait_longer_and_longer),
        cmocka_unit_test(test_addresses_of_one_network_count_as_one),
        cmocka_unit_test(test_the_limit_is_bounded),
        cmocka_unit_test(test_sessions_end),
        cmocka_unit_test(test_sessions_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
