/* MD5, as Cassandra makes prepared ids with. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Of the two spans one after the other. */
void digest_md5(const void *first, size_t first_length, const void *second, size_t second_length,
                uint8_t digest[16]);
