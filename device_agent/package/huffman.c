/* The Huffman layouts of a section of an .armlet package, decoded straight to their place.
 *
 * armlet_decode parses, checks and writes; armlet_decode_pieces gives the same piece by piece. They are the twin of
 * huffman.py: same checks, same order, same answers; PACKAGE_FORMAT.md is the authority over both. They allocate nothing (tables stand on the stack, 80 KiB),
 * keep no state, read only inside `coded` and write only inside `out`, whatever the bits are.
 *
 * How it is quick: blocks are independent, so LANES of them are decoded side by side and their look-ups overlap;
 * in dense sections one look-up of FAST_BITS gives up to 16 bytes of finished weights, in sparse ones one of PAIR_BITS
 * gives a gap and the element after it. Bits are counted once for some look-ups, by a mark (see marked_window).
 *
 * Build: cc -O3 -ffp-contract=off -fPIC -shared. (A fused multiply-add or -ffast-math would change the weights.)
 */
#include <stddef.h>
#include <stdint.h>

/* Declared here, so that no libc headers are needed; every process that loads this has them. */
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

enum { RAW = 0, DENSE = 2, SPARSE = 3, PLANES = 4, CONTEXTS = 5 }; /* 1, lz, belongs to zlib and lzma */

enum {
    MAX_TFLITE_SIZE = 1 << 30,
    MAX_CODE_LENGTH = 12,
    MAX_SYMBOLS = 1024,
    MAX_CENTROIDS = 256,
    MAX_CHANNELS = 1 << 16,
    MIN_BLOCK_LOG2 = 6,
    MAX_BLOCK_LOG2 = 16,
    MAX_PLANE_BLOCK_LOG2 = 10,
    MAX_INDEX_WIDTH = 30,
    MAX_GAP_SPLIT = 7,
    MAX_GAP_MSB = 2,
    MAX_GAP_EXPONENT = 29,
    MAX_CLASSES = 16,
    MAX_CONTEXTS = 1024,
    MAX_CODES = 16,
    MAX_CODES_TABLE = 1 << 15
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
    LIMIT_EXCEEDED = -12,
    /* of armlet_decode_pieces */
    IN_ONE_PIECE = 1,
    STOPPED = 2
};

/* LOOKUPS * MAX_CODE_LENGTH and PAIR_LOOKUPS * PAIR_BITS fit the 57 bits of a window; a longer pair takes a new one. */
enum { LANES = 4, LOOKUPS = 4, FAST_BITS = 10, PAIR_BITS = 11, PAIR_LOOKUPS = 5 };

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
/* Keeps the tables of the layouts from standing on the stack together. */
#define OWN_FRAME static __attribute__((noinline))

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
static uint64_t window_at(const uint8_t *stream, size_t size, uint64_t bit) {
    uint64_t byte = bit >> 3, value = 0;
    if (byte + 8 <= size) return load64(stream + byte) >> (bit & 7);
    for (int i = 0; i < 8 && byte + (uint64_t)i < size; i++) value |= (uint64_t)stream[byte + (uint64_t)i] << (8 * i);
    return value >> (bit & 7);
}

/* A bit above all that the look-ups of a window take; where it has moved to afterwards says how many bits they took. */
#define MARK ((uint64_t)1 << 63)

INLINE uint64_t marked_window(const uint8_t *stream, uint64_t bit) {
    return load64(stream + (bit >> 3)) >> (bit & 7) | MARK;
}

INLINE uint64_t bits_taken(uint64_t window) { return (uint64_t)__builtin_clzll(window); }

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
static int parse_listed_code(Cursor *c, uint32_t existing, Code *code, uint8_t *tokens) {
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
    static const uint8_t nibbles[16] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};
    value = (uint32_t)nibbles[value & 15] << 8 | (uint32_t)nibbles[value >> 4 & 15] << 4 | nibbles[value >> 8];
    return value >> (MAX_CODE_LENGTH - width);
}

/* A symbol's code as it stands in the stream. */
typedef struct {
    uint16_t bits;
    uint16_t length;
} Word;

static void list_words(const Code *code, Word *words) {
    uint32_t start = 0, width = code->max_length;
    words[0].bits = words[0].length = 0;
    for (uint32_t length = 1; length <= width; length++)
        for (uint32_t i = 0; i < code->counts[length]; i++, words++) {
            words->bits = (uint16_t)reversed(start, width);
            words->length = (uint16_t)length;
            start += (uint32_t)1 << (width - length);
        }
}

