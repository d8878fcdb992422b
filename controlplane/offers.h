/* What was offered to one data plane over one link, and what its answers are worth. Frames may be
 * lost, come twice or late: an acknowledgement counts only for the very state that was offered
 * under its nonce, and never after a later answer. Pure: no clock, no I/O. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "proto/ctl_codec.h"

#define OFFERS_REMEMBERED 16
/* An offer without an answer is made again after this long; one that was refused later, as the
 * cause may have gone (a full disk). */
#define OFFERS_UNANSWERED_MS 2000
#define OFFERS_REFUSED_MS    10000

struct offers { /* zeroed: nothing was offered yet */
    struct offer {
        uint64_t nonce; /* 0: unused */
        uint64_t revision;
        char store_id[64];
        char digest[CTL_DIGEST_HEX + 1];
    } made[OFFERS_REMEMBERED];
    unsigned next;     /* place in made */
    uint64_t newest;   /* nonce of what was offered last */
    uint64_t answered; /* the newest nonce that was answered; 0: none */
    bool is_refused;   /* that answer was a NACK */
    unsigned times;    /* the newest was offered */
    uint64_t made_ns;  /* when, for the last time */
};

enum offers_verdict {
    OFFERS_NEWS,  /* to be believed */
    OFFERS_KNOWN, /* a duplicate, or later than an answer to something newer: to be ignored */
    OFFERS_FALSE, /* no data plane says this of itself: why is set */
};

/* snapshot was sent. Nonces never fall. */
void offers_make(struct offers *offers, const struct ctl_snapshot *snapshot, uint64_t now_ns);
MUST_CHECK enum offers_verdict offers_take_ack(struct offers *offers, const struct ctl_ack *ack,
                                               char *why, size_t why_size);
MUST_CHECK enum offers_verdict offers_take_nack(struct offers *offers, const struct ctl_nack *nack,
                                                char *why, size_t why_size);
/* The newest is to be offered again. */
bool offers_is_due(const struct offers *offers, uint64_t now_ns);
