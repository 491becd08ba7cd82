/* Where the values of a chain lie in its memory, and at which distances its convolutions and pools find neighbours. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"

static int floor_divide(int a, int b) { return a / b - (a % b < 0); }

static int larger(int a, int b) { return a > b ? a : b; }

/* Every neighbour of a pixel is at one distance in the planes of the input. */
static bool keeps_size(const Chain *chain, const Step *s) {
    const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
    return s->shape.stride_height == 1 && s->shape.stride_width == 1 && in->height == out->height &&
           in->width == out->width;
}

/* How far the last window of a dimension reaches behind the last pixel. */
static int behind(int in, int out, int stride, int kernel, int pad) {
    return larger(0, (out - 1) * stride + kernel - pad - in);
}

/* A window over each channel for itself that windows.c computes, from the planes of the input as they are. */
static bool is_window(const Chain *chain, const Step *s) {
    const Shape *p = &s->shape;
    const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
    int kernel = p->kernel_height, stride = p->stride_height;
    bool square = kernel == p->kernel_width && stride == p->stride_width && p->pad_top <= 1 && p->pad_left <= 1;
    bool alone = s->kind == STEP_POOL || (p->groups == in->channels && in->channels == out->channels);
    if (!square || !alone || p->dilation_height != 1 || p->dilation_width != 1) return false;
    bool centred = p->pad_top == 1 && p->pad_left == 1;
    if (stride == 1) return kernel == 3 && centred && keeps_size(chain, s) && !(s->kind == STEP_POOL && s->largest);
    if (stride != 2 || (kernel != 3 && kernel != 2)) return false;
    /* Of the largest, zeros around the image are none where a pixel may be less. */
    bool inside = !p->pad_top && !p->pad_left && !behind(in->height, out->height, 2, kernel, 0) &&
                  !behind(in->width, out->width, 2, kernel, 0);
    return !(s->kind == STEP_POOL && s->largest) || inside || in->not_negative;
}

/* A convolution or pool that reads the planes of its input as they are. */
static bool is_direct(const Chain *chain, const Step *s) {
    return s->windowed || (keeps_size(chain, s) && !(s->kind == STEP_POOL && s->largest));
}

/* Which neighbour tap k of a dimension is: so many strides away, in the phase that begins at `phase`. */
static int distance(int k, int dilation, int pad, int stride, int *phase) {
    int at = k * dilation - pad, far = floor_divide(at, stride);
    *phase = at - far * stride;
    return far;
}

static int geometry_of(Chain *chain, int height, int width) {
    for (int i = 0; i < chain->geometry_count; i++)
        if (chain->geometries[i].height == height && chain->geometries[i].width == width) return i;
    chain->geometries[chain->geometry_count] = (Geometry){.height = height, .width = width};
    return chain->geometry_count++;
}

/* Widens the zeros around the planes that a step reads. */
static void widen(Chain *chain, Step *s) {
    const Shape *shape = &s->shape;
    Geometry *g = &chain->geometries[chain->values[s->out].geometry];
    int phase, right = 0, left = 0;
    s->windowed = is_window(chain, s);
    if (s->windowed) {
        const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
        g = &chain->geometries[in->geometry];
        g->top = larger(g->top, shape->pad_top);
        g->bottom = larger(g->bottom, behind(in->height, out->height, shape->stride_height, shape->kernel_height, shape->pad_top));
        right = behind(in->width, out->width, shape->stride_width, shape->kernel_width, shape->pad_left);
        g->gap = larger(g->gap, larger(shape->pad_left, right));
        return;
    }
    for (int k = 0; k < shape->kernel_height; k++) {
        int far = distance(k, shape->dilation_height, shape->pad_top, shape->stride_height, &phase);
        g->top = larger(g->top, -far), g->bottom = larger(g->bottom, far);
    }
    for (int k = 0; k < shape->kernel_width; k++) {
        int far = distance(k, shape->dilation_width, shape->pad_left, shape->stride_width, &phase);
        left = larger(left, -far), right = larger(right, far);
    }
    s->relay.left = left;
    /* Where what is right of a row may be no zero, it does not serve as the left of the next. */
    g->gap = larger(g->gap, is_direct(chain, s) ? larger(left, right) : left + right);
}

