// The attentions of whole sequences: between the pixels of a window, between positions of the encoder, and between channels.
#include "common.cuh"

// ---- window attention ------------------------------------------------------------------------------------------------------

constexpr int SIDE = 12, PIXELS = SIDE * SIDE, HEAD = 32;
// Values from row to row in shared memory: sixteen bytes more than a row, so that the rows of a transposed read hit other banks.
constexpr int VALUE_ROW = HEAD + 8;

// One window and head for each block of nine warps, sixteen pixels each. What lies outside of the map has the biases as
// queries, keys and values. Scores stay in registers from the first product through the softmax to the second.
template <typename T>
__device__ __forceinline__ void attend_window(const T *qkv, const T *bias, T *out, int heads, int height, int width) {
    __shared__ __align__(16) T keys[PIXELS * HEAD];
    __shared__ __align__(16) T values[PIXELS * VALUE_ROW];
    const int window = blockIdx.x / heads, head = blockIdx.x % heads, channels = heads * HEAD;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;

    // Eight values of a pixel: part 0 are its queries, 1 its keys, 2 its values.
    const auto read = [&](int pixel, int part, int eighth) -> uint4 {
        const int at = window_pixel(window, pixel, SIDE, height, width), offset = part * channels + head * HEAD + eighth * 8;
        if (at >= 0) return *reinterpret_cast<const uint4 *>(qkv + static_cast<size_t>(at) * 3 * channels + offset);
        return bias ? *reinterpret_cast<const uint4 *>(bias + offset) : make_uint4(0, 0, 0, 0);
    };
    constexpr int EIGHTHS = PIXELS * HEAD / 8; // sixteen bytes each, of keys and as many of values
#pragma unroll
    for (int i = 0; i < 2 * EIGHTHS / (PIXELS * 2); i++) {
        const int index = i * PIXELS * 2 + threadIdx.x, part = index / EIGHTHS, place = index % EIGHTHS;
        const int pixel = place / (HEAD / 8), eighth = place % (HEAD / 8);
        T *target = part == 0 ? keys + pixel * HEAD : values + pixel * VALUE_ROW;
        *reinterpret_cast<uint4 *>(target + eighth * 8) = read(pixel, 1 + part, eighth);
    }
    const uint4 top = read(warp * 16 + row, 0, pair), bottom = read(warp * 16 + row + 8, 0, pair);
    __syncthreads();

    float scores[PIXELS / 8][4];
#pragma unroll
    for (int tile = 0; tile < PIXELS / 8; tile++) {
#pragma unroll
        for (int i = 0; i < 4; i++) scores[tile][i] = 0.f;
        const uint4 key = *reinterpret_cast<const uint4 *>(keys + (tile * 8 + row) * HEAD + pair * 8);
        multiply_add_32<T>(scores[tile], top, bottom, key);
    }
    float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
#pragma unroll
    for (int tile = 0; tile < PIXELS / 8; tile++)
#pragma unroll
        for (int i = 0; i < 4; i++) most[i / 2] = fmaxf(most[i / 2], scores[tile][i]);
    const float factor = rsqrtf(static_cast<float>(HEAD)) * LOG2_E;
#pragma unroll
    for (int i = 0; i < 2; i++) most[i] = lane_max<4>(most[i]) * factor;
    float attended[HEAD / 8][4] = {};
#pragma unroll
    for (int step = 0; step < PIXELS / 16; step++) {
        // The weights of two tiles are the left side of a product with sixteen pixels.
        uint32_t weights[2][2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float(&tile)[4] = scores[2 * step + i];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                tile[j] = exp2f(tile[j] * factor - most[j / 2]);
                sum[j / 2] += tile[j];
            }
            weights[i][0] = pack2<T>(tile[0], tile[1]);
            weights[i][1] = pack2<T>(tile[2], tile[3]);
        }
#pragma unroll
        for (int half = 0; half < HEAD / 16; half++) {
            uint32_t parts[4];
            load_transposed(parts, values + (step * 16 + lane % 16) * VALUE_ROW + half * 16 + lane / 16 * 8);
#pragma unroll
            for (int i = 0; i < 2; i++)
                multiply_add<T>(attended[half * 2 + i], weights[0][0], weights[0][1], weights[1][0], weights[1][1],
                                parts[2 * i], parts[2 * i + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float scale = 1.f / lane_sum<4>(sum[i]);
        const int at = window_pixel(window, warp * 16 + row + i * 8, SIDE, height, width);
        if (at < 0) continue;
        T *target = out + static_cast<size_t>(at) * channels + head * HEAD + pair * 2;
#pragma unroll
        for (int tile = 0; tile < HEAD / 8; tile++)
            *reinterpret_cast<uint32_t *>(target + tile * 8) =
                pack2<T>(attended[tile][2 * i] * scale, attended[tile][2 * i + 1] * scale);
    }
}

#define WINDOW_ATTENTION(SUFFIX, TYPE)                                                                                 \
    extern "C" __global__ void __launch_bounds__(PIXELS * 2, 2) window_attention_##SUFFIX(                             \
        const TYPE *qkv, const TYPE *bias, TYPE *out, int heads, int height, int width) {                              \
        attend_window(qkv, bias, out, heads, height, width);                                                           \
    }
FOR_HALVES(WINDOW_ATTENTION)

// ---- attention between positions -------------------------------------------------------------------------------------------

constexpr int WIDE = 64, TILE = 64;
constexpr int WIDE_ROW = WIDE + 8;

// Sixty-four queries of a head for each block of four warps, over keys in tiles that are copied beside the computation. What
// is beyond `lengths[batch]` is masked. qkv [batch, length, 3, heads, 64].
template <typename T>
__device__ __forceinline__ void attend_positions(const T *qkv, const int *lengths, T *out, int heads, int length) {
    __shared__ __align__(16) T keys[2][TILE * WIDE_ROW];
    __shared__ __align__(16) T values[2][TILE * WIDE_ROW];
    const int head = blockIdx.y, batch = blockIdx.z, first = blockIdx.x * TILE, width = heads * WIDE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    const int end = min(lengths[batch], length);
    const T *input = qkv + static_cast<size_t>(batch) * length * 3 * width + head * WIDE;
    T *output = out + static_cast<size_t>(batch) * length * width + head * WIDE;
    const int query = first + warp * 16 + row; // and eight further
    if (first >= end) {
        // Padding: nobody reads it, but it shall hold numbers.
        for (int i = threadIdx.x; i < TILE * WIDE / 8; i += blockDim.x) {
            const int position = first + i / (WIDE / 8);
            if (position < length)
                *reinterpret_cast<uint4 *>(output + static_cast<size_t>(position) * width + i % (WIDE / 8) * 8) =
                    make_uint4(0, 0, 0, 0);
        }
        return;
    }
    const auto copy = [&](int tile) {
#pragma unroll
        for (int i = 0; i < TILE * WIDE / 8 / 128; i++) {
            const int index = i * 128 + threadIdx.x, key = index / (WIDE / 8), eighth = index % (WIDE / 8);
            const int position = tile * TILE + key;
            const bool is_there = position < end;
            const T *from = input + static_cast<size_t>(is_there ? position : 0) * 3 * width + width + eighth * 8;
            copy_async(keys[tile % 2] + key * WIDE_ROW + eighth * 8, from, is_there);
            copy_async(values[tile % 2] + key * WIDE_ROW + eighth * 8, from + width, is_there);
        }
        commit_copies();
    };
    copy(0);
    uint4 queries[2][2]; // [rows][half of the head]
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const T *from = input + static_cast<size_t>(min(query + i * 8, length - 1)) * 3 * width + pair * 16 + j * 8;
            queries[i][j] = *reinterpret_cast<const uint4 *>(from);
        }
    const float factor = rsqrtf(static_cast<float>(WIDE)) * LOG2_E;
    float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
    float attended[WIDE / 8][4] = {};
    const int tiles = chunks(end, TILE);
    for (int tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) {
            copy(tile + 1);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
        float scores[TILE / 8][4];
#pragma unroll
        for (int i = 0; i < TILE / 8; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) scores[i][j] = 0.f;
            const T *key = keys[tile % 2] + (i * 8 + row) * WIDE_ROW + pair * 16;
            multiply_add_32<T>(scores[i], queries[0][0], queries[1][0], reinterpret_cast<const uint4 *>(key)[0]);
            multiply_add_32<T>(scores[i], queries[0][1], queries[1][1], reinterpret_cast<const uint4 *>(key)[1]);
        }
        float now[2] = {most[0], most[1]};
#pragma unroll
        for (int i = 0; i < TILE / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const bool is_masked = tile * TILE + i * 8 + pair * 2 + j % 2 >= end;
                scores[i][j] = is_masked ? -INFINITY : scores[i][j] * factor;
                now[j / 2] = fmaxf(now[j / 2], scores[i][j]);
            }
        float fading[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            now[i] = lane_max<4>(now[i]); // a number: every tile has a key that is not masked
            fading[i] = exp2f(most[i] - now[i]);
            most[i] = now[i];
            sum[i] *= fading[i];
        }
        uint32_t weights[TILE / 8][2];
#pragma unroll
        for (int i = 0; i < TILE / 8; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                scores[i][j] = exp2f(scores[i][j] - most[j / 2]);
                sum[j / 2] += scores[i][j];
                attended[i][j] *= fading[j / 2];
            }
            weights[i][0] = pack2<T>(scores[i][0], scores[i][1]);
            weights[i][1] = pack2<T>(scores[i][2], scores[i][3]);
        }
