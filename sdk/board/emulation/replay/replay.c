/* See replay.h. The model, for each board:
 *
 * - front end: `decode` instructions and `dispatch` micro-operations a cycle, a reorder buffer, issue queues; after a
 *   branch that was predicted wrongly nothing is dispatched until it is resolved and the pipeline has refilled;
 * - issue: when all registers are there and a port of each kind that the form needs is free, in program order on
 *   cores that issue in order. A port's taken cycles are kept for a window ahead, so that later instructions may slip
 *   in between;
 * - memory: caches with lines in flight, miss registers, a stream prefetcher, a bus with a width and a latency, a TLB.
 *
 * A cycle is charged, as instructions retire, to what the last of them waited for.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strdup, fmemopen */
#endif
#include "replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 4096, WORDS = WINDOW / 64, MAX_PORTS = 32, MAX_PRICES = 512, MAX_NEEDS = 8, MAX_ROB = 512, MAX_QUEUE = 128,
       MAX_MISSES = 64, MAX_STREAMS = 32, HISTORY = 14, LINE = 6, PAGE = 12, RETURNS = 16, RUNS = 16, TARGETS = 4096 };

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
    uint8_t n_needs, queue;
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
    int decode, dispatch, reorder, queue, in_order, mispredict;
    int l2_latency, l3_latency, l2_cycles, l3_cycles, misses, streams, l1_ahead, l2_ahead, cross_pages, fill_writes;
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
        uint64_t last, lines, used;
    } run[RUNS]; /* of lines that are written one after another */
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

/* -- reading the machine ------------------------------------------------------------------------------------------ */

static int read_operand(Group *group, const char *word) {
    int n = group->n_operands;
    if (n == MAX_OPERANDS || strlen(word) < 3 || word[1] != ':') return -1;
    group->operand[n].what = word[0];
    group->operand[n].where = word[2];
    group->operand[n].count = 1;
    const char *rest = word + 3;
    if (*rest == '@' || *rest == '=') {
        if (*rest == '=') group->operand[n].where = '=';
        group->operand[n].lowest = (uint8_t)strtoul(rest + 1, (char **)&rest, 10);
    }
    if (*rest == '*') group->operand[n].count = (uint8_t)strtoul(rest + 1, (char **)&rest, 10);
    if (*rest == '?') {
        group->operand[n].when = rest[1] == '!' ? '-' : '+';
        rest += rest[1] == '!' ? 2 : 1;
        group->operand[n].bit = (uint8_t)(strtoul(rest, (char **)&rest, 10) & 31);
    }
    if (*rest || !strchr("rwau", word[0]) || !strchr("XVF=", group->operand[n].where) || group->operand[n].count > 8
        || group->operand[n].lowest > 31)
        return -1;
    group->n_operands++;
    return 0;
}

static int read_group(Machine *machine, char *line) {
    if (machine->n_groups == MAX_GROUPS) return -1;
    Group *group = &machine->group[machine->n_groups];
    int used = 0;
    if (sscanf(line, "%31s %" SCNx32 " %" SCNx32 " %" SCNx32 "%n", group->name, &group->mask, &group->value, &group->key, &used) != 4)
        return -1;
    group->key &= ~group->mask;
    for (int bit = 0; bit < 32; bit++)
        if (group->key >> bit & 1) {
            if (group->n_bits == 16) return -1;
            group->bits[group->n_bits++] = (uint8_t)bit;
        }
    for (char *word = strtok(line + used, " "); word; word = strtok(NULL, " ")) {
        if (!strcmp(word, "load")) group->kind |= LOAD;
        else if (!strcmp(word, "load+")) group->kind |= LOAD | STORE | COMPUTES;
        else if (!strcmp(word, "store")) group->kind |= STORE;
        else if (!strcmp(word, "branch")) group->kind |= BRANCH;
        else if (!strcmp(word, "indirect")) group->kind |= INDIRECT;
        else if (!strcmp(word, "nothing")) continue;
        else if (read_operand(group, word)) return -1;
    }
    if (!strcmp(group->name, "bl")) group->kind |= CALL;
    machine->n_groups++;
    return 0;
}

static int make_cache(Cache *cache, double kilobytes, double ways) {
    if (kilobytes == 0) return 0;
    if (ways < 1 || ways > 64 || kilobytes < 1 || kilobytes > 65536) return -1;
    uint32_t sets = 1;
    while ((double)sets * 2 * ways <= kilobytes * 16) sets *= 2; /* the greatest power of two that fits */
    cache->sets = sets;
    /* what the power of two leaves over becomes ways, so that the size is right */
    cache->ways = (uint32_t)(kilobytes * 16 / sets + 0.5);
    cache->way = calloc((size_t)sets * cache->ways, sizeof(Way));
    return cache->way ? 0 : -1;
}

