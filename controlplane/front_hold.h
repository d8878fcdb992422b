/* When the front lets a first request through to the web server, whose threads a slow client must
 * not hold. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether what has come of a first request is enough to bother the web server with: its whole head,
 * and the body as far as its Content-Length says and capacity allows. Only ever a matter of when:
 * the web server alone decides what the bytes mean. */
bool front_hold_is_over(const uint8_t *data, size_t length, size_t capacity);
