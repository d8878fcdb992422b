/* Between the bytes of a connection and its envelopes: plain, in segments, or with compressed
 * bodies. */
#pragma once

#include "segment.h"
#include "server.h"

/* Handles what lies in connection->in, until it is used up, the connection closes or too much
 * output waits. */
void framing_process(struct connection *connection);
bool framing_is_full(const struct connection *connection);
/* Moves the envelopes in connection->out to connection->wire, in segments if it has come to that.
 */
void framing_seal(struct connection *connection);
/* The same for the last envelope alone, spoiled; start is where it begins in out. */
void framing_seal_spoiled(struct connection *connection, size_t start, enum corruption corruption);
/* Compresses the body of the envelope that begins at start, if that was agreed on. */
void framing_compress(struct connection *connection, size_t start);
/* From here on everything is in segments, both ways. */
void framing_switch(struct connection *connection);
