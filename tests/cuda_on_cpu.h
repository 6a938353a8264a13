// CUDA C++ on a processor: each thread of a block is a fibre, so that barriers and shuffles mean what they mean.
//
// Fibres run one after the other, in order or backwards, each to its next barrier, and a warp as far as it can
// before the next one. Where a barrier is missing, one of the two orders then reads too early or too late; a barrier
// or shuffle that not all threads reach is an error, not a hang.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#define CUDA_ON_CPU
#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static

struct Triple { unsigned x, y, z; };
struct uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static Triple threadIdx, blockIdx, blockDim, gridDim;

namespace machine {
enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };
constexpr int STACK = 1 << 16;

struct Fibre {
    ucontext_t context;
    Triple index;
    State state;
};

static std::vector<Fibre> fibres;
static std::vector<char> stacks;
static ucontext_t scheduler;
static Fibre* current;
static void (*body)(void*);
static void* body_data;
static float exchange[1024];

inline int number(const Fibre& fibre) { return (int)(&fibre - fibres.data()); }

inline void enter() {
    body(body_data);
    current->state = DONE;
}

inline void wait(State state) {
    current->state = state;
    swapcontext(&current->context, &scheduler);
}

inline void resume(Fibre& fibre) {
    current = &fibre;
    threadIdx = fibre.index;
    swapcontext(&scheduler, &fibre.context);
}

// Runs the threads of one warp for as long as they wait for nobody but each other, so that warps drift apart.
inline void run_warp(size_t first, size_t end, bool backwards) {
    for (bool together = true; together;) {
        for (size_t k = first; k < end; ++k) {
            Fibre& fibre = fibres[backwards ? first + end - 1 - k : k];
            if (fibre.state == READY) resume(fibre);
        }
        for (size_t k = first; k < end; ++k) together = together && fibres[k].state == AT_WARP_BARRIER;
        for (size_t k = first; k < end && together; ++k) fibres[k].state = READY;
    }
}

// 0, or 1 where threads of one block wait at different barriers.
inline int run_block(bool backwards) {
    const int count = blockDim.x * blockDim.y * blockDim.z;
    fibres.resize(count);
    stacks.resize((size_t)count * STACK);
    for (int k = 0; k < count; ++k) {
        Fibre& fibre = fibres[k];
        fibre.index = {k % blockDim.x, k / blockDim.x % blockDim.y, k / blockDim.x / blockDim.y};
        fibre.state = READY;
        getcontext(&fibre.context);
        fibre.context.uc_stack = {&stacks[(size_t)k * STACK], 0, STACK};
        fibre.context.uc_link = &scheduler;
        makecontext(&fibre.context, enter, 0);
    }
    const int warps = (count + 31) / 32;
    for (bool all = true; all;) {
        for (int k = 0; k < warps; ++k) {
            const int first = (backwards ? warps - 1 - k : k) * 32;
            run_warp(first, first + 32 < count ? first + 32 : count, backwards);
        }
        for (const Fibre& fibre : fibres) all = all && fibre.state == AT_BLOCK_BARRIER;
        for (int k = 0; k < count && all; ++k) fibres[k].state = READY;
    }
    for (const Fibre& fibre : fibres)
        if (fibre.state != DONE) return 1;
    return 0;
}

template <typename... A> struct Call {
    void (*kernel)(A...);
    std::tuple<std::remove_const_t<A>...> arguments;
    static void run(void* self) {
        Call* call = (Call*)self;
        std::apply(call->kernel, call->arguments);
    }
};

template <typename... A, size_t... K>
int launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, void** values, bool backwards,
           std::index_sequence<K...>) {
    Call<A...> call = {kernel, {*(std::remove_const_t<A>*)values[K]...}};
    body = Call<A...>::run;
    body_data = &call;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    const unsigned count = grid[0] * grid[1] * grid[2];
    for (unsigned k = 0; k < count; ++k) {
        const unsigned b = backwards ? count - 1 - k : k;
        blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        if (run_block(backwards)) return 1;
    }
    return 0;
}

// How many arguments a kernel takes, and its start with pointers to them.
template <typename... A> int arity(void (*)(A...)) { return sizeof...(A); }
template <typename... A>
int start(void (*kernel)(A...), const unsigned* grid, const unsigned* block, void** values, int backwards) {
    return launch(kernel, grid, block, values, backwards != 0, std::index_sequence_for<A...>());
}

// Bytes of each argument, so that the caller's types can be held against the kernel's.
template <typename... A> void argument_sizes(void (*)(A...), int* sizes) {
    const int known[] = {(int)sizeof(A)...};
    std::memcpy(sizes, known, sizeof known);
}
}  // namespace machine

inline void __syncthreads() { machine::wait(machine::AT_BLOCK_BARRIER); }

inline float __shfl_xor_sync(unsigned, float value, int lanes) {
    const int own = machine::number(*machine::current);
    machine::exchange[own] = value;
    machine::wait(machine::AT_WARP_BARRIER);
    const float found = machine::exchange[own ^ lanes];
    machine::wait(machine::AT_WARP_BARRIER);
    return found;
}

inline float __int_as_float(int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }

inline float half_to_float(unsigned short bits) {
    _Float16 half;
    std::memcpy(&half, &bits, sizeof half);
    return (float)half;
}

inline unsigned short float_to_half(float value) {
    const _Float16 half = (_Float16)value;
    unsigned short bits;
    std::memcpy(&bits, &half, sizeof bits);
    return bits;
}
