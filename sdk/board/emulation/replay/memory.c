/* Caches with lines in flight, miss registers, a stream prefetcher, streams of writes, a bus, a TLB. */
#include "parts.h"

static Way *find(Board *board, Cache *cache, uint64_t line) {
    Way *set = &cache->way[(line & (cache->sets - 1)) * cache->ways];
    for (uint32_t w = 0; w < cache->ways; w++)
        if (set[w].line == line + 1) {
            set[w].used = ++board->clock;
            return &set[w];
        }
    return NULL;
}

static Way *take(Board *board, Cache *cache, uint64_t line) {
    Way *set = &cache->way[(line & (cache->sets - 1)) * cache->ways], *oldest = set;
    for (uint32_t w = 1; w < cache->ways; w++)
        if (set[w].used < oldest->used) oldest = &set[w];
    oldest->used = ++board->clock;
    return oldest;
}

static void cross_bus(Board *board, double at) {
    if (board->bus_free < at) board->bus_free = at;
    board->bus_free += board->dram_cycles;
    board->dram_lines++;
}

/* Takes a line out of L3, which holds what has left L2 and nothing else (Arm, DynamIQ Shared Unit Technical Reference
 * Manual, L3 cache allocation policy: exclusive while one core uses a line). Gives whether it was there. */
static int leave_l3(Board *board, uint64_t line, Way *was) {
    Way *way = board->l3.sets ? find(board, &board->l3, line) : NULL;
    if (!way) return 0;
    *was = *way;
    *way = (Way){0};
    return 1;
}

/* Puts a line into a cache; the line that leaves goes a level down, and from the last level to memory. */
static Way *put(Board *board, Cache *cache, uint64_t line, uint64_t ready, uint8_t from, int dirty) {
    Way *way = take(board, cache, line);
    if (way->line && cache == &board->l2 && board->l3.sets) {
        put(board, &board->l3, way->line - 1, way->ready, way->from, way->dirty);
    } else if (way->line && way->dirty) {
        uint64_t leaving = way->line - 1;
        if (cache == &board->l1) board->l2_free += board->l2_down;
        Cache *below = cache == &board->l1 ? &board->l2 : NULL;
        Way *there = below ? find(board, below, leaving) : NULL;
        if (there) there->dirty = 1;
        else if (below) put(board, below, leaving, ready, from, 1);
        else cross_bus(board, board->now);
    }
    *way = (Way){.line = line + 1, .ready = ready, .used = way->used, .dirty = (uint8_t)dirty, .from = from};
    return way;
}

/* When a line that the first cache lacks is there; `from` becomes where it came from. It is put into L2 and L3. */
static uint64_t below_l1(Board *board, uint64_t line, uint64_t at, uint8_t *from) {
    double begin = board->now = (double)at;
    if (board->l2_free > begin) begin = board->l2_free;
    board->l2_free = begin + board->l2_cycles;
    Way *way = find(board, &board->l2, line);
    if (way) {
        board->l2.hits++;
        uint64_t here = (uint64_t)begin + (uint64_t)board->l2_latency;
        *from = way->ready > here ? way->from : IN_L2;
        return way->ready > here ? way->ready : here;
    }
    board->l2.misses++;
    uint64_t ready;
    Way was = {0};
    *from = IN_DRAM;
    if (leave_l3(board, line, &was)) {
        board->l3.hits++;
        if (board->l3_free > begin) begin = board->l3_free;
        board->l3_free = begin + board->l3_cycles;
        ready = (uint64_t)begin + (uint64_t)board->l3_latency;
        if (was.ready > ready) ready = was.ready;
        else *from = IN_L2;
    } else {
        double queue = board->bus_free > begin ? board->bus_free : begin;
        cross_bus(board, begin);
        ready = (uint64_t)(queue + board->dram_latency);
        if (board->l3.sets) board->l3.misses++;
    }
    put(board, &board->l2, line, ready, *from, was.dirty);
    return ready;
}

static void prefetch(Board *board, uint64_t line, uint64_t at, int into_l1) {
    uint8_t from;
    if (into_l1) {
        if (find(board, &board->l1, line)) return;
    } else if (find(board, &board->l2, line))
        return;
    /* a prefetch that would wait long for the bus is dropped */
    if (board->bus_free > (double)at + 2 * board->dram_latency) return;
    uint64_t ready = below_l1(board, line, at, &from);
    board->prefetches++;
    if (into_l1) put(board, &board->l1, line, ready, from, 0)->prefetched = 1;
}

/* A line that was missed, or that a prefetch brought and is used for the first time, teaches the prefetcher: a stream
 * goes on by its step; a line near the last of a stream gives that a new step; another line begins a stream. */
static void learn(Board *board, uint64_t line, uint64_t at) {
    Stream *oldest = board->stream, *near = NULL;
    for (int s = 0; s < board->streams; s++) {
        Stream *stream = &board->stream[s];
        if (stream->used) {
            int64_t step = (int64_t)(line - stream->last);
            if (step == 0) return;
            if (step == stream->step) {
                near = stream;
                break;
            }
            if (step >= -4 && step <= 4 && (!near || stream->seen < near->seen)) near = stream;
        }
        if (stream->used < oldest->used) oldest = stream;
    }
    if (!near) {
        if (board->streams) *oldest = (Stream){.last = line, .used = ++board->clock};
        return;
    }
    int64_t step = (int64_t)(line - near->last);
    near->last = line;
    near->used = ++board->clock;
    if (step != near->step) {
        near->step = step, near->seen = 1;
        return;
    }
    if (++near->seen < 2) return;
    /* further ahead as the stream lasts, and not into the next page, whose place in memory it does not know */
    int l1 = board->l1_ahead, most = board->l2_ahead > l1 ? board->l2_ahead : l1, far = 2 * (int)near->seen;
    for (int k = 1; k <= most && k <= far; k++) {
        uint64_t next = line + (uint64_t)(step * k);
        if (next >> (PAGE - LINE) != line >> (PAGE - LINE) && !board->cross_pages) break;
        prefetch(board, next, at, k <= l1);
    }
}

