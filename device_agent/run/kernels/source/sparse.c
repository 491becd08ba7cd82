/* A convolution whose zeros are left out, on planes: any kernel size, groups and depthwise ones as well.
 *
 * Blocks of 1, 2 or 4 output channels share a zero. For a tile of pixels the sums of a block stay in registers, and each
 * entry adds a neighbour of every pixel of the tile, at one distance, times the weights of the block. Pixels are cut
 * into tiles of equal size, so that the last is no remainder.
 */
#include <math.h>

#include "vectors.h"

/* `block` and `n` are constants at every call. */
INLINE void run_tile(const Sparse *s, const Limits *limited, float *memory, int64_t pixel, int number, const int block,
                     const int n) {
    const Limits kept = *limited, *limits = &kept; /* else they are read again after every store */
    Lane sums[4][16];
    const float *bias = s->bias + (int64_t)number * block;
#pragma GCC unroll 4
    for (int b = 0; b < block; b++)
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) sums[b][i] = lane_of(bias[b]);
    const float *from = memory + pixel;
    const float *weights = s->weights + (int64_t)s->starts[number] * block;
    for (int32_t e = s->starts[number]; e < s->starts[number + 1]; e++, weights += block) {
        const float *at = from + s->offsets[e];
#if defined(__ARM_NEON)
        Lane w = {0}; /* of four one load, and each is multiplied by where it stands in the register */
        if (block == 4) w = *(const Lane *)weights;
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
    const bool above = limits->low > -INFINITY, below = limits->high < INFINITY;
    const Lane low = lane_of(limits->low), high = lane_of(limits->high);
    if (s->added)
#pragma GCC unroll 4
        for (int b = 0; b < block; b++) {
            const float *other = memory + s->added[(int64_t)number * block + b] + pixel;
#pragma GCC unroll 16
            for (int i = 0; i < n; i++) sums[b][i] += *(const Lane *)(other + i * LANES);
        }
#pragma GCC unroll 4
    for (int b = 0; b < block; b++) {
        float *to = memory + s->outputs[(int64_t)number * block + b] + pixel;
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

#define CASE(b, n) \
    case (n): run_tile(s, limits, memory, pixel, number, b, n); break;

static void run_1(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, int n) {
    switch (n) {
        CASE(1, 1) CASE(1, 2) CASE(1, 3) CASE(1, 4) CASE(1, 5) CASE(1, 6) CASE(1, 7) CASE(1, 8)
#if !defined(__AVX2__) || defined(__AVX512F__)
        CASE(1, 9) CASE(1, 10) CASE(1, 11) CASE(1, 12) CASE(1, 13) CASE(1, 14) CASE(1, 15) CASE(1, 16)
#endif
    }
}

static void run_2(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, int n) {
    switch (n) {
        CASE(2, 1) CASE(2, 2) CASE(2, 3) CASE(2, 4) CASE(2, 5) CASE(2, 6)
#if !defined(__AVX2__) || defined(__AVX512F__)
        CASE(2, 7) CASE(2, 8) CASE(2, 9) CASE(2, 10) CASE(2, 11) CASE(2, 12) CASE(2, 13)
#endif
    }
}

static void run_4(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, int n) {
    switch (n) {
        CASE(4, 1) CASE(4, 2) CASE(4, 3)
#if !defined(__AVX2__) || defined(__AVX512F__)
        CASE(4, 4) CASE(4, 5) CASE(4, 6)
#endif
    }
}

static void run_block(const Sparse *s, const Limits *limits, float *memory, int64_t pixel, int number, int n) {
    if (s->block == 4)
        run_4(s, limits, memory, pixel, number, n);
    else if (s->block == 2)
        run_2(s, limits, memory, pixel, number, n);
    else
        run_1(s, limits, memory, pixel, number, n);
}

/* Where tile t of `tiles` begins among so many vectors. */
static int64_t tile_start(int lanes, int tiles, int t) { return (int64_t)lanes * t / tiles; }

void VARIANT(sparse_run)(const Sparse *s, const Geometry *g, const Limits *limits, float *memory, int part, int parts) {
    int most = s->block == 4 ? TILE_4 : s->block == 2 ? TILE_2 : TILE_1;
    int lanes = lanes_of(g), tiles = (lanes + most - 1) / most;
    int first = (int)((int64_t)s->blocks * part / parts), end = (int)((int64_t)s->blocks * (part + 1) / parts);
    /* What is smaller stays in the cache while the other passes by: the weights, or a tile of all inputs. */
    bool pixels_first = s->bytes < ((uint64_t)1 << 17);
#define TILE(t, number)                                                                                             \
    run_block(s, limits, memory, g->origin + LANES * tile_start(lanes, tiles, t), number,                        \
              (int)(tile_start(lanes, tiles, (t) + 1) - tile_start(lanes, tiles, t)))
    if (pixels_first)
        for (int t = 0; t < tiles; t++)
            for (int number = first; number < end; number++) TILE(t, number);
    else
        for (int number = first; number < end; number++)
            for (int t = 0; t < tiles; t++) TILE(t, number);
#undef TILE
}