/* table[next max_length bits] = symbol << 4 | length */
static void build_table(const Code *code, const Word *words, uint16_t *table) {
    for (uint32_t symbol = 0; symbol < code->symbols; symbol++)
        for (uint32_t at = words[symbol].bits; at < (uint32_t)1 << code->max_length; at += 1u << words[symbol].length)
            table[at] = (uint16_t)(symbol << 4 | words[symbol].length);
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
static int parse_blocks(Cursor *c, uint64_t codes, uint64_t min_bits, uint64_t elements, int inside_planes, Blocks *b) {
    uint64_t bits, positions;
    CHECK(read_byte(c, &b->log2));
    REQUIRE(b->log2 >= MIN_BLOCK_LOG2 && b->log2 <= (inside_planes ? MAX_PLANE_BLOCK_LOG2 : MAX_BLOCK_LOG2),
            PARAMETER_INVALID);
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

/* ---- piece by piece -------------------------------------------------------------------------------------------- */

typedef int32_t (*Sink)(void *context, const uint8_t *bytes, size_t size);

/* `held` bytes of the next piece stand in `buffer`; the channel of the first, and its elements that are sent. */
typedef struct {
    uint8_t *buffer;
    size_t room, held;
    Sink sink;
    void *context;
    const Scales *scales;
    uint64_t channel, within;
} Pieces;

static void scale_piece(Pieces *p) {
    const Scales *s = p->scales;
    for (size_t at = 0; at < p->held; at += 4) {
        uint32_t bits = scale_bits(s, p->channel);
        float scale;
        memcpy(&scale, &bits, 4);
        multiplied(p->buffer + at, scale);
        if (++p->within < s->inner) continue;
        p->within = 0;
        if (++p->channel == s->channels) p->channel = 0;
    }
}

static int send_piece(Pieces *p) {
    int stopped;
    if (p->held == 0) return OK;
    if (p->scales->kind) scale_piece(p);
    stopped = p->sink(p->context, p->buffer, p->held);
    p->held = 0;
    return stopped ? STOPPED : OK;
}

/* Sends what is held where so much more does not fit behind it. */
static int make_room(Pieces *p, uint64_t more) { return p->room - p->held < more ? send_piece(p) : OK; }

/* ---- dense ----------------------------------------------------------------------------------------------------- */

enum { SLOT = 16 }; /* bytes of finished elements that one look-up can give; a word of 4 float32 fills it */

typedef struct {
    uint8_t values[(1 << FAST_BITS) * SLOT + SLOT]; /* finished elements of as many codes as the bits hold */
    uint16_t steps[1 << FAST_BITS];                 /* bytes of output << 8 | bits taken; 0: a longer code */
    uint8_t words[MAX_SYMBOLS * SLOT];              /* finished elements of every symbol */
    uint16_t single[1 << MAX_CODE_LENGTH];          /* symbol << 4 | bits */
    uint32_t mask, fast_mask;                       /* of max_length bits; of those that the fast tables take */
    uint32_t word_size;                             /* bytes */
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

static void build_fast_table(DenseTables *t, uint32_t fast_bits) {
    t->fast_mask = (1u << fast_bits) - 1;
    for (uint32_t bits = 0; bits < 1u << fast_bits; bits++) {
        uint32_t used = 0, size = 0;
        uint8_t *values = t->values + bits * SLOT; /* what runs over is written again with the next entry */
        while (size + t->word_size <= SLOT) {
            uint32_t entry = t->single[bits >> used & t->mask], length = entry & 15;
            if (used + length > fast_bits) break;
            copy_slot(values + size, t->words + (entry >> 4) * SLOT);
            used += length;
            size += t->word_size;
        }
        t->steps[bits] = (uint16_t)(size << 8 | used);
    }
}

/* One look-up. A slot may hold less than it writes: what follows in the block is written later. */
INLINE void look_up(const DenseTables *t, uint64_t *window, uint8_t **out) {
    const size_t at = *window & t->fast_mask;
    const uint32_t step = t->steps[at];
    if (UNLIKELY(step == 0)) {
        const uint32_t entry = t->single[*window & t->mask];
        copy_slot(*out, t->words + (entry >> 4) * SLOT);
        *window >>= entry & 15;
        *out += t->word_size;
    } else {
        copy_slot(*out, t->values + at * SLOT);
        *window >>= step & 63;
        *out += step >> 8;
    }
}

INLINE int decode_lanes(const DenseTables *t, const Blocks *b, Lane *lanes, const int count) {
    if (b->size >= 8) {
        const uint64_t last_bit = (uint64_t)(b->size - 8) * 8 + 7; /* 8 whole bytes can be read up to here */
        uint64_t bits[LANES];
        uint8_t *outs[LANES];
        for (int i = 0; i < count; i++) bits[i] = lanes[i].bit, outs[i] = lanes[i].out;
        for (;;) {
            uint64_t windows[LANES];
            int go = 1;
#pragma GCC unroll 4
            for (int i = 0; i < count; i++)
                go &= (size_t)(lanes[i].end - outs[i]) >= SLOT * LOOKUPS && bits[i] <= last_bit;
            if (!go) break;
#pragma GCC unroll 4
            for (int i = 0; i < count; i++) windows[i] = marked_window(b->stream, bits[i]);
#pragma GCC unroll 4
            for (int n = 0; n < LOOKUPS; n++) {
#pragma GCC unroll 4
                for (int i = 0; i < count; i++) look_up(t, &windows[i], &outs[i]);
            }
#pragma GCC unroll 4
            for (int i = 0; i < count; i++) bits[i] += bits_taken(windows[i]);
        }
        /* Lanes are not through at the same time: the rest of each on its own. */
        for (int i = 0; i < count; i++) {
            uint8_t *out = outs[i], *end = lanes[i].end;
            uint64_t bit = bits[i];
            while (end - out >= SLOT && bit <= last_bit) {
                uint64_t window = marked_window(b->stream, bit);
                for (int n = 0; n < LOOKUPS && end - out >= SLOT; n++) look_up(t, &window, &out);
                bit += bits_taken(window);
            }
            lanes[i].bit = bit, lanes[i].out = out;
        }
    }
    /* The last words, one by one and not a byte beyond them. */
    for (int i = 0; i < count; i++) {
        Lane *lane = &lanes[i];
        while (lane->out != lane->end) {
            const uint32_t entry = t->single[window_at(b->stream, b->size, lane->bit) & t->mask];
            const uint8_t *word = t->words + (entry >> 4) * SLOT;
            for (uint32_t k = 0; k < t->word_size; k++) lane->out[k] = word[k];
            lane->out += t->word_size;
            lane->bit += entry & 15;
        }
        REQUIRE(lane->bit == lane->end_bit, BLOCK_CORRUPT);
    }
    return OK;
}

/* Decodes the next blocks, LANES or one, to `out` without a gap; *out moves to their end. */
INLINE int decode_group(const DenseTables *t, const Blocks *b, uint64_t *block, uint64_t *bit, uint8_t **out) {
    Lane lanes[LANES];
    const int count = b->blocks - *block >= LANES ? LANES : 1;
    for (int i = 0; i < count; i++, ++*block) {
        lanes[i].bit = *bit;
        *bit += index_entry(&b->lengths, *block);
        lanes[i].end_bit = *bit;
        lanes[i].out = *out;
        *out += (size_t)codes_in(b, *block) * t->word_size;
        lanes[i].end = *out;
    }
    return count == LANES ? decode_lanes(t, b, lanes, LANES) : decode_lanes(t, b, lanes, 1);
}

/* Where a plane goes: its bytes `stride` apart, or, where `low` is set, as the highest of four planes that become whole
 * elements at once. */
typedef struct {
    size_t stride;
    const uint8_t *const *low; /* the three lower planes */
    int rotated;
} Plane;

static void put_plane(const Plane *plane, uint8_t *out, uint64_t first, const uint8_t *bytes, uint64_t count);

OWN_FRAME int decode_plane_blocks(const DenseTables *t, const Blocks *b, uint8_t *out, const Plane *plane) {
    uint8_t group[(LANES << MAX_PLANE_BLOCK_LOG2) * 4]; /* words have at most 4 elements, of one byte here */
    uint64_t bit = 0, block = 0, done = 0;
    while (block < b->blocks) {
        uint8_t *end = group;
        CHECK(decode_group(t, b, &block, &bit, &end));
        put_plane(plane, out, done, group, (uint64_t)(end - group));
        done += (uint64_t)(end - group);
    }
    return OK;
}

static int decode_blocks(const DenseTables *t, const Blocks *b, uint8_t *out) {
    uint64_t bit = 0, block = 0;
    while (block < b->blocks) CHECK(decode_group(t, b, &block, &bit, &out));
    return OK;
}

static int send_blocks(const DenseTables *t, const Blocks *b, Pieces *p) {
    const uint64_t group = ((uint64_t)LANES << b->log2) * t->word_size;
    uint64_t bit = 0, block = 0;
    REQUIRE(group <= p->room, IN_ONE_PIECE);
    while (block < b->blocks) {
        uint8_t *end;
        CHECK(make_room(p, group));
        end = p->buffer + p->held;
        CHECK(decode_group(t, b, &block, &bit, &end));
        p->held = (size_t)(end - p->buffer);
    }
    return send_piece(p);
}

/* plane: NULL outside planes; pieces: NULL where all goes to `out` */
OWN_FRAME int decode_dense(Cursor *c, uint64_t size, uint8_t *out, const Plane *plane, Pieces *pieces) {
    Head head;
    Code code;
    Blocks blocks;
    DenseTables tables;
    Word codewords[MAX_SYMBOLS];
    const uint8_t *codebook, *words = NULL;
    uint64_t centroids;
    CHECK(parse_head(c, size, 0xf, plane != NULL, &head));
    CHECK(parse_code(c, &code));
    centroids = code.symbols;
    if (head.word_length > 1) {
        CHECK(read_varint(c, MAX_CENTROIDS, &centroids));
        CHECK(take(c, (uint64_t)code.symbols * head.word_length, &words));
        for (uint32_t i = 0; i < code.symbols * head.word_length; i++) REQUIRE(words[i] < centroids, SYMBOL_INVALID);
    }
    CHECK(parse_codebook(c, centroids, &head, &codebook));
    if (code.max_length)
        CHECK(parse_blocks(c, head.count >> head.word_log2, code.min_length, 0, plane != NULL, &blocks));
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);
    if (pieces) REQUIRE(code.max_length && head.width == 4, IN_ONE_PIECE);
    build_words(codebook, words, code.symbols, head.word_length, head.width, &tables);
    if (code.max_length == 0) {
        for (uint64_t at = 0; at < head.count; at += head.word_length)
            if (plane)
                put_plane(plane, out, at, tables.words, head.word_length);
            else
                memcpy(out + at * head.width, tables.words, tables.word_size);
    } else {
        list_words(&code, codewords);
        build_table(&code, codewords, tables.single);
        tables.mask = ((uint32_t)1 << code.max_length) - 1;
        /* A small section does not earn back large tables. */
        build_fast_table(&tables, head.count >> 16 ? FAST_BITS : FAST_BITS - 2);
        if (pieces) {
            pieces->scales = &head.scales;
            return send_blocks(&tables, &blocks, pieces);
        }
        CHECK(plane ? decode_plane_blocks(&tables, &blocks, out, plane) : decode_blocks(&tables, &blocks, out));
    }
    if (head.scales.kind) apply_scales(&head.scales, out, head.count);
    return OK;
}

/* ---- sparse ---------------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t pairs[1 << PAIR_BITS];        /* elements with the gap << 16 | symbol << 8 | bits; 0: longer codes */
    uint64_t gaps[1 << MAX_CODE_LENGTH];   /* smallest gap << 16 | extra bits << 8 | bits of the code */
    uint16_t values[1 << MAX_CODE_LENGTH]; /* symbol << 4 | bits */
    Word gap_words[256], value_words[MAX_SYMBOLS];
    uint64_t gap_of[256]; /* as in gaps, of each symbol of the gap code */
    uint32_t elements[MAX_SYMBOLS];
    uint32_t gap_mask, value_mask;
} SparseTables;

typedef struct {
    uint64_t bit, end_bit, place, end;
} SparseLane;

static void build_gaps(const Code *code, const uint8_t *tokens, uint32_t split, uint32_t msb, SparseTables *t) {
    list_words(code, t->gap_words);
    t->gap_mask = (1u << code->max_length) - 1;
    for (uint32_t symbol = 0; symbol < code->symbols; symbol++) {
        const uint32_t token = tokens[symbol], length = t->gap_words[symbol].length;
        uint64_t gap = (uint64_t)token << 16 | length;
        if (token >= 1u << split) {
            const uint32_t above = token - (1u << split), extra = split + (above >> msb) - msb;
            const uint64_t base = (uint64_t)((1u << msb) + (above & ((1u << msb) - 1))) << extra;
            gap = base << 16 | extra << 8 | length;
        }
        t->gap_of[symbol] = gap;
        for (uint32_t at = t->gap_words[symbol].bits; at <= t->gap_mask; at += 1u << length) t->gaps[at] = gap;
    }
}

static void build_elements(const Code *code, const uint8_t *codebook, uint32_t width, SparseTables *t) {
    list_words(code, t->value_words);
    build_table(code, t->value_words, t->values);
    t->value_mask = (1u << code->max_length) - 1;
    for (uint32_t symbol = 0; symbol < code->symbols; symbol++) {
        t->elements[symbol] = 0;
        for (uint32_t k = 0; k < width; k++) t->elements[symbol] |= (uint32_t)codebook[symbol * width + k] << (8 * k);
    }
}

/* Gap, extra bits and symbol, where they fit pair_bits together (so few extra bits make gaps of at most 14 bits). Small
 * entries, so that the table leaves room in a first-level cache for what is written. */
static void build_pairs(const Code *gap_code, const Code *code, uint32_t pair_bits, SparseTables *t) {
    const uint32_t symbols = code->symbols < 256 ? code->symbols : 256, size = 1u << pair_bits;
    memset(t->pairs, 0, sizeof *t->pairs << pair_bits);
    for (uint32_t symbol = 0; symbol < gap_code->symbols; symbol++) {
        const Word word = t->gap_words[symbol];
        const uint32_t extra = t->gap_of[symbol] >> 8 & 255, before = word.length + extra;
        if (before > pair_bits) continue;
        for (uint32_t bits = 0; bits < 1u << extra; bits++) {
            const uint32_t covered = (uint32_t)(t->gap_of[symbol] >> 16) + bits + 1;
            for (uint32_t value = 0; value < symbols; value++) { /* the shortest codes first */
                const uint32_t used = before + t->value_words[value].length;
                if (used > pair_bits) break;
                for (uint32_t at = word.bits | bits << word.length | (uint32_t)t->value_words[value].bits << before;
                     at < size; at += 1u << used)
                    t->pairs[at] = covered << 16 | value << 8 | used;
            }
        }
    }
    /* The loops look up PAIR_BITS; a small section does not earn back so many entries one by one. */
    for (uint32_t done = size; done < 1u << PAIR_BITS; done <<= 1)
        memcpy(t->pairs + done, t->pairs, done * sizeof *t->pairs);
}

INLINE void put_element(uint8_t *to, uint32_t element, const uint32_t width) {
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

typedef struct {
    uint64_t step; /* elements with its gap << 8 | bits */
    uint32_t element;
} LongPair;

/* A coded element by its two codes, whatever their length. A call, because few need it and the loops are unrolled. */
OWN_FRAME LongPair long_pair(const SparseTables *t, const Blocks *b, uint64_t bit) {
    uint64_t window = window_at(b->stream, b->size, bit), gap = t->gaps[window & t->gap_mask], covered;
    const uint32_t length = gap & 255, extra = gap >> 8 & 255;
    uint32_t value;
    LongPair pair;
    window >>= length;
    covered = (gap >> 16) + (window & (((uint64_t)1 << extra) - 1)) + 1;
    value = t->values[window >> extra & t->value_mask];
    pair.step = covered << 8 | (length + extra + (value & 15));
    pair.element = t->elements[value >> 4];
    return pair;
}

INLINE int decode_sparse_lanes(const SparseTables *t, const Blocks *b, SparseLane *lanes, const int count,
                               uint64_t codes, uint8_t *out, const uint32_t width, const size_t stride) {
    uint64_t bits[LANES];
    size_t places[LANES], ends[LANES];
    for (int i = 0; i < count; i++) {
        bits[i] = lanes[i].bit;
        places[i] = (size_t)lanes[i].place;
        ends[i] = (size_t)lanes[i].end;
    }
    if (b->size >= 8) {
        const uint64_t last_bit = (uint64_t)(b->size - 8) * 8 + 7; /* 8 whole bytes can be read up to here */
        for (; codes >= PAIR_LOOKUPS; codes -= PAIR_LOOKUPS) {
            uint64_t windows[LANES];
            int go = 1;
#pragma GCC unroll 4
            for (int i = 0; i < count; i++) go &= bits[i] <= last_bit;
            if (!go) break;
#pragma GCC unroll 4
            for (int i = 0; i < count; i++) windows[i] = marked_window(b->stream, bits[i]);
#pragma GCC unroll 5
            for (int n = 0; n < PAIR_LOOKUPS; n++) {
#pragma GCC unroll 4
                for (int i = 0; i < count; i++) {
                    const uint32_t pair = t->pairs[windows[i] & ((1u << PAIR_BITS) - 1)];
                    if (UNLIKELY(pair == 0)) {
                        const uint64_t bit = bits[i] + bits_taken(windows[i]);
                        const LongPair found = long_pair(t, b, bit);
                        places[i] += (size_t)(found.step >> 8);
                        if (UNLIKELY(places[i] > ends[i])) return BLOCK_CORRUPT;
                        put_element(out + (places[i] - 1) * stride, found.element, width);
                        bits[i] = bit + (found.step & 255);
                        windows[i] = window_at(b->stream, b->size, bits[i]) | MARK;
                    } else {
                        places[i] += pair >> 16;
                        if (UNLIKELY(places[i] > ends[i])) return BLOCK_CORRUPT;
                        put_element(out + (places[i] - 1) * stride, t->elements[pair >> 8 & 255], width);
                        windows[i] >>= pair & 63;
                    }
                }
            }
#pragma GCC unroll 4
            for (int i = 0; i < count; i++) bits[i] += bits_taken(windows[i]);
        }
    }
    for (; codes; codes--)
        for (int i = 0; i < count; i++) {
            const LongPair found = long_pair(t, b, bits[i]);
            places[i] += (size_t)(found.step >> 8);
            if (UNLIKELY(places[i] > ends[i])) return BLOCK_CORRUPT;
            put_element(out + (places[i] - 1) * stride, found.element, width);
            bits[i] += found.step & 255;
        }
    for (int i = 0; i < count; i++)
        REQUIRE(bits[i] == lanes[i].end_bit && places[i] == ends[i], BLOCK_CORRUPT);
    return OK;
}

/* Puts a lane on each of the next blocks; the codes of the last one, which are those of all but a shorter last block. */
INLINE uint64_t next_sparse_lanes(const Blocks *b, SparseLane *lanes, int count, uint64_t *block, uint64_t *bit,
                                  uint64_t *place) {
    uint64_t codes = 0;
    for (int i = 0; i < count; i++, ++*block) {
        codes = codes_in(b, *block);
        lanes[i].bit = *bit;
        *bit += index_entry(&b->lengths, *block);
        lanes[i].end_bit = *bit;
        lanes[i].place = *place;
        *place += index_entry(&b->spans, *block);
        lanes[i].end = *place;
    }
    return codes;
}

INLINE int decode_sparse_blocks(const SparseTables *t, const Blocks *b, const uint8_t *background, uint64_t elements,
                                uint8_t *out, const uint32_t width, const size_t stride) {
    uint64_t bit = 0, place = 0, block = 0, filled = 0;
    while (block < b->blocks) {
        SparseLane lanes[LANES];
        uint64_t codes;
        int count = b->blocks - block > LANES ? LANES : 1; /* > : the last block is shorter */
        codes = next_sparse_lanes(b, lanes, count, &block, &bit, &place);
        /* Just before it is written to, so that it is still in the cache. */
        fill(out + filled * stride, place - filled, background, width, stride);
        filled = place;
        CHECK(count == LANES ? decode_sparse_lanes(t, b, lanes, LANES, codes, out, width, stride)
                             : decode_sparse_lanes(t, b, lanes, 1, codes, out, width, stride));
    }
    fill(out + filled * stride, elements - filled, background, width, stride);
    return OK;
}

/* Elements of 4 bytes. */
static int send_sparse_blocks(const SparseTables *t, const Blocks *b, const uint8_t *background, uint64_t elements,
                              Pieces *p) {
    const uint64_t most = p->room / 4;
    uint64_t bit = 0, block, done = 0;
    for (block = 0; block < b->blocks; block++) REQUIRE(index_entry(&b->spans, block) <= most, IN_ONE_PIECE);
    for (block = 0; block < b->blocks;) {
        SparseLane lanes[LANES];
        uint64_t codes, place = 0, span = 0;
        int count = b->blocks - block > LANES ? LANES : 1;
        uint8_t *out;
        for (int i = 0; i < count; i++) span += index_entry(&b->spans, block + (uint64_t)i);
        if (span > most) count = 1, span = index_entry(&b->spans, block);
        CHECK(make_room(p, 4 * span));
        codes = next_sparse_lanes(b, lanes, count, &block, &bit, &place);
        out = p->buffer + p->held;
        fill(out, span, background, 4, 4);
        CHECK(count == LANES ? decode_sparse_lanes(t, b, lanes, LANES, codes, out, 4, 4)
                             : decode_sparse_lanes(t, b, lanes, 1, codes, out, 4, 4));
        p->held += (size_t)(4 * span);
        done += span;
    }
    while (done < elements) {
        uint64_t count = elements - done;
        CHECK(make_room(p, 4));
        if (count > (p->room - p->held) / 4) count = (p->room - p->held) / 4;
        fill(p->buffer + p->held, count, background, 4, 4);
        p->held += (size_t)(4 * count);
        done += count;
    }
    return send_piece(p);
}

/* plane: NULL outside planes; pieces: NULL where all goes to `out` */
OWN_FRAME int decode_sparse(Cursor *c, uint64_t size, uint8_t *out, const Plane *plane, Pieces *pieces) {
    Head head;
    Code gap_code, code;
    Blocks blocks;
    SparseTables tables;
    const uint8_t *background, *codebook;
    uint8_t tokens[256];
    uint64_t nonzeros;
    uint32_t scheme, split, msb;
    CHECK(parse_head(c, size, 0x3, plane != NULL, &head));
    CHECK(parse_codebook(c, 1, &head, &background));
    CHECK(read_varint(c, MAX_TFLITE_SIZE, &nonzeros));
    REQUIRE(nonzeros >= 1 && nonzeros <= head.count, PARAMETER_INVALID);
    CHECK(read_byte(c, &scheme));
    split = scheme & 15;
    msb = scheme >> 4;
    REQUIRE(split <= MAX_GAP_SPLIT && msb <= MAX_GAP_MSB && msb <= split, PARAMETER_INVALID);
    CHECK(parse_listed_code(c, (1u << split) + ((MAX_GAP_EXPONENT + 1 - split) << msb), &gap_code, tokens));
    CHECK(parse_code(c, &code));
    CHECK(parse_codebook(c, code.symbols, &head, &codebook));
    CHECK(parse_blocks(c, nonzeros, gap_code.min_length + code.min_length, head.count, plane != NULL, &blocks));
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);
    if (pieces) REQUIRE(head.width == 4, IN_ONE_PIECE);

    build_gaps(&gap_code, tokens, split, msb, &tables);
    build_elements(&code, codebook, head.width, &tables);
    build_pairs(&gap_code, &code, nonzeros >> 11 ? PAIR_BITS : PAIR_BITS - 2, &tables);
    if (pieces) {
        pieces->scales = &head.scales;
        return send_sparse_blocks(&tables, &blocks, background, head.count, pieces);
    }
    if (plane)
        CHECK(decode_sparse_blocks(&tables, &blocks, background, head.count, out, 1, plane->stride));
    else if (head.width == 4)
        CHECK(decode_sparse_blocks(&tables, &blocks, background, head.count, out, 4, 4));
    else if (head.width == 2)
        CHECK(decode_sparse_blocks(&tables, &blocks, background, head.count, out, 2, 2));
    else
        CHECK(decode_sparse_blocks(&tables, &blocks, background, head.count, out, 1, 1));
    if (head.scales.kind) apply_scales(&head.scales, out, head.count);
    return OK;
}

/* ---- contexts -------------------------------------------------------------------------------------------------- */

enum { LENGTH_STEPS = MAX_CODE_LENGTH + 1, SIGNED = 1, BY_COLUMNS = 2 };

/* Numbers below 2, 4 or 16, packed so that none crosses a byte; width 0: all are 0. */
typedef struct {
    const uint8_t *packed;
    uint32_t width, shift; /* bits of one; 1 << shift of them are in a byte */
} Numbers;

INLINE uint32_t number_at(const Numbers *n, size_t at) {
    if (!n->width) return 0;
    return n->packed[at >> n->shift] >> (at & ((1u << n->shift) - 1)) * n->width & ((1u << n->width) - 1);
}

static int parse_numbers(Cursor *c, uint64_t count, uint32_t choices, Numbers *n) {
    uint64_t bits;
    n->width = choices == 1 ? 0 : choices == 2 ? 1 : choices <= 4 ? 2 : 4;
    n->shift = n->width == 1 ? 3 : n->width == 2 ? 2 : 1;
    n->packed = NULL;
    if (!n->width) return OK;
    bits = count * n->width;
    CHECK(take(c, (bits + 7) >> 3, &n->packed));
    if (bits & 7) REQUIRE(n->packed[bits >> 3] >> (bits & 7) == 0, PADDING_INVALID);
    for (uint64_t i = 0; i < count; i++) REQUIRE(number_at(n, (size_t)i) < choices, SYMBOL_INVALID);
    return OK;
}

typedef struct {
    uint16_t table[MAX_CODES_TABLE]; /* byte << 4 | bits */
    struct {
        uint16_t start, mask;
    } of_context[MAX_CONTEXTS];
    uint8_t bucket_of[256];
    Numbers rows, columns;
    uint32_t row_step, buckets; /* contexts of a row class, of a column class */
    uint64_t inner, count_of_rows;
    int by_columns;
} ContextTables;

typedef struct {
    uint32_t start, mask, min_length;
} ByteCode;

/* The lengths of all codes, one after another, each a step from the one before. */
typedef struct {
    Code code;
    uint8_t tokens[LENGTH_STEPS];
    uint16_t table[1 << MAX_CODE_LENGTH];
    const uint8_t *stream;
    size_t size;
    uint64_t bit, bits;
} Lengths;

static int parse_lengths(Cursor *c, uint64_t listed, Lengths *l) {
    Word words[LENGTH_STEPS];
    CHECK(parse_listed_code(c, LENGTH_STEPS, &l->code, l->tokens));
    CHECK(read_varint(c, listed * MAX_CODE_LENGTH, &l->bits));
    CHECK(take(c, (l->bits + 7) >> 3, &l->stream));
    l->size = (size_t)((l->bits + 7) >> 3);
    l->bit = 0;
    if (l->bits & 7) REQUIRE(l->stream[l->size - 1] >> (l->bits & 7) == 0, PADDING_INVALID);
    list_words(&l->code, words);
    build_table(&l->code, words, l->table);
    return OK;
}

/* The code of the ranks `first` to `last`, to the table at `start`. */
static int build_byte_code(Lengths *l, uint32_t first, uint32_t last, uint32_t flip, uint32_t start, uint16_t *table,
                           ByteCode *made) {
    uint8_t lengths[256];
    uint32_t length = 0, symbol = 0;
    uint64_t kraft = 0;
    Code code;
    Word words[256];
    uint8_t values[256];
    made->start = start;
    made->mask = made->min_length = 0;
    if (first == last) {
        REQUIRE(start < MAX_CODES_TABLE, LIMIT_EXCEEDED);
        table[start] = (uint16_t)((first ^ flip) << 4);
        return OK;
    }
    for (uint32_t i = 0; i <= MAX_CODE_LENGTH; i++) code.counts[i] = 0;
    code.max_length = 0;
    for (uint32_t rank = first; rank <= last; rank++) {
        const uint32_t entry = l->table[window_at(l->stream, l->size, l->bit) & ((1u << l->code.max_length) - 1)];
        l->bit += entry & 15;
        length = (length + l->tokens[entry >> 4]) % LENGTH_STEPS;
        lengths[rank] = (uint8_t)length;
        if (!length) continue;
        code.counts[length]++;
        if (length > code.max_length) code.max_length = length;
    }
    for (uint32_t i = code.max_length; i; i--) {
        kraft += (uint64_t)code.counts[i] << (code.max_length - i);
        if (code.counts[i]) made->min_length = i;
    }
    REQUIRE(code.max_length && kraft == (uint64_t)1 << code.max_length, CODE_INVALID);
    for (uint32_t i = made->min_length; i <= code.max_length; i++)
        for (uint32_t rank = first; rank <= last; rank++)
            if (lengths[rank] == i) values[symbol++] = (uint8_t)(rank ^ flip);
    code.symbols = symbol;
    made->mask = (1u << code.max_length) - 1;
    REQUIRE(start + made->mask < MAX_CODES_TABLE, LIMIT_EXCEEDED);
    list_words(&code, words);
    for (uint32_t i = 0; i < symbol; i++)
        for (uint32_t at = words[i].bits; at <= made->mask; at += 1u << words[i].length)
            table[start + at] = (uint16_t)((uint32_t)values[i] << 4 | words[i].length);
    return OK;
}

OWN_FRAME int parse_byte_codes(Cursor *c, uint32_t codes, uint32_t flip, uint16_t *table, ByteCode *made) {
    Lengths lengths;
    const uint8_t *ranges;
    uint64_t listed = 0;
    uint32_t start = 0;
    int status, broken = OK;
    CHECK(take(c, 2 * codes, &ranges));
    for (uint32_t i = 0; i < codes; i++) {
        REQUIRE(ranges[2 * i] <= ranges[2 * i + 1], PARAMETER_INVALID);
        if (ranges[2 * i] < ranges[2 * i + 1]) listed += ranges[2 * i + 1] - ranges[2 * i] + 1u;
    }
    lengths.bit = lengths.bits = 0;
    if (listed) CHECK(parse_lengths(c, listed, &lengths));
    for (uint32_t i = 0; i < codes; i++) {
        /* Codes that are wrong come before tables that are too large. */
        status = build_byte_code(&lengths, ranges[2 * i], ranges[2 * i + 1], flip, broken ? 0 : start, table, &made[i]);
        if (status == LIMIT_EXCEEDED)
            broken = status;
        else
            CHECK(status);
        start += made[i].mask + 1;
    }
    REQUIRE(lengths.bit == lengths.bits, CODE_INVALID);
    return broken;
}

typedef struct {
    uint64_t bit, end_bit;
    size_t place; /* of the next code */
    size_t column, row;
    uint32_t bucket, row_context;
} ContextLane;

/* safe: bits below which 8 whole bytes can be read */
INLINE void put_in_context(const ContextTables *t, const Blocks *b, ContextLane *lane, uint64_t safe, uint8_t *out) {
    const uint64_t window = lane->bit < safe ? load64(b->stream + (lane->bit >> 3)) >> (lane->bit & 7)
                                             : window_at(b->stream, b->size, lane->bit);
    const uint32_t context = lane->row_context + number_at(&t->columns, lane->column) * t->buckets + lane->bucket;
    const uint32_t entry = t->table[t->of_context[context].start + (window & t->of_context[context].mask)];
    const uint8_t byte = (uint8_t)(entry >> 4);
    lane->bit += entry & 15;
    lane->bucket = t->bucket_of[byte];
    if (t->by_columns)
        out[lane->column * (size_t)t->count_of_rows + lane->row] = byte;
    else
        out[lane->place] = byte;
    lane->place++;
    if (UNLIKELY(++lane->column == t->inner)) {
        lane->column = 0;
        lane->row++;
        /* After the last row there is none to look at. */
        lane->row_context = lane->row < t->count_of_rows ? number_at(&t->rows, lane->row) * t->row_step : 0;
    }
}

/* n / d by shifts, as in remainder_of. */
static uint64_t quotient_of(uint64_t n, uint64_t d) {
    uint64_t step = d, unit = 1, quotient = 0;
    while (step <= n >> 1) step <<= 1, unit <<= 1;
    for (; unit; step >>= 1, unit >>= 1)
        if (n >= step) n -= step, quotient += unit;
    return quotient;
}

static int decode_context_blocks(const ContextTables *t, const Blocks *b, uint8_t *out) {
    const uint64_t safe = b->size >= 8 ? (uint64_t)(b->size - 7) * 8 : 0;
    uint64_t bit = 0, block = 0;
    while (block < b->blocks) {
        ContextLane lanes[LANES];
        uint64_t codes = 0;
        const int count = b->blocks - block > LANES ? LANES : 1; /* > : the last block is shorter */
        for (int i = 0; i < count; i++, block++) {
            const uint64_t place = block << b->log2;
            codes = codes_in(b, block);
            lanes[i].bit = bit;
            bit += index_entry(&b->lengths, block);
            lanes[i].end_bit = bit;
            lanes[i].place = (size_t)place;
            lanes[i].row = (size_t)quotient_of(place, t->inner);
            lanes[i].column = (size_t)(place - lanes[i].row * t->inner);
            lanes[i].bucket = t->buckets / 2;
            lanes[i].row_context = number_at(&t->rows, lanes[i].row) * t->row_step;
        }
        if (count == LANES)
            for (; codes; codes--) {
#pragma GCC unroll 4
                for (int i = 0; i < LANES; i++) put_in_context(t, b, &lanes[i], safe, out);
            }
        else
            for (; codes; codes--) put_in_context(t, b, &lanes[0], safe, out);
        for (int i = 0; i < count; i++) REQUIRE(lanes[i].bit == lanes[i].end_bit, BLOCK_CORRUPT);
    }
    return OK;
}

OWN_FRAME int decode_contexts(Cursor *c, uint64_t size, uint8_t *out) {
    ContextTables tables;
    ByteCode codes[MAX_CODES];
    Blocks blocks;
    Numbers code_of;
    const uint8_t *thresholds;
    uint64_t count;
    uint32_t p, choices[4], contexts, flip, shortest = MAX_CODE_LENGTH;
    CHECK(read_byte(c, &p));
    REQUIRE(!(p & ~(uint32_t)(SIGNED | BY_COLUMNS)), PARAMETER_INVALID);
    flip = p & SIGNED ? 0x80 : 0;
    tables.by_columns = (p & BY_COLUMNS) != 0;
    CHECK(parse_count(c, size, 1, &count));
    CHECK(read_varint(c, MAX_TFLITE_SIZE, &tables.inner));
    REQUIRE(tables.inner && remainder_of(count, tables.inner) == 0, PARAMETER_INVALID);
    for (int i = 0; i < 4; i++) { /* classes of rows, of columns, buckets, codes */
        CHECK(read_byte(c, &choices[i]));
        REQUIRE(choices[i] >= 1 && choices[i] <= (i < 3 ? MAX_CLASSES : MAX_CODES), PARAMETER_INVALID);
    }
    contexts = choices[0] * choices[1] * choices[2];
    REQUIRE(contexts <= MAX_CONTEXTS, LIMIT_EXCEEDED);
    tables.buckets = choices[2];
    tables.row_step = choices[1] * choices[2];
    tables.count_of_rows = quotient_of(count, tables.inner);
    CHECK(take(c, choices[2] - 1, &thresholds));
    for (uint32_t i = 0; i + 1 < choices[2]; i++)
        REQUIRE(thresholds[i] > (i ? thresholds[i - 1] : 0), PARAMETER_INVALID);
    for (uint32_t rank = 0, bucket = 0; rank < 256; rank++) {
        if (bucket + 1 < choices[2] && rank >= thresholds[bucket]) bucket++;
        tables.bucket_of[rank ^ flip] = (uint8_t)bucket;
    }
    CHECK(parse_numbers(c, tables.count_of_rows, choices[0], &tables.rows));
    CHECK(parse_numbers(c, tables.inner, choices[1], &tables.columns));
    CHECK(parse_numbers(c, contexts, choices[3], &code_of));
    CHECK(parse_byte_codes(c, choices[3], flip, tables.table, codes));
    for (uint32_t i = 0; i < choices[3]; i++)
        if (codes[i].min_length < shortest) shortest = codes[i].min_length;
    CHECK(parse_blocks(c, count, shortest, 0, 0, &blocks));
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);
    for (uint32_t i = 0; i < contexts; i++) {
        const ByteCode *code = codes + number_at(&code_of, i);
        tables.of_context[i].start = (uint16_t)code->start;
        tables.of_context[i].mask = (uint16_t)code->mask;
    }
    return decode_context_blocks(&tables, &blocks, out);
}