#pragma unroll
        for (int step = 0; step < TILE / 16; step++) {
#pragma unroll
            for (int quarter = 0; quarter < WIDE / 16; quarter++) {
                uint32_t parts[4];
                load_transposed(parts, values[tile % 2] + (step * 16 + lane % 16) * WIDE_ROW + quarter * 16 + lane / 16 * 8);
#pragma unroll
                for (int i = 0; i < 2; i++)
                    multiply_add<T>(attended[quarter * 2 + i], weights[2 * step][0], weights[2 * step][1],
                                    weights[2 * step + 1][0], weights[2 * step + 1][1], parts[2 * i], parts[2 * i + 1]);
            }
        }
        __syncthreads(); // the next copy overwrites what was read here
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float scale = 1.f / lane_sum<4>(sum[i]);
        if (query + i * 8 >= length) continue;
        T *target = output + static_cast<size_t>(query + i * 8) * width + pair * 2;
#pragma unroll
        for (int tile = 0; tile < WIDE / 8; tile++)
            *reinterpret_cast<uint32_t *>(target + tile * 8) =
                pack2<T>(attended[tile][2 * i] * scale, attended[tile][2 * i + 1] * scale);
    }
}

#define POSITION_ATTENTION(SUFFIX, TYPE)                                                                               \
    extern "C" __global__ void __launch_bounds__(128) position_attention_##SUFFIX(                                     \
        const TYPE *qkv, const int *lengths, TYPE *out, int heads, int length) {                                       \
        attend_positions(qkv, lengths, out, heads, length);                                                            \
    }
