/* What moves and joins planes: into and out of channels first, into the phases of a stride, sums, pools and means. */
#include "vectors.h"

/* Whether four planes from c on follow one another at one distance, as those of one value do. */
static bool in_step(const Value *v, int c, int end) {
    if (c + 4 > end) return false;
    int64_t step = v->planes[c + 1] - v->planes[c];
    return v->planes[c + 2] - v->planes[c + 1] == step && v->planes[c + 3] - v->planes[c + 2] == step;
}

/* Planes are read where `stores`, else written. */
INLINE void turn_around(float *nhwc, const Value *v, const Geometry *g, float *memory, int first, int end,
                        const bool stores) {
    const int width = v->width, channels = v->channels;
    for (int y = 0; y < v->height; y++)
        for (int c = first; c < end;) {
            float *plane = memory + v->planes[c] + g->origin + (int64_t)y * g->stride;
            float *pixel = nhwc + (int64_t)y * width * channels + c;
            int x = 0, count = in_step(v, c, end) ? 4 : 1;
            int64_t step = count == 4 ? v->planes[c + 1] - v->planes[c] : 0;
            for (; count == 4 && x + 4 <= width; x += 4) {
                if (stores)
                    turn(plane + x, step, pixel + (int64_t)x * channels, channels);
                else
                    turn(pixel + (int64_t)x * channels, channels, plane + x, step);
            }
            for (; x < width; x++)
                for (int i = 0; i < count; i++) {
                    if (stores)
                        pixel[(int64_t)x * channels + i] = plane[i * step + x];
                    else
                        plane[i * step + x] = pixel[(int64_t)x * channels + i];
                }
            c += count;
        }
}

/* An image of three channels, pixel by pixel: a loop that compilers make vectors of. */
static void load_three(const float *nhwc, const Value *v, const Geometry *g, float *memory) {
    for (int y = 0; y < v->height; y++, nhwc += (int64_t)3 * v->width) {
        float *line = memory + g->origin + (int64_t)y * g->stride;
        float *restrict a = line + v->planes[0], *restrict b = line + v->planes[1], *restrict c = line + v->planes[2];
        for (int x = 0; x < v->width; x++) a[x] = nhwc[3 * x], b[x] = nhwc[3 * x + 1], c[x] = nhwc[3 * x + 2];
    }
}

static void planes_load(const float *nhwc, const Value *v, const Geometry *g, float *memory, int first, int end) {
    if (v->channels == 3 && end - first == 3)
        load_three(nhwc, v, g, memory);
    else
        turn_around((float *)nhwc, v, g, memory, first, end, false);
}

static void planes_store(const Value *v, const Geometry *g, const float *memory, float *nhwc, int first, int end) {
    turn_around(nhwc, v, g, (float *)memory, first, end, true);
}

/* Zeros again where a loop over all of a plane wrote between its rows and behind them. */
static void planes_finish(const int64_t *planes, const Geometry *g, float *memory, int first, int end) {
    const int width = g->width, stride = g->stride, pixels = g->height * stride, written = g->written;
    if (g->gap == 0 && g->bottom == 0) return;
    for (int c = first; c < end; c++) {
        float *plane = memory + planes[c] + g->origin;
        if (stride == width + 1)
            for (int at = width; at < pixels; at += stride) plane[at] = 0.0f;
        else
            for (int at = width; at < pixels; at += stride)
                for (int x = at; x < at + stride - width; x++) plane[x] = 0.0f;
        for (int i = pixels; i < written; i++) plane[i] = 0.0f;
    }
}

/* Every so-manieth pixel of a line. Whole vectors are written: what follows `count` is written afterwards. */
INLINE void copy_line(float *to, const float *from, int count, int stride) {
    if (stride == 1)
        for (int i = 0; i < count; i += 4) *(Four *)(to + i) = *(const Four *)(from + i);
    else if (stride == 2)
        for (int i = 0; i < count; i += 4)
            *(Four *)(to + i) = __builtin_shufflevector(*(const Four *)(from + 2 * i), *(const Four *)(from + 2 * i + 4),
                                                        0, 2, 4, 6);
    else
        for (int i = 0; i < count; i++) to[i] = from[i * stride];
}

/* One phase of a plane: pixels where there are some, the padding around them. */
static void relay_phase(const Relay *r, const float *source, float *target, int row, int column) {
    const Geometry *from = r->from, *to = r->to;
    const int size = to->stride, step = r->stride_width, down = r->stride_height, begun = column - r->left * step;
    const int height = from->height, width = from->width, bottom = to->height + to->bottom;
    const float padding = r->padding;
    int first = begun < 0 ? (-begun + step - 1) / step : 0, end = begun >= width ? 0 : (width - 1 - begun) / step + 1;
    first = first < size ? first : size;
    end = end < size ? end : size;
    end = end > first ? end : first;
    for (int y = -to->top; y < bottom; y++) {
        float *line = target + (int64_t)y * size;
        int at = y * down + row;
        bool inside = at >= 0 && at < height;
        for (int i = 0; i < first; i++) line[i] = padding;
        if (inside) copy_line(line + first, source + (int64_t)at * from->stride + begun + first * step, end - first, step);
        for (int i = inside ? end : first; i < size; i++) line[i] = padding;
    }
}

