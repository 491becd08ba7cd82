/* Header and table of a package: the twin of device_agent/package/codec/table.py, with the same checks in the same order. */
#include <string.h>

#include "internal.h"

#define MAX_TFLITE_SIZE ((uint64_t)1 << 30)

enum {
    OLDEST_VERSION = 2,
    FIXED_HEADER_SIZE = 52,
    MAX_HEADER_SIZE = 1 << 20,
    MAX_METADATA_SIZE = 1 << 16,
    MAX_SECTIONS = 4096,
    MAX_SPANS = 16384,
    MAX_BUNDLE_SIZE = 1 << 20
};

int armlet_take(armlet_cursor *c, uint64_t size, const uint8_t **bytes) {
    REQUIRE(size <= c->end - c->at, c->truncated);
    *bytes = c->data + c->at;
    c->at += (size_t)size;
    return ARMLET_OK;
}

int armlet_read_byte(armlet_cursor *c, uint32_t *value) {
    REQUIRE(c->at < c->end, c->truncated);
    *value = c->data[c->at++];
    return ARMLET_OK;
}

int armlet_read_varint(armlet_cursor *c, uint64_t limit, uint64_t *value) {
    uint64_t sum = 0;
    for (int index = 0; index < 5; index++) {
        uint32_t byte;
        CHECK(armlet_read_byte(c, &byte));
        sum |= (uint64_t)(byte & 0x7f) << (7 * index);
        if (byte < 0x80) {
            if (byte == 0 && index) return c->malformed;
            REQUIRE(sum <= limit, ARMLET_LIMIT_EXCEEDED);
            *value = sum;
            return ARMLET_OK;
        }
    }
    return c->malformed;
}

static uint32_t load32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int check_header(const uint8_t *package, size_t size, armlet_table *table) {
    static const uint8_t magic[8] = {0x89, 'A', 'R', 'M', 'L', 'E', 'T', '\n'};
    REQUIRE(size >= sizeof magic && memcmp(package, magic, sizeof magic) == 0, ARMLET_NOT_A_PACKAGE);
    REQUIRE(size >= FIXED_HEADER_SIZE, ARMLET_PACKAGE_TRUNCATED);
    table->version = load32(package + 8) & 0xffff;
    REQUIRE(table->version >= OLDEST_VERSION && table->version <= ARMLET_FORMAT_VERSION, ARMLET_UNSUPPORTED_VERSION);
    REQUIRE(load32(package + 8) >> 16 == 0, ARMLET_UNSUPPORTED_FLAGS);
    table->header_size = load32(package + 12);
    table->tflite_size = load32(package + 16);
    table->tflite_sha256 = package + 20;
    REQUIRE(table->header_size >= FIXED_HEADER_SIZE + 4 && table->header_size <= MAX_HEADER_SIZE,
            ARMLET_LIMIT_EXCEEDED);
    REQUIRE(table->tflite_size <= MAX_TFLITE_SIZE, ARMLET_LIMIT_EXCEEDED);
    REQUIRE(size >= table->header_size, ARMLET_PACKAGE_TRUNCATED);
    REQUIRE(armlet_crc32(package, table->header_size - 4) == load32(package + table->header_size - 4),
            ARMLET_HEADER_CORRUPT);
    return ARMLET_OK;
}

/* What must be known of spans and sections to check them; on the stack, since nothing was allocated by now. */
typedef struct {
    uint32_t span_sizes[MAX_SPANS], section_sizes[MAX_SECTIONS];
    uint8_t taken[MAX_SECTIONS]; /* spans that take from it for the first time, 2 for more */
} Uses;

static int check_spans(armlet_cursor *c, armlet_table *table, Uses *uses) {
    uint64_t position = 0, covered = 0, distance, size, source;
    for (uint32_t number = 0; number < table->spans; number++) {
        uint32_t target;
        CHECK(armlet_read_varint(c, MAX_TFLITE_SIZE, &distance));
        CHECK(armlet_read_varint(c, MAX_TFLITE_SIZE, &size));
        CHECK(armlet_read_varint(c, 2 * MAX_SPANS, &source));
        position += distance;
        REQUIRE(size && position + size <= table->tflite_size, ARMLET_SPAN_INVALID);
        target = (uint32_t)(source >> 1);
        if (source & 1) {
            REQUIRE(target < number && uses->span_sizes[target] == size, ARMLET_SPAN_INVALID);
        } else {
            REQUIRE(target >= 1 && target < table->sections, ARMLET_SPAN_INVALID);
            uses->section_sizes[target] += (uint32_t)size;
            if (uses->taken[target] < 2) uses->taken[target]++;
        }
        uses->span_sizes[number] = (uint32_t)size;
        position += size;
        covered += size;
    }
    /* What no span covers is in the skeleton. */
    table->skeleton_size = table->metadata_size + table->tflite_size - (uint32_t)covered;
    return ARMLET_OK;
}

