/* Bearer tokens as texts: made of 256 random bits, known by their SHA-256. The hash is fast on
 * purpose: nobody guesses 256 bits. Pure but for the random source. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"

#define TOKEN_PREFIX    "cgt_"
#define TOKEN_TEXT_SIZE 48 /* prefix, 43 characters of base64url, NUL */
#define TOKEN_HASH_SIZE 32
#define TOKEN_NAME_MAX  64
/* Of a token an operator brings along (CONTROL_ADMIN_TOKEN). */
#define TOKEN_GIVEN_MIN 32
#define TOKEN_GIVEN_MAX 128

/* 256 fresh random bits as base64url without padding, 43 characters and NUL. false: the random
 * source failed. */
MUST_CHECK bool token_random_text(char text[44]);
/* A new token. false: the random source failed. */
MUST_CHECK bool token_make(char text[TOKEN_TEXT_SIZE]);
void token_hash(const char *text, size_t length, uint8_t hash[TOKEN_HASH_SIZE]);
/* In constant time. */
bool token_hash_equals(const uint8_t left[TOKEN_HASH_SIZE], const uint8_t right[TOKEN_HASH_SIZE]);
/* In constant time for texts of one length. */
bool token_text_equals(const char *left, const char *right);
/* 1 to TOKEN_NAME_MAX of letters, digits, '.', '_' and '-': fit for a path, a log line, an actor.
 */
bool token_name_is_good(const char *name, size_t length);
/* NULL when text may serve as a token, else what is wrong with it, without quoting it. */
const char *token_given_problem(const char *text, size_t length);
/* The credentials of an Authorization header of scheme Bearer, and their length. NULL: another
 * scheme, or more than one word. */
const char *token_of_header(const char *authorization, size_t *length);
