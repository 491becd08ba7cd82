/* The replay of a trace of A64 instructions through the cores and memories of boards. replay.c has the model.
 *
 * All times are in cycles of the board's core. One Machine holds everything of a run; it is made from one text
 * (sdk/board/emulation/replay/machine.py writes it), and its memory does not grow with the length of the trace.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_BOARDS = 16, MAX_GROUPS = 320, MAX_OPERANDS = 12, MAX_REGISTERS = 65, FLAGS_REGISTER = 64, NO_REGISTER = 255 };
enum { LOAD = 1, STORE = 2, BRANCH = 4, INDIRECT = 8, COMPUTES = 16, UNKNOWN = 32, CALL = 64, RETURN = 128 };
/* What a cycle is charged to. */
enum Part { COMPUTE, IN_L1, IN_L2, IN_DRAM, MISPREDICTED, DISPATCH, PARTS };

typedef struct Machine Machine;

/* An instruction as all boards see it. `price` is its number in each board's table. */
typedef struct {
    uint32_t opcode;
    uint8_t kind;
    uint8_t reads[MAX_OPERANDS], writes[MAX_OPERANDS];
    uint8_t n_reads, n_writes;
    uint8_t added;   /* the register that it adds to, or NO_REGISTER */
    uint8_t written_back;
    uint16_t price[MAX_BOARDS];
    /* A prefetch: its address is that of the access at `prefetch_by` - 1 in the same block, and so many bytes on. An
     * emulator does not tell the address of what it does not execute, but kernels load from the same register. */
    uint16_t prefetch_by;
    int32_t prefetch_on;
} Instruction;

/* One access to memory of the instruction at `place` in its block. */
typedef struct {
    uint64_t address;
    uint32_t place;
    uint32_t bytes;
} Access;

Machine *machine_read(const char *text, char *error, size_t size);
void machine_free(Machine *machine);
int machine_boards(const Machine *machine);
/* The instruction of an opcode; kind has UNKNOWN where no group or no price of any board has it. */
Instruction machine_decode(const Machine *machine, uint32_t opcode);
/* Finds where the prefetches of a block go. */
void machine_find_prefetches(Instruction *instructions, size_t count);
/* Replays a straight run of instructions at `address`; `next` is where the program went on. */
void machine_replay(Machine *machine, const Instruction *instructions, size_t count, uint64_t address, uint64_t next,
                    const Access *accesses, size_t n_accesses);
/* Until machine_restart what is replayed fills caches and predictors only. */
void machine_warm(Machine *machine);
/* Sets the clocks and counts to nought; what caches and predictors hold stays. */
void machine_restart(Machine *machine);
uint64_t machine_instructions(const Machine *machine);
uint64_t machine_cycles(const Machine *machine, int board);
/* One line of JSON. */
void machine_write(const Machine *machine, FILE *out);

#endif
