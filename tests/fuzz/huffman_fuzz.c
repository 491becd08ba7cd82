/* libFuzzer target for the C decoder: 3 bytes of output size, then a coded section.
 *
 * All buffers are allocated to the byte, so AddressSanitizer sees any access outside them. Piece by piece a section must
 * give the same bytes, or fail alike. See tests/fuzz/run. */
#include <stdlib.h>

#include "../../device_agent/package/huffman.c"
#include "processor_time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    uint8_t *out;
    size_t size, room, most;
} Joined;

static int32_t join(void *context, const uint8_t *bytes, size_t size) {
    Joined *joined = context;
    if (size == 0 || size > joined->most || size > joined->room - joined->size) abort();
    memcpy(joined->out + joined->size, bytes, size);
    joined->size += size;
    return 0;
}

static void in_pieces(const uint8_t *coded, size_t coded_size, const uint8_t *whole, size_t out_size, int32_t status) {
    size_t room = 256 + out_size % 3 * 5000;
    uint8_t *buffer = malloc(room), *out = malloc(out_size ? out_size : 1);
    Joined joined = {out, 0, out_size, room};
    int32_t found;
    if (!buffer || !out) abort();
    found = armlet_decode_pieces(coded, coded_size, out_size, buffer, room, join, &joined);
    if (found == IN_ONE_PIECE ? joined.size != 0 : found != status) abort();
    if (found == OK && (joined.size != out_size || __builtin_memcmp(out, whole, out_size))) abort();
    free(buffer);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t out_size, coded_size;
    uint8_t *coded, *out;
    double started;
    if (size < 3) return 0;
    out_size = ((size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) & 0x1fffff;
    coded_size = size - 3;
    coded = malloc(coded_size ? coded_size : 1);
    out = malloc(out_size ? out_size : 1);
    if (!coded || !out) abort();
    memcpy(coded, data + 3, coded_size);
    started = processor_seconds();
    in_pieces(coded, coded_size, out, out_size, armlet_decode(coded, coded_size, out, out_size));
    if (processor_seconds() - started > 2) abort();
    free(coded);
    free(out);
    return 0;
}
