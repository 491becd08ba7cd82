/* What a machine is made of: groups of instructions, prices, caches, and a board's core with its clocks and counts. */
#ifndef PARTS_H
#define PARTS_H

#include "replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 4096, WORDS = WINDOW / 64, MAX_PORTS = 32, MAX_PRICES = 512, MAX_NEEDS = 8, MAX_ROB = 512, MAX_QUEUE = 128,
       MAX_MISSES = 64, MAX_STREAMS = 32, HISTORY = 14, LINE = 6, PAGE = 12, RETURNS = 16, FILLING = 4, MAX_STORES = 128, TARGETS = 4096 };

typedef struct {
    char name[32];
    uint32_t mask, value, key;
    uint8_t bits[24], n_bits, kind;
    struct {
        char what, where;  /* r w a u; X V F = (a register by number) */
        uint8_t lowest, count, bit;
        char when; /* 0, '+' where the bit must be set, '-' where clear */
    } operand[MAX_OPERANDS];
    int n_operands;
} Group;

typedef struct {
    uint16_t micro_operations, latency, adding;
    uint8_t n_needs, queue, entries, takes; /* the queue that it waits in, how many that holds, how many of them it takes */
    uint8_t wide;                           /* whether its vectors have 128 bits */
    struct {
        uint32_t ports;
        uint16_t cycles;
    } need[MAX_NEEDS];
} Price;

typedef struct {
    uint64_t line; /* its number + 1; 0: empty */
    uint64_t ready;
    uint64_t used;
    uint8_t dirty, prefetched, from;
} Way;

typedef struct {
    Way *way;
    uint32_t sets, ways;
    uint64_t hits, misses;
} Cache;

typedef struct {
    uint64_t last, used;
    int64_t step;
    uint32_t seen;
} Stream;

typedef struct {
    char name[64];
    /* as the text gives them */
    int decode, dispatch, reorder, results, in_order, mispredict;
    int l2_latency, l3_latency, l2_cycles, l2_down, l3_cycles, misses, streams, l1_ahead, l2_ahead, cross_pages;
    int streaming, stores, scattered, physical_l1;
    int kept; /* bits of a page's number that are the same in its place in memory, as far as the first cache can tell */
    double dram_latency, dram_cycles; /* to the first byte; of a line on the bus */
    int tlb, l2_tlb, l2_tlb_latency, walk;
    Price price[MAX_PRICES];
    int n_prices;
    uint16_t *prices[MAX_GROUPS]; /* by form; 0xffff where the table has none */
    /* the core */
    uint64_t busy[MAX_PORTS][WORDS];
    uint64_t window;         /* the first cycle that the ports' windows cover */
    uint64_t at;             /* cycle of dispatch */
    int decoded, dispatched; /* in that cycle */
    uint64_t issued;         /* cycle of the last issue, in order */
    int issued_now;
    uint64_t ready[MAX_REGISTERS], ready_to_add[MAX_REGISTERS];
    uint8_t waits[MAX_REGISTERS]; /* what a register waits for */
    uint64_t retiring[MAX_ROB], retired;
    uint32_t place_in_rob;
    uint8_t held[MAX_ROB]; /* room for results that each place of the reorder buffer holds, in quarters of 128 bits */
    uint32_t oldest_in_rob, n_in_rob;
    int holding;
    uint64_t queued[MAX_PORTS][MAX_QUEUE];
    uint32_t place_in_queue[MAX_PORTS];
    uint64_t blocked; /* until then a miss waited for a register of its own */
    int refill; /* the next instruction to be dispatched comes after a misprediction */
    /* memory */
    Cache l1, l2, l3;
    uint64_t miss[MAX_MISSES];
    double bus_free, l2_free, l3_free, now; /* now: of the access that moves lines about */
    Stream stream[MAX_STREAMS];
    uint64_t *tlb_page, *tlb_used, last_page;
    Cache l2_pages;
    uint64_t clock; /* of uses */
    struct {
        uint64_t line, ready, bytes; /* its number + 1, 0: none; a bit for each byte written */
    } filling[FILLING]; /* lines that stores have asked for */
    uint32_t place_in_filling;
    int full_lines; /* one after another written whole before they came: lines are then written without being read */
    uint64_t streamed, streamed_bytes;
    int streamed_absent;
    uint64_t stored[MAX_STORES], drained; /* when each entry of the store buffer is free again */
    uint32_t place_in_stores;
    /* counts */
    double part[PARTS];
    uint64_t mispredictions, dram_lines, prefetches, late, tlb_misses, began;
} Board;

struct Machine {
    Group group[MAX_GROUPS];
    int n_groups;
    Board *board[MAX_BOARDS];
    int n_boards;
    int warming; /* caches and predictors are filled, and no time is kept */
    uint64_t instructions, unknown, branches;
    uint32_t an_unknown;
    /* one predictor for all: its tables learn from the trace alone */
    uint8_t by_history[1 << HISTORY], by_address[1 << HISTORY], chooser[1 << HISTORY];
    uint64_t history;
    uint64_t target[TARGETS];
    uint64_t returns[RETURNS];
    uint32_t top;
};

#endif
