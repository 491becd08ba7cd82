/* Weights without their zeros while they come from a package: for each that is kept how many zeros stand before it, in a
 * byte (255: so many, and nothing kept behind them), and its value, as an index of up to 256 values or as a float. */
#include "flat.h"

#include <stdlib.h>
#include <string.h>

enum { LONG_GAP = 255, ROOM_OF_AN_ELEMENT = 5 };

struct Flat {
    uint64_t count;  /* elements that came */
    uint64_t zeros;  /* of them behind the last one that is kept */
    uint64_t bytes, room;
    uint8_t *data;
    bool floats;
    Values values;
    uint32_t bits[MAX_CENTROIDS]; /* of each value */
};

uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

void values_start(Values *v) {
    v->count = 0;
    memset(v->index, -1, sizeof v->index);
}

int values_find(Values *v, uint32_t bits, bool adds) {
    uint32_t slot = (bits * 2654435761u) >> 22;
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

Flat *flat_start(void) {
    Flat *f = calloc(1, sizeof *f);
    if (f) values_start(&f->values);
    return f;
}

void flat_free(Flat *f) {
    if (f == NULL) return;
    free(f->data);
    free(f);
}

uint64_t flat_count(const Flat *f) { return f->count; }

static bool make_room(Flat *f, uint64_t more) {
    if (f->bytes + more <= f->room) return true;
    uint64_t room = f->bytes + more + f->room / 4 + 4096;
    uint8_t *data = (size_t)room == room ? realloc(f->data, (size_t)room) : NULL;
    if (data == NULL) return false;
    f->data = data, f->room = room;
    return true;
}

/* Writes a kept element behind so many zeros; false where memory is short. */
static bool put(Flat *f, uint64_t zeros, uint32_t bits, int index) {
    if (!make_room(f, zeros / LONG_GAP + ROOM_OF_AN_ELEMENT)) return false;
    for (; zeros >= LONG_GAP; zeros -= LONG_GAP) f->data[f->bytes++] = LONG_GAP;
    f->data[f->bytes++] = (uint8_t)zeros;
    if (f->floats)
        memcpy(f->data + f->bytes, &bits, 4), f->bytes += 4;
    else
        f->data[f->bytes++] = (uint8_t)index;
    return true;
}

/* The same elements with floats instead of indices. */
static bool turn_to_floats(Flat *f) {
    Flat whole = *f;
    whole.data = NULL, whole.bytes = whole.room = 0, whole.floats = true;
    uint64_t behind = 0;
    for (FlatCursor c = flat_first(f); c.place != UINT64_MAX; flat_step(&c)) {
        if (!put(&whole, c.place - behind, c.bits, 0)) {
            free(whole.data);
            return false;
        }
        behind = c.place + 1;
    }
    free(f->data);
    *f = whole;
    return true;
}

int flat_add(Flat *f, const float *values, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits = bits_of(values[i]);
        if (bits == 0) {
            f->zeros++;
            continue;
        }
        int index = f->floats ? 0 : values_find(&f->values, bits, true);
        if (index < 0) {
            if (!turn_to_floats(f)) return 0;
        } else if (!f->floats)
            f->bits[index] = bits;
        if (!put(f, f->zeros, bits, index)) return 0;
        f->zeros = 0;
    }
    f->count += count;
    return f->bytes <= 2 * f->count; /* half of the floats */
}

FlatCursor flat_first(const Flat *f) {
    FlatCursor c = {f, 0, UINT64_MAX, 0}; /* so that a gap of 0 means the first element */
    flat_step(&c);
    return c;
}

void flat_step(FlatCursor *c) {
    const Flat *f = c->flat;
    if (c->at >= f->bytes) {
        c->place = UINT64_MAX;
        return;
    }
    for (; f->data[c->at] == LONG_GAP; c->at++) c->place += LONG_GAP;
    c->place += 1 + (uint64_t)f->data[c->at++];
    if (f->floats)
        memcpy(&c->bits, f->data + c->at, 4), c->at += 4;
    else
        c->bits = f->bits[f->data[c->at++]];
}

void flat_write(const Flat *f, float *out) {
    memset(out, 0, sizeof *out * (size_t)f->count);
    for (FlatCursor c = flat_first(f); c.place != UINT64_MAX; flat_step(&c)) memcpy(out + c.place, &c.bits, 4);
}

bool rows_begin(Rows *r, const Matrix *m, int most, bool across) {
    *r = (Rows){.matrix = m, .across = across};
    if (m->weights && !across) return true;
    if (m->weights == NULL && (across || flat_count(m->flat) != (uint64_t)m->rows * m->columns)) return false;
    if (m->weights == NULL) r->cursor = flat_first(m->flat);
    r->room = calloc((size_t)m->columns * (size_t)most + 1, sizeof *r->room);
    return r->room != NULL;
}

const float *rows_next(Rows *r, int count) {
    const Matrix *m = r->matrix;
    uint64_t first = r->next * m->columns, end = first + (uint64_t)count * m->columns;
    r->next += (uint64_t)count;
    if (r->room == NULL) return m->weights + first;
    for (uint64_t e = first; r->across && e < end; e++)
        r->room[e - first] = m->weights[e % m->columns * m->rows + e / m->columns];
    if (r->across) return r->room;
    memset(r->room, 0, sizeof *r->room * (size_t)(end - first));
    for (; r->cursor.place < end; flat_step(&r->cursor)) memcpy(r->room + (r->cursor.place - first), &r->cursor.bits, 4);
    return r->room;
}

void rows_end(Rows *r) { free(r->room); }