/* Whether nothing that a step hands on is less than zero. */
static bool gives_no_less_than_zero(const Chain *chain, const Step *s) {
    if (s->kind == STEP_POOL) return chain->values[s->in].not_negative;
    if (s->kind == STEP_CONVOLVE || s->kind == STEP_ADD) return s->limits.low >= 0.0f;
    for (int c = 0; s->kind == STEP_VIEW && c < chain->values[s->out].channels; c++)
        if (!chain->values[s->view[2 * c]].not_negative) return false;
    return s->kind == STEP_VIEW;
}

/* A value is read by what reads its views, too. */
static void find_last_readers(Chain *chain) {
    for (int i = 0; i < chain->step_count; i++) {
        const Step *s = &chain->steps[i];
        if (s->in >= 0) chain->values[s->in].last = i;
        if (s->second >= 0) chain->values[s->second].last = i;
        if (s->out >= 0) chain->values[s->out].last = i;
    }
    for (int i = chain->step_count - 1; i >= 0; i--) {
        const Step *s = &chain->steps[i];
        for (int c = 0; s->kind == STEP_VIEW && c < chain->values[s->out].channels; c++) {
            Value *seen = &chain->values[s->view[2 * c]];
            seen->last = larger(seen->last, chain->values[s->out].last);
        }
    }
}

bool chain_lay_out(Chain *chain) {
    int64_t planes = 0;
    chain->geometries = calloc((size_t)chain->value_count + 1, sizeof(Geometry));
    if (chain->geometries == NULL) return false;
    for (int i = 0; i < chain->value_count; i++) {
        Value *v = &chain->values[i];
        if (v->height) v->geometry = geometry_of(chain, v->height, v->width);
        if (v->height && (v->planes = calloc((size_t)v->channels, sizeof *v->planes)) == NULL) return false;
        planes += v->height ? v->channels : 0;
    }
    for (int i = 0; i < chain->geometry_count; i++)
        if ((chain->geometries[i].spare = malloc((size_t)planes * sizeof(int64_t))) == NULL) return false;
    find_last_readers(chain);
    for (int i = 0; i < chain->step_count; i++) {
        Step *s = &chain->steps[i];
        if (s->kind == STEP_CONVOLVE || s->kind == STEP_POOL) widen(chain, s);
        if (s->out >= 0) chain->values[s->out].not_negative = gives_no_less_than_zero(chain, s);
    }
    for (int i = 0; i < chain->geometry_count; i++) {
        Geometry *g = &chain->geometries[i];
        g->stride = g->width + g->gap;
        g->origin = (g->top * g->stride + g->gap + LONGEST - 1) / LONGEST * LONGEST; /* on a cache line, as planes are */
        g->pixels = g->height * g->stride - g->gap;
        int rounded = (g->width + LONGEST - 1) / LONGEST * LONGEST, last_row = (g->height - 1) * g->stride;
        g->written = larger((g->pixels + LONGEST - 1) / LONGEST * LONGEST, last_row + rounded);
        int64_t most = g->origin + (int64_t)g->written + (int64_t)(g->bottom + 1) * g->stride + g->gap + LONGEST;
        g->plane = ((most + 15) / 16 | 1) * 16; /* an odd number of cache lines: planes do not meet in one set */
    }
    return true;
}

/* Taps of a kernel that are inside of a dimension. */
static int count_inside(int at, int kernel, int stride, int pad, int size) {
    int count = 0;
    for (int k = 0; k < kernel; k++) count += at * stride + k - pad >= 0 && at * stride + k - pad < size;
    return count;
}