/* ---- raw and planes -------------------------------------------------------------------------------------------- */

static int decode_raw(Cursor *c, uint64_t size, uint8_t *out) {
    const uint8_t *bytes;
    REQUIRE(c->end - c->at == size, SIZE_MISMATCH);
    CHECK(take(c, size, &bytes));
    memcpy(out, bytes, (size_t)size);
    return OK;
}

/* Bytes `first` and on of a plane. */
static void put_plane(const Plane *plane, uint8_t *out, uint64_t first, const uint8_t *bytes, uint64_t count) {
    if (plane->low) {
        const uint8_t *p0 = plane->low[0] + first, *p1 = plane->low[1] + first, *p2 = plane->low[2] + first;
        out += 4 * first;
        if (plane->rotated)
            for (uint64_t i = 0; i < count; i++, out += 4) {
                uint32_t word =
                    (uint32_t)p0[i] | (uint32_t)p1[i] << 8 | (uint32_t)p2[i] << 16 | (uint32_t)bytes[i] << 24;
                put_element(out, word >> 1 | word << 31, 4);
            }
        else
            for (uint64_t i = 0; i < count; i++, out += 4)
                out[0] = p0[i], out[1] = p1[i], out[2] = p2[i], out[3] = bytes[i];
    } else {
        out += first * plane->stride;
        for (uint64_t i = 0; i < count; i++) out[i * plane->stride] = bytes[i];
    }
}

