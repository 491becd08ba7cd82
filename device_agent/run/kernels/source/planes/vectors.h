/* Some floats that one instruction computes with: 4 with NEON, 8 with AVX2, 16 with AVX-512.
 *
 * The sources that include this are built twice for PCs, and delegate.c takes what the processor has.
 */
#ifndef ARMLET_VECTORS_H
#define ARMLET_VECTORS_H

#include "../chain.h"

/* TILE_: vectors of a tile for blocks of 1, 2 and 4, whose sums fill the registers. IN_PASSES: inputs may be read some
 * channels at a time, with the sums in memory between. Of two values where one is no number, the larger and the smaller is
 * `x`. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define VARIANT(name) name##_wide
enum { LANES = 16, TILE_1 = 16, TILE_2 = 13, TILE_4 = 6, IN_PASSES = 0 };
typedef float Lane __attribute__((vector_size(64), aligned(4), may_alias));
INLINE Lane lane_of(float x) { return (Lane)_mm512_set1_ps(x); }
INLINE Lane lane_max(Lane bound, Lane x) { return (Lane)_mm512_max_ps((__m512)bound, (__m512)x); }
INLINE Lane lane_min(Lane bound, Lane x) { return (Lane)_mm512_min_ps((__m512)bound, (__m512)x); }
#elif defined(__AVX2__)
#include <immintrin.h>
#define VARIANT(name) name
#define STRIPS 1 /* strips.c is there */
enum { LANES = 8, TILE_1 = 13, TILE_2 = 6, TILE_4 = 3, IN_PASSES = 1 };
typedef float Lane __attribute__((vector_size(32), aligned(4), may_alias));
INLINE Lane lane_of(float x) { return (Lane)_mm256_set1_ps(x); }
INLINE Lane lane_max(Lane bound, Lane x) { return (Lane)_mm256_max_ps((__m256)bound, (__m256)x); }
INLINE Lane lane_min(Lane bound, Lane x) { return (Lane)_mm256_min_ps((__m256)bound, (__m256)x); }
#else
#include <arm_neon.h>
#define VARIANT(name) name
enum { LANES = 4, TILE_1 = 16, TILE_2 = 13, TILE_4 = 6, IN_PASSES = 0 };
typedef float Lane __attribute__((vector_size(16), aligned(4), may_alias));
INLINE Lane lane_of(float x) { return (Lane)vdupq_n_f32(x); }
INLINE Lane lane_max(Lane bound, Lane x) { return (Lane)vmaxq_f32((float32x4_t)bound, (float32x4_t)x); }
INLINE Lane lane_min(Lane bound, Lane x) { return (Lane)vminq_f32((float32x4_t)bound, (float32x4_t)x); }
#endif

/* Two vectors that follow one another: the even and the odd of them. */
typedef float Wide __attribute__((vector_size(2 * 4 * LANES), aligned(4), may_alias));
#if defined(__AVX512F__)
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define SHIFTED 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#elif defined(__AVX2__)
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#define SHIFTED 1, 2, 3, 4, 5, 6, 7, 8
#else
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#define SHIFTED 1, 2, 3, 4
#endif
INLINE void lane_halves(const float *at, Lane *even, Lane *odd) {
    Wide both = *(const Wide *)at;
    *even = __builtin_shufflevector(both, both, EVEN);
    *odd = __builtin_shufflevector(both, both, ODD);
}
INLINE Lane lane_even(const float *at) {
    Wide both = *(const Wide *)at;
    return __builtin_shufflevector(both, both, EVEN);
}
/* One further, the first of `next` behind it. */
INLINE Lane lane_shifted(Lane x, Lane next) { return __builtin_shufflevector(x, next, SHIFTED); }

INLINE Lane lane_limited(const Limits *limits, Lane x) {
    return lane_min(lane_of(limits->high), lane_max(lane_of(limits->low), x));
}

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

/* Four by four floats, rows as columns. */
INLINE void turn(const float *from, int64_t from_row, float *to, int64_t to_row) {
    Four a = *(const Four *)from, b = *(const Four *)(from + from_row), c = *(const Four *)(from + 2 * from_row),
         d = *(const Four *)(from + 3 * from_row);
    Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(Four *)to = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(Four *)(to + to_row) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    *(Four *)(to + 2 * to_row) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(Four *)(to + 3 * to_row) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

INLINE int lanes_of(const Geometry *g) { return (g->pixels + LANES - 1) / LANES; }

void VARIANT(sparse_run)(const Sparse *, const Geometry *, const Limits *, float *memory, int part, int parts);
void VARIANT(window_run)(const Window *, const Geometry *from, const Geometry *to, const Limits *, float *memory, int first,
                         int end);

#if defined(STRIPS)
void strips_cut(const Sparse *, const Geometry *, float *memory, int first, int end);
/* Sums of an output, `count` vectors from the first on, to its plane: with what is added to them, between the limits. */
void strips_join(const Sparse *, const Geometry *, const Limits *, float *memory, int output, int first, int count);
#endif

#endif
