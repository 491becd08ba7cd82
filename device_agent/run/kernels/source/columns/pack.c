/* A matrix by columns, packed from floats, or from what a package holds of them.
 *
 * A column holds the blocks of 1, 2 or 4 rows that are not all zero: how far each stands from the one before in a byte,
 * and its values as indices of centroids (two to a byte where there are at most 16) or, where there are more than 256
 * values, floats. A gap of more than 255 blocks is bridged by blocks of zeros. Rows are read in the order of the file,
 * twice: first for the sizes of the columns.
 */
#include <stdlib.h>
#include <string.h>

#include "flat.h"

enum { MAX_GAP = 255 };

/* ---- what is kept, in the order of the file ------------------------------------------------------------------------ */

/* Of `weights`, or of a flat where that is NULL. */
typedef struct {
    const float *weights;
    uint64_t at; /* in `weights` */
    FlatCursor cursor;
} Source;

static Source source_of(const Matrix *m) {
    Source s = {m->weights, 0, {NULL, 0, UINT64_MAX, 0}};
    if (m->weights == NULL) s.cursor = flat_first(m->flat);
    return s;
}

/* The next element before `end` that is not zero (-0 is); false where there is none. */
INLINE bool next_kept(Source *s, uint64_t end, uint64_t *place, float *value) {
    if (s->weights) {
        while (s->at < end && s->weights[s->at] == 0.0f) s->at++;
        if (s->at >= end) return false;
        *place = s->at;
        *value = s->weights[s->at++];
        return true;
    }
    while (s->cursor.place < end) {
        *place = s->cursor.place;
        *value = float_of(s->cursor.bits);
        flat_step(&s->cursor);
        if (*value != 0.0f) return true;
    }
    return false;
}

static void read_values(Values *v, const Matrix *m) {
    uint64_t place, end = (uint64_t)m->rows * m->columns;
    float value;
    values_start(v);
    values_find(v, 0, true); /* fillers, and zeros in blocks */
    for (Source s = source_of(m); v->count <= MAX_CENTROIDS && next_kept(&s, end, &place, &value);)
        values_find(v, bits_of(value), true);
}

/* ---- what it costs -------------------------------------------------------------------------------------------------- */

double columns_cost(uint32_t block, uint64_t entries) {
    return (double)entries * (block == 1 ? 7.5 : block == 2 ? 9.0 : 11.8);
}

static void add_counts(uint64_t counts[3], unsigned seen) {
    counts[0] += (uint64_t)__builtin_popcount(seen);
    counts[1] += (uint64_t)((seen & 3) != 0) + (uint64_t)((seen & 12) != 0);
    counts[2] += seen != 0;
}

/* From a flat: which of four rows hold something, by column. */
static bool count_flat(const Matrix *m, uint64_t counts[3]) {
    uint8_t *seen = calloc(m->columns, 1);
    Source s = source_of(m);
    if (seen == NULL) return false;
    for (uint32_t row = 0; row < m->rows; row++) {
        uint64_t begin = (uint64_t)row * m->columns, place;
        float value;
        while (next_kept(&s, begin + m->columns, &place, &value)) seen[place - begin] |= (uint8_t)(1 << row % 4);
        if (row % 4 != 3 && row + 1 < m->rows) continue;
        for (uint32_t column = 0; column < m->columns; column++) add_counts(counts, seen[column]);
        memset(seen, 0, m->columns);
    }
    free(seen);
    return true;
}

bool columns_count(const Matrix *m, uint64_t counts[3]) {
    counts[0] = counts[1] = counts[2] = 0;
    if (m->weights == NULL) return count_flat(m, counts);
    for (uint32_t row = 0; row < m->rows; row += 4)
        for (uint32_t column = 0; column < m->columns; column++) {
            unsigned seen = 0;
            for (uint32_t i = 0; i < 4 && row + i < m->rows; i++)
                seen |= (unsigned)(m->weights[(uint64_t)(row + i) * m->columns + column] != 0.0f) << i;
            add_counts(counts, seen);
        }
    return true;
}

static uint32_t choose_block(const uint64_t counts[3]) {
    uint32_t best = 1;
    for (uint32_t block = 2; block <= 4; block *= 2)
        if (columns_cost(block, counts[block / 2]) < columns_cost(best, counts[best / 2])) best = block;
    return best;
}

/* ---- packing -------------------------------------------------------------------------------------------------------- */

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
        unsigned index = block[i] == 0.0f ? 0 : (unsigned)values_find(values, bits_of(block[i]), false);
        if (c->values == VALUES_BYTE)
            *at++ = (uint8_t)index;
        else if (i % 2 == 0)
            *at = (uint8_t)index;
        else
            *at++ |= (uint8_t)(index << 4);
    }
    return at;
}

/* Of the rows of one block: which columns hold something, and what. All by column but `touched`. */
typedef struct {
    uint32_t *touched;
    uint32_t *seen;   /* the block that a column was last touched in */
    uint32_t *place;  /* the block that a gap of 0 means */
    uint32_t *at;     /* where its next entry is written */
    float *values;    /* (columns, block) */
} Scratch;

static void free_scratch(Scratch *s) {
    free(s->touched);
    free(s->seen);
    free(s->place);
    free(s->at);
    free(s->values);
}

static bool make_scratch(Scratch *s, const Columns *c) {
    *s = (Scratch){malloc(4 * (size_t)c->columns), malloc(4 * (size_t)c->columns), malloc(4 * (size_t)c->columns),
                   malloc(4 * (size_t)c->columns), malloc(4 * (size_t)c->block * c->columns)};
    if (s->touched && s->seen && s->place && s->at && s->values) return true;
    free_scratch(s);
    return false;
}