static int read_board(Machine *machine, char *line) {
    if (machine->n_boards == MAX_BOARDS) return -1;
    Board *board = calloc(1, sizeof(Board));
    if (!board) return -1;
    machine->board[machine->n_boards++] = board;
    double l1[2] = {0}, l2[2] = {0}, l3[2] = {0};
    char *word = strtok(line, " ");
    if (!word || strlen(word) >= sizeof board->name) return -1;
    strcpy(board->name, word);
    while ((word = strtok(NULL, " "))) {
        char *value = strchr(word, '='), *end;
        if (!value) return -1;
        *value++ = 0;
        double number = strtod(value, &end);
        if (*end || !(number >= 0) || number > 1e9) return -1;
        struct { const char *name; int *to; double least, most; } whole[] = {
            {"decode", &board->decode, 1, 16}, {"dispatch", &board->dispatch, 1, 32},
            {"reorder", &board->reorder, 1, MAX_ROB}, {"queue", &board->queue, 1, MAX_QUEUE},
            {"in_order", &board->in_order, 0, 1}, {"mispredict", &board->mispredict, 0, 100},
            {"l2_latency", &board->l2_latency, 1, 1000}, {"l3_latency", &board->l3_latency, 0, 1000},
            {"l2_cycles", &board->l2_cycles, 0, 100}, {"l3_cycles", &board->l3_cycles, 0, 100},
            {"misses", &board->misses, 1, MAX_MISSES}, {"streams", &board->streams, 0, MAX_STREAMS},
            {"l1_ahead", &board->l1_ahead, 0, 64}, {"l2_ahead", &board->l2_ahead, 0, 64},
            {"cross_pages", &board->cross_pages, 0, 1}, {"fill_writes", &board->fill_writes, 0, 1},
            {"tlb", &board->tlb, 1, 4096}, {"l2_tlb", &board->l2_tlb, 1, 65536},
            {"l2_tlb_latency", &board->l2_tlb_latency, 0, 1000}, {"walk", &board->walk, 0, 10000}};
        struct { const char *name; double *to; } real[] = {
            {"dram_latency", &board->dram_latency}, {"dram_cycles", &board->dram_cycles}, {"l1_kilobytes", &l1[0]},
            {"l1_ways", &l1[1]}, {"l2_kilobytes", &l2[0]}, {"l2_ways", &l2[1]}, {"l3_kilobytes", &l3[0]}, {"l3_ways", &l3[1]}};
        int known = 0;
        for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
            if (!strcmp(whole[i].name, word)) {
                if (number < whole[i].least || number > whole[i].most) return -1;
                *whole[i].to = (int)number, known = 1;
            }
        for (size_t i = 0; i < sizeof real / sizeof *real; i++)
            if (!strcmp(real[i].name, word)) *real[i].to = number, known = 1;
        if (!known) return -1;
    }
    if (!board->decode || !board->dispatch || !board->reorder || !board->queue || !board->misses || !board->tlb || !board->l2_tlb
        || board->dram_latency <= 0 || board->dram_cycles <= 0 || l1[0] == 0 || l2[0] == 0)
        return -1;
    board->tlb_page = calloc((size_t)board->tlb, sizeof(uint64_t));
    board->tlb_used = calloc((size_t)board->tlb, sizeof(uint64_t));
    if (!board->tlb_page || !board->tlb_used || make_cache(&board->l2_pages, (board->l2_tlb + 15) / 16, 4)) return -1;
    return make_cache(&board->l1, l1[0], l1[1]) || make_cache(&board->l2, l2[0], l2[1]) || make_cache(&board->l3, l3[0], l3[1]) ? -1 : 0;
}

/* micro-operations latency adding queue mask*cycles ... */
static int read_price(Machine *machine, char *line) {
    if (!machine->n_boards) return -1;
    Board *board = machine->board[machine->n_boards - 1];
    if (board->n_prices == MAX_PRICES) return -1;
    Price *price = &board->price[board->n_prices++];
    unsigned micro, latency, adding, queue;
    int used = 0;
    if (sscanf(line, "%u %u %u %u%n", &micro, &latency, &adding, &queue, &used) != 4 || micro > 64 || latency > 1000
        || adding > 1000 || queue >= MAX_PORTS)
        return -1;
    price->micro_operations = (uint16_t)micro, price->latency = (uint16_t)latency, price->adding = (uint16_t)adding;
    price->queue = (uint8_t)queue;
    for (char *word = strtok(line + used, " "); word; word = strtok(NULL, " ")) {
        unsigned ports, cycles;
        if (price->n_needs == MAX_NEEDS || sscanf(word, "%x*%u", &ports, &cycles) != 2 || !ports || cycles > 64) return -1;
        price->need[price->n_needs].ports = ports;
        price->need[price->n_needs++].cycles = (uint16_t)cycles;
    }
    return 0;
}

