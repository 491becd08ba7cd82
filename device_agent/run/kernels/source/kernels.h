/* The kernels behind the delegate. Each has a reference in numpy beside it, and a test compares the two. */
#ifndef ARMLET_KERNELS_H
#define ARMLET_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

/* Values of results, kept between low and high: what a fused activation does. */
typedef struct {
    float low, high;
} Limits;

/* ---- machine/threads.c: a fixed number of threads that do the parts of one job ------------------------------------------- */

typedef struct Threads Threads;

/* A pool of count - 1 threads (the caller is the last); NULL where count is 1 or no thread starts. */
Threads *threads_start(int count);
void threads_stop(Threads *);
/* Runs work(context, part) for parts 0 to count - 1, on the pool where there is one; returns when all are done. */
void threads_run(Threads *, int count, void (*work)(void *, int), void *context);

/* ---- columns/: a fully connected layer by columns ---------------------------------------------------------------- */

/* flat.c: weights without their zeros, in the order of the file. NULL where memory is short. */
typedef struct Flat Flat;
EXPORT Flat *flat_start(void);
/* Takes the next elements; 0 where memory is short, or it takes more than half of what the floats would. */
EXPORT int flat_add(Flat *, const float *values, uint64_t count);
/* Writes all elements that came, every bit as it came. */
EXPORT void flat_write(const Flat *, float *out);
EXPORT void flat_free(Flat *);

/* Weights (rows, columns), row by row: floats, or a flat where they are NULL. */
typedef struct {
    const float *weights;
    const Flat *flat;
    uint32_t rows, columns;
} Matrix;

/* How the values of a block are stored. */
enum { VALUES_FLOAT = 0, VALUES_BYTE = 1, VALUES_NIBBLE = 2 };
enum { MAX_PARTS = 16, MAX_CENTROIDS = 256, NIBBLE_CENTROIDS = 16 };

typedef struct {
    uint32_t first, rows;  /* of the matrix */
    uint32_t *starts;      /* (columns + 1): where the entries of each column begin in `entries` */
    uint8_t *entries;      /* a gap and the values of a block, one after the other */
} Part;

/* A matrix (rows, columns) of which the zeros are left out: for every column the blocks of `block` rows that hold
 * anything else. An entry is one byte, how many blocks further it stands, and its values. */
typedef struct {
    uint32_t rows, columns;
    uint32_t block;   /* 1, 2 or 4 rows share a zero */
    uint32_t values;  /* VALUES_ */
    uint32_t centroids, parts;
    uint64_t kept;    /* elements that are not zero */
    uint64_t blocks;  /* entries, fillers of long gaps included */
    uint64_t bytes;   /* of memory, all of it */
    float centroid[MAX_CENTROIDS];
    float pair[256][2]; /* the two centroids that a byte of two nibbles names */
    Part part[MAX_PARTS];
    float *sums;        /* (rows rounded up): accumulators */
    uint32_t *active;   /* (columns): those with an input that is not zero */
} Columns;

/* Instructions that a layer of these entries takes, all inputs active. */
double columns_cost(uint32_t block, uint64_t entries);
/* How many blocks of 1, 2 and 4 rows hold anything but zeros; false where memory is short. */
bool columns_count(const Matrix *, uint64_t counts[3]);
/* NULL where memory is short, or the matrix is empty. block: 1, 2, 4, or 0 for that which costs least. */
EXPORT Columns *columns_pack(const Matrix *, uint32_t block, uint32_t parts);
EXPORT void columns_free(Columns *);
/* output (batch, rows) = input (batch, columns) times the matrix, plus bias (rows, or NULL), between the limits. */
EXPORT void columns_run(const Columns *, const float *input, uint32_t batch, const float *bias, const Limits *,
                        float *output, Threads *);

#endif
