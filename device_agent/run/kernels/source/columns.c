/* A fully connected layer by columns: weights stay compressed in memory, and what a zero input would touch is skipped.
 *
 * Every input that is not zero adds its column, times the input, to sums that stay in the first cache. A column holds
 * the blocks of 1, 2 or 4 rows that are not all zero: how far each stands from the one before in a byte, and its values
 * as indices of centroids (two to a byte where there are at most 16) or, where there are more than 256 values, floats.
 * A gap of more than 255 blocks is bridged by blocks of zeros. Rows are cut into parts, one for each thread.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

typedef float Four __attribute__((vector_size(16), aligned(4)));

enum { MAX_GAP = 255, ROOM_OF_AN_ENTRY = 20 };
/* Columns that are packed side by side: a cache line of a row. */
enum { TILE = 16 };
/* A table of the distinct values while they are counted: open addressing, at most half full. */
enum { SLOTS = 1024 };

/* ---- packing ------------------------------------------------------------------------------------------------------ */

typedef struct {
    uint32_t count; /* MAX_CENTROIDS + 1: more than can be told apart by a byte */
    uint32_t bits[SLOTS];
    int16_t index[SLOTS]; /* -1: free */
} Values;

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return value == 0.0f ? 0 : bits; /* -0 is 0 */
}

/* Index of a value, which is added where it is new; -1 where there are too many. */
static int find_value(Values *v, float value, int adds) {
    uint32_t bits = bits_of(value), slot = (bits * 2654435761u) >> 22;
    while (v->index[slot] >= 0) {
        if (v->bits[slot] == bits) return v->index[slot];
        slot = (slot + 1) % SLOTS;
    }
    if (!adds || v->count > MAX_CENTROIDS) return -1;
    if (v->count == MAX_CENTROIDS) return v->count++, -1;
    v->bits[slot] = bits;
    v->index[slot] = (int16_t)v->count;
    return (int)v->count++;
}

static void read_values(Values *v, const float *weights, uint64_t count) {
    v->count = 0;
    memset(v->index, -1, sizeof v->index);
    find_value(v, 0.0f, 1); /* fillers, and zeros in blocks */
    for (uint64_t i = 0; i < count && v->count <= MAX_CENTROIDS; i++)
        if (weights[i] != 0.0f) find_value(v, weights[i], 1);
}

double columns_cost(uint32_t block, uint64_t entries) {
    return (double)entries * (block == 1 ? 7.5 : block == 2 ? 9.0 : 11.8);
}

/* Counts the blocks that hold something, for blocks of 1, 2 and 4 rows at once. */
void columns_count(const float *weights, uint32_t rows, uint32_t columns, uint64_t counts[3]) {
    counts[0] = counts[1] = counts[2] = 0;
    for (uint32_t row = 0; row < rows; row += 4)
        for (uint32_t column = 0; column < columns; column++) {
            unsigned seen = 0;
            for (uint32_t i = 0; i < 4 && row + i < rows; i++)
                seen |= (unsigned)(weights[(uint64_t)(row + i) * columns + column] != 0.0f) << i;
            counts[0] += (uint64_t)__builtin_popcount(seen);
            counts[1] += (uint64_t)((seen & 3) != 0) + (uint64_t)((seen & 12) != 0);
            counts[2] += seen != 0;
        }
}

static uint32_t entry_size(const Columns *c) {
    if (c->values == VALUES_FLOAT) return 1 + 4 * c->block;
    return 1 + (c->values == VALUES_NIBBLE ? c->block / 2 : c->block);
}

static uint8_t *write_entry(const Columns *c, Values *values, uint8_t *at, uint32_t gap, const float *block) {
    *at++ = (uint8_t)gap;
    if (c->values == VALUES_FLOAT) {
        memcpy(at, block, 4 * c->block);
        return at + 4 * c->block;
    }
    for (uint32_t i = 0; i < c->block; i++) {
        unsigned index = (unsigned)find_value(values, block[i], 0);
        if (c->values == VALUES_BYTE)
            *at++ = (uint8_t)index;
        else if (i % 2 == 0)
            *at = (uint8_t)index;
        else
            *at++ |= (uint8_t)(index << 4);
    }
    return at;
}

/* Entries while they are written; `bytes` that stand, of a room that grows. */
typedef struct {
    uint8_t *data;
    uint64_t bytes, room;
} Written;

static int add_written(const Columns *c, Values *values, Written *w, uint32_t gap, const float *block) {
    if (w->bytes + ROOM_OF_AN_ENTRY > w->room) {
        uint64_t room = w->room * 2 + 4096;
        uint8_t *data = realloc(w->data, room);
        if (data == NULL) return 0;
        w->data = data, w->room = room;
    }
    w->bytes = (uint64_t)(write_entry(c, values, w->data + w->bytes, gap, block) - w->data);
    return w->bytes <= UINT32_MAX;
}

/* Rows of the blocks in TILE columns that hold something, from the top: found[(blocks) of each column]. */
static void find_blocks(const float *weights, const Columns *c, const Part *p, uint32_t column, uint32_t width,
                        uint32_t blocks, uint32_t *found, uint32_t counts[TILE]) {
    memset(counts, 0, TILE * sizeof *counts);
    for (uint32_t row = 0; row < p->rows; row++) {
        const float *line = weights + (uint64_t)(p->first + row) * c->columns + column;
        uint32_t block = row / c->block;
        for (uint32_t i = 0; i < width; i++) {
            uint32_t *of_column = found + (uint64_t)i * blocks, n = counts[i];
            if (line[i] != 0.0f && (n == 0 || of_column[n - 1] != block)) of_column[counts[i]++] = block;
        }
    }
}