/* group's number, then the price of each form, -1 where there is none */
static int read_forms(Machine *machine, char *line) {
    if (!machine->n_boards) return -1;
    Board *board = machine->board[machine->n_boards - 1];
    char *rest;
    unsigned long number = strtoul(line, &rest, 10);
    if (number >= (unsigned long)machine->n_groups || board->prices[number]) return -1;
    size_t forms = (size_t)1 << machine->group[number].n_bits;
    uint16_t *prices = board->prices[number] = malloc(forms * sizeof *prices);
    if (!prices) return -1;
    for (size_t i = 0; i < forms; i++) {
        char *begin = rest;
        long price = strtol(begin, &rest, 10);
        if (rest == begin || price < -1 || price >= board->n_prices) return -1;
        prices[i] = price < 0 ? 0xffff : (uint16_t)price;
    }
    return 0;
}

Machine *machine_read(const char *text, char *error, size_t size) {
    Machine *machine = calloc(1, sizeof(Machine));
    char *copy = strdup(text);
    int number = 0, wrong = !machine || !copy;
    for (char *line = copy, *next; !wrong && line && *line; line = next) {
        if ((next = strchr(line, '\n'))) *next++ = 0;
        number++;
        if (!*line) continue;
        if (!strncmp(line, "group ", 6)) wrong = read_group(machine, line + 6);
        else if (!strncmp(line, "board ", 6)) wrong = read_board(machine, line + 6);
        else if (!strncmp(line, "price ", 6)) wrong = read_price(machine, line + 6);
        else if (!strncmp(line, "forms ", 6)) wrong = read_forms(machine, line + 6);
        else wrong = 1;
    }
    if (!wrong && machine->n_boards == 0) wrong = 1;
    if (wrong) snprintf(error, size, "replay: line %d of the machine is not understood", number);
    free(copy);
    if (wrong) {
        machine_free(machine);
        return NULL;
    }
    return machine;
}

void machine_free(Machine *machine) {
    if (!machine) return;
    for (int b = 0; b < machine->n_boards; b++) {
        Board *board = machine->board[b];
        for (int g = 0; g < MAX_GROUPS; g++) free(board->prices[g]);
        free(board->l1.way), free(board->l2.way), free(board->l3.way), free(board->tlb_page), free(board->tlb_used), free(board->l2_pages.way), free(board);
    }
    free(machine);
}

int machine_boards(const Machine *machine) { return machine->n_boards; }
uint64_t machine_instructions(const Machine *machine) { return machine->instructions; }
uint64_t machine_cycles(const Machine *machine, int b) { return machine->board[b]->retired - machine->board[b]->began; }

/* -- decoding ----------------------------------------------------------------------------------------------------- */

static void add_register(Instruction *made, char what, uint8_t number) {
    if (what == 'r' && made->n_reads < MAX_OPERANDS) made->reads[made->n_reads++] = number;
    if ((what == 'w' || what == 'a') && made->n_writes < MAX_OPERANDS) made->writes[made->n_writes++] = number;
    if (what == 'a') made->added = number;
    if (what == 'u') made->written_back = number;
}

static void add_operands(Instruction *made, const Group *group, uint32_t opcode) {
    for (int o = 0; o < group->n_operands; o++) {
        char when = group->operand[o].when, where = group->operand[o].where, what = group->operand[o].what;
        int set = opcode >> group->operand[o].bit & 1;
        if ((when == '+' && !set) || (when == '-' && set)) continue;
        if (where == 'F') {
            add_register(made, what, FLAGS_REGISTER);
            continue;
        }
        uint32_t number = where == '=' ? group->operand[o].lowest : opcode >> group->operand[o].lowest & 31;
        for (int i = 0; i < group->operand[o].count; i++) {
            uint32_t n = (number + (uint32_t)i) & 31;
            /* the zero register and the stack pointer hold nobody up */
            if (where == 'V') add_register(made, what, (uint8_t)(32 + n));
            else if (n != 31) add_register(made, what, (uint8_t)n);
        }
    }
}

