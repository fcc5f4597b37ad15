// Operations on maps `[batch, height, width, channels]`: norm, depthwise convolution, GELU, patches.
#include "common.cuh"

// ---- layer norm --------------------------------------------------------------------------------------------------------

// Rows of 8 * VECTORS * LANES values; LANES lanes share a row and keep it in registers, so it is read once although the
// variance takes a second pass. With `residual` the norm is that of the sum.
template <typename T, int VECTORS, int LANES>
__device__ __forceinline__ void layer_norm_rows(const T *x, const T *residual, const T *weight, const T *bias, T *out,
                                                int rows) {
    constexpr int SIZE = 8 * VECTORS * LANES;
    const int lane = threadIdx.x % LANES;
    const int wanted = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    // All lanes take part in the sums; what is beyond the end is not written.
    const size_t start = static_cast<size_t>(min(wanted, rows - 1)) * SIZE;
    float values[VECTORS][8];
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        load8(x + start + (i * LANES + lane) * 8, values[i]);
        if (residual) {
            float more[8];
            load8(residual + start + (i * LANES + lane) * 8, more);
#pragma unroll
            for (int j = 0; j < 8; j++) values[i][j] += more[j];
        }
#pragma unroll
        for (int j = 0; j < 8; j++) sum += values[i][j];
    }
    const float mean = lane_sum<LANES>(sum) * (1.f / SIZE);
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < VECTORS; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) squares += (values[i][j] - mean) * (values[i][j] - mean);
    const float scale = rsqrtf(lane_sum<LANES>(squares) * (1.f / SIZE) + 1e-5f);
    if (wanted >= rows) return;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        float w[8], b[8];
        load8(weight + (i * LANES + lane) * 8, w);
        load8(bias + (i * LANES + lane) * 8, b);
#pragma unroll
        for (int j = 0; j < 8; j++) w[j] = (values[i][j] - mean) * scale * w[j] + b[j];
        store8(out + start + (i * LANES + lane) * 8, w);
    }
}

#define LAYER_NORM(SUFFIX, TYPE, SIZE, VECTORS, LANES)                                                                 \
    extern "C" __global__ void __launch_bounds__(256) layer_norm_##SIZE##_##SUFFIX(                                    \
        const TYPE *x, const TYPE *residual, const TYPE *weight, const TYPE *bias, TYPE *out, int rows) {              \
        layer_norm_rows<TYPE, VECTORS, LANES>(x, residual, weight, bias, out, rows);                                   \
    }
#define LAYER_NORMS(SUFFIX, TYPE)                                                                                      \
    LAYER_NORM(SUFFIX, TYPE, 128, 1, 16)                                                                               \
    LAYER_NORM(SUFFIX, TYPE, 256, 1, 32)                                                                               \
    LAYER_NORM(SUFFIX, TYPE, 512, 2, 32)                                                                               \
    LAYER_NORM(SUFFIX, TYPE, 768, 3, 32)                                                                               \
    LAYER_NORM(SUFFIX, TYPE, 1024, 4, 32)                                                                              \
    LAYER_NORM(SUFFIX, TYPE, 2048, 8, 32)
FOR_FLOATS(LAYER_NORMS)

// Rows of any size, one for each block.
template <typename T>
__device__ void layer_norm_any(const T *x, const T *residual, const T *weight, const T *bias, T *out, int size) {
    __shared__ float room[33];
    const size_t start = static_cast<size_t>(blockIdx.x) * size;
    const auto value = [&](int i) {
        return to_float(x[start + i]) + (residual ? to_float(residual[start + i]) : 0.f);
    };
    float sum = 0.f;
    for (int i = threadIdx.x; i < size; i += blockDim.x) sum += value(i);
    const float mean = block_sum(sum, room) / size;
    float squares = 0.f;
    for (int i = threadIdx.x; i < size; i += blockDim.x) squares += (value(i) - mean) * (value(i) - mean);
    const float scale = rsqrtf(block_sum(squares, room) / size + 1e-5f);
    for (int i = threadIdx.x; i < size; i += blockDim.x)
        out[start + i] = from_float<T>((value(i) - mean) * scale * to_float(weight[i]) + to_float(bias[i]));
}

#define LAYER_NORM_ANY(SUFFIX, TYPE)                                                                                   \
    extern "C" __global__ void __launch_bounds__(128) layer_norm_any_##SUFFIX(                                         \
        const TYPE *x, const TYPE *residual, const TYPE *weight, const TYPE *bias, TYPE *out, int size) {              \
        layer_norm_any(x, residual, weight, bias, out, size);                                                          \
    }
