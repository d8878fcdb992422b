/* The paging tag. Pure. Its first byte is none a Cassandra state begins with in practice (they open
 * with a length or a protocol tag), and the seven after it make a mistake a matter of chance. */
#include "dataplane/paging_tag.h"

static const uint8_t tags[CLUSTER_COUNT][PAGING_TAG_BYTES] = {
    [CLUSTER_ORIGIN] = {0xe7, 'C', 'G', 0xa5, 'p', 's', '1', 'O'},
    [CLUSTER_TARGET] = {0xe7, 'C', 'G', 0xa5, 'p', 's', '1', 'T'},
};

const uint8_t *paging_tag(enum cluster_id cluster)
{
    return tags[cluster];
}

bool paging_tag_read(struct cql_span state, enum cluster_id *cluster)
{
    if (state.data == NULL || state.length < PAGING_TAG_BYTES)
        return false;
    for (int i = 0; i < CLUSTER_COUNT; i++) {
        if (memcmp(state.data, tags[i], PAGING_TAG_BYTES) == 0) {
            *cluster = (enum cluster_id)i;
            return true;
        }
    }
    return false;
}
