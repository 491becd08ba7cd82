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

enum { ONLY_TOKEN = 15 }; /* stated as the length of a code without bits */

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

/* Lengths by token, 4 bits each -> the code, and the token of each of its symbols. */
static int parse_gap_code(Cursor *c, uint32_t existing, Code *code, uint8_t *tokens) {
    const uint8_t *packed;
    uint32_t listed, last, symbols = 0, longest = 0;
    uint64_t kraft = 0;
    CHECK(read_byte(c, &listed));
    REQUIRE(listed >= 1 && listed <= existing, SYMBOL_INVALID);
    CHECK(take(c, (listed + 1) >> 1, &packed));
    if (listed & 1) REQUIRE(packed[listed >> 1] >> 4 == 0, PADDING_INVALID);
    for (uint32_t length = 0; length <= MAX_CODE_LENGTH; length++) code->counts[length] = 0;
    last = packed[(listed - 1) >> 1] >> ((listed - 1) & 1) * 4 & 15;
    code->max_length = code->min_length = 0;
    if (last == ONLY_TOKEN) {
        for (uint32_t i = 0; i + 1 < listed; i++) REQUIRE((packed[i >> 1] >> (i & 1) * 4 & 15) == 0, CODE_INVALID);
        tokens[0] = (uint8_t)(listed - 1);
        code->symbols = 1;
        return OK;
    }
    REQUIRE(last, CODE_INVALID);
    for (uint32_t i = 0; i < listed; i++) {
        uint32_t length = packed[i >> 1] >> (i & 1) * 4 & 15u;
        REQUIRE(length <= MAX_CODE_LENGTH, CODE_INVALID);
        code->counts[length]++;
        if (length > longest) longest = length;
    }
    for (uint32_t length = longest; length; length--) {
        kraft += (uint64_t)code->counts[length] << (longest - length);
        if (code->counts[length]) code->min_length = length;
    }
    REQUIRE(kraft == (uint64_t)1 << longest, CODE_INVALID);
    for (uint32_t length = 1; length <= longest; length++)
        for (uint32_t i = 0; i < listed; i++)
            if ((packed[i >> 1] >> (i & 1) * 4 & 15u) == length) tokens[symbols++] = (uint8_t)i;
    code->max_length = longest;
    code->symbols = symbols;
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

enum { SLOT = 16 }; /* bytes of finished elements that one look-up can give; a word of 4 float32 fills it */

typedef struct {
    uint8_t values[(1 << FAST_BITS) * SLOT + SLOT]; /* finished elements of as many codes as the bits hold */
    uint64_t steps[1 << FAST_BITS];                 /* bytes of output << 8 | bits taken; 0: a longer code */
    uint8_t words[MAX_SYMBOLS * SLOT];              /* finished elements of every symbol */
    uint16_t single[1 << MAX_CODE_LENGTH];          /* symbol << 4 | bits */
    uint32_t mask, fast_mask;                       /* of max_length bits; of those that the fast tables take */
    uint32_t word_size;                             /* bytes of a word, side by side */
} DenseTables;

typedef struct {
    uint64_t bit, end_bit;
    uint8_t *out, *end;
} Lane;

INLINE void copy_slot(uint8_t *to, const uint8_t *from) { memcpy(to, from, SLOT); }

/* Elements of words, side by side: `numbers` of centroids, or one centroid a symbol where it is NULL. */
static void build_words(const uint8_t *codebook, const uint8_t *numbers, uint32_t symbols, uint32_t word_length,
                        uint32_t width, DenseTables *t) {
    t->word_size = word_length * width;
    for (uint32_t symbol = 0; symbol < symbols; symbol++)
        for (uint32_t i = 0; i < word_length; i++) {
            size_t number = numbers ? numbers[symbol * word_length + i] : symbol;
            for (uint32_t k = 0; k < width; k++)
                t->words[symbol * SLOT + i * width + k] = codebook[number * width + k];
        }
}

/* limit: bytes that one look-up may give; advance: bytes of output for each of them */
static void build_fast_table(DenseTables *t, uint32_t fast_bits, uint32_t limit, uint32_t advance) {
    t->fast_mask = (1u << fast_bits) - 1;
    for (uint32_t bits = 0; bits < 1u << fast_bits; bits++) {
        uint32_t used = 0, size = 0;
        uint8_t *values = t->values + bits * SLOT; /* what runs over is written again with the next entry */
        while (size + t->word_size <= limit) {
            uint32_t entry = t->single[bits >> used & t->mask], length = entry & 15;
            if (used + length > fast_bits) break;
            copy_slot(values + size, t->words + (entry >> 4) * SLOT);
            used += length;
            size += t->word_size;
        }
        t->steps[bits] = (uint64_t)size * advance << 8 | used;
    }
}

/* A slot to its place. It may hold less than it writes: what follows in the block is written later. */
INLINE void put_slot(uint8_t *out, const uint8_t *slot, size_t stride, int strided) {
    if (strided)
        for (int i = 0; i < 4; i++) out[(size_t)i * stride] = slot[i];
    else
        copy_slot(out, slot);
}

/* One word to its place, and nothing beyond it. */
INLINE void put_word(uint8_t *out, const uint8_t *word, uint32_t size, size_t stride, int strided) {
    for (uint32_t i = 0; i < size; i++) out[strided ? i * stride : i] = word[i];
}

INLINE int decode_lanes(const DenseTables *t, const Blocks *b, Lane *lanes, const int count, size_t stride,
                        const int strided) {
    /* A round of look-ups stays below this many bytes, and reads 8 whole bytes, in every lane. */
    const size_t margin = strided ? 4 * LOOKUPS * stride : SLOT * LOOKUPS;
    const size_t advance = strided ? stride : 1;
    const uint64_t fast_mask = t->fast_mask;
    if (b->size >= 8) {
        const uint64_t last_bit = (uint64_t)(b->size - 8) * 8 + 7;
        uint64_t bits[LANES], windows[LANES];
        uint8_t *outs[LANES];
        for (int i = 0; i < count; i++) bits[i] = lanes[i].bit, outs[i] = lanes[i].out;
        for (;;) {
            int go = 1;
#pragma GCC unroll 4
            for (int i = 0; i < count; i++)
                go &= (size_t)(lanes[i].end - outs[i]) >= margin && bits[i] <= last_bit;
            if (!go) break;
#pragma GCC unroll 4
            for (int i = 0; i < count; i++) windows[i] = load64(b->stream + (bits[i] >> 3)) >> (bits[i] & 7);
#pragma GCC unroll 4
            for (int n = 0; n < LOOKUPS; n++) {
#pragma GCC unroll 4
                for (int i = 0; i < count; i++) {
                    size_t at = windows[i] & fast_mask;
                    uint64_t step = t->steps[at];
                    const uint8_t *slot = t->values + at * SLOT;
                    if (UNLIKELY(step == 0)) {
                        uint32_t entry = t->single[windows[i] & t->mask];
                        slot = t->words + (entry >> 4) * SLOT;
                        step = (uint64_t)(t->word_size * advance) << 8 | (entry & 15);
                    }
                    put_slot(outs[i], slot, stride, strided);
                    windows[i] >>= step & 63;
                    bits[i] += step & 255;
                    outs[i] += step >> 8;
                }
            }
        }
        for (int i = 0; i < count; i++) lanes[i].bit = bits[i], lanes[i].out = outs[i];
    }
    for (int i = 0; i < count; i++) {
        Lane *lane = &lanes[i];
        while (lane->out != lane->end) {
            uint32_t entry = t->single[window_at(b->stream, b->size, lane->bit) & t->mask];
            put_word(lane->out, t->words + (entry >> 4) * SLOT, t->word_size, stride, strided);
            lane->out += t->word_size * advance;
            lane->bit += entry & 15;
        }
        REQUIRE(lane->bit == lane->end_bit, BLOCK_CORRUPT);
    }
    return OK;
}

INLINE int decode_blocks(const DenseTables *t, const Blocks *b, uint8_t *out, size_t stride, const int strided) {
    uint64_t bit = 0, block = 0;
    const size_t word = t->word_size * (strided ? stride : 1);
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
            CHECK(decode_lanes(t, b, lanes, LANES, stride, strided));
        else
            CHECK(decode_lanes(t, b, lanes, 1, stride, strided));
    }
    return OK;
}

