/* The desired routing state and the rules of changing it. Pure: values in, values out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/json.h"
#include "proto/ctl_codec.h"

#define ROUTING_STORE_ID_SIZE 37 /* a uuid and its NUL */
#define ROUTING_ETAG_SIZE     72

struct routing_state {
    char store_id[ROUTING_STORE_ID_SIZE];
    uint64_t revision; /* counts changes of this store, from 1 */
#define ROUTING_FLAG(member, fallback, meaning)    bool member;
#define ROUTING_PERCENT(member, fallback, meaning) uint8_t member;
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
};

/* A wish: members that are to change. */
struct routing_patch {
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    bool has_##member;                                                                             \
    bool member;
#define ROUTING_PERCENT(member, fallback, meaning)                                                 \
    bool has_##member;                                                                             \
    uint8_t member;
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
};

struct routing_problem {
    int status;       /* HTTP: 400 (not JSON) or 422 (JSON, but not a patch) */
    char pointer[80]; /* JSON pointer to the member at fault; "" for the whole */
    char detail[256];
};

/* Start values of a new store. */
void routing_defaults(struct routing_state *state);
/* Reads a JSON merge patch: an object with any of the members. false: *problem says why. */
MUST_CHECK bool routing_parse_patch(const char *text, size_t length, struct routing_patch *patch,
                                    struct routing_problem *problem);
/* true when patch changes anything; *state then holds the next revision. */
bool routing_apply_patch(struct routing_state *state, const struct routing_patch *patch);

/* The strong entity tag, quotes included: "<store_id>.<revision>". */
void routing_etag(const struct routing_state *state, char etag[ROUTING_ETAG_SIZE]);
/* RFC 9110 If-Match by strong comparison: `*` and lists are understood. NULL (no header) matches.
 */
bool routing_matches(const struct routing_state *state, const char *if_match);

/* The members of the REST representation, into an object the caller has begun. */
void routing_write(const struct routing_state *state, struct json_writer *writer);
/* The same as a whole object. */
void routing_write_object(const struct routing_state *state, struct json_writer *writer);
/* The same for a log line: `revision=7 forward_reads_to_target=false …`. */
void routing_describe(const struct routing_state *state, struct dynbuf *out);
/* The SNAPSHOT that carries state, digest included. */
void routing_snapshot(const struct routing_state *state, uint64_t nonce, bool adopt,
                      struct ctl_snapshot *snapshot);
