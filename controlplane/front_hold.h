/* When the front lets a request through to the web server, whose threads a slow client must not
 * hold, and what it does not let through at all. A connection carries one request. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"

#define FRONT_HOLD_LINES_MAX 64 /* of a head: the web server would pass over the rest unseen */

/* Whether what has come of a request is enough to bother the web server with: its whole head, and
 * the body as far as its Content-Length says and capacity allows. Only ever a matter of when. */
bool front_hold_is_over(const uint8_t *data, size_t length, size_t capacity);

/* Why a request must not reach the web server: its head is one that the server would drop without a
 * word, or of which it would not see all lines. NULL: nothing of the kind; the server decides. */
const char *front_hold_fault(const uint8_t *data, size_t length);

/* The answer to such a request, as text. It always fits into FRONT_HOLD_ANSWER_MAX bytes. */
#define FRONT_HOLD_ANSWER_MAX 1024
size_t front_hold_answer(const char *fault, char answer[FRONT_HOLD_ANSWER_MAX]);
