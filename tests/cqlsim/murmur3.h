/* The token of a partition key under Murmur3Partitioner. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int64_t murmur3_token(const uint8_t *data, size_t length);
