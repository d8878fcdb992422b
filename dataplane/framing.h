/* Framing: a stream whose bytes travel in segments (native protocol v5, section 2.2), in one or
 * both directions, from some byte on. Its owner reads and writes envelopes as ever.
 *
 *   in    socket ─► raw bytes ─► segment checked, inflated ─► on_input, in place
 *                     └ incomplete segment: kept apart from an incomplete envelope
 *   out   envelopes ─► output chunks, behind room for a header ─► sealed at the turn's end (header
 *         and checksum filled in, lz4: compressed) ─► socket
 *
 * So the small envelopes of one turn share a segment, and none is copied for it. An envelope longer
 * than a segment travels alone in segments that are not self-contained, as it comes; an incomplete
 * envelope is never sealed into a self-contained one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/check.h"
#include "dataplane/stream.h"
#include "proto/cql_frame.h"
#include "proto/cql_segment.h"

/* Every reason a stream is lost for because of a bad segment begins with this. */
#define FRAMING_BAD_SEGMENT "bad segment"

/* What is read from now on is segments, and so are bytes that have arrived and were not used yet.
 * false: memory is out. Nothing may be switched twice; closing the stream ends it. */
MUST_CHECK bool framing_begin_reading(struct stream *stream, bool is_lz4);
/* What is written from now on goes out in segments; it must begin with an envelope. */
MUST_CHECK bool framing_begin_writing(struct stream *stream, bool is_lz4);

/* Whether a stream was lost for that reason because of a bad segment. */
static inline bool framing_is_bad(const char *reason)
{
    return strncmp(reason, FRAMING_BAD_SEGMENT, strlen(FRAMING_BAD_SEGMENT)) == 0;
}

/* The header of an envelope that on_input was given. Where there are segments it is those that are
 * compressed; a driver may set the flag on envelopes nonetheless, to which it means nothing, and
 * the next reader need not know: it is cleared, in the header and in the stream's memory. */
static inline struct cql_header framing_header(const uint8_t *envelope)
{
    struct cql_header header = cql_header_load(envelope);
    if (UNLIKELY((header.flags & CQL_FLAG_COMPRESSED) != 0 &&
                 cql_version_has_segments(header.version))) {
        header.flags &= (uint8_t)~CQL_FLAG_COMPRESSED;
        ((uint8_t *)(uintptr_t)envelope)[1] = header.flags;
    }
    return header;
}

/* ---- what stream.c calls ---- */

struct framing {
    /* Input. */
    bool reads_lz4;
    bool is_fresh; /* stream->input was kept before the switch: it is raw */
    bool is_held;  /* stream->input was left because of a pause, whole envelopes and all */
    struct chunk
        *raw; /* bytes of segments not looked at yet, or the beginning of one; NULL: none */

    /* Output. */
    bool writes_lz4;
    bool is_large;      /* the envelope being written is longer than a segment */
    struct chunk *head; /* where the open segment begins; NULL: none is open */
    size_t head_at;     /* offset of its header in head's bytes */
    size_t length;      /* of its payload so far */
    size_t left;        /* body bytes of the envelope being written still to come */
    size_t header_length;
    uint8_t header[CQL_HEADER_BYTES]; /* of the next envelope, as far as it has been written */
};

/* What all streams of a loop share, made when the first is switched. */
struct framing_buffers {
    uint8_t raw[CQL_SEGMENT_BYTES_MAX + STREAM_READ_BYTES];
    uint8_t inflated[CQL_SEGMENT_PAYLOAD_MAX];
    uint8_t gathered[CQL_SEGMENT_PAYLOAD_MAX];
    uint8_t deflated[CQL_SEGMENT_DEFLATED_MAX];
};

/* Makes what a stream and its loop need for segments, if it is not there. false: memory is out. */
MUST_CHECK bool framing_make(struct stream *stream);
/* The socket is readable. */
void framing_receive(struct stream *stream);
/* Looks again at what was kept. */
void framing_resume(struct stream *stream);
/* The owner has switched while it was being given data: what it left is raw. */
void framing_take_over(struct stream *stream, const uint8_t *data, size_t length);
/* As the stream_ functions of these names. */
uint8_t *framing_reserve(struct stream *stream, size_t length);
MUST_CHECK bool framing_write(struct stream *stream, const uint8_t *bytes, size_t length);
MUST_CHECK bool framing_write_view(struct stream *stream, struct chunk *chunk, size_t start,
                                   size_t length);
/* Seals the open segment if nothing in it is incomplete. false: memory is out. */
MUST_CHECK bool framing_seal(struct stream *stream);
/* The stream closes. */
void framing_end(struct stream *stream);