bool chain_find_border(const Chain *chain, Step *s) {
    const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
    const Geometry *g = &chain->geometries[out->geometry];
    const Shape *p = &s->shape;
    int taps = p->kernel_height * p->kernel_width;
    s->border = calloc((size_t)out->height * (size_t)out->width, sizeof(int));
    s->border_factor = calloc((size_t)out->height * (size_t)out->width, sizeof(float));
    if (s->border == NULL || s->border_factor == NULL) return false;
    for (int y = 0; y < out->height; y++)
        for (int x = 0; x < out->width; x++) {
            int inside = count_inside(y, p->kernel_height, p->stride_height, p->pad_top, in->height) *
                         count_inside(x, p->kernel_width, p->stride_width, p->pad_left, in->width);
            if (inside == taps || inside == 0) continue;
            s->border[s->border_count] = g->origin + y * g->stride + x;
            s->border_factor[s->border_count++] = (float)taps / (float)inside;
        }
    return true;
}

/* What is spare has zeros around its pixels, as a new plane: every step leaves them so. */
void chain_place(Chain *chain, Value *v, int64_t *end) {
    Geometry *g = &chain->geometries[v->geometry];
    v->has_planes = true;
    for (int c = 0; c < v->channels; c++) {
        v->planes[c] = g->spares ? g->spare[--g->spares] : *end;
        if (v->planes[c] == *end) *end += g->plane;
    }
}

void chain_release(Chain *chain, int step) {
    for (int i = 0; i < chain->value_count; i++) {
        const Value *v = &chain->values[i];
        if (!v->has_planes || v->last != step) continue;
        Geometry *g = &chain->geometries[v->geometry];
        for (int c = v->channels - 1; c >= 0; c--) g->spare[g->spares++] = v->planes[c]; /* taken in their order again */
    }
}

/* The phases of a stride that a step reads, and which tap is in which, at which distance. */
bool chain_make_taps(Chain *chain, Step *s, int64_t *end) {
    const Shape *shape = &s->shape;
    const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
    int taps = shape->kernel_height * shape->kernel_width, phases = 0, row, column;
    int *rows = calloc((size_t)taps, sizeof(int)), *columns = calloc((size_t)taps, sizeof(int));
    s->phase = calloc((size_t)taps, sizeof(int)), s->offset = calloc((size_t)taps, sizeof(int));
    s->relay.row = rows, s->relay.column = columns;
    if (rows == NULL || columns == NULL || s->phase == NULL || s->offset == NULL) return false;
    const Geometry *g = &chain->geometries[out->geometry];
    for (int t = 0; t < taps; t++) {
        int ky = t / shape->kernel_width, kx = t % shape->kernel_width, p = 0;
        int down = distance(ky, shape->dilation_height, shape->pad_top, shape->stride_height, &row);
        int right = distance(kx, shape->dilation_width, shape->pad_left, shape->stride_width, &column);
        while (p < phases && (rows[p] != row || columns[p] != column)) p++;
        rows[p] = row, columns[p] = column;
        if (p == phases) phases++;
        s->phase[t] = p, s->offset[t] = down * g->stride + right;
    }
    s->relay.phases = 1;
    s->relay.target = in->planes;
    if (is_direct(chain, s)) return true;
    s->relay.phases = phases;
    s->relay.from = &chain->geometries[in->geometry], s->relay.to = g;
    s->relay.source = in->planes;
    s->relay.stride_height = shape->stride_height, s->relay.stride_width = shape->stride_width;
    s->relay.padding = s->kind == STEP_POOL && s->largest ? -INFINITY : 0.0f;
    s->relay.target = calloc((size_t)in->channels * (size_t)phases, sizeof(int64_t));
    if (s->relay.target == NULL) return false;
    for (int64_t i = 0; i < (int64_t)in->channels * phases; i++) s->relay.target[i] = i * g->plane;
    if (*end < (int64_t)in->channels * phases * g->plane) *end = (int64_t)in->channels * phases * g->plane;
    return true;
}
