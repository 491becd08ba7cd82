/* From the bytes of a package to those of its .tflite: the twin of device_agent/package/reader.py, same checks, same answers. */
#include "armlet.h"

#include <string.h>

#include "internal.h"

enum { RAW = 0, LZ = 1, CONTEXTS = 5, DEFLATE = 1, LZMA = 2, PREPARED = 3, MAX_TFLITE_SIZE = 1 << 30 };
enum { VERSION_OF_CONTEXTS = 3 }; /* and of prepared streams */
enum { MIN_DICTIONARY_LOG2 = 12, MAX_DICTIONARY_LOG2 = 26 };

/* ---- lz sections ----------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t codec, width, properties, dictionary_log2;
    const uint8_t *stream;
    size_t stream_size;
} Lz;

/* prepared: whether its stream may be */
static int parse_lz(const uint8_t *coded, size_t coded_size, uint64_t size, int prepared, Lz *lz) {
    armlet_cursor c = {coded, 1, coded_size, ARMLET_SECTION_TRUNCATED, ARMLET_PARAMETER_INVALID};
    uint64_t count;
    CHECK(armlet_read_byte(&c, &lz->codec));
    REQUIRE(lz->codec == DEFLATE || lz->codec == LZMA || (lz->codec == PREPARED && prepared), ARMLET_LAYOUT_UNKNOWN);
    CHECK(armlet_read_byte(&c, &lz->width));
    REQUIRE(lz->width <= 3, ARMLET_PARAMETER_INVALID);
    CHECK(armlet_read_varint(&c, MAX_TFLITE_SIZE, &count));
    REQUIRE(count << lz->width == size, ARMLET_SIZE_MISMATCH);
    lz->width = 1u << lz->width;
    if (lz->codec == LZMA) {
        uint32_t lc, lp;
        CHECK(armlet_read_byte(&c, &lz->properties));
        lc = lz->properties % 9, lp = lz->properties / 9 % 5;
        REQUIRE(lz->properties / 45 <= 4 && lc + lp <= 4, ARMLET_PARAMETER_INVALID);
        CHECK(armlet_read_byte(&c, &lz->dictionary_log2));
        REQUIRE(lz->dictionary_log2 >= MIN_DICTIONARY_LOG2 && lz->dictionary_log2 <= MAX_DICTIONARY_LOG2,
                ARMLET_PARAMETER_INVALID);
    }
    lz->stream = coded + c.at;
    lz->stream_size = c.end - c.at;
    return ARMLET_OK;
}

static int is_lz(const uint8_t *coded, size_t coded_size) { return coded_size && coded[0] == LZ; }

static int may_be_prepared(const armlet_table *table, uint32_t number) {
    return number == 0 && table->version >= VERSION_OF_CONTEXTS;
}

size_t armlet_section_scratch(const armlet_table *table, uint32_t number, const uint8_t *coded, size_t coded_size,
                              uint32_t size) {
    Lz lz;
    if (!is_lz(coded, coded_size) || parse_lz(coded, coded_size, size, may_be_prepared(table, number), &lz)) return 0;
    if (lz.codec == PREPARED) return armlet_prepared_size();
    /* A stream of wider elements holds the lowest bytes of all, then the next ones: it is put in order from a copy. */
    return lz.width > 1 ? size : 0;
}

static int decode_lz(const Lz *lz, uint8_t *out, size_t size, uint8_t *scratch) {
    uint8_t *flat = lz->width > 1 ? scratch : out;
    if (lz->codec == DEFLATE)
        CHECK(armlet_inflate(lz->stream, lz->stream_size, flat, size));
    else
        CHECK(armlet_unlzma(lz->stream, lz->stream_size, lz->properties, (uint64_t)1 << lz->dictionary_log2, flat,
                            size));
    if (lz->width > 1)
        for (uint32_t plane = 0; plane < lz->width; plane++)
            for (size_t at = plane; at < size; at += lz->width) out[at] = *flat++;
    return ARMLET_OK;
}

/* ---- what an unpacking has at hand ----------------------------------------------------------------------------- */

typedef struct {
    armlet_table table;
    armlet_section *sections;
    armlet_span *spans;
    uint8_t *rest; /* of the scratch, behind the records: a bundle or a transposed section, then the skeleton */
    size_t rest_size;
} Package;

static size_t records_size(const armlet_table *table) {
    return table->sections * sizeof(armlet_section) + table->spans * sizeof(armlet_span);
}

enum { ALIGNMENT = 16 }; /* of the records, wherever the scratch is */