Instruction machine_decode(const Machine *machine, uint32_t opcode) {
    Instruction made = {.opcode = opcode, .added = NO_REGISTER, .written_back = NO_REGISTER};
    const Group *group = NULL;
    int g = 0;
    for (; g < machine->n_groups && !group; g++)
        if ((opcode & machine->group[g].mask) == machine->group[g].value) group = &machine->group[g];
    g--;
    uint32_t form = 0;
    if (group) {
        made.kind = group->kind;
        for (int i = 0; i < group->n_bits; i++) form |= (opcode >> group->bits[i] & 1) << i;
        add_operands(&made, group, opcode);
        if (group->kind & INDIRECT) made.kind |= (opcode >> 21 & 3) == 1 ? CALL : (opcode >> 21 & 3) == 2 ? RETURN : 0;
        /* madd with the zero register multiplies; what adds to a register of its own choice need not write there */
        if (made.added != NO_REGISTER && made.n_writes == 2) made.n_writes = 1;
    }
    int priced = 0;
    for (int b = 0; b < machine->n_boards; b++) {
        const uint16_t *prices = group ? machine->board[b]->prices[g] : NULL;
        made.price[b] = prices ? prices[form] : 0xffff;
        if (made.price[b] != 0xffff) priced = 1;
    }
    if (!priced) made.kind |= UNKNOWN;
    return made;
}

/* Bytes from its base register to what an instruction accesses, and what it adds to that register; 0: no base. */
static int offsets_of(uint32_t opcode, int64_t *to, int64_t *after) {
    int vector = opcode >> 26 & 1, size = (int)(opcode >> 30);
    int64_t imm9 = (int64_t)((opcode >> 12 & 511) ^ 256) - 256, imm7 = (int64_t)((opcode >> 15 & 127) ^ 64) - 64;
    *to = *after = 0;
    if ((opcode & 0xbfff0000) == 0x0c400000 || (opcode & 0xbfff0000) == 0x0c000000) return 1; /* ld1, st1 */
    if ((opcode & 0xbf9f0000) == 0x0c9f0000) {                                               /* the same, post-index */
        int registers = (opcode >> 12 & 15) == 2 ? 4 : (opcode >> 12 & 15) == 6 ? 3 : (opcode >> 12 & 15) == 10 ? 2
                        : (opcode >> 12 & 15) == 7 ? 1 : (opcode >> 12 & 15) == 8 ? 2 : (opcode >> 12 & 15) == 4 ? 3 : 4;
        *after = registers * (opcode >> 30 & 1 ? 16 : 8);
        return 1;
    }
    if ((opcode & 0xbf000000) == 0x0d000000) return (opcode >> 23 & 1) == 0; /* single structures */
    if ((opcode & 0x3a000000) == 0x28000000) {                              /* pairs */
        int scale = vector ? 2 + size : 2 + (size >> 1), mode = (int)(opcode >> 23 & 3);
        if (mode == 1) *after = imm7 * (1 << scale);
        else *to = imm7 * (1 << scale);
        if (mode == 3) *after = *to;
        return 1;
    }
    if (vector && opcode >> 23 & 1) size = 4;
    if ((opcode & 0x3b000000) == 0x39000000) {
        *to = (int64_t)(opcode >> 10 & 4095) << size;
        return 1;
    }
    if ((opcode & 0x3b200000) == 0x38000000) {
        int mode = (int)(opcode >> 10 & 3);
        if (mode == 1) *after = imm9;
        else *to = imm9;
        if (mode == 3) *after = imm9;
        return 1;
    }
    return 0;
}

static int changes(const Instruction *made, uint8_t number) {
    if (made->written_back == number) return 1;
    for (int i = 0; i < made->n_writes; i++)
        if (made->writes[i] == number) return 1;
    return 0;
}

void machine_find_prefetches(Instruction *instructions, size_t count) {
    for (size_t i = 0; i < count && i < 60000; i++) {
        uint32_t opcode = instructions[i].opcode;
        if ((opcode & 0xffc00000) != 0xf9800000) continue; /* prfm [base, #offset] */
        uint8_t base = opcode >> 5 & 31;
        int64_t on = (int64_t)(opcode >> 10 & 4095) << 3, to, after;
        instructions[i].prefetch_by = 0;
        for (size_t j = i + 1; j < count; j++) {
            uint32_t other = instructions[j].opcode;
            if (instructions[j].kind & (LOAD | STORE) && (other >> 5 & 31) == base && offsets_of(other, &to, &after)) {
                instructions[i].prefetch_by = (uint16_t)(j + 1), instructions[i].prefetch_on = (int32_t)(on - to);
                break;
            }
            if (changes(&instructions[j], base)) break;
        }
        for (size_t j = i; j-- > 0 && !instructions[i].prefetch_by;) {
            uint32_t other = instructions[j].opcode;
            if (instructions[j].kind & (LOAD | STORE) && (other >> 5 & 31) == base && offsets_of(other, &to, &after)) {
                int64_t base_after = instructions[j].written_back == base ? after : 0;
                instructions[i].prefetch_by = (uint16_t)(j + 1), instructions[i].prefetch_on = (int32_t)(on + base_after - to);
                break;
            }
            if (changes(&instructions[j], base)) break;
        }
    }
}