/* stride: bytes from one element to the next, more than the width only inside planes */
static int decode_dense(Cursor *c, uint64_t size, int inside_planes, uint8_t *out, size_t stride) {
    Head head;
    Code code;
    Blocks blocks;
    DenseTables tables;
    const uint8_t *codebook, *words = NULL;
    uint64_t centroids;
    uint32_t fast_bits;
    int strided;
    CHECK(parse_head(c, size, 0xf, inside_planes, &head));
    CHECK(parse_code(c, &code));
    centroids = code.symbols;
    if (head.word_length > 1) {
        CHECK(read_varint(c, MAX_CENTROIDS, &centroids));
        CHECK(take(c, (uint64_t)code.symbols * head.word_length, &words));
        for (uint32_t i = 0; i < code.symbols * head.word_length; i++) REQUIRE(words[i] < centroids, SYMBOL_INVALID);
    }
    CHECK(parse_codebook(c, centroids, &head, &codebook));
    if (code.max_length) CHECK(parse_blocks(c, head.count >> head.word_log2, code.min_length, 0, &blocks));
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);
    strided = stride > head.width;
    build_words(codebook, words, code.symbols, head.word_length, head.width, &tables);
    if (code.max_length == 0) {
        size_t word = tables.word_size * (strided ? stride : 1);
        for (uint64_t i = 0; i < head.count >> head.word_log2; i++)
            put_word(out + i * word, tables.words, tables.word_size, stride, strided);
    } else {
        build_table(&code, tables.single);
        tables.mask = ((uint32_t)1 << code.max_length) - 1;
        /* A small section does not earn back large tables. */
        fast_bits = head.count >> 16 ? FAST_BITS : FAST_BITS - 2;
        if (strided) {
            build_fast_table(&tables, fast_bits, 4, (uint32_t)stride);
            CHECK(decode_blocks(&tables, &blocks, out, stride, 1));
        } else {
            build_fast_table(&tables, fast_bits, SLOT, 1);
            CHECK(decode_blocks(&tables, &blocks, out, 0, 0));
        }
    }
    if (head.scales.kind) apply_scales(&head.scales, out, head.count);
    return OK;
}

