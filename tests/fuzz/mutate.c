/* Stands in for libFuzzer where clang's runtime is not there: COUNT SEED FILE..., each input a mutant of one of the files.
 *
 * Without a measure of what is reached; inputs that are read whole are what gets deep. The same seed gives the same inputs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state;

static uint32_t below(uint32_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % limit);
}

static size_t mutate(uint8_t *data, size_t size) {
    static const uint8_t edges[] = {0, 1, 2, 3, 4, 0x0f, 0x10, 0x7f, 0x80, 0xff};
    for (uint32_t n = below(6); n > 0 && size > 0; n--) {
        /* Where fields are, more often than where bits are. */
        uint32_t at = below(below(4) ? (size < 96 ? (uint32_t)size : 96) : (uint32_t)size);
        switch (below(5)) {
            case 0: data[at] ^= (uint8_t)(1u << below(8)); break;
            case 1: data[at] = edges[below(sizeof edges)]; break;
            case 2: data[at] = (uint8_t)(data[at] + below(9) - 4); break;
            case 3: memmove(data + at, data + at + 1, size - at - 1), size--; break;
            default:
                if (size < MOST) memmove(data + at + 1, data + at, size - at), data[at] = (uint8_t)below(256), size++;
        }
    }
    return size;
}

int main(int argc, char **argv) {
    static uint8_t whole[MOST], data[MOST];
    if (argc < 4) return 2;
    state = strtoull(argv[2], NULL, 10);
    for (long done = 0, count = atol(argv[1]); done < count; done++) {
        FILE *file = fopen(argv[3 + below((uint32_t)argc - 3)], "rb");
        size_t size;
        if (file == NULL) return 2;
        size = fread(whole, 1, MOST / 2, file);
        fclose(file);
        memcpy(data, whole, size);
        size = mutate(data, size);
        uint8_t *exact = malloc(size ? size : 1);
        if (exact == NULL) return 2;
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    printf("%s inputs\n", argv[1]);
    return 0;
}
