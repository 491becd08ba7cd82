/* Weights of convolutions without their zeros, in the order in which the kernels read them. */
#include <stdlib.h>

#include "chain.h"
#include "columns/flat.h"

static const double MULTIPLIED[5] = {0, 1.97, 2.8, 0, 3.05}; /* multiply-accumulates of an instruction, Cortex-A72 */

double sparse_cost(int block, double entries, double pixels) { return entries * block * pixels / MULTIPLIED[block]; }

/* Whether any of `block` rows holds something in a column. */
static bool is_kept(const float *rows, uint32_t columns, uint32_t column, int block) {
    for (int b = 0; b < block; b++)
        if (rows[(int64_t)b * columns + column] != 0.0f) return true;
    return false;
}

/* -1 where memory is short. */
static int64_t count_entries(const Shape *shape, const Matrix *m, int block) {
    Rows rows;
    int64_t count = 0;
    if (!rows_begin(&rows, m, block, shape->channel_last)) return -1;
    for (uint32_t out = 0; out < m->rows; out += (uint32_t)block) {
        const float *at = rows_next(&rows, block);
        for (uint32_t i = 0; i < m->columns; i++) count += is_kept(at, m->columns, i, block);
    }
    rows_end(&rows);
    return count;
}

int chain_block(const Shape *shape, const Matrix *m, double pixels, double *cost) {
    int best = 0;
    for (int block = 1; block <= 4; block *= 2) {
        if ((int)m->rows / shape->groups % block) break;
        int64_t entries = count_entries(shape, m, block);
        if (entries < 0) return 0;
        double found = sparse_cost(block, (double)entries, pixels);
        if (best && found >= *cost) continue;
        best = block, *cost = found;
    }
    return best;
}

/* A window over each channel: its weights, row by row, or those of a mean. */
bool pack_window(const Chain *chain, Step *s) {
    const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
    const Shape *shape = &s->shape;
    Rows rows = {0};
    int size = shape->kernel_height, channels = s->kind == STEP_POOL ? 1 : out->channels;
    s->window = (Window){in->planes, out->planes, calloc((size_t)channels * WINDOW_FLOATS, sizeof(float)),
                         s->kind == STEP_POOL ? 0 : WINDOW_FLOATS, size, shape->stride_height, shape->pad_top,
                         shape->pad_left, s->kind == STEP_POOL && s->largest};
    if (s->window.weights == NULL) return false;
    if (s->kind == STEP_CONVOLVE && !rows_begin(&rows, &s->matrix, 1, shape->channel_last)) return false;
    for (int c = 0; c < channels; c++) {
        float *to = s->window.weights + (int64_t)c * WINDOW_FLOATS;
        const float *from = s->kind == STEP_CONVOLVE ? rows_next(&rows, 1) : NULL;
        for (int t = 0; t < size * size; t++) {
            float weight = from ? from[t] : 1.0f / (float)(size * size);
            to[t / size * 3 + t % size] = weight;
            s->sparse.kept += s->kind == STEP_CONVOLVE && weight != 0.0f;
        }
        to[WINDOW_BIAS] = s->kind == STEP_CONVOLVE && s->bias ? s->bias[c] : 0.0f;
    }
    rows_end(&rows);
    s->sparse.block = 1;
    s->sparse.bytes = 4 * (uint64_t)channels * WINDOW_FLOATS;
    return true;
}

/* ---- strips --------------------------------------------------------------------------------------------------------- */

/* To cut or join a vector of pixels takes as long as strips save where so many are read for entries. */
enum { WORTH_STRIPS = 20 };
/* Floats that strips may take: 64 MiB. */
enum { MOST_STRIPS = 1 << 24 };

static int64_t odd_lines(int64_t floats) { return ((floats + 15) / 16 | 1) * 16; }

int64_t strips_room(const Sparse *p, int outputs) {
    return p->strips.length ? p->strips.planes * p->strips.plane + outputs * p->strips.sum : 0;
}

