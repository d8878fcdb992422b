/* Latency histograms on the control link: the text a STATS member holds <-> numbers. Pure.
 *
 * `1000:52 4000:3 inf:0` says that 52 took up to 1,000 us, 3 more than that and up to 4,000 us, and
 * none longer. Totals since the process started; bounds rise, the last one is `inf`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"

#define CTL_HISTOGRAM_BUCKETS_MAX 65
#define CTL_HISTOGRAM_TEXT_MAX    2047 /* bytes without the NUL */

struct ctl_histogram {
    size_t count; /* of buckets; 0: nothing is known */
    struct {
        uint64_t bound_us; /* UINT64_MAX: no bound, the last one */
        uint64_t total;
    } buckets[CTL_HISTOGRAM_BUCKETS_MAX];
};

/* Writes the text; "" for no buckets, and for numbers so large that it would be longer than
 * CTL_HISTOGRAM_TEXT_MAX. size must be above that. */
void ctl_histogram_print(const struct ctl_histogram *histogram, char *text, size_t size);
/* false: the text is none ("" is one, of no buckets). */
MUST_CHECK bool ctl_histogram_parse(const char *text, struct ctl_histogram *histogram);
