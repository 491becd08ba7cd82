/* Deflate (RFC 1951), from memory to memory: what was written already is the window, so nothing else is needed.
 *
 * Accepts exactly what zlib's inflate accepts: complete codes, or a single code of one bit for lengths or distances.
 */
#include <string.h>

#include "internal.h"

enum { MAX_BITS = 15, FAST_BITS = 9, LITERALS = 288, DISTANCES = 32, END_OF_BLOCK = 256 };

typedef struct {
    const uint8_t *in, *in_end;
    uint64_t bits;  /* read from `in` and not yet used, lowest first */
    unsigned held;  /* how many */
    uint8_t *out;
    size_t at, size;
} Inflate;

/* At least `count` bits in s->bits, at most 32; zeros follow the end of the stream, and `held` then tells. */
static void refill(Inflate *s, unsigned count) {
    while (s->held < count && s->in < s->in_end) {
        s->bits |= (uint64_t)*s->in++ << s->held;
        s->held += 8;
    }
}

static int take_bits(Inflate *s, unsigned count, uint32_t *value) {
    refill(s, count);
    REQUIRE(s->held >= count, ARMLET_STREAM_CORRUPT);
    *value = (uint32_t)(s->bits & (((uint64_t)1 << count) - 1));
    s->bits >>= count;
    s->held -= count;
    return ARMLET_OK;
}

/* A canonical code. fast[next FAST_BITS bits] = symbol << 4 | length, 0 where the code is longer or does not exist. */
typedef struct {
    uint16_t counts[MAX_BITS + 1], symbols[LITERALS], fast[1 << FAST_BITS];
} Code;

/* `incomplete_allowed`: a code of at most one symbol, of one bit. */
static int build_code(const uint8_t *lengths, unsigned count, int incomplete_allowed, Code *code) {
    uint16_t offsets[MAX_BITS + 2];
    unsigned next = 0;
    int left = 1;
    memset(code, 0, sizeof *code);
    for (unsigned i = 0; i < count; i++) code->counts[lengths[i]]++;
    code->counts[0] = 0;
    offsets[1] = 0;
    for (unsigned length = 1; length <= MAX_BITS; length++) {
        left = 2 * left - code->counts[length];
        REQUIRE(left >= 0, ARMLET_STREAM_CORRUPT);
        offsets[length + 1] = (uint16_t)(offsets[length] + code->counts[length]);
    }
    if (left) /* no code at all, or a single one of one bit */
        REQUIRE(incomplete_allowed && offsets[MAX_BITS + 1] == code->counts[1], ARMLET_STREAM_CORRUPT);
    for (unsigned i = 0; i < count; i++)
        if (lengths[i]) code->symbols[offsets[lengths[i]]++] = (uint16_t)i;
    /* `next` counts codes as numbers whose highest bit comes first in the stream. */
    for (unsigned length = 1, symbol = 0; length <= FAST_BITS; length++, next <<= 1)
        for (unsigned i = 0; i < code->counts[length]; i++, symbol++, next++) {
            unsigned first = 0;
            for (unsigned bit = 0; bit < length; bit++) first |= (next >> bit & 1) << (length - 1 - bit);
            for (unsigned at = first; at < 1 << FAST_BITS; at += 1u << length)
                code->fast[at] = (uint16_t)(code->symbols[symbol] << 4 | length);
        }
    return ARMLET_OK;
}

static int read_symbol(Inflate *s, const Code *code, unsigned *symbol) {
    uint32_t entry, number = 0, first = 0, index = 0;
    refill(s, MAX_BITS);
    entry = code->fast[s->bits & ((1 << FAST_BITS) - 1)];
    if (entry) {
        const unsigned length = entry & 15;
        REQUIRE(length <= s->held, ARMLET_STREAM_CORRUPT);
        s->bits >>= length;
        s->held -= length;
        *symbol = entry >> 4;
        return ARMLET_OK;
    }
    for (unsigned length = 1; length <= MAX_BITS && length <= s->held; length++) {
        number |= (uint32_t)(s->bits >> (length - 1) & 1);
        if (number - first < code->counts[length]) {
            *symbol = code->symbols[index + (number - first)];
            s->bits >>= length;
            s->held -= length;
            return ARMLET_OK;
        }
        index += code->counts[length];
        first = (first + code->counts[length]) << 1;
        number <<= 1;
    }
    return ARMLET_STREAM_CORRUPT;
}

static int stored_block(Inflate *s) {
    uint32_t size, inverted;
    s->bits >>= s->held & 7; /* to the next byte; at most two are held, so none is once both sizes are read */
    s->held &= ~7u;
    CHECK(take_bits(s, 16, &size));
    CHECK(take_bits(s, 16, &inverted));
    REQUIRE(size == (inverted ^ 0xffff), ARMLET_STREAM_CORRUPT);
    REQUIRE(size <= s->size - s->at, ARMLET_STREAM_CORRUPT);
    REQUIRE(size <= (size_t)(s->in_end - s->in), ARMLET_STREAM_CORRUPT);
    if (size) memcpy(s->out + s->at, s->in, size);
    s->in += size;
    s->at += size;
    return ARMLET_OK;
}

