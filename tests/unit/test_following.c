/* How a data plane stands to the wanted state: the word, and what the sentence must hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/check.h"
#include "controlplane/following.h"

static void test_words(void **state)
{
    (void)state;
    const struct {
        const char *reason, *detail;
        struct following_facts facts;
        const char *word, *holds;
    } cases[] = {
        {"", "went silent", {.is_same = true}, "away", "went silent"},
        {"", "", {.is_refusing = true, .is_silent = true}, "away", "revision 8"},
        {"",
         "",
         {.is_connected = true, .is_silent = true, .is_same = true},
         "silent",
         "more than 3 s"},
        {"", "", {.is_connected = true, .is_silent = true, .is_refusing = true}, "silent", "hangs"},
        {"", "", {.is_connected = true}, "applying", "on its way"},
        {"", "", {.is_connected = true, .offers = 1}, "applying", "revision 9 is on its way"},
        {"", "", {.is_connected = true, .offers = 3}, "applying", "sent 3 times"},
        /* Said to be there by HELLO, and not acknowledged: not yet. */
        {"",
         "",
         {.is_connected = true, .is_same = true, .offers = 1},
         "applying",
         "not acknowledged"},
        /* An older refusal, while a newer offer is on its way. */
        {"",
         "",
         {.is_connected = true, .is_refusing = true, .offers = 1},
         "applying",
         "revision 9"},
        {"not_saved",
         "disk full",
         {.is_connected = true, .is_refusing = true, .is_same = true},
         "refusing",
         "disk full"},
        {"store_differs",
         "",
         {.is_connected = true, .is_refusing = true},
         "refusing",
         "another store"},
        {"novel",
         "whatever",
         {.is_connected = true, .is_refusing = true},
         "refusing",
         "novel: it refused the present revision (whatever)"},
        {"", "", {.is_connected = true, .is_same = true}, "follows", "in force on all its workers"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[768], small[24];
        struct following_facts facts = cases[i].facts;
        facts.reason = cases[i].reason;
        facts.detail = cases[i].detail;
        facts.in_force = 8;
        facts.wanted = 9;
        following_describe(&facts, text, sizeof text);
        assert_string_equal(following_word(following_of(&facts)), cases[i].word);
        assert_non_null(strstr(text, cases[i].holds));
        following_describe(&facts, small, sizeof small);
        assert_memory_equal(small, text, sizeof small - 1);
        assert_int_equal(small[sizeof small - 1], '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
