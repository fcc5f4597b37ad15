// The products of a decoder step, whose rows are few, with what stands between them: embedding and norms.
#include "step.cuh"

// ---- embedding and norm ----------------------------------------------------------------------------------------------------------

// hidden = norm(tokens[token] + positions[position + offset]), a block for each row.
template <typename T>
__device__ void embed_row(const Row *rows, const T *tokens, const T *positions, const T *weight, const T *bias, T *hidden,
                          int width, int offset) {
    __shared__ float room[33];
    begin_next();
    wait_for_previous();
    const Row row = rows[blockIdx.x];
    T *target = hidden + static_cast<size_t>(blockIdx.x) * width;
    if (row.input < 0) {
        for (int i = threadIdx.x; i < width; i += blockDim.x) target[i] = from_float<T>(0.f);
        return;
    }
    const T *token = tokens + static_cast<size_t>(row.token) * width;
    const T *position = positions + static_cast<size_t>(row.position + offset) * width;
    const auto value = [&](int i) { return to_float(token[i]) + to_float(position[i]); };
    float sum = 0.f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += value(i);
    const float mean = block_sum(sum, room) / width;
    float squares = 0.f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) squares += (value(i) - mean) * (value(i) - mean);
    const float scale = rsqrtf(block_sum(squares, room) / width + 1e-5f);
    for (int i = threadIdx.x; i < width; i += blockDim.x)
        target[i] = from_float<T>((value(i) - mean) * scale * to_float(weight[i]) + to_float(bias[i]));
}

#define EMBED(SUFFIX, TYPE)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256) step_embed_##SUFFIX(                                             \
        const Row *rows, const TYPE *tokens, const TYPE *positions, const TYPE *weight, const TYPE *bias, TYPE *hidden, \
        int width, int offset) {                                                                                       \
        embed_row(rows, tokens, positions, weight, bias, hidden, width, offset);                                       \
    }
FOR_FLOATS(EMBED)

// hidden = norm(hidden + parts + product_bias), a block for each row, of up to 2048 values, a multiple of eight.
template <typename T>
__device__ void normalise_parts(const float *parts, const T *product_bias, const T *weight, const T *bias, T *hidden, int splits,
                                int width) {
    __shared__ float room[33];
    const bool is_used = static_cast<int>(threadIdx.x) * 8 < width;
    const int column = is_used ? threadIdx.x * 8 : 0;
    const Parts<T> product{parts, product_bias, splits, gridDim.x, static_cast<size_t>(width)};
    T *at = hidden + static_cast<size_t>(blockIdx.x) * width + column;
    float values[8], factors[8], offsets[8], residual[8];
    load8(weight + column, factors);
    load8(bias + column, offsets);
    begin_next();
    wait_for_previous();
    product.load(blockIdx.x, column, values);
    load8(at, residual);
    float sum = 0.f, squares = 0.f;
#pragma unroll
    for (int j = 0; j < 8; j++) sum += values[j] += residual[j];
    const float mean = block_sum(is_used ? sum : 0.f, room) / width;
#pragma unroll
    for (int j = 0; j < 8; j++) squares += (values[j] - mean) * (values[j] - mean);
    const float scale = rsqrtf(block_sum(is_used ? squares : 0.f, room) / width + 1e-5f);
#pragma unroll
    for (int j = 0; j < 8; j++) values[j] = (values[j] - mean) * scale * factors[j] + offsets[j];
    if (is_used) store8(at, values);
}

#define NORMALISE(SUFFIX, TYPE)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256) step_norm_##SUFFIX(                                              \
        const float *parts, const TYPE *product_bias, const TYPE *weight, const TYPE *bias, TYPE *hidden, int splits,  \
        int width) {                                                                                                   \
        normalise_parts(parts, product_bias, weight, bias, hidden, splits, width);                                     \
    }
FOR_HALVES(NORMALISE)

// ---- products whose inner axis is split --------------------------------------------------------------------------------------------

constexpr int SPLIT_INNER = 256;              // values of the inner axis that a block takes
constexpr int SPLIT_ROW = SPLIT_INNER + 32;   // so that neighbouring rows lie in other banks
constexpr int SPLIT_OUTER = 64;               // columns of a block, eight of each warp

