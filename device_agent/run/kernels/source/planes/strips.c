/* Planes cut into strips for a convolution, and its sums joined to planes again: transposed, four by four pixels. */
#include "vectors.h"

#if defined(STRIPS)

/* The last four of `count` may reach back, and give the same again. */
INLINE int four_at(int i, int count) { return i + 4 <= count ? i : count - 4; }

void strips_cut(const Sparse *s, const Geometry *g, float *memory, int first, int end) {
    const Strips *strips = &s->strips;
    const int length = strips->length, count = strips->before + length + strips->after;
    for (int c = first; c < end; c++) {
        const float *from = memory + strips->source[c] + g->origin - strips->before;
        float *to = memory + strips->begin + c * strips->plane;
        for (int lane = 0; lane < LANES; lane += 4)
            for (int i = 0; i < count; i += 4) {
                int at = four_at(i, count);
                turn(from + (int64_t)lane * length + at, length, to + (int64_t)at * LANES + lane, LANES);
            }
    }
}

/* Four pixels of four strips that follow one another. */
INLINE void join_four(const float *sums, const float *added, float *to, int64_t length, Four low, Four high) {
    float turned[16];
    turn(sums, LANES, turned, 4);
#pragma GCC unroll 4
    for (int lane = 0; lane < 4; lane++) {
        Four x = *(const Four *)(turned + 4 * lane);
        if (added) x += *(const Four *)(added + lane * length);
        x = (Four)_mm_min_ps((__m128)high, _mm_max_ps((__m128)low, (__m128)x));
        *(Four *)(to + lane * length) = x;
    }
}

void strips_join(const Sparse *s, const Geometry *g, const Limits *limits, float *memory, int output, int first, int count) {
    const int64_t length = s->strips.length, begin = g->origin + first;
    const Four low = (Four)_mm_set1_ps(limits->low), high = (Four)_mm_set1_ps(limits->high);
    const float *sums = memory + s->strips.begin + s->sums[output];
    const float *added = s->added ? memory + s->added[output] + begin : NULL;
    float *to = memory + s->outputs[output] + begin;
    for (int lane = 0; lane < LANES; lane += 4)
        for (int i = 0; i < count; i += 4) {
            int at = four_at(i, count);
            int64_t pixel = lane * length + at;
            join_four(sums + (int64_t)at * LANES + lane, added ? added + pixel : NULL, to + pixel, length, low, high);
        }
}

#endif
