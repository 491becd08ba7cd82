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
    chain->values[chain->value_count] = (Value){.height = height, .width = width, .channels = channels, .geometry = -1};
    return chain->value_count++;
}

int chain_step(Chain *chain, const Step *step) {
    if (!make_room((void **)&chain->steps, chain->step_count, &chain->step_room, sizeof(Step))) return -1;
    chain->steps[chain->step_count] = *step;
    return chain->step_count++;
}

static void view(Chain *chain, Step *s) {
    Value *out = &chain->values[s->out];
    for (int c = 0; c < out->channels; c++) out->planes[c] = chain->values[s->view[2 * c]].planes[s->view[2 * c + 1]];
}

/* ---- joining ------------------------------------------------------------------------------------------------------ */

typedef struct {
    int readers;
    Step *producer; /* of a convolution or pool; NULL: another */
} Use;

static bool is_free(const Limits *limits) { return limits->low == -INFINITY && limits->high == INFINITY; }

/* Limits of what a value is made by, where nothing else reads it and they may be put there. */
static bool takes_limits(const Use *use, const Limits *limits) {
    const Step *s = use->producer;
    if (s == NULL || use->readers != 1 || !is_free(&s->limits)) return false;
    return !s->means_inside || limits->high == INFINITY; /* a mean is scaled at its border, after its limits */
}

/* A sum where one of both comes from a convolution that nothing else reads: the convolution begins with the other. */
static bool join_sum(Chain *chain, Step *s, Use *uses) {
    for (int k = 0; k < 2; k++) {
        int mine = k ? s->in : s->second, other = k ? s->second : s->in;
        Step *p = uses[mine].producer;
        if (mine == other || p == NULL || p->kind != STEP_CONVOLVE || p->second >= 0) continue;
        if (uses[mine].readers != 1 || !is_free(&p->limits)) continue;
        if (p->shape.groups == chain->values[p->in].channels) continue; /* windows.c adds nothing */
        bool before = false; /* the other is there when the convolution runs */
        for (Step *one = chain->steps; one < p; one++) before = before || one->out == other;
        if (!before) continue;
        p->second = other, p->out = s->out, p->limits = s->limits;
        return true;
    }
    return false;
}

/* ReLU of a concatenation: each part is limited where it is made. */
static bool join_limits(Chain *chain, Step *s, Use *uses) {
    Step *p = uses[s->in].producer, *view = NULL;
    if (takes_limits(&uses[s->in], &s->limits)) {
        p->out = s->out, p->limits = s->limits;
        return true;
    }
    for (Step *one = chain->steps; one < s; one++)
        if (one->kind == STEP_VIEW && one->out == s->in) view = one;
    if (view == NULL || uses[s->in].readers != 1) return false;
    int channels = chain->values[s->in].channels;
    for (int c = 0; c < channels; c++)
        if (!takes_limits(&uses[view->view[2 * c]], &s->limits)) return false;
    for (int c = 0; c < channels; c++) uses[view->view[2 * c]].producer->limits = s->limits;
    view->out = s->out;
    return true;
}

/* Whether a step takes zeros around an image for what they are: not the largest, and no mean that leaves them out. */
static bool takes_zeros(const Step *s) {
    return s->kind == STEP_CONVOLVE || (s->kind == STEP_POOL && !s->largest && !s->means_inside && !s->pads);
}

/* Whether convolutions and such means, and nothing else, read a value. */
static bool only_convolved(const Chain *chain, int value) {
    for (const Step *s = chain->steps; s < chain->steps + chain->step_count; s++) {
        if ((s->in == value && !takes_zeros(s)) || s->second == value) return false;
        for (int c = 0; s->kind == STEP_VIEW && c < chain->values[s->out].channels; c++)
            if (s->view[2 * c] == value) return false;
    }
    return true;
}