static int decode_layout(Cursor *c, uint64_t size, uint8_t *out, const Plane *plane);

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
    uint32_t p, width, rotated;
    uint64_t count;
    const uint8_t *raw[8];
    uint32_t is_raw = 0;
    int broken = OK, status;
    CHECK(read_byte(c, &p));
    width = 1u << (p & 3);
    rotated = p >> 4;
    REQUIRE(!(p & ~19u) && width > 1, PARAMETER_INVALID);
    CHECK(parse_count(c, size, width, &count));
    for (uint32_t number = 0; number < width; number++) {
        Plane plane = {width, NULL, 0};
        Cursor inner = *c;
        const uint8_t *bytes;
        uint64_t plane_size;
        CHECK(read_varint(c, MAX_TFLITE_SIZE, &plane_size));
        inner.at = c->at;
        CHECK(take(c, plane_size, &bytes));
        inner.end = c->at;
        if (plane_size == count + 1 && bytes[0] == RAW) {
            is_raw |= 1u << number;
            raw[number] = bytes + 1;
        } else if (number == 3 && width == 4 && is_raw == 7 && plane_size && bytes[0] == DENSE) {
            /* Float32 as it is: the elements are put together while the highest plane is decoded. */
            plane.low = raw;
            plane.rotated = (int)rotated;
            status = decode_layout(&inner, count, out, &plane);
            REQUIRE((status != OK && status != BLOCK_CORRUPT) || c->at == c->end, SECTION_TRAILING_BYTES);
            return status;
        } else {
            /* Bits that are wrong come after fields that are, in whichever plane those stand. */
            status = decode_layout(&inner, count, out + number, &plane);
            if (status == BLOCK_CORRUPT)
                broken = status;
            else
                CHECK(status);
        }
    }
    REQUIRE(c->at == c->end, SECTION_TRAILING_BYTES);
    CHECK(broken);
    for (uint32_t number = 0; number < width; number++)
        if (is_raw >> number & 1)
            for (uint64_t i = 0; i < count; i++) out[i * width + number] = raw[number][i];
    if (rotated) rotate_right(out, count, width);
    return OK;
}

