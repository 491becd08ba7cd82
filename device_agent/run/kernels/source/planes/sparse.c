/* A convolution whose zeros are left out, on planes: any kernel size, groups and depthwise ones as well.
 *
 * Blocks of 1, 2 or 4 output channels share a zero. For a tile of pixels the sums of a block stay in registers, and each
 * entry adds a neighbour of every pixel of the tile, at one distance, times the weights of the block. Pixels are cut
 * into tiles of equal size, so that the last is no remainder.
 */
#include <math.h>

#include "vectors.h"

/* Most vectors of a tile, of one channel and of a block. */
enum { MOST = 16, CHANNELS = 4 };

/* `block` and `n` are constants at every call, here and below. */
INLINE void begin_sums(const Sparse *s, const float *memory, int64_t pixel, int number, int pass,
                       Lane sums[CHANNELS][MOST], const int block, const int n) {
    const int64_t first = (int64_t)number * block;
    if (IN_PASSES && pass) {
        if (s->strips.length) pixel = 0; /* sums of one tile at a time */
#pragma GCC unroll 4
        for (int b = 0; b < block; b++) {
            const float *from = memory + s->sums[first + b] + pixel;
#pragma GCC unroll 16
            for (int i = 0; i < n; i++) sums[b][i] = *(const Lane *)(from + i * LANES);
        }
        return;
    }
#pragma GCC unroll 4
    for (int b = 0; b < block; b++)
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) sums[b][i] = lane_of(s->bias[first + b]);
}

/* One entry: the neighbours `at`, times the weights of the block. */
INLINE void add_entry(Lane sums[CHANNELS][MOST], const float *at, const float *weights, const int block, const int n) {
#if defined(__ARM_NEON)
    Lane w = {0}; /* of four one load, and each is multiplied by where it stands in the register */
    if (block == 4) w = *(const Lane *)weights;
#elif !defined(__AVX512F__)
    if (block == 4) {
        /* Of 16 registers twelve hold sums and three neighbours: one weight at a time, in this order, has room. A compiler
         * would load all four before the first, and put sums into memory for them. */
        Lane x[TILE_4];
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) x[i] = *(const Lane *)(at + i * LANES);
#pragma GCC unroll 4
        for (int b = 0; b < block; b++) {
            Lane w;
            __asm__ volatile("vbroadcastss %1, %0" : "=x"(w) : "m"(weights[b]));
#pragma GCC unroll 16
            for (int i = 0; i < n; i++) sums[b][i] += x[i] * w;
        }
        return;
    }
#endif
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) {
        Lane x = *(const Lane *)(at + i * LANES);
#pragma GCC unroll 4
        for (int b = 0; b < block; b++)
#if defined(__ARM_NEON)
            sums[b][i] += x * (block == 4 ? w[b] : weights[b]);
#else
            sums[b][i] += x * weights[b];
#endif
    }
}

/* To their planes; behind the last pass with what is added to them, between the limits. */
INLINE void end_sums(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, bool last,
                     Lane sums[CHANNELS][MOST], const int block, const int n) {
    const int64_t first = (int64_t)number * block;
    const bool above = last && limits->low > -INFINITY, below = last && limits->high < INFINITY;
    const Lane low = lane_of(limits->low), high = lane_of(limits->high);
    if (last && s->added)
#pragma GCC unroll 4
        for (int b = 0; b < block; b++) {
            const float *other = memory + s->added[first + b] + pixel;
#pragma GCC unroll 16
            for (int i = 0; i < n; i++) sums[b][i] += *(const Lane *)(other + i * LANES);
        }
    if (IN_PASSES && s->strips.length) pixel = 0;
#pragma GCC unroll 4
    for (int b = 0; b < block; b++) {
        float *to = memory + s->sums[first + b] + pixel;
        if (above)
#pragma GCC unroll 16
            for (int i = 0; i < n; i++) sums[b][i] = lane_max(low, sums[b][i]);
        if (below)
#pragma GCC unroll 16
            for (int i = 0; i < n; i++) sums[b][i] = lane_min(high, sums[b][i]);
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) *(Lane *)(to + i * LANES) = sums[b][i];
    }
}

INLINE void run_tile(const Sparse *s, const Limits *limited, float *memory, int64_t pixel, int number, int pass,
                     const int block, const int n) {
    const Limits limits = *limited; /* else they are read again after every store */
    const bool last = !IN_PASSES || pass == s->last_pass;
    const int64_t begun = (IN_PASSES ? (int64_t)pass * (s->blocks + 1) : 0) + number;
    Lane sums[CHANNELS][MOST];
    begin_sums(s, memory, pixel, number, pass, sums, block, n);
    const float *from = memory + pixel, *weights = s->weights + (int64_t)s->starts[begun] * block;
    const int32_t *offsets = s->offsets + s->starts[begun], *end = s->offsets + s->starts[begun + 1];
    for (; offsets < end; offsets++, weights += block) add_entry(sums, from + *offsets, weights, block, n);
    end_sums(s, &limits, memory, pixel, number, last, sums, block, n);
}

