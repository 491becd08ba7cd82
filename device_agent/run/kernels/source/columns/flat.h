/* Weights of one tensor without their zeros, in the order of the file: what a section of a package is decoded to where
 * its floats need not stand in memory. Every bit is kept, that of a negative zero too. */
#ifndef ARMLET_FLAT_H
#define ARMLET_FLAT_H

#include "../kernels.h"

/* Distinct values while they are counted, by their bits: open addressing, at most half full. */
enum { SLOTS = 1024 };

typedef struct {
    uint32_t count; /* MAX_CENTROIDS + 1: more than can be told apart by a byte */
    uint32_t bits[SLOTS];
    int16_t index[SLOTS]; /* -1: free */
} Values;

void values_start(Values *);
/* Index of a value, which is added where it is new and there is room; -1 where it is not there. */
int values_find(Values *, uint32_t bits, bool adds);

uint32_t bits_of(float);
float float_of(uint32_t bits);

/* One kept element after the other, from the first. `place` is that of the next one, UINT64_MAX behind the last. */
typedef struct {
    const Flat *flat;
    uint64_t at, place;
    uint32_t bits;
} FlatCursor;

FlatCursor flat_first(const Flat *);
void flat_step(FlatCursor *);
uint64_t flat_count(const Flat *);

/* Rows of a matrix in their order, a few at a time, wherever its weights stand. */
typedef struct {
    const Matrix *matrix;
    uint64_t next; /* the first row that did not come yet */
    FlatCursor cursor;
    bool across; /* the matrix stands column by column */
    float *room; /* NULL: rows are handed out where they stand */
} Rows;

/* most: rows that are asked for at once. False where memory is short, or the flat has not these elements. */
bool rows_begin(Rows *, const Matrix *, int most, bool across);
/* (count, columns) floats, until those behind them are asked for. */
const float *rows_next(Rows *, int count);
void rows_end(Rows *);

#endif