/* Reads the block of rows of this number, of a part that ends before row `end`; how many columns hold something. */
static uint32_t gather(const Columns *c, Source *source, const Part *p, uint32_t number, Scratch *s) {
    uint32_t count = 0, first = p->first + number * c->block;
    for (uint32_t i = 0; i < c->block && first + i < p->first + p->rows; i++) {
        uint64_t begin = (uint64_t)(first + i) * c->columns, place;
        float value;
        while (next_kept(source, begin + c->columns, &place, &value)) {
            uint32_t column = (uint32_t)(place - begin);
            float *block = s->values + (uint64_t)column * c->block;
            if (s->seen[column] != number) {
                s->seen[column] = number;
                s->touched[count++] = column;
                memset(block, 0, 4 * c->block);
            }
            block[i] = value;
        }
    }
    return count;
}

static void start_pass(const Columns *c, Scratch *s) {
    memset(s->seen, 0xff, 4 * (size_t)c->columns);
    memset(s->place, 0, 4 * (size_t)c->columns);
}

/* Where each column begins; false where they are too many bytes. */
static bool find_starts(const Columns *c, Part *p, Source source, uint32_t blocks, Scratch *s) {
    uint64_t end = 0;
    start_pass(c, s);
    memset(p->starts, 0, 4 * ((size_t)c->columns + 1));
    for (uint32_t number = 0; number < blocks; number++)
        for (uint32_t count = gather(c, &source, p, number, s), i = 0; i < count; i++) {
            uint32_t column = s->touched[i];
            p->starts[column] += 1 + ((number - s->place[column]) >> 8); /* MAX_GAP + 1 blocks to a filler */
            s->place[column] = number + 1;
        }
    for (uint32_t column = 0; column <= c->columns; column++) {
        uint64_t size = (uint64_t)p->starts[column] * entry_size(c);
        p->starts[column] = (uint32_t)end;
        end += size;
        if (end > UINT32_MAX) return false;
    }
    return true;
}

static void write_part(const Columns *c, const Part *p, Source *source, uint32_t blocks, Values *values, Scratch *s) {
    static const float zeros[4] = {0};
    start_pass(c, s);
    memcpy(s->at, p->starts, 4 * (size_t)c->columns);
    for (uint32_t number = 0; number < blocks; number++)
        for (uint32_t count = gather(c, source, p, number, s), i = 0; i < count; i++) {
            uint32_t column = s->touched[i], gap = number - s->place[column];
            uint8_t *at = p->entries + s->at[column];
            for (; gap > MAX_GAP; gap -= MAX_GAP + 1) at = write_entry(c, values, at, MAX_GAP, zeros);
            at = write_entry(c, values, at, gap, s->values + (uint64_t)column * c->block);
            s->at[column] = (uint32_t)(at - p->entries);
            s->place[column] = number + 1;
        }
}

/* `source` stands at the part's first row, and then at the next part's. */
static bool make_part(Columns *c, uint32_t number, Values *values, Source *source, Scratch *s) {
    Part *p = &c->part[number];
    uint32_t all = (uint32_t)(((uint64_t)c->rows + c->block - 1) / c->block);
    uint32_t first = (uint32_t)((uint64_t)all * number / c->parts), end = (uint32_t)((uint64_t)all * (number + 1) / c->parts);
    uint64_t last = (uint64_t)end * c->block;
    p->first = first * c->block;
    p->rows = (last < c->rows ? (uint32_t)last : c->rows) - p->first;
    p->starts = malloc(4 * ((size_t)c->columns + 1));
    if (p->starts == NULL || !find_starts(c, p, *source, end - first, s)) return false;
    uint64_t bytes = p->starts[c->columns];
    p->entries = malloc((size_t)bytes + 16);
    if (p->entries == NULL) return false;
    write_part(c, p, source, end - first, values, s);
    c->blocks += bytes / entry_size(c);
    c->bytes += bytes + 16 + 4 * ((uint64_t)c->columns + 1);
    return true;
}

static bool pack_parts(Columns *c, const Matrix *m, Values *values) {
    Source source = source_of(m);
    Scratch scratch;
    bool whole = make_scratch(&scratch, c);
    if (!whole) return false;
    for (uint32_t number = 0; whole && number < c->parts; number++) whole = make_part(c, number, values, &source, &scratch);
    free_scratch(&scratch);
    return whole;
}

Columns *columns_pack(const Matrix *m, uint32_t block, uint32_t parts) {
    uint64_t counts[3];
    Values *values = malloc(sizeof *values);
    Columns *c = calloc(1, sizeof *c);
    if (values == NULL || c == NULL || m->rows == 0 || m->columns == 0) goto fail;
    if (m->weights == NULL && flat_count(m->flat) != (uint64_t)m->rows * m->columns) goto fail;
    if (block != 0 && block != 1 && block != 2 && block != 4) goto fail;
    if (!columns_count(m, counts)) goto fail;
    c->rows = m->rows, c->columns = m->columns;
    c->block = block ? block : choose_block(counts);
    c->parts = parts < 1 ? 1 : parts > MAX_PARTS ? MAX_PARTS : parts;
    c->kept = counts[0];
    read_values(values, m);
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
    c->bytes = sizeof *c + 4 * ((uint64_t)m->rows + 4) + 4 * (uint64_t)m->columns;
    c->sums = malloc(4 * ((size_t)m->rows + 4));
    c->active = malloc(4 * (size_t)m->columns);
    if (c->sums == NULL || c->active == NULL || !pack_parts(c, m, values)) goto fail;
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
