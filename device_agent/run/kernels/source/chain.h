/* A chain of operators on images that stay channels first between them.
 *
 * A value is a plane of floats for each channel, somewhere in one memory. All values of a height and width have one
 * geometry: rows of `stride` floats, of which the last `stride - width` are zeros, `top` rows of zeros above and `bottom`
 * below. So a pixel's neighbour is at the same distance for every pixel, a convolution runs over all of a plane in one
 * loop, and to concatenate, split or shuffle channels is to name their planes in another order.
 */
#ifndef ARMLET_CHAIN_H
#define ARMLET_CHAIN_H

#include "kernels.h"

enum { MAX_TAPS = 1024 };

typedef struct {
    int height, width;
    int gap, top, bottom;  /* zeros between two rows; rows of zeros above and below */
    int stride, origin;    /* floats of a row; of a plane before its first pixel */
    int pixels, written;   /* floats from the first pixel to the last; what a loop over them may write */
    int64_t plane;         /* floats of a plane */
    int64_t *spare;        /* planes that no later step reads */
    int spares;
} Geometry;

/* planes: (channels) floats from the beginning of the memory; flat: values without planes, (channels). */
typedef struct {
    int height, width, channels, geometry;
    int last;          /* the last step that reads it */
    bool not_negative; /* no pixel is less than zero */
    bool has_planes;   /* of its own: no view */
    int64_t *planes;
    float *flat;
} Value;

/* Planes cut into as many strips as a vector has lanes, one after the other; vector v holds pixel v of every strip. Every
 * distance is whole vectors then: no load of a neighbour crosses a cache line, which takes twice as long. So that a strip
 * has all neighbours of its pixels, it begins and ends with some pixels of those beside it. */
typedef struct {
    int length, before, after; /* vectors: own pixels (0: nothing is cut), and those of the strips beside */
    int planes;
    int64_t plane, sum; /* floats of a plane in strips, and of the sums of a tile of an output behind them */
    int64_t begin;      /* of all that, in the memory of a chain */
    const int64_t *source; /* (planes) */
} Strips;

/* One entry of a sparse convolution is a distance in floats and `block` weights. A pass reads some channels of a group. */
typedef struct {
    int block, blocks, groups, passes;
    int32_t *starts;  /* (passes, blocks + 1): entries of a block of output channels */
    int32_t *offsets; /* (entries) */
    float *weights;   /* (entries, block) */
    float *bias;      /* (blocks * block) */
    int64_t *outputs; /* (blocks * block) planes that are written */
    int64_t *sums;    /* the same, or with strips where those of a tile are until all passes are over, from `begin` on */
    int last_pass;    /* that puts sums between limits; -1: none */
    const int64_t *added; /* (blocks * block) planes that are added to them; NULL: none */
    Strips strips;
    uint64_t kept, bytes;
} Sparse;

typedef struct {
    int kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width;
    int pad_top, pad_left, groups;
    bool channel_last; /* weights (1, height, width, channels) of a depthwise convolution; else (out, h, w, in) */
} Shape;

/* The longest vector of any processor, in floats: a loop over pixels writes a whole number of them. */
enum { LONGEST = 16, CACHE_LINE = 64 };

typedef struct {
    const Geometry *from, *to;
    int64_t *source, *target;     /* planes; target: (planes, phases) */
    int phases, *row, *column;    /* of each phase */
    int stride_height, stride_width, left;
    float padding;
} Relay;

/* Floats of a channel's window: three rows of three weights, and the bias. */
enum { WINDOW_FLOATS = 12, WINDOW_BIAS = 9 };

/* A window of 3x3 or 2x2 neighbours over every channel for itself, one pixel or two further each time. */
typedef struct {
    const int64_t *source, *target;
    float *weights; /* (channels, WINDOW_FLOATS), or one for all of them: then `step` is 0 */
    int step, size, stride, top, left;
    bool largest; /* of the neighbours, instead of their weighted sum */
} Window;