/* Whether a convolution is cut into strips, and into which; false where memory is short. */
static bool choose_strips(const Chain *chain, Step *s) {
    const Value *out = &chain->values[s->out];
    const Geometry *g = &chain->geometries[out->geometry];
    const int taps = s->shape.kernel_height * s->shape.kernel_width, lanes = chain->kernels->lanes;
    Sparse *p = &s->sparse;
    Strips strips = {.length = (g->pixels + lanes - 1) / lanes, .source = s->relay.target};
    bool crosses = false;
    for (int t = 0; t < taps; t++) {
        strips.before = -s->offset[t] > strips.before ? -s->offset[t] : strips.before;
        strips.after = s->offset[t] > strips.after ? s->offset[t] : strips.after;
        crosses = crosses || s->offset[t] % lanes;
    }
    if (chain->kernels->cut == NULL || s->block != 1 || !crosses || strips.length < 4) return true;
    const int64_t all = strips.before + strips.length + strips.after;
    strips.planes = chain->values[s->in].channels * s->relay.phases;
    strips.plane = odd_lines(all * lanes), strips.sum = odd_lines((int64_t)chain->kernels->tile[1] * lanes);
    if (strips.planes * strips.plane + out->channels * strips.sum > MOST_STRIPS) return true;
    int64_t entries = count_entries(&s->shape, &s->matrix, 1);
    int64_t moved = strips.planes * all + (int64_t)out->channels * strips.length;
    if (entries < 0) return false;
    if (entries * strips.length < WORTH_STRIPS * moved) return true;
    p->sums = calloc((size_t)out->channels, sizeof *p->sums);
    if (p->sums == NULL) return false;
    for (int o = 0; o < out->channels; o++) p->sums[o] = strips.planes * strips.plane + o * strips.sum;
    p->strips = strips;
    return true;
}

/* ---- passes --------------------------------------------------------------------------------------------------------- */

/* Bytes of neighbours that stay in the nearest cache, of 32 KiB, beside sums and weights. */
#define NEAR_BYTES 20480.0
/* Entries of a block in a pass that are worth it to put its sums into memory and take them back, by the block. */
static const int WORTH_A_PASS[5] = {0, 16, 32, 0, 48};

/* How many channels of a group a tile may read in one pass. */
static int channels_of_pass(const Chain *chain, const Step *s, int of_group) {
    const Shape *shape = &s->shape;
    const PlaneKernels *kernels = chain->kernels;
    const Geometry *g = &chain->geometries[chain->values[s->out].geometry];
    if (!kernels->in_passes) return of_group;
    const bool cut = s->sparse.strips.length;
    /* Pieces of a plane, one for each row of neighbours; floats of a piece and of a plane. */
    double pieces = shape->kernel_height, reach = (shape->kernel_width - 1) * shape->dilation_width;
    double plane = cut ? (double)s->sparse.strips.plane : (double)g->plane;
    if (s->relay.phases > 1) {
        pieces *= shape->stride_width < shape->kernel_width ? shape->stride_width : shape->kernel_width;
        plane *= s->relay.phases, reach /= shape->stride_width;
    }
    double piece = kernels->tile[s->block] * kernels->lanes;
    piece += cut ? reach * kernels->lanes : reach + 16; /* which begins on no cache line */
    double channels = NEAR_BYTES / 4.0 / (pieces * piece < plane ? pieces * piece : plane);
    return channels < 1 ? 1 : channels < of_group ? (int)channels : of_group;
}

/* Counts the entries of each block that each pass reads into `starts`, behind a first 0; -1 where memory is short. */
static int64_t count_passes(const Step *s, int32_t *starts, int of_group, int of_pass) {
    const Sparse *p = &s->sparse;
    int taps = s->shape.kernel_height * s->shape.kernel_width;
    int64_t count = 0;
    Rows rows;
    if (!rows_begin(&rows, &s->matrix, p->block, s->shape.channel_last)) return -1;
    for (int number = 0; number < p->blocks; number++) {
        const float *at = rows_next(&rows, p->block);
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < of_group; i++) {
                if (!is_kept(at, s->matrix.columns, (uint32_t)(t * of_group + i), p->block)) continue;
                starts[(int64_t)(i / of_pass) * (p->blocks + 1) + number + 1]++;
                count++;
            }
    }
    rows_end(&rows);
    return count;
}