static int coded_block(Inflate *s, const Code *literals, const Code *distances) {
    static const uint16_t length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                           31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t length_extra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t distance_base[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                             193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    for (;;) {
        unsigned symbol;
        uint32_t extra;
        size_t length, distance;
        CHECK(read_symbol(s, literals, &symbol));
        if (symbol == END_OF_BLOCK) return ARMLET_OK;
        if (symbol < END_OF_BLOCK) {
            REQUIRE(s->at < s->size, ARMLET_STREAM_CORRUPT);
            s->out[s->at++] = (uint8_t)symbol;
            continue;
        }
        symbol -= END_OF_BLOCK + 1;
        REQUIRE(symbol < sizeof length_extra, ARMLET_STREAM_CORRUPT);
        CHECK(take_bits(s, length_extra[symbol], &extra));
        length = length_base[symbol] + extra;
        CHECK(read_symbol(s, distances, &symbol));
        REQUIRE(symbol < sizeof distance_base / sizeof *distance_base, ARMLET_STREAM_CORRUPT);
        CHECK(take_bits(s, symbol < 4 ? 0 : symbol / 2 - 1, &extra));
        distance = distance_base[symbol] + extra;
        REQUIRE(distance <= s->at && length <= s->size - s->at, ARMLET_STREAM_CORRUPT);
        for (const uint8_t *from = s->out + s->at - distance; length; length--) s->out[s->at++] = *from++;
    }
}

static int fixed_block(Inflate *s, Code *literals, Code *distances) {
    uint8_t lengths[LITERALS];
    memset(lengths, 8, 144);
    memset(lengths + 144, 9, 112);
    memset(lengths + 256, 7, 24);
    memset(lengths + 280, 8, 8);
    CHECK(build_code(lengths, LITERALS, 0, literals));
    memset(lengths, 5, DISTANCES);
    CHECK(build_code(lengths, DISTANCES, 0, distances));
    return coded_block(s, literals, distances);
}

static int dynamic_block(Inflate *s, Code *literals, Code *distances) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[LITERALS + DISTANCES];
    uint32_t literal_count, distance_count, count, bits;
    CHECK(take_bits(s, 5, &literal_count));
    CHECK(take_bits(s, 5, &distance_count));
    CHECK(take_bits(s, 4, &count));
    literal_count += 257;
    distance_count += 1;
    REQUIRE(literal_count <= 286 && distance_count <= 30, ARMLET_STREAM_CORRUPT);
    memset(lengths, 0, sizeof order);
    for (uint32_t i = 0; i < count + 4; i++) {
        CHECK(take_bits(s, 3, &bits));
        lengths[order[i]] = (uint8_t)bits;
    }
    CHECK(build_code(lengths, sizeof order, 0, literals)); /* of the lengths, for as long as they are read */
    for (uint32_t at = 0; at < literal_count + distance_count;) {
        unsigned symbol;
        uint8_t repeated = 0;
        CHECK(read_symbol(s, literals, &symbol));
        if (symbol < 16) {
            lengths[at++] = (uint8_t)symbol;
            continue;
        }
        if (symbol == 16) {
            REQUIRE(at, ARMLET_STREAM_CORRUPT);
            repeated = lengths[at - 1];
        }
        CHECK(take_bits(s, symbol == 16 ? 2 : symbol == 17 ? 3 : 7, &bits));
        bits += symbol == 18 ? 11 : 3;
        REQUIRE(bits <= literal_count + distance_count - at, ARMLET_STREAM_CORRUPT);
        for (; bits; bits--) lengths[at++] = repeated;
    }
    REQUIRE(lengths[END_OF_BLOCK], ARMLET_STREAM_CORRUPT);
    CHECK(build_code(lengths, literal_count, 1, literals));
    CHECK(build_code(lengths + literal_count, distance_count, 1, distances));
    return coded_block(s, literals, distances);
}

int armlet_inflate(const uint8_t *stream, size_t stream_size, uint8_t *out, size_t size) {
    Code literals, distances;
    Inflate s;
    uint32_t last, kind;
    s.in = stream, s.in_end = stream + stream_size;
    s.bits = 0, s.held = 0;
    s.out = out, s.at = 0, s.size = size;
    do {
        CHECK(take_bits(&s, 1, &last));
        CHECK(take_bits(&s, 2, &kind));
        if (kind == 0)
            CHECK(stored_block(&s));
        else if (kind == 1)
            CHECK(fixed_block(&s, &literals, &distances));
        else if (kind == 2)
            CHECK(dynamic_block(&s, &literals, &distances));
        else
            return ARMLET_STREAM_CORRUPT;
    } while (!last);
    /* Whole bytes that are left would be another stream. */
    REQUIRE(s.at == s.size && s.in == s.in_end && s.held < 8, ARMLET_STREAM_CORRUPT);
    return ARMLET_OK;
}