/* ---- sparse ---------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t gaps[1 << MAX_CODE_LENGTH];   /* smallest gap << 16 | extra bits << 8 | bits of the code */
    uint64_t values[1 << MAX_CODE_LENGTH]; /* element << 8 | bits of the code */
    uint16_t single[1 << MAX_CODE_LENGTH]; /* while the other two are built */
    uint32_t gap_mask, value_mask;
    uint32_t most_bits; /* of one coded element */
    int has_extra;
} SparseTables;

typedef struct {
    uint64_t bit, end_bit, place, end;
} SparseLane;

static void build_sparse_tables(const Code *gap_code, const uint8_t *tokens, uint32_t split, uint32_t msb,
                                const Code *code, const uint8_t *codebook, uint32_t width, SparseTables *t) {
    uint32_t most_extra = 0;
    build_table(gap_code, t->single);
    for (uint32_t i = 0; i < 1u << gap_code->max_length; i++) {
        uint32_t token = tokens[t->single[i] >> 4], length = t->single[i] & 15;
        if (token < 1u << split) {
            t->gaps[i] = (uint64_t)token << 16 | length;
        } else {
            uint32_t above = token - (1u << split), extra = split + (above >> msb) - msb;
            uint64_t base = (uint64_t)((1u << msb) + (above & ((1u << msb) - 1))) << extra;
            t->gaps[i] = base << 16 | extra << 8 | length;
            if (extra > most_extra) most_extra = extra;
        }
    }
    build_table(code, t->single);
    for (uint32_t i = 0; i < 1u << code->max_length; i++) {
        uint64_t element = 0;
        const uint8_t *bytes = codebook + (size_t)(t->single[i] >> 4) * width;
        for (uint32_t k = 0; k < width; k++) element |= (uint64_t)bytes[k] << (8 * k);
        t->values[i] = element << 8 | (t->single[i] & 15);
    }
    t->gap_mask = (1u << gap_code->max_length) - 1;
    t->value_mask = (1u << code->max_length) - 1;
    t->most_bits = gap_code->max_length + most_extra + code->max_length;
    t->has_extra = most_extra > 0;
}

INLINE void put_element(uint8_t *to, uint64_t element, const uint32_t width) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(to, &element, width);
#else
    for (uint32_t k = 0; k < width; k++) to[k] = (uint8_t)(element >> (8 * k));
#endif
}

/* Elements that are all the background. */
static void fill(uint8_t *out, uint64_t count, const uint8_t *element, uint32_t width, size_t stride) {
    int same = stride == width;
    for (uint32_t k = 1; k < width; k++) same &= element[k] == element[0];
    if (same)
        memset(out, element[0], (size_t)(count * width));
    else
        for (uint64_t i = 0; i < count; i++) memcpy(out + i * stride, element, width);
}