static int check_sections(const armlet_table *table, const Uses *uses) {
    for (uint32_t number = 1; number < table->sections; number++) {
        REQUIRE(uses->taken[number], ARMLET_SPAN_INVALID);
        REQUIRE(uses->taken[number] < 2 || uses->section_sizes[number] <= MAX_BUNDLE_SIZE, ARMLET_LIMIT_EXCEEDED);
    }
    return ARMLET_OK;
}

/* A varint of a table that was checked. */
static uint32_t next_varint(armlet_cursor *c) {
    uint32_t sum = 0;
    for (int shift = 0;; shift += 7) {
        const uint32_t byte = c->data[c->at++];
        sum |= (byte & 0x7f) << shift;
        if (byte < 0x80) return sum;
    }
}

static size_t scratch_size(const armlet_table *table, const Uses *uses) {
    armlet_cursor c = table->coded_sizes;
    size_t largest = 0, offset = table->header_size;
    for (uint32_t number = 0; number < table->sections; number++) {
        const uint32_t coded_size = next_varint(&c);
        const uint32_t size = number ? uses->section_sizes[number] : table->skeleton_size;
        size_t needed = armlet_section_scratch(table, number, table->data + offset, coded_size, size);
        /* The skeleton is decoded aside, and so is a bundle. */
        if (number == 0 || uses->taken[number] > 1) needed += size;
        if (needed > largest) largest = needed;
        offset += coded_size;
        c.at += ARMLET_DIGEST_PREFIX_SIZE;
    }
    return largest;
}

int armlet_read_table(const uint8_t *package, size_t size, armlet_table *table) {
    armlet_cursor c;
    uint64_t value;
    const uint8_t *skipped;
    Uses uses;
    memset(table, 0, sizeof *table);
    memset(&uses, 0, sizeof uses);
    table->data = package;
    CHECK(check_header(package, size, table));
    c.data = package, c.at = FIXED_HEADER_SIZE, c.end = table->header_size - 4;
    c.truncated = c.malformed = ARMLET_TABLE_INVALID;
    CHECK(armlet_read_varint(&c, MAX_METADATA_SIZE, &value));
    table->metadata_size = (uint32_t)value;
    CHECK(armlet_read_varint(&c, MAX_SECTIONS, &value));
    table->sections = (uint32_t)value;
    table->coded_sizes = c;
    table->package_size = table->header_size;
    for (uint32_t number = 0; number < table->sections; number++) {
        CHECK(armlet_read_varint(&c, 2 * MAX_TFLITE_SIZE, &value));
        CHECK(armlet_take(&c, ARMLET_DIGEST_PREFIX_SIZE, &skipped));
        table->package_size += value;
    }
    REQUIRE(table->sections, ARMLET_TABLE_INVALID);
    CHECK(armlet_take(&c, ARMLET_DIGEST_SIZE, &table->sections_sha256));
    CHECK(armlet_read_varint(&c, MAX_SPANS, &value));
    table->spans = (uint32_t)value;
    table->span_fields = c;
    CHECK(check_spans(&c, table, &uses));
    REQUIRE(c.at == c.end, ARMLET_TABLE_INVALID);
    CHECK(check_sections(table, &uses));
    REQUIRE(size >= table->package_size, ARMLET_PACKAGE_TRUNCATED);
    REQUIRE(size == table->package_size, ARMLET_TRAILING_BYTES);
    table->scratch_size = scratch_size(table, &uses);
    return ARMLET_OK;
}

void armlet_list_table(const armlet_table *table, armlet_section *sections, armlet_span *spans) {
    armlet_cursor c = table->coded_sizes;
    uint64_t offset = table->header_size;
    uint32_t position = 0;
    memset(sections, 0, table->sections * sizeof *sections);
    for (uint32_t number = 0; number < table->sections; number++) {
        sections[number].offset = offset;
        sections[number].first_span = ARMLET_NO_SPAN;
        sections[number].coded_size = next_varint(&c);
        sections[number].digest_prefix = c.data + c.at;
        c.at += ARMLET_DIGEST_PREFIX_SIZE;
        offset += sections[number].coded_size;
    }
    sections[0].size = table->skeleton_size;
    c = table->span_fields;
    for (uint32_t number = 0; number < table->spans; number++) {
        armlet_span *span = spans + number;
        armlet_section *section;
        uint32_t source;
        position += next_varint(&c);
        span->offset = position;
        span->size = next_varint(&c);
        source = next_varint(&c);
        position += span->size;
        if (source & 1) {
            span->section = spans[source >> 1].section;
            span->start = spans[source >> 1].start;
            section = sections + span->section;
        } else {
            span->section = source >> 1;
            section = sections + span->section;
            span->start = section->size;
            section->size += span->size;
            section->spans++;
        }
        span->next = ARMLET_NO_SPAN;
        if (section->first_span == ARMLET_NO_SPAN)
            section->first_span = number;
        else
            spans[section->last_span].next = number;
        section->last_span = number;
    }
}