/* plane: NULL outside planes */
static int decode_layout(Cursor *c, uint64_t size, uint8_t *out, const Plane *plane) {
    uint32_t layout;
    CHECK(read_byte(c, &layout));
    if (layout == RAW) return decode_raw(c, size, out);
    if (layout == DENSE) return decode_dense(c, size, out, plane, NULL);
    if (layout == SPARSE) return decode_sparse(c, size, out, plane, NULL);
    if (layout == PLANES && !plane) return decode_planes(c, size, out);
    if (layout == CONTEXTS && !plane) return decode_contexts(c, size, out);
    return LAYOUT_UNKNOWN;
}

/* Bumped whenever a caller of an older kernel would go wrong. */
__attribute__((visibility("default"))) const uint32_t armlet_kernel_version = 4;

/* Decodes one section of coded_size bytes to exactly out_size bytes; 0, or the negative number of an error.
 * After an error the content of `out` is undefined. The buffers must not overlap. */
__attribute__((visibility("default"))) int32_t armlet_decode(const uint8_t *coded, size_t coded_size, uint8_t *out,
                                                             size_t out_size) {
    Cursor cursor;
    cursor.data = coded;
    cursor.at = 0;
    cursor.end = coded_size;
    if (out_size > MAX_TFLITE_SIZE) return LIMIT_EXCEEDED;
    return decode_layout(&cursor, out_size, out, NULL);
}

/* The same bytes to a sink, in their order, at most `room` (256 or more) of them at a time, which stand in `buffer`. 1
 * where the section does not come in pieces: nothing was sent; 2 where the sink did not return 0. What was sent before
 * an error is undefined. */
__attribute__((visibility("default"))) int32_t armlet_decode_pieces(const uint8_t *coded, size_t coded_size,
                                                                    size_t out_size, uint8_t *buffer, size_t room,
                                                                    Sink sink, void *context) {
    static const Scales none;
    Pieces pieces = {buffer, room & ~(size_t)3, 0, sink, context, &none, 0, 0};
    Cursor cursor;
    uint32_t layout;
    cursor.data = coded;
    cursor.at = 0;
    cursor.end = coded_size;
    if (out_size > MAX_TFLITE_SIZE) return LIMIT_EXCEEDED;
    CHECK(read_byte(&cursor, &layout));
    if (layout == DENSE) return decode_dense(&cursor, out_size, NULL, NULL, &pieces);
    if (layout == SPARSE) return decode_sparse(&cursor, out_size, NULL, NULL, &pieces);
    return IN_ONE_PIECE;
}