/* has_extra: some token has extra bits; clear of the end: 8 bytes can be read wherever a lane is */
INLINE int decode_sparse_lanes(const SparseTables *t, const Blocks *b, SparseLane *lanes, const int count,
                               uint64_t codes, uint8_t *out, const uint32_t width, const size_t stride,
                               const int has_extra, const int clear_of_end) {
    const uint64_t gap_mask = t->gap_mask, value_mask = t->value_mask;
    uint64_t bits[LANES];
    size_t places[LANES], ends[LANES];
    for (int i = 0; i < count; i++) {
        bits[i] = lanes[i].bit;
        places[i] = (size_t)lanes[i].place;
        ends[i] = (size_t)lanes[i].end;
    }
    for (; codes; codes--) {
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            uint64_t gap, value, window;
            if (clear_of_end)
                window = load64(b->stream + (bits[i] >> 3)) >> (bits[i] & 7);
            else
                window = window_at(b->stream, b->size, bits[i]);
            gap = t->gaps[window & gap_mask];
            window >>= gap & 63;
            bits[i] += gap & 255;
            places[i] += (size_t)(gap >> 16);
            if (has_extra) {
                uint64_t extra = gap >> 8 & 255;
                places[i] += (size_t)(window & (((uint64_t)1 << extra) - 1));
                window >>= extra;
                bits[i] += extra;
            }
            if (UNLIKELY(places[i] >= ends[i])) return BLOCK_CORRUPT;
            value = t->values[window & value_mask];
            put_element(out + places[i] * stride, value >> 8, width);
            places[i]++;
            bits[i] += value & 255;
        }
    }
    for (int i = 0; i < count; i++)
        REQUIRE(bits[i] == lanes[i].end_bit && places[i] == ends[i], BLOCK_CORRUPT);
    return OK;
}

INLINE int decode_sparse_blocks(const SparseTables *t, const Blocks *b, const uint8_t *background, uint64_t elements,
                                uint8_t *out, const uint32_t width, const size_t stride, const int has_extra) {
    uint64_t bit = 0, place = 0, block = 0, filled = 0;
    /* Most bits that a block can take: where that many are left and 8 bytes, no window needs a check. */
    const uint64_t most = ((uint64_t)t->most_bits << b->log2) + 64;
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
        /* Just before it is written to, so that it is still in the cache. */
        fill(out + filled * stride, place - filled, background, width, stride);
        filled = place;
        if (count == LANES && lanes[LANES - 1].bit + most <= (uint64_t)b->size * 8)
            CHECK(decode_sparse_lanes(t, b, lanes, LANES, codes, out, width, stride, has_extra, 1));
        else if (count == LANES)
            CHECK(decode_sparse_lanes(t, b, lanes, LANES, codes, out, width, stride, has_extra, 0));
        else
            CHECK(decode_sparse_lanes(t, b, lanes, 1, codes, out, width, stride, has_extra, 0));
    }
    fill(out + filled * stride, elements - filled, background, width, stride);
    return OK;
}

static int decode_sparse(Cursor *c, uint64_t size, int inside_planes, uint8_t *out, size_t stride) {
    Head head;
    Code gap_code, code;
    Blocks blocks;
    SparseTables tables;
    const uint8_t *background, *codebook;
    uint8_t tokens[256];
    uint64_t nonzeros;
    uint32_t scheme, split, msb;
    CHECK(parse_head(c, size, 0x3, inside_planes, &head));
    CHECK(parse_codebook(c, 1, &head, &background));
    CHECK(read_varint(c, MAX_TFLITE_SIZE, &nonzeros));
    REQUIRE(nonzeros >= 1 && nonzeros <= head.count, PARAMETER_INVALID);
    CHECK(read_byte(c, &scheme));
    split = scheme & 15;
    msb = scheme >> 4;
    REQUIRE(split <= MAX_GAP_SPLIT && msb <= MAX_GAP_MSB && msb <= split, PARAMETER_INVALID);
    CHECK(parse_gap_code(c, (1u << split) + ((MAX_GAP_EXPONENT + 1 - split) << msb), &gap_code, tokens));
    CHECK(parse_code(c, &code));
    CHECK(parse_codebook(c, code.symbols, &head, &codebook));
    CHECK(parse_blocks(c, nonzeros, gap_code.min_length + code.min_length, head.count, &blocks));
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);

    if (stride == 0) stride = head.width;
    build_sparse_tables(&gap_code, tokens, split, msb, &code, codebook, head.width, &tables);
    if (head.width == 4)
        CHECK(tables.has_extra ? decode_sparse_blocks(&tables, &blocks, background, head.count, out, 4, 4, 1)
                               : decode_sparse_blocks(&tables, &blocks, background, head.count, out, 4, 4, 0));
    else if (head.width == 2)
        CHECK(decode_sparse_blocks(&tables, &blocks, background, head.count, out, 2, 2, 1));
    else if (stride == 1)
        CHECK(tables.has_extra ? decode_sparse_blocks(&tables, &blocks, background, head.count, out, 1, 1, 1)
                               : decode_sparse_blocks(&tables, &blocks, background, head.count, out, 1, 1, 0));
    else
        CHECK(decode_sparse_blocks(&tables, &blocks, background, head.count, out, 1, stride, 1));
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