FOR_FLOATS(LAYER_NORM_ANY)

// ---- depthwise convolution -----------------------------------------------------------------------------------------------

// Pixels of a row that a thread computes, so that it reads each neighbour once for all of them.
constexpr int STRIP = 4;

// out = x + conv3x3(x) + bias, channels in eights; weight [9, channels].
template <typename T>
__device__ __forceinline__ void depthwise_strips(const T *x, const T *weight, const T *bias, T *out, int height,
                                                 int width, int channels, int threads) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= threads) return;
    const int vectors = channels / 8, strips = chunks(width, STRIP);
    const int channel = thread % vectors * 8, strip = thread / vectors;
    const int left = strip % strips * STRIP, row = strip / strips, y = row % height;
    float sum[STRIP][8];
#pragma unroll
    for (int i = 0; i < STRIP; i++) load8(bias + channel, sum[i]);
#pragma unroll
    for (int dy = 0; dy < 3; dy++) {
        if (y + dy < 1 || y + dy > height) continue;
        const T *line = x + static_cast<size_t>(row + dy - 1) * width * channels + channel;
        float taps[3][8];
#pragma unroll
        for (int dx = 0; dx < 3; dx++) load8(weight + (dy * 3 + dx) * channels + channel, taps[dx]);
#pragma unroll
        for (int column = 0; column < STRIP + 2; column++) {
            const int from = left + column - 1;
            if (from < 0 || from >= width) continue;
            float values[8];
            load8(line + static_cast<size_t>(from) * channels, values);
#pragma unroll
            for (int dx = 0; dx < 3; dx++) {
                const int target = column - dx;
                if (target < 0 || target >= STRIP) continue;
#pragma unroll
                for (int j = 0; j < 8; j++) sum[target][j] = fmaf(values[j], taps[dx][j], sum[target][j]);
            }
            if (dy == 1 && column >= 1 && column <= STRIP) {
#pragma unroll
                for (int j = 0; j < 8; j++) sum[column - 1][j] += values[j];
            }
        }
    }
    T *target = out + (static_cast<size_t>(row) * width + left) * channels + channel;
#pragma unroll
    for (int i = 0; i < STRIP; i++)
        if (left + i < width) store8(target + static_cast<size_t>(i) * channels, sum[i]);
}

// Any number of channels, a value for each thread.
template <typename T>
__device__ void depthwise_values(const T *x, const T *weight, const T *bias, T *out, int height, int width, int channels,
                                 int threads) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= threads) return;
    const int channel = thread % channels, pixel = thread / channels;
    const int column = pixel % width, y = pixel / width % height;
    float sum = to_float(bias[channel]) + to_float(x[thread]);
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) {
            if (y + dy < 0 || y + dy >= height || column + dx < 0 || column + dx >= width) continue;
            const size_t from = static_cast<size_t>(pixel + dy * width + dx) * channels + channel;
            sum = fmaf(to_float(x[from]), to_float(weight[((dy + 1) * 3 + dx + 1) * channels + channel]), sum);
        }
    out[thread] = from_float<T>(sum);
}

#define DEPTHWISE(SUFFIX, TYPE)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256) depthwise_##SUFFIX(const TYPE *x, const TYPE *weight,            \
                                                                         const TYPE *bias, TYPE *out, int height,      \
                                                                         int width, int channels, int threads) {       \
        depthwise_strips(x, weight, bias, out, height, width, channels, threads);                                      \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) depthwise_any_##SUFFIX(const TYPE *x, const TYPE *weight,        \
                                                                             const TYPE *bias, TYPE *out, int height,  \
                                                                             int width, int channels, int threads) {   \
        depthwise_values(x, weight, bias, out, height, width, channels, threads);                                      \
    }
FOR_FLOATS(DEPTHWISE)

// ---- GELU ----------------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float gelu(float value) { return 0.5f * value * (1.f + erff(value * 0.70710678118654752f)); }

// In place: x = gelu(x + bias), or gelu(x) without a bias; rows of `size` values, in eights.
template <typename T> __device__ __forceinline__ void gelu_vectors(T *x, const T *bias, int size, long long vectors) {
    const long long vector = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (vector >= vectors) return;
    float values[8];
    load8(x + vector * 8, values);
    if (bias) {
        float more[8];
        load8(bias + vector * 8 % size, more);
#pragma unroll
        for (int j = 0; j < 8; j++) values[j] += more[j];
    }
#pragma unroll
    for (int j = 0; j < 8; j++) values[j] = gelu(values[j]);
    store8(x + vector * 8, values);
}

