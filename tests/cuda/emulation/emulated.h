// The GPU as a CPU sees it: the kernels' sources compile against this with an ordinary compiler and run thread by thread. Each
// thread of a block is a fibre, which goes on until it has to wait for others. It is slow, and right down to which lane holds
// which value of a tensor core's product, so that indices, barriers and masks can be tested without a GPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// Blocks run one after the other, so what a block shares can be static.
#define __shared__ static

using std::isfinite;
using std::max;
using std::min;

// ---- threads -----------------------------------------------------------------------------------------------------------

struct Index {
    unsigned x, y, z;
};
extern Index threadIdx, blockIdx, blockDim, gridDim;

// Waits for all threads of the block that have not ended.
void __syncthreads();
inline void __threadfence() {}
// Waits for the lanes of `mask`; each puts a value down and gets those of all lanes of its warp, in places of 64 bytes.
const char *exchange(unsigned mask, const void *value, unsigned bytes);
constexpr unsigned PLACE = 64;

template <typename T> T lane_value(const char *all, unsigned lane) {
    T value;
    memcpy(&value, all + lane * PLACE, sizeof(T));
    return value;
}

template <typename T> T __shfl_xor_sync(unsigned mask, T value, int distance) {
    const char *all = exchange(mask, &value, sizeof(T));
    return lane_value<T>(all, threadIdx.x % 32 ^ distance);
}

inline uint32_t most_of_lanes(uint32_t value) {
    const char *all = exchange(0xffffffffu, &value, sizeof value);
    for (unsigned lane = 0; lane < 32; lane++) value = max(value, lane_value<uint32_t>(all, lane));
    return value;
}
inline void __syncwarp() { most_of_lanes(0); }

// Kernels run one after the other.
inline void begin_next() {}
inline void wait_for_previous() {}

inline int atomicAdd(int *place, int value) { return (*place += value) - value; }
inline unsigned atomicOr(unsigned *place, unsigned value) {
    const unsigned before = *place;
    *place |= value;
    return before;
}

// ---- numbers -----------------------------------------------------------------------------------------------------------

struct uint4 {
    unsigned x, y, z, w;
};
struct uint2 {
    unsigned x, y;
};
struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float rsqrtf(float value) { return 1.f / std::sqrt(value); }
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    return bits;
}
template <typename T> T __ldcg(const T *from) { return *from; }

using f16 = _Float16;
struct bf16 {
    uint16_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(f16 value) { return static_cast<float>(value); }
inline float to_float(bf16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}

template <typename T> T from_float(float value);
template <> inline float from_float<float>(float value) { return value; }
template <> inline f16 from_float<f16>(float value) { return static_cast<f16>(value); }
template <> inline bf16 from_float<bf16>(float value) {
    uint32_t bits = __float_as_uint(value);
    if (std::isnan(value)) return {0x7fff};
    bits += 0x7fff + (bits >> 16 & 1); // to the nearest, of two the even one
    return {static_cast<uint16_t>(bits >> 16)};
}

template <typename T> uint32_t pack2(float low, float high) {
    const T both[2] = {from_float<T>(low), from_float<T>(high)};
    uint32_t packed;
    memcpy(&packed, both, 4);
    return packed;
}
template <typename T> float2 unpack2(uint32_t packed) {
    T both[2];
    memcpy(both, &packed, 4);
    return {to_float(both[0]), to_float(both[1])};
}

inline uint32_t halves_of(uint32_t a, uint32_t b, bool are_high) {
    return are_high ? a >> 16 | (b & 0xffff0000u) : (a & 0xffffu) | b << 16;
}

inline uint4 load_streamed(const void *from) { return *static_cast<const uint4 *>(from); }

// ---- tensor cores ------------------------------------------------------------------------------------------------------

// As the manual of the instruction set deals the fragments of m16n8k16 out to the lanes.
template <typename T>
void multiply_add(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t low, uint32_t high) {
    const uint32_t own[6] = {a0, a1, a2, a3, low, high};
    const char *all = exchange(0xffffffffu, own, sizeof own);
    const auto part = [&](int lane, int index, int half) {
        const float2 both = unpack2<T>(lane_value<uint32_t>(all + 4 * index, lane));
        return half == 0 ? both.x : both.y;
    };
    const int lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        float total = sum[i];
        for (int k = 0; k < 16; k++) {
            const int pair = k % 8 / 2;
            const float a = part(row % 8 * 4 + pair, (row / 8) + k / 8 * 2, k % 2);
            const float b = part(column * 4 + pair, 4 + k / 8, k % 2);
            total += a * b;
        }
        sum[i] = total;
    }
}

inline void load_transposed(uint32_t (&parts)[4], const void *row) {
    const char *all = exchange(0xffffffffu, &row, sizeof row);
    const int lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++) {
        uint16_t both[2];
        for (int j = 0; j < 2; j++)
            both[j] = lane_value<const uint16_t *>(all, i * 8 + lane % 4 * 2 + j)[lane / 4];
        memcpy(&parts[i], both, 4);
    }
}

// ---- copies into shared memory beside other work -----------------------------------------------------------------------

// They come about no earlier than they are waited for.
void copy_async(void *to, const void *from, bool is_there);
void commit_copies();
void wait_for_copies_left(int left);
template <int LEFT> void wait_for_copies() { wait_for_copies_left(LEFT); }