static int write_column(const Columns *c, const Part *p, Values *values, const float *weights, uint32_t column,
                        const uint32_t *found, uint32_t count, Written *w) {
    static const float zeros[4] = {0};
    uint32_t place = 0; /* the block that a gap of 0 means */
    for (uint32_t n = 0; n < count; n++) {
        uint32_t gap = found[n] - place, row = p->first + found[n] * c->block;
        float block[4] = {0};
        for (; gap > MAX_GAP; gap -= MAX_GAP + 1)
            if (!add_written(c, values, w, MAX_GAP, zeros)) return 0;
        for (uint32_t i = 0; i < c->block && row + i < p->first + p->rows; i++)
            block[i] = weights[(uint64_t)(row + i) * c->columns + column];
        if (!add_written(c, values, w, gap, block)) return 0;
        place = found[n] + 1;
    }
    return 1;
}

static int make_part(Columns *c, uint32_t number, Values *values, const float *weights) {
    Part *p = &c->part[number];
    uint32_t all = (c->rows + c->block - 1) / c->block;
    uint32_t first = (uint32_t)((uint64_t)all * number / c->parts) * c->block;
    uint32_t end = (uint32_t)((uint64_t)all * (number + 1) / c->parts) * c->block;
    uint32_t blocks = (end - first) / c->block, counts[TILE];
    uint32_t *found = malloc(4 * TILE * ((uint64_t)blocks + 1));
    Written w = {NULL, 0, 0};
    int whole = found != NULL;
    p->first = first;
    p->rows = (end < c->rows ? end : c->rows) - first;
    p->starts = malloc(4 * ((uint64_t)c->columns + 1));
    whole = whole && p->starts != NULL;
    for (uint32_t column = 0; whole && column < c->columns; column += TILE) {
        uint32_t width = c->columns - column < TILE ? c->columns - column : TILE;
        find_blocks(weights, c, p, column, width, blocks, found, counts);
        for (uint32_t i = 0; whole && i < width; i++) {
            p->starts[column + i] = (uint32_t)w.bytes;
            whole = write_column(c, p, values, weights, column + i, found + (uint64_t)i * blocks, counts[i], &w);
        }
    }
    free(found);
    if (whole) p->starts[c->columns] = (uint32_t)w.bytes;
    p->entries = realloc(w.data, w.bytes + 16);
    if (p->entries == NULL) p->entries = w.data;
    c->blocks += w.bytes / entry_size(c);
    c->bytes += w.bytes + 16 + 4 * ((uint64_t)c->columns + 1);
    return whole && p->entries != NULL;
}

static uint32_t choose_block(const uint64_t counts[3]) {
    uint32_t best = 1;
    for (uint32_t block = 2; block <= 4; block *= 2)
        if (columns_cost(block, counts[block / 2]) < columns_cost(best, counts[best / 2])) best = block;
    return best;
}

Columns *columns_pack(const float *weights, uint32_t rows, uint32_t columns, uint32_t block, uint32_t parts) {
    uint64_t counts[3];
    Values *values = malloc(sizeof *values);
    Columns *c = calloc(1, sizeof *c);
    if (values == NULL || c == NULL || rows == 0 || columns == 0) goto fail;
    if (block != 0 && block != 1 && block != 2 && block != 4) goto fail;
    columns_count(weights, rows, columns, counts);
    c->rows = rows, c->columns = columns;
    c->block = block ? block : choose_block(counts);
    c->parts = parts < 1 ? 1 : parts > MAX_PARTS ? MAX_PARTS : parts;
    c->kept = counts[0];
    read_values(values, weights, (uint64_t)rows * columns);
    c->values = values->count > MAX_CENTROIDS                              ? VALUES_FLOAT
                : values->count <= NIBBLE_CENTROIDS && c->block > 1 ? VALUES_NIBBLE
                                                                           : VALUES_BYTE;
    if (c->values != VALUES_FLOAT) {
        c->centroids = values->count;
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            if (values->index[slot] >= 0) memcpy(&c->centroid[values->index[slot]], &values->bits[slot], 4);
    }
    for (uint32_t i = 0; i < 256 && c->values == VALUES_NIBBLE; i++)
        c->pair[i][0] = c->centroid[i % 16], c->pair[i][1] = c->centroid[i / 16];
    c->bytes = sizeof *c + 4 * ((uint64_t)rows + 4) + 4 * (uint64_t)columns;
    c->sums = malloc(4 * ((size_t)rows + 4));
    c->active = malloc(4 * (size_t)columns);
    if (c->sums == NULL || c->active == NULL) goto fail;
    for (uint32_t number = 0; number < c->parts; number++)
        if (!make_part(c, number, values, weights)) goto fail;
    free(values);
    return c;
fail:
    free(values);
    columns_free(c);
    return NULL;
}

void columns_free(Columns *c) {
    if (c == NULL) return;
    for (uint32_t i = 0; i < c->parts && i < MAX_PARTS; i++) {
        free(c->part[i].starts);
        free(c->part[i].entries);
    }
    free(c->sums);
    free(c->active);
    free(c);
}

/* ---- running ------------------------------------------------------------------------------------------------------ */

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
