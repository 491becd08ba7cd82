/* Windows of 3x3 or 2x2 neighbours over every channel for itself: depthwise convolutions, means and the largest.
 *
 * Planes are read as they are, also by twos: a load of two vectors gives the pixels of even and of odd columns. A few rows
 * are made at once, so that what is loaded serves several of them.
 */
#include <math.h>

#include "vectors.h"

/* Rows and vectors of a tile of stride 1, whose sums fill the registers. */
enum { TILE_ROWS = 4, TILE_VECTORS = 2 };

/* One of the twelve floats of a window. With NEON they are in three registers, and each multiplies from where it stands. */
typedef struct {
#if defined(__ARM_NEON)
    Lane part[3];
#else
    const float *all;
#endif
} Weights;

INLINE Weights weights_at(const float *w) {
#if defined(__ARM_NEON)
    return (Weights){{*(const Lane *)w, *(const Lane *)(w + 4), *(const Lane *)(w + 8)}};
#else
    return (Weights){w};
#endif
}

INLINE float weight_of(const Weights *w, const int k) {
#if defined(__ARM_NEON)
    return w->part[k / 4][k % 4];
#else
    return w->all[k];
#endif
}

INLINE Lane bias_of(const Weights *w) { return lane_of(weight_of(w, WINDOW_BIAS)); }

/* A tile of `rows` rows and `n` vectors, constants at every call; from one row to the next it is as far in both planes. */
INLINE void run_tile(const float *in, float *out, int64_t row, const Weights *w, const Limits *limits, const int rows,
                     const int n) {
    Lane sums[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 4
    for (int y = 0; y < rows; y++)
#pragma GCC unroll 2
        for (int i = 0; i < n; i++) sums[y][i] = bias_of(w);
#pragma GCC unroll 6
    for (int line = 0; line < rows + 2; line++)
#pragma GCC unroll 2
        for (int i = 0; i < n; i++) {
            const float *at = in + (line - 1) * row + i * LANES;
            Lane left = *(const Lane *)(at - 1), middle = *(const Lane *)at, right = *(const Lane *)(at + 1);
#pragma GCC unroll 4
            for (int y = 0; y < rows; y++) {
                if (line - y < 0 || line - y > 2) continue;
                sums[y][i] += left * weight_of(w, 3 * (line - y));
                sums[y][i] += middle * weight_of(w, 3 * (line - y) + 1);
                sums[y][i] += right * weight_of(w, 3 * (line - y) + 2);
            }
        }
#pragma GCC unroll 4
    for (int y = 0; y < rows; y++)
#pragma GCC unroll 2
        for (int i = 0; i < n; i++) *(Lane *)(out + y * row + i * LANES) = lane_limited(limits, sums[y][i]);
}

INLINE void run_tiles(const float *in, float *out, int64_t row, const Weights *w, const Limits *limits,
                      const int rows, int vectors) {
    for (; vectors >= TILE_VECTORS; vectors -= TILE_VECTORS, in += TILE_VECTORS * LANES, out += TILE_VECTORS * LANES)
        run_tile(in, out, row, w, limits, rows, TILE_VECTORS);
    if (vectors) run_tile(in, out, row, w, limits, rows, 1);
}

/* `rows` rows that take every second pixel. From the right to the left: the pixel right of a vector is known then, and
 * what the last vector writes behind a row is written over by the next row. */
INLINE void run_halves(const float *in, int64_t in_row, float *out, int64_t out_row, int vectors, const Weights *w,
                       const Limits *limits, const int rows, const int size, const bool largest) {
    const int lines = 2 * (rows - 1) + size;
    Lane next[5];
#pragma GCC unroll 5
    for (int line = 0; size == 3 && line < lines; line++)
        next[line] = lane_even(in + line * in_row + (int64_t)vectors * 2 * LANES);
#pragma GCC unroll 2
    for (int i = vectors - 1; i >= 0; i--) {
        Lane sums[2];
#pragma GCC unroll 2
        for (int y = 0; y < rows; y++) {
            sums[y] = bias_of(w);
            if (largest) sums[y] = (Lane){0} - INFINITY;
        }
#pragma GCC unroll 5
        for (int line = 0; line < lines; line++) {
            const float *at = in + line * in_row + (int64_t)i * 2 * LANES;
            Lane column[3];
            lane_halves(at, &column[0], &column[1]);
            if (size == 3) column[2] = lane_shifted(column[0], next[line]), next[line] = column[0];
#pragma GCC unroll 2
            for (int y = 0; y < rows; y++) {
                if (line - 2 * y < 0 || line - 2 * y >= size) continue;
#pragma GCC unroll 3
                for (int k = 0; k < size; k++) {
                    if (largest)
                        sums[y] = lane_max(sums[y], column[k]);
                    else
                        sums[y] += column[k] * weight_of(w, 3 * (line - 2 * y) + k);
                }
            }
        }
#pragma GCC unroll 2
        for (int y = 0; y < rows; y++) *(Lane *)(out + y * out_row + i * LANES) = lane_limited(limits, sums[y]);
    }
}

INLINE void run_halved(const float *in, const Geometry *from, float *out, const Geometry *to, const Weights *w,
                       const Limits *limits, const int size, const bool largest) {
    const int vectors = (to->width + LANES - 1) / LANES;
    int y = 0;
    for (; y + 2 <= to->height; y += 2)
        run_halves(in + (int64_t)2 * y * from->stride, from->stride, out + (int64_t)y * to->stride, to->stride, vectors,
                   w, limits, 2, size, largest);
    if (y < to->height)
        run_halves(in + (int64_t)2 * y * from->stride, from->stride, out + (int64_t)y * to->stride, to->stride, vectors,
                   w, limits, 1, size, largest);
}

static void run_whole(const float *in, float *out, const Geometry *g, const Weights *w, const Limits *limits) {
    const int groups = (g->height + TILE_ROWS - 1) / TILE_ROWS, vectors = (g->width + LANES - 1) / LANES;
    for (int group = 0; group < groups; group++) {
        int y = (int)((int64_t)g->height * group / groups);
        int rows = (int)((int64_t)g->height * (group + 1) / groups) - y;
        const float *from = in + (int64_t)y * g->stride;
        float *to = out + (int64_t)y * g->stride;
        switch (rows) {
            case 1: run_tiles(from, to, g->stride, w, limits, 1, vectors); break;
            case 2: run_tiles(from, to, g->stride, w, limits, 2, vectors); break;
            case 3: run_tiles(from, to, g->stride, w, limits, 3, vectors); break;
            case 4: run_tiles(from, to, g->stride, w, limits, 4, vectors); break;
        }
    }
}

void VARIANT(window_run)(const Window *window, const Geometry *from, const Geometry *to, const Limits *limited,
                         float *memory, int first, int end) {
    const Limits limits = *limited; /* else they are read again after every store */
    for (int c = first; c < end; c++) {
        const Weights w = weights_at(window->weights + (int64_t)c * window->step);
        const float *in = memory + window->source[c] + from->origin;
        float *out = memory + window->target[c] + to->origin;
        if (window->stride == 1) {
            run_whole(in, out, to, &w, &limits);
            continue;
        }
        in -= (int64_t)window->top * from->stride + window->left;
        if (window->size == 3 && window->largest)
            run_halved(in, from, out, to, &w, &limits, 3, true);
        else if (window->size == 3)
            run_halved(in, from, out, to, &w, &limits, 3, false);
        else if (window->largest)
            run_halved(in, from, out, to, &w, &limits, 2, true);
        else
            run_halved(in, from, out, to, &w, &limits, 2, false);
    }
}