FOR_HALVES(POSITION_ATTENTION)

// ---- the same for heads and windows of any size ------------------------------------------------------------------------------

// Values of a head that a lane can hold.
constexpr int LANE_VALUES = 8;

// Attends with one query for each warp; `read(part, key, value)` gives query (part 0, whose key is the query's own place), key
// and value, `count` is the number of keys.
template <typename T, typename Read>
__device__ __forceinline__ void attend_any(const Read &read, T *target, int query, int count, int head_width) {
    const int lane = threadIdx.x % 32;
    const float scale = rsqrtf(static_cast<float>(head_width));
    float own[LANE_VALUES], attended[LANE_VALUES] = {};
#pragma unroll
    for (int i = 0; i < LANE_VALUES; i++) own[i] = lane + 32 * i < head_width ? read(0, query, lane + 32 * i) : 0.f;
    float most = -INFINITY, sum = 0.f;
    for (int key = 0; key < count; key++) {
        float score = 0.f;
#pragma unroll
        for (int i = 0; i < LANE_VALUES; i++)
            if (lane + 32 * i < head_width) score += own[i] * read(1, key, lane + 32 * i);
        score = lane_sum<32>(score) * scale;
        const float now = fmaxf(most, score), fading = expf(most - now), weight = expf(score - now);
        sum = sum * fading + weight;
        most = now;
#pragma unroll
        for (int i = 0; i < LANE_VALUES; i++)
            if (lane + 32 * i < head_width) attended[i] = attended[i] * fading + weight * read(2, key, lane + 32 * i);
    }
#pragma unroll
    for (int i = 0; i < LANE_VALUES; i++)
        if (lane + 32 * i < head_width) target[lane + 32 * i] = from_float<T>(count > 0 ? attended[i] / sum : 0.f);
}

