/* Names and directions of opcodes, from the opcode table. Pure. */
#include "proto/cql_frame.h"

static const char *const names[256] = {
#define CQL_OPCODE(symbol, code, text, is_request) [code] = text,
#include "proto/cql_opcodes.def"
#undef CQL_OPCODE
};

const uint8_t cql_opcode_directions[256] = {
#define CQL_OPCODE(symbol, code, text, is_request)                                                 \
    [code] = is_request ? CQL_DIRECTION_REQUEST : CQL_DIRECTION_RESPONSE,
#include "proto/cql_opcodes.def"
#undef CQL_OPCODE
};

const char *cql_opcode_name(uint8_t opcode)
{
    return names[opcode] != NULL ? names[opcode] : "UNKNOWN";
}
