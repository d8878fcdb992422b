/* The nodes of both clusters and how they are: what any thread finds out about a node is told here,
 * and what is believed of it is read from its struct node_health. A node that failed is tried last
 * by clients from then on; the proxy itself asks it (OPTIONS on a connection of its own) until it
 * answers, so that finding out costs no client anything. Lives on the main thread. */
#pragma once

#include "dataplane/node_health.h"
#include "proto/cql_cursor.h"

struct mailbox;
struct metrics_block;
struct node_watch;
struct stream_loop;
struct topology_node;

/* mailbox: the main thread's. metrics: its block. */
struct node_watch *node_watch_new(struct stream_loop *loop, struct mailbox *mailbox,
                                  struct metrics_block *metrics);
/* After the last worker has ended and all topologies are gone. */
void node_watch_free(struct node_watch *watch);

/* Main thread. The node's health, made when it is new; the caller's own reference. */
struct node_health *node_watch_find(struct node_watch *watch, enum cluster_id cluster,
                                    const struct topology_node *node);
/* Main thread. Forgets nodes that nobody refers to any more. */
void node_watch_sweep(struct node_watch *watch);
/* Main thread. Takes a cluster's own word: an EVENT body; port is that of the cluster's nodes. DOWN
 * is believed until the node answers, UP is a reason to ask at once. */
void node_watch_heed(struct node_watch *watch, enum cluster_id cluster, int port,
                     struct cql_cursor event);

/* Any thread, with its own metrics block: the node failed a client, for this reason. health may be
 * NULL. */
void node_watch_failed(struct node_watch *watch, struct node_health *health,
                       struct metrics_block *metrics, const char *reason);
/* Any thread: the node has been silent for longer than it should; it is asked at once, and believed
 * down if it does not answer that either. health may be NULL. */
void node_watch_doubt(struct node_watch *watch, struct node_health *health);
/* Any thread: the node carries a client's connection. */
void node_watch_serves(struct node_health *health, struct metrics_block *metrics);