template <typename T> __device__ void gelu_values(T *x, const T *bias, int size, long long count) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) x[i] = from_float<T>(gelu(to_float(x[i]) + (bias ? to_float(bias[i % size]) : 0.f)));
}

#define GELU(SUFFIX, TYPE)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256) gelu_##SUFFIX(TYPE *x, const TYPE *bias, int size,               \
                                                                    long long vectors) {                               \
        gelu_vectors(x, bias, size, vectors);                                                                          \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) gelu_any_##SUFFIX(TYPE *x, const TYPE *bias, int size,           \
                                                                        long long count) {                             \
        gelu_values(x, bias, size, count);                                                                             \
    }
FOR_FLOATS(GELU)

// ---- patches -------------------------------------------------------------------------------------------------------------

// How a map of any strides becomes patches: `[batch, out_height, out_width, padded]`, of which kernel * kernel * channels
// values mean something and the rest is zero.
struct Patches {
    int out_height, out_width, kernel, stride, padding, height, width, channels, padded;
    long long batch_stride, row_stride, column_stride, channel_stride;
};

// Eight values for each thread, from anywhere.
template <typename T> __device__ __forceinline__ void gather_patches(const T *x, T *out, const Patches &p, int threads) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= threads) return;
    const int vectors = p.padded / 8;
    const int first = thread % vectors * 8, place = thread / vectors;
    const int ox = place % p.out_width, oy = place / p.out_width % p.out_height, b = place / (p.out_width * p.out_height);
    float values[8];
#pragma unroll
    for (int j = 0; j < 8; j++) {
        const int value = first + j, channel = value % p.channels, tap = value / p.channels;
        const int y = patch_source(oy, tap / p.kernel, p.stride, p.padding, p.height);
        const int column = patch_source(ox, tap % p.kernel, p.stride, p.padding, p.width);
        const bool is_there = tap < p.kernel * p.kernel && y >= 0 && column >= 0;
        values[j] = is_there ? to_float(x[b * p.batch_stride + y * p.row_stride + column * p.column_stride +
                                          channel * p.channel_stride])
                             : 0.f;
    }
    store8(out + static_cast<size_t>(thread) * 8, values);
}

// Channels are neighbours and come in eights, so eight values lie together.
template <typename T> __device__ __forceinline__ void copy_patches(const T *x, T *out, const Patches &p, int threads) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= threads) return;
    const int vectors = p.channels / 8;
    const int channel = thread % vectors * 8, tap = thread / vectors % (p.kernel * p.kernel);
    const int place = thread / vectors / (p.kernel * p.kernel);
    const int ox = place % p.out_width, oy = place / p.out_width % p.out_height, b = place / (p.out_width * p.out_height);
    const int y = patch_source(oy, tap / p.kernel, p.stride, p.padding, p.height);
    const int column = patch_source(ox, tap % p.kernel, p.stride, p.padding, p.width);
    float values[8] = {};
    if (y >= 0 && column >= 0)
        load8(x + b * p.batch_stride + y * p.row_stride + column * p.column_stride + channel, values);
    store8(out + static_cast<size_t>(thread) * 8, values);
}

#define PATCHES(SUFFIX, TYPE)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256) patches_any_##SUFFIX(const TYPE *x, TYPE *out, Patches p,        \
                                                                           int threads) {                              \
        gather_patches(x, out, p, threads);                                                                            \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) patches_##SUFFIX(const TYPE *x, TYPE *out, Patches p,            \
                                                                       int threads) {                                  \
        copy_patches(x, out, p, threads);                                                                              \
    }
FOR_FLOATS(PATCHES)

// ---- bytes of pictures -------------------------------------------------------------------------------------------------------------

// out[i] = values[channel of i][bytes[i]], channels last; eight of them for each thread.
template <typename T>
__device__ void look_up_bytes(const unsigned char *bytes, const float *values, T *out, int channels, int count) {
    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (first >= count) return;
    if (first + 8 > count) {
        for (int i = first; i < count; i++) out[i] = from_float<T>(values[i % channels * 256 + bytes[i]]);
        return;
    }
    const uint2 packed = *reinterpret_cast<const uint2 *>(bytes + first);
    float eight[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint32_t byte = (i < 4 ? packed.x : packed.y) >> i % 4 * 8 & 0xff;
        eight[i] = values[(first + i) % channels * 256 + byte];
    }
    store8(out + first, eight);
}

#define BYTES(SUFFIX, TYPE)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256) normalise_bytes_##SUFFIX(                                        \
        const unsigned char *bytes, const float *values, TYPE *out, int channels, int count) {                         \
        look_up_bytes(bytes, values, out, channels, count);                                                            \
    }
FOR_FLOATS(BYTES)
