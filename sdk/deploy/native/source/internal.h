/* What the files of the package reader share. Every name begins with armlet_, for those who link the static library. */
#ifndef ARMLET_INTERNAL_H
#define ARMLET_INTERNAL_H

#include "armlet.h"

enum { ARMLET_DIGEST_SIZE = 32, ARMLET_DIGEST_PREFIX_SIZE = 4 };

#define ARMLET_NO_SPAN UINT32_MAX

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        int status_ = (call);                                                                                          \
        if (status_ != ARMLET_OK) return status_;                                                                      \
    } while (0)
#define REQUIRE(condition, error)                                                                                      \
    do {                                                                                                               \
        if (!(condition)) return (error);                                                                              \
    } while (0)

/* ---- digests.c ---- */

typedef struct {
    uint32_t state[8];
    uint64_t size;
    uint8_t block[64];
} armlet_sha256;

void armlet_sha256_begin(armlet_sha256 *sha);
void armlet_sha256_add(armlet_sha256 *sha, const uint8_t *data, size_t size);
void armlet_sha256_end(armlet_sha256 *sha, uint8_t *digest);
uint32_t armlet_crc32(const uint8_t *data, size_t size);

/* ---- inflate.c, lzma.c: the stream must give exactly `size` bytes and end with its last byte ---- */

int armlet_inflate(const uint8_t *stream, size_t stream_size, uint8_t *out, size_t size);
/* properties: (pb * 5 + lp) * 9 + lc with lc + lp at most 4 and pb at most 4; dictionary in bytes */
int armlet_unlzma(const uint8_t *stream, size_t stream_size, uint32_t properties, uint64_t dictionary, uint8_t *out,
                  size_t size);
/* The prepared text, armlet_prepared_size() bytes, then what the stream goes on with; `size` is of both. */
size_t armlet_prepared_size(void);
int armlet_unlzma_prepared(const uint8_t *stream, size_t stream_size, uint8_t *out, size_t size);

/* ---- json.c ---- */

/* ARMLET_METADATA_INVALID unless this is one JSON object in UTF-8. */
int armlet_check_json(const uint8_t *text, size_t size);

/* ---- table.c ---- */

/* Integers of a package, `at` to `end`. Past the end: `truncated`; a varint that is not in its shortest form: `malformed`. */
typedef struct {
    const uint8_t *data;
    size_t at, end;
    int truncated, malformed;
} armlet_cursor;

int armlet_take(armlet_cursor *c, uint64_t size, const uint8_t **bytes);
int armlet_read_byte(armlet_cursor *c, uint32_t *value);
int armlet_read_varint(armlet_cursor *c, uint64_t limit, uint64_t *value);

typedef struct {
    uint64_t offset;             /* in the package */
    uint32_t coded_size, size;   /* size: decoded */
    uint32_t spans;              /* that take from it for the first time; above 1 it is a bundle */
    uint32_t first_span, last_span; /* of all that take from it, linked by `next` */
    const uint8_t *digest_prefix;
} armlet_section;

typedef struct {
    uint32_t offset, size;       /* in the model */
    uint32_t section, start;     /* bytes of the section, decoded, from `start` on */
    uint32_t next;               /* the next span of this section */
} armlet_span;

typedef struct {
    const uint8_t *data;
    uint64_t package_size;       /* as the table states it */
    uint32_t version, header_size, tflite_size, metadata_size, skeleton_size, sections, spans;
    size_t scratch_size;         /* for bundles, transposed sections and the skeleton; the records come on top */
    const uint8_t *tflite_sha256, *sections_sha256;
    armlet_cursor coded_sizes, span_fields; /* where the table states them */
} armlet_table;

/* Every check of header and table, and that the package is as long as they say. */
int armlet_read_table(const uint8_t *package, size_t size, armlet_table *table);

/* The records of a table that armlet_read_table has checked; arrays of table->sections and table->spans. */
void armlet_list_table(const armlet_table *table, armlet_section *sections, armlet_span *spans);

/* ---- unpack.c ---- */

/* Bytes that decoding this section takes beside its place; its fields may be wrong. */
size_t armlet_section_scratch(const armlet_table *table, uint32_t number, const uint8_t *coded, size_t coded_size,
                              uint32_t size);

/* ---- huffman.c, in device_agent ---- */

int32_t armlet_decode(const uint8_t *coded, size_t coded_size, uint8_t *out, size_t out_size);

#endif
