/* Compressed frame bodies of protocol v3 and v4 (native_protocol_v4.spec §5). */
#pragma once

#include "bytes.h"
#include "common/dynbuf.h"

enum compression { COMPRESSION_NONE, COMPRESSION_LZ4, COMPRESSION_SNAPPY, COMPRESSION_LIMIT };

const char *compression_name(enum compression compression);
/* Case-insensitive; COMPRESSION_LIMIT when there is none of that name. */
enum compression compression_parse(struct bytes name);
/* Appends data, compressed, to out. */
void compression_deflate(enum compression compression, const uint8_t *data, size_t length,
                         struct dynbuf *out);
/* Puts data, uncompressed, into out. False with *problem when it is no such thing, or says that it
 * is longer than limit or than its compression could make of so few bytes. */
MUST_CHECK bool compression_inflate(enum compression compression, const uint8_t *data,
                                    size_t length, size_t limit, struct dynbuf *out,
                                    const char **problem);
