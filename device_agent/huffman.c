/* The Huffman layouts of a section of an .armlet package, decoded straight to their place.
 *
 * One function, armlet_decode: parse, check, write. It is the twin of huffman.py: same checks, same order, same
 * answers; PACKAGE_FORMAT.md is the authority over both. It allocates nothing (tables stand on the stack, 72 KiB),
 * keeps no state, reads only inside `coded` and writes only inside `out`, whatever the bits are.
 *
 * How it is quick: blocks are independent, so LANES of them are decoded side by side and their look-ups overlap;
 * in dense sections one look-up of FAST_BITS gives up to 16 bytes of finished weights.
 *
 * Build: cc -O3 -ffp-contract=off -fPIC -shared. (A fused multiply-add or -ffast-math would change the weights.)
 */
#include <stddef.h>
#include <stdint.h>

/* Declared here, so that no libc headers are needed; every process that loads this has them. */
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

enum { RAW = 0, DENSE = 2, SPARSE = 3, PLANES = 4 }; /* 1, lz, belongs to zlib and lzma */

enum {
    MAX_TFLITE_SIZE = 1 << 30,
    MAX_CODE_LENGTH = 12,
    MAX_SYMBOLS = 1024,
    MAX_CENTROIDS = 256,
    MAX_CHANNELS = 1 << 16,
    MIN_BLOCK_LOG2 = 6,
    MAX_BLOCK_LOG2 = 16,
    MAX_INDEX_WIDTH = 30,
    MAX_GAP_SPLIT = 7,
    MAX_GAP_MSB = 2,
    MAX_GAP_EXPONENT = 29
};

/* minus (position in KERNEL_ERRORS of format.py + 1) */
enum {
    OK = 0,
    SECTION_TRUNCATED = -1,
    SECTION_TRAILING_BYTES = -2,
    LAYOUT_UNKNOWN = -3,
    PARAMETER_INVALID = -4,
    SIZE_MISMATCH = -5,
    CODE_INVALID = -6,
    SYMBOL_INVALID = -7,
    BLOCK_INDEX_INVALID = -8,
    BLOCK_CORRUPT = -9,
    PADDING_INVALID = -10,
    SCALE_INVALID = -11,
    LIMIT_EXCEEDED = -12
};

enum { LANES = 4, FAST_BITS = 10, LOOKUPS = 4 }; /* LOOKUPS * MAX_CODE_LENGTH fit the 57 bits of a window */

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        int status_ = (call);                                                                                          \
        if (status_ != OK) return status_;                                                                             \
    } while (0)
#define REQUIRE(condition, error)                                                                                      \
    do {                                                                                                               \
        if (!(condition)) return (error);                                                                              \
    } while (0)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define INLINE static inline __attribute__((always_inline))

/* ---- reading fields -------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *data;
    size_t at, end;
} Cursor;

static int take(Cursor *c, uint64_t size, const uint8_t **bytes) {
    REQUIRE(size <= c->end - c->at, SECTION_TRUNCATED);
    *bytes = c->data + c->at;
    c->at += (size_t)size;
    return OK;
}

static int read_byte(Cursor *c, uint32_t *value) {
    const uint8_t *bytes;
    CHECK(take(c, 1, &bytes));
    *value = bytes[0];
    return OK;
}

/* Unsigned LEB128, at most 5 bytes, shortest form, not above limit. */
static int read_varint(Cursor *c, uint64_t limit, uint64_t *value) {
    uint64_t sum = 0;
    for (int index = 0; index < 5; index++) {
        uint32_t byte;
        CHECK(read_byte(c, &byte));
        sum |= (uint64_t)(byte & 0x7f) << (7 * index);
        if (byte < 0x80) {
            if (byte == 0 && index) return PARAMETER_INVALID;
            REQUIRE(sum <= limit, LIMIT_EXCEEDED);
            *value = sum;
            return OK;
        }
    }
    return PARAMETER_INVALID;
}

INLINE uint64_t load64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