static int open_package(const uint8_t *data, size_t size, uint8_t *scratch, size_t scratch_size, Package *package) {
    armlet_table *table = &package->table;
    size_t skipped;
    CHECK(armlet_read_table(data, size, table));
    skipped = (size_t)(ALIGNMENT - (uintptr_t)scratch % ALIGNMENT) % ALIGNMENT;
    REQUIRE(scratch_size >= skipped && scratch_size - skipped >= records_size(table), ARMLET_SCRATCH_TOO_SMALL);
    package->sections = (armlet_section *)(void *)(scratch + skipped);
    package->spans = (armlet_span *)(void *)(package->sections + table->sections);
    package->rest = (uint8_t *)(package->spans + table->spans);
    package->rest_size = scratch_size - skipped - records_size(table);
    armlet_list_table(table, package->sections, package->spans);
    return ARMLET_OK;
}

static const uint8_t *coded_of(const Package *package, const armlet_section *section) {
    return package->table.data + section->offset;
}

static int check_digests(const Package *package) {
    uint8_t digest[ARMLET_DIGEST_SIZE];
    armlet_sha256 all, one;
    armlet_sha256_begin(&all);
    for (uint32_t number = 0; number < package->table.sections; number++) {
        const armlet_section *section = package->sections + number;
        armlet_sha256_begin(&one);
        armlet_sha256_add(&one, coded_of(package, section), section->coded_size);
        armlet_sha256_end(&one, digest);
        REQUIRE(memcmp(digest, section->digest_prefix, ARMLET_DIGEST_PREFIX_SIZE) == 0,
                ARMLET_SECTION_DIGEST_MISMATCH);
        armlet_sha256_add(&all, digest, sizeof digest);
    }
    armlet_sha256_end(&all, digest);
    return memcmp(digest, package->table.sections_sha256, sizeof digest) == 0 ? ARMLET_OK
                                                                              : ARMLET_SECTION_DIGEST_MISMATCH;
}

/* ---- the skeleton ---------------------------------------------------------------------------------------------- */

/* The fields of section 0; a raw one needs no decoding, and `lz->codec` is 0. */
static int parse_skeleton(const Package *package, Lz *lz) {
    const armlet_section *section = package->sections;
    const uint8_t *coded = coded_of(package, section);
    if (is_lz(coded, section->coded_size)) {
        CHECK(parse_lz(coded, section->coded_size, section->size, may_be_prepared(&package->table, 0), lz));
        return lz->width == 1 ? ARMLET_OK : ARMLET_LAYOUT_UNKNOWN;
    }
    REQUIRE(section->coded_size, ARMLET_SECTION_TRUNCATED);
    REQUIRE(coded[0] == RAW, ARMLET_LAYOUT_UNKNOWN);
    REQUIRE(section->coded_size - 1 == section->size, ARMLET_SIZE_MISMATCH);
    lz->codec = 0;
    return ARMLET_OK;
}

/* The bytes of the skeleton: metadata, then what no span covers. */
static int decode_skeleton(const Package *package, const Lz *lz, const uint8_t **bytes) {
    if (lz->codec == 0) {
        *bytes = coded_of(package, package->sections) + 1;
        return ARMLET_OK;
    }
    if (lz->codec == PREPARED) {
        const size_t size = armlet_prepared_size() + package->sections->size;
        REQUIRE(package->rest_size >= size, ARMLET_SCRATCH_TOO_SMALL);
        *bytes = package->rest + armlet_prepared_size();
        return armlet_unlzma_prepared(lz->stream, lz->stream_size, package->rest, size);
    }
    REQUIRE(package->rest_size >= package->sections->size, ARMLET_SCRATCH_TOO_SMALL);
    *bytes = package->rest;
    return decode_lz(lz, package->rest, package->sections->size, NULL);
}

static void fill_gaps(const Package *package, const uint8_t *bytes, uint8_t *out) {
    size_t position = 0;
    for (uint32_t number = 0; number < package->table.spans; number++) {
        const armlet_span *span = package->spans + number;
        const size_t size = span->offset - position;
        if (size) memcpy(out + position, bytes, size);
        bytes += size;
        position = (size_t)span->offset + span->size;
    }
    if (position < package->table.tflite_size) memcpy(out + position, bytes, package->table.tflite_size - position);
}

/* ---- the other sections ---------------------------------------------------------------------------------------- */

/* huffman.c counts its errors by itself. */
static int status_of(int32_t decoded) {
    static const uint8_t statuses[] = {
        ARMLET_OK,           ARMLET_SECTION_TRUNCATED, ARMLET_SECTION_TRAILING_BYTES, ARMLET_LAYOUT_UNKNOWN,
        ARMLET_PARAMETER_INVALID, ARMLET_SIZE_MISMATCH, ARMLET_CODE_INVALID,          ARMLET_SYMBOL_INVALID,
        ARMLET_BLOCK_INDEX_INVALID, ARMLET_BLOCK_CORRUPT, ARMLET_PADDING_INVALID,     ARMLET_SCALE_INVALID,
        ARMLET_LIMIT_EXCEEDED};
    return statuses[-decoded];
}

