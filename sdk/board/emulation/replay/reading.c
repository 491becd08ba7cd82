/* Reading the text of a machine (machine.py writes it), and decoding opcodes by its groups. */
#include "parts.h"

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

/* How often a number can be halved: pages of a way -> bits of a page's number that find a line in it. */
static int bits_of(double pages) {
    int bits = 0;
    for (; pages >= 2 && bits < 20; pages /= 2) bits++;
    return bits;
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
            {"reorder", &board->reorder, 1, MAX_ROB}, {"results", &board->results, 0, 1024},
            {"in_order", &board->in_order, 0, 1}, {"mispredict", &board->mispredict, 0, 100},
            {"l2_latency", &board->l2_latency, 1, 1000}, {"l3_latency", &board->l3_latency, 0, 1000},
            {"l2_cycles", &board->l2_cycles, 0, 100}, {"l2_down", &board->l2_down, 0, 100}, {"l3_cycles", &board->l3_cycles, 0, 100},
            {"misses", &board->misses, 1, MAX_MISSES}, {"streams", &board->streams, 0, MAX_STREAMS},
            {"l1_ahead", &board->l1_ahead, 0, 64}, {"l2_ahead", &board->l2_ahead, 0, 64},
            {"cross_pages", &board->cross_pages, 0, 1}, {"streaming", &board->streaming, 0, 1000}, {"stores", &board->stores, 0, MAX_STORES},
            {"scattered", &board->scattered, 0, 1}, {"physical_l1", &board->physical_l1, 0, 1},
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
    if (!board->decode || !board->dispatch || !board->reorder || !board->misses || !board->tlb || !board->l2_tlb
        || board->dram_latency <= 0 || board->dram_cycles <= 0 || l1[0] == 0 || l2[0] == 0)
        return -1;
    board->tlb_page = calloc((size_t)board->tlb, sizeof(uint64_t));
    board->tlb_used = calloc((size_t)board->tlb, sizeof(uint64_t));
    if (!board->tlb_page || !board->tlb_used || make_cache(&board->l2_pages, (board->l2_tlb + 15) / 16, 4)) return -1;
    board->kept = board->physical_l1 ? 0 : bits_of(l1[0] / l1[1] / 4);
    return make_cache(&board->l1, l1[0], l1[1]) || make_cache(&board->l2, l2[0], l2[1]) || make_cache(&board->l3, l3[0], l3[1]) ? -1 : 0;
}

/* micro-operations latency adding queue its-entries takes-of-them wide mask*cycles ... */
static int read_price(Machine *machine, char *line) {
    if (!machine->n_boards) return -1;
    Board *board = machine->board[machine->n_boards - 1];
    if (board->n_prices == MAX_PRICES) return -1;
    Price *price = &board->price[board->n_prices++];
    unsigned micro, latency, adding, queue, entries, takes, wide;
    int used = 0;
    if (sscanf(line, "%u %u %u %u %u %u %u%n", &micro, &latency, &adding, &queue, &entries, &takes, &wide, &used) != 7
        || wide > 1 || micro > 64 || latency > 1000 || adding > 1000 || queue >= MAX_PORTS || entries < 1 || entries > MAX_QUEUE || takes < 1
        || takes > entries)
        return -1;
    price->micro_operations = (uint16_t)micro, price->latency = (uint16_t)latency, price->adding = (uint16_t)adding;
    price->queue = (uint8_t)queue, price->entries = (uint8_t)entries, price->takes = (uint8_t)takes;
    price->wide = (uint8_t)wide;
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