/* Bits from `bit` on, at least 57 of them; zeros follow the end of the stream. */
INLINE uint64_t window_at(const uint8_t *stream, size_t size, uint64_t bit) {
    uint64_t byte = bit >> 3, value = 0;
    if (byte + 8 <= size) return load64(stream + byte) >> (bit & 7);
    for (int i = 0; i < 8 && byte + (uint64_t)i < size; i++) value |= (uint64_t)stream[byte + (uint64_t)i] << (8 * i);
    return value >> (bit & 7);
}

/* ---- codes ----------------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t max_length, min_length, symbols;
    uint16_t counts[MAX_CODE_LENGTH + 1];
} Code;

static int parse_code(Cursor *c, Code *code) {
    uint64_t symbols = 0, kraft = 0;
    CHECK(read_byte(c, &code->max_length));
    REQUIRE(code->max_length <= MAX_CODE_LENGTH, CODE_INVALID);
    code->min_length = 0;
    for (uint32_t length = 1; length <= code->max_length; length++) {
        uint64_t count;
        CHECK(read_varint(c, MAX_SYMBOLS, &count));
        code->counts[length] = (uint16_t)count;
        symbols += count;
        kraft += count << (code->max_length - length);
        if (count && !code->min_length) code->min_length = length;
    }
    if (code->max_length == 0) symbols = 1;
    REQUIRE(symbols <= MAX_SYMBOLS, LIMIT_EXCEEDED);
    code->symbols = (uint32_t)symbols;
    if (code->max_length)
        REQUIRE(kraft == (uint64_t)1 << code->max_length && code->counts[code->max_length], CODE_INVALID);
    return OK;
}

static uint32_t reversed(uint32_t value, uint32_t width) {
    uint32_t result = 0;
    for (uint32_t bit = 0; bit < width; bit++) result |= (value >> bit & 1) << (width - 1 - bit);
    return result;
}

/* table[next max_length bits] = symbol << 4 | length */
static void build_table(const Code *code, uint16_t *table) {
    uint32_t symbol = 0, start = 0, width = code->max_length;
    if (width == 0) {
        table[0] = 0;
        return;
    }
    for (uint32_t length = 1; length <= width; length++)
        for (uint32_t i = 0; i < code->counts[length]; i++, symbol++) {
            uint32_t first = reversed(start, width);
            for (uint32_t at = first; at < (uint32_t)1 << width; at += (uint32_t)1 << length)
                table[at] = (uint16_t)(symbol << 4 | length);
            start += (uint32_t)1 << (width - length);
        }
}

/* ---- the block index ------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *packed;
    uint64_t common, size;
    uint32_t width;
} Index;

typedef struct {
    uint32_t log2;
    uint64_t codes, blocks;
    Index lengths, spans;
    const uint8_t *stream;
    size_t size;
} Blocks;

static uint64_t index_entry(const Index *index, uint64_t block) {
    uint64_t window;
    if (index->width == 0) return index->common;
    window = window_at(index->packed, (size_t)index->size, block * index->width);
    return index->common + (window & (((uint64_t)1 << index->width) - 1));
}

static uint64_t codes_in(const Blocks *b, uint64_t block) {
    return block + 1 < b->blocks ? (uint64_t)1 << b->log2 : b->codes - (block << b->log2);
}

static int parse_index(Cursor *c, const Blocks *b, uint64_t minimum_each, Index *index, uint64_t *sum) {
    uint64_t used;
    CHECK(read_varint(c, MAX_TFLITE_SIZE, &index->common));
    CHECK(read_byte(c, &index->width));
    REQUIRE(index->width <= MAX_INDEX_WIDTH, PARAMETER_INVALID);
    used = b->blocks * index->width;
    index->size = (used + 7) >> 3;
    CHECK(take(c, index->size, &index->packed));
    if (used & 7) REQUIRE(index->packed[index->size - 1] >> (used & 7) == 0, PADDING_INVALID);
    *sum = 0;
    for (uint64_t block = 0; block < b->blocks; block++) {
        uint64_t entry = index_entry(index, block);
        REQUIRE(entry >= codes_in(b, block) * minimum_each, BLOCK_INDEX_INVALID);
        *sum += entry;
    }
    return OK;
}

/* elements: 0, or the count of the tensor when blocks also have an index of positions */
static int parse_blocks(Cursor *c, uint64_t codes, uint64_t min_bits, uint64_t elements, Blocks *b) {
    uint64_t bits, positions;
    CHECK(read_byte(c, &b->log2));
    REQUIRE(b->log2 >= MIN_BLOCK_LOG2 && b->log2 <= MAX_BLOCK_LOG2, PARAMETER_INVALID);
    b->codes = codes;
    b->blocks = (codes + ((uint64_t)1 << b->log2) - 1) >> b->log2;
    CHECK(parse_index(c, b, min_bits, &b->lengths, &bits));
    if (elements) {
        CHECK(parse_index(c, b, 1, &b->spans, &positions));
        REQUIRE(positions <= elements, BLOCK_INDEX_INVALID);
    }
    CHECK(take(c, (bits + 7) >> 3, &b->stream));
    b->size = (size_t)((bits + 7) >> 3);
    if (bits & 7) REQUIRE(b->stream[b->size - 1] >> (bits & 7) == 0, PADDING_INVALID);
    return OK;
}