/* -- memory ------------------------------------------------------------------------------------------------------- */

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

/* Puts a line into a cache; the line that leaves goes a level down, and from the last level to memory. */
static Way *put(Board *board, Cache *cache, uint64_t line, uint64_t ready, uint8_t from, int dirty) {
    Way *way = take(board, cache, line);
    if (way->line && way->dirty) {
        uint64_t leaving = way->line - 1;
        if (cache == &board->l1) board->l2_free += board->l2_cycles; /* the way down is the way up */
        Cache *below = cache == &board->l1 ? &board->l2 : cache == &board->l2 && board->l3.sets ? &board->l3 : NULL;
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
    *from = IN_DRAM;
    way = board->l3.sets ? find(board, &board->l3, line) : NULL;
    if (way) {
        board->l3.hits++;
        if (board->l3_free > begin) begin = board->l3_free;
        board->l3_free = begin + board->l3_cycles;
        ready = (uint64_t)begin + (uint64_t)board->l3_latency;
        if (way->ready > ready) ready = way->ready;
        else *from = IN_L2;
    } else {
        double queue = board->bus_free > begin ? board->bus_free : begin;
        cross_bus(board, begin);
        ready = (uint64_t)(queue + board->dram_latency);
        if (board->l3.sets) {
            board->l3.misses++;
            put(board, &board->l3, line, ready, IN_DRAM, 0);
        }
    }
    put(board, &board->l2, line, ready, *from, 0);
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

/* Whether a line belongs to a run that is written from end to end: its lines are not read from memory before. */
static int written_whole(Board *board, uint64_t line) {
    if (board->fill_writes) return 0;
    int oldest = 0;
    for (int r = 0; r < RUNS; r++) {
        if (board->run[r].last + 1 == line) {
            board->run[r].last = line, board->run[r].used = ++board->clock;
            return ++board->run[r].lines >= 3;
        }
        if (board->run[r].used < board->run[oldest].used) oldest = r;
    }
    board->run[oldest].last = line, board->run[oldest].lines = 1, board->run[oldest].used = ++board->clock;
    return 0;
}

/* The cycle from which the first cache has a line, for an access at cycle `at`. */
static uint64_t reach(Board *board, uint64_t line, uint64_t at, int store, uint8_t *from) {
    Way *way = find(board, &board->l1, line);
    *from = IN_L1;
    if (way) {
        if (store) way->dirty = 1;
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
    if (store && written_whole(board, line) && !find(board, &board->l2, line)) {
        *from = IN_L2;
        put(board, &board->l2, line, begin, IN_L2, 1);
        put(board, &board->l1, line, begin, IN_L2, 1);
        return at;
    }
    ready = below_l1(board, line, begin, from);
    board->miss[first] = ready;
    /* what was just stored is read back from the store's own data, long before its line has come */
    put(board, &board->l1, line, store ? at : ready, store ? IN_L1 : *from, store);
    learn(board, line, begin);
    if (!store && begin > board->blocked) board->blocked = begin;
    return store ? at : ready;
}

/* -- the core ----------------------------------------------------------------------------------------------------- */

static void forget_before(Board *board, uint64_t at) {
    uint64_t word = board->window / 64, end = at / 64;
    if (word == end) return;
    if (end - word >= WORDS) word = end - WORDS;
    for (; word < end; word++)
        for (int p = 0; p < MAX_PORTS; p++) board->busy[p][word % WORDS] = 0;
    board->window = end * 64;
}

/* The first cycle from `at` on in which one of the ports is free; takes it. */
static uint64_t take_port(Board *board, uint32_t ports, uint64_t at) {
    uint64_t end = board->window + WINDOW;
    for (uint64_t cycle = at; cycle < end; cycle = (cycle | 63) + 1) {
        uint64_t best = 64;
        int port = 0;
        for (uint32_t left = ports; left; left &= left - 1) {
            int p = __builtin_ctz(left);
            uint64_t open = ~board->busy[p][cycle / 64 % WORDS] >> (cycle % 64);
            if (open && (uint64_t)__builtin_ctzll(open) < best) best = (uint64_t)__builtin_ctzll(open), port = p;
            if (best == 0) break;
        }
        if (best < 64) {
            cycle += best;
            board->busy[port][cycle / 64 % WORDS] |= UINT64_C(1) << (cycle % 64);
            return cycle;
        }
    }
    return at > end ? at : end;
}

static uint64_t take_ports(Board *board, const Price *price, uint64_t at) {
    uint64_t issue = at;
    for (int n = 0; n < price->n_needs; n++) {
        uint64_t from = at;
        for (int c = 0; c < price->need[n].cycles; c++) {
            uint64_t cycle = take_port(board, price->need[n].ports, from);
            if (c == 0 && cycle > issue) issue = cycle;
            from = cycle;
        }
    }
    return issue;
}

static uint64_t dispatch(Board *board, const Price *price, uint8_t *why) {
    uint64_t at = board->at;
    *why = DISPATCH;
    if (board->refill) *why = MISPREDICTED;
    uint64_t room = board->retiring[board->place_in_rob] + 1;
    uint64_t queue = board->queued[price->queue][board->place_in_queue[price->queue]] + 1;
    if (room > at + 1 || queue > at + 1) {
        at = (room > queue ? room : queue) - 1;
        *why = COMPUTE;
    }
    if (at > board->at) board->at = at, board->decoded = board->dispatched = 0;
    if (board->decoded >= board->decode || board->dispatched >= board->dispatch) {
        board->at++;
        board->decoded = 0;
        board->dispatched -= board->dispatch;
        if (board->dispatched < 0) board->dispatched = 0;
        while (board->dispatched >= board->dispatch) board->at++, board->dispatched -= board->dispatch;
    }
    board->decoded++;
    board->dispatched += price->micro_operations;
    return board->at;
}

static uint64_t ready_at(Board *board, const Instruction *made, uint64_t at, uint8_t *why) {
    uint64_t ready = at;
    for (int i = 0; i < made->n_reads; i++) {
        uint8_t number = made->reads[i];
        if (board->ready[number] > ready) ready = board->ready[number], *why = board->waits[number];
    }
    if (made->added != NO_REGISTER) {
        uint64_t needed = board->ready_to_add[made->added]; /* it is read late, after an addition `adding` cycles later */
        if (needed > ready) ready = needed, *why = board->waits[made->added];
    }
    return ready;
}

static void retire(Board *board, uint64_t done, uint8_t why) {
    board->retiring[board->place_in_rob] = done;
    if (++board->place_in_rob >= (uint32_t)board->reorder) board->place_in_rob = 0;
    if (done > board->retired) {
        board->part[why] += (double)(done - board->retired);
        board->retired = done;
    } else
        board->retiring[board->place_in_rob ? board->place_in_rob - 1 : (uint32_t)board->reorder - 1] = board->retired;
}

/* The instruction that retired last did so later. */
static void retire_again(Board *board, uint64_t done, uint8_t why) {
    if (done <= board->retired) return;
    board->part[why] += (double)(done - board->retired);
    board->retired = done;
}

static const Price anything = {1, 1, 1, 0, 0, {{0, 0}}};

static uint64_t touch(Board *board, const Instruction *made, const Access *access, size_t count, uint64_t at, uint8_t *from) {
    uint64_t latest = at, last = UINT64_MAX;
    for (size_t a = 0; a < count; a++) {
        uint64_t end = access[a].address + (access[a].bytes ? access[a].bytes - 1 : 0);
        for (uint64_t line = access[a].address >> LINE; line <= end >> LINE; line++) {
            if (line == last) continue;
            last = line;
            uint64_t page = access[a].address >> PAGE;
            uint64_t begin = at + (page == board->last_page ? 0 : (uint64_t)translate(board, access[a].address));
            board->last_page = page;
            uint8_t source;
            uint64_t there = reach(board, line, begin, (made->kind & STORE) != 0, &source);
            if (there > latest) latest = there, *from = source;
        }
    }
    return latest;
}

static void prefetch_like(Board *board, const Instruction *made, const Access *accesses, size_t n_accesses, uint64_t at) {
    for (size_t a = 0; a < n_accesses; a++)
        if (accesses[a].place + 1 == made->prefetch_by) {
            prefetch(board, (accesses[a].address + (uint64_t)(int64_t)made->prefetch_on) >> LINE, at, 1);
            return;
        }
}

/* Gives the cycle in which a branch is resolved. */
static uint64_t step(Board *board, const Instruction *made, uint16_t number, const Access *access, size_t n_accesses) {
    const Price *price = number == 0xffff ? &anything : &board->price[number];
    uint8_t why, from = IN_L1;
    uint64_t at = dispatch(board, price, &why);
    uint8_t held = why;
    board->refill = 0;
    forget_before(board, board->in_order ? (at < board->issued ? at : board->issued) : at);
    uint64_t ready = ready_at(board, made, at + 1, &why);
    if (board->in_order) {
        uint64_t earliest = board->issued + (board->issued_now >= board->decode);
        if (earliest > ready) ready = earliest;
    }
    uint64_t issue = take_ports(board, price, ready);
    if (issue > ready && issue > at + 1 && why == DISPATCH) why = COMPUTE;
    if (board->in_order) {
        if (issue > board->issued) board->issued = issue, board->issued_now = 0;
        board->issued_now++;
        retire(board, issue, held == MISPREDICTED ? MISPREDICTED : why);
    }
    if (issue > board->queued[price->queue][board->place_in_queue[price->queue]])
        board->queued[price->queue][board->place_in_queue[price->queue]] = issue;
    if (++board->place_in_queue[price->queue] >= (uint32_t)board->queue) board->place_in_queue[price->queue] = 0;
    uint64_t done = issue + (price->latency ? price->latency : 1), waited = 0;
    if (n_accesses) {
        uint64_t there = touch(board, made, access, n_accesses, issue, &from);
        waited = there - issue;
        if (board->in_order && board->blocked > board->issued) {
            board->issued = board->blocked;
            board->issued_now = board->decode; /* nothing goes past a miss that waits */
            retire_again(board, board->issued, from);
        }
        if (made->kind & LOAD) {
            done += waited;
            if (waited > 0) why = from;
            else if (why == DISPATCH || why == COMPUTE) why = ready > at + 1 ? why : IN_L1;
        }
    }
    uint8_t result = made->kind & LOAD ? (waited ? from : IN_L1) : why == DISPATCH || why == MISPREDICTED ? COMPUTE : why;
    for (int i = 0; i < made->n_writes; i++) {
        uint8_t reg = made->writes[i];
        board->ready[reg] = done;
        board->ready_to_add[reg] = made->added != NO_REGISTER ? issue + price->adding : done;
        board->waits[reg] = made->added != NO_REGISTER && result == IN_L1 ? COMPUTE : result;
    }
    if (made->written_back != NO_REGISTER) {
        board->ready[made->written_back] = board->ready_to_add[made->written_back] = issue + 1;
        board->waits[made->written_back] = COMPUTE;
    }
    if (board->in_order) return issue + 1;
    if (held == MISPREDICTED) why = MISPREDICTED;
    retire(board, made->kind & STORE && !(made->kind & LOAD) ? issue + 1 : done, why);
    return issue + 1;
}

/* -- branches ----------------------------------------------------------------------------------------------------- */

static int turn(uint8_t *counter, int up) {
    int said = *counter >= 2;
    if (up && *counter < 3) ++*counter;
    if (!up && *counter > 0) --*counter;
    return said;
}

static int predicted_wrongly(Machine *machine, const Instruction *made, uint64_t address, uint64_t next) {
    uint32_t mask = (1 << HISTORY) - 1;
    if (made->kind & CALL) machine->returns[machine->top++ % RETURNS] = address + 4;
    if (made->kind & RETURN) return machine->returns[--machine->top % RETURNS] != next;
    if (made->kind & INDIRECT) {
        uint64_t *target = &machine->target[(address >> 2 ^ (machine->history & 0xff) << 4) % TARGETS];
        int wrong = *target != next;
        *target = next;
        return wrong;
    }
    if (!(made->kind & BRANCH)) return 0;
    machine->branches++;
    int taken = next != address + 4;
    uint32_t plain = (uint32_t)(address >> 2) & mask, mixed = ((uint32_t)(address >> 2) ^ (uint32_t)machine->history) & mask;
    int by_address = turn(&machine->by_address[plain], taken), by_history = turn(&machine->by_history[mixed], taken);
    int choice = machine->chooser[plain] >= 2;
    if (by_address != by_history) turn(&machine->chooser[plain], by_history == taken);
    machine->history = machine->history << 1 | (uint64_t)taken;
    return (choice ? by_history : by_address) != taken;
}

/* A block's accesses alone, an instruction a cycle. */
static void fill(Board *board, const Instruction *instructions, size_t count, const Access *accesses, size_t n_accesses) {
    uint8_t from;
    for (size_t a = 0; a < n_accesses; a++)
        if (accesses[a].place < count) touch(board, &instructions[accesses[a].place], &accesses[a], 1, board->at, &from);
    board->at += count;
    if (board->bus_free > (double)board->at) board->at = (uint64_t)board->bus_free; /* memory is not left behind */
    board->retired = board->issued = board->at;
}

void machine_warm(Machine *machine) { machine->warming = 1; }

void machine_replay(Machine *machine, const Instruction *instructions, size_t count, uint64_t address, uint64_t next,
                    const Access *accesses, size_t n_accesses) {
    if (!count) return;
    const Instruction *last = &instructions[count - 1];
    int wrong = predicted_wrongly(machine, last, address + 4 * (count - 1), next);
    machine->instructions += count;
    for (size_t i = 0; i < count; i++)
        if (instructions[i].kind & UNKNOWN) machine->unknown++, machine->an_unknown = instructions[i].opcode;
    for (int b = 0; b < machine->n_boards; b++) {
        Board *board = machine->board[b];
        size_t a = 0;
        uint64_t resolved = 0;
        if (machine->warming) {
            fill(board, instructions, count, accesses, n_accesses);
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            size_t begin = a;
            while (a < n_accesses && accesses[a].place == i) a++;
            resolved = step(board, &instructions[i], instructions[i].price[b], &accesses[begin], a - begin);
            if (instructions[i].prefetch_by) prefetch_like(board, &instructions[i], accesses, n_accesses, resolved);
        }
        if (wrong) {
            board->mispredictions++;
            uint64_t again = resolved + (uint64_t)board->mispredict;
            if (again > board->at) board->at = again, board->decoded = board->dispatched = 0;
            board->refill = 1;
        }
    }
}

void machine_restart(Machine *machine) {
    machine->instructions = machine->unknown = machine->branches = 0;
    machine->warming = 0;
    for (int b = 0; b < machine->n_boards; b++) {
        Board *board = machine->board[b];
        board->began = board->retired;
        memset(board->part, 0, sizeof board->part);
        board->mispredictions = board->dram_lines = board->prefetches = board->late = board->tlb_misses = 0;
        board->l1.misses = board->l2.hits = board->l2.misses = board->l3.hits = board->l3.misses = 0;
    }
}

void machine_write(const Machine *machine, FILE *out) {
    static const char *names[] = {"compute", "l1", "l2", "dram", "branch", "dispatch"};
    fprintf(out, "{\"instructions\": %" PRIu64 ", \"unknown\": %" PRIu64 ", \"an_unknown\": %" PRIu32 ", \"branches\": %" PRIu64 ", \"boards\": [",
            machine->instructions, machine->unknown, machine->an_unknown, machine->branches);
    for (int b = 0; b < machine->n_boards; b++) {
        const Board *board = machine->board[b];
        fprintf(out, "%s{\"name\": \"%s\", \"cycles\": %" PRIu64, b ? ", " : "", board->name, machine_cycles(machine, b));
        for (int p = 0; p < PARTS; p++) fprintf(out, ", \"%s\": %.0f", names[p], board->part[p]);
        fprintf(out, ", \"dram_bytes\": %" PRIu64 ", \"mispredictions\": %" PRIu64 ", \"l1_misses\": %" PRIu64 ", \"l2_hits\": %" PRIu64
                     ", \"l2_misses\": %" PRIu64 ", \"prefetches\": %" PRIu64 ", \"tlb_misses\": %" PRIu64 "}",
                board->dram_lines << LINE, board->mispredictions, board->l1.misses, board->l2.hits, board->l2.misses, board->prefetches,
                board->tlb_misses);
    }
    fprintf(out, "]}\n");
}

#ifdef NATIVE
/* For tests and for models of loops: replays a loop of opcodes. Gives 0, or -1 with a message in `answer`. */
__attribute__((visibility("default"))) int replay_loop(const char *text, const uint32_t *opcodes, const uint64_t *addresses,
                                                       const int64_t *steps, const uint32_t *bytes, uint32_t count,
                                                       uint64_t iterations, uint64_t warm, char *answer, size_t size) {
    Machine *machine = machine_read(text, answer, size);
    if (!machine) return -1;
    Instruction *made = calloc(count, sizeof *made);
    Access *accesses = calloc(count, sizeof *accesses);
    for (uint32_t i = 0; i < count; i++) made[i] = machine_decode(machine, opcodes[i]);
    machine_find_prefetches(made, count);
    for (uint64_t n = 0; n < iterations + warm; n++) {
        if (n == warm) machine_restart(machine);
        size_t used = 0;
        for (uint32_t i = 0; i < count; i++)
            if (made[i].kind & (LOAD | STORE)) {
                accesses[used].place = i;
                accesses[used].bytes = bytes[i];
                accesses[used++].address = addresses[i] + n * (uint64_t)steps[i];
            }
        uint64_t end = 0x1000 + 4 * (uint64_t)count;
        machine_replay(machine, made, count, 0x1000, n + 1 < iterations + warm ? 0x1000 : end, accesses, used);
    }
    FILE *out = fmemopen(answer, size, "w");
    machine_write(machine, out);
    fclose(out);
    free(made), free(accesses), machine_free(machine);
    return 0;
}
#endif
