/* libFuzzer target for the C decoder: 3 bytes of output size, then a coded section.
 *
 * Both buffers are allocated to the byte, so AddressSanitizer sees any access outside them. See tests/fuzz/run. */
#include <stdlib.h>

#include "../../device_agent/package/huffman.c"
#include "processor_time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    armlet_decode(coded, coded_size, out, out_size);
    if (processor_seconds() - started > 2) abort();
    free(coded);
    free(out);
    return 0;
}