template <typename T>
__device__ void attend_window_any(const T *qkv, const T *bias, T *out, int heads, int head_width, int side, int height,
                                  int width, int queries) {
    const int task = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (task >= queries) return;
    const int head = task % heads, pixel = task / heads % (side * side), window = task / heads / (side * side);
    const int own = window_pixel(window, pixel, side, height, width), channels = heads * head_width;
    if (own < 0) return;
    const auto read = [&](int part, int key, int value) {
        const int at = window_pixel(window, key, side, height, width);
        const int offset = part * channels + head * head_width + value;
        if (at >= 0) return to_float(qkv[static_cast<size_t>(at) * 3 * channels + offset]);
        return bias ? to_float(bias[offset]) : 0.f;
    };
    attend_any(read, out + static_cast<size_t>(own) * channels + head * head_width, pixel, side * side, head_width);
}

template <typename T>
__device__ void attend_positions_any(const T *qkv, const int *lengths, T *out, int heads, int head_width, int length,
                                     int queries) {
    const int task = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (task >= queries) return;
    const int head = task % heads, position = task / heads % length, batch = task / heads / length;
    const int width = heads * head_width;
    const auto read = [&](int part, int key, int value) {
        const size_t at = static_cast<size_t>(batch) * length + key;
        return to_float(qkv[at * 3 * width + part * width + head * head_width + value]);
    };
    T *target = out + (static_cast<size_t>(batch) * length + position) * width + head * head_width;
    attend_any(read, target, position, min(lengths[batch], length), head_width);
}

#define ATTENTION_ANY(SUFFIX, TYPE)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) window_attention_any_##SUFFIX(                                   \
        const TYPE *qkv, const TYPE *bias, TYPE *out, int heads, int head_width, int side, int height, int width,      \
        int queries) {                                                                                                 \
        attend_window_any(qkv, bias, out, heads, head_width, side, height, width, queries);                            \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) position_attention_any_##SUFFIX(                                 \
        const TYPE *qkv, const int *lengths, TYPE *out, int heads, int head_width, int length, int queries) {          \
        attend_positions_any(qkv, lengths, out, heads, head_width, length, queries);                                   \
    }
FOR_FLOATS(ATTENTION_ANY)

// ---- channel attention ---------------------------------------------------------------------------------------------------------

// Three kernels: sums of products over chunks of the pixels, their softmax, and its product with the values. Chunks do not
// depend on the batch, and their sums are added in order, so a picture's result does not depend on its company.

constexpr int STAGE = 64; // pixels in shared memory at a time, sixteen for each of four warps

