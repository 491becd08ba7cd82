/* The C reader of whole packages under sanitizers: a libFuzzer target, and with -DSTANDALONE a program over files.
 *
 * The fuzzer's first byte says what the rest is: a package whose digests are put right (no fuzzer guesses a SHA-256), a deflate
 * stream, an LZMA stream, or metadata. All buffers are allocated to the byte, so AddressSanitizer sees any access outside them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../sdk/deploy/native/source/internal.h"
#include "processor_time.h"

static void *exactly(const void *bytes, size_t size) {
    void *copy = malloc(size ? size : 1);
    if (!copy) abort();
    if (size) memcpy(copy, bytes, size);
    return copy;
}

static void *room(size_t size) {
    void *bytes = malloc(size ? size : 1);
    if (!bytes) abort();
    return bytes;
}

static int unpack(const uint8_t *package, size_t package_size) {
    size_t size, scratch_size, json_size;
    const char *json;
    int status = armlet_unpacked_size(package, package_size, &size, &scratch_size);
    void *out, *scratch;
    if (status != ARMLET_OK || size > 1 << 24) return status;
    out = room(size);
    scratch = room(scratch_size);
    if (armlet_metadata(package, package_size, scratch, scratch_size, &json, &json_size) == ARMLET_OK && json_size)
        status = json[0] && json[json_size - 1] ? ARMLET_OK : ARMLET_METADATA_INVALID;
    if (status == ARMLET_OK) status = armlet_unpack(package, package_size, out, size, scratch, scratch_size);
    free(out);
    free(scratch);
    return status;
}

#ifdef STANDALONE

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        static uint8_t bytes[1 << 24];
        FILE *file = fopen(argv[i], "rb");
        size_t size;
        uint8_t *package;
        if (!file) return 2;
        size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        package = exactly(bytes, size);
        printf("%s\n", armlet_error_name(unpack(package, size)));
        free(package);
    }
    return 0;
}

#else

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Checksum and digests as whoever forges a package would make them; what is too broken for that stays as it is. */
static void put_digests_right(uint8_t *package, size_t size) {
    armlet_cursor c = {package, 52, 0, ARMLET_TABLE_INVALID, ARMLET_TABLE_INVALID};
    uint64_t metadata_size, sections, coded_size;
    uint32_t header_size, crc;
    size_t offset;
    uint8_t digest[ARMLET_DIGEST_SIZE];
    armlet_sha256 all, one;
    if (size < 56) return;
    package[14] &= 0xf;
    package[15] = 0;
    header_size = (uint32_t)package[12] | (uint32_t)package[13] << 8 | (uint32_t)package[14] << 16;
    if (header_size < 56 || header_size > size) return;
    c.end = header_size - 4;
    offset = header_size;
    armlet_sha256_begin(&all);
    if (armlet_read_varint(&c, 1 << 16, &metadata_size) == ARMLET_OK &&
        armlet_read_varint(&c, 4096, &sections) == ARMLET_OK) {
        for (; sections; sections--) {
            if (armlet_read_varint(&c, size - offset, &coded_size) != ARMLET_OK || c.end - c.at < 4) break;
            armlet_sha256_begin(&one);
            armlet_sha256_add(&one, package + offset, (size_t)coded_size);
            armlet_sha256_end(&one, digest);
            armlet_sha256_add(&all, digest, sizeof digest);
            memcpy(package + c.at, digest, 4);
            c.at += 4;
            offset += (size_t)coded_size;
        }
        armlet_sha256_end(&all, digest);
        if (!sections && c.end - c.at >= sizeof digest) memcpy(package + c.at, digest, sizeof digest);
    }
    crc = armlet_crc32(package, header_size - 4);
    for (int i = 0; i < 4; i++) package[header_size - 4 + (uint32_t)i] = (uint8_t)(crc >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const double started = processor_seconds();
    uint8_t *bytes, *out;
    size_t out_size;
    if (size < 4) return 0;
    out_size = (size_t)data[1] | (size_t)data[2] << 8;
    out = room(out_size);
    bytes = exactly(data + 4, size - 4);
    switch (data[0] & 3) {
    case 0:
        put_digests_right(bytes, size - 4);
        unpack(bytes, size - 4);
        break;
    case 1: armlet_inflate(bytes, size - 4, out, out_size); break;
    case 2: {
        const uint32_t lc = data[3] & 3, lp = data[3] >> 2 & 1, pb = (data[3] >> 4) % 5;
        armlet_unlzma(bytes, size - 4, (pb * 5 + lp) * 9 + lc, 4096, out, out_size);
        break;
    }
    default: armlet_check_json(bytes, size - 4);
    }
    free(bytes);
    free(out);
    if (processor_seconds() - started > 10) abort();
    return 0;
}

#endif
