/* Whether a token is of known credentials: right ones, wrong ones, and what is no token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/plain_token.h"

static void test_tokens(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *user, *password;
        bool want;
    } rows[] = {
#define ROW(text, user, password, want) {text, sizeof(text) - 1, user, password, want}
        ROW("\0anna\0secret", "anna", "secret", true),
        ROW("role\0anna\0secret", "anna", "secret", true),
        ROW("\0anna\0", "anna", "", true),
        ROW("\0anna\0secret", "anna", "secreT", false),
        ROW("\0anna\0secret", "anna", "secret1", false),
        ROW("\0anna\0secret", "anna", "secre", false),
        ROW("\0anna\0secret", "ann", "secret", false),
        ROW("\0Anna\0secret", "anna", "secret", false),
        ROW("\0\0", "", "", false), /* nothing is configured */
        ROW("\0anna", "anna", "", false),
        ROW("PLAIN", "anna", "secret", false),
        ROW("", "anna", "", false),
#undef ROW
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct cql_span token = {(const uint8_t *)rows[i].bytes, rows[i].length};
        if (plain_token_is(token, rows[i].user, rows[i].password) != rows[i].want)
            fail_msg("row %zu", i);
    }
    assert_false(plain_token_is((struct cql_span){NULL, 0}, "anna", "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tokens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
