/* armlet.h - reads .armlet packages: from the bytes of a package to the bytes of the .tflite that was packed.
 *
 *     size_t size, scratch_size;
 *     int status = armlet_unpacked_size(package, package_size, &size, &scratch_size);
 *     if (status == ARMLET_OK)
 *         status = armlet_unpack(package, package_size, model, size, scratch, scratch_size);
 *     if (status != ARMLET_OK)
 *         fprintf(stderr, "%s: %s\n", armlet_error_name(status), armlet_strerror(status));
 *
 * Nothing is allocated, nothing is kept between calls, no file is touched; any number of threads may call. A call takes
 * less than 128 KiB of stack. Whatever the bytes of the package are, only the buffers that are passed are read or
 * written; the package must not change while a call runs. Needs nothing but a few functions of
 * <string.h>.
 *
 * What a package is: device_agent/package/PACKAGE_FORMAT.md. How to build and link: docs/native.md.
 */
#ifndef ARMLET_H
#define ARMLET_H

#include <stddef.h>
#include <stdint.h>

/* The version of this interface, as semantic versioning has it; the shared library's soname holds the first number. */
#define ARMLET_VERSION_MAJOR 1
#define ARMLET_VERSION_MINOR 0
#define ARMLET_VERSION_PATCH 0
#define ARMLET_VERSION (ARMLET_VERSION_MAJOR * 10000 + ARMLET_VERSION_MINOR * 100 + ARMLET_VERSION_PATCH)

/* The version of the package format that is read. */
#define ARMLET_FORMAT_VERSION 3

#if defined(__GNUC__)
#define ARMLET_API __attribute__((visibility("default")))
#else
#define ARMLET_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The errors of PACKAGE_FORMAT.md, one number each; numbers are never given anew. A negative one is a mistake of the
 * caller, not of the package. */
typedef enum armlet_status {
    ARMLET_OK = 0,
    ARMLET_NOT_A_PACKAGE = 1,
    ARMLET_UNSUPPORTED_VERSION = 2,
    ARMLET_UNSUPPORTED_FLAGS = 3,
    ARMLET_LIMIT_EXCEEDED = 4,
    ARMLET_PACKAGE_TRUNCATED = 5,
    ARMLET_TRAILING_BYTES = 6,
    ARMLET_HEADER_CORRUPT = 7,
    ARMLET_TABLE_INVALID = 8,
    ARMLET_SPAN_INVALID = 9,
    ARMLET_SECTION_DIGEST_MISMATCH = 10,
    ARMLET_RESULT_DIGEST_MISMATCH = 11,
    ARMLET_METADATA_INVALID = 12,
    ARMLET_SECTION_TRUNCATED = 13,
    ARMLET_SECTION_TRAILING_BYTES = 14,
    ARMLET_LAYOUT_UNKNOWN = 15,
    ARMLET_PARAMETER_INVALID = 16,
    ARMLET_SIZE_MISMATCH = 17,
    ARMLET_CODE_INVALID = 18,
    ARMLET_SYMBOL_INVALID = 19,
    ARMLET_BLOCK_INDEX_INVALID = 20,
    ARMLET_BLOCK_CORRUPT = 21,
    ARMLET_PADDING_INVALID = 22,
    ARMLET_SCALE_INVALID = 23,
    ARMLET_STREAM_CORRUPT = 24,
    ARMLET_CODEC_UNAVAILABLE = 25, /* of decoders without LZMA; this one has it */

    ARMLET_OUTPUT_TOO_SMALL = -1,
    ARMLET_SCRATCH_TOO_SMALL = -2
} armlet_status;

/* ARMLET_VERSION of the library that is linked, which may be newer than this header. */
ARMLET_API int armlet_version(void);

/* Checks header, table and length of a package, and says what armlet_unpack needs: the size of the .tflite, at most 2^30
 * bytes, and that of the working memory beside it, which is at most the size of the .tflite and 3 MiB more; for a clustered
 * model it is some KiB. Either pointer may be NULL. Refuse here what is more than you can hold: so far nothing was allocated. */
ARMLET_API int armlet_unpacked_size(const void *package, size_t package_size, size_t *size, size_t *scratch_size);

/* Writes the .tflite, exactly the bytes that were packed, to `out`; what `out_size` is beyond its size stays as it is.
 * All digests are checked. After an error the content of `out` is undefined. `scratch` needs no alignment and may be NULL
 * if its size is 0; the three buffers must not overlap. (TFLite wants the model aligned to 16 bytes, as malloc gives it.) */
ARMLET_API int armlet_unpack(const void *package, size_t package_size, void *out, size_t out_size, void *scratch,
                             size_t scratch_size);

/* Where the metadata are: one JSON object in UTF-8, without a closing zero; *json_size is 0 where the package has none. It
 * stands in `scratch` or in the package, for as long as they do. The weights are not decoded, their digests are checked.
 * Scratch as for armlet_unpack. */
ARMLET_API int armlet_metadata(const void *package, size_t package_size, void *scratch, size_t scratch_size,
                               const char **json, size_t *json_size);

/* The name of an error as in PACKAGE_FORMAT.md, "BlockCorrupt"; of ARMLET_OK "OK". Never NULL. */
ARMLET_API const char *armlet_error_name(int status);

/* What it means, one sentence without a full stop. Never NULL. */
ARMLET_API const char *armlet_strerror(int status);

#ifdef __cplusplus
}
#endif

#endif
