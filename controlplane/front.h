/* The front: everything that talks to the control plane's REST API and dashboard connects here,
 * over TCP (TLS when there is a certificate) or the local socket. It relays bytes to the web
 * server's port on loopback and notes who is behind each connection (peer_table.h). A thread of its
 * own. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "controlplane/config.h"
#include "controlplane/peer_table.h"

#define FRONT_PER_ADDRESS_MAX 128 /* connections from one address beyond loopback */

struct front;

/* Listens and starts the thread. inner_port: the web server's, on 127.0.0.1. NULL: error holds one
 * line that names the setting. */
struct front *front_new(const struct control_config *config, uint16_t inner_port,
                        struct peer_table *peers, char *error, size_t error_size);
/* The TCP port it listens on. */
int front_port(const struct front *front);
/* Looks at the certificate's files now. Any thread. */
void front_reload(struct front *front);
/* After the web server has stopped: delivers what it still said, for a moment, and stops. NULL is
 * allowed. */
void front_free(struct front *front);
