/* Messages of the control link, bytes <-> structs. Pure. The table is ctl_messages.def; the text is
 * docs/control-link.md. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"

#define CTL_PROTOCOL         1
#define CTL_PING_INTERVAL_MS 2000
#define CTL_PEER_TIMEOUT_MS  8000 /* a peer that sent nothing for this long is dead */
#define CTL_DIGEST_HEX       64
/* The largest values of a snapshot's live settings. */
#define CTL_REQUEST_TIMEOUT_MAX_MS 3600000
#define CTL_CLIENTS_MAX            1000000

/* struct ctl_hello, ctl_snapshot, ctl_ack, … one a message. */
#define CTL_BEGIN(symbol, lower, meaning)      struct ctl_##lower {
#define CTL_TEXT(lower, member, maximum, need) char member[(maximum) + 1];
#define CTL_U64(lower, member, need)           uint64_t member;
#define CTL_BOOL(lower, member, need)          bool member;
#define CTL_END(lower)                                                                             \
    }                                                                                              \
    ;
#include "proto/ctl_messages.def"
#undef CTL_BEGIN
#undef CTL_TEXT
#undef CTL_U64
#undef CTL_BOOL
#undef CTL_END

enum ctl_type {
#define CTL_BEGIN(symbol, lower, meaning) CTL_##symbol,
#define CTL_TEXT(lower, member, maximum, need)
#define CTL_U64(lower, member, need)
#define CTL_BOOL(lower, member, need)
#define CTL_END(lower)
#include "proto/ctl_messages.def"
#undef CTL_BEGIN
#undef CTL_TEXT
#undef CTL_U64
#undef CTL_BOOL
#undef CTL_END
    CTL_TYPE_COUNT
};

struct ctl_message {
    enum ctl_type type;
    union {
#define CTL_BEGIN(symbol, lower, meaning) struct ctl_##lower lower;
#define CTL_TEXT(lower, member, maximum, need)
#define CTL_U64(lower, member, need)
#define CTL_BOOL(lower, member, need)
#define CTL_END(lower)
#include "proto/ctl_messages.def"
#undef CTL_BEGIN
#undef CTL_TEXT
#undef CTL_U64
#undef CTL_BOOL
#undef CTL_END
    };
};

enum ctl_verdict {
    CTL_GOOD,
    CTL_UNKNOWN, /* well-formed, but of a type this version does not know: to be ignored */
    CTL_BAD,
};

const char *ctl_type_name(enum ctl_type type);

/* Reads one message. CTL_UNKNOWN and CTL_BAD: error holds one line that names the member and what
 * is wrong. */
MUST_CHECK enum ctl_verdict ctl_decode(const char *text, size_t length, struct ctl_message *message,
                                       char *error, size_t error_size);
/* Appends the message as JSON. false: out is full. Text members must be NUL-terminated. */
MUST_CHECK bool ctl_encode(const struct ctl_message *message, struct dynbuf *out);

/* Lower-case hex SHA-256 of the snapshot's canonical content: `member=value\n` for each member in
 * table order, except nonce, digest and adopt, which speak of the transfer and not of the state,
 * and except optional members that are 0, false or "": a peer that does not know them yet agrees.
 */
void ctl_snapshot_digest(const struct ctl_snapshot *snapshot, char digest[CTL_DIGEST_HEX + 1]);