// parts [inner / 256, rows, outer] = x wᵀ, each of a part of the inner axis. x [rows, inner] of whole tiles of 16 TILES rows,
// w [outer, inner], outer a multiple of eight. Splitting keeps small what each block reads of x and makes blocks enough for the
// chip. How a row's sums are taken does not depend on the rows beside it.
template <typename T, int TILES>
__device__ __forceinline__ void multiply_split(const T *x, const T *w, float *parts, int outer, int inner) {
    constexpr int ROWS = 16 * TILES, STEPS = SPLIT_INNER / 32;
    __shared__ __align__(16) T tile_of[ROWS * SPLIT_ROW];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    const int column = blockIdx.x * SPLIT_OUTER + warp * 8, start = blockIdx.y * SPLIT_INNER, first = blockIdx.z * ROWS;
    const T *weights = w + static_cast<size_t>(min(column + row, outer - 1)) * inner + start + pair * 8;
    uint4 right[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; step++) right[step] = load_streamed(weights + step * 32);
    begin_next();
    wait_for_previous();
    for (int i = threadIdx.x; i < ROWS * SPLIT_INNER / 8; i += blockDim.x) {
        const int line = i / (SPLIT_INNER / 8), eighth = i % (SPLIT_INNER / 8) * 8;
        copy_async(tile_of + line * SPLIT_ROW + eighth, x + static_cast<size_t>(first + line) * inner + start + eighth, true);
    }
    commit_copies();
    wait_for_copies<0>();
    __syncthreads();
    float sum[TILES][4] = {};
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
            const T *at = tile_of + (tile * 16 + row) * SPLIT_ROW + step * 32 + pair * 8;
            const uint4 top = *reinterpret_cast<const uint4 *>(at);
            const uint4 bottom = *reinterpret_cast<const uint4 *>(at + 8 * SPLIT_ROW);
            multiply_add_32<T>(sum[tile], top, bottom, right[step]);
        }
    if (column >= outer) return;
    const size_t rows = static_cast<size_t>(gridDim.z) * ROWS;
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const size_t line = blockIdx.y * rows + first + tile * 16 + row + j * 8;
            *reinterpret_cast<float2 *>(parts + line * outer + column + pair * 2) =
                make_float2(sum[tile][2 * j], sum[tile][2 * j + 1]);
        }
}

#define SPLIT(SUFFIX, TYPE, TILES)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256, 2) step_split_##TILES##_##SUFFIX(                                \
        const TYPE *x, const TYPE *w, float *parts, int outer, int inner) {                                            \
        multiply_split<TYPE, TILES>(x, w, parts, outer, inner);                                                        \
    }
#define SPLITS(SUFFIX, TYPE)                                                                                           \
    SPLIT(SUFFIX, TYPE, 1)                                                                                             \
    SPLIT(SUFFIX, TYPE, 2)                                                                                             \
    SPLIT(SUFFIX, TYPE, 3)                                                                                             \
    SPLIT(SUFFIX, TYPE, 4)
FOR_HALVES(SPLITS)

// ---- products with GELU ------------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float gelu(float value) { return 0.5f * value * (1.f + erff(value * 0.70710678118654752f)); }

constexpr int GELU_COLUMNS = 3; // of eight values, of a block

// y = gelu(x wᵀ + bias). x [rows, inner] of whole tiles of 16 TILES rows, w [outer, inner], inner of 256 STEPS, y [rows, outer].
//
// Weights come straight into the tensor cores' registers, all of them before the wait; eight warps share the inner axis and add up
// at the end, always in the same order.
template <typename T, int TILES, int STEPS>
__device__ __forceinline__ void multiply_gelu(const T *x, const T *w, const T *bias, T *y, int outer) {
    constexpr int ROWS = 16 * TILES, COLUMNS = GELU_COLUMNS, WIDTH = 8 * COLUMNS, WARPS = 8, inner = 256 * STEPS;
    __shared__ float partial[WARPS / 2][ROWS * WIDTH];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    const int column = blockIdx.x * WIDTH, first = blockIdx.y * ROWS;
    const int start = warp * 32 + pair * 8;
    uint4 right[STEPS][COLUMNS];
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int i = 0; i < COLUMNS; i++) {
            const size_t line = min(column + i * 8 + row, outer - 1);
            right[step][i] = load_streamed(w + line * inner + start + step * WARPS * 32);
        }
    begin_next();
    wait_for_previous();
    const T *input = x + static_cast<size_t>(first + row) * inner + start;
    float sum[TILES][COLUMNS][4] = {};
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
            const T *at = input + static_cast<size_t>(tile) * 16 * inner + step * WARPS * 32;
            const uint4 top = *reinterpret_cast<const uint4 *>(at);
            const uint4 bottom = *reinterpret_cast<const uint4 *>(at + static_cast<size_t>(8) * inner);