// sums[batch, group, chunk, 32, 32] = Σ q k over the chunk's pixels. qkv [batch, pixels, 3, groups, 32].
template <typename T>
__device__ __forceinline__ void sum_channels(const T *qkv, float *sums, int groups, int pixels, int chunk) {
    __shared__ __align__(16) T queries[STAGE * VALUE_ROW];
    __shared__ __align__(16) T keys[STAGE * VALUE_ROW];
    __shared__ float partial[4][HEAD * HEAD];
    const int group = blockIdx.y, batch = blockIdx.z, channels = groups * HEAD;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    const T *input = qkv + static_cast<size_t>(batch) * pixels * 3 * channels + group * HEAD;
    float sum[2][4][4] = {};
    const int end = chunk_end(blockIdx.x, chunk, pixels);
    for (int first = blockIdx.x * chunk; first < end; first += STAGE) {
        uint4 loaded[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int index = i * 128 + threadIdx.x, part = index / (STAGE * 4), place = index % (STAGE * 4);
            const int pixel = first + place / 4;
            loaded[i] = pixel < end ? *reinterpret_cast<const uint4 *>(input + static_cast<size_t>(pixel) * 3 * channels +
                                                                       part * channels + place % 4 * 8)
                                    : make_uint4(0, 0, 0, 0);
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int index = i * 128 + threadIdx.x, part = index / (STAGE * 4), place = index % (STAGE * 4);
            *reinterpret_cast<uint4 *>((part == 0 ? queries : keys) + place / 4 * VALUE_ROW + place % 4 * 8) = loaded[i];
        }
        __syncthreads();
        // The pixels are the inner axis of the product, so both sides are read transposed.
        uint32_t left[2][4], right[2][4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            // Channels of the queries are rows: matrices of (pixels 0-7, channels 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
            load_transposed(left[i], queries + (warp * 16 + lane / 16 * 8 + lane % 8) * VALUE_ROW + i * 16 + lane / 8 % 2 * 8);
            load_transposed(right[i], keys + (warp * 16 + lane % 16) * VALUE_ROW + i * 16 + lane / 16 * 8);
        }
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                multiply_add<T>(sum[i][j], left[i][0], left[i][1], left[i][2], left[i][3], right[j / 2][j % 2 * 2],
                                right[j / 2][j % 2 * 2 + 1]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                partial[warp][(i * 16 + row + k / 2 * 8) * HEAD + j * 8 + pair * 2 + k % 2] = sum[i][j][k];
    __syncthreads();
    float *target = sums + ((static_cast<size_t>(batch) * groups + group) * gridDim.x + blockIdx.x) * HEAD * HEAD;
    for (int i = threadIdx.x; i < HEAD * HEAD; i += blockDim.x)
        target[i] = partial[0][i] + partial[1][i] + partial[2][i] + partial[3][i];
}

// weights[batch, group, 32, 32] = softmax(scale Σ sums) over the last axis; a block of 1024 for each group.
template <typename T>
__device__ __forceinline__ void weigh_channels(const float *sums, T *weights, int parts, float scale) {
    const float *input = sums + static_cast<size_t>(blockIdx.x) * parts * HEAD * HEAD + threadIdx.x;
    float sum = 0.f;
    for (int i = 0; i < parts; i++) sum += input[i * HEAD * HEAD];
    sum *= scale;
    const float weight = expf(sum - lane_max<32>(sum));
    weights[static_cast<size_t>(blockIdx.x) * HEAD * HEAD + threadIdx.x] = from_float<T>(weight / lane_sum<32>(weight));
}

// out[pixel, group, i] = Σ_j weights[group, i, j] v[pixel, group, j]; sixteen pixels for each warp.
template <typename T>
__device__ __forceinline__ void mix_channels(const T *qkv, const T *weights, T *out, int groups, int pixels, int per_warp) {
    const int group = blockIdx.y, batch = blockIdx.z, channels = groups * HEAD;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    const T *input = qkv + static_cast<size_t>(batch) * pixels * 3 * channels + 2 * channels + group * HEAD + pair * 8;
    T *output = out + static_cast<size_t>(batch) * pixels * channels + group * HEAD + pair * 8;
    // Columns are dealt out so that a lane's four results of two columns each are eight neighbours.
    uint4 columns[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int column = row / 2 * 8 + i * 2 + row % 2;
        const T *from = weights + (static_cast<size_t>(batch) * groups + group) * HEAD * HEAD + column * HEAD + pair * 8;
        columns[i] = *reinterpret_cast<const uint4 *>(from);
    }
    const int first = (blockIdx.x * (blockDim.x / 32) + warp) * per_warp * 16;
    for (int start = first; start < min(first + per_warp * 16, pixels); start += 16) {
        const int top = min(start + row, pixels - 1), bottom = min(start + row + 8, pixels - 1);
        const uint4 upper = *reinterpret_cast<const uint4 *>(input + static_cast<size_t>(top) * 3 * channels);
        const uint4 lower = *reinterpret_cast<const uint4 *>(input + static_cast<size_t>(bottom) * 3 * channels);
        float sum[4][4] = {};
#pragma unroll
        for (int i = 0; i < 4; i++) multiply_add_32<T>(sum[i], upper, lower, columns[i]);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int pixel = start + row + i * 8;
            if (pixel >= pixels) continue;
            uint4 packed;
            packed.x = pack2<T>(sum[0][2 * i], sum[0][2 * i + 1]), packed.y = pack2<T>(sum[1][2 * i], sum[1][2 * i + 1]);
            packed.z = pack2<T>(sum[2][2 * i], sum[2][2 * i + 1]), packed.w = pack2<T>(sum[3][2 * i], sum[3][2 * i + 1]);
            *reinterpret_cast<uint4 *>(output + static_cast<size_t>(pixel) * channels) = packed;
        }
    }
}

#define CHANNEL_ATTENTION(SUFFIX, TYPE)                                                                                \
    extern "C" __global__ void __launch_bounds__(128) channel_sums_##SUFFIX(const TYPE *qkv, float *sums, int groups,  \
                                                                            int pixels, int chunk) {                   \
        sum_channels(qkv, sums, groups, pixels, chunk);                                                                \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(1024) channel_weights_##SUFFIX(const float *sums, TYPE *weights,      \
                                                                                int parts, float scale) {              \
        weigh_channels(sums, weights, parts, scale);                                                                   \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) channel_mix_##SUFFIX(                                            \
        const TYPE *qkv, const TYPE *weights, TYPE *out, int groups, int pixels, int per_warp) {                       \
        mix_channels(qkv, weights, out, groups, pixels, per_warp);                                                     \
    }
