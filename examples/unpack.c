/* Unpacks an .armlet package in a native program: unpack PACKAGE [MODEL]
 *
 * With MODEL, writes the .tflite there; without, says what the package holds. A program that runs the model hands the buffer to
 * TfLiteModelCreate() instead.
 *
 *     sdk native -o armlet-sdk
 *     export PKG_CONFIG_PATH=armlet-sdk/$(uname -m)/lib/pkgconfig
 *     cc -o unpack examples/unpack.c $(pkg-config --cflags --libs armlet)
 */
#include <armlet.h>

#include <stdio.h>
#include <stdlib.h>

/* The bytes of a file, to be freed; NULL if it cannot be read. */
static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    long end = -1;
    if (!file) return NULL;
    if (fseek(file, 0, SEEK_END) == 0) end = ftell(file);
    if (end >= 0 && fseek(file, 0, SEEK_SET) == 0) bytes = malloc((size_t)end + 1);
    if (bytes && fread(bytes, 1, (size_t)end, file) != (size_t)end) {
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    *size = (size_t)end;
    return bytes;
}

static int write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    int written;
    if (!file) return 0;
    written = fwrite(bytes, 1, size, file) == size;
    return fclose(file) == 0 && written;
}

static int fail(const char *path, int status) {
    fprintf(stderr, "%s: %s: %s\n", path, armlet_error_name(status), armlet_strerror(status));
    return 1;
}

int main(int argc, char **argv) {
    size_t package_size, size, scratch_size, json_size;
    const char *json;
    void *package, *model, *scratch;
    int status;
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: unpack PACKAGE [MODEL]\n");
        return 2;
    }
    package = read_file(argv[1], &package_size);
    if (!package) {
        perror(argv[1]);
        return 1;
    }
    status = armlet_unpacked_size(package, package_size, &size, &scratch_size);
    if (status != ARMLET_OK) return fail(argv[1], status);
    model = malloc(size ? size : 1); /* aligned to 16 bytes, as TFLite wants it */
    scratch = malloc(scratch_size);
    if (!model || !scratch) {
        fprintf(stderr, "%s: needs %zu bytes\n", argv[1], size + scratch_size);
        return 1;
    }
    status = armlet_metadata(package, package_size, scratch, scratch_size, &json, &json_size);
    if (status != ARMLET_OK) return fail(argv[1], status);
    printf("%zu bytes, of %zu bytes packed\n", size, package_size);
    if (json_size) printf("%.*s\n", (int)json_size, json);
    if (argc == 3) {
        status = armlet_unpack(package, package_size, model, size, scratch, scratch_size);
        if (status != ARMLET_OK) return fail(argv[1], status);
        if (!write_file(argv[2], model, size)) {
            perror(argv[2]);
            return 1;
        }
    }
    free(scratch);
    free(model);
    free(package);
    return 0;
}