#pragma unroll
            for (int i = 0; i < COLUMNS; i++) multiply_add_32<T>(sum[tile][i], top, bottom, right[step][i]);
        }
    // Half of the warps at a time, which halves the room.
#pragma unroll
    for (int half = 1; half >= 0; half--) {
        if (warp / (WARPS / 2) == half)
#pragma unroll
            for (int tile = 0; tile < TILES; tile++)
#pragma unroll
                for (int i = 0; i < COLUMNS; i++)
#pragma unroll
                    for (int j = 0; j < 2; j++) {
                        float2 *at = reinterpret_cast<float2 *>(
                            &partial[warp % (WARPS / 2)][(tile * 16 + row + j * 8) * WIDTH + i * 8 + pair * 2]);
                        const float2 more = half == 1 ? make_float2(0.f, 0.f) : *at;
                        *at = make_float2(sum[tile][i][2 * j] + more.x, sum[tile][i][2 * j + 1] + more.y);
                    }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < ROWS * WIDTH; i += blockDim.x) {
        const int target = column + i % WIDTH;
        if (target >= outer) continue;
        float value = to_float(bias[target]);
#pragma unroll
        for (int j = 0; j < WARPS / 2; j++) value += partial[j][i];
        y[static_cast<size_t>(first + i / WIDTH) * outer + target] = from_float<T>(gelu(value));
    }
}

#define GELU(SUFFIX, TYPE, TILES, STEPS)                                                                               \
    extern "C" __global__ void __launch_bounds__(256, 2) step_gelu_##TILES##_##STEPS##_##SUFFIX(                       \
        const TYPE *x, const TYPE *w, const TYPE *bias, TYPE *y, int outer) {                                          \
        multiply_gelu<TYPE, TILES, STEPS>(x, w, bias, y, outer);                                                       \
    }
#define GELUS(SUFFIX, TYPE)                                                                                            \
    GELU(SUFFIX, TYPE, 1, 3)                                                                                           \
    GELU(SUFFIX, TYPE, 2, 3)                                                                                           \
    GELU(SUFFIX, TYPE, 3, 3)                                                                                           \
    GELU(SUFFIX, TYPE, 4, 3)                                                                                           \
    GELU(SUFFIX, TYPE, 1, 4)                                                                                           \
    GELU(SUFFIX, TYPE, 2, 4)                                                                                           \
    GELU(SUFFIX, TYPE, 3, 4)                                                                                           \
    GELU(SUFFIX, TYPE, 4, 4)
FOR_HALVES(GELUS)

// ---- products of any sizes ---------------------------------------------------------------------------------------------------------

// y = x wᵀ + bias, then GELU if wanted: a warp for each value. x [rows, inner]; the rows of w are `pitch` values apart, because
// weights are filled up with zeros; those of y `stride` values.
template <typename T, typename Out>
__device__ void multiply_any(const T *x, const T *w, const T *bias, Out *y, int outer, int inner, int pitch, int stride,
                             int is_gelu) {
    begin_next();
    wait_for_previous();
    const int column = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, row = blockIdx.y, lane = threadIdx.x % 32;
    if (column >= outer) return;
    float sum = 0.f;
    for (int i = lane; i < inner; i += 32)
        sum += to_float(x[static_cast<size_t>(row) * inner + i]) * to_float(w[static_cast<size_t>(column) * pitch + i]);
    sum = lane_sum<32>(sum) + (bias ? to_float(bias[column]) : 0.f);
    if (lane == 0) y[static_cast<size_t>(row) * stride + column] = from_float<Out>(is_gelu ? gelu(sum) : sum);
}

#define MULTIPLY_ANY(SUFFIX, TYPE)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) step_multiply_any_##SUFFIX(                                      \
        const TYPE *x, const TYPE *w, const TYPE *bias, TYPE *y, int outer, int inner, int pitch, int stride,          \
        int is_gelu) {                                                                                                 \
        multiply_any(x, w, bias, y, outer, inner, pitch, stride, is_gelu);                                             \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) step_logits_any_##SUFFIX(                                        \
        const TYPE *x, const TYPE *w, const TYPE *bias, float *y, int outer, int inner, int pitch, int stride,         \
        int is_gelu) {                                                                                                 \
        multiply_any(x, w, bias, y, outer, inner, pitch, stride, is_gelu);                                             \
    }
FOR_FLOATS(MULTIPLY_ANY)
