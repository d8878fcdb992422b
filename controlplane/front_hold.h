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

/* Why a request must not reach the web server. */
struct front_fault {
    int status; /* the answer's: 400 or 405; 0: nothing is wrong, the server decides */
    const char *detail;
};

/* Its head is one that the server would drop without a word, or of which it would not see all
 * lines, or its method is none that any path has. */
struct front_fault front_hold_fault(const uint8_t *data, size_t length);

/* The answer to such a request, as text. It always fits into FRONT_HOLD_ANSWER_MAX bytes. */
#define FRONT_HOLD_ANSWER_MAX 1024
size_t front_hold_answer(struct front_fault fault, char answer[FRONT_HOLD_ANSWER_MAX]);
