/* Virtual hosts, by the formulas of zdm-proxy, so that drivers which knew one proxy know the other.
 * Pure. */
#include "dataplane/virtual_hosts.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "dataplane/config.h"
#include "dataplane/text_list.h"
#include "dataplane/virtual.h"
#include "proto/cql_response.h"

#define ADDRESS_TEXT_BYTES 64

/* The 16-byte form of an IP literal, IPv4 mapped into IPv6. */
static bool parse_address(const char *text, uint8_t address[16])
{
    memset(address, 0, 16);
    address[10] = 0xff;
    address[11] = 0xff;
    return inet_pton(AF_INET, text, address + 12) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool is_mapped(const uint8_t address[16])
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, prefix, sizeof prefix) == 0;
}

/* A name-based UUID (RFC 4122, version 5) in the all-zero name space. */
static void make_id(const uint8_t address[16], uint8_t id[16])
{
    uint8_t input[32] = {0};
    uint8_t digest[EVP_MAX_MD_SIZE];
    size_t size = 0;
    memcpy(input + 16, address, 16);
    int result = EVP_Q_digest(NULL, "SHA1", NULL, input, sizeof input, digest, &size);
    CHECK(result == 1 && size >= 16);
    memcpy(id, digest, 16);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x50);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

bool virtual_host_id(const char *address, char text[37])
{
    uint8_t bytes[16], id[16];
    if (!parse_address(address, bytes))
        return false;
    make_id(bytes, id);
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
    hosts->port = config->query_port;
    const char *at = config->proxy_addresses;
    char item[ADDRESS_TEXT_BYTES];
    while (text_list_next(&at, item, sizeof item)) {
        uint8_t address[16];
        bool is_address = parse_address(item, address);
        CHECK(is_address); /* config_load refuses others */
        struct virtual_host *grown =
            realloc(hosts->hosts, (hosts->count + 1) * sizeof *hosts->hosts);
        CHECK(grown != NULL);
        hosts->hosts = grown;
        struct virtual_host *host = &grown[hosts->count++];
        make_id(address, host->id);
        host->address_length = is_mapped(address) ? 4 : 16;
        memcpy(host->address, address + (16 - host->address_length), host->address_length);
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
