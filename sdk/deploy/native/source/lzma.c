/* Raw LZMA1 with an end marker, from memory to memory: what was written already is the dictionary.
 *
 * After the specification in the LZMA SDK (lzma-specification.txt, in the public domain). Accepts exactly what liblzma's
 * raw decoder accepts.
 */
#include "internal.h"
#include "prepared.h"

enum {
    STATES = 12,
    POSITION_STATES = 16, /* 1 << the largest pb */
    LITERAL_SIZE = 0x300,
    LITERALS = LITERAL_SIZE << 4, /* lc + lp is at most 4 */
    DISTANCE_SLOTS = 64,
    LENGTH_STATES = 4,
    MODELLED_DISTANCES = 14, /* slots from here on have direct bits and aligned ones */
    ALIGN_BITS = 4,
    FULL_DISTANCES = 128,
    MIN_MATCH = 2
};

typedef uint16_t Bit; /* probability of a zero, of 1 << 11 */

typedef struct {
    Bit choice, choice2, low[POSITION_STATES][8], mid[POSITION_STATES][8], high[256];
} Length;

typedef struct {
    /* Nothing but probabilities, so that one loop sets them. */
    Bit is_match[STATES][POSITION_STATES], is_rep[STATES], is_rep0[STATES], is_rep1[STATES], is_rep2[STATES];
    Bit is_rep0_long[STATES][POSITION_STATES];
    Bit slots[LENGTH_STATES][DISTANCE_SLOTS], distances[FULL_DISTANCES], align[1 << ALIGN_BITS];
    Length match, rep;
    Bit literals[LITERALS];
} Model;

/* `truncated` once a byte beyond the end was asked for; until it is looked at, zeros are read. A stream may be in two
 * parts: `next` is NULL, or the second one. */
typedef struct {
    const uint8_t *in, *end, *next, *next_end;
    uint32_t range, code;
    int truncated;
} Range;

static void normalize(Range *r) {
    if (r->range >> 24 == 0) {
        uint32_t byte = 0;
        if (r->in == r->end && r->next) r->in = r->next, r->end = r->next_end, r->next = NULL;
        if (r->in < r->end)
            byte = *r->in++;
        else
            r->truncated = 1;
        r->range <<= 8;
        r->code = r->code << 8 | byte;
    }
}

static uint32_t decode_bit(Range *r, Bit *bit) {
    uint32_t bound;
    normalize(r);
    bound = (r->range >> 11) * *bit;
    if (r->code < bound) {
        r->range = bound;
        *bit = (Bit)(*bit + (((1u << 11) - *bit) >> 5));
        return 0;
    }
    r->range -= bound;
    r->code -= bound;
    *bit = (Bit)(*bit - (*bit >> 5));
    return 1;
}

static uint32_t direct_bits(Range *r, unsigned count) {
    uint32_t value = 0;
    while (count--) {
        normalize(r);
        r->range >>= 1;
        value <<= 1;
        if (r->code >= r->range) r->code -= r->range, value |= 1;
    }
    return value;
}

static uint32_t bit_tree(Range *r, Bit *tree, unsigned bits) {
    uint32_t node = 1;
    for (unsigned i = 0; i < bits; i++) node = node << 1 | decode_bit(r, tree + node);
    return node - (1u << bits);
}

static uint32_t reverse_bit_tree(Range *r, Bit *tree, unsigned bits) {
    uint32_t node = 1, value = 0;
    for (unsigned i = 0; i < bits; i++) {
        const uint32_t bit = decode_bit(r, tree + node);
        node = node << 1 | bit;
        value |= bit << i;
    }
    return value;
}

static uint32_t decode_length(Range *r, Length *length, uint32_t position_state) {
    if (!decode_bit(r, &length->choice)) return bit_tree(r, length->low[position_state], 3);
    if (!decode_bit(r, &length->choice2)) return 8 + bit_tree(r, length->mid[position_state], 3);
    return 16 + bit_tree(r, length->high, 8);
}

static uint32_t decode_distance(Range *r, Model *m, uint32_t length) {
    const uint32_t slot = bit_tree(r, m->slots[length < LENGTH_STATES ? length : LENGTH_STATES - 1], 6);
    const unsigned bits = slot / 2 - 1;
    uint32_t distance;
    if (slot < 4) return slot;
    distance = (2 | (slot & 1)) << bits;
    if (slot < MODELLED_DISTANCES) return distance + reverse_bit_tree(r, m->distances + distance - slot, bits);
    distance += direct_bits(r, bits - ALIGN_BITS) << ALIGN_BITS;
    return distance + reverse_bit_tree(r, m->align, ALIGN_BITS);
}

