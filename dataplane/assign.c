/* Host assignment. Pure. */
#include "dataplane/assign.h"

#include "common/check.h"

bool assign_is_mine(size_t host, size_t hosts, size_t proxy, size_t proxies)
{
    CHECK(hosts > 0 && proxies > 0);
    return host % proxies == proxy % hosts;
}

/* splitmix64: small, and good enough to spread connections. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

void assign_shuffle(size_t *order, size_t count, uint64_t seed)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = (size_t)(next_random(&seed) % i);
        size_t kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
}

void assign_order(uint32_t *order, size_t nodes, size_t spares, size_t turn, const bool *is_down)
{
    size_t used = 0;
    for (int down = 0; down <= 1; down++) {
        for (size_t i = 0; i < nodes + spares; i++) {
            size_t node = i < nodes ? (turn + i) % nodes : nodes + (turn + i - nodes) % spares;
            if (is_down[node] == (down == 1))
                order[used++] = (uint32_t)node;
        }
    }
    CHECK(used == nodes + spares);
}
