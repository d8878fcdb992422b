/* What the stub answers: canned bodies, made once, in protocol v4 and v5, plain and lz4. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/wire.h"

struct answer {
    uint8_t opcode;
    struct wire_bytes plain;
    struct wire_bytes lz4; /* as a v4 body */
};

struct answers {
    struct answer error_version;
    struct answer error_request;
    struct answer ready;
    struct answer supported;
    struct answer nothing;  /* RESULT Void */
    struct answer row_bare; /* one row without column specifications, as EXECUTE asks for */
    struct answer row;      /* the same with them */
    struct answer local;    /* system.local */
    struct answer peers;    /* no row of system.peers */
};

/* address: IPv4, network order, what system.local shows; value_bytes: length of the one value of a
 * row. Lives as long as the process. */
void answers_make(struct answers *answers, const char *cluster_name, uint32_t address,
                  size_t value_bytes);

/* Answers one request: puts a frame onto the wire. Sets the wire up after STARTUP. */
void answers_give(const struct answers *answers, struct wire *wire,
                  const struct wire_frame *request);
