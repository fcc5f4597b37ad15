// Runs blocks of the kernels of emulated.h, thread by thread, and is what check_kernels.py loads in place of a driver.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <ucontext.h>
#include <vector>

#include "emulated.h"

Index threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t STACK = 256 << 10;

struct Copy {
    void *to;
    const void *from;
    bool is_there;
};

struct Fibre {
    ucontext_t context;
    std::vector<char> stack;
    Index index;
    bool is_done;
    unsigned turns;                       // exchanges of its warp that it took part in
    std::vector<Copy> copies;             // not committed
    std::deque<std::vector<Copy>> groups; // committed, not waited for
};

struct Warp {
    unsigned arrived, turn;
    char values[2][32 * PLACE];
};

std::vector<Fibre> fibres;
std::vector<Warp> warps;
ucontext_t scheduler;
Fibre *now;
unsigned block_arrived, block_turn, alive;

using Body = void (*)(void *);
Body body;
void *body_arguments;

void yield() { swapcontext(&now->context, &scheduler); }

void start() {
    body(body_arguments);
    now->is_done = true;
    alive--;
    swapcontext(&now->context, &scheduler);
}

[[noreturn]] void fail(const char *what) {
    fprintf(stderr, "block %u %u %u, thread %u: %s\n", blockIdx.x, blockIdx.y, blockIdx.z, now->index.x, what);
    abort();
}

// One block; its threads run in the order that `seed` says, because no order may matter.
void run_block(unsigned threads, unsigned seed) {
    if (fibres.size() < threads) fibres.resize(threads);
    warps.assign((threads + 31) / 32, Warp{});
    block_arrived = block_turn = 0, alive = threads;
    std::vector<unsigned> order(threads);
    for (unsigned i = 0; i < threads; i++) {
        Fibre &fibre = fibres[i];
        order[i] = i;
        fibre.stack.resize(STACK);
        fibre.index = {i, 0, 0}, fibre.is_done = false, fibre.turns = 0;
        fibre.copies.clear(), fibre.groups.clear();
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data(), fibre.context.uc_stack.ss_size = STACK;
        fibre.context.uc_link = nullptr;
        makecontext(&fibre.context, start, 0);
    }
    for (unsigned i = threads - 1; i > 0; i--) {
        seed = seed * 1664525u + 1013904223u;
        std::swap(order[i], order[(seed >> 8) % (i + 1)]);
    }
    for (unsigned rounds = 0; alive > 0; rounds++) {
        if (rounds > 10'000'000) fail("threads wait for each other");
        for (unsigned i : order) {
            if (fibres[i].is_done) continue;
            now = &fibres[i], threadIdx = now->index;
            swapcontext(&scheduler, &now->context);
        }
        // Threads that have ended are not waited for.
        if (alive > 0 && block_arrived >= alive) block_arrived = 0, block_turn++;
    }
}

} // namespace

void __syncthreads() {
    const unsigned turn = block_turn;
    if (++block_arrived >= alive) {
        block_arrived = 0, block_turn++;
        return;
    }
    while (block_turn == turn) yield();
    threadIdx = now->index;
}

const char *exchange(unsigned mask, const void *value, unsigned bytes) {
    const unsigned lane = now->index.x % 32;
    Warp &warp = warps[now->index.x / 32];
    if (mask != 0xffffffffu) fail("only whole warps are emulated");
    // A value is read before its lane can come twice again, so two places are enough.
    const unsigned turn = now->turns++;
    char *values = warp.values[turn % 2];
    memcpy(values + lane * PLACE, value, bytes);
    if (++warp.arrived == 32) warp.arrived = 0, warp.turn++;
    while (warp.turn == turn) yield();
    if (warp.turn < turn) fail("lanes of a warp went different ways");
    threadIdx = now->index;
    return values;
}

void copy_async(void *to, const void *from, bool is_there) { now->copies.push_back({to, from, is_there}); }
void commit_copies() {
    now->groups.push_back(std::move(now->copies));
    now->copies.clear();
}
void wait_for_copies_left(int left) {
    for (; static_cast<int>(now->groups.size()) > left; now->groups.pop_front())
        for (const Copy &copy : now->groups.front()) {
            if (copy.is_there) memcpy(copy.to, copy.from, 16);
            else memset(copy.to, 0, 16);
        }
}

// ---- what check_kernels.py calls ---------------------------------------------------------------------------------------------

// A kernel's arguments: words for addresses and whole numbers, one number of type float, and one structure, each as a call of a
// function hands them over.
struct Structure {
    char bytes[72];
};
struct Arguments {
    void *function;
    uint64_t words[12];
    float number;
    int structure_at; // its place among the arguments, or -1
    Structure structure;
};

namespace {

void call(void *pointer) {
    const Arguments &a = *static_cast<Arguments *>(pointer);
    const uint64_t *w = a.words;
    using Words = void (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, float);
    using WithStructure = void (*)(uint64_t, uint64_t, Structure, uint64_t);
    if (a.structure_at == 2) reinterpret_cast<WithStructure>(a.function)(w[0], w[1], a.structure, w[2]);
    else
        reinterpret_cast<Words>(a.function)(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], a.number);
}

} // namespace

extern "C" void emulate(const unsigned *grid, unsigned block, Arguments *arguments, unsigned seed) {
    body = call, body_arguments = arguments;
    blockDim = {block, 1, 1}, gridDim = {grid[0], grid[1], grid[2]};
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                run_block(block, seed++);
            }
}