FOR_HALVES(CHANNEL_ATTENTION)

// The same for groups of any width, slowly: a block for each row of a group's matrix.
template <typename T>
__device__ void weigh_channels_any(const T *qkv, float *weights, int groups, int group_width, int pixels, float scale) {
    __shared__ float room[33];
    const int row = blockIdx.x, group = blockIdx.y, batch = blockIdx.z, channels = groups * group_width;
    const T *input = qkv + static_cast<size_t>(batch) * pixels * 3 * channels + group * group_width;
    float *target = weights + ((static_cast<size_t>(batch) * groups + group) * group_width + row) * group_width;
    float most = -INFINITY;
    for (int column = 0; column < group_width; column++) {
        float sum = 0.f;
        for (int pixel = threadIdx.x; pixel < pixels; pixel += blockDim.x) {
            const T *at = input + static_cast<size_t>(pixel) * 3 * channels;
            sum += to_float(at[row]) * scale * to_float(at[channels + column]);
        }
        sum = block_sum(sum, room);
        if (threadIdx.x == 0) target[column] = sum;
        most = fmaxf(most, sum);
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    float sum = 0.f;
    for (int column = 0; column < group_width; column++) sum += target[column] = expf(target[column] - most);
    for (int column = 0; column < group_width; column++) target[column] /= sum;
}

template <typename T>
__device__ void mix_channels_any(const T *qkv, const float *weights, T *out, int groups, int group_width, int pixels,
                                 long long count) {
    const long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index >= count) return;
    const int channels = groups * group_width;
    const int channel = static_cast<int>(index % channels), group = channel / group_width, row = channel % group_width;
    const long long pixel = index / channels;
    const T *values = qkv + pixel * 3 * channels + 2 * channels + group * group_width;
    const float *from = weights + ((pixel / pixels * groups + group) * group_width + row) * group_width;
    float sum = 0.f;
    for (int i = 0; i < group_width; i++) sum += from[i] * to_float(values[i]);
    out[index] = from_float<T>(sum);
}

#define CHANNEL_ATTENTION_ANY(SUFFIX, TYPE)                                                                            \
    extern "C" __global__ void __launch_bounds__(256) channel_weights_any_##SUFFIX(                                    \
        const TYPE *qkv, float *weights, int groups, int group_width, int pixels, float scale) {                       \
        weigh_channels_any(qkv, weights, groups, group_width, pixels, scale);                                          \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) channel_mix_any_##SUFFIX(                                        \
        const TYPE *qkv, const float *weights, TYPE *out, int groups, int group_width, int pixels, long long count) {  \
        mix_channels_any(qkv, weights, out, groups, group_width, pixels, count);                                       \
    }
FOR_FLOATS(CHANNEL_ATTENTION_ANY)
