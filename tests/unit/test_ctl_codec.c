/* The control messages: every type there and back, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/ctl_codec.h"

/* A message of each type with a value of its own in every member. */
static void fill(enum ctl_type type, struct ctl_message *message)
{
    uint64_t serial = 0;
    memset(message, 0, sizeof *message);
    message->type = type;
#define CTL_BEGIN(symbol, lower, meaning) if (type == CTL_##symbol) {
#define CTL_TEXT(lower, member, maximum, need)                                                     \
    memset(message->lower.member, 'a' + (int)(serial++ % 26), maximum);                            \
    message->lower.member[0] = '"';
#define CTL_U64(lower, member, need)  message->lower.member = UINT64_MAX - serial++;
#define CTL_BOOL(lower, member, need) message->lower.member = serial++ % 2 == 0;
#define CTL_END(lower)                                                                             \
    serial++;                                                                                      \
    }
#include "proto/ctl_messages.def"
#undef CTL_BEGIN
#undef CTL_TEXT
#undef CTL_U64
#undef CTL_BOOL
#undef CTL_END
    (void)serial;
}

static enum ctl_verdict decode(const char *text, struct ctl_message *message)
{
    char error[256] = "";
    enum ctl_verdict verdict = ctl_decode(text, strlen(text), message, error, sizeof error);
    assert_true((verdict == CTL_GOOD) == (error[0] == '\0'));
    return verdict;
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int type = 0; type < CTL_TYPE_COUNT; type++) {
        struct ctl_message message, back;
        struct dynbuf text, again;
        fill((enum ctl_type)type, &message);
        dynbuf_init(&text, 65536);
        dynbuf_init(&again, 65536);
        assert_true(ctl_encode(&message, &text));
        assert_int_equal(decode(dynbuf_text(&text), &back), CTL_GOOD);
        assert_int_equal(back.type, type);
        assert_true(ctl_encode(&back, &again));
        assert_string_equal(dynbuf_text(&text), dynbuf_text(&again));
        dynbuf_fini(&text);
        dynbuf_fini(&again);
    }
}

/* Each byte of each message replaced, each prefix: a verdict, never a crash; and a prefix is never
 * good. */
static void test_mutations(void **state)
{
    static const char substitutes[] = {'\0', '"', '\\', '{', '}', '[',
                                       ',',  ':', '0',  '-', 'x', '\xff'};
    (void)state;
    for (int type = 0; type < CTL_TYPE_COUNT; type++) {
        struct ctl_message message;
        struct dynbuf text;
        char error[256];
        fill((enum ctl_type)type, &message);
        dynbuf_init(&text, 65536);
        assert_true(ctl_encode(&message, &text));
        char *copy = malloc(text.length);
        assert_non_null(copy);
        for (size_t at = 0; at < text.length; at++) {
            assert_int_equal(ctl_decode(dynbuf_text(&text), at, &message, error, sizeof error),
                             CTL_BAD);
            for (size_t i = 0; i < ARRAY_COUNT(substitutes); i++) {
                memcpy(copy, text.data, text.length);
                copy[at] = substitutes[i];
                (void)!ctl_decode(copy, text.length, &message, error, sizeof error);
            }
        }
        free(copy);
        dynbuf_fini(&text);
    }
}

static void test_refusals(void **state)
{
    struct ctl_message message;
    char text[400];
    (void)state;
    assert_int_equal(decode("{}", &message), CTL_BAD);
    assert_int_equal(decode("[]", &message), CTL_BAD);
    assert_int_equal(decode("7", &message), CTL_BAD);
    assert_int_equal(decode("{\"type\":7}", &message), CTL_BAD);
    assert_int_equal(decode("{\"type\":\"ping\"}", &message), CTL_UNKNOWN);
    assert_int_equal(decode("{\"type\":\"PING\"}", &message), CTL_GOOD);
    assert_int_equal(decode("{\"type\":\"PING\",\"novelty\":[1,{\"a\":2}]}", &message), CTL_GOOD);
    assert_int_equal(
        decode("{\"type\":\"ACK\",\"nonce\":1,\"store_id\":\"s\",\"revision\":2}", &message),
        CTL_BAD);
    static const char *const bad_nonce[] = {
        "-1", "1.0", "\"1\"", "null", "true", "18446744073709551616", "[]"};
    for (size_t i = 0; i < ARRAY_COUNT(bad_nonce); i++) {
        snprintf(
            text, sizeof text,
            "{\"type\":\"ACK\",\"nonce\":%s,\"store_id\":\"s\",\"revision\":2,\"digest\":\"d\"}",
            bad_nonce[i]);
        assert_int_equal(decode(text, &message), CTL_BAD);
    }
    static const char *const store_ids[] = {
        "1", "null", "\"a\\u0000b\"",
        "\"0123456789012345678901234567890123456789012345678901234567890123\""};
    for (size_t i = 0; i < ARRAY_COUNT(store_ids); i++) {
        snprintf(text, sizeof text,
                 "{\"type\":\"ACK\",\"nonce\":1,\"store_id\":%s,\"revision\":2,\"digest\":\"d\"}",
                 store_ids[i]);
        assert_int_equal(decode(text, &message), CTL_BAD);
    }
    char error[256];
    assert_int_equal(ctl_decode("{\"type\":\"STATS\"}", 16, &message, error, sizeof error),
                     CTL_BAD);
    assert_string_equal(error, "STATS: member \"reads_origin\" is missing");
}

static void test_optional_members(void **state)
{
    struct ctl_message message;
    (void)state;
    assert_int_equal(
        decode(
            "{\"type\":\"SNAPSHOT\",\"nonce\":1,\"store_id\":\"s\",\"revision\":2,\"digest\":\"d\","
            "\"forward_reads_to_target\":true,\"forward_system_queries_to_target\":false}",
            &message),
        CTL_GOOD);
    assert_false(message.snapshot.adopt);
    assert_true(message.snapshot.forward_reads_to_target);
    assert_int_equal(message.snapshot.revision, 2);
}

/* The digest is SHA-256 of the text docs/control-link.md spells out; this one was computed with
 * sha256sum. */
static void test_digest(void **state)
{
    struct ctl_snapshot snapshot = {
        .nonce = 9, .store_id = "store", .revision = 7, .forward_reads_to_target = true};
    char digest[CTL_DIGEST_HEX + 1], other[CTL_DIGEST_HEX + 1];
    (void)state;
    ctl_snapshot_digest(&snapshot, digest);
    assert_string_equal(digest, "3fb91d31747f1afd122b4a698584aab2c7bfbd6d77455d22a73ba8c0403f01a7");
    snapshot.nonce = 10;
    snapshot.adopt = true;
    ctl_snapshot_digest(&snapshot, other);
    assert_string_equal(digest, other);
    snapshot.forward_reads_to_target = false;
    ctl_snapshot_digest(&snapshot, other);
    assert_string_not_equal(digest, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_optional_members),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