/* Zeros around an image that these alone read: there are some around every plane. */
static void join_padding(Chain *chain) {
    for (int i = chain->step_count - 1; i >= 0; i--) {
        Step *s = &chain->steps[i];
        if (!s->pads || !only_convolved(chain, s->out)) continue;
        for (Step *one = s; one < chain->steps + chain->step_count; one++) {
            if (one->in != s->out) continue;
            one->in = s->in;
            one->shape.pad_top += s->shape.pad_top, one->shape.pad_left += s->shape.pad_left;
        }
        s->kind = STEP_JOINED, s->in = s->second = s->out = -1;
    }
}

/* Joins sums and limits with the convolutions before them; what is joined runs no more. */
static bool join_steps(Chain *chain) {
    Use *uses = calloc((size_t)chain->value_count + 1, sizeof *uses);
    if (uses == NULL) return false;
    for (Step *s = chain->steps; s < chain->steps + chain->step_count; s++) {
        if (s->in >= 0) uses[s->in].readers++;
        if (s->second >= 0) uses[s->second].readers++;
        for (int c = 0; s->kind == STEP_VIEW && c < chain->values[s->out].channels; c++)
            uses[s->view[2 * c]].readers += c == 0 || s->view[2 * c] != s->view[2 * c - 2];
        if (s->kind == STEP_CONVOLVE || s->kind == STEP_POOL) uses[s->out].producer = s;
    }
    for (Step *s = chain->steps; s < chain->steps + chain->step_count; s++) {
        if (s->kind != STEP_ADD) continue;
        if (s->second >= 0 ? !join_sum(chain, s, uses) : !join_limits(chain, s, uses)) continue;
        for (Step *one = chain->steps; one < s; one++)
            if (one->out == s->out && (one->kind == STEP_CONVOLVE || one->kind == STEP_POOL)) uses[s->out].producer = one;
        s->kind = STEP_JOINED, s->in = s->second = s->out = -1;
    }
    free(uses);
    return true;
}

/* Rows of values that a fully connected layer takes, one after the other. */
static uint32_t batch_of(const Chain *chain, const Step *s) {
    return (uint32_t)chain->values[s->in].channels / s->matrix.columns;
}

/* Where strips are, behind the planes that end there, for one step after the other; where these end. */
static int64_t make_strips(Chain *chain, int64_t end) {
    int64_t begin = end + LONGEST, most = 0; /* planes take whole cache lines */
    for (Step *s = chain->steps; s < chain->steps + chain->step_count; s++) {
        if (s->sparse.strips.length == 0) continue;
        int64_t room = strips_room(&s->sparse, chain->values[s->out].channels);
        most = room > most ? room : most;
        s->sparse.strips.begin = begin;
    }
    return most ? begin + most : end;
}

