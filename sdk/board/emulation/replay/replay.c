/* See replay.h. The model, for each board:
 *
 * - front end: `decode` instructions and `dispatch` micro-operations a cycle, a reorder buffer, issue queues; after a
 *   branch that was predicted wrongly nothing is dispatched until it is resolved and the pipeline has refilled;
 * - issue: when all registers are there and a port of each kind that the form needs is free, in program order on
 *   cores that issue in order. A port's taken cycles are kept for a window ahead, so that later instructions may slip
 *   in between;
 * - memory: caches with lines in flight, found by addresses or by places in memory (pages lie there in no order), miss
 *   registers, a stream prefetcher, a store buffer, streams of writes that are not read before, a bus with a width and
 *   a latency, a TLB.
 *
 * reading.c reads the machine, memory.c and core.c are the two halves of the model, parts.h is what they share.
 *
 * A cycle is charged, as instructions retire, to what the last of them waited for.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strdup, fmemopen */
#endif
#include "parts.h"

/* One unit, so that the compiler sees all of it at once. */
#include "reading.c"
#include "memory.c"
#include "core.c"

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
