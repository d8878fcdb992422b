/* Virtual hosts, by the formulas of zdm-proxy, so that drivers which knew one proxy know the other.
 * Pure. */
#include "dataplane/virtual_hosts.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "dataplane/config.h"
#include "dataplane/proxy_address.h"
#include "dataplane/text_list.h"
#include "dataplane/virtual.h"
#include "proto/cql_response.h"

/* A name-based UUID (RFC 4122, version 5) in the all-zero name space. The name is what zdm-proxy
 * takes: the 16 bytes of a listed address, the 4 bytes of an IPv4 address taken from the listener.
 * A port of its own follows in two bytes, so that proxies on one address are told apart. */
static void make_id(const struct proxy_address *address, bool is_derived, uint8_t id[16])
{
    uint8_t input[16 + 16 + 2] = {0};
    uint8_t digest[EVP_MAX_MD_SIZE];
    size_t size = 0;
    size_t skipped = is_derived && proxy_address_is_ipv4(address) ? 12 : 0;
    size_t length = 32 - skipped;
    memcpy(input + 16, address->bytes + skipped, 16 - skipped);
    if (address->port != 0) {
        cql_store_u16(input + length, address->port);
        length += 2;
    }
    int result = EVP_Q_digest(NULL, "SHA1", NULL, input, length, digest, &size);
    CHECK(result == 1 && size >= 16);
    memcpy(id, digest, 16);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x50);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

bool virtual_host_id(const char *address, char text[37])
{
    struct proxy_address parsed;
    uint8_t id[16];
    if (!proxy_address_parse(address, strlen(address), &parsed) || !parsed.is_literal)
        return false;
    make_id(&parsed, false, id);
    size_t used = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[used++] = '-';
        snprintf(text + used, 3, "%02x", id[i]);
        used += 2;
    }
    return true;
}

int64_t virtual_token(unsigned tokens, unsigned proxies, unsigned proxy, unsigned t)
{
    uint64_t parts = (uint64_t)tokens * proxies;
    CHECK(parts > 0 && proxy < proxies && t < tokens);
    /* 2^64 itself does not fit: it is UINT64_MAX + 1. With one part there is only part 0, and the
     * step does not matter. */
    uint64_t step = UINT64_MAX / parts + (UINT64_MAX % parts == parts - 1 ? 1 : 0);
    uint64_t part = (uint64_t)t * proxies + proxy;
    return (int64_t)(step * part - ((uint64_t)1 << 63));
}

void virtual_hosts_put_tokens(const struct virtual_hosts *hosts, size_t proxy, struct dynbuf *value)
{
    cql_put_i32(value, (int32_t)hosts->tokens);
    for (unsigned t = 0; t < hosts->tokens; t++) {
        char text[24];
        int64_t token = virtual_token(hosts->tokens, (unsigned)hosts->count, (unsigned)proxy, t);
        int length = snprintf(text, sizeof text, "%" PRId64, token);
        cql_put_i32(value, length);
        dynbuf_append(value, text, (size_t)length);
    }
}

struct virtual_hosts *virtual_hosts_new(const struct config *config)
{
    struct virtual_hosts *hosts = calloc(1, sizeof *hosts);
    CHECK(hosts != NULL);
    hosts->self = (size_t)config->proxy_index;
    hosts->tokens = (unsigned)config->proxy_num_tokens;
    const char *at = config->proxy_addresses;
    char item[PROXY_ADDRESS_TEXT_MAX + 1];
    bool is_derived = config->derives_proxy_addresses &&
                      strcmp(config->proxy_addresses, config->query_address) == 0;
    while (text_list_next(&at, item, sizeof item)) {
        struct proxy_address address;
        bool is_address = proxy_address_parse(item, strlen(item), &address) && address.is_literal;
        CHECK(is_address); /* start_names_resolve leaves no others */
        struct virtual_host *grown =
            realloc(hosts->hosts, (hosts->count + 1) * sizeof *hosts->hosts);
        CHECK(grown != NULL);
        hosts->hosts = grown;
        struct virtual_host *host = &grown[hosts->count++];
        make_id(&address, is_derived, host->id);
        host->port = address.port != 0 ? address.port : config->query_port;
        host->address_length = proxy_address_is_ipv4(&address) ? 4 : 16;
        memcpy(host->address, address.bytes + (16 - host->address_length), host->address_length);
    }
    CHECK(hosts->self < hosts->count);
    return hosts;
}

void virtual_hosts_free(struct virtual_hosts *hosts)
{
    if (hosts == NULL)
        return;
    free(hosts->hosts);
    free(hosts);
}
