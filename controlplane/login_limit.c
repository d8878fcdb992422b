/* The table of failed log-ins: a fixed array, searched from end to end, since it is only touched by
 * attempts that fail and is small. Any thread. Must never grow, whatever addresses come. */
#include "controlplane/login_limit.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"

struct failure {
    uint8_t key[8]; /* an IPv4 address behind four zeros, or the network half of an IPv6 one */
    unsigned count; /* 0: the place is free */
    uint64_t last_ns;
    uint64_t until_ns; /* nothing is tried before */
};

struct login_limit {
    pthread_mutex_t mutex;
    struct failure failures[LOGIN_LIMIT_ADDRESSES];
};

struct login_limit *login_limit_new(void)
{
    struct login_limit *limit = calloc(1, sizeof *limit);
    CHECK(limit != NULL);
    pthread_mutex_init(&limit->mutex, NULL);
    return limit;
}

void login_limit_free(struct login_limit *limit)
{
    if (limit == NULL)
        return;
    pthread_mutex_destroy(&limit->mutex);
    free(limit);
}

/* What is no address shares one entry: nothing goes unlimited. */
static void make_key(const char *address, uint8_t key[8])
{
    struct in_addr v4;
    struct in6_addr v6;
    memset(key, 0, 8);
    if (inet_pton(AF_INET, address, &v4) == 1) {
        memcpy(key + 4, &v4, 4);
    } else if (inet_pton(AF_INET6, address, &v6) == 1) {
        if (IN6_IS_ADDR_V4MAPPED(&v6))
            memcpy(key + 4, v6.s6_addr + 12, 4);
        else
            memcpy(key, v6.s6_addr, 8);
    }
}

/* The entry of address, or NULL. The mutex is held. */
static struct failure *find(struct login_limit *limit, const uint8_t key[8], uint64_t now_ns)
{
    for (size_t i = 0; i < LOGIN_LIMIT_ADDRESSES; i++) {
        struct failure *failure = &limit->failures[i];
        /* Threads read the clock before they get here: now may be a little before last. */
        if (failure->count > 0 && now_ns >= failure->last_ns + LOGIN_LIMIT_FORGET_S * NS_PER_S)
            failure->count = 0;
        if (failure->count > 0 && memcmp(failure->key, key, 8) == 0)
            return failure;
    }
    return NULL;
}

static unsigned wait_s(const struct failure *failure, uint64_t now_ns)
{
    if (failure == NULL || failure->until_ns <= now_ns)
        return 0;
    return (unsigned)((failure->until_ns - now_ns + NS_PER_S - 1) / NS_PER_S);
}

unsigned login_limit_wait_s(struct login_limit *limit, const char *address, uint64_t now_ns)
{
    uint8_t key[8];
    make_key(address, key);
    pthread_mutex_lock(&limit->mutex);
    unsigned seconds = wait_s(find(limit, key, now_ns), now_ns);
    pthread_mutex_unlock(&limit->mutex);
    return seconds;
}

/* A free place, or that of the address that failed the longest ago. The mutex is held. */
static struct failure *make_room(struct login_limit *limit)
{
    struct failure *oldest = &limit->failures[0];
    for (size_t i = 0; i < LOGIN_LIMIT_ADDRESSES; i++) {
        struct failure *failure = &limit->failures[i];
        if (failure->count == 0)
            return failure;
        if (failure->last_ns < oldest->last_ns)
            oldest = failure;
    }
    return oldest;
}

unsigned login_limit_failed(struct login_limit *limit, const char *address, uint64_t now_ns)
{
    uint8_t key[8];
    make_key(address, key);
    pthread_mutex_lock(&limit->mutex);
    struct failure *failure = find(limit, key, now_ns);
    if (failure == NULL) {
        failure = make_room(limit);
        *failure = (struct failure){0};
        memcpy(failure->key, key, 8);
    }
    failure->last_ns = now_ns;
    if (++failure->count >= LOGIN_LIMIT_FREE) {
        unsigned steps = failure->count - LOGIN_LIMIT_FREE;
        unsigned seconds = steps >= 9 ? LOGIN_LIMIT_WAIT_MAX : 1u << steps;
        seconds = seconds > LOGIN_LIMIT_WAIT_MAX ? LOGIN_LIMIT_WAIT_MAX : seconds;
        failure->until_ns = now_ns + seconds * NS_PER_S;
    }
    unsigned seconds = wait_s(failure, now_ns);
    pthread_mutex_unlock(&limit->mutex);
    return seconds;
}
