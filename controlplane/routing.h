/* The desired routing state and the rules of changing it. Pure: values in, values out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/json.h"
#include "common/log.h"
#include "proto/ctl_codec.h"

#define ROUTING_STORE_ID_SIZE 37 /* a uuid and its NUL */
#define ROUTING_ETAG_SIZE     72
#define ROUTING_POINTER_SIZE  80

/* Of a live switch; 0 means "as configured" for every live setting. */
enum routing_switch { ROUTING_AS_CONFIGURED, ROUTING_OFF, ROUTING_ON };

/* Of a live log level: none, or one more than the enum log_level. */
enum routing_level {
    ROUTING_LEVEL_AS_CONFIGURED,
    ROUTING_LEVEL_DEBUG = LOG_LEVEL_DEBUG + 1,
    ROUTING_LEVEL_ERROR = LOG_LEVEL_ERROR + 1,
};

struct routing_state {
    char store_id[ROUTING_STORE_ID_SIZE];
    uint64_t revision; /* counts changes of this store, from 1 */
#define ROUTING_FLAG(member, fallback, meaning)        bool member;
#define ROUTING_PERCENT(member, fallback, meaning)     uint8_t member;
#define LIVE_NUMBER(member, minimum, maximum, meaning) uint32_t member;
#define LIVE_SWITCH(member, meaning)                   uint8_t member; /* enum routing_switch */
#define LIVE_LEVEL(member, meaning)                    uint8_t member; /* enum routing_level */
#include "controlplane/routing.def"
};

/* A wish: members that are to change. */
struct routing_patch {
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    bool has_##member;                                                                             \
    bool member;
#define ROUTING_PERCENT(member, fallback, meaning)                                                 \
    bool has_##member;                                                                             \
    uint8_t member;
#define LIVE_NUMBER(member, minimum, maximum, meaning)                                             \
    bool has_##member;                                                                             \
    uint32_t member;
#define LIVE_SWITCH(member, meaning) ROUTING_PERCENT(member, 0, meaning)
#define LIVE_LEVEL(member, meaning)  ROUTING_PERCENT(member, 0, meaning)
#include "controlplane/routing.def"
};

struct routing_problem {
    int status; /* HTTP: 400 (not JSON), 409 (not in this state), 422 (JSON, but not this) */
    char pointer[ROUTING_POINTER_SIZE]; /* JSON pointer to the member at fault; "" for the whole */
    char detail[1024];
};

/* --- the members by table, for those who do the same with all of them --- */

enum routing_kind {
    ROUTING_KIND_FLAG,    /* 0, 1 */
    ROUTING_KIND_PERCENT, /* 0 … 100 */
    ROUTING_KIND_NUMBER,  /* 0: as configured */
    ROUTING_KIND_SWITCH,  /* enum routing_switch */
    ROUTING_KIND_LEVEL,   /* enum routing_level */
};

enum routing_group { ROUTING_GROUP_ROUTING, ROUTING_GROUP_SETTINGS };

struct routing_member {
    const char *name;
    enum routing_kind kind;
    enum routing_group group;
    uint32_t minimum, maximum;                     /* ROUTING_KIND_NUMBER */
    size_t offset, patch_offset, patch_has_offset; /* in the state, in a patch */
};

extern const struct routing_member routing_members[];
extern const size_t routing_member_count;

uint32_t routing_get(const struct routing_state *state, const struct routing_member *member);
/* value must be one the kind has. */
void routing_set(struct routing_state *state, const struct routing_member *member, uint32_t value);
/* true, and *value, when patch has the member. */
bool routing_patch_get(const struct routing_patch *patch, const struct routing_member *member,
                       uint32_t *value);
void routing_patch_set(struct routing_patch *patch, const struct routing_member *member,
                       uint32_t value);
/* "ERROR" …; NULL for ROUTING_LEVEL_AS_CONFIGURED. */
const char *routing_level_name(uint32_t level);
/* ROUTING_LEVEL_AS_CONFIGURED: no such level. */
uint32_t routing_level_parse(const char *text);
/* The member's value as JSON: true, 7, "INFO" or null. */
void routing_write_value(const struct routing_state *state, const struct routing_member *member,
                         struct json_writer *writer);

/* --- states and patches --- */

/* Start values of a new store. */
void routing_defaults(struct routing_state *state);
/* Fills *problem and returns false, so that a check ends with it. */
bool routing_fail(struct routing_problem *problem, int status, const char *pointer,
                  const char *detail);
/* The same for a text that is no JSON. */
bool routing_fail_json(struct routing_problem *problem, const struct json_error *error);
/* The name of an object's member as a JSON pointer: escaped by RFC 6901, control characters
 * replaced, cut to fit. */
void routing_name_pointer(char *pointer, size_t size, const char *name, size_t length);
/* Reads one member's value out of JSON into patch. false: *problem says why. */
MUST_CHECK bool routing_read_value(const struct json_value *value,
                                   const struct routing_member *member, struct routing_patch *patch,
                                   struct routing_problem *problem);
/* Reads a JSON merge patch: an object with any of the group's members. false: *problem says why. */
MUST_CHECK bool routing_parse_patch(const char *text, size_t length, enum routing_group group,
                                    struct routing_patch *patch, struct routing_problem *problem);
/* true when patch changes anything; *state then holds the next revision. */
bool routing_apply_patch(struct routing_state *state, const struct routing_patch *patch);

bool routing_has_same_settings(const struct routing_state *left, const struct routing_state *right);

/* The strong entity tag, quotes included: "<store_id>.<revision>". */
void routing_etag(const struct routing_state *state, char etag[ROUTING_ETAG_SIZE]);
/* RFC 9110 If-Match by strong comparison: `*` and lists are understood. NULL (no header) matches.
 */
bool routing_matches(const struct routing_state *state, const char *if_match);

/* The members of the REST representation, phase included, into an object the caller has begun. */
void routing_write(const struct routing_state *state, struct json_writer *writer);
/* The same as a whole object. */
void routing_write_object(const struct routing_state *state, struct json_writer *writer);
/* Revision and live settings, the same way. */
void routing_write_settings(const struct routing_state *state, struct json_writer *writer);
void routing_write_settings_object(const struct routing_state *state, struct json_writer *writer);
/* Revision and every member, as one object: what the audit log keeps. */
void routing_write_all(const struct routing_state *state, struct json_writer *writer);
/* The same for a log line: `revision=7 phase=dual_write forward_reads_to_target=false …`; live
 * settings where they are set. */
void routing_describe(const struct routing_state *state, struct dynbuf *out);
/* The SNAPSHOT that carries state, digest included. */
void routing_snapshot(const struct routing_state *state, uint64_t nonce, bool adopt,
                      struct ctl_snapshot *snapshot);
