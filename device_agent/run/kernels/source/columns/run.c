/* A fully connected layer by columns: weights stay compressed in memory, and what a zero input would touch is skipped.
 *
 * Every input that is not zero adds its column (pack.c), times the input, to sums that stay in the first cache. Rows are
 * cut into parts, one for each thread.
 */
#include <string.h>

#include "../kernels.h"

typedef float Four __attribute__((vector_size(16), aligned(4)));

/* Adds one entry; `sums` stands where a gap of 0 means. Where it stands after it. */
INLINE float *add_entry(const Columns *c, const uint8_t *entry, float x, float *sums, uint32_t block, uint32_t values) {
    sums += entry[0] * block;
    if (block == 1) {
        float weight;
        if (values == VALUES_FLOAT)
            memcpy(&weight, entry + 1, 4);
        else
            weight = c->centroid[entry[1]];
        *sums += x * weight;
    } else if (block == 2) {
        float weight[2];
        if (values == VALUES_FLOAT)
            memcpy(weight, entry + 1, 8);
        else if (values == VALUES_NIBBLE)
            memcpy(weight, c->pair[entry[1]], 8);
        else
            weight[0] = c->centroid[entry[1]], weight[1] = c->centroid[entry[2]];
        sums[0] += x * weight[0];
        sums[1] += x * weight[1];
    } else {
        Four weight;
        if (values == VALUES_FLOAT)
            memcpy(&weight, entry + 1, 16);
        else if (values == VALUES_NIBBLE) {
            const float *low = c->pair[entry[1]], *high = c->pair[entry[2]];
            weight = (Four){low[0], low[1], high[0], high[1]};
        } else
            weight = (Four){c->centroid[entry[1]], c->centroid[entry[2]], c->centroid[entry[3]], c->centroid[entry[4]]};
        *(Four *)sums += weight * x;
    }
    return sums + block;
}

/* Adds the active columns of a part. `block` and `values` are constants at every call, so that loops are of one form. */
INLINE void add_columns(const Columns *c, const Part *p, const float *input, uint32_t active, float *sums,
                        uint32_t block, uint32_t values) {
    const uint32_t size = values == VALUES_FLOAT ? 1 + 4 * block : 1 + (values == VALUES_NIBBLE ? block / 2 : block);
    for (uint32_t i = 0; i < active; i++) {
        uint32_t column = c->active[i];
        const uint8_t *entry = p->entries + p->starts[column], *end = p->entries + p->starts[column + 1];
        float x = input[column], *at = sums;
        for (; end - entry >= 4 * size; entry += 4 * size) {
            at = add_entry(c, entry, x, at, block, values);
            at = add_entry(c, entry + size, x, at, block, values);
            at = add_entry(c, entry + 2 * size, x, at, block, values);
            at = add_entry(c, entry + 3 * size, x, at, block, values);
        }
        for (; entry < end; entry += size) at = add_entry(c, entry, x, at, block, values);
    }
}

typedef struct {
    const Columns *columns;
    const float *input, *bias;
    const Limits *limits;
    float *output;
    uint32_t active;
} Job;

static void run_part(void *context, int number) {
    const Job *job = context;
    const Columns *c = job->columns;
    const Part *p = &c->part[number];
    float *sums = c->sums + p->first;
    /* The last block may reach past the rows, but only of the last part: the others end with a whole block. */
    for (uint32_t i = 0; i < p->rows; i++) sums[i] = job->bias ? job->bias[p->first + i] : 0.0f;
    for (uint32_t i = p->rows; i % c->block; i++) sums[i] = 0.0f;
#define FORM(b, v) \
    if (c->block == (b) && c->values == (v)) add_columns(c, p, job->input, job->active, sums, b, v)
    FORM(1, VALUES_FLOAT);
    FORM(1, VALUES_BYTE);
    FORM(2, VALUES_FLOAT);
    FORM(2, VALUES_BYTE);
    FORM(2, VALUES_NIBBLE);
    FORM(4, VALUES_FLOAT);
    FORM(4, VALUES_BYTE);
    FORM(4, VALUES_NIBBLE);
#undef FORM
    for (uint32_t i = 0; i < p->rows; i++) {
        float value = sums[i];
        value = value < job->limits->low ? job->limits->low : value;
        job->output[p->first + i] = value > job->limits->high ? job->limits->high : value;
    }
}

void columns_run(const Columns *c, const float *input, uint32_t batch, const float *bias, const Limits *limits,
                 float *output, Threads *threads) {
    for (uint32_t row = 0; row < batch; row++) {
        Job job = {c, input + (size_t)row * c->columns, bias, limits, output + (size_t)row * c->rows, 0};
        for (uint32_t i = 0; i < c->columns; i++) {
            c->active[job.active] = i;
            job.active += job.input[i] != 0.0f;
        }
        threads_run(threads, (int)c->parts, run_part, &job);
    }
}
