/* The only file that knows OpenSSL. Pure. */
#include "digest.h"

#include <openssl/evp.h>

#include "common/check.h"

void digest_md5(const void *first, size_t first_length, const void *second, size_t second_length,
                uint8_t digest[16])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context != NULL);
    CHECK(EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1);
    CHECK(EVP_DigestUpdate(context, first, first_length) == 1);
    CHECK(EVP_DigestUpdate(context, second, second_length) == 1);
    unsigned length;
    CHECK(EVP_DigestFinal_ex(context, digest, &length) == 1 && length == 16);
    EVP_MD_CTX_free(context);
}
