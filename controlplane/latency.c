/* Cells whose bounds grow by a fourth root of two, roughly: fine enough that what is lost is what
 * the data planes' own buckets do not tell. Pure; any thread. */
#include "controlplane/latency.h"

#include "common/check.h"

#define LAST (LATENCY_CELLS - 1)

/* Upper bound of a cell but the last. 1, 2, 4, … ms are bounds, as they are of most data planes. */
static uint64_t bound_of(unsigned cell)
{
    static const uint64_t octave[] = {125, 149, 177, 210};
    return octave[cell % ARRAY_COUNT(octave)] << (cell / ARRAY_COUNT(octave));
}

static void add_to_cell(struct latency *latency, unsigned cell, uint64_t count)
{
    uint64_t room = UINT32_MAX - latency->cells[cell];
    latency->cells[cell] += (uint32_t)(count < room ? count : room);
}

/* How many of count lie up to bound, in whole ones; those of all cells together are count. */
static uint64_t share_up_to(uint64_t bound, uint64_t low, uint64_t high, uint64_t count)
{
    if (bound <= low)
        return 0;
    if (bound >= high)
        return count;
    return (uint64_t)((double)count * (double)(bound - low) / (double)(high - low) + 0.5);
}

void latency_add(struct latency *latency, uint64_t low_us, uint64_t high_us, uint64_t count)
{
    uint64_t done = 0;
    if (high_us == UINT64_MAX)
        high_us = low_us < UINT64_MAX / 2 ? low_us * 2 + 1 : UINT64_MAX;
    for (unsigned cell = 0; cell < LAST && done < count; cell++) {
        uint64_t up_to = share_up_to(bound_of(cell), low_us, high_us, count);
        if (up_to > done) {
            add_to_cell(latency, cell, up_to - done);
            done = up_to;
        }
    }
    if (done < count)
        add_to_cell(latency, LAST, count - done);
}

void latency_merge(struct latency *latency, const struct latency *other)
{
    for (unsigned cell = 0; cell < LATENCY_CELLS; cell++)
        add_to_cell(latency, cell, other->cells[cell]);
}

bool latency_percentile(const struct latency *latency, unsigned permille, uint64_t *us)
{
    uint64_t total = 0, below = 0;
    for (unsigned cell = 0; cell < LATENCY_CELLS; cell++)
        total += latency->cells[cell];
    *us = 0;
    if (total == 0)
        return false;
    double rank = (double)total * permille / 1000;
    for (unsigned cell = 0; cell < LATENCY_CELLS; cell++) {
        uint64_t here = latency->cells[cell];
        if (here > 0 && (double)(below + here) >= rank) {
            uint64_t low = cell == 0 ? 0 : bound_of(cell - 1);
            uint64_t high = cell == LAST ? low * 2 : bound_of(cell);
            *us = low + (uint64_t)((double)(high - low) * (rank - (double)below) / (double)here);
            break;
        }
        below += here;
    }
    return true;
}