/* ---- parts that dense and sparse share ------------------------------------------------------------------------- */

typedef struct {
    uint32_t kind; /* 0 none, 1 float32, 2 upper halves of float32 */
    uint64_t inner, channels;
    const uint8_t *values;
} Scales;

typedef struct {
    uint32_t width, word_log2, word_length;
    uint64_t count;
    Scales scales;
} Head;

static uint32_t load32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint32_t scale_bits(const Scales *s, uint64_t channel) {
    if (s->kind == 1) return load32(s->values + 4 * channel);
    return (uint32_t)s->values[2 * channel] << 16 | (uint32_t)s->values[2 * channel + 1] << 24;
}

static int is_finite(uint32_t bits) { return (bits & 0x7f800000u) != 0x7f800000u; }

/* n % d without a division: 32-bit ARM would call a library for it. */
static uint64_t remainder_of(uint64_t n, uint64_t d) {
    uint64_t step = d;
    while (step <= n >> 1) step <<= 1;
    for (; n >= d; step >>= 1)
        if (n >= step) n -= step;
    return n;
}

static int parse_count(Cursor *c, uint64_t size, uint64_t width, uint64_t *count) {
    CHECK(read_varint(c, MAX_TFLITE_SIZE, count));
    REQUIRE(*count, PARAMETER_INVALID);
    REQUIRE(*count * width == size, SIZE_MISMATCH);
    return OK;
}

static int parse_head(Cursor *c, uint64_t size, uint32_t allowed, int inside_planes, Head *h) {
    uint32_t p;
    Scales *s = &h->scales;
    CHECK(read_byte(c, &p));
    s->kind = p >> 4 & 3;
    REQUIRE(!(p & ~(allowed | 0x30u)) && (p & 3) <= 2 && (p >> 2 & 3) <= 2 && s->kind <= 2, PARAMETER_INVALID);
    REQUIRE(!s->kind || (p & 3) == 2, PARAMETER_INVALID);
    REQUIRE(!inside_planes || (p & 3) == 0, PARAMETER_INVALID);
    h->width = 1u << (p & 3);
    h->word_log2 = p >> 2 & 3;
    h->word_length = 1u << h->word_log2;
    CHECK(parse_count(c, size, h->width, &h->count));
    REQUIRE((h->count & (h->word_length - 1)) == 0, PARAMETER_INVALID);
    if (s->kind) {
        CHECK(read_varint(c, MAX_TFLITE_SIZE, &s->inner));
        CHECK(read_varint(c, MAX_CHANNELS, &s->channels));
        REQUIRE(s->inner && s->channels && remainder_of(h->count, s->inner * s->channels) == 0, SCALE_INVALID);
        CHECK(take(c, (s->kind == 1 ? 4 : 2) * s->channels, &s->values));
        for (uint64_t i = 0; i < s->channels; i++) REQUIRE(is_finite(scale_bits(s, i)), SCALE_INVALID);
    }
    return OK;
}

