/* The parts of a stream that its framing is built from; nobody else's business. */
#pragma once

#include "dataplane/stream.h"

/* Hands bytes to the owner and keeps what it leaves. whole: the kept large chunk data lies in, or
 * NULL. The stream may be closed or opened anew afterwards: see stream->life. */
void stream_deliver(struct stream *stream, const uint8_t *data, size_t length, struct chunk *whole);
/* The same with what is kept. */
void stream_deliver_kept(struct stream *stream);
/* Closes and tells the owner. */
void stream_lose(struct stream *stream, const char *reason);
/* A read brought no bytes: stop is an enum transport_stop. */
void stream_read_nothing(struct stream *stream, ssize_t stop);
/* Puts the stream on the list of those whose kept input is looked at at the turn's end. */
void stream_look_again(struct stream *stream);
/* The large envelope the owner wants whole is not complete. */
static inline bool stream_is_waiting_for_large(const struct stream *stream)
{
    return stream->input != NULL && stream->input_need > STREAM_WHOLE_FRAME &&
           stream->input->end < stream->input_need;
}

/* The output's last chunk, with room for length contiguous bytes (length <= CHUNK_BYTES), or NULL:
 * memory is out. */
struct chunk *stream_tail(struct stream *stream, size_t length);
/* Appends a view to the output; it is not counted in stream->queued yet. false: memory is out. */
MUST_CHECK bool stream_add_view(struct stream *stream, struct chunk *chunk, size_t start,
                                size_t length);
/* There is something to flush. */
static inline void stream_mark_dirty(struct stream *stream)
{
    if (list_is_empty(&stream->dirty))
        list_append(&stream->loop->dirty[stream->flush_rank], &stream->dirty);
}