static void planes_relay(const Relay *r, float *memory, int first, int end) {
    for (int c = first; c < end; c++)
        for (int p = 0; p < r->phases; p++) {
            float *target = memory + r->target[(int64_t)c * r->phases + p] + r->to->origin - r->left;
            relay_phase(r, memory + r->source[c] + r->from->origin, target, r->row[p], r->column[p]);
        }
}

static void planes_add(const int64_t *a, const int64_t *b, const int64_t *out, const Geometry *g, const Limits *limits,
                       float *memory, int first, int end) {
    const Limits kept = *limits; /* else they are read again after every store */
    const int lanes = lanes_of(g);
    for (int c = first; c < end; c++) {
        const float *one = memory + a[c] + g->origin, *other = b ? memory + b[c] + g->origin : NULL;
        float *to = memory + out[c] + g->origin;
        if (other)
#pragma GCC unroll 4
            for (int i = 0; i < lanes * LANES; i += LANES)
                *(Lane *)(to + i) = lane_limited(&kept, *(const Lane *)(one + i) + *(const Lane *)(other + i));
        else
#pragma GCC unroll 4
            for (int i = 0; i < lanes * LANES; i += LANES)
                *(Lane *)(to + i) = lane_limited(&kept, *(const Lane *)(one + i));
    }
}

/* As many taps as that stay in registers between two of their loads. */
static void planes_pool(const int64_t *a, int phases, const int64_t *out, const Geometry *g, const Limits *limits,
                        const int *phase, const int *offset, int taps, bool largest, float scale, float *memory,
                        int first, int end) {
    const Limits kept = *limits;
    const int lanes = lanes_of(g);
    for (int c = first; c < end; c++) {
        const int64_t *planes = a + (int64_t)c * phases;
        float *to = memory + out[c] + g->origin;
        for (int i = 0; i < lanes; i += 4) {
            /* Four vectors at once; the last four may reach back, and give the same again. */
            int at = (i + 4 <= lanes || lanes < 4 ? i : lanes - 4) * LANES, n = lanes < 4 ? lanes : 4;
            Lane x[4] = {{0}};
            for (int t = 0; t < taps; t++) {
                const float *from = memory + planes[phase[t]] + offset[t] + g->origin + at;
                for (int k = 0; k < n; k++) {
                    Lane y = *(const Lane *)(from + k * LANES);
                    if (t == 0)
                        x[k] = y;
                    else if (largest)
                        x[k] = lane_max(x[k], y);
                    else
                        x[k] += y;
                }
            }
            for (int k = 0; k < n; k++) *(Lane *)(to + at + k * LANES) = lane_limited(&kept, x[k] * scale);
        }
    }
}

static void planes_scale(const int64_t *planes, const int *pixels, const float *factors, int count, float *memory,
                         int first, int end) {
    for (int c = first; c < end; c++)
        for (int i = 0; i < count; i++) memory[planes[c] + pixels[i]] *= factors[i];
}

static void planes_mean(const Value *v, const Geometry *g, float *memory, float *out, const int64_t *planes, int origin,
                        int first, int end) {
    for (int c = first; c < end; c++) {
        /* Between rows there are zeros: only the last few pixels are no whole vector. */
        const float *plane = memory + v->planes[c] + g->origin;
        Lane sums[2] = {{0}};
        float sum = 0.0f;
        int i = 0;
        for (; i + 2 * LANES <= g->pixels; i += 2 * LANES)
            sums[0] += *(const Lane *)(plane + i), sums[1] += *(const Lane *)(plane + i + LANES);
        sums[0] += sums[1];
        for (int k = 0; k < LANES; k++) sum += sums[0][k];
        for (; i < g->pixels; i++) sum += plane[i];
        *(out ? &out[c] : memory + planes[c] + origin) = sum / (float)(v->height * v->width);
    }
}

const PlaneKernels VARIANT(plane_kernels) = {
    .lanes = LANES,
    .tile = {[1] = TILE_1, [2] = TILE_2, [4] = TILE_4},
    .in_passes = IN_PASSES,
    .convolve = VARIANT(sparse_run),
#if defined(STRIPS)
    .cut = strips_cut,
#endif
    .load = planes_load,
    .store = planes_store,
    .finish = planes_finish,
    .relay = planes_relay,
    .add = planes_add,
    .pool = planes_pool,
    .window = VARIANT(window_run),
    .scale = planes_scale,
    .mean = planes_mean,
};