static int parse_codebook(Cursor *c, uint64_t count, const Head *h, const uint8_t **codebook) {
    CHECK(take(c, count * h->width, codebook));
    if (h->scales.kind)
        for (uint64_t i = 0; i < count; i++) REQUIRE(is_finite(load32(*codebook + 4 * i)), SCALE_INVALID);
    return OK;
}

INLINE float multiplied(uint8_t *element, float scale) {
    float value;
    memcpy(&value, element, 4);
    value *= scale;
    memcpy(element, &value, 4);
    return value;
}

/* One rounding to float32 per element, as in every decoder. */
static void apply_scales(const Scales *s, uint8_t *out, uint64_t count) {
    uint64_t done = 0;
    while (done < count)
        for (uint64_t channel = 0; channel < s->channels; channel++, done += s->inner) {
            uint32_t bits = scale_bits(s, channel);
            uint8_t *row = out + 4 * done;
            float scale;
            memcpy(&scale, &bits, 4);
            for (uint64_t i = 0; i < s->inner; i++) multiplied(row + 4 * i, scale);
        }
}

/* ---- dense ----------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t values[1 << FAST_BITS][16]; /* finished elements of as many codes as the bits hold */
    uint32_t steps[1 << FAST_BITS];     /* bytes of output << 8 | bits taken; 0: the code is longer than FAST_BITS */
    uint16_t single[1 << MAX_CODE_LENGTH];
} DenseTables;

typedef struct {
    uint32_t width, word_length, max_length, symbols;
    const uint8_t *codebook, *words; /* words: numbers of centroids, absent when word_length is 1 */
} Book;

INLINE void put_word(const Book *book, uint32_t symbol, uint8_t *to, size_t stride) {
    for (uint32_t i = 0; i < book->word_length; i++) {
        size_t number = book->words ? book->words[symbol * book->word_length + i] : symbol;
        memcpy(to + i * stride, book->codebook + number * book->width, book->width);
    }
}

/* limit: elements that one look-up may give */
static void build_fast_table(const Book *book, DenseTables *t, uint32_t limit, size_t stride) {
    uint32_t mask = ((uint32_t)1 << book->max_length) - 1;
    memset(t->values, 0, sizeof t->values);
    for (uint32_t bits = 0; bits < 1u << FAST_BITS; bits++) {
        uint32_t used = 0, elements = 0;
        while (elements + book->word_length <= limit) {
            uint32_t entry = t->single[bits >> used & mask], length = entry & 15;
            if (used + length > FAST_BITS) break;
            put_word(book, entry >> 4, t->values[bits] + elements * book->width, book->width);
            used += length;
            elements += book->word_length;
        }
        t->steps[bits] = (uint32_t)(elements * stride) << 8 | used;
    }
}

typedef struct {
    uint64_t bit, end_bit;
    uint8_t *out, *end;
} Lane;

/* One look-up: up to 16 bytes of finished elements, or one word by the table for long codes. */
INLINE void look_up(const Book *book, const DenseTables *t, Lane *lane, uint64_t *window, size_t stride, int strided) {
    uint32_t at = (uint32_t)*window & ((1u << FAST_BITS) - 1), step = t->steps[at];
    if (UNLIKELY(step == 0)) {
        uint32_t entry = t->single[*window & (((uint32_t)1 << book->max_length) - 1)];
        put_word(book, entry >> 4, lane->out, stride);
        step = (uint32_t)(book->word_length * stride) << 8 | (entry & 15);
    } else if (strided) {
        for (int i = 0; i < 4; i++) lane->out[(size_t)i * stride] = t->values[at][i];
    } else {
        memcpy(lane->out, t->values[at], 16);
    }
    *window >>= step & 63;
    lane->bit += step & 255;
    lane->out += step >> 8;
}

