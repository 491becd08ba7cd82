/* Operators in the order in which they run: laid out in one memory, their weights packed, and run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chain.h"

/* ---- values and steps --------------------------------------------------------------------------------------------- */

static bool make_room(void **items, int count, int *room, size_t size) {
    if (count < *room) return true;
    int more = *room * 2 + 16;
    void *grown = realloc(*items, (size_t)more * size);
    if (grown == NULL) return false;
    *items = grown, *room = more;
    return true;
}

int chain_value(Chain *chain, int height, int width, int channels) {
    if (!make_room((void **)&chain->values, chain->value_count, &chain->value_room, sizeof(Value))) return -1;
    chain->values[chain->value_count] = (Value){height, width, channels, -1, NULL, NULL};
    return chain->value_count++;
}

int chain_step(Chain *chain, const Step *step) {
    if (!make_room((void **)&chain->steps, chain->step_count, &chain->step_room, sizeof(Step))) return -1;
    chain->steps[chain->step_count] = *step;
    return chain->step_count++;
}

/* ---- geometry ----------------------------------------------------------------------------------------------------- */

static int floor_divide(int a, int b) { return a / b - (a % b < 0); }

/* A convolution or pool that reads the planes of its input as they are: every neighbour at one distance. */
static bool is_direct(const Chain *chain, const Step *s) {
    const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
    return s->shape.stride_height == 1 && s->shape.stride_width == 1 && in->height == out->height &&
           in->width == out->width && !(s->kind == STEP_POOL && s->largest);
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

static int larger(int a, int b) { return a > b ? a : b; }

/* Widens the zeros around the planes that a step reads. */
static void widen(Chain *chain, Step *s) {
    const Shape *shape = &s->shape;
    Geometry *g = &chain->geometries[chain->values[s->out].geometry];
    int phase, right = 0, left = 0;
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

static bool lay_out(Chain *chain) {
    chain->geometries = calloc((size_t)chain->value_count + 1, sizeof(Geometry));
    if (chain->geometries == NULL) return false;
    for (int i = 0; i < chain->value_count; i++) {
        Value *v = &chain->values[i];
        if (v->height) v->geometry = geometry_of(chain, v->height, v->width);
        if (v->height && (v->planes = calloc((size_t)v->channels, sizeof *v->planes)) == NULL) return false;
    }
    for (int i = 0; i < chain->step_count; i++)
        if (chain->steps[i].kind == STEP_CONVOLVE || chain->steps[i].kind == STEP_POOL) widen(chain, &chain->steps[i]);
    for (int i = 0; i < chain->geometry_count; i++) {
        Geometry *g = &chain->geometries[i];
        g->stride = g->width + g->gap;
        g->origin = g->top * g->stride + g->gap;
        g->pixels = g->height * g->stride - g->gap;
        g->written = (g->pixels + LONGEST - 1) / LONGEST * LONGEST;
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

static bool find_border(const Chain *chain, Step *s) {
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

static void place(Chain *chain, int64_t *planes, int count, int geometry, int64_t *end) {
    for (int c = 0; c < count; c++) {
        planes[c] = *end;
        *end += chain->geometries[geometry].plane;
    }
}

/* The phases of a stride that a step reads, and which tap is in which, at which distance. */
static bool make_taps(Chain *chain, Step *s, int64_t *end) {
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
    place(chain, s->relay.target, in->channels * phases, out->geometry, end);
    return true;
}

/* ---- packing ------------------------------------------------------------------------------------------------------ */

static const double MULTIPLIED[5] = {0, 1.97, 2.8, 0, 3.05}; /* multiply-accumulates of an instruction, Cortex-A72 */

double sparse_cost(int block, double entries, double pixels) { return entries * block * pixels / MULTIPLIED[block]; }

static float weight_at(const Shape *shape, const float *weights, int channels, int out, int tap, int in) {
    int taps = shape->kernel_height * shape->kernel_width;
    if (shape->channel_last) return weights[(int64_t)tap * channels + out];
    return weights[((int64_t)out * taps + tap) * (channels / shape->groups) + in];
}

static bool is_kept(const Shape *shape, const float *weights, int inputs, int out, int tap, int in, int block) {
    for (int b = 0; b < block; b++)
        if (weight_at(shape, weights, inputs, out + b, tap, in) != 0.0f) return true;
    return false;
}

static int64_t count_entries(const Shape *shape, const float *weights, int inputs, int outputs, int block) {
    int taps = shape->kernel_height * shape->kernel_width, of_group = inputs / shape->groups;
    int64_t count = 0;
    for (int out = 0; out < outputs; out += block)
        for (int t = 0; t < taps; t++)
            for (int in = 0; in < of_group; in++) count += is_kept(shape, weights, inputs, out, t, in, block);
    return count;
}

int chain_block(const Shape *shape, const float *weights, int inputs, int outputs, double pixels, double *cost) {
    int best = 0;
    for (int block = 1; block <= 4; block *= 2) {
        if (outputs / shape->groups % block) break;
        int64_t entries = count_entries(shape, weights, inputs, outputs, block);
        double found = sparse_cost(block, (double)entries, pixels);
        if (best && found >= *cost) continue;
        best = block, *cost = found;
    }
    return best;
}

static bool pack(Chain *chain, Step *s) {
    const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
    const Shape *shape = &s->shape;
    int block = s->block, taps = shape->kernel_height * shape->kernel_width;
    int of_group = in->channels / shape->groups, outputs_of_group = out->channels / shape->groups;
    int64_t entries = count_entries(shape, s->weights, in->channels, out->channels, block), e = 0;
    Sparse *p = &s->sparse;
    if (entries > INT32_MAX) return false;
    p->block = block, p->blocks = out->channels / block, p->outputs = out->planes;
    p->starts = calloc((size_t)p->blocks + 1, sizeof *p->starts);
    p->offsets = calloc((size_t)entries + 1, sizeof *p->offsets);
    p->weights = calloc((size_t)(entries + 1) * (size_t)block, sizeof *p->weights);
    p->bias = calloc((size_t)out->channels, sizeof *p->bias);
    if (p->starts == NULL || p->offsets == NULL || p->weights == NULL || p->bias == NULL) return false;
    for (int o = 0; o < out->channels; o++) p->bias[o] = s->bias ? s->bias[o] : 0.0f;
    for (int number = 0; number < p->blocks; number++) {
        int first = number * block, group = first / outputs_of_group;
        p->starts[number] = (int32_t)e;
        for (int i = 0; i < of_group; i++)
            for (int t = 0; t < taps; t++) {
                if (!is_kept(shape, s->weights, in->channels, first, t, i, block)) continue;
                int64_t channel = (int64_t)group * of_group + i;
                int64_t plane = s->relay.target[channel * s->relay.phases + (s->relay.phases > 1 ? s->phase[t] : 0)];
                p->offsets[e] = (int32_t)(plane + s->offset[t]);
                for (int b = 0; b < block; b++) {
                    float weight = weight_at(shape, s->weights, in->channels, first + b, t, i);
                    p->weights[e * block + b] = weight;
                    p->kept += weight != 0.0f;
                }
                e++;
            }
    }
    p->starts[p->blocks] = (int32_t)e;
    p->bytes = (uint64_t)entries * (4 + 4 * (uint64_t)block);
    return true;
}

static void view(Chain *chain, Step *s) {
    Value *out = &chain->values[s->out];
    for (int c = 0; c < out->channels; c++) out->planes[c] = chain->values[s->view[2 * c]].planes[s->view[2 * c + 1]];
}

bool chain_finish(Chain *chain, int threads) {
    int64_t end = 0;
    if (!lay_out(chain)) return false;
    for (int i = 0; i < chain->step_count; i++) {
        Step *s = &chain->steps[i];
        Value *out = s->out >= 0 ? &chain->values[s->out] : NULL;
        if (s->kind == STEP_VIEW) {
            view(chain, s);
            continue;
        }
        if (out && out->height) place(chain, out->planes, out->channels, out->geometry, &end);
        if (out && !out->height && s->kind != STEP_LOAD) {
            out->flat = calloc((size_t)out->channels + 1, sizeof(float));
            if (out->flat == NULL) return false;
        }
        bool taps = s->kind == STEP_CONVOLVE || s->kind == STEP_POOL;
        if (taps && !make_taps(chain, s, &end)) return false;
        if (s->kind == STEP_POOL && s->means_inside && !find_border(chain, s)) return false;
        if (end > INT32_MAX / 2) return false; /* distances are 32 bits */
        if (s->kind == STEP_CONVOLVE && !pack(chain, s)) return false;
        if (s->kind == STEP_COLUMNS) {
            uint32_t rows = (uint32_t)out->channels, columns = (uint32_t)chain->values[s->in].channels;
            s->columns = columns_pack(s->weights, rows, columns, (uint32_t)s->block, (uint32_t)threads);
            if (s->columns == NULL) return false;
        }
    }
    chain->bytes = 4 * ((uint64_t)end + 4 * LONGEST); /* a copy reads whole vectors */
    chain->memory = calloc(1, chain->bytes);
    return chain->memory != NULL;
}

void chain_free(Chain *chain) {
    for (int i = 0; i < chain->step_count; i++) {
        Step *s = &chain->steps[i];
        if (s->kind == STEP_CONVOLVE) {
            free(s->sparse.starts);
            free(s->sparse.offsets);
            free(s->sparse.weights);
            free(s->sparse.bias);
        }
        if (s->relay.phases && s->relay.source) free(s->relay.target);
        free(s->relay.row);
        free(s->relay.column);
        free(s->phase);
        free(s->offset);
        free(s->view);
        free(s->border);
        free(s->border_factor);
        columns_free(s->columns);
        if (s->kind == STEP_LOAD && !chain->values[s->out].height) chain->values[s->out].flat = NULL; /* the runtime's */
    }
    for (int i = 0; i < chain->value_count; i++) {
        free(chain->values[i].planes);
        free(chain->values[i].flat);
    }
    free(chain->values);
    free(chain->steps);
    free(chain->geometries);
    free(chain->memory);
    memset(chain, 0, sizeof *chain);
}

/* ---- running ------------------------------------------------------------------------------------------------------ */

typedef struct {
    Chain *chain;
    Step *step;
    int parts;
    bool relays;
} Job;

static void run_part(void *context, int part) {
    const Job *job = context;
    Chain *chain = job->chain;
    Step *s = job->step;
    float *memory = chain->memory;
    const Value *in = s->in >= 0 ? &chain->values[s->in] : NULL, *out = s->out >= 0 ? &chain->values[s->out] : NULL;
    const Value *counted = job->relays || s->kind == STEP_STORE || out == NULL || !out->height ? in : out;
    const Geometry *from = in && in->height ? &chain->geometries[in->geometry] : NULL;
    const Geometry *g = out && out->height ? &chain->geometries[out->geometry] : NULL;
    int first = (int)((int64_t)counted->channels * part / job->parts);
    int end = (int)((int64_t)counted->channels * (part + 1) / job->parts);
    if (job->relays) {
        chain->kernels->relay(&s->relay, memory, first, end);
        return;
    }
    switch (s->kind) {
        case STEP_LOAD: chain->kernels->load(s->data, out, g, memory, first, end); return;
        case STEP_STORE: chain->kernels->store(in, from, memory, s->data, first, end); return;
        case STEP_FLATTEN: chain->kernels->store(in, from, memory, out->flat, first, end); return;
        case STEP_MEAN:
            chain->kernels->mean(in, from, memory, out->flat, out->planes, g ? g->origin : 0, first, end);
            return;
        case STEP_ADD:
            chain->kernels->add(in->planes, s->second >= 0 ? chain->values[s->second].planes : NULL, out->planes, g, &s->limits,
                       memory, first, end);
            break;
        case STEP_POOL: {
            int taps = s->shape.kernel_height * s->shape.kernel_width;
            chain->kernels->pool(s->relay.target, s->relay.phases, out->planes, g, &s->limits, s->phase, s->offset, taps,
                        s->largest, s->largest ? 1.0f : 1.0f / (float)taps, memory, first, end);
            if (s->border_count)
                chain->kernels->scale(out->planes, s->border, s->border_factor, s->border_count, memory, first, end);
            break;
        }
        case STEP_CONVOLVE:
            chain->kernels->convolve(&s->sparse, g, &s->limits, memory, part, job->parts);
            first = (int)((int64_t)s->sparse.blocks * part / job->parts) * s->sparse.block;
            end = (int)((int64_t)s->sparse.blocks * (part + 1) / job->parts) * s->sparse.block;
            break;
    }
    chain->kernels->finish(out->planes, g, memory, first, end);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void chain_run(Chain *chain, Threads *threads, int parts, bool timed) {
    for (int i = 0; i < chain->step_count; i++) {
        Step *s = &chain->steps[i];
        uint64_t begun = timed ? now() : 0;
        Job job = {chain, s, parts, true};
        if (s->kind == STEP_VIEW || (s->kind == STEP_LOAD && !chain->values[s->out].height)) continue;
        if (s->kind == STEP_COLUMNS)
            columns_run(s->columns, chain->values[s->in].flat, 1, s->bias, &s->limits, chain->values[s->out].flat, threads);
        else if (s->kind == STEP_STORE && !chain->values[s->in].height)
            memcpy(s->data, chain->values[s->in].flat, 4 * (size_t)chain->values[s->in].channels);
        else {
            if (s->relay.source) threads_run(threads, parts, run_part, &job);
            job.relays = false;
            threads_run(threads, parts, run_part, &job);
        }
        if (timed) s->nanoseconds += now() - begun;
    }
}
