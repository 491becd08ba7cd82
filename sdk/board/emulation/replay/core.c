/* The core: dispatch, ports, registers, retirement. */
#include "parts.h"

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

/* The cycle in which as many entries of its queue as it takes are free again. */
static uint64_t queue_opens(const Board *board, const Price *price) {
    uint64_t latest = 0;
    uint32_t place = board->place_in_queue[price->queue];
    for (int n = 0; n < price->takes; n++) {
        if (board->queued[price->queue][place] > latest) latest = board->queued[price->queue][place];
        if (++place >= price->entries) place = 0;
    }
    return latest;
}

static void enter_queue(Board *board, const Price *price, uint64_t issue) {
    uint32_t *place = &board->place_in_queue[price->queue];
    for (int n = 0; n < price->takes; n++) {
        if (issue > board->queued[price->queue][*place]) board->queued[price->queue][*place] = issue;
        if (++*place >= price->entries) *place = 0;
    }
}

/* Quarters of 128 bits that the results of an instruction take until it retires. */
static uint8_t results_of(const Instruction *made, const Price *price) {
    int quarters = made->written_back == NO_REGISTER ? 0 : 2;
    for (int i = 0; i < made->n_writes; i++)
        if (made->writes[i] < FLAGS_REGISTER) quarters += made->writes[i] >= 32 && price->wide ? 4 : 2;
    return (uint8_t)quarters;
}

/* The cycle in which the results of an instruction have room, which those before it free as they retire. */
static uint64_t results_fit(Board *board, uint8_t quarters, uint64_t at) {
    while (board->n_in_rob && (board->retiring[board->oldest_in_rob] <= at || board->holding + quarters > 4 * board->results)) {
        if (board->retiring[board->oldest_in_rob] > at) at = board->retiring[board->oldest_in_rob];
        board->holding -= board->held[board->oldest_in_rob];
        if (++board->oldest_in_rob >= (uint32_t)board->reorder) board->oldest_in_rob = 0;
        board->n_in_rob--;
    }
    board->held[board->place_in_rob] = quarters;
    board->holding += quarters;
    board->n_in_rob++;
    return at;
}

static uint64_t dispatch(Board *board, const Price *price, const Instruction *made, uint8_t *why) {
    uint64_t at = board->at;
    int store = made->kind & STORE;
    *why = DISPATCH;
    if (board->refill) *why = MISPREDICTED;
    uint64_t room = board->retiring[board->place_in_rob] + 1;
    uint64_t queue = queue_opens(board, price) + 1;
    if (room > at + 1 || queue > at + 1) {
        at = (room > queue ? room : queue) - 1;
        *why = COMPUTE;
    }
    if (board->results) {
        uint64_t fit = results_fit(board, results_of(made, price), at);
        if (fit > at) at = fit, *why = COMPUTE;
    }
    if (store && board->stores && board->stored[board->place_in_stores] > at) {
        at = board->stored[board->place_in_stores];
        *why = IN_L2;
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

static const Price anything = {1, 1, 1, 0, 0, 1, 1, 0, {{0, 0}}};

/* A bit for each byte of a line from `first` to `last`. */
static uint64_t bytes_of(uint64_t line, uint64_t first, uint64_t last) {
    uint64_t begin = line << LINE, end = begin + (1 << LINE) - 1;
    if (first > begin) begin = first;
    if (last < end) end = last;
    return UINT64_MAX >> (63 - (end - begin)) << (begin & 63);
}

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
            uint64_t bytes = made->kind & STORE ? bytes_of(line, access[a].address, end) : 0;
            uint64_t there = reach(board, physical(board, line), begin, bytes, &source);
            if (there > latest) latest = there, *from = source;
        }
    }
    return latest;
}

static void prefetch_like(Board *board, const Instruction *made, const Access *accesses, size_t n_accesses, uint64_t at) {
    for (size_t a = 0; a < n_accesses; a++)
        if (accesses[a].place + 1 == made->prefetch_by) {
            prefetch(board, physical(board, (accesses[a].address + (uint64_t)(int64_t)made->prefetch_on) >> LINE), at, 1);
            return;
        }
}

/* Gives the cycle in which a branch is resolved. */
static uint64_t step(Board *board, const Instruction *made, uint16_t number, const Access *access, size_t n_accesses) {
    const Price *price = number == 0xffff ? &anything : &board->price[number];
    uint8_t why, from = IN_L1;
    uint64_t at = dispatch(board, price, made, &why);
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
    enter_queue(board, price, issue);
    uint64_t done = issue + (price->latency ? price->latency : 1), waited = 0;
    if (n_accesses) {
        uint64_t there = touch(board, made, access, n_accesses, issue, &from);
        waited = there - issue;
        if (made->kind & STORE) {
            if (board->drained < issue) board->drained = issue;
            board->stored[board->place_in_stores] = board->drained;
            if (++board->place_in_stores >= (uint32_t)board->stores) board->place_in_stores = 0;
        }
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