/* planes/, for one kind of processor; all but the first on the planes from `first` up to `end`. */
typedef struct {
    int lanes, tile[5]; /* floats of a vector; vectors of a tile of a convolution, by the block */
    bool in_passes;     /* convolutions may have some */
    void (*convolve)(const Sparse *, const Geometry *, const Limits *, float *memory, int part, int parts);
    /* Planes into strips; NULL: there are none here. */
    void (*cut)(const Sparse *, const Geometry *, float *memory, int first, int end);
    void (*load)(const float *nhwc, const Value *, const Geometry *, float *memory, int first, int end);
    void (*store)(const Value *, const Geometry *, const float *memory, float *nhwc, int first, int end);
    /* Zeros again where a loop over all of a plane wrote between its rows and behind them. */
    void (*finish)(const int64_t *planes, const Geometry *, float *memory, int first, int end);
    void (*relay)(const Relay *, float *memory, int first, int end);
    /* b may be NULL: then a alone, between the limits. */
    void (*add)(const int64_t *a, const int64_t *b, const int64_t *out, const Geometry *, const Limits *, float *memory,
                int first, int end);
    /* The largest, or the scaled sum, of `taps` neighbours: planes of `a` are (channels, phases). */
    void (*pool)(const int64_t *a, int phases, const int64_t *out, const Geometry *, const Limits *, const int *phase,
                 const int *offset, int taps, bool largest, float scale, float *memory, int first, int end);
    void (*window)(const Window *, const Geometry *from, const Geometry *to, const Limits *, float *memory, int first,
                   int end);
    /* Multiplies a few pixels of every plane, each by a factor of its own. */
    void (*scale)(const int64_t *planes, const int *pixels, const float *factors, int count, float *memory, int first,
                  int end);
    /* To `out`, or to the first pixels of planes where that is NULL. */
    void (*mean)(const Value *, const Geometry *, float *memory, float *out, const int64_t *planes, int origin, int first,
                 int end);
} PlaneKernels;

extern const PlaneKernels plane_kernels;
#if defined(__x86_64__)
extern const PlaneKernels plane_kernels_wide; /* the same sources for AVX-512 */
#endif

double sparse_cost(int block, double entries, double pixels);

/* ---- chain.c and layout.c: operators in the order in which they run ------------------------------------------------------------ */

/* STEP_JOINED: what another step does as well. */
enum {
    STEP_LOAD,
    STEP_STORE,
    STEP_CONVOLVE,
    STEP_POOL,
    STEP_ADD,
    STEP_MEAN,
    STEP_FLATTEN,
    STEP_UNFLATTEN,
    STEP_COLUMNS,
    STEP_VIEW,
    STEP_JOINED
};

typedef struct {
    int kind, in, second, out; /* values; second may be -1 */
    int node, code;            /* in the graph, and its BuiltinOperator; -1 for the way in and out */
    int tensor;                /* of the way in and out */
    Shape shape;
    Limits limits;
    bool windowed;               /* by windows.c */
    bool largest, means_inside; /* of a pool: not a sum; a mean that does not count padding */
    bool pads;                  /* a pool of single pixels: zeros around the image */
    const float *bias;           /* the runtime's; may be NULL */
    Matrix matrix;               /* weights of a layer, or (outputs, taps * channels of a group) of a convolution */
    int block;                   /* chosen before; 0: none */
    /* A view names planes of others: of value view[2 * c], the plane view[2 * c + 1]. */
    int *view;
    Relay relay;
    int *phase, *offset; /* (taps) */
    /* A mean counts the pixels that are inside of the image: where a border leaves some out, and what makes up for it. */
    int border_count, *border;
    float *border_factor;
    Sparse sparse;
    Window window;
    Columns *columns;
    float *data; /* of `tensor`, for one run */
    uint64_t nanoseconds;
} Step;

typedef struct {
    const PlaneKernels *kernels;
    int value_count, step_count, geometry_count, value_room, step_room;
    Value *values;
    Step *steps;
    Geometry *geometries;
    void *allocation;
    float *memory; /* in it, from a cache line on */
    uint64_t bytes;
} Chain;

/* Number of a new value or step; -1 where memory is short. A flat value has height 0. */
int chain_value(Chain *, int height, int width, int channels);
int chain_step(Chain *, const Step *);
/* Lays out and packs everything; false where memory is short. */
bool chain_finish(Chain *, int threads);
/* Where values lie; false where memory is short. */
bool chain_lay_out(Chain *);
/* Gives a value planes: those that are spare, and more behind `end`. */
void chain_place(Chain *, Value *, int64_t *end);
/* The planes that no step after this one reads are spare. */
void chain_release(Chain *, int step);
/* The phases of a stride that a step reads, and which tap is in which, at which distance. They stand before all values,
 * for one step after the other; `end` becomes no less than their end. */
bool chain_make_taps(Chain *, Step *, int64_t *end);
bool chain_find_border(const Chain *, Step *);
void chain_run(Chain *, Threads *, int parts, bool timed);
void chain_free(Chain *);
/* packing.c: the weights of a convolution, or of a window; false where memory is short. */
bool pack_convolution(const Chain *, Step *);
/* Floats that a convolution takes behind all planes, for strips. */
int64_t strips_room(const Sparse *, int outputs);
bool pack_window(const Chain *, Step *);
/* The block that costs least for a convolution, and what it costs; 0 where it has no weights. */
int chain_block(const Shape *, const Matrix *, double pixels, double *cost);

#endif