INLINE int decode_lanes(const Book *book, const DenseTables *t, const Blocks *b, Lane *lanes, int count, size_t stride,
                        int strided) {
    /* A round of look-ups writes less than `margin` bytes and reads 8 whole bytes in every lane. */
    size_t margin = strided ? (4 * LOOKUPS) * stride : 16 * LOOKUPS;
    size_t word = book->word_length * stride;
    if (b->size >= 8) {
        uint64_t last_bit = (uint64_t)(b->size - 8) * 8 + 7;
        for (;;) {
            int go = 1;
            for (int i = 0; i < count; i++)
                go &= (size_t)(lanes[i].end - lanes[i].out) >= margin && lanes[i].bit <= last_bit;
            if (!go) break;
            for (int i = 0; i < count; i++) {
                uint64_t window = load64(b->stream + (lanes[i].bit >> 3)) >> (lanes[i].bit & 7);
                for (int n = 0; n < LOOKUPS; n++) look_up(book, t, &lanes[i], &window, stride, strided);
            }
        }
    }
    for (int i = 0; i < count; i++) {
        Lane *lane = &lanes[i];
        while (lane->out != lane->end) {
            uint64_t window = window_at(b->stream, b->size, lane->bit);
            uint32_t entry = t->single[window & (((uint32_t)1 << book->max_length) - 1)];
            put_word(book, entry >> 4, lane->out, stride);
            lane->out += word;
            lane->bit += entry & 15;
        }
        REQUIRE(lane->bit == lane->end_bit, BLOCK_CORRUPT);
    }
    return OK;
}

INLINE int decode_blocks(const Book *book, const DenseTables *t, const Blocks *b, uint8_t *out, size_t stride,
                         int strided) {
    uint64_t bit = 0, block = 0;
    size_t word = book->word_length * stride;
    while (block < b->blocks) {
        Lane lanes[LANES];
        int count = b->blocks - block >= LANES ? LANES : 1;
        for (int i = 0; i < count; i++, block++) {
            lanes[i].bit = bit;
            bit += index_entry(&b->lengths, block);
            lanes[i].end_bit = bit;
            lanes[i].out = out;
            out += (size_t)codes_in(b, block) * word;
            lanes[i].end = out;
        }
        if (count == LANES)
            CHECK(decode_lanes(book, t, b, lanes, LANES, stride, strided));
        else
            CHECK(decode_lanes(book, t, b, lanes, 1, stride, strided));
    }
    return OK;
}

/* stride: bytes from one element to the next, more than the width only inside planes */
static int decode_dense(Cursor *c, uint64_t size, int inside_planes, uint8_t *out, size_t stride) {
    Head head;
    Code code;
    Blocks blocks;
    Book book;
    DenseTables tables;
    const uint8_t *words = NULL;
    uint64_t centroids;
    int strided;
    CHECK(parse_head(c, size, 0xf, inside_planes, &head));
    CHECK(parse_code(c, &code));
    centroids = code.symbols;
    if (head.word_length > 1) {
        CHECK(read_varint(c, MAX_CENTROIDS, &centroids));
        CHECK(take(c, (uint64_t)code.symbols * head.word_length, &words));
        for (uint32_t i = 0; i < code.symbols * head.word_length; i++) REQUIRE(words[i] < centroids, SYMBOL_INVALID);
    }
    book.width = head.width;
    book.word_length = head.word_length;
    book.max_length = code.max_length;
    book.symbols = code.symbols;
    book.words = words;
    CHECK(parse_codebook(c, centroids, &head, &book.codebook));
    if (stride == 0) stride = head.width;
    if (code.max_length) CHECK(parse_blocks(c, head.count >> head.word_log2, code.min_length, 0, &blocks));
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);
    if (code.max_length == 0) {
        for (uint64_t i = 0; i < head.count >> head.word_log2; i++)
            put_word(&book, 0, out + (i << head.word_log2) * stride, stride);
    } else {
        strided = stride != head.width;
        build_table(&code, tables.single);
        build_fast_table(&book, &tables, strided || head.width == 4 ? 4 : 8, stride);
        if (strided)
            CHECK(decode_blocks(&book, &tables, &blocks, out, stride, 1));
        else if (head.width == 4)
            CHECK(decode_blocks(&book, &tables, &blocks, out, 4, 0));
        else
            CHECK(decode_blocks(&book, &tables, &blocks, out, stride, 0));
    }
    if (head.scales.kind) apply_scales(&head.scales, out, head.count);
    return OK;
}