bool chain_finish(Chain *chain, int threads) {
    int64_t end = 0;
    join_padding(chain);
    if (!join_steps(chain)) return false;
    if (!chain_lay_out(chain)) return false;
    for (Step *s = chain->steps; s < chain->steps + chain->step_count; s++)
        if ((s->kind == STEP_CONVOLVE || s->kind == STEP_POOL) && !chain_make_taps(chain, s, &end)) return false;
    for (int i = 0; i < chain->step_count; i++) {
        Step *s = &chain->steps[i];
        Value *out = s->out >= 0 ? &chain->values[s->out] : NULL;
        if (s->kind == STEP_VIEW) view(chain, s);
        if (s->kind == STEP_VIEW || s->kind == STEP_JOINED) continue;
        if (out && out->height) chain_place(chain, out, &end);
        if (out && !out->height && s->kind != STEP_LOAD) {
            out->flat = calloc((size_t)out->channels + 1, sizeof(float));
            if (out->flat == NULL) return false;
        }
        if (s->kind == STEP_POOL && s->means_inside && !chain_find_border(chain, s)) return false;
        if (end > INT32_MAX / 2) return false; /* distances are 32 bits */
        if (s->windowed ? !pack_window(chain, s) : s->kind == STEP_CONVOLVE && !pack_convolution(chain, s)) return false;
        if (s->kind == STEP_COLUMNS) {
            if ((uint64_t)s->matrix.rows * batch_of(chain, s) != (uint64_t)out->channels) return false;
            if (chain->values[s->in].channels % (int64_t)s->matrix.columns) return false;
            s->columns = columns_pack(&s->matrix, (uint32_t)s->block, (uint32_t)threads);
            if (s->columns == NULL) return false;
        }
        chain_release(chain, i);
    }
    chain->bytes = 4 * ((uint64_t)make_strips(chain, end) + 8 * LONGEST); /* copies and windows read whole vectors */
    chain->allocation = calloc(1, chain->bytes + CACHE_LINE);
    if (chain->allocation == NULL) return false;
    chain->memory = (float *)(((uintptr_t)chain->allocation + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    return true;
}

void chain_free(Chain *chain) {
    for (int i = 0; i < chain->step_count; i++) {
        Step *s = &chain->steps[i];
        if (s->kind == STEP_CONVOLVE) {
            free(s->sparse.starts);
            free(s->sparse.offsets);
            free(s->sparse.weights);
            free(s->sparse.bias);
            if (s->sparse.strips.length) free(s->sparse.sums);
        }
        if (s->relay.phases && s->relay.source) free(s->relay.target);
        free(s->relay.row);
        free(s->relay.column);
        free(s->window.weights);
        free(s->phase);
        free(s->offset);
        free(s->view);
        free(s->border);
        free(s->border_factor);
        columns_free(s->columns);
        if (s->kind == STEP_LOAD && !chain->values[s->out].height) chain->values[s->out].flat = NULL; /* the runtime's */
    }
    for (int i = 0; chain->geometries && i < chain->geometry_count; i++) free(chain->geometries[i].spare);
    for (int i = 0; i < chain->value_count; i++) {
        free(chain->values[i].planes);
        free(chain->values[i].flat);
    }
    free(chain->values);
    free(chain->steps);
    free(chain->geometries);
    free(chain->allocation);
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
    /* What has few channels is turned around pixel by pixel, by one part. */
    bool turns = s->kind == STEP_LOAD || s->kind == STEP_STORE || s->kind == STEP_UNFLATTEN;
    if (turns && counted->channels <= 4)
        first = 0, end = part == 0 ? counted->channels : 0;
    if (job->relays) {
        if (s->relay.source) chain->kernels->relay(&s->relay, memory, first, end);
        if (s->sparse.strips.length)
            chain->kernels->cut(&s->sparse, g, memory, first * s->relay.phases, end * s->relay.phases);
        return;
    }
    switch (s->kind) {
        case STEP_LOAD: chain->kernels->load(s->data, out, g, memory, first, end); return;
        case STEP_UNFLATTEN: chain->kernels->load(in->flat, out, g, memory, first, end); return;
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
            if (s->windowed)
                chain->kernels->window(&s->window, from, g, &s->limits, memory, first, end);
            else
                chain->kernels->pool(s->relay.target, s->relay.phases, out->planes, g, &s->limits, s->phase, s->offset, taps,
                        s->largest, s->largest ? 1.0f : 1.0f / (float)taps, memory, first, end);
            if (s->border_count)
                chain->kernels->scale(out->planes, s->border, s->border_factor, s->border_count, memory, first, end);
            break;
        }
        case STEP_CONVOLVE:
            if (s->windowed) {
                chain->kernels->window(&s->window, from, g, &s->limits, memory, first, end);
                break;
            }
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
        if (s->kind == STEP_VIEW || s->kind == STEP_JOINED || (s->kind == STEP_LOAD && !chain->values[s->out].height)) continue;
        if (s->kind == STEP_COLUMNS)
            columns_run(s->columns, chain->values[s->in].flat, batch_of(chain, s), s->bias, &s->limits, chain->values[s->out].flat, threads);
        else if (s->kind == STEP_STORE && !chain->values[s->in].height)
            memcpy(s->data, chain->values[s->in].flat, 4 * (size_t)chain->values[s->in].channels);
        else {
            if (s->relay.source || s->sparse.strips.length) threads_run(threads, parts, run_part, &job);
            job.relays = false;
            threads_run(threads, parts, run_part, &job);
        }
        if (timed) s->nanoseconds += now() - begun;
    }
}
