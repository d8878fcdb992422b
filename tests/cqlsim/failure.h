/* Why a request was refused: becomes one CQL ERROR frame. Functions that can refuse return false
 * after filling one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/check.h"

enum cql_error {
    CQL_SERVER_ERROR = 0x0000,
    CQL_PROTOCOL_ERROR = 0x000A,
    CQL_BAD_CREDENTIALS = 0x0100,
    CQL_UNAVAILABLE = 0x1000,
    CQL_OVERLOADED = 0x1001,
    CQL_BOOTSTRAPPING = 0x1002,
    CQL_TRUNCATE_ERROR = 0x1003,
    CQL_WRITE_TIMEOUT = 0x1100,
    CQL_READ_TIMEOUT = 0x1200,
    CQL_READ_FAILURE = 0x1300,
    CQL_FUNCTION_FAILURE = 0x1400,
    CQL_WRITE_FAILURE = 0x1500,
    CQL_CAS_WRITE_UNKNOWN = 0x1700,
    CQL_SYNTAX_ERROR = 0x2000,
    CQL_UNAUTHORIZED = 0x2100,
    CQL_INVALID = 0x2200,
    CQL_CONFIG_ERROR = 0x2300,
    CQL_ALREADY_EXISTS = 0x2400,
    CQL_UNPREPARED = 0x2500,
};

struct failure {
    int32_t code;
    char message[512];
    char keyspace[64];       /* ALREADY_EXISTS */
    char table[64];          /* ALREADY_EXISTS; empty when the keyspace exists */
    uint8_t prepared_id[16]; /* UNPREPARED */
};

/* Fills failure and returns false, so that a refusal is one return statement. */
bool failure_set(struct failure *failure, enum cql_error code, const char *format, ...)
    PRINTF_LIKE(3, 4);

#define INVALID(failure, ...) failure_set((failure), CQL_INVALID, __VA_ARGS__)
