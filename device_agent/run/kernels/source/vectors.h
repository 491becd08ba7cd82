/* Some floats that one instruction computes with: 4 with NEON, 8 with AVX2, 16 with AVX-512.
 *
 * The sources that include this are built twice for PCs, and delegate.c takes what the processor has.
 */
#ifndef ARMLET_VECTORS_H
#define ARMLET_VECTORS_H

#include "chain.h"

/* TILE_: vectors of a tile for blocks of 1, 2 and 4, whose sums fill the registers. Of two values where one is no number,
 * the larger and the smaller is `x`. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define VARIANT(name) name##_wide
enum { LANES = 16, TILE_1 = 16, TILE_2 = 13, TILE_4 = 6 };
typedef float Lane __attribute__((vector_size(64), aligned(4), may_alias));
INLINE Lane lane_max(Lane bound, Lane x) { return (Lane)_mm512_max_ps((__m512)bound, (__m512)x); }
INLINE Lane lane_min(Lane bound, Lane x) { return (Lane)_mm512_min_ps((__m512)bound, (__m512)x); }
#elif defined(__AVX2__)
#include <immintrin.h>
#define VARIANT(name) name
enum { LANES = 8, TILE_1 = 8, TILE_2 = 6, TILE_4 = 3 };
typedef float Lane __attribute__((vector_size(32), aligned(4), may_alias));
INLINE Lane lane_max(Lane bound, Lane x) { return (Lane)_mm256_max_ps((__m256)bound, (__m256)x); }
INLINE Lane lane_min(Lane bound, Lane x) { return (Lane)_mm256_min_ps((__m256)bound, (__m256)x); }
#else
#include <arm_neon.h>
#define VARIANT(name) name
enum { LANES = 4, TILE_1 = 16, TILE_2 = 13, TILE_4 = 6 };
typedef float Lane __attribute__((vector_size(16), aligned(4), may_alias));
INLINE Lane lane_max(Lane bound, Lane x) { return (Lane)vmaxq_f32((float32x4_t)bound, (float32x4_t)x); }
INLINE Lane lane_min(Lane bound, Lane x) { return (Lane)vminq_f32((float32x4_t)bound, (float32x4_t)x); }
#endif

INLINE Lane lane_limited(const Limits *limits, Lane x) {
    return lane_min((Lane){0} + limits->high, lane_max((Lane){0} + limits->low, x));
}

INLINE int lanes_of(const Geometry *g) { return (g->pixels + LANES - 1) / LANES; }

void VARIANT(sparse_run)(const Sparse *, const Geometry *, const Limits *, float *memory, int part, int parts);

#endif
