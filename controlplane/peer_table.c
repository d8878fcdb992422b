/* Ports to peers, by a table of all ports that points into the entries: the front writes, every
 * request reads. Any thread. Must never answer for a port whose connection is gone. */
#include "controlplane/peer_table.h"

#include <pthread.h>
#include <stdlib.h>

struct peer_table {
    pthread_mutex_t mutex;
    uint16_t place[65536]; /* entry number + 1; 0: none */
    uint16_t free_count;
    uint16_t free[PEER_TABLE_MAX]; /* numbers of free entries, as a stack */
    struct peer entries[PEER_TABLE_MAX];
};

struct peer_table *peer_table_new(void)
{
    struct peer_table *table = calloc(1, sizeof *table);
    CHECK(table != NULL);
    pthread_mutex_init(&table->mutex, NULL);
    while (table->free_count < PEER_TABLE_MAX) {
        table->free[table->free_count] = table->free_count;
        table->free_count++;
    }
    return table;
}

void peer_table_free(struct peer_table *table)
{
    if (table == NULL)
        return;
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

bool peer_table_add(struct peer_table *table, uint16_t port, const struct peer *peer)
{
    pthread_mutex_lock(&table->mutex);
    bool is_added = table->free_count > 0 && table->place[port] == 0;
    if (is_added) {
        uint16_t number = table->free[--table->free_count];
        table->entries[number] = *peer;
        table->place[port] = (uint16_t)(number + 1);
    }
    pthread_mutex_unlock(&table->mutex);
    return is_added;
}

void peer_table_remove(struct peer_table *table, uint16_t port)
{
    pthread_mutex_lock(&table->mutex);
    if (table->place[port] != 0) {
        table->free[table->free_count++] = (uint16_t)(table->place[port] - 1);
        table->place[port] = 0;
    }
    pthread_mutex_unlock(&table->mutex);
}

bool peer_table_find(struct peer_table *table, uint16_t port, struct peer *peer)
{
    pthread_mutex_lock(&table->mutex);
    bool is_found = table->place[port] != 0;
    if (is_found)
        *peer = table->entries[table->place[port] - 1];
    pthread_mutex_unlock(&table->mutex);
    return is_found;
}
