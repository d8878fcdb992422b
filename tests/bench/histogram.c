/* Log-linear counting of durations. One thread owns a histogram. It must never lose a value: there
 * is a bucket for every 64-bit number. */
#include "tests/bench/histogram.h"

static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - 6;
    return shift * HISTOGRAM_STEPS + (unsigned)(value >> shift);
}

static uint64_t last_of(unsigned bucket)
{
    if (bucket < 2 * HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t first = (uint64_t)(bucket - shift * HISTOGRAM_STEPS) << shift;
    return first + (((uint64_t)1 << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->buckets[bucket_of(value)]++;
    if (value > histogram->largest)
        histogram->largest = value;
}

uint64_t histogram_percentile(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)((double)histogram->count * share);
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > wanted || (seen > 0 && seen == histogram->count)) {
            uint64_t last = last_of(bucket);
            return last < histogram->largest ? last : histogram->largest;
        }
    }
    return 0;
}
