/* Names and directions of opcodes, from the opcode table. Pure. */
#include "proto/cql_frame.h"

static const struct {
    const char *name;
    bool is_known, is_request;
} opcodes[256] = {
#define CQL_OPCODE(symbol, code, text, request)                                                    \
    [code] = {.name = text, .is_known = true, .is_request = request},
#include "proto/cql_opcodes.def"
#undef CQL_OPCODE
};

const char *cql_opcode_name(uint8_t opcode)
{
    return opcodes[opcode].is_known ? opcodes[opcode].name : "UNKNOWN";
}

bool cql_opcode_is_request(uint8_t opcode)
{
    return opcodes[opcode].is_known && opcodes[opcode].is_request;
}

bool cql_opcode_is_response(uint8_t opcode)
{
    return opcodes[opcode].is_known && !opcodes[opcode].is_request;
}