/* ---- sparse ---------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t gaps[1 << MAX_CODE_LENGTH];   /* smallest gap << 16 | extra bits << 8 | bits of the code */
    uint64_t values[1 << MAX_CODE_LENGTH]; /* element << 8 | bits of the code */
    uint16_t single[1 << MAX_CODE_LENGTH]; /* while the other two are built */
} SparseTables;

typedef struct {
    uint64_t bit, end_bit, place, end;
} SparseLane;

static void build_sparse_tables(const Code *gap_code, const uint8_t *tokens, uint32_t split, uint32_t msb,
                                const Code *code, const uint8_t *codebook, uint32_t width, SparseTables *t) {
    build_table(gap_code, t->single);
    for (uint32_t i = 0; i < 1u << gap_code->max_length; i++) {
        uint32_t token = tokens[t->single[i] >> 4], length = t->single[i] & 15;
        if (token < 1u << split) {
            t->gaps[i] = (uint64_t)token << 16 | length;
        } else {
            uint32_t above = token - (1u << split), extra = split + (above >> msb) - msb;
            uint64_t base = (uint64_t)((1u << msb) + (above & ((1u << msb) - 1))) << extra;
            t->gaps[i] = base << 16 | extra << 8 | length;
        }
    }
    build_table(code, t->single);
    for (uint32_t i = 0; i < 1u << code->max_length; i++) {
        uint64_t element = 0;
        const uint8_t *bytes = codebook + (size_t)(t->single[i] >> 4) * width;
        for (uint32_t k = 0; k < width; k++) element |= (uint64_t)bytes[k] << (8 * k);
        t->values[i] = element << 8 | (t->single[i] & 15);
    }
}

INLINE void put_element(uint8_t *to, uint64_t element, uint32_t width) {
    for (uint32_t k = 0; k < width; k++) to[k] = (uint8_t)(element >> (8 * k));
}

/* One element that is not background; false when it would fall outside its block. */
INLINE int place_one(const SparseTables *t, SparseLane *lane, uint64_t window, uint32_t gap_mask, uint32_t value_mask,
                     uint8_t *out, uint32_t width, size_t stride) {
    uint64_t gap = t->gaps[window & gap_mask], value;
    uint32_t length = (uint32_t)gap & 255, extra = (uint32_t)gap >> 8 & 255;
    window >>= length;
    lane->place += (gap >> 16) + (window & (((uint64_t)1 << extra) - 1));
    if (UNLIKELY(lane->place >= lane->end)) return 0;
    window >>= extra;
    value = t->values[window & value_mask];
    put_element(out + lane->place * stride, value >> 8, width);
    lane->place++;
    lane->bit += length + extra + (value & 255);
    return 1;
}

INLINE int decode_sparse_blocks(const SparseTables *t, const Blocks *b, uint32_t gap_mask, uint32_t value_mask,
                                uint8_t *out, uint32_t width, size_t stride) {
    uint64_t bit = 0, place = 0, block = 0;
    while (block < b->blocks) {
        SparseLane lanes[LANES];
        uint64_t codes = 0;
        int count = b->blocks - block > LANES ? LANES : 1; /* > : the last block is shorter */
        for (int i = 0; i < count; i++, block++) {
            codes = codes_in(b, block);
            lanes[i].bit = bit;
            bit += index_entry(&b->lengths, block);
            lanes[i].end_bit = bit;
            lanes[i].place = place;
            place += index_entry(&b->spans, block);
            lanes[i].end = place;
        }
        if (count == LANES) {
            for (; codes; codes--)
                for (int i = 0; i < LANES; i++) {
                    uint64_t window = window_at(b->stream, b->size, lanes[i].bit);
                    REQUIRE(place_one(t, &lanes[i], window, gap_mask, value_mask, out, width, stride), BLOCK_CORRUPT);
                }
        } else {
            for (; codes; codes--) {
                uint64_t window = window_at(b->stream, b->size, lanes[0].bit);
                REQUIRE(place_one(t, &lanes[0], window, gap_mask, value_mask, out, width, stride), BLOCK_CORRUPT);
            }
        }
        for (int i = 0; i < count; i++)
            REQUIRE(lanes[i].bit == lanes[i].end_bit && lanes[i].place == lanes[i].end, BLOCK_CORRUPT);
    }
    return OK;
}