/* Passes of so few entries that they are not worth it become one with those behind them. */
static void join_passes(Sparse *p, int64_t entries, int *of_pass) {
    int64_t of_block = entries / (p->blocks ? p->blocks : 1), worth = of_block / WORTH_A_PASS[p->block];
    int most = worth < 1 ? 1 : worth < p->passes ? (int)worth : p->passes, joined = (p->passes + most - 1) / most;
    int row = p->blocks + 1, passes = (p->passes + joined - 1) / joined;
    for (int pass = 0; pass < p->passes; pass++)
        for (int i = 0; i < row; i++) {
            int32_t count = p->starts[(int64_t)pass * row + i];
            if (pass % joined) p->starts[(int64_t)(pass / joined) * row + i] += count;
            if (pass % joined == 0) p->starts[(int64_t)(pass / joined) * row + i] = count;
        }
    p->passes = passes, p->last_pass = p->strips.length ? -1 : passes - 1, *of_pass *= joined;
}

/* ---- entries -------------------------------------------------------------------------------------------------------- */

static void add_entry(Sparse *p, int64_t e, int64_t distance, const float *at, uint32_t columns) {
    p->offsets[e] = (int32_t)distance;
    for (int b = 0; b < p->block; b++) {
        float weight = at[(int64_t)b * columns];
        p->weights[e * p->block + b] = weight;
        p->kept += weight != 0.0f;
    }
}

/* Fills in the entries of all blocks, for one pass after the other. */
static bool fill(Step *s, int64_t lanes, int of_group, int of_pass, int blocks_of_group) {
    const int taps = s->shape.kernel_height * s->shape.kernel_width, phases = s->relay.phases;
    Sparse *p = &s->sparse;
    Rows rows;
    if (!rows_begin(&rows, &s->matrix, p->block, s->shape.channel_last)) return false;
    for (int number = 0; number < p->blocks; number++) {
        const float *at = rows_next(&rows, p->block);
        int64_t e = 0, first = (int64_t)(number / blocks_of_group) * of_group;
        for (int i = 0; i < of_group; i++) {
            if (i % of_pass == 0) e = p->starts[(int64_t)(i / of_pass) * (p->blocks + 1) + number];
            for (int t = 0; t < taps; t++) {
                uint32_t column = (uint32_t)(t * of_group + i);
                if (!is_kept(at, s->matrix.columns, column, p->block)) continue;
                int64_t plane = (first + i) * phases + (phases > 1 ? s->phase[t] : 0);
                int64_t distance = s->relay.target[plane] + s->offset[t];
                if (p->strips.length) distance = plane * p->strips.plane + (p->strips.before + s->offset[t]) * lanes;
                add_entry(p, e++, distance, at + column, s->matrix.columns);
            }
        }
    }
    rows_end(&rows);
    return true;
}

bool pack_convolution(const Chain *chain, Step *s) {
    const Value *in = &chain->values[s->in], *out = &chain->values[s->out];
    const int of_group = in->channels / s->shape.groups, block = s->block;
    Sparse *p = &s->sparse;
    p->block = block, p->blocks = out->channels / block, p->sums = p->outputs = out->planes, p->groups = s->shape.groups;
    if (!choose_strips(chain, s)) return false;
    int of_pass = channels_of_pass(chain, s, of_group);
    p->passes = (of_group + of_pass - 1) / of_pass;
    p->added = s->second >= 0 ? chain->values[s->second].planes : NULL;
    p->starts = calloc((size_t)p->passes * ((size_t)p->blocks + 1), sizeof *p->starts);
    p->bias = calloc((size_t)out->channels, sizeof *p->bias);
    if (p->starts == NULL || p->bias == NULL) return false;
    for (int o = 0; o < out->channels; o++) p->bias[o] = s->bias ? s->bias[o] : 0.0f;
    int64_t entries = count_passes(s, p->starts, of_group, of_pass), sum = 0;
    if (entries < 0 || entries > INT32_MAX) return false;
    join_passes(p, entries, &of_pass);
    for (int64_t i = 0; i < (int64_t)p->passes * (p->blocks + 1); i++) p->starts[i] = (int32_t)(sum += p->starts[i]);
    p->offsets = calloc((size_t)entries + 1, sizeof *p->offsets);
    p->weights = calloc((size_t)(entries + 1) * (size_t)block, sizeof *p->weights);
    if (p->offsets == NULL || p->weights == NULL) return false;
    p->bytes = (uint64_t)entries * (4 + 4 * (uint64_t)block);
    return fill(s, chain->kernels->lanes, of_group, of_pass, p->blocks / s->shape.groups);
}