static int decode_section(const Package *package, const armlet_section *section, uint8_t *out, uint8_t *scratch,
                          size_t scratch_size) {
    const uint8_t *coded = coded_of(package, section);
    Lz lz;
    REQUIRE(!section->coded_size || coded[0] != CONTEXTS || package->table.version >= VERSION_OF_CONTEXTS,
            ARMLET_LAYOUT_UNKNOWN);
    if (!is_lz(coded, section->coded_size))
        return status_of(armlet_decode(coded, section->coded_size, out, section->size));
    CHECK(parse_lz(coded, section->coded_size, section->size, 0, &lz));
    REQUIRE(lz.width == 1 || scratch_size >= section->size, ARMLET_SCRATCH_TOO_SMALL);
    return decode_lz(&lz, out, section->size, scratch);
}

/* Decodes to the place of the section, or, a bundle, to the scratch; then fills the other spans that take from it. */
static int decode_to_spans(const Package *package, const armlet_section *section, uint8_t *out) {
    const armlet_span *first = package->spans + section->first_span;
    uint8_t *decoded = out + first->offset, *rest = package->rest;
    size_t rest_size = package->rest_size;
    uint32_t next = first->next;
    if (section->spans > 1) {
        REQUIRE(rest_size >= section->size, ARMLET_SCRATCH_TOO_SMALL);
        decoded = rest;
        rest += section->size, rest_size -= section->size;
        next = section->first_span;
    }
    CHECK(decode_section(package, section, decoded, rest, rest_size));
    for (; next != ARMLET_NO_SPAN; next = package->spans[next].next) {
        const armlet_span *span = package->spans + next;
        memcpy(out + span->offset, decoded + span->start, span->size);
    }
    return ARMLET_OK;
}

static int decode_sections(const Package *package, uint8_t *out) {
    int broken = ARMLET_OK;
    for (uint32_t number = 1; number < package->table.sections; number++) {
        const int status = decode_to_spans(package, package->sections + number, out);
        /* Every field is looked at before the first bit: fields that are wrong come first, wherever they stand. */
        if (status == ARMLET_BLOCK_CORRUPT || status == ARMLET_STREAM_CORRUPT)
            broken = broken ? broken : status;
        else
            CHECK(status);
    }
    return broken;
}

/* ---- the interface --------------------------------------------------------------------------------------------- */

int armlet_version(void) { return ARMLET_VERSION; }

int armlet_unpacked_size(const void *package, size_t package_size, size_t *size, size_t *scratch_size) {
    armlet_table table;
    CHECK(armlet_read_table(package, package_size, &table));
    if (size) *size = table.tflite_size;
    if (scratch_size) *scratch_size = ALIGNMENT - 1 + records_size(&table) + table.scratch_size;
    return ARMLET_OK;
}

static int check_metadata(const Package *package, const uint8_t *skeleton) {
    const uint32_t size = package->table.metadata_size;
    return size ? armlet_check_json(skeleton, size) : ARMLET_OK;
}

int armlet_unpack(const void *package, size_t package_size, void *out, size_t out_size, void *scratch,
                  size_t scratch_size) {
    Package opened;
    Lz lz;
    const uint8_t *skeleton;
    uint8_t digest[ARMLET_DIGEST_SIZE];
    armlet_sha256 sha;
    CHECK(open_package(package, package_size, scratch, scratch_size, &opened));
    REQUIRE(out_size >= opened.table.tflite_size, ARMLET_OUTPUT_TOO_SMALL);
    CHECK(check_digests(&opened));
    CHECK(parse_skeleton(&opened, &lz));
    CHECK(decode_sections(&opened, out));
    CHECK(decode_skeleton(&opened, &lz, &skeleton));
    fill_gaps(&opened, skeleton + opened.table.metadata_size, out);
    armlet_sha256_begin(&sha);
    armlet_sha256_add(&sha, out, opened.table.tflite_size);
    armlet_sha256_end(&sha, digest);
    REQUIRE(memcmp(digest, opened.table.tflite_sha256, sizeof digest) == 0, ARMLET_RESULT_DIGEST_MISMATCH);
    return check_metadata(&opened, skeleton);
}

int armlet_metadata(const void *package, size_t package_size, void *scratch, size_t scratch_size, const char **json,
                    size_t *json_size) {
    Package opened;
    Lz lz;
    const uint8_t *skeleton;
    CHECK(open_package(package, package_size, scratch, scratch_size, &opened));
    CHECK(check_digests(&opened));
    CHECK(parse_skeleton(&opened, &lz));
    CHECK(decode_skeleton(&opened, &lz, &skeleton));
    CHECK(check_metadata(&opened, skeleton));
    *json = (const char *)skeleton;
    *json_size = opened.table.metadata_size;
    return ARMLET_OK;
}
