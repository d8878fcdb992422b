/* How a data plane stands to the state that is wanted, as one word and one sentence for people. The
 * words are following.def. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A data plane that is well says something each second; one of which nothing was heard for this
 * long is shown as silent. */
#define FOLLOWING_SILENT_MS 3500

enum following {
#define FOLLOWING(symbol, word, meaning) FOLLOWING_##symbol,
#include "controlplane/following.def"
#undef FOLLOWING
    FOLLOWING_COUNT
};

struct following_facts {
    bool is_connected;
    bool is_silent;     /* connected, and nothing was heard for FOLLOWING_SILENT_MS */
    bool is_same;       /* store, revision and digest in force are those wanted */
    bool is_refusing;   /* its last answer was a NACK, with reason and detail */
    const char *reason; /* of the NACK, "" without one */
    const char *detail; /* of the NACK or of the disconnection */
    unsigned offers;    /* how often the wanted revision was sent and not answered; 0: is answered
                           or was not sent yet */
    uint64_t in_force;  /* revision */
    uint64_t wanted;    /* revision */
};

enum following following_of(const struct following_facts *facts);
/* "follows" … */
const char *following_word(enum following following);
/* One sentence, always terminated. */
void following_describe(const struct following_facts *facts, char *text, size_t size);
