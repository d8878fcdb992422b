/* What answers of a data plane are worth when frames come late, twice or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/clock.h"
#include "controlplane/offers.h"

static struct ctl_snapshot snapshot(uint64_t nonce)
{
    struct ctl_snapshot made = {.nonce = nonce, .revision = 100 + nonce};
    snprintf(made.store_id, sizeof made.store_id, "store");
    ctl_snapshot_digest(&made, made.digest);
    return made;
}

static void make(struct offers *offers, uint64_t nonce, uint64_t now_ns)
{
    struct ctl_snapshot made = snapshot(nonce);
    offers_make(offers, &made, now_ns);
}

static struct ctl_ack ack_of(uint64_t nonce)
{
    struct ctl_snapshot made = snapshot(nonce);
    struct ctl_ack ack = {.nonce = nonce, .revision = made.revision};
    memcpy(ack.store_id, made.store_id, sizeof ack.store_id);
    memcpy(ack.digest, made.digest, sizeof ack.digest);
    return ack;
}

static enum offers_verdict take(struct offers *offers, const struct ctl_ack *ack)
{
    char why[256] = "";
    enum offers_verdict verdict = offers_take_ack(offers, ack, why, sizeof why);
    assert_int_equal(why[0] != '\0', verdict == OFFERS_FALSE);
    return verdict;
}

static enum offers_verdict acknowledge(struct offers *offers, uint64_t nonce)
{
    struct ctl_ack ack = ack_of(nonce);
    return take(offers, &ack);
}

static enum offers_verdict refuse(struct offers *offers, uint64_t nonce)
{
    char why[256];
    struct ctl_nack nack = {.nonce = nonce};
    return offers_take_nack(offers, &nack, why, sizeof why);
}

static void test_the_newest_answer_counts(void **state)
{
    struct offers offers = {0};
    (void)state;
    make(&offers, 3, 0);
    make(&offers, 4, 0);
    make(&offers, 5, 0);
    assert_int_equal(acknowledge(&offers, 4), OFFERS_NEWS);
    assert_int_equal(acknowledge(&offers, 4), OFFERS_KNOWN);
    assert_int_equal(acknowledge(&offers, 3), OFFERS_KNOWN);
    assert_int_equal(refuse(&offers, 3), OFFERS_KNOWN);
    assert_int_equal(refuse(&offers, 4), OFFERS_KNOWN);
    assert_int_equal(offers.answered, 4);
    assert_int_equal(refuse(&offers, 5), OFFERS_NEWS);
    assert_true(offers.is_refused);
    assert_int_equal(acknowledge(&offers, 4), OFFERS_KNOWN);
    assert_true(offers.is_refused);
    assert_int_equal(acknowledge(&offers, 5), OFFERS_NEWS); /* asked again, it agreed */
    assert_false(offers.is_refused);
}

static void test_answers_to_what_was_not_offered(void **state)
{
    struct offers offers = {0};
    (void)state;
    assert_int_equal(acknowledge(&offers, 1), OFFERS_FALSE);
    assert_int_equal(refuse(&offers, 1), OFFERS_FALSE);
    make(&offers, 7, 0);
    assert_int_equal(acknowledge(&offers, 8), OFFERS_FALSE);
    assert_int_equal(acknowledge(&offers, 0), OFFERS_FALSE);
    assert_int_equal(refuse(&offers, 0), OFFERS_FALSE);
    struct ctl_ack others[] = {ack_of(7), ack_of(7), ack_of(7)};
    others[0].revision--;
    others[1].digest[0] ^= 1;
    others[2].store_id[0] ^= 1;
    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        assert_int_equal(take(&offers, &others[i]), OFFERS_FALSE);
    assert_int_equal(offers.answered, 0);
    assert_int_equal(acknowledge(&offers, 7), OFFERS_NEWS);
    assert_int_equal(take(&offers, &others[0]), OFFERS_FALSE); /* said later, it is as wrong */
}

/* More offers than are remembered: answers to the forgotten ones prove nothing. */
static void test_what_is_forgotten_is_not_believed(void **state)
{
    struct offers offers = {0};
    (void)state;
    for (uint64_t nonce = 1; nonce <= OFFERS_REMEMBERED + 1; nonce++)
        make(&offers, nonce, 0);
    assert_int_equal(acknowledge(&offers, 1), OFFERS_KNOWN);
    assert_int_equal(offers.answered, 0);
    assert_int_equal(acknowledge(&offers, 2), OFFERS_NEWS);
    assert_int_equal(acknowledge(&offers, OFFERS_REMEMBERED + 1), OFFERS_NEWS);
}

static void test_when_an_offer_is_made_again(void **state)
{
    const uint64_t soon = OFFERS_UNANSWERED_MS * NS_PER_MS, late = OFFERS_REFUSED_MS * NS_PER_MS;
    struct offers offers = {0};
    (void)state;
    assert_false(offers_is_due(&offers, late));
    make(&offers, 1, 5);
    assert_false(offers_is_due(&offers, 5 + soon));
    assert_true(offers_is_due(&offers, 6 + soon));
    make(&offers, 1, 6 + soon);
    assert_int_equal(offers.times, 2);
    assert_false(offers_is_due(&offers, 7 + soon));
    assert_int_equal(refuse(&offers, 1), OFFERS_NEWS);
    assert_false(offers_is_due(&offers, 7 + 2 * soon));
    assert_true(offers_is_due(&offers, 7 + soon + late));
    assert_int_equal(acknowledge(&offers, 1), OFFERS_NEWS);
    assert_false(offers_is_due(&offers, UINT64_MAX));
    make(&offers, 2, 0);
    assert_int_equal(offers.times, 1);
    assert_int_equal(refuse(&offers, 1), OFFERS_KNOWN);
    assert_true(offers_is_due(&offers, soon + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_answer_counts),
        cmocka_unit_test(test_answers_to_what_was_not_offered),
        cmocka_unit_test(test_what_is_forgotten_is_not_believed),
        cmocka_unit_test(test_when_an_offer_is_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
