// What the kernels share: vectors of eight values, sums over lanes and products.
#pragma once

#ifdef __CUDACC__
#include "device.cuh"
#else
#include "emulated.h"
#endif
#include "index.h"

constexpr float LOG2_E = 1.4426950408889634f;
constexpr unsigned ALL_LANES = 0xffffffffu;

// ---- eight neighbouring values, aligned to 16 bytes ----------------------------------------------------------------

template <typename T> __device__ __forceinline__ void unpack8(uint4 packed, float (&values)[8]) {
    const float2 a = unpack2<T>(packed.x), b = unpack2<T>(packed.y), c = unpack2<T>(packed.z), d = unpack2<T>(packed.w);
    values[0] = a.x, values[1] = a.y, values[2] = b.x, values[3] = b.y;
    values[4] = c.x, values[5] = c.y, values[6] = d.x, values[7] = d.y;
}

template <typename T> __device__ __forceinline__ void load8(const T *from, float (&values)[8]) {
    unpack8<T>(*reinterpret_cast<const uint4 *>(from), values);
}
template <> __device__ __forceinline__ void load8<float>(const float *from, float (&values)[8]) {
    const float4 a = reinterpret_cast<const float4 *>(from)[0], b = reinterpret_cast<const float4 *>(from)[1];
    values[0] = a.x, values[1] = a.y, values[2] = a.z, values[3] = a.w;
    values[4] = b.x, values[5] = b.y, values[6] = b.z, values[7] = b.w;
}

template <typename T> __device__ __forceinline__ void store8(T *to, const float (&values)[8]) {
    uint4 packed;
    packed.x = pack2<T>(values[0], values[1]), packed.y = pack2<T>(values[2], values[3]);
    packed.z = pack2<T>(values[4], values[5]), packed.w = pack2<T>(values[6], values[7]);
    *reinterpret_cast<uint4 *>(to) = packed;
}
template <> __device__ __forceinline__ void store8<float>(float *to, const float (&values)[8]) {
    reinterpret_cast<float4 *>(to)[0] = make_float4(values[0], values[1], values[2], values[3]);
    reinterpret_cast<float4 *>(to)[1] = make_float4(values[4], values[5], values[6], values[7]);
}

// One of four registers.
__device__ __forceinline__ uint32_t word(const uint4 &packed, int index) {
    return index == 0 ? packed.x : index == 1 ? packed.y : index == 2 ? packed.z : packed.w;
}

// ---- sums over lanes -----------------------------------------------------------------------------------------------

// The sum over WIDTH neighbouring lanes, all of which get it; `mask` names the lanes that take part.
template <int WIDTH> __device__ __forceinline__ float lane_sum(float value, unsigned mask = ALL_LANES) {
#pragma unroll
    for (int distance = WIDTH / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(mask, value, distance);
    return value;
}

template <int WIDTH> __device__ __forceinline__ float lane_max(float value, unsigned mask = ALL_LANES) {
#pragma unroll
    for (int distance = WIDTH / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(mask, value, distance));
    return value;
}

// The sum over a block of whole warps, at most 32 of them; every thread must call it and gets the sum. `room` holds 33 values.
__device__ __forceinline__ float block_sum(float value, float *room) {
    value = lane_sum<32>(value);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    __syncthreads(); // `room` may still be read by an earlier sum
    if (lane == 0) room[warp] = value;
    __syncthreads();
    if (warp == 0) {
        value = lane_sum<32>(lane < static_cast<int>(blockDim.x + 31) / 32 ? room[lane] : 0.f);
        if (lane == 0) room[32] = value;
    }
    __syncthreads();
    return room[32];
}

// ---- products ------------------------------------------------------------------------------------------------------------

// sum += a bᵀ over 32 values of the inner axis, where each lane read 16 neighbouring bytes: lane % 4 says which quarter of
// the 32 values, lane / 4 which row of a (`top`; `bottom` is 8 rows below) and of b. Both sides take the values in the same
// order, which is all that a sum asks for, and nothing need be rearranged.
template <typename T>
__device__ __forceinline__ void multiply_add_32(float (&sum)[4], const uint4 &top, const uint4 &bottom, const uint4 &b) {
    multiply_add<T>(sum, top.x, bottom.x, top.y, bottom.y, b.x, b.y);
    multiply_add<T>(sum, top.z, bottom.z, top.w, bottom.w, b.z, b.w);
}

// ---- one kernel for each type ------------------------------------------------------------------------------------------

// Defines `NAME_f16`, `NAME_bf16` and `NAME_f32`, each of which calls `BODY<type>`.
#define FOR_FLOATS(KERNEL)                                                                                             \
    KERNEL(f16, f16)                                                                                                   \
    KERNEL(bf16, bf16)                                                                                                 \
    KERNEL(f32, float)
#define FOR_HALVES(KERNEL)                                                                                             \
    KERNEL(f16, f16)                                                                                                   \
    KERNEL(bf16, bf16)
