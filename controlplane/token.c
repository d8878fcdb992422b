/* Tokens: text, hash, name. Any thread. Must never log or keep a token's text. */
#include "controlplane/token.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool token_random_text(char text[44])
{
    unsigned char bytes[33] = {0}; /* the last one pads to whole groups of three */
    char *out = text;
    if (RAND_priv_bytes(bytes, 32) != 1)
        return false;
    for (size_t i = 0; i < sizeof bytes; i += 3) {
        unsigned group = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = alphabet[group >> shift & 63u];
        if (i == 30)
            out--; /* 32 bytes are 43 characters: the 44th would be padding */
    }
    *out = '\0';
    OPENSSL_cleanse(bytes, sizeof bytes);
    return true;
}

bool token_make(char text[TOKEN_TEXT_SIZE])
{
    char random[44];
    if (!token_random_text(random))
        return false;
    snprintf(text, TOKEN_TEXT_SIZE, TOKEN_PREFIX "%s", random);
    OPENSSL_cleanse(random, sizeof random);
    return true;
}

void token_hash(const char *text, size_t length, uint8_t hash[TOKEN_HASH_SIZE])
{
    SHA256((const unsigned char *)text, length, hash);
}

bool token_hash_equals(const uint8_t left[TOKEN_HASH_SIZE], const uint8_t right[TOKEN_HASH_SIZE])
{
    return CRYPTO_memcmp(left, right, TOKEN_HASH_SIZE) == 0;
}

bool token_text_equals(const char *left, const char *right)
{
    size_t length = strlen(left);
    return length == strlen(right) && CRYPTO_memcmp(left, right, length) == 0;
}

bool token_name_is_good(const char *name, size_t length)
{
    return length >= 1 && length <= TOKEN_NAME_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               length;
}

const char *token_given_problem(const char *text, size_t length)
{
    if (length < TOKEN_GIVEN_MIN || length > TOKEN_GIVEN_MAX)
        return "allowed are 32 to 128 characters, such as `openssl rand -hex 32` prints";
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return "allowed are printable ASCII characters without blanks";
    return NULL;
}

const char *token_of_header(const char *authorization, size_t *length)
{
    static const char scheme[] = "Bearer ";
    if (strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
        return NULL;
    const char *text = authorization + sizeof scheme - 1;
    text += strspn(text, " ");
    *length = strcspn(text, " \t");
    return *length > 0 && text[*length] == '\0' ? text : NULL;
}