static void fill(uint8_t *out, uint64_t count, const uint8_t *element, uint32_t width, size_t stride) {
    int same = stride == width;
    for (uint32_t k = 1; k < width; k++) same &= element[k] == element[0];
    if (same)
        memset(out, element[0], (size_t)(count * width));
    else
        for (uint64_t i = 0; i < count; i++) memcpy(out + i * stride, element, width);
}

static int decode_sparse(Cursor *c, uint64_t size, int inside_planes, uint8_t *out, size_t stride) {
    Head head;
    Code gap_code, code;
    Blocks blocks;
    SparseTables tables;
    const uint8_t *background, *tokens, *codebook;
    uint64_t nonzeros;
    uint32_t scheme, split, msb, gap_mask, value_mask;
    CHECK(parse_head(c, size, 0x3, inside_planes, &head));
    CHECK(parse_codebook(c, 1, &head, &background));
    CHECK(read_varint(c, MAX_TFLITE_SIZE, &nonzeros));
    REQUIRE(nonzeros >= 1 && nonzeros <= head.count, PARAMETER_INVALID);
    CHECK(read_byte(c, &scheme));
    split = scheme & 15;
    msb = scheme >> 4;
    REQUIRE(split <= MAX_GAP_SPLIT && msb <= MAX_GAP_MSB && msb <= split, PARAMETER_INVALID);
    CHECK(parse_code(c, &gap_code));
    CHECK(take(c, gap_code.symbols, &tokens));
    for (uint32_t i = 0; i < gap_code.symbols; i++)
        REQUIRE(tokens[i] < (1u << split) + ((MAX_GAP_EXPONENT + 1 - split) << msb), SYMBOL_INVALID);
    CHECK(parse_code(c, &code));
    CHECK(parse_codebook(c, code.symbols, &head, &codebook));
    CHECK(parse_blocks(c, nonzeros, gap_code.min_length + code.min_length, head.count, &blocks));
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);

    if (stride == 0) stride = head.width;
    fill(out, head.count, background, head.width, stride);
    build_sparse_tables(&gap_code, tokens, split, msb, &code, codebook, head.width, &tables);
    gap_mask = (1u << gap_code.max_length) - 1;
    value_mask = (1u << code.max_length) - 1;
    if (head.width == 4)
        CHECK(decode_sparse_blocks(&tables, &blocks, gap_mask, value_mask, out, 4, 4));
    else if (head.width == 2)
        CHECK(decode_sparse_blocks(&tables, &blocks, gap_mask, value_mask, out, 2, 2));
    else
        CHECK(decode_sparse_blocks(&tables, &blocks, gap_mask, value_mask, out, 1, stride));
    if (head.scales.kind) apply_scales(&head.scales, out, head.count);
    return OK;
}

/* ---- raw and planes -------------------------------------------------------------------------------------------- */

static int decode_raw(Cursor *c, uint64_t size, uint8_t *out) {
    const uint8_t *bytes;
    REQUIRE(c->end - c->at == size, SIZE_MISMATCH);
    CHECK(take(c, size, &bytes));
    memcpy(out, bytes, (size_t)size);
    return OK;
}

static int decode_layout(Cursor *c, uint64_t size, int inside_planes, uint8_t *out, size_t stride);

