/* Failed log-ins by address: a few are free, then each makes the next wait longer. Bounded memory;
 * thread-safe; the clock is the caller's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LOGIN_LIMIT_FREE      5   /* failures before anybody waits */
#define LOGIN_LIMIT_WAIT_MAX  300 /* seconds */
#define LOGIN_LIMIT_FORGET_S  900 /* after so long without a failure all is forgiven */
#define LOGIN_LIMIT_ADDRESSES 1024

struct login_limit;

struct login_limit *login_limit_new(void);
void login_limit_free(struct login_limit *limit); /* NULL is allowed */

/* Seconds this address still has to wait, rounded up; 0: it may try. Addresses of one IPv6 /64
 * count as one. */
unsigned login_limit_wait_s(struct login_limit *limit, const char *address, uint64_t now_ns);
/* Notes one failure; the wait it brings, in seconds. When the table is full, the entry whose last
 * failure is the longest ago goes. */
unsigned login_limit_failed(struct login_limit *limit, const char *address, uint64_t now_ns);
