/* Latencies, counted in buckets whose width grows with the value: 64 to each power of two, so that
 * a percentile is off by less than 1.6 %. Counting costs an increment. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_STEPS   64 /* buckets to a power of two */
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 59)

struct histogram {
    uint64_t count;
    uint64_t largest;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
/* The least value that this share (0 to 1) of all does not exceed, rounded up to its bucket's end;
 * 0 when nothing was counted. */
uint64_t histogram_percentile(const struct histogram *histogram, double share);