/* Cycles that an address takes until its page is known. The last pages are looked at first, to be quick. */
static int translate(Board *board, uint64_t address) {
    uint64_t page = (address >> PAGE) + 1;
    int oldest = 0;
    for (int t = 0; t < board->tlb; t++) {
        if (board->tlb_page[t] == page) {
            board->tlb_used[t] = ++board->clock;
            return 0;
        }
        if (board->tlb_used[t] < board->tlb_used[oldest]) oldest = t;
    }
    board->tlb_page[oldest] = page, board->tlb_used[oldest] = ++board->clock;
    board->tlb_misses++;
    if (find(board, &board->l2_pages, page)) return board->l2_tlb_latency;
    take(board, &board->l2_pages, page)->line = page + 1;
    return board->l2_tlb_latency + board->walk;
}

/* A store's bytes in a line that is on its way. Lines that are written whole before they come, `streaming` of them one
 * after another, begin a stream: what it writes is not read before (Arm's manuals call that write streaming). */
static void fills(Board *board, uint64_t line, uint64_t bytes, uint64_t at) {
    for (int f = 0; f < FILLING; f++) {
        if (board->filling[f].line != line + 1) continue;
        board->filling[f].bytes |= bytes;
        if (board->filling[f].bytes != UINT64_MAX) return;
        board->full_lines = at <= board->filling[f].ready ? board->full_lines + 1 : 0;
        board->filling[f].line = 0;
        board->streamed = 0;
        return;
    }
}

static void asked_for(Board *board, uint64_t line, uint64_t bytes, uint64_t ready) {
    uint32_t f = board->place_in_filling++ % FILLING;
    if (board->filling[f].line) board->full_lines = 0; /* it was never full */
    board->filling[f].line = line + 1, board->filling[f].ready = ready, board->filling[f].bytes = bytes;
}

/* Whether a store that misses goes past the first cache, and is not read before. */
static int streams(Board *board, uint64_t line, uint64_t bytes, uint64_t at) {
    if (!board->streaming || board->full_lines < board->streaming) return 0;
    if (board->streamed == line + 1) {
        board->streamed_bytes |= bytes;
        return 1;
    }
    if (board->streamed && board->streamed_bytes != UINT64_MAX) { /* a line in part: it has to be read after all */
        if (board->streamed_absent) cross_bus(board, (double)at);
        board->full_lines = 0;
        return 0;
    }
    board->streamed = line + 1, board->streamed_bytes = bytes;
    board->l2_free = (board->l2_free > (double)at ? board->l2_free : (double)at) + board->l2_down;
    Way *there = find(board, &board->l2, line), was;
    board->streamed_absent = !there && !leave_l3(board, line, &was);
    if (there) there->dirty = 1;
    else put(board, &board->l2, line, at, IN_L2, 1);
    return 1;
}

/* The line's place in memory, for caches that are found by it: pages are handed out in no order. */
static uint64_t physical(const Board *board, uint64_t line) {
    if (!board->scattered) return line;
    uint64_t page = line >> (PAGE - LINE), same = page & ((UINT64_C(1) << board->kept) - 1), mixed = page * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 24;
    return (mixed << board->kept | same) << (PAGE - LINE) | (line & ((1 << (PAGE - LINE)) - 1));
}

/* The cycle from which the first cache has a line, for an access at cycle `at`. `store`: a bit for each byte that is
 * written. */
static uint64_t reach(Board *board, uint64_t line, uint64_t at, uint64_t store, uint8_t *from) {
    Way *way = find(board, &board->l1, line);
    *from = IN_L1;
    if (way) {
        if (store) way->dirty = 1, fills(board, line, store, at);
        uint64_t ready = way->ready;
        if (ready > at) *from = way->from;
        if (way->prefetched) {
            way->prefetched = 0;
            if (ready > at) board->late++;
            learn(board, line, at);
        }
        return ready > at ? ready : at;
    }
    board->l1.misses++;
    int first = 0;
    for (int m = 1; m < board->misses; m++)
        if (board->miss[m] < board->miss[first]) first = m;
    uint64_t begin = board->miss[first] > at ? board->miss[first] : at;
    uint64_t ready;
    board->now = (double)begin;
    if (store && streams(board, line, store, begin)) {
        *from = IN_L2;
        return at;
    }
    if (!store && board->streamed == line + 1) board->full_lines = 0;
    ready = below_l1(board, line, begin, from);
    board->miss[first] = ready;
    /* what was just stored is read back from the store's own data, long before its line has come */
    put(board, &board->l1, line, store ? at : ready, store ? IN_L1 : *from, store != 0);
    if (store && ready > board->drained) board->drained = ready;
    if (store) asked_for(board, line, store, ready);
    learn(board, line, begin);
    if (!store && begin > board->blocked) board->blocked = begin;
    return store ? at : ready;
}
