/* Contact points to addresses without ever blocking the event loop: IP literals are read on the
 * spot, host names are asked of the system's resolver by a short-lived thread of its own, which
 * reports back through an eventfd. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "dataplane/topology.h"

struct event_base;
struct resolve;

/* A growing array of nodes without duplicates (by name). Zero-initialised means empty. */
struct node_list {
    struct topology_node *nodes;
    size_t count;
};

void node_list_add(struct node_list *list, const struct topology_node *node);
void node_list_fini(struct node_list *list);

/* Adds the literals among the comma-separated contact points. true: the list also has host names.
 */
bool resolve_literals(const char *contact_points, int port, struct node_list *list);

/* Resolves the whole list. on_done runs once on base's thread, unless cancelled before; the nodes
 * are borrowed. After it has been called, or after resolve_cancel, the handle is gone. NULL: no
 * thread or descriptor can be had. */
struct resolve *resolve_start(struct event_base *base, const char *contact_points, int port,
                              void (*on_done)(void *context, const struct node_list *nodes),
                              void *context);
/* The thread may still sit in the resolver; it ends by itself and its result is thrown away. */
void resolve_cancel(struct resolve *resolve); /* NULL is allowed */