INLINE uint32_t rotated32(uint32_t word, int rotated) { return rotated ? word >> 1 | word << 31 : word; }

/* Planes 0 to 2 as they are, plane 3 already in place: untouched float32, so worth a loop that vectorizes. */
static void merge_float_planes(uint8_t *out, uint64_t count, const uint8_t *const *planes, int rotated) {
    const uint8_t *low = planes[0], *middle = planes[1], *high = planes[2];
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *to = out + 4 * i;
        uint32_t word = (uint32_t)low[i] | (uint32_t)middle[i] << 8 | (uint32_t)high[i] << 16 | (uint32_t)to[3] << 24;
        word = rotated32(word, rotated);
        to[0] = (uint8_t)word;
        to[1] = (uint8_t)(word >> 8);
        to[2] = (uint8_t)(word >> 16);
        to[3] = (uint8_t)(word >> 24);
    }
}

static void rotate_right(uint8_t *out, uint64_t count, uint32_t width) {
    for (uint64_t i = 0; i < count; i++, out += width) {
        uint32_t carry = out[0] & 1u;
        for (uint32_t k = width; k-- > 0;) {
            uint32_t byte = out[k];
            out[k] = (uint8_t)(byte >> 1 | carry << 7);
            carry = byte & 1u;
        }
    }
}

static int decode_planes(Cursor *c, uint64_t size, uint8_t *out) {
    uint32_t p, width, as_they_are = 0;
    uint64_t count, plane_size;
    const uint8_t *planes[8];
    CHECK(read_byte(c, &p));
    width = 1u << (p & 3);
    REQUIRE(!(p & ~19u) && width > 1, PARAMETER_INVALID);
    CHECK(parse_count(c, size, width, &count));
    for (uint32_t plane = 0; plane < width; plane++) {
        Cursor inner = *c;
        const uint8_t *bytes;
        CHECK(read_varint(c, MAX_TFLITE_SIZE, &plane_size));
        inner.at = c->at;
        CHECK(take(c, plane_size, &bytes));
        inner.end = c->at;
        if (plane_size == count + 1 && bytes[0] == RAW) {
            as_they_are |= 1u << plane;
            planes[plane] = bytes + 1;
        } else {
            CHECK(decode_layout(&inner, count, 1, out + plane, width));
        }
    }
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);
    if (width == 4 && as_they_are == 7) {
        merge_float_planes(out, count, planes, p & 16);
        return OK;
    }
    for (uint32_t plane = 0; plane < width; plane++)
        if (as_they_are >> plane & 1)
            for (uint64_t i = 0; i < count; i++) out[i * width + plane] = planes[plane][i];
    if (p & 16) rotate_right(out, count, width);
    return OK;
}

static int decode_layout(Cursor *c, uint64_t size, int inside_planes, uint8_t *out, size_t stride) {
    uint32_t layout;
    CHECK(read_byte(c, &layout));
    if (layout == RAW) return decode_raw(c, size, out);
    if (layout == DENSE) return decode_dense(c, size, inside_planes, out, stride);
    if (layout == SPARSE) return decode_sparse(c, size, inside_planes, out, stride);
    if (layout == PLANES && !inside_planes) return decode_planes(c, size, out);
    return LAYOUT_UNKNOWN;
}

/* Bumped whenever a caller of an older kernel would go wrong. */
__attribute__((visibility("default"))) const uint32_t armlet_kernel_version = 1;

/* Decodes one section of coded_size bytes to exactly out_size bytes; 0, or the negative number of an error.
 * After an error the content of `out` is undefined. The buffers must not overlap. */
__attribute__((visibility("default"))) int32_t armlet_decode(const uint8_t *coded, size_t coded_size, uint8_t *out,
                                                             size_t out_size) {
    Cursor cursor;
    cursor.data = coded;
    cursor.at = 0;
    cursor.end = coded_size;
    if (out_size > MAX_TFLITE_SIZE) return LIMIT_EXCEEDED;
    return decode_layout(&cursor, out_size, 0, out, 0);
}
