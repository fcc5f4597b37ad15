// What only the GPU's compiler understands: number formats, tensor cores, copies beside other work. tests/cuda/emulation has the
// same for a CPU.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using f16 = __half;
using bf16 = __nv_bfloat16;

// ---- one value -------------------------------------------------------------------------------------------------

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(f16 value) { return __half2float(value); }
__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }

template <typename T> __device__ __forceinline__ T from_float(float value);
template <> __device__ __forceinline__ float from_float<float>(float value) { return value; }
template <> __device__ __forceinline__ f16 from_float<f16>(float value) { return __float2half_rn(value); }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float value) { return __float2bfloat16_rn(value); }

// ---- two values in a register ------------------------------------------------------------------------------------

template <typename T> __device__ __forceinline__ uint32_t pack2(float low, float high);
template <> __device__ __forceinline__ uint32_t pack2<f16>(float low, float high) {
    __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&both);
}
template <> __device__ __forceinline__ uint32_t pack2<bf16>(float low, float high) {
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&both);
}

template <typename T> __device__ __forceinline__ float2 unpack2(uint32_t both);
template <> __device__ __forceinline__ float2 unpack2<f16>(uint32_t both) {
    return __half22float2(*reinterpret_cast<__half2 *>(&both));
}
template <> __device__ __forceinline__ float2 unpack2<bf16>(uint32_t both) {
    return __bfloat1622float2(*reinterpret_cast<__nv_bfloat162 *>(&both));
}

// Of two registers with two values each, the low or the high one of both.
__device__ __forceinline__ uint32_t halves_of(uint32_t a, uint32_t b, bool are_high) {
    return __byte_perm(a, b, are_high ? 0x7632 : 0x5410);
}

// ---- lanes and kernels -------------------------------------------------------------------------------------------------

// The greatest of a warp's values.
__device__ __forceinline__ uint32_t most_of_lanes(uint32_t value) { return __reduce_max_sync(0xffffffffu, value); }

// Lets the next kernel of the stream begin, as far as there is room beside this one.
__device__ __forceinline__ void begin_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Waits for the end of all kernels before this one, and sees what they wrote.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ---- memory ----------------------------------------------------------------------------------------------------------------

// Sixteen bytes that are read once: they need no place in the first cache. They are read here and not later.
__device__ __forceinline__ uint4 load_streamed(const void *from) {
    uint4 packed;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(packed.x), "=r"(packed.y), "=r"(packed.z), "=r"(packed.w)
                 : "l"(from));
    return packed;
}

// ---- tensor cores ----------------------------------------------------------------------------------------------------

// sum += a b, a 16 x 16 by rows, b 16 x 8 by columns. With row = lane / 4 and pair = lane % 4: `a` holds the pairs of values at
// (row, 2 pair), (row + 8, 2 pair), (row, 2 pair + 8), (row + 8, 2 pair + 8); `low` and `high` those of column `row` of b at
// 2 pair and 2 pair + 8; `sum` holds (row, 2 pair), (row, 2 pair + 1), then the same of row + 8.
template <typename T>
__device__ __forceinline__ void multiply_add(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                             uint32_t low, uint32_t high);
template <>
__device__ __forceinline__ void multiply_add<f16>(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                  uint32_t low, uint32_t high) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(low), "r"(high));
}
template <>
__device__ __forceinline__ void multiply_add<bf16>(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                   uint32_t low, uint32_t high) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(low), "r"(high));
}

// Four 8 x 8 matrices of 16-bit values from shared memory, each transposed; lane i names row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_transposed(uint32_t (&parts)[4], const void *row) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(address)
                 : "memory");
}

// ---- copies into shared memory beside other work -----------------------------------------------------------------------

// Sixteen bytes; zeros where `is_there` does not hold, nothing is read then.
__device__ __forceinline__ void copy_async(void *to, const void *from, bool is_there) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(is_there ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> __device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
