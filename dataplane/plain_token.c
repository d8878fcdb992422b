/* Comparing credentials. Pure; any thread. Must never tell by its time how much of a password was
 * right. */
#include "dataplane/plain_token.h"

#include <openssl/crypto.h>
#include <string.h>

#include "proto/cql_request.h"

static bool is_same(struct cql_span shown, const char *known)
{
    return shown.length == strlen(known) && CRYPTO_memcmp(shown.data, known, shown.length) == 0;
}

bool plain_token_is(struct cql_span token, const char *user, const char *password)
{
    struct cql_span authzid, shown_user, shown_password;
    if (user[0] == '\0' || token.data == NULL ||
        !cql_read_plain_token(token, &authzid, &shown_user, &shown_password))
        return false;
    bool is_user = is_same(shown_user, user);
    bool is_password = is_same(shown_password, password);
    return is_user & is_password;
}