#define CASE(b, n) \
    case (n): run_tile(s, limits, memory, pixel, number, pass, b, n); break;

static void run_1(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, int pass, int n) {
    switch (n) {
        CASE(1, 1) CASE(1, 2) CASE(1, 3) CASE(1, 4) CASE(1, 5) CASE(1, 6) CASE(1, 7) CASE(1, 8)
        CASE(1, 9) CASE(1, 10) CASE(1, 11) CASE(1, 12) CASE(1, 13)
#if !defined(__AVX2__) || defined(__AVX512F__)
        CASE(1, 14) CASE(1, 15) CASE(1, 16)
#endif
    }
}

static void run_2(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, int pass, int n) {
    switch (n) {
        CASE(2, 1) CASE(2, 2) CASE(2, 3) CASE(2, 4) CASE(2, 5) CASE(2, 6)
#if !defined(__AVX2__) || defined(__AVX512F__)
        CASE(2, 7) CASE(2, 8) CASE(2, 9) CASE(2, 10) CASE(2, 11) CASE(2, 12) CASE(2, 13)
#endif
    }
}

static void run_4(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, int pass, int n) {
    switch (n) {
        CASE(4, 1) CASE(4, 2) CASE(4, 3)
#if !defined(__AVX2__) || defined(__AVX512F__)
        CASE(4, 4) CASE(4, 5) CASE(4, 6)
#endif
    }
}

static void run_block(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, int pass, int n) {
    if (s->block == 4)
        run_4(s, limits, memory, pixel, number, pass, n);
    else if (s->block == 2)
        run_2(s, limits, memory, pixel, number, pass, n);
    else
        run_1(s, limits, memory, pixel, number, pass, n);
}

/* The pixels of a plane, cut into tiles. */
typedef struct {
    int64_t origin;
    int lanes, tiles;
} Tiles;

/* Where tile t begins, in vectors. */
INLINE int64_t tile_start(const Tiles *all, int t) { return (int64_t)all->lanes * t / all->tiles; }

INLINE int64_t pixel_of(const Tiles *all, int t) { return all->origin + LANES * tile_start(all, t); }

INLINE int vectors_of(const Tiles *all, int t) { return (int)(tile_start(all, t + 1) - tile_start(all, t)); }

/* A pass reads so few channels that a tile of them stays in the nearest cache while all blocks of their group go by. */
static void run_passes(const Sparse *s, const Tiles *all, const Limits *limits, float *memory, int first, int end) {
    const int of_group = s->blocks / s->groups;
    for (int next; first < end; first = next) {
        next = (first / of_group + 1) * of_group;
        next = next < end ? next : end;
        for (int t = 0; t < all->tiles; t++)
            for (int pass = 0; pass < s->passes; pass++)
                for (int number = first; number < next; number++)
                    run_block(s, limits, memory, pixel_of(all, t), number, pass, vectors_of(all, t));
    }
}

#if defined(STRIPS)
static void run_strips(const Sparse *s, const Geometry *g, const Limits *limits, float *memory, int first, int end) {
    const Tiles all = {0, s->strips.length, (s->strips.length + TILE_1 - 1) / TILE_1};
    const int of_group = s->blocks / s->groups;
    for (int next; first < end; first = next) {
        next = (first / of_group + 1) * of_group;
        next = next < end ? next : end;
        for (int t = 0; t < all.tiles; t++)
            for (int pass = 0; pass < s->passes; pass++)
                for (int number = first; number < next; number++) {
                    int n = vectors_of(&all, t);
                    run_1(s, limits, memory + s->strips.begin, pixel_of(&all, t), number, pass, n);
                    if (pass == s->passes - 1) strips_join(s, g, limits, memory, number, (int)tile_start(&all, t), n);
                }
    }
}
#endif

void VARIANT(sparse_run)(const Sparse *s, const Geometry *g, const Limits *limits, float *memory, int part, int parts) {
    int most = s->block == 4 ? TILE_4 : s->block == 2 ? TILE_2 : TILE_1, lanes = lanes_of(g);
    int first = (int)((int64_t)s->blocks * part / parts), end = (int)((int64_t)s->blocks * (part + 1) / parts);
    const Tiles all = {g->origin, lanes, (lanes + most - 1) / most};
#if defined(STRIPS)
    if (s->strips.length) {
        run_strips(s, g, limits, memory, first, end);
        return;
    }
#endif
    /* What is smaller stays in the cache while the other passes by: the weights, or a tile of all inputs. */
    bool pixels_first = s->bytes < ((uint64_t)1 << 17);
    if (IN_PASSES && s->passes > 1)
        run_passes(s, &all, limits, memory, first, end);
    else if (pixels_first)
        for (int t = 0; t < all.tiles; t++)
            for (int number = first; number < end; number++)
                run_block(s, limits, memory, pixel_of(&all, t), number, 0, vectors_of(&all, t));
    else
        for (int number = first; number < end; number++)
            for (int t = 0; t < all.tiles; t++)
                run_block(s, limits, memory, pixel_of(&all, t), number, 0, vectors_of(&all, t));
}
