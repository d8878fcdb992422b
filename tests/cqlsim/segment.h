/* Protocol v5 segments: how envelopes travel once a connection is set up (native_protocol_v5.spec
 * §2). The simulator's own: nothing here comes from the proxy's codec. */
#pragma once

#include "common/dynbuf.h"

#define SEGMENT_MAX_PAYLOAD 131071U

/* What to spoil in a segment that is written, on command of the control socket. */
enum corruption {
    CORRUPT_NOTHING,
    CORRUPT_HEADER,  /* its CRC24 does not fit */
    CORRUPT_PAYLOAD, /* its CRC32 does not fit */
    CORRUPT_BODY,    /* the sums fit, the compressed bytes are none */
    CORRUPT_LENGTH,  /* the sums fit, the uncompressed length is a lie */
};

enum segment_verdict { SEGMENT_MORE, SEGMENT_DONE, SEGMENT_BAD };

struct segment {
    size_t used;         /* bytes of input it took */
    bool self_contained; /* holds whole envelopes */
    const char *problem; /* SEGMENT_BAD: why */
};

/* Appends one segment of length bytes, SEGMENT_MAX_PAYLOAD at most. With lz4 the payload is
 * compressed unless that would make it larger. */
void segment_put(struct dynbuf *out, const uint8_t *payload, size_t length, bool self_contained,
                 bool lz4, enum corruption corruption);
/* Takes the segment at data off; its payload, uncompressed, is appended to out. SEGMENT_MORE: not
 * all of it is there yet. */
enum segment_verdict segment_take(const uint8_t *data, size_t length, bool lz4,
                                  struct segment *segment, struct dynbuf *out);