/* `match`: the byte that the last match would go on with, or -1 after a literal. */
static uint8_t decode_literal(Range *r, Bit *literals, int match) {
    uint32_t node = 1;
    if (match >= 0) {
        uint32_t other = (uint32_t)match;
        while (node < 0x100) {
            const uint32_t expected = other >> 7 & 1;
            const uint32_t bit = decode_bit(r, literals + ((1 + expected) << 8) + node);
            other <<= 1;
            node = node << 1 | bit;
            if (bit != expected) break;
        }
    }
    while (node < 0x100) node = node << 1 | decode_bit(r, literals + node);
    return (uint8_t)node;
}

static int decode(Range *r, Model *m, uint32_t properties, uint64_t dictionary, uint8_t *out, size_t size) {
    const unsigned lc = properties % 9, lp = properties / 9 % 5, pb = properties / 45;
    uint32_t rep[4] = {0, 0, 0, 0}, state = 0;
    size_t at = 0;
    while (!r->truncated) {
        const uint32_t position_state = (uint32_t)at & ((1u << pb) - 1);
        const size_t window = at < dictionary ? at : (size_t)dictionary;
        uint32_t length;
        if (!decode_bit(r, &m->is_match[state][position_state])) {
            const uint32_t previous = at ? out[at - 1] : 0;
            const uint32_t context = (((uint32_t)at & ((1u << lp) - 1)) << lc) + (previous >> (8 - lc));
            REQUIRE(at < size, ARMLET_STREAM_CORRUPT);
            out[at] = decode_literal(r, m->literals + LITERAL_SIZE * context, state < 7 ? -1 : out[at - rep[0] - 1]);
            at++;
            state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
            continue;
        }
        if (!decode_bit(r, &m->is_rep[state])) {
            rep[3] = rep[2], rep[2] = rep[1], rep[1] = rep[0];
            length = decode_length(r, &m->match, position_state);
            state = state < 7 ? 7 : 10;
            rep[0] = decode_distance(r, m, length);
            if (rep[0] == 0xffffffff) { /* the end marker */
                normalize(r);
                REQUIRE(at == size && r->code == 0 && r->in == r->end && !r->next && !r->truncated, ARMLET_STREAM_CORRUPT);
                return ARMLET_OK;
            }
        } else {
            REQUIRE(window, ARMLET_STREAM_CORRUPT);
            if (!decode_bit(r, &m->is_rep0[state])) {
                if (!decode_bit(r, &m->is_rep0_long[state][position_state])) {
                    REQUIRE(rep[0] < window && at < size, ARMLET_STREAM_CORRUPT);
                    out[at] = out[at - rep[0] - 1];
                    at++;
                    state = state < 7 ? 9 : 11;
                    continue;
                }
            } else {
                uint32_t distance = rep[1];
                if (decode_bit(r, &m->is_rep1[state])) {
                    distance = rep[2];
                    if (decode_bit(r, &m->is_rep2[state])) distance = rep[3], rep[3] = rep[2];
                    rep[2] = rep[1];
                }
                rep[1] = rep[0];
                rep[0] = distance;
            }
            length = decode_length(r, &m->rep, position_state);
            state = state < 7 ? 8 : 11;
        }
        length += MIN_MATCH;
        REQUIRE(rep[0] < window && length <= size - at, ARMLET_STREAM_CORRUPT);
        for (; length; length--, at++) out[at] = out[at - rep[0] - 1];
    }
    return ARMLET_STREAM_CORRUPT;
}

static int decode_parts(Range *r, uint32_t properties, uint64_t dictionary, uint8_t *out, size_t size) {
    union {
        Model model;
        Bit bits[sizeof(Model) / sizeof(Bit)];
    } m;
    const uint8_t *in = r->in;
    REQUIRE(r->end - in >= 5 && in[0] == 0, ARMLET_STREAM_CORRUPT);
    for (size_t i = 0; i < sizeof m.bits / sizeof *m.bits; i++) m.bits[i] = 1 << 10;
    r->in = in + 5;
    r->range = 0xffffffff, r->truncated = 0;
    r->code = (uint32_t)in[1] << 24 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 8 | (uint32_t)in[4];
    return decode(r, &m.model, properties, dictionary, out, size);
}

int armlet_unlzma(const uint8_t *stream, size_t stream_size, uint32_t properties, uint64_t dictionary, uint8_t *out,
                  size_t size) {
    Range r = {stream, stream + stream_size, NULL, NULL, 0, 0, 0};
    return decode_parts(&r, properties, dictionary, out, size);
}

size_t armlet_prepared_size(void) { return PREPARED_SIZE; }

int armlet_unlzma_prepared(const uint8_t *stream, size_t stream_size, uint8_t *out, size_t size) {
    Range r = {prepared_stream, prepared_stream + sizeof prepared_stream, stream, stream + stream_size, 0, 0, 0};
    /* lc 0, lp 2, pb 2 */
    return decode_parts(&r, (2 * 5 + 2) * 9, (uint64_t)1 << 26, out, size);
}
