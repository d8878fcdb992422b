/* Which hosts of a datacenter this proxy uses: the pure core of host assignment. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Host `host` of `hosts` (in the order of rack, then host id) belongs to proxy `proxy` of
 * `proxies`: a counter that walks the hosts and cycles through the proxies meets proxy mod hosts
 * there. Every proxy gets at least one host; when there are at least as many hosts as proxies,
 * every host belongs to exactly one proxy. hosts and proxies are not 0. */
bool assign_is_mine(size_t host, size_t hosts, size_t proxy, size_t proxies);

/* Shuffles order[0..count) by seed (Fisher-Yates): the same seed gives the same order. */
void assign_shuffle(size_t *order, size_t count, uint64_t seed);

/* The order in which the nodes 0 … nodes+spares-1 are tried by the turn-th connection: first those
 * that are assigned (the first `nodes`), beginning at turn, then the spare ones; and after all of
 * them, in the same order, those that are down. order has room for nodes + spares. */
void assign_order(uint32_t *order, size_t nodes, size_t spares, size_t turn, const bool *is_down);
